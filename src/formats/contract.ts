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

/** The format of a table's entries: two words of 32 bits each, which a platform writes and its IOMMU reads. */
export interface EntryFormat {
  /** Unique name: "powernv-tce", "sun4u-iopte". */
  readonly name: string;
  /** IO page sizes that the format can express, as log2 of bytes, ascending. */
  readonly pageShifts: readonly number[];
  /** The access that a device really has, by the requested access: at least that. Many platforms have no write without read. */
  readonly grants: Readonly<Record<Access, Access>>;
  /**
   * The word (0 or 1) that decides whether an entry is valid. While it equals that of the empty entry, the IOMMU refuses the access for any
   * other word. So it is stored last when an entry is set, and first when it is emptied. (Not with a dummy page as empty entry.)
   */
  readonly validWord: 0 | 1;
  /** The two words of the empty entry. */
  readonly empty: readonly [number, number];
  /**
   * True: the empty entry is valid and leads to a dummy page. Then the order of the words does not suffice: entries need break-before-make,
   * through zeros, which are invalid in every format. Default false.
   */
  readonly emptyIsValid?: boolean;
  /** The largest page that an entry can hold, for this page size. */
  largestPage(pageShift: number): number;
  /**
   * Writes the entries of `count` consecutive pages from `page` on to `into[0 .. 2 · count)`. `pageShift` is one of
   * `pageShifts`; `count` is at least 1. Encodes many at a time, because a call for each costs as much as the encoding.
   * A format without a bit for WEAKLY_ORDERED ignores it.
   * False, and nothing is written, unless all pages are integers from 0 to largestPage(pageShift).
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
