/**
 * An interval tree of the cache lines that a device may write, with the number of mappings of each line. It is a treap (a search tree by
 * first line, balanced by random priorities) whose nodes hold the greatest end of their subtree, so that an overlap is found in logarithmic
 * time. Its columns have a fixed size.
 *
 * A line is a plain number: physical address / line size. Addresses are below 2^53, the bound of the machine contract.
 */

/** No node. */
export const NO_RANGE = -1;

export class LineRanges {
  readonly capacity: number;
  readonly #firsts: Float64Array;
  readonly #ends: Float64Array;
  /** The greatest end in the node's subtree. */
  readonly #furthest: Float64Array;
  readonly #left: Int32Array;
  readonly #right: Int32Array;
  readonly #priorities: Uint32Array;
  readonly #owners: Int32Array;
  /** Next range of the same owner; for unused nodes, the next unused node. */
  readonly #next: Int32Array;
  #root = NO_RANGE;
  #unused = 0;
  #random = 1;
  /** The two results of a split. */
  #below = NO_RANGE;
  #fromOn = NO_RANGE;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.#firsts = new Float64Array(capacity);
    this.#ends = new Float64Array(capacity);
    this.#furthest = new Float64Array(capacity);
    this.#left = new Int32Array(capacity);
    this.#right = new Int32Array(capacity);
    this.#priorities = new Uint32Array(capacity);
    this.#owners = new Int32Array(capacity);
    this.#next = Int32Array.from({ length: capacity }, (_, node) => (node + 1 < capacity ? node + 1 : NO_RANGE));
  }

  /** Memory of the columns in bytes. */
  get memoryBytes(): number {
    const columns = [this.#firsts, this.#ends, this.#furthest, this.#left, this.#right, this.#priorities];
    return [...columns, this.#owners, this.#next].reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  /**
   * Adds the lines [first, end) of `owner`, linked to its range `next` (or NO_RANGE). Returns the range, or NO_RANGE if all nodes are in
   * use.
   */
  insert(first: number, end: number, owner: number, next: number): number {
    const node = this.#unused;
    if (node === NO_RANGE) return NO_RANGE;
    this.#unused = this.#next[node]!;
    this.#firsts[node] = first;
    this.#ends[node] = end;
    this.#left[node] = NO_RANGE;
    this.#right[node] = NO_RANGE;
    this.#owners[node] = owner;
    this.#next[node] = next;
    this.#priorities[node] = this.#nextRandom();
    this.#update(node);
    this.#split(this.#root, first, node);
    const above = this.#fromOn;
    this.#root = this.#merge(this.#merge(this.#below, node), above);
    return node;
  }

  /** Removes a range and the ranges of the same owner that it links to. */
  removeAll(chain: number): void {
    let node = chain;
    while (node !== NO_RANGE) {
      const next = this.#next[node]!;
      this.#remove(node);
      node = next;
    }
  }

  /** The range with the lowest first line that overlaps [first, end), or NO_RANGE. */
  overlapping(first: number, end: number): number {
    return this.#overlappingBelow(this.#root, first, end);
  }

  firstOf(range: number): number {
    return this.#firsts[range]!;
  }

  ownerOf(range: number): number {
    return this.#owners[range]!;
  }

  /** The line of [first, end) with the most ranges, and their number. */
  deepest(first: number, end: number): { readonly line: number; readonly ranges: number } {
    const firsts: number[] = [];
    const ends: number[] = [];
    this.#collect(this.#root, first, end, firsts, ends);
    ends.sort((a, b) => a - b);
    let deepest = { line: first, ranges: 0 };
    let ended = 0;
    // In the order of first lines: the ranges begun minus the ranges ended is the depth at the line.
    for (const [begun, line] of firsts.entries()) {
      while (ends[ended]! <= Math.max(line, first)) ended++;
      if (begun + 1 - ended > deepest.ranges) deepest = { line: Math.max(line, first), ranges: begun + 1 - ended };
    }
    return deepest;
  }

  #remove(node: number): void {
    const first = this.#firsts[node]!;
    this.#split(this.#root, first, node);
    const below = this.#below;
    this.#split(this.#fromOn, first, node + 1);
    this.#root = this.#merge(below, this.#fromOn);
    this.#next[node] = this.#unused;
    this.#unused = node;
  }

  #overlappingBelow(node: number, first: number, end: number): number {
    if (node === NO_RANGE || this.#furthest[node]! <= first) return NO_RANGE;
    const found = this.#overlappingBelow(this.#left[node]!, first, end);
    if (found !== NO_RANGE) return found;
    if (this.#firsts[node]! >= end) return NO_RANGE;
    return this.#ends[node]! > first ? node : this.#overlappingBelow(this.#right[node]!, first, end);
  }

  /** Collects the bounds of all ranges that overlap [first, end), in the order of their first lines. */
  #collect(node: number, first: number, end: number, firsts: number[], ends: number[]): void {
    if (node === NO_RANGE || this.#furthest[node]! <= first) return;
    this.#collect(this.#left[node]!, first, end, firsts, ends);
    if (this.#firsts[node]! >= end) return;
    if (this.#ends[node]! > first) {
      firsts.push(this.#firsts[node]!);
      ends.push(this.#ends[node]!);
    }
    this.#collect(this.#right[node]!, first, end, firsts, ends);
  }

  /** Splits a tree before the key (first, key) into `#below` and `#fromOn`. */
  #split(node: number, first: number, key: number): void {
    if (node === NO_RANGE) {
      this.#below = NO_RANGE;
      this.#fromOn = NO_RANGE;
    } else if (this.#firsts[node]! < first || (this.#firsts[node] === first && node < key)) {
      this.#split(this.#right[node]!, first, key);
      this.#right[node] = this.#below;
      this.#update(node);
      this.#below = node;
    } else {
      this.#split(this.#left[node]!, first, key);
      this.#left[node] = this.#fromOn;
      this.#update(node);
      this.#fromOn = node;
    }
  }

  /** Merges two trees. Every key of `low` is below every key of `high`. */
  #merge(low: number, high: number): number {
    if (low === NO_RANGE) return high;
    if (high === NO_RANGE) return low;
    if (this.#priorities[low]! > this.#priorities[high]!) {
      this.#right[low] = this.#merge(this.#right[low]!, high);
      this.#update(low);
      return low;
    }
    this.#left[high] = this.#merge(low, this.#left[high]!);
    this.#update(high);
    return high;
  }

  #update(node: number): void {
    const left = this.#left[node]!;
    const right = this.#right[node]!;
    let furthest = this.#ends[node]!;
    if (left !== NO_RANGE) furthest = Math.max(furthest, this.#furthest[left]!);
    if (right !== NO_RANGE) furthest = Math.max(furthest, this.#furthest[right]!);
    this.#furthest[node] = furthest;
  }

  /** xorshift32 (Marsaglia 2003): the same tree in every run. */
  #nextRandom(): number {
    this.#random ^= this.#random << 13;
    this.#random ^= this.#random >>> 17;
    this.#random ^= this.#random << 5;
    return this.#random >>> 0;
  }
}
