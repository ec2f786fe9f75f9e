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
import { NOT_FOUND } from "../shared/bitmap.ts";
import { counted, count as tally } from "../shared/counters.ts";
import {
  glance,
  glanceHalf,
  NO_HALVES,
  NO_WORDS,
  peek,
  peekHalf,
  poke,
  pokeHalf,
  type SharedHalves,
  type SharedWords,
} from "../shared/memory.ts";
import { InvariantError } from "../units/errors.ts";
import { type AreaConstraints, isAllowed, UNCONSTRAINED } from "./constraints.ts";
import { isFlushed } from "./flush.ts";
import type { Front } from "./front.ts";
import { CACHED_LENGTHS, FIFO_RANGES, THREAD } from "./layout.ts";
import { CACHED, slotOf } from "./ledger.ts";
import type { View } from "./view.ts";

const POSITION_MASK = FIFO_RANGES - 1;
/**
 * The positions of a FIFO are two free-running numbers of 16 bits in one word, the head in the high half. A take is one addition, whose
 * carry is lost; a put has a branch where the tail wraps. The positions count, too: docs/decisions/counters-in-positions.md.
 */
const TAIL_MASK = 0xffff;
const ONE_TAKE = 0x10000;

export class FifoCache implements Front {
  readonly #words: SharedWords = NO_WORDS;
  readonly #ledger: SharedHalves = NO_HALVES;
  readonly #thread: number = 0;
  readonly #threadAt: number = 0;
  /** Where the positions and the ranges of length 0 would be. */
  readonly #fifosAt: number = 0;
  readonly #startsAt: number = 0;
  readonly #stampsAt: number = 0;
  /** Ranges that the FIFO of each length may hold: 0 in a table without caches. */
  readonly #capacities: Int32Array = new Int32Array(0);

  readonly #lazy: boolean = false;
  /** Ledger slot of a cached range of this thread, without its length. */
  readonly #cachedSlot: number = 0;

  /** `limit`: entries that the thread may hold in its FIFOs altogether. */
  constructor(view: View, limit: number, lazy: boolean) {
    this.#words = view.words;
    this.#ledger = view.ledger;
    this.#thread = view.thread;
    this.#threadAt = view.threadAt;
    this.#fifosAt = view.threadAt + THREAD.fifos - 1;
    this.#startsAt = view.threadAt + THREAD.starts - FIFO_RANGES;
    this.#stampsAt = view.threadAt + THREAD.stamps - FIFO_RANGES;
    this.#capacities = capacities(limit);
    this.#lazy = lazy;
    this.#cachedSlot = slotOf(CACHED, view.thread, 0);
  }

