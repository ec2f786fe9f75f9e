/**
 * Ranges of pages that are live, to find those that a page lies in. Ranges may overlap: mappings of different devices have the same
 * addresses. A range stands in the at most two buckets that it touches of the level that fits its length, so that a search looks into a few
 * buckets, however long the ranges are.
 *
 * Ranges are numbers, and all that is known of them stands in typed columns: a million of them come and go without an object each.
 */

import { grown } from "../../trace/events.ts";

/** Ranges of pages by their number, [first, end). The columns may be replaced by longer ones while they are in an index. */
export interface PageRanges {
  readonly first: ArrayLike<number>;
  readonly end: ArrayLike<number>;
}

/** A bucket of level n is 8^n pages long. */
const LEVEL_FACTOR = 8;
const NO_ENTRY = -1;

export class RangeIndex {
  readonly #ranges: PageRanges;
  readonly #levels: Level[] = [];
  /** The answer of `find`: the numbers of the ranges. */
  found: Int32Array = new Int32Array(16);
  #foundCount = 0;

  constructor(ranges: PageRanges) {
    this.#ranges = ranges;
  }

  /** Adds range `number`. An empty range holds no page and is left out. */
  add(number: number): void {
    const first = this.#ranges.first[number] as number;
    const end = this.#ranges.end[number] as number;
    if (first >= end) return;
    const level = this.#levelOf(end - first);
    const from = Math.floor(first / level.pages);
    const to = Math.floor((end - 1) / level.pages);
    level.add(from, number);
    if (to !== from) level.add(to, number);
  }

  /** Takes range `number` out. It has the first page and the end that it was added with. */
  remove(number: number): void {
    const first = this.#ranges.first[number] as number;
    const end = this.#ranges.end[number] as number;
    if (first >= end) return;
    const level = this.#levelOf(end - first);
    const from = Math.floor(first / level.pages);
    const to = Math.floor((end - 1) / level.pages);
    level.remove(from, number);
    if (to !== from) level.remove(to, number);
  }

  /** Puts the numbers of the ranges that hold `page` into `found`, short ranges first, then those added first; returns how many. */
  find(page: number): number {
    const { first, end } = this.#ranges;
    this.#foundCount = 0;
    for (const level of this.#levels) {
      if (level.count === 0) continue;
      const bucket = Math.floor(page / level.pages);
      for (let entry = level.firstEntry(bucket); entry !== NO_ENTRY; entry = level.nextEntry(entry)) {
        const number = level.range[entry] as number;
        // A chain holds entries of several buckets; in its other bucket, a range does not hold the page.
        if (level.bucket[entry] === bucket && (first[number] as number) <= page && page < (end[number] as number))
          this.#addFound(number);
      }
    }
    return this.#foundCount;
  }

  #addFound(number: number): void {
    if (this.#foundCount === this.found.length) this.found = grown(this.found, 2 * this.found.length);
    this.found[this.#foundCount++] = number;
  }

  /** The first page of [first, end) that a range begins at; undefined when none begins there. */
  nextBegin(first: number, end: number): number | undefined {
    let next = end;
    for (const level of this.#levels) {
      if (level.count > 0) next = this.#nextBeginIn(level, first, next);
    }
    return next < end ? next : undefined;
  }

  /** Looks into the buckets of the pages, or at all ranges when these are fewer. */
  #nextBeginIn(level: Level, first: number, end: number): number {
    const begins = this.#ranges.first;
    const from = Math.floor(first / level.pages);
    const to = Math.floor((end - 1) / level.pages);
    let next = end;
    const look = (number: number): void => {
      const begin = begins[number] as number;
      if (begin >= first && begin < next) next = begin;
    };
    if (to - from >= level.count) {
      level.forEach(look);
      return next;
    }
    for (let bucket = from; bucket <= to; bucket++) {
      for (let entry = level.firstEntry(bucket); entry !== NO_ENTRY; entry = level.nextEntry(entry)) {
        if (level.bucket[entry] === bucket) look(level.range[entry] as number);
      }
    }
    return next;
  }

  #levelOf(pages: number): Level {
    let number = 0;
    for (let reach = 1; reach < pages; reach *= LEVEL_FACTOR) number++;
    while (this.#levels.length <= number) this.#levels.push(new Level(LEVEL_FACTOR ** this.#levels.length));
    return this.#levels[number] as Level;
  }
}

