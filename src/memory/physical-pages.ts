/**
 * An allocator of physical memory in pages of 4 KiB: for levels of tables, coherent memory, bounce buffers, list pages. It uses the pooled
 * allocator on a reserved part of memory. So threads share it, frees are checked, and `reclaim` recovers the pages of dead threads.
 *
 *     const pages = PhysicalPages.create({ address: 0x100000, bytes: 2 ** 24 });
 *     worker.postMessage(pages.handle);  // there: PhysicalPages.attach(handle)
 */

import { type AreaConstraints, areaConstraints } from "../allocator/constraints.ts";
import { type Enclosure, PooledAllocator } from "../allocator/pooled-allocator.ts";
import { type AllocatorHandle, openState } from "../allocator/state.ts";
import type { Crew, ReclaimScope, Recovered } from "../crew/crew.ts";
import { checkHandle } from "../table/handle.ts";
import { checkInteger, FormatError, FreeError, InvalidArgumentError } from "../units/errors.ts";
import { failureOf, isFailure, LONGER_THAN_TABLE } from "../units/failure.ts";
import { checkKeys } from "../units/keys.ts";
import type { DmaWindow } from "../units/numbers.ts";

const PAGE_SHIFT = 12;
/** Unit of allocation: 4 KiB. */
const PHYSICAL_PAGE_BYTES = 2 ** PAGE_SHIFT;

/** Options of `PhysicalPages.create`. */
export interface PhysicalPagesOptions {
  /** Physical address of the first byte: a multiple of 4096. */
  readonly address: number;
  /** Size in bytes: a multiple of 4096, at least one page. */
  readonly bytes: number;
  /** Most attached threads: 1 .. 256. Default 32, or the crew's limit. */
  readonly threads?: number;
  /** The crew of the machine with this memory. Default: a new crew. */
  readonly crew?: Crew;
}

/** Recovered after the tables: until a dead thread's entries are invalidated, a device may reach its pages. */
const LAST: Enclosure = { stage: "pages" };
/** Recovered by the structure that contains them. */
const PART: Enclosure = { stage: "part" };

/** Data that a thread attaches to, structured-cloneable: post it to another thread. */
export interface PhysicalPagesHandle {
  /** Physical address of the first byte. */
  readonly address: number;
  /** Size in bytes. */
  readonly bytes: number;
  /** The allocator of the pages. */
  readonly allocator: AllocatorHandle;
}

/** A range of physical memory, in bytes. */
export interface PhysicalRange {
  /** Physical address of the first byte. */
  readonly address: number;
  /** Length in bytes. */
  readonly bytes: number;
}

/**
 * Allocates physical memory in pages of 4 KiB: for levels of tables, coherent memory, bounce buffers. An object is the view of one thread: post
 * `handle` to another thread and `attach` there. Addresses and lengths are in bytes. `allocate` returns a failure code below 0 if no space is
 * left. A wrong `free` throws FreeError.
 *
 * @example
 * ```ts
 * import { orThrow } from "iova";
 * import { PhysicalPages } from "iova/platform";
 *
 * const pages = PhysicalPages.create({ address: 0x10_0000, bytes: 0x4_0000 });
 * const address = orThrow(pages.allocate(10_000)); // three pages of 4 KiB
 * console.log(address % 4096, pages.takenPages);
 * pages.free(address, 10_000);
 * ```
 * ```text output
 * 0 3
 * ```
 */
export class PhysicalPages {
  /** Data to attach to, structured-cloneable: post it to another thread and call `PhysicalPages.attach` there. */
  readonly handle: PhysicalPagesHandle;
  readonly #allocator: PooledAllocator;
  readonly #firstPage: number;
  /** The region as the allocator's window, so that alignment refers to physical addresses. */
  readonly #region: DmaWindow;
  /** Constraints by log2 of the alignment in pages. */
  readonly #constraints: AreaConstraints[] = [];

  private constructor(handle: PhysicalPagesHandle, allocator: PooledAllocator) {
    this.handle = handle;
    this.#allocator = allocator;
    this.#firstPage = handle.address / PHYSICAL_PAGE_BYTES;
    this.#region = regionOf(handle);
  }

  /**
   * Makes the allocator and attaches this thread. The region must be memory that is used for nothing else. `isPart`: the structure that
   * contains the pages recovers them.
   * @throws InvalidArgumentError for options out of range
   */
  static create(options: PhysicalPagesOptions, isPart = false): PhysicalPages {
    checkKeys("physical pages", options, { address: "any", bytes: "any", threads: "any", crew: "object" });
    const { address, bytes, ...members } = options;
    checkPages("address of physical pages", address, 0);
    checkPages("size of physical pages in bytes", bytes, PHYSICAL_PAGE_BYTES);
    const entries = bytes / PHYSICAL_PAGE_BYTES;
    // Without caches: pages are taken rarely and held long, and a free page that an idle thread keeps would be missed.
    const allocator = PooledAllocator.create({ entries, cache: "none", ...members }, undefined, isPart ? PART : LAST);
    return new PhysicalPages({ address, bytes, allocator: allocator.handle }, allocator);
  }

  /**
   * Attaches this thread. `crew`: this thread's view of the pages' crew; default: the thread attaches to the crew.
   * @throws FormatError for a foreign handle
   */
  static attach(handle: PhysicalPagesHandle, crew?: Crew, isPart = false): PhysicalPages {
    checkPagesHandle(handle);
    const allocator = PooledAllocator.attach(handle.allocator, undefined, crew, isPart ? PART : LAST);
    return new PhysicalPages(handle, allocator);
  }

