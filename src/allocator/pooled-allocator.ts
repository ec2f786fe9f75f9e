/**
 * The pooled allocator: hands out ranges of table entries to several threads at once.
 *
 * A request goes to the thread's cache, then to the pools in their order (pool-set.ts). Only when no pool has space are cached
 * ranges called in: this thread's own, then, by the drain epoch, the other threads'.
 *
 * An object of this class is one thread's view; all state is in the shared buffer of its handle. Post the handle to another thread and
 * `attach` there; never use one object in two threads. Ranges are not bound to threads: a thread may free a range that another has
 * allocated, after a message or an atomic access that orders the two.
 *
 * Answers of the hot path are numbers: an entry (>= 0) or a failure code (< 0, units/failure.ts).
 */

import {
  type Attachment,
  Crew,
  checkCrew,
  createCrewState,
  type ReclaimScope,
  type Recover,
  type Recovered,
  type Stage,
} from "../crew/crew.ts";
import { NOT_FOUND } from "../shared/bitmap.ts";
import { count as tally } from "../shared/counters.ts";
import { tagOf } from "../shared/lock.ts";
import {
  glance,
  load,
  mayWait,
  milliseconds,
  NO_HALVES,
  NO_WORDS,
  type SharedHalves,
  type SharedWords,
  store,
  waitWhile,
} from "../shared/memory.ts";
import { checkInteger, checkNumbers, FormatError, InvalidArgumentError, IovaError, inWords } from "../units/errors.ts";
import {
  type Failure,
  type FailureCode,
  failureCode,
  failureOf,
  IN_USE,
  LONGER_THAN_TABLE,
  OWNER_UNRESPONSIVE,
  TABLE_FULL,
} from "../units/failure.ts";
import type { EntryRange, EntryRanges } from "../units/numbers.ts";
import type { FifoCache } from "./cache.ts";
import { CallIn } from "./call-in.ts";
import { type AreaConstraints, checkConstraints, UNCONSTRAINED } from "./constraints.ts";
import type { Invalidator } from "./flush.ts";
import { FreeCheck } from "./free-check.ts";
import { type Front, NO_FRONT } from "./front.ts";
import { Holdings } from "./holdings.ts";
import { forEachRange, type HeldRange, holdersIn, type OwnedRange, rangesByOwner, rangesIn } from "./inspect/ranges.ts";
import { readSnapshot, takeSnapshot } from "./inspect/snapshot.ts";
import { type AllocatorStatistics, heldByThreads, shortageOf, statisticsOf } from "./inspect/statistics.ts";
import { areaOf, CACHED_LENGTHS, HEADER, type Layout, THREAD } from "./layout.ts";
import {
  change,
  ENDING,
  LIVE,
  lengthOf,
  ownerIn,
  PENDING,
  RESERVED,
  slotOf,
  slotSeen,
  stateIn,
  tryChange,
} from "./ledger.ts";
import {
  type AllocateOptions,
  type AllocatorOptions,
  type CheckedOptions,
  checkAllocateOptions,
  checkOptions,
  checkRange,
} from "./options.ts";
import { CHANGED } from "./pool.ts";
import { PoolSet } from "./pool-set.ts";
import { type Forget, Recovery } from "./recovery.ts";
import { type AllocatorHandle, createState, type OpenState, openState } from "./state.ts";
import type { View } from "./view.ts";

/** Options for objects that enclose an allocator, such as a table: its recovery becomes a part of theirs. */
export interface Enclosure {
  /**
   * Clears the entries of ranges that come back from a dead thread. Default: in lazy mode a flush.
   *
   * @internal
   */
  readonly forget?: Forget;
  /** The stage of its recovery in the crew. Default: "table". With "part", the enclosing object enters the crew and runs the allocator's recovery. */
  readonly stage?: Stage | "part";
  /** Recovers the enclosing object, and calls `own`, the allocator's recovery. Default: `own`. */
  readonly around?: (own: Recover, structure: number) => Recover;
}

/** The longest sleep of `allocateWith` between two tries, in milliseconds. */
const LONGEST_PAUSE_MS = 5;

/**
 * Allocates ranges of the entries 0 .. entries − 1 to several threads at once.
 *
 * An object is the view of one thread. Post `handle` to another thread and `attach` there; never use one object in two threads.
 *
 * `allocate` returns the first entry, or a failure code below 0, which `failureOf` names. A thread may free a range that another thread has
 * allocated, after a message or an atomic access that orders the two. A wrong free throws FreeError, which says what the ledger has for the
 * range.
 *
 * @example
 * ```ts
 * import { isFailure, PooledAllocator } from "iova";
 *
 * const ports = PooledAllocator.create({ entries: 10_000, threads: 4 });
 * const first = ports.allocate(8); // eight entries in a row
 * if (isFailure(first)) throw new Error("no eight ports in a row are free");
 * console.log(ports.lengthAt(first), ports.statistics().taken);
 * ports.free(first);
 * ports.close();
 * ```
 * ```text output
 * 8 8
 * ```
 */