/** Ranges of one level by their buckets: chains of a hash table, in the order in which they were added. */
class Level {
  /** Length of a bucket. */
  readonly pages: number;
  /** Entries that are in use: a range in two buckets has two. */
  count = 0;
  bucket: Float64Array = new Float64Array(16);
  range: Int32Array = new Int32Array(16);
  #next: Int32Array = new Int32Array(16);
  /** The last entry of each chain; the one after it is the chain's first. */
  #tails: Int32Array = new Int32Array(16).fill(NO_ENTRY);
  #free = NO_ENTRY;
  /** Entries that have been in use. */
  #used = 0;

  constructor(pages: number) {
    this.pages = pages;
  }

  add(bucket: number, range: number): void {
    const entry = this.#newEntry();
    this.bucket[entry] = bucket;
    this.range[entry] = range;
    this.count++;
    this.#append(this.#slotOf(bucket), entry);
  }

  #append(slot: number, entry: number): void {
    const tail = this.#tails[slot] as number;
    this.#next[entry] = tail === NO_ENTRY ? entry : (this.#next[tail] as number);
    if (tail !== NO_ENTRY) this.#next[tail] = entry;
    this.#tails[slot] = entry;
  }

  remove(bucket: number, range: number): void {
    const slot = this.#slotOf(bucket);
    const tail = this.#tails[slot] as number;
    if (tail === NO_ENTRY) return;
    let before = tail;
    for (;;) {
      const entry = this.#next[before] as number;
      if (this.range[entry] === range && this.bucket[entry] === bucket) {
        this.#unlink(slot, before, entry);
        return;
      }
      if (entry === tail) return;
      before = entry;
    }
  }

  #unlink(slot: number, before: number, entry: number): void {
    this.#next[before] = this.#next[entry] as number;
    if (this.#tails[slot] === entry) this.#tails[slot] = before === entry ? NO_ENTRY : before;
    this.#next[entry] = this.#free;
    this.#free = entry;
    this.count--;
  }

  /** The first entry of the chain that holds the bucket's entries, among others; NO_ENTRY when the chain is empty. */
  firstEntry(bucket: number): number {
    const tail = this.#tails[this.#slotOf(bucket)] as number;
    return tail === NO_ENTRY ? NO_ENTRY : (this.#next[tail] as number);
  }

  /** The entry after this one of the same chain, or NO_ENTRY. */
  nextEntry(entry: number): number {
    const slot = this.#slotOf(this.bucket[entry] as number);
    return this.#tails[slot] === entry ? NO_ENTRY : (this.#next[entry] as number);
  }

  forEach(visit: (range: number) => void): void {
    for (const tail of this.#tails) {
      if (tail === NO_ENTRY) continue;
      let entry = tail;
      do {
        entry = this.#next[entry] as number;
        visit(this.range[entry] as number);
      } while (entry !== tail);
    }
  }

  #slotOf(bucket: number): number {
    const low = bucket | 0;
    const high = (bucket / 4294967296) | 0;
    const mixed = Math.imul(low ^ Math.imul(high, 0x85ebca6b), 0x9e3779b1);
    return (mixed ^ (mixed >>> 15)) & (this.#tails.length - 1);
  }

  #newEntry(): number {
    if (this.#free !== NO_ENTRY) {
      const entry = this.#free;
      this.#free = this.#next[entry] as number;
      return entry;
    }
    if (this.#used === this.range.length) this.#grow();
    return this.#used++;
  }

  /** Makes room for twice as many entries. All are in use: each goes into its new chain, in the order of its old one. */
  #grow(): void {
    const capacity = 2 * this.range.length;
    const bucket = new Float64Array(capacity);
    bucket.set(this.bucket);
    this.bucket = bucket;
    this.range = grown(this.range, capacity);
    const [tails, next] = [this.#tails, this.#next];
    this.#tails = new Int32Array(capacity).fill(NO_ENTRY);
    this.#next = new Int32Array(capacity);
    for (const tail of tails) {
      if (tail === NO_ENTRY) continue;
      let entry = tail;
      do {
        entry = next[entry] as number;
        this.#append(this.#slotOf(bucket[entry] as number), entry);
      } while (entry !== tail);
    }
  }
}
