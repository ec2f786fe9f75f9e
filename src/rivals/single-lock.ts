/**
 * The table before 2015: one lock, one pool, a bitmap searched bit by bit from the end of the last search (next fit). The baseline of the
 * pooled allocator.
 *
 * As in 2015, `allocate` holds the lock only for the search, and the caller writes the entries afterwards, but `unmap` holds it while
 * entries are cleared and the IOTLB is invalidated. So every thread waits for the hardware of every other. Its known defects (the last
 * entries never used, endless loops for requests longer than the boundary, undetected double frees) are left out, so that only the
 * structure is compared.
 *
 * Always strict: lazy mode was a flush when the search wrapped round, which hands out entries that the IOTLB still knows.
 * No recovery of dead threads.
 */
import { type AreaConstraints, UNCONSTRAINED } from "../allocator/constraints.ts";
import { count as addTo, COUNTER_WORDS, counted } from "../shared/counters.ts";
import { LOCK_WORDS, lock, lockStatistics, tagOf, unlock } from "../shared/lock.ts";
import {
  add,
  createShared,
  glance,
  isShared,
  peek,
  poke,
  type SharedBuffer,
  type SharedWords,
  wordsOf,
} from "../shared/memory.ts";
import type { MappingTable, TableOps } from "../table/contract.ts";
import { setPages } from "../table/set-pages.ts";
import { checkInteger, FormatError, FreeError, IovaError } from "../units/errors.ts";
import {
  type Failure,
  failureOf,
  LONGER_THAN_BOUNDARY,
  LONGER_THAN_TABLE,
  MASK_TOO_LOW,
  TABLE_FULL,
} from "../units/failure.ts";
import { type DmaWindow, type EntryAccess, MAX_ENTRIES } from "../units/numbers.ts";

const MAGIC = 0x534c4b31;
const MAX_THREADS = 65_535;
const NOT_FOUND = -1;

/** Words of the header. The lock and the data that it guards share cache lines, as in 2015. */
const MAGIC_AT = 0;
const ENTRIES_AT = 1;
/** Number of threads that have attached. */
const THREADS_AT = 2;
const HINT_AT = 3;
const LOCK_AT = 4;
const SEARCHES_AT = LOCK_AT + LOCK_WORDS;
const STEPS_AT = SEARCHES_AT + COUNTER_WORDS;
const FLUSHES_AT = STEPS_AT + COUNTER_WORDS;
const FAILURES_AT = FLUSHES_AT + COUNTER_WORDS;
const BITMAP_AT = 32;

/** Structured-cloneable: post it to another thread and `SingleLockTable.attach` there. */
export interface SingleLockHandle {
  readonly window: DmaWindow;
  readonly state: SharedBuffer;
}

export interface SingleLockStatistics {
  readonly entries: number;
  readonly taken: number;
  /** The longest free run, in entries. */
  readonly largestHole: number;
  readonly lockAcquisitions: number;
  readonly lockContended: number;
  readonly lockWaitMicroseconds: number;
  /** Allocations that searched. */
  readonly searches: number;
  /** Bits that searches have tested. */
  readonly searchSteps: number;
  /** Invalidations of the IOTLB, all under the lock. */
  readonly flushes: number;
  /** Allocations that found no free range. */
  readonly failures: number;
}

/** One thread's view. */
export class SingleLockTable implements MappingTable {
  readonly window: DmaWindow;
  readonly ops: TableOps;
  readonly handle: SingleLockHandle;
  readonly #words: SharedWords;
  readonly #tag: number;

