/**
 * Statistics of an allocator: counters of locks, searches and flushes, occupancy, the largest hole. They are read without locks: every
 * number was true at some moment, and they agree with each other only when no thread runs.
 */
import { longestRun } from "../../shared/bitmap.ts";
import { counted } from "../../shared/counters.ts";
import { lockStatistics } from "../../shared/lock.ts";
import { glance, type SharedWords } from "../../shared/memory.ts";
import { cachedEntries, cachedRanges, cachePuts } from "../cache.ts";
import { areaOf, type Layout, POOL, THREAD } from "../layout.ts";
import type { PoolSet } from "../pool-set.ts";

/** Occupancy and counters of one pool. */
export interface PoolStatistics {
  /** First entry of the pool. */
  readonly first: number;
  /** One past the last entry of the pool. */
  readonly end: number;
  /** True for the pool of option `largePool`. */
  readonly large: boolean;
  /** Entries that the pool can't give out. Cached entries are included. */
  readonly taken: number;
  /** Acquisitions of locks, with and without a wait. */
  readonly lockAcquisitions: number;
  /** Acquisitions that found the lock taken and waited. */
  readonly lockContended: number;
  /** Time that `lockContended` acquisitions waited, in microseconds, summed over all threads. */
  readonly lockWaitMicroseconds: number;
}

/**
 * Counters and occupancy of an allocator. Counters are totals of all threads since the allocator was created. They
 * are read without locks: each was true at some moment; together they agree only when no thread runs.
 */
export interface AllocatorStatistics {
  /** Entries of the table. */
  readonly entries: number;
  /** The small pools in order of their entries, then the large pool if there is one. */
  readonly pools: readonly PoolStatistics[];
  /** Entries that no pool can give out: of ranges that are live, pending, ending, cached, reserved or quarantined. */
  readonly taken: number;
  /** Taken entries that rest in threads' caches. */
  readonly cached: number;
  /** Taken entries that were freed, and wait in threads' queues for a flush of the IOTLB. */
  readonly waiting: number;
  /** Taken entries that were freed, and stay out of use because an invalidation failed. */
  readonly quarantined: number;
  /** The longest free run, in entries; it may cross borders of pools. */
  readonly largestHole: number;
  /** Allocations that a thread's cache answered. */
  readonly cacheTakes: number;
  /** Freed ranges that were put into caches. */
  readonly cachePuts: number;
  /** Allocations that returned a failure code. */
  readonly failures: number;
  /** Acquisitions of locks, with and without a wait. */
  readonly lockAcquisitions: number;
  /** Acquisitions that found the lock taken and waited. */
  readonly lockContended: number;
  /** Time that `lockContended` acquisitions waited, in microseconds, summed over all threads. */
  readonly lockWaitMicroseconds: number;
  /** Searches of pools; the other allocations came from caches. */
  readonly searches: number;
  /** Bitmap words and bounds that searches read. */
  readonly searchSteps: number;
  /** Flushes of the IOTLB that lazy invalidation made. */
  readonly flushes: number;
  /** Number of times that a thread without space asked all threads to return their cached ranges. */
  readonly drains: number;
  /** Recoveries of dead threads. */
  readonly recoveries: number;
}

