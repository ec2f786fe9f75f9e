/**
 * Recovery of what a dead thread held. Called by a living thread once the end is certain: Node's `exit` event of the worker, or
 * the Web Lock that a browser's worker held. Nothing here is ever done on suspicion: a paused thread is not dead.
 *
 * 1. The slot is marked dying: no new thread can claim it.
 * 2. A half-made change of bits (the intent) is made whole: the range is cleared, be it half taken or half given. Every pool that
 *    it touches is locked by the dead thread, so nobody else can be there. Then those locks are given back.
 * 3. Its ranges are taken over, each by a compareExchange of its ledger slot, as `ending` by the recovering thread: pending,
 *    ending, cached and quarantined ones always; live ones only in scope "everything"; reserved ones never.
 * 4. The layer above clears their entries and invalidates the IOTLB; then the bits are given back.
 *
 * Every step may be repeated. A recovering thread that dies leaves the recovery lock with its tag: whoever recovers *it* goes on
 * with every slot that is still dying. Its own taken-over ranges are `ending` by it, and come back as such.
 *
 * What can't be recovered: an address that was returned but not yet written down by its caller (live: only "everything" brings
 * it back); counters may be off by one.
 */
import { count as tally } from "../shared/counters.ts";
import { holderOf, inherit, lock, SHORT_PATIENCE_MS, tagOf, unlock } from "../shared/lock.ts";
import { hintTo, peek, poke } from "../shared/memory.ts";
import { checkInteger, IovaError } from "../units/errors.ts";
import { type Failure, failureOf } from "../units/failure.ts";
import type { Entry, EntryRange } from "../units/numbers.ts";
import { emptyFifos } from "./cache.ts";
import type { View } from "./intent.ts";
import { NO_INTENT } from "./intent.ts";
import { HEADER, type Layout, THREAD } from "./layout.ts";
import { change, ENDING, LIVE, lengthOf, ownerIn, RESERVED, slotOf, stateIn, tryChange, wipe } from "./ledger.ts";
import { checkOneOf } from "./options.ts";
import type { Pool } from "./pool.ts";
import type { PoolSet } from "./pool-set.ts";
import { forEachRange } from "./statistics.ts";
import { areaOf, SLOT_DEAD, SLOT_DYING, SLOT_FREE, setSlotState, slotState } from "./threads.ts";

/** "in-flight": what the thread was in the middle of, and its cache. "everything": its live ranges too. */
export type ReclaimScope = "in-flight" | "everything";

/** Clears the entries of these ranges and invalidates the IOTLB. A failure keeps them out of use. */
export type Forget = (ranges: readonly EntryRange[]) => Failure | undefined;

