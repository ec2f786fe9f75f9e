/**
 * Numbers with a unit. A table entry, a count of entries and a bus address are all "a number" to JavaScript; here the
 * compiler tells them apart. Inside, entries and page numbers are plain numbers; whole addresses are `bigint` and stand
 * at the edge only, because a 64-bit window starts at 2^59, where a double no longer counts in ones.
 */
declare const unit: unique symbol;
type Unit<Base, Name extends string> = Base & { readonly [unit]: Name };

/** Index of one IO page table entry in its table: 0 .. 2^31 − 2. Fits a signed 32-bit word. */
export type Entry = Unit<number, "Entry">;
/** How many table entries: 1 .. 2^31 − 1. */
export type EntryCount = Unit<number, "EntryCount">;
/** The address a device puts on the bus, in bytes. */
export type Iova = Unit<bigint, "Iova">;
/** An address of physical memory, in bytes. */
export type PhysicalAddress = Unit<bigint, "PhysicalAddress">;

/** What the device may do with a mapping, as the device sees it: 1 reads memory, 2 writes memory, 3 both. */
export type Access = 1 | 2 | 3;
export const DEVICE_READS = 1;
export const DEVICE_WRITES = 2;
export const DEVICE_READS_AND_WRITES = 3;

/**
 * Added to an access: the device's accesses of this mapping may pass each other (PCI's relaxed ordering). A hint: platforms
 * whose entries have no such bit ignore it.
 */
export const WEAKLY_ORDERED = 4;
/** What is written into an entry: an access, with or without WEAKLY_ORDERED. */
export type EntryAccess = Access | 5 | 6 | 7;

/** The longest table: entries and counts stay inside a signed 32-bit word. */
export const MAX_ENTRIES: number = 2 ** 31 - 1;

/** `[first, end)`: `end` is one past. An inclusive bound is called `last`, and never stored. */
export interface EntryRange {
  readonly first: Entry;
  readonly end: Entry;
}

/** The piece of bus address space that one table translates: `entries` pages of `2^pageShift` bytes from `base` on. */
export interface DmaWindow {
  /** Bus address of entry 0; a multiple of the page size. */
  readonly base: Iova;
  /** log2 of the IO page size in bytes: 12 (4 KiB) .. 34 (16 GiB). */
  readonly pageShift: number;
  readonly entries: EntryCount;
}