  /**
   * Allocates `bytes` (rounded up to pages), aligned to `alignment` bytes (a power of two; default one page). Returns the physical address,
   * or a failure code (negative). The memory is not cleared.
   */
  allocate(bytes: number, alignment: number = PHYSICAL_PAGE_BYTES): number {
    const pages = pagesOf(bytes);
    this.checkOpen();
    if (pages > this.#allocator.entries) return LONGER_THAN_TABLE;
    const entry = this.#allocator.allocate(pages, this.#constraintsOf(alignment));
    return entry < 0 ? entry : (this.#firstPage + entry) * PHYSICAL_PAGE_BYTES;
  }

  /**
   * Frees memory that `allocate` returned, with the same length. While a dead thread holds the lock, the pages wait in this thread's queue.
   * @throws FreeError, and changes nothing, for other addresses and lengths
   */
  free(address: number, bytes: number): void {
    if (isFailure(address)) {
      throw new FreeError("out-of-range", `free of ${address}: the failure ${failureOf(address)}, no address`);
    }
    const entry = this.#entryOf(address);
    const pages = pagesOf(bytes);
    // In two steps: a range that is `ending` and whose lock can't be had waits in this thread's queue, or is quarantined.
    this.#allocator.startFree(entry, pages);
    this.#allocator.finishFree(entry, pages);
  }

  /** Number of allocated pages. Exact while no other thread runs. */
  get takenPages(): number {
    return this.#allocator.statistics().taken;
  }

  /** Number of this thread in the crew. */
  get thread(): number {
    return this.#allocator.thread;
  }

  /** Returns the live ranges that a thread has allocated. Exact while that thread does not run. */
  allocatedBy(thread: number): readonly PhysicalRange[] {
    checkInteger("thread", thread, 0, this.#allocator.crew.threads - 1);
    const ranges = this.#allocator.leaks().get(thread) ?? [];
    return ranges.map(({ first, end }) => ({
      address: (this.#firstPage + first) * PHYSICAL_PAGE_BYTES,
      bytes: (end - first) * PHYSICAL_PAGE_BYTES,
    }));
  }

  /**
   * Moves a range of another thread to this thread: memory of a dead thread that others still use, before the thread is reclaimed with
   * everything. `from`: the owner; default: any thread. False: the range is not live, or belongs to another thread.
   */
  adopt(range: PhysicalRange, from?: number): boolean {
    if (typeof range !== "object" || range === null)
      throw new InvalidArgumentError("range to adopt", range, "{ address, bytes }");
    const { address, bytes } = range;
    return this.#allocator.adopt(this.#entryOf(address), pagesOf(bytes), from);
  }

  /**
   * Recovers a dead thread in all structures of the crew (Crew.reclaim): its unfinished ranges, or all. Call it when the thread has
   * certainly ended.
   */
  reclaim(thread: number, scope: ReclaimScope): void {
    this.#allocator.reclaim(thread, scope);
  }

  /** Recovers these pages, for the structure that contains them, under the crew's recovery lock. */
  recover(thread: number, scope: ReclaimScope): Recovered {
    return this.#allocator.recover(thread, scope);
  }

  /**
   * Detaches this thread; its allocations stay. Later calls of allocate, free, adopt and reclaim throw IovaError "view-closed". A second
   * call does nothing.
   */
  close(): void {
    this.#allocator.close();
  }

  /** Closes the view at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Throws IovaError "view-closed" after `close`. */
  checkOpen(): void {
    this.#allocator.checkOpen();
  }

  #entryOf(address: number): number {
    if (typeof address !== "number") throw new InvalidArgumentError("address of physical pages", address, "a number");
    return address / PHYSICAL_PAGE_BYTES - this.#firstPage;
  }

  #constraintsOf(alignment: number): AreaConstraints {
    if (typeof alignment !== "number" || !Number.isInteger(Math.log2(alignment))) {
      throw new InvalidArgumentError("alignment of physical pages in bytes", alignment, "a power of two");
    }
    const log2 = Math.max(0, Math.log2(alignment) - PAGE_SHIFT);
    this.#constraints[log2] ??= areaConstraints(this.#region, { alignmentPages: 2 ** log2 });
    return this.#constraints[log2];
  }
}

/** Throws FormatError for an invalid handle, before a thread number is taken. */
export function checkPagesHandle(handle: PhysicalPagesHandle): void {
  checkHandle("physical pages", handle, { address: "count", bytes: "count", allocator: "object" });
  const { entries } = openState(handle.allocator).options;
  if (entries === handle.bytes / PHYSICAL_PAGE_BYTES) return;
  throw new FormatError(`the handle has ${handle.bytes} bytes; its allocator has ${entries} pages`);
}

function pagesOf(bytes: number): number {
  checkInteger("bytes of physical pages", bytes, 1, Number.MAX_SAFE_INTEGER);
  return Math.ceil(bytes / PHYSICAL_PAGE_BYTES);
}

function regionOf({ address, bytes }: PhysicalPagesHandle): DmaWindow {
  return {
    base: BigInt(address),
    pageShift: PAGE_SHIFT,
    entries: bytes / PHYSICAL_PAGE_BYTES,
  };
}

function checkPages(what: string, value: number, least: number): void {
  if (Number.isSafeInteger(value) && value >= least && value % PHYSICAL_PAGE_BYTES === 0) return;
  throw new InvalidArgumentError(what, value, `a multiple of ${PHYSICAL_PAGE_BYTES} from ${least} on`);
}