export class PooledAllocator {
  /** Data to attach to, structured-cloneable. Post it to another thread and call `PooledAllocator.attach` there. */
  readonly handle: AllocatorHandle;
  /** Number of this thread, 0 .. threads − 1. The ledger and reports name it as the owner. */
  readonly thread: number = 0;
  /** Entries of the table: 1 .. 2^31 − 1. */
  readonly entries: number = 0;
  /** The threads of the table. */
  readonly crew: Crew;
  readonly #recovery: Recovery;
  #atClose: (() => void) | undefined;
  /** True if the crew was attached for this view alone. */
  readonly #hasOwnCrew: boolean;
  /** Undefined: the enclosing object has entered the crew. */
  readonly #attachment: Attachment | undefined;
  readonly #forget: Forget;
  readonly #options: CheckedOptions;
  readonly #layout: Layout;
  readonly #view: View;
  readonly #words: SharedWords = NO_WORDS;
  readonly #threadAt: number = 0;
  /**
   * The word that every operation reads first: not 0 when another thread asks this one to give back its holdings. In a closed view, a word
   * that is never 0.
   */
  #askedAt: number = 0;
  readonly #ledger: SharedHalves = NO_HALVES;
  readonly #cache: FifoCache;
  readonly #hasCache: boolean;
  readonly #front: Front;
  /** Ledger slots of live, pending and ending ranges of this thread, without the length. */
  readonly #liveSlot: number = 0;
  readonly #pendingSlot: number = 0;
  readonly #endingSlot: number = 0;
  readonly #lazy: boolean = false;
  readonly #pools: PoolSet;
  readonly #holdings: Holdings;
  readonly #callIn: CallIn;
  readonly #check: FreeCheck;

