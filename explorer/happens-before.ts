/**
 * The order of accesses, by vector clocks, and the races that it leaves. An interleaving that happens to give the right answer
 * proves nothing about two plain accesses that no synchronisation separates: the compiler and the processor may reorder them, so
 * other results than the explored ones are possible. Every such pair is therefore a failure by itself.
 *
 * Order, as JavaScript's memory model defines it: an atomic read comes after the atomic write that it reads from; the threads start
 * after the set-up; a reclaimer starts after the death of the thread that it reclaims. A later plain or relaxed write of
 * the same place ends the release of the atomic write before it. Neither `notify` nor a wake-up orders anything.
 *
 * Races: two accesses of one place by two threads, unordered, at least one a write:
 *
 *              plain  atomic  relaxed (glance, hintTo)
 *   plain      race   race    race; a glance is fine: its caller declares that it tolerates a stale value
 *   atomic            fine    fine
 *   relaxed                   fine
 *
 * A compareExchangeHalf that stores nothing counts as a glance.
 *
 * Two atomic accesses of one place in different widths (a word, a halfword of it) do not synchronise, and race too.
 */
import {
  ATOMIC_READ,
  ATOMIC_UPDATE,
  ATOMIC_WRITE,
  PLAIN_READ,
  PLAIN_WRITE,
  RELAXED_READ,
  RELAXED_WRITE,
  writes,
} from "./accesses.ts";

/** No race. */
export const ORDERED = -1;

// Fields of one unit's record, before its per-thread rows.
const STAMP = 0;
/** Number of writes to the unit: distinguishes executions whose reads saw different writes. */
const VERSION = 1;
/** Last plain writer + 1, and its clock then. */
const WRITER = 2;
const WRITER_CLOCK = 3;
/** 1 when the release row holds the clocks of the last atomic write. */
const RELEASED = 4;
/** Units that the last atomic access covered, 1 or 2; 0: none yet. */
const WIDTH = 5;
/** Threads that accessed the unit (a bit each), threads that wrote it (bits 8 to 15), and bit 16 if an access was not plain. */
const ATTENDANCE = 6;
const WRITTEN_SHIFT = 8;
const UNPLAIN_BIT = 1 << 16;
const ROWS = 7;

/** Clocks of all threads and records of all units. Restarted for each schedule. */
export class HappensBefore {
  readonly #threads: number;
  readonly #clocks: Int32Array;
  readonly #records: Int32Array;
  readonly #stride: number;
  // Offsets of the per-thread rows in a record.
  readonly #release: number = ROWS;
  readonly #plainReads: number;
  readonly #otherReads: number;
  readonly #otherWrites: number;
  #stamp = 0;
  /** How often the unit of the last access had been written before it. */
  versionBefore = 0;
  /** Units that have become meetings in this schedule. */
  meetings: number[] = [];

  constructor(units: number, threads: number) {
    this.#threads = threads;
    this.#plainReads = ROWS + threads;
    this.#otherReads = ROWS + 2 * threads;
    this.#otherWrites = ROWS + 3 * threads;
    this.#stride = ROWS + 4 * threads;
    this.#clocks = new Int32Array(threads * threads);
    this.#records = new Int32Array(units * this.#stride);
  }

