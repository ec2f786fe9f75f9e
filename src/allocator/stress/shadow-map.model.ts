/**
 * The holder of each entry, recorded by the holders and not by the allocator: a word for each entry, changed only by compareExchange. The
 * second holder of one entry fails at once, and the error names both.
 *
 *   owner << 17 | count at a range's first entry, 0 at the others;  0: no holder
 *
 * A range is marked from its last entry to its first, and unmarked from its first entry on: it counts as recorded exactly while its first
 * mark stands. This tells the ranges of a killed holder from the one that it was in the middle of marking.
 */
import {
  compareExchange,
  createShared,
  load,
  type SharedBuffer,
  type SharedWords,
  store,
  wordsOf,
} from "../../shared/memory.ts";

const COUNT_BITS = 17;
const COUNT_MASK = (1 << COUNT_BITS) - 1;

/** The owner of ranges that lie in the mailbox. */
export const MAIL = 1;
/** The main thread, as a holder. Players' numbers follow. */
export const LEADER = 2;

export interface MarkedRange {
  readonly first: number;
  readonly count: number;
  readonly owner: number;
}

/** One thread's view. */
export class ShadowMap {
  readonly #marks: SharedWords;
  readonly entries: number;

  constructor(buffer: SharedBuffer) {
    this.#marks = wordsOf(buffer);
    this.entries = buffer.byteLength / 4;
  }

  static create(entries: number): SharedBuffer {
    return createShared(entries * 4);
  }

  /** Records that `owner` holds the range. Throws when another holder does. */
  mark(first: number, count: number, owner: number): void {
    for (let entry = first + count - 1; entry > first; entry--) this.#change(entry, 0, owner << COUNT_BITS);
    this.#change(first, 0, (owner << COUNT_BITS) | count);
  }

  /** The range is no longer `owner`'s. Throws when it was not. */
  unmark(first: number, count: number, owner: number): void {
    this.#change(first, (owner << COUNT_BITS) | count, 0);
    for (let entry = first + 1; entry < first + count; entry++) this.#change(entry, owner << COUNT_BITS, 0);
  }

  /** The range goes from one owner to another. */
  hand(first: number, count: number, from: number, to: number): void {
    for (let entry = first + count - 1; entry > first; entry--) {
      this.#change(entry, from << COUNT_BITS, to << COUNT_BITS);
    }
    this.#change(first, (from << COUNT_BITS) | count, (to << COUNT_BITS) | count);
  }

  /** Forgets all marks in the range, which must be those of one of these owners. */
  wipe(first: number, count: number, owners: readonly number[]): void {
    for (let entry = first; entry < first + count; entry++) {
      const mark = load(this.#marks, entry);
      if (mark === 0) continue;
      if (!owners.includes(mark >>> COUNT_BITS)) {
        throw new Error(`entry ${entry} of [${first}, ${first + count}) is ${nameOf(mark)}'s, not one of ${owners}'s`);
      }
      store(this.#marks, entry, 0);
    }
  }

  /** The owner of an entry; 0: no holder. */
  ownerAt(entry: number): number {
    return load(this.#marks, entry) >>> COUNT_BITS;
  }

  /** The length of the range that begins here; 0: none does. */
  countAt(entry: number): number {
    return load(this.#marks, entry) & COUNT_MASK;
  }

  /** The ranges that are written down. */
  ranges(): MarkedRange[] {
    const ranges: MarkedRange[] = [];
    for (let first = 0; first < this.entries; first++) {
      const count = this.countAt(first);
      if (count > 0) ranges.push({ first, count, owner: this.ownerAt(first) });
    }
    return ranges;
  }

  #change(entry: number, expected: number, wanted: number): void {
    const found = compareExchange(this.#marks, entry, expected, wanted);
    if (found !== expected) throw this.#conflict(entry, found, expected, wanted);
  }

  #conflict(entry: number, found: number, expected: number, wanted: number): Error {
    let start = entry;
    while (start > 0 && (load(this.#marks, start) & COUNT_MASK) === 0 && this.ownerAt(start) !== 0) start--;
    const range = `in a range of ${this.countAt(start)} from ${start} on`;
    return new Error(
      `entry ${entry} belongs to two: ${nameOf(wanted === 0 ? expected : wanted)} takes it for ` +
        `${expected === 0 ? "free" : `${nameOf(expected)}'s`}, but it is ${nameOf(found)}'s, ${range}`,
    );
  }
}

function nameOf(mark: number): string {
  const owner = mark >>> COUNT_BITS;
  return owner === 0 ? "no holder" : owner === MAIL ? "the mailbox" : `holder ${owner}`;
}

/** The mailbox: ranges that one thread hands to any other. It holds their first entries; the ranges are marked as MAIL. */
export class Mailbox {
  readonly #places: SharedWords;
  readonly #count: number;

  constructor(buffer: SharedBuffer) {
    this.#places = wordsOf(buffer);
    this.#count = buffer.byteLength / 4;
  }

  static create(places: number): SharedBuffer {
    return createShared(places * 4);
  }

  /** Looks for an empty place from a random one on. False: there was none. */
  post(first: number, from: number): boolean {
    for (let i = 0; i < this.#count; i++) {
      if (compareExchange(this.#places, (from + i) % this.#count, 0, first + 1) === 0) return true;
    }
    return false;
  }

  /** The first entry of a range that lies here, or -1. It is the caller's now. */
  take(from: number): number {
    for (let i = 0; i < this.#count; i++) {
      const at = (from + i) % this.#count;
      const found = load(this.#places, at);
      if (found !== 0 && compareExchange(this.#places, at, found, 0) === found) return found - 1;
    }
    return -1;
  }

  /** First entries of what lies here. */
  firsts(): number[] {
    return Array.from({ length: this.#count }, (_, at) => load(this.#places, at) - 1).filter((first) => first >= 0);
  }
}
