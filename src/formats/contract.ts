/**
 * The contract of a format: how one table entry is written as the bits that a platform's IOMMU reads. A format is one plain
 * object in a file of its own, pure, and its law is tested by src/testing/format-conformance.ts:
 *
 *     decode(encode(page, access)) = page, with access grants[access], which includes the access asked for.
 *
 * Two vocabularies meet here. A *page* is a physical address divided by the table's IO page size: a plain number below 2^52,
 * which a double holds exactly. The *words* are the entry's bytes in memory, read as 32-bit little-endian words, whatever
 * byte order the platform has: memory is written in such words, and a big-endian format swaps its bytes itself.
 */
import type { EntryValue } from "../table/contract.ts";
import { InvalidArgumentError } from "../units/errors.ts";
import type { Access, EntryAccess } from "../units/numbers.ts";

/** All formats here have entries of 8 bytes: two words. */
export const ENTRY_BYTES = 8;
export const ENTRY_WORDS = 2;

/**
 * Format of an 8-byte table entry: how page and access are written as the bits that an IOMMU reads. Formats are pure: one object serves all
 * tables and threads. `formatConformance` of `iova/testing` tests a format.
 *
 * The law is `decode(encode(page, access)) = page`, with access `grants[access]`. A page is a physical address divided by the IO page size.
 * Words are the entry's bytes in memory, read as 32-bit little-endian words; a big-endian format swaps bytes itself.
 *
 * @example
 * ```ts
 * import { sun4uIopte } from "iova/platform";
 *
 * const words = new Uint32Array(2);
 * sun4uIopte.encode(5, 1, 3, 13, words); // page 5 of 8 KiB, access 3: the device reads and writes
 * const entry: { page: number; access: 0 | 1 | 2 | 3 } = { page: 0, access: 0 };
 * sun4uIopte.decode(words, 0, 13, entry);
 * console.log(`page ${entry.page}, access ${entry.access}`);
 * ```
 * ```text output
 * page 5, access 3
 * ```
 */
export interface EntryFormat {
  /** Unique name: "powernv-tce", "sun4u-iopte". */
  readonly name: string;
  /** IO page sizes that the format can express, as log2 of bytes, ascending. */
  readonly pageShifts: readonly number[];
  /**
   * Access that a device gets, by the requested access: at least the requested one. Many formats have no write access without read access.
   */
  readonly grants: Readonly<Record<Access, Access>>;
  /**
   * The word (0 or 1) that decides whether an entry is valid. While it equals that of the empty entry, the IOMMU refuses the access for any
   * other word. So it is stored last when an entry is set, and first when it is emptied. (Not with a dummy page as empty entry.)
   */
  readonly validWord: 0 | 1;
  /** The two words of the empty entry. */
  readonly empty: readonly [number, number];
  /**
   * True if the empty entry is valid and leads to a dummy page. The order of the words is then not enough: entries are changed through
   * zeros, which are invalid in every format (break-before-make). Default false.
   */
  readonly emptyIsValid?: boolean;
  /** Largest page number that an entry can hold with this page size. */
  largestPage(pageShift: number): number;
  /**
   * Writes the entries of `count` consecutive pages from `page` on to `into[0 .. 2 · count)`. `pageShift` is one of `pageShifts`; `count` is
   * at least 1. One call encodes many entries, because a call for each costs as much as the encoding. A format without a bit for
   * WEAKLY_ORDERED ignores it.
   *
   * Returns false, and writes nothing, if a page is not an integer from 0 to `largestPage(pageShift)`, or is the format's dummy page.
   */
  encode(page: number, count: number, access: EntryAccess, pageShift: number, into: Uint32Array): boolean;
  /** Reads the entry at `from[at]` and `from[at + 1]`. An entry without permissions gives page 0, access 0. */
  decode(from: Uint32Array, at: number, pageShift: number, into: EntryValue): void;
}

/** Throws InvalidArgumentError unless the format has pages of this size. */
export function checkPageShift(format: EntryFormat, pageShift: number): void {
  if (!format.pageShifts.includes(pageShift)) {
    throw new InvalidArgumentError(`page shift of ${format.name}`, pageShift, `one of ${format.pageShifts.join(", ")}`);
  }
}
