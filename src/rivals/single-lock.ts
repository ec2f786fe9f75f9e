/**
 * The table of before 2015: one lock, one pool, a bitmap searched bit by bit from where the last search ended (next fit). The
 * rival that the pooled allocator was made against.
 *
 * Its paths are asymmetric, as they were: `allocate` holds the lock for the search alone, and the caller writes the entries
 * afterwards; `unmap` holds it while the entries are cleared and the IOTLB is invalidated, so every thread waits for the
 * hardware of every other. Its known defects (last entries never used, requests longer than the boundary loop for ever,
 * nothing noticed of a double free) are left out: it loses by its structure or not at all.
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

/** Words of the header; the lock and what it guards share lines, as they did. */
const MAGIC_AT = 0;
const ENTRIES_AT = 1;
/** Threads that have attached. */
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
  /** Bits that searches looked at. */
  readonly searchSteps: number;
  /** Invalidations of the IOTLB, all under the lock. */
  readonly flushes: number;
  /** Allocations that found no place. */
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

  /** Makes a table and attaches this thread. The entries are expected to be empty. */
  static create(window: DmaWindow, ops: TableOps): SingleLockTable {
    checkInteger("the window's entries", window.entries, 1, MAX_ENTRIES);
    const state = createShared((BITMAP_AT + Math.ceil(window.entries / 32)) * 4);
    const words = wordsOf(state);
    poke(words, MAGIC_AT, MAGIC);
    poke(words, ENTRIES_AT, window.entries);
    return new SingleLockTable({ window, state }, ops);
  }

  /** Attaches this thread, with ops of its own. Throws FormatError for a foreign handle. */
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

  publish(): Failure | undefined {
    return this.ops.publish();
  }

  synchronize(first: number, count: number): Failure | undefined {
    return this.ops.synchronize?.(first, count);
  }

  /** Nothing: this table has one kind of taken. */
  commit(_first: number, _count: number): void {}

  abandon(first: number, count: number): Failure | undefined {
    return this.unmap(first, count);
  }

  abandonAll(firsts: Int32Array, counts: Int32Array, areas: number): Failure | undefined {
    // All cleared before the first `publish`, so that nothing of a later area is handed to the platform on the way.
    for (let i = 0; i < areas; i++) this.ops.clear(firsts[i] as number, counts[i] as number);
    return this.unmapAll(firsts, counts, areas);
  }

  /** Throws FreeError out of the table, or when an entry is not taken: more it can't notice. */
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

  /** Area by area, the lock taken for each: so it was. */
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
    // Again from the start; runs that begin before the hint and reach beyond it count too.
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

  /** Entries, IOTLB, bits: the right order, but all of it under the lock. */
  #freeLocked(first: number, count: number): Failure | undefined {
    this.ops.clear(first, count);
    const uncleared = this.ops.publish();
    addTo(this.#words, FLUSHES_AT, 1);
    const failure = this.ops.invalidate(first, first + count) ?? uncleared;
    // A device may go on using the entries: they are never handed out again.
    if (failure !== undefined) return failure;
    for (let entry = first; entry < first + count; entry++) this.#mark(entry, 0);
    return undefined;
  }

  /** The caller owns the range: its bits don't change meanwhile. */
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