  private constructor(handle: SingleLockHandle, ops: TableOps) {
    this.handle = handle;
    this.window = handle.window;
    this.ops = ops;
    this.#words = wordsOf(handle.state);
    const thread = add(this.#words, THREADS_AT, 1);
    if (thread >= MAX_THREADS - 1) throw new IovaError("threads", `single-lock table: ${MAX_THREADS} threads attached`);
    this.#tag = tagOf(thread);
  }

  /** Makes a table and attaches this thread. The entries must be empty. */
  static create(window: DmaWindow, ops: TableOps): SingleLockTable {
    checkInteger("the window's entries", window.entries, 1, MAX_ENTRIES);
    const state = createShared((BITMAP_AT + Math.ceil(window.entries / 32)) * 4);
    const words = wordsOf(state);
    poke(words, MAGIC_AT, MAGIC);
    poke(words, ENTRIES_AT, window.entries);
    return new SingleLockTable({ window, state }, ops);
  }

  /** Attaches this thread, with its own ops. Throws FormatError for a foreign handle. */
  static attach(handle: SingleLockHandle, ops: TableOps): SingleLockTable {
    const words =
      isShared(handle?.state) && handle.state.byteLength >= BITMAP_AT * 4 ? wordsOf(handle.state) : undefined;
    if (words === undefined || peek(words, MAGIC_AT) !== MAGIC || peek(words, ENTRIES_AT) !== handle.window?.entries) {
      throw new FormatError("the handle is not that of a single-lock table");
    }
    return new SingleLockTable(handle, ops);
  }

  allocate(count: number, constraints: AreaConstraints = UNCONSTRAINED, after = -1): number {
    checkInteger("entries to allocate", count, 1, MAX_ENTRIES);
    const words = this.#words;
    const refusal = lock(words, LOCK_AT, this.#tag);
    if (refusal !== 0) return refusal;
    const answer = this.#allocateLocked(count, constraints, after);
    if (answer < 0) addTo(words, FAILURES_AT, 1);
    unlock(words, LOCK_AT);
    return answer;
  }

  set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    return this.ops.set(first, count, page, access);
  }

  setPages(first: number, pages: Float64Array, count: number, access: EntryAccess): Failure | undefined {
    return setPages(this.ops, first, pages, count, access);
  }

  setCoherent(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    const { ops } = this;
    return ops.setCoherent === undefined
      ? ops.set(first, count, page, access)
      : ops.setCoherent(first, count, page, access);
  }

  publish(): Failure | undefined {
    return this.ops.publish();
  }

  synchronize(first: number, count: number): Failure | undefined {
    return this.ops.synchronize?.(first, count);
  }

  /** Does nothing: this table does not distinguish pending from live ranges. */
  commit(_first: number, _count: number): void {}

  abandon(first: number, count: number): Failure | undefined {
    return this.unmap(first, count);
  }

  abandonAll(firsts: Int32Array, counts: Int32Array, areas: number): Failure | undefined {
    // All areas are cleared before the first `publish`, so that gathered entries of later areas are not handed to the platform.
    for (let i = 0; i < areas; i++) this.ops.clear(firsts[i] as number, counts[i] as number);
    return this.unmapAll(firsts, counts, areas);
  }

  /** Throws FreeError outside of the table, and if an entry is not taken. It detects no other misuse. */
  unmap(first: number, count: number): Failure | undefined {
    this.#checkTaken(first, count);
    const refusal = lock(this.#words, LOCK_AT, this.#tag);
    if (refusal !== 0) return failureOf(refusal);
    try {
      return this.#freeLocked(first, count);
    } finally {
      unlock(this.#words, LOCK_AT);
    }
  }

  /** Detects as much misuse as `unmap` does. */
  checkUnmap(first: number, count: number): void {
    this.#checkTaken(first, count);
  }

  /** `unmap` has invalidated. */
  awaitInvalidation(): undefined {}

  /** Takes the lock for each area, as in 2015. */
  unmapAll(firsts: Int32Array, counts: Int32Array, areas: number): Failure | undefined {
    for (let i = 0; i < areas; i++) this.#checkTaken(firsts[i] as number, counts[i] as number);
    let failure: Failure | undefined;
    for (let i = 0; i < areas; i++) {
      const failed = this.unmap(firsts[i] as number, counts[i] as number);
      failure ??= failed;
    }
    return failure;
  }

  statistics(): SingleLockStatistics {
    const words = this.#words;
    const { acquisitions, contended, waitMicroseconds } = lockStatistics(words, LOCK_AT);
    return {
      entries: this.window.entries,
      ...this.#occupancy(),
      lockAcquisitions: acquisitions,
      lockContended: contended,
      lockWaitMicroseconds: waitMicroseconds,
      searches: counted(words, SEARCHES_AT),
      searchSteps: counted(words, STEPS_AT),
      flushes: counted(words, FLUSHES_AT),
      failures: counted(words, FAILURES_AT),
    };
  }

  #allocateLocked(count: number, constraints: AreaConstraints, after: number): number {
    const { entries } = this.window;
    if (count > entries) return LONGER_THAN_TABLE;
    if (constraints.boundaryPages !== 0 && count > constraints.boundaryPages) return LONGER_THAN_BOUNDARY;
    if (count > constraints.limit) return MASK_TOO_LOW;
    const words = this.#words;
    const limit = Math.min(entries, constraints.limit);
    const hint = after >= 0 ? after : peek(words, HINT_AT);
    addTo(words, SEARCHES_AT, 1);
    let first = this.#search(hint, limit, count, constraints);
    // Searches again from the start, including runs that begin before the hint and end after it.
    if (first === NOT_FOUND) first = this.#search(0, Math.min(limit, hint + count - 1), count, constraints);
    if (first === NOT_FOUND) return TABLE_FULL;
    for (let entry = first; entry < first + count; entry++) this.#mark(entry, 1);
    poke(words, HINT_AT, first + count);
    return first;
  }

  /** First fit of `count` free entries inside [from, limit), bit by bit. */
  #search(from: number, limit: number, count: number, constraints: AreaConstraints): number {
    let steps = 0;
    let found = NOT_FOUND;
    for (let start = allowedStart(from, count, constraints); start + count <= limit && found === NOT_FOUND; ) {
      let entry = start;
      while (entry < start + count && !this.#isTaken(entry)) entry++;
      steps += entry - start + 1;
      if (entry === start + count) found = start;
      else start = allowedStart(entry + 1, count, constraints);
    }
    addTo(this.#words, STEPS_AT, steps);
    return found;
  }

  /** Entries, IOTLB, bits: in the right order, but all under the lock. */
  #freeLocked(first: number, count: number): Failure | undefined {
    this.ops.clear(first, count);
    const uncleared = this.ops.publish();
    addTo(this.#words, FLUSHES_AT, 1);
    const failure = this.ops.invalidate(first, first + count) ?? uncleared;
    // A device may still use the entries, so they are never allocated again.
    if (failure !== undefined) return failure;
    for (let entry = first; entry < first + count; entry++) this.#mark(entry, 0);
    return undefined;
  }

  /** The caller owns the range, so its bits don't change concurrently. */
  #checkTaken(first: number, count: number): void {
    const { entries } = this.window;
    if (!(Number.isInteger(first) && Number.isInteger(count) && first >= 0 && count >= 1 && first + count <= entries)) {
      throw new FreeError("out-of-range", `free of ${count} entries at ${first}: the table has ${entries}`);
    }
    for (let entry = first; entry < first + count; entry++) {
      if (!this.#isTaken(entry)) {
        throw new FreeError("not-allocated", `free of ${count} entries at ${first}: entry ${entry} is not taken`);
      }
    }
  }

  #isTaken(entry: number): boolean {
    return ((glance(this.#words, BITMAP_AT + (entry >>> 5)) >>> (entry & 31)) & 1) !== 0;
  }

  #mark(entry: number, bit: 0 | 1): void {
    const at = BITMAP_AT + (entry >>> 5);
    const mask = 1 << (entry & 31);
    poke(this.#words, at, bit === 1 ? peek(this.#words, at) | mask : peek(this.#words, at) & ~mask);
  }

  #occupancy(): { readonly taken: number; readonly largestHole: number } {
    let taken = 0;
    let hole = 0;
    let largestHole = 0;
    for (let entry = 0; entry < this.window.entries; entry++) {
      if (this.#isTaken(entry)) {
        taken++;
        hole = 0;
      } else largestHole = Math.max(largestHole, ++hole);
    }
    return { taken, largestHole };
  }
}

/** The first entry from `start` on at which alignment and boundary let a range begin. */
function allowedStart(start: number, count: number, constraints: AreaConstraints): number {
  const { alignmentPages, boundaryPages, basePage } = constraints;
  if (alignmentPages === 1 && boundaryPages === 0) return start;
  let page = Math.ceil((basePage + start) / alignmentPages) * alignmentPages;
  if (boundaryPages !== 0 && Math.floor(page / boundaryPages) !== Math.floor((page + count - 1) / boundaryPages)) {
    const boundary = Math.ceil(page / boundaryPages) * boundaryPages;
    page = Math.ceil(boundary / alignmentPages) * alignmentPages;
  }
  return page - basePage;
}