  /** `crew`: the caller's, or undefined: this view attaches to that of the table. */
  private constructor(
    state: OpenState,
    invalidator: Invalidator | undefined,
    crew: Crew | undefined,
    enclosure: Enclosure,
  ) {
    const { options, layout, words } = state;
    this.handle = state.handle;
    this.entries = options.entries;
    this.crew = crew ?? Crew.attach(state.handle.crew);
    this.thread = this.crew.thread;
    this.#hasOwnCrew = crew === undefined;
    this.#forget = enclosure.forget ?? (() => (this.#lazy ? this.invalidateAll() : undefined));
    this.#attachment = this.#enter(enclosure);
    this.#options = options;
    this.#layout = layout;
    this.#words = words;
    this.#threadAt = areaOf(layout.threadsAt, this.thread);
    this.#askedAt = this.#threadAt + THREAD.drainAsked;
    const { ledger } = state;
    const { thread } = this;
    const threadAt = this.#threadAt;
    this.#view = { words, ledger, bitmapAt: layout.bitmapAt, thread, tag: tagOf(thread), threadAt };
    this.#pools = new PoolSet(this.#view, layout);
    this.#holdings = new Holdings(this.#view, this.#pools, options, invalidator);
    this.#callIn = new CallIn(this.#view, layout, this.#holdings, this.crew, this.handle.structure);
    this.#ledger = ledger;
    this.#cache = this.#holdings.cache;
    this.#hasCache = options.cache;
    this.#front = options.lazy ? NO_FRONT : options.cache ? this.#cache : this.#pools.own;
    this.#liveSlot = slotOf(LIVE, thread, 0);
    this.#pendingSlot = slotOf(PENDING, thread, 0);
    this.#endingSlot = slotOf(ENDING, thread, 0);
    this.#lazy = options.lazy;
    this.#check = new FreeCheck(this.#view, options.entries, options.ownerOnly);
    this.#recovery = new Recovery(this.#view, layout, this.#pools, {
      returnRange: (first, count) => this.#returnToPool(first, count),
      quarantine: (first, count) => this.quarantine(first, count),
      isQuarantined: () => this.#holdings.quarantinedEntries > 0,
    });
    store(words, threadAt + THREAD.drainAsked, 0);
  }

  /**
   * Makes an allocator and attaches this thread. `invalidate: "lazy"` needs an `invalidator`. `enclosure`: of an object that has the allocator
   * as a part.
   * @throws InvalidArgumentError for options out of range, and for reserved ranges that overlap
   */
  static create(options: AllocatorOptions, invalidator?: Invalidator, enclosure: Enclosure = {}): PooledAllocator {
    const checked = checkOptions(options);
    checkInvalidator(checked, invalidator);
    const allocator = PooledAllocator.#createFor(checked, options.crew, invalidator, enclosure);
    for (const range of checked.reserved) {
      if (allocator.reserve(range) === undefined) continue;
      allocator.#discard();
      throw new InvalidArgumentError(
        "reserved range",
        inWords(`[${range.first}, ${range.end})`),
        "no overlap with another one",
      );
    }
    return allocator;
  }

  static #createFor(
    options: CheckedOptions,
    crew: Crew | undefined,
    invalidator: Invalidator | undefined,
    enclosure: Enclosure,
  ): PooledAllocator {
    const handle = crew?.handle ?? createCrewState({ threads: options.threads });
    return new PooledAllocator(createState(options, handle), invalidator, crew, enclosure);
  }

  /**
   * Attaches this thread to the allocator of the handle. `crew`: this thread's view of the allocator's crew; default: the thread attaches to
   * the crew, and gets a number of its own. `invalidate: "lazy"` needs an `invalidator`.
   * @throws FormatError for a foreign handle; InvalidArgumentError for another crew than the allocator's, and for a missing invalidator
   * @throws IovaError "no-thread-slot" when all numbers are taken; "already-attached" when `crew` has a view of this allocator;
   * "structure-gone" when its state has been given back
   */
  static attach(handle: AllocatorHandle, crew?: Crew): PooledAllocator;
  static attach(
    handle: AllocatorHandle,
    invalidator?: Invalidator,
    crew?: Crew,
    enclosure?: Enclosure,
  ): PooledAllocator;
  static attach(
    handle: AllocatorHandle,
    second?: Invalidator | Crew,
    third?: Crew,
    enclosure: Enclosure = {},
  ): PooledAllocator {
    const [invalidator, crew] = second instanceof Crew ? [undefined, second] : [second, third];
    const state = openState(handle);
    checkInvalidator(state.options, invalidator);
    checkCrew("the table", crew, state.handle.crew);
    return new PooledAllocator(state, invalidator, crew, enclosure);
  }

  #enter({ stage, around }: Enclosure): Attachment | undefined {
    if (stage === "part") return undefined;
    const own: Recover = (thread, scope) => this.recover(thread, scope);
    let isEntered = false;
    try {
      const attachment = this.crew.enter(
        this.handle.structure,
        stage ?? "table",
        around?.(own, this.handle.structure) ?? own,
      );
      isEntered = true;
      return attachment;
    } finally {
      if (!isEntered && this.#hasOwnCrew) this.crew.close();
    }
  }

  /**
   * Allocates `count` consecutive entries; the range is live. `after` is a preferred first entry, or -1; a request with a preferred entry does
   * not use the cache. Returns the first entry, or a failure code.
   * @throws InvalidArgumentError if `count` is not a positive integer, or `after` not an integer
   */
  allocate(count: number, constraints: AreaConstraints = UNCONSTRAINED, after = -1): number {
    if (constraints === UNCONSTRAINED && after === -1 && glance(this.#words, this.#askedAt) === 0) {
      const first = this.#front.allocateAtOnce(count, this.#liveSlot);
      if (first >= 0) return first;
    }
    return this.#allocate(count, constraints, after, this.#liveSlot);
  }

  /**
   * As `allocate`, with options for the order of the search and the time to wait for space.
   * @throws InvalidArgumentError for unknown options, and for values out of range
   */
  allocateWith(count: number, options: AllocateOptions = {}): number {
    const { constraints, after, order, waitMilliseconds } = checkAllocateOptions(options);
    const deadline = milliseconds() + waitMilliseconds;
    for (let pause = 1; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
      const first =
        order === "lowest" ? this.#allocateLowest(count, constraints) : this.allocate(count, constraints, after);
      const left = deadline - milliseconds();
      if (first !== TABLE_FULL || left <= 0 || !mayWait()) return first;
      // A free wakes no waiter, so the pauses are short; a thread that returns its holdings wakes all.
      waitWhile(this.#words, HEADER.drained, load(this.#words, HEADER.drained), Math.min(pause, left));
    }
  }

  /**
   * Allocates exactly the entries [first, first + count); the range is live. It may lie in several pools. Cached ranges that overlap it are
   * called in: their threads return them to their pools. An idle thread does so at its next call, so a later try may succeed.
   *
   * Returns `first`, or a failure code: "in-use" if an entry is not free (`holderOf` returns its holder), "would-block" or "owner-unresponsive"
   * if a lock could not be taken. When several threads try at once, one gets the range.
   * @throws InvalidArgumentError for a range outside of the table
   */
  allocateAt(first: number, count: number): number {
    return this.#allocateAt(first, count, LIVE);
  }

  /** As `allocateAt`, but the range is pending until `commit`. If this thread dies before, recovery returns the range. */
  beginAt(first: number, count: number): number {
    return this.#allocateAt(first, count, PENDING);
  }

  /**
   * Returns the lowest range that overlaps `range`, or undefined if all its entries are free. Read without locks: exact when no thread runs.
   * @throws InvalidArgumentError for a range outside of the table
   */
  holderOf(range: EntryRange): HeldRange | undefined {
    checkRange("range", range, this.entries);
    return holdersIn(this.#ledger, this.#words, this.#layout, range.first, range.end).next().value ?? undefined;
  }

  /** As `allocate`, but the range is pending until `commit`. If this thread dies before, recovery returns the range. */
  begin(count: number, constraints: AreaConstraints, after: number): number {
    if (constraints === UNCONSTRAINED && after === -1 && glance(this.#words, this.#askedAt) === 0) {
      const first = this.#front.allocateAtOnce(count, this.#pendingSlot);
      if (first >= 0) return first;
    }
    return this.#allocate(count, constraints, after, this.#pendingSlot);
  }

  /** Throws FreeError unless [first, first + count) is a pending range of this thread. Changes nothing. */
  checkPending(first: number, count: number): void {
    this.checkOpen();
    this.#check.own(first, count, PENDING);
  }

  /**
   * Makes a pending range of this thread live.
   * @throws FreeError, and changes nothing, for any other range
   */
  commit(first: number, count: number): void {
    this.checkOpen();
    change(this.#ledger, first, this.#check.own(first, count, PENDING), LIVE, this.thread);
  }

  /**
   * Returns a pending range of this thread to its pool at once, because no device has used it. A failure: the pool's lock could not be taken
   * and the thread's queue is full; the range is quarantined.
   * @throws FreeError, and changes nothing, for any other range
   */
  abandon(first: number, count: number): Failure | undefined {
    this.checkOpen();
    change(this.#ledger, first, this.#check.own(first, count, PENDING), ENDING, this.thread);
    return this.#returnToPool(first, count);
  }

  /**
   * Frees a live range. `count`: its length in entries, which is checked; default: any length. Returns 0 or a failure code.
   *
   * After a failure in strict mode the range is still live, and the call may be repeated. After a failure in lazy mode the range is
   * quarantined: a due flush has failed, or the queue was full.
   *
   * Two threads that free one range at the same time break the ownership rule. Without a cache one of them gets a FreeError. With caches the
   * range may end up in both, and the second thread to take it from its cache gets an InvariantError.
   * @throws FreeError, and changes nothing, on misuse
   */
  free(first: number, count: number = this.lengthAt(first)): 0 | FailureCode {
    const isAsked = glance(this.#words, this.#askedAt) !== 0;
    return !isAsked && this.#front.freeAtOnce(first, count, this.#liveSlot) ? 0 : this.#free(first, count);
  }

  #free(first: number, count: number): 0 | FailureCode {
    if (glance(this.#words, this.#askedAt) !== 0) this.#answer();
    const slot = this.#check.live(first, count);
    if (this.#lazy) return this.#freeLazily(first, count, slot);
    return this.#hasCache && count <= CACHED_LENGTHS
      ? this.#freeToCache(first, count, slot)
      : this.#freeToPool(first, count, slot);
  }

  /**
   * Returns the length of the live range that begins at `first`, in entries.
   * @throws FreeError when no live range begins there
   */
  lengthAt(first: number): number {
    return this.#check.lengthAt(first);
  }

  /** When two threads free one range at once, the pool's lock orders them, and the second finds the range freed. */
  #freeToPool(first: number, count: number, slot: number): 0 | FailureCode {
    const answer = this.#pools.returnToPool(first, count, slot);
    if (answer === CHANGED) throw this.#check.lost(first, count);
    return answer;
  }

  /**
   * Frees a range that another thread allocated, or for which the cache has no room. A range of another thread is adopted first,
   * atomically, because that thread may be dead and a third thread may reclaim its ranges at the same time.
   */
  #freeToCache(first: number, count: number, slot: number): 0 | FailureCode {
    const ledger = this.#ledger;
    const isOurs = ownerIn(slot) === this.thread;
    if (!isOurs && !tryChange(ledger, first, slot, ENDING, this.thread)) throw this.#check.lost(first, count);
    if (this.#holdings.put(first, count, 0)) return 0;
    const answer = this.#freeToPool(first, count, isOurs ? slot : slotOf(ENDING, this.thread, count));
    // No lock could be taken: the range is live again, and belongs to this thread.
    if (answer !== 0 && !isOurs) change(ledger, first, slot, LIVE, this.thread);
    return answer;
  }

  /** Throws IovaError "view-closed" after `close`: another thread may have this view's number and ranges by then. */
  checkOpen(): void {
    if (this.#askedAt === HEADER.magic) throw viewClosed(this.thread);
  }

  /** True with `invalidate: "lazy"`: freed ranges wait for a flush. */
  get lazy(): boolean {
    return this.#lazy;
  }

  /** Throws FreeError unless [first, first + count) is a live range that this thread may free. Changes nothing. */
  checkFree(first: number, count: number): void {
    this.checkOpen();
    this.#check.live(first, count);
  }

  /**
   * First half of a free, for a caller that clears entries in between. The range belongs to this thread from now on, and its entries may be
   * cleared.
   * @throws FreeError, and changes nothing, on misuse
   */
  startFree(first: number, count: number): void {
    if (glance(this.#words, this.#askedAt) !== 0) this.#answer();
    const slot = this.#check.live(first, count);
    // An atomic change: of two threads that free one range at once, one gets it and the other the error.
    if (!tryChange(this.#ledger, first, slot, ENDING, this.thread)) throw this.#check.lost(first, count);
  }

  /**
   * As `startFree` for `ranges` ranges, `[firsts[i], firsts[i] + counts[i])`.
   * @throws FreeError on misuse of any of them; then no free has been started
   */
  startFreeAll(firsts: Int32Array, counts: Int32Array, ranges: number): void {
    if (glance(this.#words, this.#askedAt) !== 0) this.#answer();
    for (let i = 0; i < ranges; i++) this.#check.live(firsts[i] as number, counts[i] as number);
    const ledger = this.#ledger;
    for (let i = 0; i < ranges; i++) {
      const first = firsts[i] as number;
      const slot = slotSeen(ledger, first);
      if (stateIn(slot) === LIVE && tryChange(ledger, first, slot, ENDING, this.thread)) continue;
      // Named twice in the list, or freed by another thread since the check.
      for (let started = 0; started < i; started++)
        this.cancelFree(firsts[started] as number, counts[started] as number);
      throw this.#check.lost(first, counts[i] as number);
    }
  }

  /** Undoes `startFree`: the range is live again. The caller must not have cleared its entries. */
  cancelFree(first: number, count: number): void {
    this.checkOpen();
    change(this.#ledger, first, this.#check.own(first, count, ENDING), LIVE, this.thread);
  }

  /** Second half of a free: the entries are cleared, and no IOTLB has their translations. A failure is as for `abandon`. */
  finishFree(first: number, count: number): Failure | undefined {
    this.checkOpen();
    if (this.#front.freeAtOnce(first, count, this.#endingSlot)) return undefined;
    this.#check.own(first, count, ENDING);
    return this.#holdings.put(first, count, 0) ? undefined : this.#returnToPool(first, count);
  }

  /**
   * Second half of a free in lazy mode: the entries are cleared and that is published; the range waits for a flush. A failure: a flush was due
   * and failed; the range is quarantined.
   */
  finishFreeLazily(first: number, count: number): Failure | undefined {
    this.checkOpen();
    return this.#holdings.putLazily(first, count, this.#check.own(first, count, ENDING));
  }

  /**
   * Ends a started free whose invalidation failed. The range stays out of use until `flushIotlb` of this thread succeeds. A thread that finds
   * no space calls it.
   */
  quarantine(first: number, count: number): void {
    this.checkOpen();
    this.#holdings.quarantine(first, count, this.#check.own(first, count, ENDING));
  }

  /** As `quarantine`, for a pending range that a device may have seen. */
  quarantinePending(first: number, count: number): void {
    this.checkOpen();
    this.#holdings.quarantine(first, count, this.#check.own(first, count, PENDING));
  }

  /**
   * Reserves exactly this range until `unreserve`, for an MMIO hole or a range that firmware has mapped. Cached entries in it are called in
   * first. Returns "in-use" when an entry of it is allocated.
   */
  reserve(range: EntryRange): Failure | undefined {
    this.checkOpen();
    checkRange("range to reserve", range, this.entries);
    const answer = this.#takeExactly(range.first, range.end, RESERVED);
    return answer === 0 ? undefined : failureOf(answer);
  }

  /**
   * Ends a reservation and returns the range to its pool. A failure is as for `abandon`.
   * @throws FreeError unless exactly this range is reserved
   */
  unreserve(range: EntryRange): Failure | undefined {
    this.checkOpen();
    checkRange("range to give back", range, this.entries);
    const { first } = range;
    const count = range.end - first;
    const slot = this.#check.reserved(first, count);
    if (!tryChange(this.#ledger, first, slot, ENDING, this.thread)) throw this.#check.lost(first, count);
    return this.#returnToPool(first, count);
  }

  /**
   * Returns all ranges in this thread's cache and queue to their pools; in lazy mode it flushes first. Returns undefined, or the reason why
   * ranges had to stay.
   */
  drain(): Failure | undefined {
    this.checkOpen();
    const left = this.#holdings.returnAll();
    return left === 0 ? undefined : failureOf(left);
  }

  /**
   * Invalidates the whole IOTLB, then returns this thread's quarantined ranges to their pools. Returns undefined, the failure of the
   * invalidator, or the reason why a range had to stay.
   */
  flushIotlb(): Failure | undefined {
    this.checkOpen();
    return this.#holdings.flushIotlb();
  }

  /** Invalidates the whole IOTLB, and returns no range to its pool. Undefined: no DMA uses entries that were cleared before the call. */
  invalidateAll(): Failure | undefined {
    this.checkOpen();
    return this.#holdings.invalidateAll();
  }

  /**
   * Makes this thread the owner of another thread's live range. Call it before `reclaim` with "everything", for ranges of a dead thread that
   * other threads still use. `from`: the present owner's number; default: any. Returns false if there is no such live range. When several
   * threads try at once, one gets the range.
   * @throws InvalidArgumentError if `from` is not a thread number, or `first` or `count` not a number
   */
  adopt(first: number, count: number, from?: number): boolean {
    this.checkOpen();
    checkNumbers(first, count);
    if (from !== undefined) checkInteger("thread to adopt from", from, 0, this.#options.threads - 1);
    const ledger = this.#ledger;
    const slot = slotSeen(ledger, first);
    if (stateIn(slot) !== LIVE || lengthOf(ledger, first, slot) !== count) return false;
    if (from !== undefined && ownerIn(slot) !== from) return false;
    return tryChange(ledger, first, slot, LIVE, this.thread);
  }

  /** Returns counters and occupancy. Read without locks: exact when no thread runs. */
  statistics(): AllocatorStatistics {
    return statisticsOf(this.#words, this.#layout, this.#pools);
  }

  /**
   * Iterates over the live ranges in ascending order, each with the number of the thread that allocated it. Read without locks during the
   * iteration: exact when no thread runs. Ranges may be freed meanwhile.
   */
  live(): Generator<OwnedRange, void, undefined> {
    return rangesIn(this.#ledger, this.#words, this.#layout, LIVE);
  }

  /** Returns the live ranges, by the number of the thread that allocated them. */
  leaks(): Map<number, EntryRange[]> {
    return rangesByOwner(this.#ledger, this.#words, this.#layout, LIVE);
  }

  /** Returns the reserved ranges, by the number of the thread that reserved them. */
  reservations(): Map<number, EntryRange[]> {
    return rangesByOwner(this.#ledger, this.#words, this.#layout, RESERVED);
  }

  /** Returns a sentence that explains why `count` entries could not be allocated: the free entries, and the entries that other threads keep. */
  shortage(count: number): string {
    checkInteger("count", count, 1, Number.MAX_SAFE_INTEGER);
    return shortageOf(count, this.thread, this.statistics(), heldByThreads(this.#words, this.#layout));
  }

  /**
   * The table's options and its live and reserved ranges, as bytes: see snapshot.ts. Exact when no thread runs; ranges that are pending or
   * being freed are left out.
   */
  snapshot(): Uint8Array {
    return takeSnapshot(this.#view, this.#layout, this.#options);
  }

  /**
   * Makes a new table with the options and ranges of a snapshot; ranges keep the numbers of their owners. Throws FormatError for bytes that
   * are not a snapshot, or are truncated, changed or of another version; then nothing is made.
   */
  static restore(snapshot: Uint8Array, invalidator?: Invalidator): PooledAllocator {
    const { options, ranges } = readSnapshot(snapshot);
    checkInvalidator(options, invalidator);
    const allocator = PooledAllocator.#createFor(options, undefined, invalidator, {});
    for (const { first, end, state, owner } of ranges) {
      if (allocator.#pools.spans.takeExactly(first, end, state, owner) === 0) continue;
      allocator.#discard();
      throw new FormatError(`the snapshot's range [${first}, ${end}) overlaps another one`);
    }
    return allocator;
  }

  /**
   * Ends this thread's view: returns its cached and queued ranges, and its number unless the caller's `crew` goes on. Live ranges stay live,
   * for other threads to free; the number may be given to another thread.
   *
   * Ranges that could not be returned (a lock or a flush failed) stay with the number; its next thread returns them. But when ranges are still
   * quarantined, pending, or begun to be freed, the number becomes that of a dead thread once the crew is closed: `reclaim` it. "in-flight"
   * returns those ranges, "everything" the live ranges too.
   *
   * After `close` every method that changes the table throws IovaError "view-closed"; methods that only read (statistics, leaks, reservations)
   * still work. A second `close` does nothing. Errors of the invalidator are passed on; the view is closed nevertheless.
   * @throws IovaError "view-closed" when this thread was declared dead; the view is closed nevertheless
   */
  close(): void {
    // First: the number may be another thread's.
    if (this.#askedAt === HEADER.magic) return;
    if (this.crew.isDeclaredDead) throw viewClosed(this.thread);
    try {
      this.drain();
    } finally {
      this.#askedAt = HEADER.magic;
      this.#atClose?.();
      if (this.#attachment !== undefined) this.crew.leave(this.#attachment, this.#isLeft());
      if (this.#hasOwnCrew) this.crew.close();
    }
  }

  /** Registers a function that runs when this view is closed, for an object that encloses the allocator. */
  atClose(act: () => void): void {
    this.#atClose = act;
  }

  /** Closes the view at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }

  /**
   * Does this thread leave ranges that only a recovery can give back: quarantined, pending, or begun to be freed? Their entries may still
   * translate; only this view's ops or a recovery can clear them, and the next thread with the number can't.
   */
  #isLeft(): boolean {
    return this.#holdings.quarantinedEntries > 0 || this.#hasBegun();
  }

  /**
   * Recovers a dead thread in every structure that this thread is attached to, as `Crew.reclaim` does. Returns the ranges of this table that
   * came back. Call it when the thread has certainly ended. After "in-flight" the thread's number stays in use while ranges of it are live;
   * when these have been freed, or should be, call it again with "everything". For tables with entries, use `IommuTable.reclaim`.
   * @throws IovaError and errors of recoveries as `Crew.reclaim`
   */
  reclaim(thread: number, scope: ReclaimScope): EntryRanges {
    this.checkOpen();
    return this.crew.reclaim(thread, scope).ranges.get(this.handle.structure) ?? [];
  }

  /**
   * This table's part of a reclaim. The enclosing object calls it, with the crew's recovery lock held.
   *
   * @internal
   */
  recover(thread: number, scope: ReclaimScope): Recovered {
    this.checkOpen();
    return this.#recovery.recover(thread, scope, this.#forget);
  }

  /**
   * Returns the numbers in use: of attached threads, and of dead threads whose ranges are still live. If a thread is killed before it has
   * reported its number, the number is the one that is new in this list since the thread was started.
   */
  threadsInUse(): number[] {
    return this.crew.threadsInUse();
  }

  /** Removes a table whose creation has failed from its crew. */
  #discard(): void {
    this.close();
    this.crew.removeStructure(this.handle.structure);
  }

  /**
   * The general path, after the front: tries the cache, the own pool without waiting, the pools, and the pools once more after cached
   * ranges have been called in.
   */
  #allocate(count: number, constraints: AreaConstraints, after: number, slot: number): number {
    if (glance(this.#words, this.#askedAt) !== 0) this.#answer();
    if (typeof count !== "number" || count < 1 || count > this.entries || (count | 0) !== count)
      return this.#badCount(count);
    if (constraints !== UNCONSTRAINED) checkConstraints(constraints);
    // A search would throw with the pool's lock held.
    if (!Number.isInteger(after)) throw new InvalidArgumentError("entry after which to allocate", after, "an integer");
    const cached = after < 0 ? this.#cache.take(count, constraints, slot) : NOT_FOUND;
    if (cached >= 0) return cached;
    const next = constraints === UNCONSTRAINED && after < 0 ? this.#pools.own.allocateAtOnce(count, slot) : NOT_FOUND;
    if (next >= 0) return next;
    const state = stateIn(slot);
    const first = this.#pools.allocate(count, constraints, after, state);
    if (first >= 0) return first;
    return this.#counted(this.#isCalledIn(first) ? this.#pools.allocate(count, constraints, after, state) : first);
  }

  #allocateLowest(count: number, constraints: AreaConstraints): number {
    if (glance(this.#words, this.#askedAt) !== 0) this.#answer();
    if (typeof count !== "number" || count < 1 || count > this.entries || (count | 0) !== count)
      return this.#badCount(count);
    if (constraints !== UNCONSTRAINED) checkConstraints(constraints);
    const first = this.#pools.allocateLowest(count, constraints, LIVE);
    if (first >= 0) return first;
    return this.#counted(this.#isCalledIn(first) ? this.#pools.allocateLowest(count, constraints, LIVE) : first);
  }

  #allocateAt(first: number, count: number, state: number): number {
    if (glance(this.#words, this.#askedAt) !== 0) this.#answer();
    checkInteger("first entry to allocate", first, 0, this.entries - 1);
    checkInteger("count", count, 1, this.entries - first);
    const answer = this.#takeExactly(first, first + count, state);
    if (answer === 0) return first;
    tally(this.#words, this.#threadAt + THREAD.failures, 1);
    return answer;
  }

  /** Takes exactly this range. Returns 0, IN_USE, or the failure code of a lock. */
  #takeExactly(first: number, end: number, state: number): 0 | FailureCode {
    const { spans } = this.#pools;
    const take = () => spans.takeExactly(first, end, state, this.thread);
    let answer = take();
    if (answer === TABLE_FULL && this.#canBeCalledIn(first, end)) {
      // What this thread keeps is often all that is in the way; asking others takes up to 1 ms.
      this.#holdings.returnAll();
      answer = take();
      if (answer === TABLE_FULL && this.#callIn.callIn()) answer = take();
    }
    return answer === TABLE_FULL ? IN_USE : answer;
  }

  /** False: a range in use or reserved is in the way, which no thread returns on request. It may have ended meanwhile. */
  #canBeCalledIn(first: number, end: number): boolean {
    for (const { state } of holdersIn(this.#ledger, this.#words, this.#layout, first, end)) {
      if (state === "live" || state === "pending" || state === "reserved") return false;
    }
    return true;
  }

  /** After the pools have failed: calls cached ranges in if that can help. True: a second try may succeed. */
  #isCalledIn(failure: number): boolean {
    return (failure === TABLE_FULL || failure === OWNER_UNRESPONSIVE) && this.#callIn.callIn();
  }

  /** Returns the answer, and counts it if it is a failure. */
  #counted(answer: number): number {
    if (answer < 0) tally(this.#words, this.#threadAt + THREAD.failures, 1);
    return answer;
  }

  /** The checks before the general path: is the view closed, and does another thread ask for this thread's holdings? */
  #answer(): void {
    this.checkOpen();
    this.#callIn.answer();
  }

  #freeLazily(first: number, count: number, slot: number): 0 | FailureCode {
    const ledger = this.#ledger;
    if (!tryChange(ledger, first, slot, ENDING, this.thread)) throw this.#check.lost(first, count);
    try {
      const failure = this.#holdings.putLazily(first, count, slotOf(ENDING, this.thread, count));
      return failure === undefined ? 0 : failureCode(failure);
    } catch (error) {
      // The invalidator has thrown in a flush that was needed to make room: the range is live again, and may be freed again.
      change(ledger, first, slotOf(ENDING, this.thread, count), LIVE, this.thread);
      throw error;
    }
  }

  /**
   * Returns an `ending` range to its pool. If the pool's lock can't be taken, the range waits in the queue, which needs no lock. If the
   * queue is full too, the range is quarantined, and the answer is the failure code of the lock.
   */
  #returnToPool(first: number, count: number): Failure | undefined {
    const slot = slotOf(ENDING, this.thread, count);
    const answer = this.#pools.returnToPool(first, count, slot);
    if (answer === CHANGED) throw this.#check.lost(first, count);
    if (answer === 0 || this.#holdings.keep(first, count, slot)) return undefined;
    return failureOf(answer);
  }

  /** True if ranges of this thread are pending, or begun to be freed. Ranges that wait in its queue are also `ending`, and do not count here. */
  #hasBegun(): boolean {
    const ledger = this.#ledger;
    let begun = 0;
    forEachRange(ledger, this.#words, this.#layout, (first, slot) => {
      const state = stateIn(slot);
      if (ownerIn(slot) === this.thread && (state === PENDING || state === ENDING))
        begun += lengthOf(ledger, first, slot);
    });
    return begun > this.#holdings.queue.entries;
  }

  #badCount(count: number): number {
    if (Number.isInteger(count) && count > this.entries) return LONGER_THAN_TABLE;
    throw new InvalidArgumentError("count", count, "a positive integer");
  }
}

/** The error of a call on a view of this thread that is closed. */
export function viewClosed(thread: number): IovaError {
  return new IovaError("view-closed", `thread ${thread} is closed already, or was declared dead`);
}

function checkInvalidator(options: CheckedOptions, invalidator: Invalidator | undefined): void {
  if (options.lazy && invalidator === undefined) {
    throw new InvalidArgumentError(
      "invalidator",
      inWords("undefined"),
      "one: lazily freed ranges wait for a flush of the IOTLB",
    );
  }
}