export function statisticsOf(words: SharedWords, layout: Layout, poolSet: PoolSet): AllocatorStatistics {
  const pools = poolSet.all.map((pool, i): PoolStatistics => {
    const { acquisitions, contended, waitMicroseconds } = lockStatistics(words, pool.lockAt);
    const atOnce =
      counted(words, pool.lockAt + POOL.allocationsAtOnce) + counted(words, pool.lockAt + POOL.freesAtOnce);
    return {
      first: pool.first,
      end: pool.end,
      large: i >= poolSet.small,
      taken: pool.taken(),
      lockAcquisitions: acquisitions + atOnce,
      lockContended: contended,
      lockWaitMicroseconds: waitMicroseconds,
    };
  });
  const ofThreads = (at: number): number => sumOverThreads(layout, (area) => counted(words, area + at));
  const nowIn = (at: number): number => sumOverThreads(layout, (area) => glance(words, area + at));
  const ofPools = (read: (pool: PoolStatistics) => number): number => pools.reduce((sum, pool) => sum + read(pool), 0);
  const puts = sumOverThreads(layout, (area) => cachePuts(words, area));
  return {
    entries: layout.entries,
    pools,
    taken: ofPools((pool) => pool.taken),
    cached: sumOverThreads(layout, (area) => cachedEntries(words, area)),
    waiting: nowIn(THREAD.queuedEntries),
    quarantined: nowIn(THREAD.quarantinedEntries),
    largestHole: longestRun(words, layout.bitmapAt, 0, layout.entries),
    // A range that was put and is no longer in a FIFO was taken or evicted.
    cacheTakes: puts - ofThreads(THREAD.evictions) - sumOverThreads(layout, (area) => cachedRanges(words, area)),
    cachePuts: puts,
    failures: ofThreads(THREAD.failures),
    lockAcquisitions: ofPools((pool) => pool.lockAcquisitions),
    lockContended: ofPools((pool) => pool.lockContended),
    lockWaitMicroseconds: ofPools((pool) => pool.lockWaitMicroseconds),
    searches: poolSet.all.reduce((sum, pool) => sum + searchesOf(words, pool.lockAt), 0),
    searchSteps: poolSet.all.reduce((sum, pool) => sum + stepsOf(words, pool.lockAt), 0),
    flushes: ofThreads(THREAD.flushes),
    drains: ofThreads(THREAD.drains),
    recoveries: ofThreads(THREAD.recoveries),
  };
}

/** Each search looks at the hint's word first; the further ones are counted. */
function stepsOf(words: SharedWords, poolAt: number): number {
  return searchesOf(words, poolAt) + counted(words, poolAt + POOL.searchSteps);
}

function searchesOf(words: SharedWords, poolAt: number): number {
  return counted(words, poolAt + POOL.searches) + counted(words, poolAt + POOL.allocationsAtOnce);
}

/** Entries that a thread keeps for itself. */
export interface Holder {
  readonly thread: number;
  readonly entries: number;
}

/** Entries that the thread with this area holds in cache and queue, or has quarantined. */
export function heldBy(words: SharedWords, area: number): number {
  const waiting = glance(words, area + THREAD.queuedEntries) + glance(words, area + THREAD.quarantinedEntries);
  return cachedEntries(words, area) + waiting;
}

/** The threads that hold cached, waiting or quarantined entries. */
export function heldByThreads(words: SharedWords, layout: Layout): Holder[] {
  return Array.from({ length: layout.threads }, (_, thread) => {
    const area = areaOf(layout.threadsAt, thread);
    return { thread, entries: heldBy(words, area) };
  }).filter(({ entries }) => entries > 0);
}

/**
 * A sentence that explains why `count` entries could not be allocated: the free entries, and the entries that threads other than `thread`
 * hold.
 */
export function shortageOf(count: number, thread: number, found: AllocatorStatistics, held: readonly Holder[]): string {
  const others = held.filter((holder) => holder.thread !== thread);
  const idle = others.map((holder) => `thread ${holder.thread} still holds ${holder.entries}`).join(", ");
  const free = `${found.entries - found.taken} of ${found.entries} entries are free, the largest hole has ${found.largestHole}`;
  const holders = idle === "" ? "" : `; cached, waiting or quarantined: ${idle} (drain() there gives them back)`;
  return `no space for ${count} entries: ${free}${holders}`;
}

function sumOverThreads(layout: Layout, read: (area: number) => number): number {
  let sum = 0;
  for (let thread = 0; thread < layout.threads; thread++) sum += read(areaOf(layout.threadsAt, thread));
  return sum;
}
