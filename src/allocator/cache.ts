/**
 * A thread's cache of freed ranges: one FIFO for each exact length from 1 to 16 entries. Only its thread touches it, so
 * taking and putting need no lock and no atomic access: that is what makes a cached pair of alloc and free cost a few
 * nanoseconds. First in, first out: a range rests as long as possible, and under lazy flush the FIFO is the queue of ranges
 * that wait for a flush; each carries its stamp.
 *
 * The bits of a cached range stay taken, and its ledger slot says `cached` by this thread: the ledger is what recovery goes by
 * when the thread is dead, whatever the FIFO's positions were at that moment. Order: put = ledger, then FIFO; take = ledger,
 * then FIFO. Every range is thus in exactly one state in the ledger at every point in between.
 */
import * as bitmap from "../shared/bitmap.ts";
import * as counters from "../shared/counters.ts";
import type { SharedHalves, SharedWords } from "../shared/memory.ts";
import * as memory from "../shared/memory.ts";
import { InvariantError } from "../units/errors.ts";
import type { AreaConstraints } from "./constraints.ts";
import * as constraint from "./constraints.ts";
import * as flushing from "./flush.ts";
import type { View } from "./intent.ts";
import * as layout from "./layout.ts";
import * as ledgers from "./ledger.ts";
import * as pools from "./pool.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { NOT_FOUND } = bitmap;
const { count: tally } = counters;
const { glance, peek, peekHalf, poke, pokeHalf } = memory;
const { UNCONSTRAINED } = constraint;
const { isFlushed } = flushing;
const { CACHED_LENGTHS, FIFO_RANGES, THREAD } = layout;
const { CACHED, slotOf } = ledgers;
const { isAllowed } = pools;

const POSITION_MASK = FIFO_RANGES - 1;
/** Positions are folded into the counters each time their low 16 bits wrap: the hot path then counts for free. */
const FOLD_MASK = 0xffff;

export class FifoCache {
  readonly #words: SharedWords;
  readonly #ledger: SharedHalves;
  readonly #thread: number;
  readonly #threadAt: number;
  /** Ranges that the FIFO of each length may hold. */
  readonly #capacities: Int32Array;
  readonly #lazy: boolean;
  /** Ledger slot of a cached range of this thread, without its length (which is short: at most 16). */
  readonly #cachedSlot: number;

  /** `limit`: entries that the thread may hold in its FIFOs altogether. */
  constructor(view: View, limit: number, lazy: boolean) {
    this.#words = view.words;
    this.#ledger = view.ledger;
    this.#thread = view.thread;
    this.#threadAt = view.threadAt;
    this.#capacities = capacities(limit);
    this.#lazy = lazy;
    this.#cachedSlot = slotOf(CACHED, view.thread, 0);
  }

