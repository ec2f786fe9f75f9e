/**
 * The two contracts of a table: `TableOps`, which a platform supplies, and `MappingTable`, which the DMA layer uses.
 *
 * The rules between them, for every range and any number of threads:
 * - **alloc = bits, then entries.** A range is allocated first; then its owner writes the entries. No lock is held, because no other thread
 *   can own the range.
 * - **free = entries, then invalidate, then bits.** The owner clears the entries, then invalidates the IOTLB, and only then can the range
 *   be allocated again. In lazy mode the bits stay set until a flush that began after the clearing.
 * - **Ops return failures; they do not throw.** If they throw nevertheless, nothing is lost: a range that was being mapped is abandoned, a
 *   range that was being unmapped stays mapped (its entries may be empty already) and may be unmapped again, and the caller gets the error.
 * - **`publish` is where writing ends.** Ops may gather entries in `set` and hand many of them to the platform at a time (one hypercall for
 *   512), so a failure may come as late as in `publish`. No device uses the entries before `publish` has returned undefined. If it returns
 *   a failure, the owner abandons every range that it has set since the last success.
 */

import type { AreaConstraints } from "../allocator/constraints.ts";
import type { HeldRange } from "../allocator/inspect/ranges.ts";
import type { Failure } from "../units/failure.ts";
import type { Access, DmaWindow, EntryAccess, EntryRange } from "../units/numbers.ts";

/** Value of an entry, as `get` and `exchange` return it. */
export interface EntryValue {
  /** Physical address divided by the window's IO page size. */
  page: number;
  /** Allowed accesses of the device; 0: the entry is empty. */
  access: 0 | Access;
}

/**
 * The operations of a platform on entries. They are called for ranges that the calling thread owns, with no lock held; one object per
 * thread. Pages are physical addresses divided by the window's IO page size.
 *
 * Ops that gather hold unwritten entries per object, that is per thread. If the thread dies they are lost, but its ranges are still pending
 * in the allocator, and recovery takes them.
 */
export interface TableOps {
  /**
   * Writes `count` entries from `first` on, for consecutive pages from `page` on, or gathers them until `publish`. All or nothing: on
   * failure, no entry of this call stays set.
   */
  set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined;
  /**
   * As `set`, for `count` pages in any order: entry `first + i` leads to `pages[i]`. All or nothing. The column is the caller's: it must not
   * be kept. Absent: the table calls `set` for each page.
   */
  setPages?(first: number, pages: Float64Array, count: number, access: EntryAccess): Failure | undefined;
  /**
   * As `set`, for memory that CPU and device share while it is mapped: each sees the other's writes at once. Absent on platforms where that
   * holds for every mapping.
   */
  setCoherent?(first: number, count: number, page: number, access: EntryAccess): Failure | undefined;
  /**
   * Writes data of devices for these live entries to memory and drops prefetched data, in a streaming cache. Absent on platforms without
   * one.
   */
  synchronize?(first: number, count: number): Failure | undefined;
  /**
   * Empties `count` entries, gathered ones too. Idempotent: recovery repeats it. If entries could not be emptied, the next `publish`
   * reports it; `invalidate` and `invalidateAll` retry, and fail until the entries are empty, so that the range stays quarantined.
   */
  clear(first: number, count: number): void;
  /** Reads one entry into `into`. */
  get(entry: number, into: EntryValue): void;
  /** Swaps one entry without invalidating; the old value goes to `old`. */
  exchange(entry: number, page: number, access: EntryAccess, old: EntryValue): Failure | undefined;
  /**
   * Makes earlier `set` and `clear` visible to the device's walk. Undefined: all entries that were set through this object and not cleared
   * since are in the table, and all cleared entries are empty. On failure, no gathered entry is in the table, and `publish` fails until the
   * lost entries are cleared; the owner must clear entries that were written before.
   */
  publish(): Failure | undefined;
  /** Invalidates the entries [first, end) in the IOTLB. After it has returned undefined, no DMA uses their old content. (2015: `demap`.) */
  invalidate(first: number, end: number): Failure | undefined;
  /** Invalidates the whole table in the IOTLB. (2015: `reset`.) */
  invalidateAll(): Failure | undefined;
}

