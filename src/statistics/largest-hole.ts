/**
 * The largest run of pages that no range covers, while ranges come and go. Ranges may overlap. A segment tree over the borders of all ranges
 * that will ever come: a node counts the ranges that cover it whole, and knows its longest free runs. A change goes from the leaves to the
 * root and ends at the first node whose runs stay as they were; mostly that is a few levels up.
 */

/** Fields of a node in `#runs`: its longest free run at its left edge, at its right edge and anywhere; its length. All in pages. */
const LEFT = 0;
const RIGHT = 1;
const BEST = 2;
const PAGES = 3;
const FIELDS = 4;

export class LargestHole {
  /** Ascending, different. Leaf n is [borders[n], borders[n + 1]). */
  readonly #borders: Float64Array;
  readonly #leaves: number;
  /** Leaves with those beyond the last border, which have no pages: a power of two. Node 1 is the root; leaf n is node `#width` + n. */
  readonly #width: number;
  /** Ranges that cover the node whole and its parent not. */
  readonly #covers: Int32Array;
  readonly #runs: Float64Array;

  /** `borders`: first and end of every range that will be covered, in any order; the space is [first, end). */
  constructor(first: number, end: number, borders: ArrayLike<number>) {
    const clipped = new Float64Array(borders.length + 2).fill(first);
    for (let at = 0; at < borders.length; at++) {
      clipped[at] = Math.min(end, Math.max(first, borders[at] as number));
    }
    clipped[borders.length] = end;
    this.#borders = distinct(clipped.sort());
    this.#leaves = this.#borders.length - 1;
    let width = 1;
    while (width < this.#leaves) width *= 2;
    this.#width = width;
    this.#covers = new Int32Array(2 * width);
    this.#runs = new Float64Array(2 * width * FIELDS);
    for (let leaf = 0; leaf < this.#leaves; leaf++) {
      this.#runs[(width + leaf) * FIELDS + PAGES] =
        (this.#borders[leaf + 1] as number) - (this.#borders[leaf] as number);
    }
    for (let node = 2 * width - 1; node > 0; node--) {
      if (node < width) this.#runs[node * FIELDS + PAGES] = this.#pages(2 * node) + this.#pages(2 * node + 1);
      this.#update(node);
    }
  }

  /** Pages. */
  get largest(): number {
    return this.#runs[FIELDS + BEST] as number;
  }

  /** One more range covers [first, end), or, with −1, one less. What lies outside of the space changes nothing. */
  change(first: number, end: number, by: 1 | -1): void {
    const from = this.#leafOf(first);
    const to = this.#leafOf(end);
    if (from < to) this.#change(from + this.#width, to + this.#width, by);
  }

  /**
   * Changes the nodes that make up [from, to), level by level. The nodes above those that changed are, on each level, at most `from` − 1
   * and `to`: `left` and `right` say whether something below them is new.
   */
  #change(from: number, to: number, by: 1 | -1): void {
    let left = false;
    let right = false;
    for (; from < to; from >>= 1, to >>= 1) {
      if (left) left = this.#update(from - 1);
      if (right) right = this.#update(to);
      if ((from & 1) === 1) left = this.#cover(from++, by) || left;
      if ((to & 1) === 1) right = this.#cover(--to, by) || right;
    }
    from--;
    for (; (left || right) && to > 0; from >>= 1, to >>= 1) {
      if (from === to) left = right = this.#update(to);
      else {
        if (left) left = this.#update(from);
        if (right) right = this.#update(to);
      }
    }
  }

  #cover(node: number, by: 1 | -1): boolean {
    this.#covers[node] = (this.#covers[node] as number) + by;
    return this.#update(node);
  }

  /** A node's runs from those of its halves. True when they are new. */
  #update(node: number): boolean {
    if ((this.#covers[node] as number) > 0) return this.#set(node, 0, 0, 0);
    if (node >= this.#width) {
      const pages = this.#pages(node);
      return this.#set(node, pages, pages, pages);
    }
    const runs = this.#runs;
    const one = 2 * node * FIELDS;
    const other = one + FIELDS;
    const oneLeft = runs[one + LEFT] as number;
    const otherLeft = runs[other + LEFT] as number;
    const oneRight = runs[one + RIGHT] as number;
    const otherRight = runs[other + RIGHT] as number;
    const left = oneLeft === runs[one + PAGES] ? oneLeft + otherLeft : oneLeft;
    const right = otherRight === runs[other + PAGES] ? otherRight + oneRight : otherRight;
    const oneBest = runs[one + BEST] as number;
    const otherBest = runs[other + BEST] as number;
    const apart = oneBest > otherBest ? oneBest : otherBest;
    const across = oneRight + otherLeft;
    return this.#set(node, left, right, apart > across ? apart : across);
  }

  #set(node: number, left: number, right: number, best: number): boolean {
    const runs = this.#runs;
    const at = node * FIELDS;
    if (runs[at + LEFT] === left && runs[at + RIGHT] === right && runs[at + BEST] === best) return false;
    runs[at + LEFT] = left;
    runs[at + RIGHT] = right;
    runs[at + BEST] = best;
    return true;
  }

  #pages(node: number): number {
    return this.#runs[node * FIELDS + PAGES] as number;
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
