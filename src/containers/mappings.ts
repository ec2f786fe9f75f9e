/** The mappings of an address space, sorted by bus address. They never overlap. One thread's object. */
import { USER_PAGE_SHIFT } from "../pinned/user-memory.ts";
import type { Access } from "../units/numbers.ts";
import type { AddressRange } from "./domain.ts";

/** A mapping of user memory at a bus address, in pages of 4 KiB. */
export interface UserMapping {
  /** The first bus page, of 4 KiB. */
  readonly busPage: number;
  /** Number of pages of 4 KiB. */
  readonly pages: number;
  /** The first user page, of 4 KiB. */
  readonly userPage: number;
  /** Allowed accesses of devices. */
  readonly access: Access;
  /** Number of the region that keeps its memory pinned. */
  readonly region: number;
}

export class MappingList {
  readonly #sorted: UserMapping[] = [];

  get length(): number {
    return this.#sorted.length;
  }

  [Symbol.iterator](): IterableIterator<UserMapping> {
    return this.#sorted[Symbol.iterator]();
  }

  /** Adds a mapping that overlaps no other. */
  add(mapping: UserMapping): void {
    this.#sorted.splice(this.#indexFrom(mapping.busPage), 0, mapping);
  }

  remove(mapping: UserMapping): void {
    this.#sorted.splice(this.#indexFrom(mapping.busPage), 1);
  }

  /** The mappings that have a page in [first, end), in ascending order: a copy, which changes of the list do not affect. */
  overlapping(first: number, end: number): readonly UserMapping[] {
    let from = this.#indexFrom(first);
    const before = this.#sorted[from - 1];
    if (before !== undefined && before.busPage + before.pages > first) from--;
    return this.#sorted.slice(from, this.#indexFrom(end));
  }

  /**
   * The lowest multiple of `alignment` in [first, end) from which on `pages` pages have no mapping; undefined: no such gap. All in pages of 4 KiB.
   */
  gap(first: number, end: number, pages: number, alignment: number): number | undefined {
    let from = roundUp(first, alignment);
    for (const { busPage, pages: taken } of this.overlapping(first, end)) {
      if (from + pages <= busPage) break;
      from = Math.max(from, roundUp(busPage + taken, alignment));
    }
    return from + pages <= end ? from : undefined;
  }

  /** Index of the first mapping that begins at `page` or behind it. */
  #indexFrom(page: number): number {
    let [low, high] = [0, this.#sorted.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#sorted[middle] as UserMapping).busPage < page) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** The bus addresses of a mapping. */
export function rangeOf({ busPage, pages }: { readonly busPage: number; readonly pages: number }): AddressRange {
  const first = BigInt(busPage) << BigInt(USER_PAGE_SHIFT);
  return { first, last: first + (BigInt(pages) << BigInt(USER_PAGE_SHIFT)) - 1n };
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