/** Where ranges go that recovery has taken over: they are `ending` by the recovering thread. */
export interface RecoveredRanges {
  /** Throws when the recovering thread's view is closed: the name that it would take ranges over in may be another thread's. */
  checkOpen(): void;
  /** To its pools; if these are locked, the range waits with the recovering thread, or is quarantined. */
  giveBack(first: number, count: number): void;
  quarantine(first: number, count: number): void;
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
   * Recovers `thread`, which must be dead for certain. Returns the ranges that came back. Throws IovaError when the slot is
   * free or this thread's own, or when the platform could not forget the entries: then the ranges are quarantined. An error of an
   * op that clears or invalidates goes on to the caller: then the ranges wait for the next reclaim of the same thread.
   */
  reclaim(thread: number, scope: ReclaimScope, forget: Forget): readonly EntryRange[] {
    this.#ranges.checkOpen();
    this.#checkThread(thread);
    // Said before anything is taken: what is not "in-flight" would take live ranges.
    checkOneOf("scope", scope, ["in-flight", "everything"]);
    const { words, threadAt } = this.#view;
    const ranges: EntryRange[] = [];
    let failure: Failure | undefined;
    this.#lockRecovery(thread);
    // `forget` runs a platform's ops, which may throw. Not so when this thread is killed: then the lock keeps its tag.
    try {
      setSlotState(words, this.#layout.threadsAt, thread, SLOT_DYING);
      failure = this.#recoverDying(thread, scope, forget, ranges);
      tally(words, threadAt + THREAD.recoveries, 1);
    } finally {
      unlock(words, HEADER.recoveryLock);
    }
    if (failure === undefined) return ranges;
    throw new IovaError(
      failure,
      `reclaim of thread ${thread}: ${failure}; its ranges are quarantined until a flush succeeds${hintFor(failure)}`,
    );
  }

  /** The asked thread, and every other whose recovery was cut off before. */
  #recoverDying(thread: number, scope: ReclaimScope, forget: Forget, ranges: EntryRange[]): Failure | undefined {
    let failure: Failure | undefined;
    for (let other = 0; other < this.#layout.threads; other++) {
      if (slotState(this.#view.words, this.#layout.threadsAt, other) !== SLOT_DYING) continue;
      failure = this.#recover(other, other === thread ? scope : "in-flight", forget, ranges) ?? failure;
    }
    return failure;
  }

  #recover(thread: number, scope: ReclaimScope, forget: Forget, ranges: EntryRange[]): Failure | undefined {
    const { words } = this.#view;
    this.#repairIntent(thread);
    const taken: EntryRange[] = [];
    const stillLive = this.#takeOver(thread, scope, taken);
    const failure = taken.length > 0 ? this.#forget(thread, taken, forget) : undefined;
    this.#emptyHoldings(thread);
    if (failure === undefined) this.#giveBack(taken);
    else for (const { first, end } of taken) this.#ranges.quarantine(first, end - first);
    // No spread: a call takes some 125,000 arguments at most.
    for (const range of taken) ranges.push(range);
    setSlotState(words, this.#layout.threadsAt, thread, stillLive ? SLOT_DEAD : SLOT_FREE);
    return failure;
  }

  /** Step 4, the entries. When an op throws, the ranges are the dead thread's again, whose slot is still dying: the next reclaim finds both. */
  #forget(thread: number, taken: readonly EntryRange[], forget: Forget): Failure | undefined {
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
  #handBack(thread: number, taken: readonly EntryRange[]): void {
    const { ledger } = this.#view;
    for (const { first, end } of taken)
      change(ledger, first, slotOf(ENDING, this.#view.thread, end - first), ENDING, thread);
  }

  /**
   * Step 4: the bits, those of one pool in a row under one lock. A pool may be locked by another dead thread, which is still to be
   * reclaimed: that is waited for once, and shortly; the pool's ranges are then quarantined, and come back when it is open.
   */
  #giveBack(taken: readonly EntryRange[]): void {
    const stuck = new Set<Pool>();
    let held: Pool | undefined;
    for (const { first, end } of taken) {
      const pool = this.#pools.of(first);
      if (pool !== held) {
        held?.unlock();
        held = !stuck.has(pool) && pool.lock(SHORT_PATIENCE_MS) === 0 ? pool : undefined;
        if (held === undefined) stuck.add(pool);
      }
      if (held === undefined) this.#ranges.quarantine(first, end - first);
      else if (end <= held.end) held.giveRange(first, end - first);
      else {
        held.unlock();
        held = undefined;
        this.#ranges.giveBack(first, end - first);
      }
    }
    held?.unlock();
  }

  /** Step 2. The dead thread's locks are still held in its name, so nobody else is in those pools; the recovery lock keeps others out. */
  #repairIntent(thread: number): void {
    const { words, ledger } = this.#view;
    const area = areaOf(this.#layout.threadsAt, thread);
    const held = this.#pools.all.filter((pool) => pool.holder() === tagOf(thread));
    if (peek(words, area + THREAD.intentKind) !== NO_INTENT) {
      const first = peek(words, area + THREAD.intentFirst);
      const count = peek(words, area + THREAD.intentCount);
      wipe(ledger, first, count);
      for (const pool of held) pool.clearBits(first, first + count);
      poke(words, area + THREAD.intentKind, NO_INTENT);
    }
    for (const pool of held) {
      pool.rebuild();
      pool.unlock();
    }
  }

  /** Step 3. True when ranges of the thread stay live. */
  #takeOver(thread: number, scope: ReclaimScope, taken: EntryRange[]): boolean {
    const { ledger } = this.#view;
    let stillLive = false;
    forEachRange(ledger, this.#view.words, this.#layout, (first, slot) => {
      const state = stateIn(slot);
      if (ownerIn(slot) !== thread || state === RESERVED) return;
      if (state === LIVE && scope === "in-flight") {
        stillLive = true;
        return;
      }
      const end = first + lengthOf(ledger, first, slot);
      if (tryChange(ledger, first, slot, ENDING, this.#view.thread))
        taken.push({ first: first as Entry, end: end as Entry });
    });
    return stillLive;
  }

  #emptyHoldings(thread: number): void {
    const { words } = this.#view;
    const area = areaOf(this.#layout.threadsAt, thread);
    emptyFifos(words, area);
    poke(words, area + THREAD.queueHead, peek(words, area + THREAD.queueTail));
    // Other threads glance at these when they find no space.
    hintTo(words, area + THREAD.queuedEntries, 0);
    hintTo(words, area + THREAD.quarantinedEntries, 0);
  }

  #checkThread(thread: number): void {
    const { threads, threadsAt } = this.#layout;
    checkInteger("thread", thread, 0, threads - 1);
    if (thread === this.#view.thread)
      throw new IovaError("own-thread", `reclaim of thread ${thread}: that is the calling thread`);
    if (slotState(this.#view.words, threadsAt, thread) === SLOT_FREE) {
      throw new IovaError("no-such-thread", `reclaim of thread ${thread}: no thread has that slot`);
    }
  }

  #lockRecovery(dead: number): void {
    const { words, tag } = this.#view;
    if (inherit(words, HEADER.recoveryLock, tagOf(dead), tag)) return;
    const failure = lock(words, HEADER.recoveryLock, tag);
    if (failure === 0) return;
    const holder = holderOf(words, HEADER.recoveryLock) - 1;
    throw new IovaError(
      failureOf(failure),
      `reclaim of thread ${dead}: thread ${holder} is recovering (if it is dead, reclaim it first)`,
    );
  }
}

/** A platform is busy for good when the dead thread was in the middle of a DMA or a hypercall, until its machine has forgotten it. */
function hintFor(failure: Failure): string {
  if (failure !== "platform-busy") return "";
  return ". If the thread died while it used a machine, the machine has to forget it first: board.forgetThread, then reclaim";
}