/**
 * Interface of a table to the DMA layer, which `IommuTable` implements. An object is the view of one thread. To map a range: `allocate`, `set`,
 * `publish`, `commit`; on a failure, `abandon`. `allocate` returns an entry, or a failure code below 0, because hot paths allocate no objects.
 */
export interface MappingTable {
  /** The bus addresses that the table translates. */
  readonly window: DmaWindow;
  /**
   * Allocates `count` entries. `after` is a preferred first entry (the end of the previous area of a scatterlist), or -1. The range is
   * *pending*: it belongs to this thread, its entries are empty, and no device can use it.
   */
  allocate(count: number, constraints: AreaConstraints, after: number): number;
  /**
   * As `allocate`, for exactly the entries [first, first + count). Returns `first`, or a failure code: "in-use" if an entry is not free.
   * Absent: the table can't allocate chosen entries, and `mapAt` throws "not-supported".
   * @throws InvalidArgumentError for a range outside of the table
   */
  allocateAt?(first: number, count: number): number;
  /** Returns the lowest range that overlaps `range`; undefined if all its entries are free. Absent: the table keeps no record of its ranges. */
  holderOf?(range: EntryRange): HeldRange | undefined;
  /** Reads an entry into `into`; access 0 is an empty entry. Absent: the table can't read entries, and `translate` throws "not-supported". */
  get?(entry: number, into: EntryValue): void;
  /**
   * Writes `count` entries of a pending range of this thread, from `first` on, for consecutive pages from `page` on; or gathers them until
   * `publish`. Pages are physical addresses divided by the window's IO page size. On failure, no entry of this call stays set.
   */
  set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined;
  /** As `set`, for `count` pages in any order: entry `first + i` leads to `pages[i]`. */
  setPages(first: number, pages: Float64Array, count: number, access: EntryAccess): Failure | undefined;
  /** As `set`, for coherent memory: CPU and device see each other's writes at once. */
  setCoherent(first: number, count: number, page: number, access: EntryAccess): Failure | undefined;
  /** Writes data of devices for these live entries from a streaming cache to memory. Does nothing in tables without a streaming cache. */
  synchronize(first: number, count: number): Failure | undefined;
  /**
   * Makes entries of earlier `set` calls visible to devices. Call it once for a whole scatterlist. On failure, abandon every range that was set
   * since the last success: entries may be missing.
   */
  publish(): Failure | undefined;
  /** Makes the pending range at `first` live. */
  commit(first: number, count: number): void;
  /**
   * Undoes `allocate` and `set`: empties the entries, invalidates the IOTLB, and frees the pending range. On failure the range is quarantined,
   * and a device may still reach its memory.
   */
  abandon(first: number, count: number): Failure | undefined;
  /** As `abandon`, for `areas` ranges. Gathered entries of all of them are dropped before anything is published. */
  abandonAll(firsts: Int32Array, counts: Int32Array, areas: number): Failure | undefined;
  /**
   * Unmaps a live range: empties its entries, invalidates the IOTLB, and frees the range. A failure: the entries could not be emptied, the
   * IOTLB could not be invalidated, or a dead thread has the pool's lock. The range is quarantined until that is done.
   * @throws FreeError, and changes nothing, on misuse
   */
  unmap(first: number, count: number): Failure | undefined;
  /** As `unmap`, for `areas` ranges, with as few invalidations as possible. All ranges are checked before the first one is changed. */
  unmapAll(firsts: Int32Array, counts: Int32Array, areas: number): Failure | undefined;
  /** Throws FreeError if `unmap` would throw it. Changes nothing. */
  checkUnmap(first: number, count: number): void;
  /**
   * Waits for the invalidation of ranges that this thread has unmapped. After it has returned undefined, no DMA uses them, and their memory may
   * be reused. Does nothing in tables that invalidate before `unmap` returns.
   */
  awaitInvalidation(): Failure | undefined;
}
