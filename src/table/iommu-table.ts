/**
 * The generic IOMMU table: a window of bus addresses, the allocator of its entries, and the ops that write them.
 *
 * It implements the rules of contract.ts: alloc = bits, then entries; free = entries, then invalidate, then bits. No lock is held while
 * entries are written, cleared or invalidated. Strict mode invalidates before `unmap` returns. In lazy mode the range waits in its thread's
 * queue for a flush of the whole IOTLB, so that one flush serves hundreds of ranges.
 *
 * An object is one thread's view. Platforms enclose it and add their own fields (platforms/).
 */

import { type AreaConstraints, UNCONSTRAINED } from "../allocator/constraints.ts";
import type { Invalidator } from "../allocator/flush.ts";
import type { HeldRange } from "../allocator/inspect/ranges.ts";
import type { AllocatorStatistics } from "../allocator/inspect/statistics.ts";
import { ALLOCATOR_OPTIONS, type AllocatorOptions } from "../allocator/options.ts";
import { type Enclosure, PooledAllocator, viewClosed } from "../allocator/pooled-allocator.ts";
import type { Forget } from "../allocator/recovery.ts";
import { type AllocatorHandle, openState } from "../allocator/state.ts";
import type { Crew, ReclaimScope, Recover } from "../crew/crew.ts";
import { checkInteger, FormatError, InvalidArgumentError } from "../units/errors.ts";
import type { Failure } from "../units/failure.ts";
import { checkKeys } from "../units/keys.ts";
import type { Access, DmaWindow, EntryAccess, EntryRange, EntryRanges } from "../units/numbers.ts";
import { checkWindow } from "../units/window.ts";
import type { EntryValue, MappingTable, TableOps } from "./contract.ts";
import { setPages } from "./set-pages.ts";

/** Options of `IommuTable.create`: those of the allocator. The number of entries is the window's. */
export type TableOptions = Omit<AllocatorOptions, "entries">;

/** Data that a thread attaches to, structured-cloneable: post it to another thread and call `IommuTable.attach` there, with ops of that thread. */
export interface TableHandle extends AllocatorHandle {
  /** The bus addresses that the table translates. */
  readonly window: DmaWindow;
}

/** A live mapping: a range of entries that one call mapped. A scatterlist may have several. */
export interface LiveMapping extends EntryRange {
  /** Bus address of the first entry, in bytes. */
  readonly iova: bigint;
  /** Length of all entries, in bytes. */
  readonly bytes: number;
  /** Access of devices, as in the first entry. 0: the entry is empty at this moment, because another thread unmaps the range. */
  readonly access: 0 | Access;
  /** The number of the thread that mapped it. */
  readonly owner: number;
}

const { entries: _, ...TABLE_OPTIONS } = ALLOCATOR_OPTIONS;

/** The options for a table whose threads are those of a machine's crew, if the machine has one. */
export function inCrew(options: TableOptions | undefined, crew: Crew | undefined): TableOptions {
  return crew === undefined ? { ...options } : { ...options, crew };
}

/** Adds a platform's own recovery to `own`, the recovery of its table. */
export type RecoverAround = (own: Recover, structure: number) => Recover;

/**
 * Returns the bus address of an entry's first byte. Only this function converts an entry to an address.
 * @throws InvalidArgumentError for an entry outside of the window, such as a failure code
 */
export function iovaOf(window: DmaWindow, entry: number): bigint {
  if (typeof window?.base !== "bigint") checkWindow(window);
  checkInteger("entry", entry, 0, window.entries - 1);
  return window.base + (BigInt(entry) << BigInt(window.pageShift));
}

/**
 * Table of an IOMMU: a window of bus addresses, the allocator of its entries, and the ops that write them. Platforms make it (`generic`), and
 * drivers use it through a `DmaDevice`.
 *
 * An object is the view of one thread. Post `handle` to another thread and `attach` there, with ops of that thread. A range may be mapped by
 * one thread and unmapped by another.
 *
 * Entries are numbers 0 .. window.entries − 1. A negative result is a failure code, which `failureOf` names. A wrong `unmap` throws FreeError.
 *
 * @example
 * ```ts
 * import { DEVICE_READS, iovaOf, orThrow } from "iova";
 * import { LinearPlatform, SoftwareMachine } from "iova/platform";
 *
 * const machine = SoftwareMachine.create({ memoryBytes: 2 ** 20 });
 * const window = { base: 0x8000_0000n, pageShift: 12, entries: 1024 };
 * const { generic: table } = LinearPlatform.create(machine, { format: "powernv-tce", window });
 *
 * const first = orThrow(table.allocate(2));
 * orThrow(table.set(first, 2, 0x10, DEVICE_READS)); // two pages of memory from 0x10000 on
 * orThrow(table.publish());
 * table.commit(first, 2);
 * for (const { iova, bytes, owner } of table.mappings()) console.log(iova === iovaOf(window, first), bytes, owner);
 * orThrow(table.unmap(first, 2));
 * ```
 * ```text output
 * true 8192 0
 * ```
 */
