/**
 * Physical memory, handed out in pages of 4 KiB: levels of tables, coherent memory, bounce buffers, list pages. The same
 * pooled allocator as for bus addresses, over a part of memory that belongs to nobody else; so threads share it, frees are
 * checked, and what a dead thread held comes back by `reclaim`.
 *
 *     const pages = PhysicalPages.create({ address: 0x100000, bytes: 2 ** 24 });
 *     worker.postMessage(pages.handle);  // there: PhysicalPages.attach(handle)
 */

import { type AreaConstraints, areaConstraints } from "../allocator/constraints.ts";
import { type Enclosure, PooledAllocator } from "../allocator/pooled-allocator.ts";
import { type AllocatorHandle, openState } from "../allocator/state.ts";
import type { Crew, ReclaimScope, Recovered } from "../shared/crew.ts";
import { checkHandle } from "../table/handle.ts";
import { checkInteger, FormatError, FreeError, InvalidArgumentError } from "../units/errors.ts";
import { failureOf, isFailure, LONGER_THAN_TABLE } from "../units/failure.ts";
import { checkKeys } from "../units/keys.ts";
import type { DmaWindow } from "../units/numbers.ts";

const PAGE_SHIFT = 12;
/** The unit: 4 KiB. */
const PHYSICAL_PAGE_BYTES = 2 ** PAGE_SHIFT;

export interface PhysicalPagesOptions {
  /** Physical address of the first byte: a multiple of 4096. */
  readonly address: number;
  /** Size in bytes: a multiple of 4096, at least one page. */
  readonly bytes: number;
  /** Threads that can be attached at once: 1 .. 256. Default 32, or the crew's. */
  readonly threads?: number;
  /** The threads of the machine whose memory it is. Default: a crew of its own. */
  readonly crew?: Crew;
}

/** Until the tables have forgotten what a dead thread had mapped, a device may still reach its pages. */
const LAST: Enclosure = { stage: "pages" };
/** Recovered by what they are a part of. */
const PART: Enclosure = { stage: "part" };

/** Structured-cloneable: post it to another thread and attach there. */
export interface PhysicalPagesHandle {
  readonly address: number;
  readonly bytes: number;
  readonly allocator: AllocatorHandle;
}

/** A piece of physical memory, in bytes. */
export interface PhysicalRange {
  readonly address: number;
  readonly bytes: number;
}

/**
 * Physical memory [address, address + bytes), handed out in pages of 4 KiB. One thread's view: post `handle`, and `attach` in each other
 * thread. Addresses and lengths are bytes. No space is an answer, a wrong free throws; what a dead thread held comes back by `reclaim`.
 */
export class PhysicalPages {
  readonly handle: PhysicalPagesHandle;
  readonly #allocator: PooledAllocator;
  readonly #firstPage: number;
  /** The region as the allocator's "window": alignment is then of physical addresses. */
  readonly #region: DmaWindow;
  /** By log2 of the alignment in pages. */
  readonly #constraints: AreaConstraints[] = [];

  private constructor(handle: PhysicalPagesHandle, allocator: PooledAllocator) {
    this.handle = handle;
    this.#allocator = allocator;
    this.#firstPage = handle.address / PHYSICAL_PAGE_BYTES;
    this.#region = regionOf(handle);
  }

  /**
   * The caller answers for it that the region is memory that nobody else uses. `isPart`: what they are a part of recovers them
   * (`recover`). Throws InvalidArgumentError.
   */
  static create(options: PhysicalPagesOptions, isPart = false): PhysicalPages {
    checkKeys("physical pages", options, { address: "any", bytes: "any", threads: "any", crew: "object" });
    const { address, bytes, ...members } = options;
    checkPages("address of physical pages", address, 0);
    checkPages("size of physical pages in bytes", bytes, PHYSICAL_PAGE_BYTES);
    const entries = bytes / PHYSICAL_PAGE_BYTES;
    const allocator = PooledAllocator.create({ entries, ...members }, undefined, isPart ? PART : LAST);
    return new PhysicalPages({ address, bytes, allocator: allocator.handle }, allocator);
  }

