/**
 * A list of ranges of entries that keeps two numbers a range in one typed array, and makes an EntryRange when it is asked for. The recovery of
 * a dead thread returns tens of thousands of ranges. As objects, they would cost more than the recovery: the garbage collector moves those that
 * live on.
 */
import type { EntryRange, EntryRanges } from "./numbers.ts";

/** Ranges that there is room for at first. */
const FIRST_ROOM = 64;

/** Ranges of entries of one table, in the order in which they were added. */
export class RangeList implements EntryRanges {
  length = 0;
  /** First entry and end of each range. */
  #bounds: Int32Array = new Int32Array(2 * FIRST_ROOM);

  add(first: number, end: number): void {
    const at = 2 * this.length;
    if (at === this.#bounds.length) this.#grow();
    this.#bounds[at] = first;
    this.#bounds[at + 1] = end;
    this.length++;
  }

  /** First entry of range `index`, 0 .. length − 1. */
  first(index: number): number {
    return this.#bounds[2 * index] as number;
  }

  /** One past the last entry of range `index`, 0 .. length − 1. */
  end(index: number): number {
    return this.#bounds[2 * index + 1] as number;
  }

  /** One past the last of the ranges before range `to` that follow range `from`, each beginning where the one before it ends. */
  endOfRun(from: number, to: number = this.length): number {
    const bounds = this.#bounds;
    let at = 2 * from + 2;
    while (at < 2 * to && bounds[at] === bounds[at - 1]) at += 2;
    return at >>> 1;
  }

  at(index: number): EntryRange | undefined {
    const i = index < 0 ? index + this.length : index;
    return i >= 0 && i < this.length ? { first: this.first(i), end: this.end(i) } : undefined;
  }

  *[Symbol.iterator](): Generator<EntryRange, void, undefined> {
    for (let i = 0; i < this.length; i++) yield { first: this.first(i), end: this.end(i) };
  }

  #grow(): void {
    const bounds = new Int32Array(2 * this.#bounds.length);
    bounds.set(this.#bounds);
    this.#bounds = bounds;
  }
}