export class IommuTable implements MappingTable {
  /** The bus addresses that the table translates. */
  readonly window: DmaWindow;
  /** The ops of this view: the platform's, or those that `encloseOps` made. */
  ops: TableOps;
  /** The allocator of the table's entries: this thread's view. */
  readonly allocator: PooledAllocator;
  readonly #lazy: boolean;
  readonly #invalidator: TableInvalidator;
  /** The ops for `set`, which is called for each element of a scatterlist and must not ask whether the view is open. Those of a closed view throw. */
  #openOps: TableOps;

  private constructor(window: DmaWindow, invalidator: TableInvalidator, allocator: PooledAllocator) {
    this.window = window;
    this.ops = invalidator.ops;
    this.allocator = allocator;
    this.#invalidator = invalidator;
    this.#lazy = allocator.lazy;
    this.#openOps = invalidator.ops;
    allocator.atClose(() => {
      this.#openOps = closedOps(allocator.thread);
    });
  }

  /**
   * Makes a table and attaches this thread. All entries must be empty. `around`: the recovery of a platform that encloses the table.
   * @throws InvalidArgumentError for a window or options out of range, and for ops that lack a method
   */
  static create(window: DmaWindow, ops: TableOps, options: TableOptions = {}, around?: RecoverAround): IommuTable {
    checkWindow(window);
    checkOps(ops);
    checkKeys("a table", options, TABLE_OPTIONS);
    const invalidator = new TableInvalidator(ops);
    return new IommuTable(
      window,
      invalidator,
      PooledAllocator.create({ ...options, entries: window.entries }, invalidator, enclosureOf(invalidator, around)),
    );
  }

  /**
   * Attaches this thread, with its own ops. `crew`: this thread's view of the table's crew; default: the thread attaches to the crew. `around`:
   * as for `create`.
   * @throws FormatError for a foreign handle; InvalidArgumentError for ops that lack a method; IovaError as `PooledAllocator.attach`
   */
  static attach(handle: TableHandle, ops: TableOps, crew?: Crew, around?: RecoverAround): IommuTable {
    checkTableHandle(handle);
    checkOps(ops);
    const invalidator = new TableInvalidator(ops);
    return new IommuTable(
      handle.window,
      invalidator,
      PooledAllocator.attach(handle, invalidator, crew, enclosureOf(invalidator, around)),
    );
  }

  /**
   * Replaces this view's ops by ones that enclose them, for listeners (`listen`), traces or checks. From then on every operation of this view
   * goes through them, also the recovery of other threads. The platform's own calls of its ops do not. Call it between two operations.
   * @throws InvalidArgumentError for ops that lack a method; IovaError "view-closed"
   */
  encloseOps(enclose: (ops: TableOps) => TableOps): void {
    this.allocator.checkOpen();
    const ops = enclose(this.ops);
    checkOps(ops);
    this.ops = ops;
    this.#openOps = ops;
    this.#invalidator.ops = ops;
  }

  /** Data to attach to, structured-cloneable: post it to another thread and call `IommuTable.attach` there. */
  get handle(): TableHandle {
    return { ...this.allocator.handle, window: this.window };
  }
  /** Number of this thread, 0 .. threads − 1, as reports name it. */
  get thread(): number {
    return this.allocator.thread;
  }

  allocate(count: number, constraints: AreaConstraints = UNCONSTRAINED, after = -1): number {
    return this.allocator.begin(count, constraints, after);
  }

  /** As `PooledAllocator.allocateAt`, but the range is pending. */
  allocateAt(first: number, count: number): number {
    return this.allocator.beginAt(first, count);
  }

  /** As `PooledAllocator.holderOf`. */
  holderOf(range: EntryRange): HeldRange | undefined {
    return this.allocator.holderOf(range);
  }