  /** A view for the calling thread, with its number in `crew`; left out: with a number of its own. Throws FormatError for a foreign handle. */
  static attach(handle: PhysicalPagesHandle, crew?: Crew, isPart = false): PhysicalPages {
    checkPagesHandle(handle);
    const allocator = PooledAllocator.attach(handle.allocator, undefined, crew, isPart ? PART : LAST);
    return new PhysicalPages(handle, allocator);
  }

  /**
   * Takes `bytes` (rounded up to pages), aligned to `alignment` bytes (a power of two; default one page). The physical address, or
   * a failure code (negative). The memory holds what it held before.
   */
  allocate(bytes: number, alignment: number = PHYSICAL_PAGE_BYTES): number {
    const pages = pagesOf(bytes);
    this.checkOpen();
    if (pages > this.#allocator.entries) return LONGER_THAN_TABLE;
    const entry = this.#allocator.allocate(pages, this.#constraintsOf(alignment));
    return entry < 0 ? entry : (this.#firstPage + entry) * PHYSICAL_PAGE_BYTES;
  }

  /** Gives back what `allocate` returned, with the same length. Throws FreeError for anything else. */
  free(address: number, bytes: number): void {
    if (isFailure(address)) {
      throw new FreeError("out-of-range", `free of ${address}: the failure ${failureOf(address)}, no address`);
    }
    const entry = address / PHYSICAL_PAGE_BYTES - this.#firstPage;
    const failure = this.#allocator.free(entry, pagesOf(bytes));
    // The lock's owner does not answer: the pages stay taken, which harms nobody but the count.
    if (failure !== 0) this.freesLost++;
  }

  /** Frees of this view that could not be carried out, since a lock's owner did not answer in time. */
  freesLost = 0;

  /** Pages that are taken now. Exact when nothing runs. */
  get takenPages(): number {
    return this.#allocator.statistics().taken;
  }

  get thread(): number {
    return this.#allocator.thread;
  }

  /** What a thread has allocated, and nobody has freed. Exact while that thread does not run. */
  allocatedBy(thread: number): readonly PhysicalRange[] {
    const ranges = this.#allocator.leaks().get(thread) ?? [];
    return ranges.map(({ first, end }) => ({
      address: (this.#firstPage + first) * PHYSICAL_PAGE_BYTES,
      bytes: (end - first) * PHYSICAL_PAGE_BYTES,
    }));
  }

  /**
   * Makes a range of another thread this one's: what others still use of a dead thread's, before everything of it is reclaimed.
   * `from` left out: whoever's it is. False: it is not that thread's, or nobody's (any more).
   */
  adopt({ address, bytes }: PhysicalRange, from?: number): boolean {
    return this.#allocator.adopt(address / PHYSICAL_PAGE_BYTES - this.#firstPage, bytes / PHYSICAL_PAGE_BYTES, from);
  }

  /** Takes back what a dead thread had not finished, or everything of it, everywhere (Crew.reclaim). Once its end is certain. */
  reclaim(thread: number, scope: ReclaimScope): void {
    this.#allocator.reclaim(thread, scope);
  }

  /** These pages' part of a reclaim; for what they are a part of, with the crew's recovery lock. */
  recover(thread: number, scope: ReclaimScope): Recovered {
    return this.#allocator.recover(thread, scope);
  }

  /**
   * Gives this thread's slot back; what it has allocated stays allocated. From then on this view takes, frees, adopts and reclaims
   * nothing: it throws IovaError "view-closed". A second call does nothing.
   */
  close(): void {
    this.#allocator.close();
  }

  /** `using` ends it as `close` does. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Throws IovaError "view-closed" once `close` has been called. */
  checkOpen(): void {
    this.#allocator.checkOpen();
  }

  #constraintsOf(alignment: number): AreaConstraints {
    const log2 = Math.max(0, Math.log2(alignment) - PAGE_SHIFT);
    if (!Number.isInteger(Math.log2(alignment))) {
      throw new InvalidArgumentError("alignment of physical pages in bytes", alignment, "a power of two");
    }
    this.#constraints[log2] ??= areaConstraints(this.#region, { alignmentPages: 2 ** log2 });
    return this.#constraints[log2];
  }
}

/** Throws FormatError. No slot has been taken then. */
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
