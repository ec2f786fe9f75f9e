/**
 * The largest run of pages that no range covers, while ranges come and go. Ranges may overlap. A segment tree over the borders of all ranges
 * that will ever come: a node counts the ranges that cover it whole, and knows its longest free runs, so a change costs a logarithm.
 */

export class LargestHole {
  /** Ascending, different. Leaf n is [borders[n], borders[n + 1]). */
  readonly #borders: Float64Array;
  readonly #leaves: number;
  readonly #covers: Int32Array;
  /** Longest free run of a node: at its left edge, at its right edge, anywhere. */
  readonly #left: Float64Array;
  readonly #right: Float64Array;
  readonly #best: Float64Array;

  /** `borders`: first and end of every range that will be covered, in any order; the space is [first, end). */
  constructor(first: number, end: number, borders: ArrayLike<number>) {
    const clipped = new Float64Array(borders.length + 2).fill(first);
    for (let at = 0; at < borders.length; at++) {
      clipped[at] = Math.min(end, Math.max(first, borders[at] as number));
    }
    clipped[borders.length] = end;
    this.#borders = distinct(clipped.sort());
    this.#leaves = this.#borders.length - 1;
    let nodes = 1;
    while (nodes < this.#leaves) nodes *= 2;
    this.#covers = new Int32Array(2 * nodes);
    this.#left = new Float64Array(2 * nodes);
    this.#right = new Float64Array(2 * nodes);
    this.#best = new Float64Array(2 * nodes);
    if (this.#leaves > 0) this.#build(1, 0, nodes);
  }

  /** Pages. */
  get largest(): number {
    return this.#best[1] as number;
  }

  /** One more range covers [first, end), or, with −1, one less. What lies outside of the space changes nothing. */
  change(first: number, end: number, by: 1 | -1): void {
    const from = this.#leafOf(first);
    const to = this.#leafOf(end);
    if (from < to) this.#change(1, 0, this.#covers.length / 2, from, to, by);
  }

  #build(node: number, low: number, high: number): void {
    if (high - low > 1) {
      const middle = (low + high) / 2;
      this.#build(2 * node, low, middle);
      this.#build(2 * node + 1, middle, high);
    }
    this.#pull(node, low, high);
  }

  #change(node: number, low: number, high: number, from: number, to: number, by: number): void {
    if (from <= low && high <= to) this.#covers[node] = (this.#covers[node] as number) + by;
    else {
      const middle = (low + high) / 2;
      if (from < middle) this.#change(2 * node, low, middle, from, to, by);
      if (to > middle) this.#change(2 * node + 1, middle, high, from, to, by);
    }
    this.#pull(node, low, high);
  }

  /** A node's runs from those of its halves. */
  #pull(node: number, low: number, high: number): void {
    if ((this.#covers[node] as number) > 0) {
      this.#set(node, 0, 0, 0);
      return;
    }
    if (high - low === 1) {
      const pages = this.#pages(low, high);
      this.#set(node, pages, pages, pages);
      return;
    }
    const middle = (low + high) / 2;
    const [one, other] = [2 * node, 2 * node + 1];
    const { [one]: oneLeft = 0, [other]: otherLeft = 0 } = this.#left;
    const { [one]: oneRight = 0, [other]: otherRight = 0 } = this.#right;
    const left = oneLeft === this.#pages(low, middle) ? oneLeft + otherLeft : oneLeft;
    const right = otherRight === this.#pages(middle, high) ? otherRight + oneRight : otherRight;
    const best = Math.max(this.#best[one] as number, this.#best[other] as number, oneRight + otherLeft);
    this.#set(node, left, right, best);
  }

  #set(node: number, left: number, right: number, best: number): void {
    this.#left[node] = left;
    this.#right[node] = right;
    this.#best[node] = best;
  }

  /** Leaves beyond the last border have no pages. */
  #pages(low: number, high: number): number {
    const last = this.#leaves;
    return (this.#borders[Math.min(high, last)] as number) - (this.#borders[Math.min(low, last)] as number);
  }

  /** The leaf that begins at `page`; of a page outside of the space, its nearest end. */
  #leafOf(page: number): number {
    let low = 0;
    let high = this.#leaves;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#borders[middle] as number) < page) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Gathers the borders of ranges, each kept once: addresses are used again and again. */
export class Borders {
  /** The largest; 0 when there is none. */
  top = 0;
  #values = new Float64Array(1024);
  #length = 0;

  add(border: number): void {
    if (this.#length === this.#values.length) this.#makeRoom();
    this.#values[this.#length++] = border;
    this.top = Math.max(this.top, border);
  }

  /** Ascending, each once. */
  distinct(): Float64Array {
    return distinct(this.#values.slice(0, this.#length).sort());
  }

  /** Sorting is worth it only when half of the room is left for new ones. */
  #makeRoom(): void {
    const kept = this.distinct();
    const isCrowded = kept.length > this.#values.length / 2;
    if (isCrowded) this.#values = new Float64Array(this.#values.length * 2);
    this.#values.set(kept);
    this.#length = kept.length;
  }
}

function distinct(sorted: Float64Array): Float64Array {
  let length = 0;
  for (const value of sorted) {
    if (length > 0 && sorted[length - 1] === value) continue;
    sorted[length++] = value;
  }
  return sorted.slice(0, length);
}