  get(entry: number, into: EntryValue): void {
    checkInteger("entry", entry, 0, this.window.entries - 1);
    this.allocator.checkOpen();
    this.ops.get(entry, into);
  }

  set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    return this.#openOps.set(first, count, page, access);
  }

  setPages(first: number, pages: Float64Array, count: number, access: EntryAccess): Failure | undefined {
    return setPages(this.#openOps, first, pages, count, access);
  }

  setCoherent(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    this.allocator.checkOpen();
    const { ops } = this;
    return ops.setCoherent === undefined
      ? ops.set(first, count, page, access)
      : ops.setCoherent(first, count, page, access);
  }

  synchronize(first: number, count: number): Failure | undefined {
    this.allocator.checkOpen();
    return this.ops.synchronize?.(first, count);
  }

  publish(): Failure | undefined {
    this.allocator.checkOpen();
    return this.ops.publish();
  }

  commit(first: number, count: number): void {
    this.allocator.commit(first, count);
  }

  abandon(first: number, count: number): Failure | undefined {
    this.allocator.checkPending(first, count);
    let failure: Failure | undefined;
    try {
      this.ops.clear(first, count);
      failure = this.ops.publish();
      // A stray DMA may have walked the entries between `set` and here, so the IOTLB is invalidated too.
      failure = this.ops.invalidate(first, first + count) ?? failure;
    } catch (error) {
      this.#keepPending(first, count);
      throw error;
    }
    return this.#endPending(first, count, failure);
  }

  abandonAll(firsts: Int32Array, counts: Int32Array, areas: number): Failure | undefined {
    for (let i = 0; i < areas; i++) this.allocator.checkPending(firsts[i] as number, counts[i] as number);
    let failure: Failure | undefined;
    let done = 0;
    try {
      const uncleared = this.#clearRuns(firsts, counts, areas);
      for (; done < areas; done++) {
        const first = firsts[done] as number;
        const count = counts[done] as number;
        const failed = this.#endPending(first, count, this.ops.invalidate(first, first + count) ?? uncleared);
        failure ??= failed;
      }
    } catch (error) {
      for (; done < areas; done++) this.#keepPending(firsts[done] as number, counts[done] as number);
      throw error;
    }
    return failure;
  }

  /**
   * Unmaps a live range: empties its entries, invalidates the IOTLB, and returns the range to its pool. `count`: its length in entries, which
   * is checked; default: any length. In lazy mode the range waits for a flush.
   *
   * A failure: the entries could not be emptied, the IOTLB could not be invalidated, or a dead thread has the pool's lock. The range is
   * quarantined until that is done. If ops throw, the range stays live, with entries that may be empty, and the call may be repeated.
   * @throws FreeError, and changes nothing, on misuse
   */
  unmap(first: number, count: number = this.allocator.lengthAt(first)): Failure | undefined {
    this.allocator.startFree(first, count);
    try {
      this.ops.clear(first, count);
      const failure = this.ops.publish();
      return failure === undefined ? this.#forgetAndFree(first, count) : this.#keepUncleared(first, count, failure);
    } catch (error) {
      this.allocator.cancelFree(first, count);
      throw error;
    }
  }

  unmapAll(firsts: Int32Array, counts: Int32Array, areas: number): Failure | undefined {
    // Most scatterlists have one area.
    if (areas === 1) return this.unmap(firsts[0] as number, counts[0] as number);
    this.allocator.startFreeAll(firsts, counts, areas);
    let failure: Failure | undefined;
    try {
      failure = this.#clearRuns(firsts, counts, areas);
      if (failure !== undefined || !this.#lazy) {
        const failed = this.#invalidateRuns(firsts, counts, areas);
        failure ??= failed;
      }
    } catch (error) {
      for (let i = 0; i < areas; i++) this.allocator.cancelFree(firsts[i] as number, counts[i] as number);
      throw error;
    }
    if (failure === undefined && this.#lazy) return this.#freeAllLazily(firsts, counts, areas);
    return this.#freeAll(firsts, counts, areas, failure);
  }

  checkUnmap(first: number, count: number): void {
    this.allocator.checkFree(first, count);
  }

  awaitInvalidation(): Failure | undefined {
    this.allocator.checkOpen();
    return this.#lazy ? this.allocator.invalidateAll() : undefined;
  }

  /** Reserves exactly this range, as `PooledAllocator.reserve`. Its entries do not change. */
  reserve(range: EntryRange): Failure | undefined {
    return this.allocator.reserve(range);
  }

  /**
   * Recovers a dead thread in all structures of its crew that this thread is attached to, as `Crew.reclaim` does. In this table it clears the
   * thread's entries, invalidates, and returns the ranges. Returns the ranges of this table that came back. Call it when the thread has
   * certainly ended. Until it returns, devices may use the dead thread's mappings.
   * @throws IovaError and errors of recoveries as `Crew.reclaim`
   */
  reclaim(thread: number, scope: ReclaimScope): EntryRanges {
    return this.allocator.reclaim(thread, scope);
  }

  /**
   * Iterates over the live mappings of all threads in ascending order. Read without locks during the iteration: exact when no thread runs; a
   * mapping that begins or ends meanwhile may be missing. It reads the ledger, and one entry of each mapping.
   */
  *mappings(): Generator<LiveMapping, void, undefined> {
    const { window } = this;
    const value: EntryValue = { page: 0, access: 0 };
    for (const { first, end, owner } of this.allocator.live()) {
      this.get(first, value);
      const bytes = (end - first) * 2 ** window.pageShift;
      yield { first, end, iova: iovaOf(window, first), bytes, access: value.access, owner };
    }
  }

  /** As `PooledAllocator.statistics`. */
  statistics(): AllocatorStatistics {
    return this.allocator.statistics();
  }
  /** As `PooledAllocator.leaks`. */
  leaks(): ReadonlyMap<number, readonly EntryRange[]> {
    return this.allocator.leaks();
  }
  /**
   * Ends this thread's view: returns its cached and queued ranges. See `PooledAllocator.close` for ranges that could not be emptied, and for
   * the calls that a closed view still answers. A second call does nothing. If ops throw, the view is closed, and the caller gets the error.
   */
  close(): void {
    this.allocator.close();
  }

  /** Closes the view at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Empties the entries of all areas, adjacent areas by one call, and publishes that. */
  #clearRuns(firsts: Int32Array, counts: Int32Array, areas: number): Failure | undefined {
    for (let i = 0; i < areas; ) {
      const next = endOfRun(firsts, counts, i, areas);
      const first = firsts[i] as number;
      this.ops.clear(first, (firsts[next - 1] as number) + (counts[next - 1] as number) - first);
      i = next;
    }
    return this.ops.publish();
  }

  /**
   * Frees a pending range, or quarantines it after `failure` (entries not empty, or not invalidated). Returns that failure, or the one of
   * the free.
   */
  #endPending(first: number, count: number, failure: Failure | undefined): Failure | undefined {
    if (failure === undefined) return this.allocator.abandon(first, count);
    this.allocator.quarantinePending(first, count);
    return failure;
  }

  /** Quarantines a range after ops threw, until a flush has emptied its entries and invalidated the IOTLB. */
  #keepPending(first: number, count: number): void {
    this.allocator.quarantinePending(first, count);
    this.#invalidator.empty(first, count);
  }

  /** Quarantines a range whose entries may not be empty, until they are and an invalidation has succeeded. */
  #keepUncleared(first: number, count: number, failure: Failure): Failure {
    this.ops.invalidate(first, first + count);
    this.allocator.quarantine(first, count);
    return failure;
  }

  #forgetAndFree(first: number, count: number): Failure | undefined {
    if (this.#lazy) return this.allocator.finishFreeLazily(first, count);
    const failure = this.ops.invalidate(first, first + count);
    if (failure === undefined) return this.allocator.finishFree(first, count);
    this.allocator.quarantine(first, count);
    return failure;
  }

  /** As `#endPending`, for areas that are being freed. */
  #freeAll(firsts: Int32Array, counts: Int32Array, areas: number, failure: Failure | undefined): Failure | undefined {
    let answer = failure;
    for (let i = 0; i < areas; i++) {
      if (failure !== undefined) this.allocator.quarantine(firsts[i] as number, counts[i] as number);
      else {
        const failed = this.allocator.finishFree(firsts[i] as number, counts[i] as number);
        answer ??= failed;
      }
    }
    return answer;
  }

  /** Makes one invalidation for each run of adjacent areas, all before the first area is freed: if ops throw, no area is freed. */
  #invalidateRuns(firsts: Int32Array, counts: Int32Array, areas: number): Failure | undefined {
    let failure: Failure | undefined;
    for (let i = 0; i < areas; ) {
      const next = endOfRun(firsts, counts, i, areas);
      const end = (firsts[next - 1] as number) + (counts[next - 1] as number);
      const failed = this.ops.invalidate(firsts[i] as number, end);
      failure ??= failed;
      i = next;
    }
    return failure;
  }

  /** If a due flush throws, its error is rethrown after all areas were freed or quarantined. */
  #freeAllLazily(firsts: Int32Array, counts: Int32Array, areas: number): Failure | undefined {
    let failure: Failure | undefined;
    let thrown: { readonly error: unknown } | undefined;
    for (let i = 0; i < areas; i++) {
      try {
        const failed = this.allocator.finishFreeLazily(firsts[i] as number, counts[i] as number);
        failure ??= failed;
      } catch (error) {
        thrown ??= { error };
        this.allocator.quarantine(firsts[i] as number, counts[i] as number);
      }
    }
    if (thrown !== undefined) throw thrown.error;
    return failure;
  }
}

