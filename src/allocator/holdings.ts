/**
 * The ranges that one thread holds: its cache, and its queue of ranges that wait for a flush. Both are bounded, and their ranges are
 * returned to the pools when another thread finds no space.
 */
import { count as tally } from "../shared/counters.ts";
import { hintTo, peek } from "../shared/memory.ts";
import { InvariantError } from "../units/errors.ts";
import { type Failure, type FailureCode, failureCode, failureOf, PLATFORM_BUSY } from "../units/failure.ts";
import { FifoCache } from "./cache.ts";
import { alreadyFlushed, flush, flushesStarted, type Invalidator } from "./flush.ts";
import { CACHED_LENGTHS, THREAD } from "./layout.ts";
import { CACHED, change, ENDING, lengthOf, ownerIn, QUARANTINED, slotOf, slotSeen, stateIn } from "./ledger.ts";
import type { CheckedOptions } from "./options.ts";
import { CHANGED, type Pool } from "./pool.ts";
import type { PoolSet } from "./pool-set.ts";
import { FlushQueue } from "./queue.ts";
import type { View } from "./view.ts";

/**
 * Pools that could not be locked while one call returns many ranges, each with its failure code; a dead thread may hold the lock.
 * The call waits for each pool once, however many ranges lie in it. A range in several pools counts with its first pool. Making room in a
 * cache uses no such map: it ends at the first failure, and it is frequent, so it must not allocate memory.
 */
type StuckPools = Map<Pool, FailureCode>;

/**
 * So many ranges at most make room in a cache: less than a waiter's spinning (shared/lock.ts) passes while their pool is locked, so a thread
 * that allocates there does not fall asleep.
 */
const ROOM_RANGES = 32;

export class Holdings {
  readonly cache: FifoCache;
  readonly queue: FlushQueue;
  readonly #view: View;
  readonly #pools: PoolSet;
  readonly #lazy: boolean;
  readonly #entries: number;
  /** With more entries than this in the queue, the next lazy free flushes: a sixteenth of the table, 16 .. 8192. */
  readonly #queueLimit: number;
  readonly #invalidator: Invalidator | undefined;

  constructor(view: View, pools: PoolSet, options: CheckedOptions, invalidator: Invalidator | undefined) {
    this.cache = new FifoCache(view, options.cache ? options.cacheLimit : 0, options.lazy);
    this.queue = new FlushQueue(view);
    this.#view = view;
    this.#pools = pools;
    this.#lazy = options.lazy;
    this.#entries = options.entries;
    this.#queueLimit = Math.max(16, Math.min(8192, options.entries >>> 4));
    this.#invalidator = invalidator;
  }

  /** Entries held here. */
  get entries(): number {
    return this.cache.entries + this.queue.entries;
  }

