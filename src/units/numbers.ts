/**
 * The numbers of the interface, by unit. Entries, page numbers and byte counts are plain numbers. Bus addresses and physical addresses of
 * whole mappings are `bigint`, in bytes: a 64-bit window starts at 2^59, where a double no longer counts in ones.
 */

/** Access of a device to memory: 1 reads it, 2 writes it, 3 both. */
export type Access = 1 | 2 | 3;
/** The device reads memory (Linux: DMA_TO_DEVICE). */
export const DEVICE_READS = 1;
/** The device writes memory (Linux: DMA_FROM_DEVICE). */
export const DEVICE_WRITES = 2;
/** The device reads and writes memory (Linux: DMA_BIDIRECTIONAL). */
export const DEVICE_READS_AND_WRITES = 3;

/**
 * Flag to add to an access: the device's accesses may be reordered (PCI relaxed ordering). Platforms without such a bit in their entries ignore
 * it.
 */
export const WEAKLY_ORDERED = 4;
/** Access of a device in an entry, with or without WEAKLY_ORDERED. */
export type EntryAccess = Access | 5 | 6 | 7;

/** Entries of the longest table: 2^31 − 1. Entries and counts fit a signed 32-bit word. */
export const MAX_ENTRIES: number = 2 ** 31 - 1;

/** The entries `[first, end)` of a table. Both are indices, 0 .. 2^31 − 1. */
export interface EntryRange {
  /** The first entry. */
  readonly first: number;
  /** One past the last entry. */
  readonly end: number;
}

/** Ranges of table entries. It is iterable: `for (const { first, end } of ranges)`, or `[...ranges]` for an array. */
export interface EntryRanges extends Iterable<EntryRange> {
  /** The number of ranges. */
  readonly length: number;
  /** The range with this index; a negative index counts from the end. Undefined: there is no such range. */
  at(index: number): EntryRange | undefined;
}

/** Range of bus addresses that one table translates: `entries` pages of `2^pageShift` bytes from `base` on. */
export interface DmaWindow {
  /** Bus address of entry 0 in bytes; a multiple of the page size. */
  readonly base: bigint;
  /** log2 of the IO page size in bytes: 12 (4 KiB) .. 34 (16 GiB). */
  readonly pageShift: number;
  /** Entries of the table: 1 .. 2^31 − 1. */
  readonly entries: number;
}