  /** All threads at their beginning, no access made. */
  restart(): void {
    this.#stamp = (this.#stamp + 1) | 0;
    if (this.meetings.length > 0) this.meetings = [];
    this.#clocks.fill(0);
    for (let thread = 0; thread < this.#threads; thread++) this.#clocks[thread * this.#threads + thread] = 1;
  }

  /** Orders all earlier accesses of `from` before the next access of `into`. */
  join(into: number, from: number): void {
    for (let thread = 0; thread < this.#threads; thread++) {
      const at = into * this.#threads + thread;
      const clock = this.#clocks[from * this.#threads + thread] as number;
      if (clock > (this.#clocks[at] as number)) this.#clocks[at] = clock;
    }
  }

  /** The clock of `thread` that `observer` has seen; its own if they are the same. */
  clockOf(observer: number, thread: number): number {
    return this.#clocks[observer * this.#threads + thread] as number;
  }

  /** Records an access of one unit, part of an access of `width` units. Returns ORDERED, or a thread with which it races. */
  access(unit: number, thread: number, order: number, width: number): number {
    const at = unit * this.#stride;
    if (this.#records[at + STAMP] !== this.#stamp) this.#clear(at);
    this.versionBefore = this.#records[at + VERSION] as number;
    this.#attend(at, unit, thread, order);
    switch (order) {
      case PLAIN_READ:
        return this.#plainRead(at, thread);
      case PLAIN_WRITE:
        return this.#plainWrite(at, thread);
      case ATOMIC_READ:
        return this.#atomic(at, thread, order, width);
      case ATOMIC_WRITE:
      case ATOMIC_UPDATE:
        return this.#atomic(at, thread, order, width);
      case RELAXED_READ:
        return ORDERED;
      case RELAXED_WRITE:
        return this.#relaxedWrite(at, thread);
      default:
        throw new RangeError(`order of access ${order}`);
    }
  }

  /** Records a change of the queue of threads that sleep on the unit. */
  accessQueue(unit: number, thread: number): void {
    const at = unit * this.#stride;
    if (this.#records[at + STAMP] !== this.#stamp) this.#clear(at);
    this.versionBefore = this.#records[at + VERSION] as number;
    this.#attend(at, unit, thread, ATOMIC_WRITE);
    this.#bump(at);
  }

  /** Advances the clock of a thread after its atomic write: its later accesses are not part of that release. */
  tick(thread: number): void {
    this.#clocks[thread * this.#threads + thread] = this.#own(thread) + 1;
  }

  /**
   * Records the thread, and the unit as a meeting once two threads have accessed it, one of them writing, not all by plain accesses:
   * then their order can matter. (Plain accesses must be ordered by other means, which is checked, so their order can't.)
   */
  #attend(at: number, unit: number, thread: number, order: number): void {
    let bits = 1 << thread;
    if (writes(order)) bits |= 1 << (WRITTEN_SHIFT + thread);
    if (order !== PLAIN_READ && order !== PLAIN_WRITE) bits |= UNPLAIN_BIT;
    const before = this.#records[at + ATTENDANCE] as number;
    const attendance = before | bits;
    if (attendance === before) return;
    this.#records[at + ATTENDANCE] = attendance;
    const threads = attendance & 0xff;
    const written = (attendance >>> WRITTEN_SHIFT) & 0xff;
    if ((threads & (threads - 1)) !== 0 && written !== 0 && attendance >= UNPLAIN_BIT) this.meetings.push(unit);
  }

  #plainRead(at: number, thread: number): number {
    const place = at + this.#plainReads + thread;
    const own = this.#own(thread);
    if (this.#records[place] === own) return ORDERED; // a later writer has been checked against that read
    this.#records[place] = own;
    const writer = this.#unorderedWriter(at, thread);
    return writer !== ORDERED ? writer : this.#unordered(at + this.#otherWrites, thread);
  }

  #plainWrite(at: number, thread: number): number {
    const records = this.#records;
    this.#bump(at);
    records[at + RELEASED] = 0;
    const own = this.#own(thread);
    if (records[at + WRITER] === thread + 1 && records[at + WRITER_CLOCK] === own) return ORDERED;
    const writer = this.#unorderedWriter(at, thread);
    records[at + WRITER] = thread + 1;
    records[at + WRITER_CLOCK] = own;
    if (writer !== ORDERED) return writer;
    // The three rows are adjacent: an access in any of them counts.
    for (let row = this.#plainReads; row <= this.#otherWrites; row += this.#threads) {
      const other = this.#unordered(at + row, thread);
      if (other !== ORDERED) return other;
    }
    return ORDERED;
  }

  #atomic(at: number, thread: number, order: number, width: number): number {
    const other = this.#records[at + WIDTH] as number;
    this.#records[at + WIDTH] = width;
    if (other !== 0 && other !== width) {
      const rows = order === ATOMIC_READ ? this.#otherWrites : this.#otherReads;
      for (let row = rows; row <= this.#otherWrites; row += this.#threads) {
        const racing = this.#unordered(at + row, thread);
        if (racing !== ORDERED) return racing;
      }
    }
    return order === ATOMIC_READ
      ? this.#atomicRead(at, thread)
      : this.#atomicWrite(at, thread, order === ATOMIC_UPDATE);
  }

  #atomicRead(at: number, thread: number): number {
    this.#records[at + this.#otherReads + thread] = this.#own(thread);
    this.#acquire(at, thread);
    return this.#unorderedWriter(at, thread);
  }

  #atomicWrite(at: number, thread: number, update: boolean): number {
    this.#bump(at);
    if (update) this.#acquire(at, thread);
    this.#records[at + this.#otherWrites + thread] = this.#own(thread);
    const writer = this.#unorderedWriter(at, thread);
    const racing = writer !== ORDERED ? writer : this.#unordered(at + this.#plainReads, thread);
    const release = at + this.#release;
    const row = thread * this.#threads;
    for (let other = 0; other < this.#threads; other++) {
      this.#records[release + other] = this.#clocks[row + other] as number;
    }
    this.#records[at + RELEASED] = 1;
    return racing;
  }

  #relaxedWrite(at: number, thread: number): number {
    this.#bump(at);
    this.#records[at + RELEASED] = 0;
    this.#records[at + this.#otherWrites + thread] = this.#own(thread);
    const writer = this.#unorderedWriter(at, thread);
    return writer !== ORDERED ? writer : this.#unordered(at + this.#plainReads, thread);
  }

  #acquire(at: number, thread: number): void {
    if (this.#records[at + RELEASED] === 0) return;
    const release = at + this.#release;
    const row = thread * this.#threads;
    for (let other = 0; other < this.#threads; other++) {
      const clock = this.#records[release + other] as number;
      if (clock > (this.#clocks[row + other] as number)) this.#clocks[row + other] = clock;
    }
  }

  /** The last plain writer, if its write is not ordered before this thread's present. */
  #unorderedWriter(at: number, thread: number): number {
    const writer = (this.#records[at + WRITER] as number) - 1;
    if (writer < 0 || writer === thread) return ORDERED;
    const seen = this.#clocks[thread * this.#threads + writer] as number;
    return (this.#records[at + WRITER_CLOCK] as number) > seen ? writer : ORDERED;
  }

  /** A thread whose access in this row is not ordered before this thread's present. */
  #unordered(row: number, thread: number): number {
    const clocks = thread * this.#threads;
    for (let other = 0; other < this.#threads; other++) {
      if ((this.#records[row + other] as number) > (this.#clocks[clocks + other] as number) && other !== thread) {
        return other;
      }
    }
    return ORDERED;
  }

  #own(thread: number): number {
    return this.#clocks[thread * this.#threads + thread] as number;
  }

  #bump(at: number): void {
    this.#records[at + VERSION] = (this.#records[at + VERSION] as number) + 1;
  }

  #clear(at: number): void {
    this.#records.fill(0, at, at + this.#stride);
    this.#records[at + STAMP] = this.#stamp;
  }
}