/** Recovery of a dead thread's ranges: clears their entries, then invalidates the IOTLB. */
function enclosureOf(invalidator: TableInvalidator, around: RecoverAround | undefined): Enclosure {
  const forget: Forget = (ranges) => {
    const { ops } = invalidator;
    for (let i = 0; i < ranges.length; ) {
      const next = ranges.endOfRun(i);
      const first = ranges.first(i);
      ops.clear(first, ranges.end(next - 1) - first);
      i = next;
    }
    const failure = ops.publish();
    return ops.invalidateAll() ?? failure;
  };
  return around === undefined ? { forget } : { forget, around };
}

/** Ops of a closed view: each throws IovaError "view-closed". */
function closedOps(thread: number): TableOps {
  const refuse = (): never => {
    throw viewClosed(thread);
  };
  return {
    set: refuse,
    setPages: refuse,
    clear: refuse,
    get: refuse,
    exchange: refuse,
    publish: refuse,
    invalidate: refuse,
    invalidateAll: refuse,
  };
}

/** The part of a table's ops that the allocator uses: the invalidation of the IOTLB. */
class TableInvalidator implements Invalidator {
  ops: TableOps;
  /** Quarantined ranges of this thread whose entries may not be empty, because ops threw. */
  readonly #uncleared: EntryRange[] = [];

