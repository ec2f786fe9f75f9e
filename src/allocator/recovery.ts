/**
 * Recovery of what a dead thread held. Called by a living thread once the end is certain: Node's `exit` event of the worker, or
 * the Web Lock that a browser's worker held. Recovery never starts on a suspicion, because a paused thread is not dead.
 *
 * 1. The crew marks the thread's slot dying: no new thread can claim its number. One recovery runs at a time (crew/crew.ts).
 * 2. In the pools that the dead thread has locked, the bits are made anew from the ledger: no other thread can begin or end a range
 *    there. A half-made range is whole then, or gone. Then those locks are given back.
 * 3. Its ranges are taken over, each by a compareExchange of its ledger slot, as `ending` by the recovering thread: pending,
 *    ending, cached and quarantined ones always; live ones only in scope "everything"; reserved ones never.
 * 4. The layer above clears their entries and invalidates the IOTLB; then the bits are given back.
 *
 * Every step may be repeated. What a recovering thread that dies has taken over is `ending` by it, and comes back as such.
 *
 * Two things can't be recovered. An address that was returned but that its caller had not yet recorded is live: only "everything" gives it
 * back. Counters may be off by one.
 */

import type { ReclaimScope, Recovered } from "../crew/crew.ts";
import { count as tally } from "../shared/counters.ts";
import { SHORT_PATIENCE_MS, tagOf } from "../shared/lock.ts";
import { hintTo, peek, poke } from "../shared/memory.ts";
import { IovaError } from "../units/errors.ts";
import type { Failure } from "../units/failure.ts";
import { RangeList } from "../units/range-list.ts";
import { emptyFifos } from "./cache.ts";
import { isWordFree } from "./inspect/ranges.ts";
import { areaOf, type Layout, THREAD } from "./layout.ts";
import {
  beginsRange,
  change,
  ENDING,
  LIVE,
  lengthOf,
  ownerIn,
  RESERVED,
  slotOf,
  slotSeen,
  stateIn,
  stepFrom,
  tryChange,
} from "./ledger.ts";
import type { Pool } from "./pool.ts";
import type { PoolSet } from "./pool-set.ts";
import type { View } from "./view.ts";

/** Clears the entries of these ranges and invalidates the IOTLB. A failure keeps them out of use. */
export type Forget = (ranges: RangeList) => Failure | undefined;

/** Takes the ranges that recovery has taken over; they are `ending` by the recovering thread. */
export interface RecoveredRanges {
  /** To its pools; if these are locked, the range waits with the recovering thread, or is quarantined. */
  returnRange(first: number, count: number): void;
  quarantine(first: number, count: number): void;
  /** True if the recovering thread has quarantined ranges. Then the IOTLB may still hold translations from an earlier attempt. */
  isQuarantined(): boolean;
}

/**
 * Limit of the ranges that are returned to a pool under one lock; a range that is longer than the limit of entries is returned alone. It takes
 * less time than a waiter's looks at the lock (shared/lock.ts), so a thread that allocates in the pool meanwhile does not fall asleep.
 */
const RANGES_AT_ONCE = 64;
const ENTRIES_AT_ONCE = 4096;

/** One past the last of the ranges that are given back together with range `from`: they end at or before `poolEnd`. */
function endOfBatch(ranges: RangeList, from: number, poolEnd: number): number {
  let entries = 0;
  let next = from;
  for (const last = Math.min(ranges.length, from + RANGES_AT_ONCE); next < last; next++) {
    const end = ranges.end(next);
    entries += end - ranges.first(next);
    if (end > poolEnd || (next > from && entries > ENTRIES_AT_ONCE)) break;
  }
  return next;
}

export class Recovery {
  readonly #view: View;
  readonly #layout: Layout;
  readonly #pools: PoolSet;
  readonly #ranges: RecoveredRanges;

  constructor(view: View, layout: Layout, pools: PoolSet, ranges: RecoveredRanges) {
    this.#view = view;
    this.#layout = layout;
    this.#pools = pools;
    this.#ranges = ranges;
  }

  /**
   * Recovers what a dead thread left here; the crew calls it (crew/crew.ts). A failure says that the IOTLB could not be invalidated. Then
   * this thread quarantines the ranges, and the dead thread's number stays taken until a repetition succeeds. An error that an op throws
   * while it clears or invalidates reaches the caller; then the ranges wait for the next reclaim of the same thread.
   */
  recover(thread: number, scope: ReclaimScope, forget: Forget): Recovered {
    const { words, threadAt } = this.#view;
    this.#repairPools(thread);
    const ranges = new RangeList();
    const isLive = this.#takeOver(thread, scope, ranges);
    const isAsked = ranges.length > 0 || this.#ranges.isQuarantined();
    const failure = isAsked ? this.#forget(thread, ranges, forget) : undefined;
    this.#emptyHoldings(thread);
    if (failure === undefined) this.#returnToPools(ranges);
    else this.#quarantine(ranges, 0, ranges.length);
    tally(words, threadAt + THREAD.recoveries, 1);
    return { ranges, isLeft: isLive, ...(failure === undefined ? {} : { failure: failed(thread, failure) }) };
  }