  /**
   * Takes in a range of this thread whose entries are cleared, but not yet invalidated. Returns undefined, or the failure of a flush that
   * was needed to make room; then the range is quarantined.
   */
  putLazily(first: number, count: number, slot: number): Failure | undefined {
    const stamp = flushesStarted(this.#view.words);
    if (this.put(first, count, stamp)) return undefined;
    const due = this.queue.isFull || this.queue.entries > this.#queueLimit;
    const failure = due ? this.#flushQueue() : undefined;
    if (this.queue.isFull) {
      this.quarantine(first, count, slot);
      return failure ?? "platform-busy";
    }
    this.queue.push(first, count, stamp);
    return undefined;
  }

  /**
   * Takes in an `ending` range of this thread that no IOTLB holds. Needs no lock unless the queue is full. False: the queue stays full, and
   * the range is quarantined.
   */
  keep(first: number, count: number, slot: number): boolean {
    if (this.queue.isFull) this.#returnQueue();
    if (this.queue.isFull) {
      this.quarantine(first, count, slot);
      return false;
    }
    this.queue.push(first, count, alreadyFlushed(this.#view.words));
    return true;
  }

  /**
   * Takes a range of this thread into the cache, and evicts older ranges if there is no room. False: the cache does not take ranges of this
   * length.
   */
  put(first: number, count: number, stamp: number): boolean {
    const { cache } = this;
    if (cache.put(first, count, stamp)) return true;
    return count <= CACHED_LENGTHS && this.#makeRoom(cache, count) && cache.put(first, count, stamp);
  }

  /** Returns all held ranges to the pools; flushes first if ranges wait for a flush. The answer is 0, or why ranges had to stay. */
  returnAll(): 0 | FailureCode {
    const stuck: StuckPools = new Map();
    const waits = (this.#lazy && this.entries > 0) || this.quarantinedEntries > 0;
    const failure = waits ? this.flushIotlb(stuck) : undefined;
    let answer: 0 | FailureCode = failure === undefined ? 0 : failureCode(failure);
    for (let length = 1; length <= CACHED_LENGTHS; length++) {
      const left = this.#returnCached(this.cache, length, this.cache.ranges(length), stuck);
      if (left !== 0) answer = left;
    }
    const left = this.#returnQueue(stuck);
    return left !== 0 ? left : answer;
  }

  /**
   * Invalidates the whole IOTLB, outside of any lock, and returns the quarantined ranges to the pools. The answer is undefined, or why
   * ranges had to stay.
   */
  flushIotlb(stuck?: StuckPools): Failure | undefined {
    const failure = this.invalidateAll();
    if (failure !== undefined || this.quarantinedEntries === 0) return failure;
    const left = this.#returnQuarantined(stuck ?? new Map());
    return left === 0 ? undefined : failureOf(left);
  }

  /** Invalidates the whole IOTLB, outside of any lock, and returns no range. */
  invalidateAll(): Failure | undefined {
    if (this.#invalidator === undefined) return undefined;
    tally(this.#view.words, this.#view.threadAt + THREAD.flushes, 1);
    return flush(this.#view.words, this.#invalidator);
  }

  /** The range stays out of use until a flush succeeds, because the IOTLB may still hold its translations. */
  quarantine(first: number, count: number, slot: number): void {
    const { words, ledger, thread, threadAt } = this.#view;
    change(ledger, first, slot, QUARANTINED, thread);
    // Other threads read this count without a lock when they find no space.
    hintTo(words, threadAt + THREAD.quarantinedEntries, this.quarantinedEntries + count);
  }

  get quarantinedEntries(): number {
    return peek(this.#view.words, this.#view.threadAt + THREAD.quarantinedEntries);
  }

  /** Returns the oldest ranges of this length to their pools; under lazy flush, the cache is flushed here. False: there are none. */
  #makeRoom(cache: FifoCache, length: number): boolean {
    const ranges = cache.ranges(length);
    if (ranges === 0) return false;
    if (cache.oldestWaits(length)) this.flushIotlb();
    this.#returnCached(cache, length, Math.min(ROOM_RANGES, (ranges + 1) >>> 1));
    return true;
  }

  /** Returns the `ranges` oldest ranges of one length to their pools; consecutive ranges of one pool under one lock. */
  #returnCached(cache: FifoCache, length: number, ranges: number, stuck?: StuckPools): 0 | FailureCode {
    let held: Pool | undefined;
    for (let i = 0; i < ranges && !cache.oldestWaits(length); i++) {
      const first = cache.oldest(length);
      const pool = this.#pools.of(first);
      if (pool !== held || first + length > pool.end) {
        held?.unlock();
        held = undefined;
        const isSpan = first + length > pool.end;
        const failure = stuck?.get(pool) ?? (isSpan ? this.#returnCachedSpan(cache, first, length) : pool.lock());
        if (failure !== 0) {
          stuck?.set(pool, failure);
          return failure;
        }
        if (isSpan) continue;
        held = pool;
      }
      cache.dropOldest(length);
      pool.endRange(first, length);
    }
    held?.unlock();
    return 0;
  }

  /** Returns the oldest range of this length, which lies in several pools. The caller holds no lock. */
  #returnCachedSpan(cache: FifoCache, first: number, length: number): 0 | FailureCode {
    const { words, thread } = this.#view;
    // The ledger says `cached`: by that, recovery finds the range of a thread that dies between these two lines.
    cache.dropOldest(length);
    const failure = this.#returnToPool(first, length, slotOf(CACHED, thread, length));
    if (failure !== 0) cache.put(first, length, alreadyFlushed(words));
    return failure;
  }

  #flushQueue(): Failure | undefined {
    const failure = this.queue.waits ? this.flushIotlb() : undefined;
    this.#returnQueue();
    return failure;
  }

  #returnQueue(stuck: StuckPools = new Map()): 0 | FailureCode {
    const { queue } = this;
    while (!queue.isEmpty) {
      if (queue.waits) return PLATFORM_BUSY;
      const { first, count } = queue;
      // The ledger says `ending`: by that, recovery finds the range of a thread that dies between these two lines.
      queue.drop();
      const failure = this.#returnUnlessStuck(first, count, stuck);
      if (failure === 0) continue;
      queue.push(first, count, alreadyFlushed(this.#view.words));
      return failure;
    }
    return 0;
  }

  /** Returns a range for which the ledger holds `slot` (default: `ending` by this thread). No other thread changes such a range. */
  #returnToPool(
    first: number,
    count: number,
    slot: number = slotOf(ENDING, this.#view.thread, count),
  ): 0 | FailureCode {
    const { thread } = this.#view;
    const answer = this.#pools.returnToPool(first, count, slot);
    if (answer !== CHANGED) return answer;
    throw new InvariantError(
      `[${first}, ${first + count}) waits to be freed by thread ${thread}, but the ledger disagrees`,
    );
  }

  /** As `#returnToPool`, but a pool that could not be locked before is not waited for again. */
  #returnUnlessStuck(first: number, count: number, stuck: StuckPools): 0 | FailureCode {
    const pool = this.#pools.of(first);
    const failure = stuck.get(pool) ?? this.#returnToPool(first, count);
    if (failure !== 0) stuck.set(pool, failure);
    return failure;
  }

  /** 0, or the first failure of a range that had to stay. */
  #returnQuarantined(stuck: StuckPools): 0 | FailureCode {
    const { words, ledger, thread, threadAt } = this.#view;
    let left = 0;
    let answer: 0 | FailureCode = 0;
    for (let entry = 0; entry < this.#entries; entry++) {
      const slot = slotSeen(ledger, entry);
      if (stateIn(slot) !== QUARANTINED || ownerIn(slot) !== thread) continue;
      const count = lengthOf(ledger, entry, slot);
      change(ledger, entry, slot, ENDING, thread);
      const failure = this.#returnUnlessStuck(entry, count, stuck);
      if (failure === 0) continue;
      change(ledger, entry, slot, QUARANTINED, thread);
      if (answer === 0) answer = failure;
      left += count;
    }
    hintTo(words, threadAt + THREAD.quarantinedEntries, left);
    return answer;
  }
}