  /**
   * Takes the oldest range of `count` entries (1 .. 16), if there is one, it has been flushed, and it lies where the request may
   * go; else NOT_FOUND.
   */
  take(count: number, constraints: AreaConstraints, state: number): number {
    const words = this.#words;
    const fifo = this.#threadAt + (THREAD.fifos - 2) + 2 * count;
    const head = peek(words, fifo);
    if (head === peek(words, fifo + 1)) return NOT_FOUND;
    const position = this.#threadAt + (count - 1) * FIFO_RANGES + (head & POSITION_MASK);
    const first = peek(words, position + THREAD.starts);
    if (constraints !== UNCONSTRAINED && !isAllowed(first, count, constraints)) return NOT_FOUND;
    if (this.#lazy && !isFlushed(words, peek(words, position + THREAD.stamps))) return NOT_FOUND;
    const ledger = this.#ledger;
    if (peekHalf(ledger, first) !== (this.#cachedSlot | count)) throw this.#broken(first, count);
    pokeHalf(ledger, first, slotOf(state, this.#thread, count));
    poke(words, fifo, (head + 1) | 0);
    if ((head & FOLD_MASK) === FOLD_MASK) tally(words, this.#threadAt + THREAD.cacheTakes, FOLD_MASK + 1);
    return first;
  }

  /** Puts a range of 1 .. 16 entries that belongs to this thread. False: its FIFO is full. */
  put(first: number, count: number, stamp: number): boolean {
    const words = this.#words;
    const fifo = this.#threadAt + (THREAD.fifos - 2) + 2 * count;
    const tail = peek(words, fifo + 1);
    if (((tail - peek(words, fifo)) | 0) >= (this.#capacities[count] as number)) return false;
    pokeHalf(this.#ledger, first, this.#cachedSlot | count);
    const position = this.#threadAt + (count - 1) * FIFO_RANGES + (tail & POSITION_MASK);
    poke(words, position + THREAD.starts, first);
    if (this.#lazy) poke(words, position + THREAD.stamps, stamp);
    poke(words, fifo + 1, (tail + 1) | 0);
    if ((tail & FOLD_MASK) === FOLD_MASK) tally(words, this.#threadAt + THREAD.cachePuts, FOLD_MASK + 1);
    return true;
  }

  /** Ranges of this length held. */
  ranges(count: number): number {
    const fifo = this.#threadAt + THREAD.fifos + 2 * (count - 1);
    return (peek(this.#words, fifo + 1) - peek(this.#words, fifo)) | 0;
  }

  /** Entries held. */
  get entries(): number {
    return cachedEntries(this.#words, this.#threadAt);
  }

  /** The oldest range of this length; there must be one. It stays. */
  oldest(count: number): number {
    return peek(this.#words, this.#oldestAt(count) + THREAD.starts);
  }

  /** Must the oldest range of this length still wait for a flush? */
  oldestWaits(count: number): boolean {
    return this.#lazy && !isFlushed(this.#words, peek(this.#words, this.#oldestAt(count) + THREAD.stamps));
  }

  /** Removes the oldest range of this length from the FIFO. Its ledger slot still says `cached` by this thread. */
  dropOldest(count: number): void {
    const fifo = this.#threadAt + THREAD.fifos + 2 * (count - 1);
    const head = peek(this.#words, fifo);
    poke(this.#words, fifo, (head + 1) | 0);
    if ((head & FOLD_MASK) === FOLD_MASK) tally(this.#words, this.#threadAt + THREAD.cacheTakes, FOLD_MASK + 1);
    tally(this.#words, this.#threadAt + THREAD.evictions, 1);
  }

  #oldestAt(count: number): number {
    const head = peek(this.#words, this.#threadAt + THREAD.fifos + 2 * (count - 1));
    return this.#threadAt + (count - 1) * FIFO_RANGES + (head & POSITION_MASK);
  }

  /** Two threads have freed one range in the same instant, each of its own: the second to take it ends here. */
  #broken(first: number, count: number): InvariantError {
    const where = `[${first}, ${first + count})`;
    return new InvariantError(
      `thread ${this.#thread} holds ${where} in its cache, but the ledger says otherwise: freed by two threads at once?`,
    );
  }
}

/** Each FIFO gets a 16th of the limit, and 256 ranges at most. By length; there is none of length 0. */
function capacities(limit: number): Int32Array {
  return Int32Array.from({ length: CACHED_LENGTHS + 1 }, (_, length) =>
    Math.min(FIFO_RANGES, Math.floor(limit / (CACHED_LENGTHS * Math.max(length, 1)))),
  );
}

/**
 * Empties the FIFOs of a dead thread's area, and counts their ranges as evicted. A second recovery that goes on with a first one, cut off
 * in here, counts those of one length twice at most.
 */
export function emptyFifos(words: SharedWords, threadAt: number): void {
  for (let count = 1; count <= CACHED_LENGTHS; count++) {
    const fifo = threadAt + THREAD.fifos + 2 * (count - 1);
    const head = peek(words, fifo);
    const tail = peek(words, fifo + 1);
    tally(words, threadAt + THREAD.evictions, (tail - head) | 0);
    // At most FIFO_RANGES: the low 16 bits wrap once at most.
    if ((head & ~FOLD_MASK) !== (tail & ~FOLD_MASK)) tally(words, threadAt + THREAD.cacheTakes, FOLD_MASK + 1);
    poke(words, fifo, tail);
  }
}

/** Entries in the FIFOs of the thread with this area. Relaxed: other threads ask too. */
export function cachedEntries(words: SharedWords, threadAt: number): number {
  let entries = 0;
  for (let count = 1; count <= CACHED_LENGTHS; count++) {
    const fifo = threadAt + THREAD.fifos + 2 * (count - 1);
    entries += count * ((glance(words, fifo + 1) - glance(words, fifo)) | 0);
  }
  return entries;
}

/** Low 16 bits of all FIFO positions of an area: heads (which = 0) or tails (1). What the counters do not hold yet. */
export function unfolded(words: SharedWords, threadAt: number, which: 0 | 1): number {
  let sum = 0;
  for (let i = 0; i < CACHED_LENGTHS; i++) sum += glance(words, threadAt + THREAD.fifos + 2 * i + which) & FOLD_MASK;
  return sum;
}