  /** See Front. The oldest range of this length. Strict tables only. */
  allocateAtOnce(count: number, slot: number): number {
    if (typeof count !== "number" || (count - 1) >>> 0 >= CACHED_LENGTHS || (count | 0) !== count) return NOT_FOUND;
    const words = this.#words;
    const fifo = this.#fifosAt + count;
    const positions = peek(words, fifo);
    if (positions >>> 16 === (positions & TAIL_MASK)) return NOT_FOUND;
    const first = peek(words, this.#startsAt + count * FIFO_RANGES + ((positions >>> 16) & POSITION_MASK));
    const ledger = this.#ledger;
    if (peekHalf(ledger, first) !== (this.#cachedSlot | count)) throw this.#broken(first, count);
    pokeHalf(ledger, first, slot | count);
    poke(words, fifo, (positions + ONE_TAKE) | 0);
    return first;
  }

  /** See Front. Of this thread's ranges, those for which there is room. Strict tables only. */
  freeAtOnce(first: number, count: number, slot: number): boolean {
    if (typeof first !== "number" || typeof count !== "number") return false;
    if ((count - 1) >>> 0 >= CACHED_LENGTHS || (count | 0) !== count) return false;
    const words = this.#words;
    const fifo = this.#fifosAt + count;
    const positions = peek(words, fifo);
    if (((positions - (positions >>> 16)) & TAIL_MASK) >= (this.#capacities[count] as number)) return false;
    const ledger = this.#ledger;
    if (glanceHalf(ledger, first) !== (slot | count)) return false;
    pokeHalf(ledger, first, this.#cachedSlot | count);
    poke(words, this.#startsAt + count * FIFO_RANGES + (positions & POSITION_MASK), first);
    if ((positions & TAIL_MASK) === TAIL_MASK) this.#foldPuts(fifo, positions);
    else poke(words, fifo, positions + 1);
    return true;
  }

  /** As `allocateAtOnce`, if the oldest range has been flushed and satisfies the constraints. */
  take(count: number, constraints: AreaConstraints, slot: number): number {
    if (count > CACHED_LENGTHS || this.ranges(count) === 0 || this.oldestWaits(count)) return NOT_FOUND;
    const isFit = constraints === UNCONSTRAINED || isAllowed(this.oldest(count), count, constraints);
    return isFit ? this.allocateAtOnce(count, slot) : NOT_FOUND;
  }

  /** Puts a range of this thread, of any length. False: there is no room, or it is too long. */
  put(first: number, count: number, stamp: number): boolean {
    if (count > CACHED_LENGTHS) return false;
    const words = this.#words;
    const fifo = this.#fifosAt + count;
    const positions = peek(words, fifo);
    if (rangesIn(positions) >= (this.#capacities[count] as number)) return false;
    pokeHalf(this.#ledger, first, this.#cachedSlot | count);
    const position = count * FIFO_RANGES + (positions & POSITION_MASK);
    poke(words, this.#startsAt + position, first);
    if (this.#lazy) poke(words, this.#stampsAt + position, stamp);
    if ((positions & TAIL_MASK) === TAIL_MASK) this.#foldPuts(fifo, positions);
    else poke(words, fifo, positions + 1);
    return true;
  }

  /** The tail wraps to 0, and the counter takes its 65,536 puts. */
  #foldPuts(fifo: number, positions: number): void {
    poke(this.#words, fifo, positions & ~TAIL_MASK);
    tally(this.#words, this.#threadAt + THREAD.cachePuts, TAIL_MASK + 1);
  }

  /** Ranges of this length held. */
  ranges(count: number): number {
    return rangesIn(peek(this.#words, this.#fifosAt + count));
  }

  /** Entries held. */
  get entries(): number {
    return cachedEntries(this.#words, this.#threadAt);
  }

  /** The oldest range of this length; there must be one. It stays. */
  oldest(count: number): number {
    return peek(this.#words, this.#startsAt + this.#oldestAt(count));
  }

  /** True if the oldest range of this length still waits for a flush. */
  oldestWaits(count: number): boolean {
    return this.#lazy && !isFlushed(this.#words, peek(this.#words, this.#stampsAt + this.#oldestAt(count)));
  }

  /** Removes the oldest range of this length from the FIFO. Its ledger slot still says `cached` by this thread. */
  dropOldest(count: number): void {
    const fifo = this.#fifosAt + count;
    poke(this.#words, fifo, (peek(this.#words, fifo) + ONE_TAKE) | 0);
    tally(this.#words, this.#threadAt + THREAD.evictions, 1);
  }

  #oldestAt(count: number): number {
    return count * FIFO_RANGES + ((peek(this.#words, this.#fifosAt + count) >>> 16) & POSITION_MASK);
  }

  /**
   * The error when two threads have freed one range at the same time, each into its own cache: the second thread that takes the range out
   * gets it.
   */
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

/** Ranges between head and tail. */
const rangesIn = (positions: number): number => (positions - (positions >>> 16)) & TAIL_MASK;

/**
 * Empties the FIFOs of a dead thread's area, and counts their ranges as evicted. When a recovery dies in this function, its repetition
 * counts the ranges of at most one length twice.
 */
export function emptyFifos(words: SharedWords, threadAt: number): void {
  for (let count = 1; count <= CACHED_LENGTHS; count++) {
    const fifo = threadAt + THREAD.fifos + count - 1;
    const tail = peek(words, fifo) & TAIL_MASK;
    tally(words, threadAt + THREAD.evictions, rangesIn(peek(words, fifo)));
    poke(words, fifo, (tail << 16) | tail);
  }
}

/** Entries in the FIFOs of the thread with this area. Relaxed: other threads ask too. */
export function cachedEntries(words: SharedWords, threadAt: number): number {
  let entries = 0;
  for (let count = 1; count <= CACHED_LENGTHS; count++)
    entries += count * rangesIn(glance(words, threadAt + THREAD.fifos + count - 1));
  return entries;
}

/** Ranges in the FIFOs of an area. */
export function cachedRanges(words: SharedWords, threadAt: number): number {
  let ranges = 0;
  for (let i = 0; i < CACHED_LENGTHS; i++) ranges += rangesIn(glance(words, threadAt + THREAD.fifos + i));
  return ranges;
}

/** Number of ranges that were ever put into the FIFOs of an area: the counter, plus the puts since each tail last wrapped. */
export function cachePuts(words: SharedWords, threadAt: number): number {
  let puts = counted(words, threadAt + THREAD.cachePuts);
  for (let i = 0; i < CACHED_LENGTHS; i++) puts += glance(words, threadAt + THREAD.fifos + i) & TAIL_MASK;
  return puts;
}