  /** Step 4, the entries. When an op throws, the ranges are the dead thread's again, whose slot is still dying: the next reclaim finds both. */
  #forget(thread: number, taken: RangeList, forget: Forget): Failure | undefined {
    let isDone = false;
    try {
      const failure = forget(taken);
      isDone = true;
      return failure;
    } finally {
      if (!isDone) this.#handBack(thread, taken);
    }
  }

  /** `ending` by the dead thread, whatever they were: their entries may be cleared. The recovery lock, held, keeps others out. */
  #handBack(thread: number, taken: RangeList): void {
    const { ledger } = this.#view;
    for (let i = 0; i < taken.length; i++) {
      const first = taken.first(i);
      change(ledger, first, slotOf(ENDING, this.#view.thread, taken.end(i) - first), ENDING, thread);
    }
  }

  /**
   * Step 4: the bits, those of up to RANGES_AT_ONCE ranges under one lock. A pool may be locked by another dead thread, which is still to be
   * reclaimed: that is waited for once, and shortly; the pool's ranges are then quarantined, and come back when it is open.
   */
  #returnToPools(taken: RangeList): void {
    const stuck = new Set<Pool>();
    for (let i = 0; i < taken.length; ) {
      const first = taken.first(i);
      const end = taken.end(i);
      const pool = this.#pools.of(first);
      if (end > pool.end) {
        this.#ranges.returnRange(first, end - first);
        i++;
      } else {
        const next = endOfBatch(taken, i, pool.end);
        this.#returnBatch(taken, i, next, pool, stuck);
        i = next;
      }
    }
  }

  #returnBatch(taken: RangeList, from: number, to: number, pool: Pool, stuck: Set<Pool>): void {
    if (stuck.has(pool) || pool.lock(SHORT_PATIENCE_MS) !== 0) {
      stuck.add(pool);
      this.#quarantine(taken, from, to);
      return;
    }
    for (let i = from; i < to; ) {
      const next = taken.endOfRun(i, to);
      pool.endRanges(taken.first(i), taken.end(next - 1));
      i = next;
    }
    pool.unlock();
  }

  #quarantine(taken: RangeList, from: number, to: number): void {
    for (let i = from; i < to; i++) this.#ranges.quarantine(taken.first(i), taken.end(i) - taken.first(i));
  }

  /**
   * Step 2. All pools are made whole before the first lock is given back: a half-made span is known by the ledger of its first pool, and a
   * recovery that goes on with this one must find that pool locked. The recovery lock keeps other recoveries out.
   */
  #repairPools(thread: number): void {
    const held = this.#pools.all.filter((pool) => pool.holder() === tagOf(thread));
    let before: Pool | undefined;
    let reach: number | undefined;
    for (const pool of held) {
      reach = pool.rebuild(before?.end === pool.first ? reach : undefined);
      before = pool;
    }
    for (const pool of held) pool.unlock();
  }

  /** Step 3. True when ranges of the thread stay live. */
  #takeOver(thread: number, scope: ReclaimScope, taken: RangeList): boolean {
    const { ledger, words } = this.#view;
    const layout = this.#layout;
    let stillLive = false;
    for (let entry = 0; entry < layout.entries; ) {
      if (isWordFree(words, layout, entry)) {
        entry += 32;
        continue;
      }
      const slot = slotSeen(ledger, entry);
      if (ownerIn(slot) === thread && beginsRange(slot)) {
        if (stateIn(slot) === LIVE && scope === "in-flight") stillLive = true;
        else this.#takeRange(entry, slot, taken);
      }
      entry += stepFrom(slot);
    }
    return stillLive;
  }

  #takeRange(first: number, slot: number, taken: RangeList): void {
    const { ledger, thread } = this.#view;
    if (stateIn(slot) === RESERVED) return;
    const end = first + lengthOf(ledger, first, slot);
    if (tryChange(ledger, first, slot, ENDING, thread)) taken.add(first, end);
  }

  #emptyHoldings(thread: number): void {
    const { words } = this.#view;
    const area = areaOf(this.#layout.threadsAt, thread);
    emptyFifos(words, area);
    poke(words, area + THREAD.queueHead, peek(words, area + THREAD.queueTail));
    // Other threads read these without a lock when they find no space.
    hintTo(words, area + THREAD.queuedEntries, 0);
    hintTo(words, area + THREAD.quarantinedEntries, 0);
  }
}

function failed(thread: number, failure: Failure): IovaError {
  return new IovaError(
    failure,
    `reclaim of thread ${thread}: ${failure}; its ranges are quarantined until a flush succeeds, and its number stays taken ` +
      "until it is reclaimed again",
  );
}
