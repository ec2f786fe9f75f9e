/**
 * The two contracts of a table: what a platform supplies (`TableOps`), and what the DMA layer above uses (`MappingTable`).
 *
 * The law between them, for every range, whatever the number of threads:
 * - **alloc = bits, then entries.** A range is taken in the allocator first; then its owner writes the entries. No lock is
 *   held: nobody else can own the range.
 * - **free = entries, then invalidate, then bits.** The owner clears the entries, the IOTLB forgets them, and only then can
 *   the range be handed out again. In lazy mode the bits wait for a flush that began after the clearing.
 * - **Ops answer failures; they do not throw.** When they throw all the same, nothing is lost: what was being mapped is abandoned, what
 *   was being unmapped stays mapped (its entries may be empty already) and may be unmapped again, and the error goes on to the caller.
 * - **`publish` is where writing ends.** Ops may gather what `set` asks for and hand it to the platform many entries at a time (one
 *   call to a hypervisor for 512), so a failure may come as late as `publish`. Until `publish` has answered undefined, no device is
 *   told of the entries; when it answers a failure, the owner abandons every range that it has set since the last success.
 */

import type { AreaConstraints } from "../allocator/constraints.ts";
import type { Failure } from "../units/failure.ts";
import type { Access, DmaWindow, EntryAccess } from "../units/numbers.ts";

/** An entry as `get` and `exchange` return it; access 0 is an empty entry. */
export interface EntryValue {
  page: number;
  access: 0 | Access;
}

/**
 * What a platform supplies: how entries are written and forgotten. Called on a range that the calling thread owns, with
 * no lock held; one object per thread. Pages are physical addresses divided by the window's IO page size.
 *
 * Ops that gather keep what is not written yet per object, that is per thread: a thread that dies takes it along, and its ranges are
 * still pending in the allocator, from where recovery takes them.
 */
export interface TableOps {
  /**
   * Writes `count` entries from `first` on, for consecutive pages from `page` on, or gathers them until `publish`. All or nothing: on
   * failure none of this call is left.
   */
  set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined;
  /**
   * As `set`, for memory that CPU and device share while it is mapped: what one writes the other sees at once. Left out where every
   * mapping is like that.
   */
  setCoherent?(first: number, count: number, page: number, access: EntryAccess): Failure | undefined;
  /**
   * What devices have written through these live entries is in memory, and what they read from now on is what memory holds. Left out
   * where nothing lies between devices and memory.
   */
  synchronize?(first: number, count: number): Failure | undefined;
  /**
   * Empties `count` entries, gathered ones too. Idempotent: recovery repeats it. That entries could not be emptied is told by the
   * next `publish`; until they are empty (each tries again), `invalidate` and `invalidateAll` fail as well, so that the range
   * stays out of use.
   */
  clear(first: number, count: number): void;
  get(entry: number, into: EntryValue): void;
  /** Swaps one entry without invalidating; the old value goes to `old`. */
  exchange(entry: number, page: number, access: EntryAccess, old: EntryValue): Failure | undefined;
  /**
   * Makes earlier `set` and `clear` visible to the device's walk. Undefined: all entries that were set through this object, and not
   * cleared since, are in the table, and all that were cleared are empty. On failure nothing that was still gathered is left in the
   * table; what was written before is its owner's to clear, and `publish` goes on failing until the entries that it lost are cleared.
   */
  publish(): Failure | undefined;
  /** The IOTLB forgets the entries [first, end). When it returns, no DMA uses what they held. (2015: `demap`.) */
  invalidate(first: number, end: number): Failure | undefined;
  /** The IOTLB forgets the whole table. (2015: `reset`.) */
  invalidateAll(): Failure | undefined;
}

/**
 * What the DMA layer needs of a table. `IommuTable` is one; the rivals are others. One view per thread.
 * Answers of `allocate` are an entry (>= 0) or a failure code (< 0): the hot path makes no objects.
 */
export interface MappingTable {
  readonly window: DmaWindow;
  /**
   * Takes `count` entries. `after` is a preferred first entry (where the previous area of a scatterlist ended), or -1.
   * The range is *pending*: it belongs to this thread, its entries are empty, no device can use it.
   */
  allocate(count: number, constraints: AreaConstraints, after: number): number;
  /** Writes or gathers entries inside a pending range of this thread. On failure nothing of this call is left. */
  set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined;
  /** As `set`, for coherent memory. A table without it knows no difference. */
  setCoherent?(first: number, count: number, page: number, access: EntryAccess): Failure | undefined;
  /** See TableOps. A table without it has nothing between devices and memory. */
  synchronize?(first: number, count: number): Failure | undefined;
  /**
   * Makes earlier `set`s visible to devices: once for a whole scatterlist. On failure, abandon every range that was set since the
   * last success: some of its entries may be missing.
   */
  publish(): Failure | undefined;
  /** The pending range that was allocated at `first` is in use from now on. */
  commit(first: number, count: number): void;
  /**
   * Undoes `allocate` and `set`: entries, invalidate, bits. Leaves no trace. A returned failure is as in `unmap`: the range is
   * quarantined, and a device may still reach the memory that it led to.
   */
  abandon(first: number, count: number): Failure | undefined;
  /** As `abandon` for `areas` ranges: what was gathered for any of them is dropped before anything is published. */
  abandonAll(firsts: Int32Array, counts: Int32Array, areas: number): Failure | undefined;
  /**
   * Gives a live range back. Throws FreeError on misuse (nothing changed). A returned failure means that the entries could not be
   * emptied, the IOTLB not invalidated, or (when a dead thread holds a pool's lock) the entries not given back: the range is quarantined
   * until that has been done.
   */
  unmap(first: number, count: number): Failure | undefined;
  /** As `unmap` for `areas` ranges, with as few invalidations as can be. All are checked before the first is touched. */
  unmapAll(firsts: Int32Array, counts: Int32Array, areas: number): Failure | undefined;
  /** Throws FreeError where `unmap` would. Changes nothing. A table without it can't tell. */
  checkUnmap?(first: number, count: number): void;
  /**
   * When it returns undefined, no DMA uses what this thread has unmapped: memory of this layer's own may go to someone else. A
   * table without it invalidates before `unmap` returns.
   */
  awaitInvalidation?(): Failure | undefined;
}