  constructor(ops: TableOps) {
    this.ops = ops;
  }

  /** Records entries to empty before the next invalidation. */
  empty(first: number, count: number): void {
    this.#uncleared.push({ first, end: first + count } as EntryRange);
  }

  invalidateAll(): Failure | undefined {
    const { ops } = this;
    const uncleared = this.#uncleared;
    if (uncleared.length > 0) {
      for (const { first, end } of uncleared) ops.clear(first, end - first);
      const failure = ops.publish();
      if (failure !== undefined) return failure;
      uncleared.length = 0;
    }
    return ops.invalidateAll();
  }
}

/** One past the last area of the run of adjacent areas that begins with area `from`. */
function endOfRun(firsts: Int32Array, counts: Int32Array, from: number, areas: number): number {
  let next = from + 1;
  while (next < areas && firsts[next] === (firsts[next - 1] as number) + (counts[next - 1] as number)) next++;
  return next;
}

const REQUIRED_OPS = ["set", "clear", "get", "exchange", "publish", "invalidate", "invalidateAll"] as const;

/** Throws InvalidArgumentError that names a missing method. */
export function checkOps(ops: TableOps): void {
  if (typeof ops !== "object" || ops === null) {
    throw new InvalidArgumentError("ops of a table", ops, `an object with ${REQUIRED_OPS.join(", ")}`);
  }
  for (const method of REQUIRED_OPS) {
    if (typeof ops[method] !== "function") {
      throw new InvalidArgumentError(`${method} of a table's ops`, ops[method], "a function");
    }
  }
}

/** Throws FormatError unless this is a table's handle. No thread number is taken then. */
function checkTableHandle(handle: TableHandle): void {
  const { entries } = openState(handle).options;
  try {
    checkWindow(handle.window);
  } catch (error) {
    throw new FormatError(`the handle is not that of a table: ${(error as Error).message}`);
  }
  if (handle.window.entries !== entries) {
    const found = `its window has ${handle.window.entries} entries, its allocator ${entries}`;
    throw new FormatError(`the handle is not that of a table: ${found}`);
  }
}
