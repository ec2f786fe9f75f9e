/**
 * A table whose entries lead to pinned memory: a platform's ops (TableOps), enclosed with the user address of each entry and with the regions
 * that they count in. A container maps through it, and so does KVM for a guest's table. The generic table knows nothing of it.
 *
 *     const table = PinnedTable.create(pinned, owner, window, ops);
 *     table.map(first, count, userPage, 3);     // undefined, or "ENOENT": not registered, "EFAULT", …
 *     table.unmap(first, count);
 *
 * Each change has one order:
 *   count the new regions → exchange entry and user address → invalidate → mark old pages dirty → lower the old regions.
 * So a region's count is lowered only when no device can reach its pages any more, and the region that is lowered is that of the address which
 * was replaced. The entries of a change are locked from its begin to its end; changes of other entries go on beside it.
 *
 * A thread notes each step of its change before it takes it. Steps can be repeated; a recovery goes on from the noted one, in the name of
 * the dead thread and under its locks:
 *   preparing  → dropping                               nothing is exchanged yet: the new counts are lowered
 *   exchanging → restoring → invalidating → lowering    the old values come back; then the new counts are lowered
 *   clearing               → invalidating → lowering    an unmap is made to its end
 * When the platform is busy, the change stays where it is, and the next call of the thread goes on with it.
 */
import type { Attachment, Recovered } from "../crew/crew.ts";
import { holderOf, lock, tagOf, unlock } from "../shared/lock.ts";
import { peek, poke, type SharedBuffer } from "../shared/memory.ts";
import type { EntryValue, TableOps } from "../table/contract.ts";
import { checkHandle } from "../table/handle.ts";
import { checkOps } from "../table/iommu-table.ts";
import { type Errno, errnoOf } from "../units/errno.ts";
import { checkInstance, checkInteger, InvalidArgumentError, IovaError, inWords } from "../units/errors.ts";
import type { Failure } from "../units/failure.ts";
import type { Access, DmaWindow } from "../units/numbers.ts";
import { checkWindow } from "../units/window.ts";
import { PinnedMemory } from "./pinned-memory.ts";
import { NONE } from "./regions.ts";
import {
  ACCESS_SHIFT,
  BLOCK_SHIFT,
  createTableState,
  ENTRY,
  entryAt,
  LOCKS,
  lockAt,
  OPERATION,
  openTableState,
  operationAt,
  PENDING,
  type PinnedTableState,
  REGION_MASK,
  VALUE,
  valueAt,
} from "./table-layout.ts";
import { USER_PAGE_SHIFT } from "./user-memory.ts";

const IDLE = 0;
/** New regions are counted, other values are written. */
const PREPARING = 1;
/** Entries get their other values. */
const EXCHANGING = 2;
/** Entries are emptied. */
const CLEARING = 3;
/** Entries get their old values back. */
const RESTORING = 4;
const INVALIDATING = 5;
/** The regions of the values that are not current are lowered. */
const LOWERING = 6;
/** As lowering; no device has used the values. */
const DROPPING = 7;

/** The access lets the device write. */
const WRITES = 2;

/** Structured-cloneable: post it to another thread and `PinnedTable.attach` there. */
export interface PinnedTableHandle {
  /** The bus addresses of the table. */
  readonly window: DmaWindow;
  /** @internal */
  readonly state: SharedBuffer;
  /** @internal */
  readonly structure: number;
}

/** An entry that is mapped. */
export interface PinnedEntry {
  /** The user page of 4 KiB. */
  readonly userPage: number;
  /** Allowed accesses of the device. */
  readonly access: Access;
  /** Number of the region that contains the page. */
  readonly region: number;
}

interface MapRequest {
  readonly first: number;
  readonly count: number;
  readonly userPage: number;
  readonly access: Access;
  /** NONE: that which contains the pages. */
  readonly region: number;
}

/** One thread's view. */
export class PinnedTable {
  /** Structured-cloneable: post it to another thread and `PinnedTable.attach` there. */
  readonly handle: PinnedTableHandle;
  /** The bus addresses of the table. */
  readonly window: DmaWindow;
  /** The process whose regions the entries lead to. */
  readonly owner: number;
  readonly #pinned: PinnedMemory;
  readonly #ops: TableOps;
  readonly #state: PinnedTableState;
  readonly #attachment: Attachment;
  readonly #thread: number;
  readonly #forgetEnding: () => void;
  /** User pages of an entry. */
  readonly #pagesPerEntry: number;
  readonly #old: EntryValue = { page: 0, access: 0 };
  #isClosed = false;

  private constructor(pinned: PinnedMemory, handle: PinnedTableHandle, state: PinnedTableState, ops: TableOps) {
    this.#pinned = pinned;
    this.handle = handle;
    this.window = handle.window;
    this.owner = state.owner;
    this.#ops = ops;
    this.#state = state;
    this.#thread = pinned.thread;
    this.#pagesPerEntry = 2 ** (handle.window.pageShift - USER_PAGE_SHIFT);
    this.#attachment = pinned.crew.enter(handle.structure, "pinned-table", (dead) => this.#recover(dead));
    this.#forgetEnding = pinned.onOwnerEnd(this.owner, () => this.clear());
  }

  /**
   * For a window of empty entries that are changed by nothing else from now on. `ops`: this thread's ops of the window. Throws
   * InvalidArgumentError, and as Crew.addStructure.
   */
  static create(pinned: PinnedMemory, owner: number, window: DmaWindow, ops: TableOps): PinnedTable {
    checkParts(pinned, ops);
    checkWindow(window);
    if (!pinned.hasOwner(owner))
      throw new InvalidArgumentError("owner of a pinned table", owner, "an owner that has not ended");
    const state = createTableState(window.entries, pinned.crew.threads, owner);
    const structure = pinned.crew.addStructure();
    return new PinnedTable(pinned, { window, state: state.buffer, structure }, state, ops);
  }

  /** A view for the calling thread, on its view of the pinned memory. Throws FormatError for a foreign handle, and as Crew.enter. */
  static attach(pinned: PinnedMemory, handle: PinnedTableHandle, ops: TableOps): PinnedTable {
    checkHandle("a pinned table", handle, { window: "object", state: "shared", structure: "count" });
    checkParts(pinned, ops);
    return new PinnedTable(pinned, handle, openTableState(handle.state), ops);
  }

  /**
   * Maps `count` entries from `first` on to consecutive user memory from `userPage` on, with this access of the device. Live entries are
   * replaced. All or nothing: after an errno the entries are what they were.
   * - "EINVAL": `userPage` is not aligned to the IO page;
   * - "ENOENT": a part is not registered; "ENXIO": it is being released;
   * - "EFAULT": the IO page is larger than a page behind the region, or not aligned to it in physical memory;
   * - "ENOMEM": the platform refuses, for it has no memory for the entries or they can't hold the page;
   * - "EAGAIN": the platform is busy, or another thread does not release the entries. Repeat the call.
   */
  map(first: number, count: number, userPage: number, access: Access): Errno | undefined {
    this.#check(first, count);
    checkInteger("user page", userPage, 0, Number.MAX_SAFE_INTEGER);
    checkInteger("access", access, 1, 3);
    if (userPage % this.#pagesPerEntry !== 0) return "EINVAL";
    return this.#begin(first, count) ?? this.#mapLocked({ first, count, userPage, access, region: NONE });
  }

  /** As `map`, into a region that the caller knows: also one that lookups do not find. */
  mapRegion(first: number, count: number, region: number, userPage: number, access: Access): Errno | undefined {
    this.#check(first, count);
    checkInteger("region", region, 0, Number.MAX_SAFE_INTEGER);
    checkInteger("user page", userPage, 0, Number.MAX_SAFE_INTEGER);
    checkInteger("access", access, 1, 3);
    if (userPage % this.#pagesPerEntry !== 0) return "EINVAL";
    return this.#begin(first, count) ?? this.#mapLocked({ first, count, userPage, access, region });
  }

  /**
   * Empties `count` entries from `first` on; empty ones stay empty. "EAGAIN": the platform is busy, or another thread does not release the
   * entries. The entries are empty then, or not; no count has been lowered that a device may need. Repeat the call.
   */
  unmap(first: number, count: number): Errno | undefined {
    this.#check(first, count);
    return this.#begin(first, count) ?? this.#unmapLocked(first, count);
  }

  /** Empties all entries. As `unmap`. */
  clear(): Errno | undefined {
    return this.unmap(0, this.window.entries);
  }

  /** Goes on with this thread's last change, if it waits for the platform. "EAGAIN": it still waits, and its entries stay locked. */
  finish(): Errno | undefined {
    if (this.#isClosed) throw viewClosed();
    return this.#finish(this.#thread) === undefined ? undefined : "EAGAIN";
  }

  /** What an entry leads to; undefined: it is empty. "EAGAIN": another thread does not release it. */
  get(entry: number): PinnedEntry | Errno | undefined {
    if (this.#isClosed) throw viewClosed();
    this.#check(entry, 1);
    const at = lockAt((entry >>> BLOCK_SHIFT) % LOCKS);
    const isOurs = holderOf(this.#state.words, at) === tagOf(this.#thread);
    if (!isOurs && lock(this.#state.words, at, tagOf(this.#thread)) !== 0) return "EAGAIN";
    const value = this.#value(valueAt(this.#state, entry, this.#current(entry)));
    if (!isOurs) unlock(this.#state.words, at);
    return value;
  }

  /** The number of entries that are mapped. Exact while no other thread maps. */
  get mapped(): number {
    let mapped = 0;
    for (let entry = 0; entry < this.window.entries; entry++) {
      if (peek(this.#state.words, valueAt(this.#state, entry, this.#current(entry)) + VALUE.region) !== 0) mapped++;
    }
    return mapped;
  }

  /** Empties the table and removes it for all threads. "EAGAIN": as `clear`; repeat the call. */
  remove(): Errno | undefined {
    const errno = this.clear();
    if (errno !== undefined) return errno;
    this.#pinned.crew.removeStructure(this.handle.structure);
    this.close();
    return undefined;
  }

  /** Detaches this thread; entries stay. A change that waits for the platform is left to a recovery of this thread. A second call does nothing. */
  close(): void {
    if (this.#isClosed) return;
    const isLeft = this.#finish(this.#thread) !== undefined;
    this.#isClosed = true;
    this.#forgetEnding();
    this.#pinned.crew.leave(this.#attachment, isLeft);
  }

  /** `using` ends it as `close` does. */
  [Symbol.dispose](): void {
    this.close();
  }

  // A change: its begin.

  /** Ends the thread's last change, if it waits for the platform, and locks the entries. */
  #begin(first: number, count: number): Errno | undefined {
    if (this.#isClosed) throw viewClosed();
    if (this.#finish(this.#thread) !== undefined) return "EAGAIN";
    return this.#lockEntries(first, count);
  }

  /** Takes the locks of these entries in ascending order. */
  #lockEntries(first: number, count: number): Errno | undefined {
    const locks = locksOf(first, count);
    for (let i = 0; i < locks; i++) {
      if (lock(this.#state.words, ithLock(first, locks, i), tagOf(this.#thread)) === 0) continue;
      while (--i >= 0) unlock(this.#state.words, ithLock(first, locks, i));
      return "EAGAIN";
    }
    return undefined;
  }

  #mapLocked(request: MapRequest): Errno | undefined {
    const { first, count } = request;
    this.#note(this.#thread, first, count);
    let isDone = false;
    try {
      const errno = this.#prepareAll(request) ?? this.#exchangeAll(first, count);
      isDone = true;
      // The change is made even if the platform is busy; repeating it does no harm.
      return this.#finish(this.#thread) === undefined ? errno : "EAGAIN";
    } finally {
      // An op has thrown: what was exchanged is taken back now, or with the next call.
      if (!isDone) this.#finish(this.#thread);
    }
  }

  #unmapLocked(first: number, count: number): Errno | undefined {
    this.#note(this.#thread, first, count);
    for (let entry = first; entry < first + count; entry++) {
      const next = this.#other(entry);
      poke(this.#state.words, valueAt(this.#state, entry, next) + VALUE.region, 0);
      poke(this.#state.words, entryAt(this.#state, entry) + ENTRY.pending, PENDING | next);
    }
    this.#set(this.#thread, OPERATION.prepared, first + count);
    this.#set(this.#thread, OPERATION.step, CLEARING);
    return this.#finish(this.#thread) === undefined ? undefined : "EAGAIN";
  }

  /** Notes a change with nothing done. The step comes last: it says that the rest is right. */
  #note(thread: number, first: number, count: number): void {
    this.#set(thread, OPERATION.first, first);
    this.#set(thread, OPERATION.count, count);
    this.#set(thread, OPERATION.prepared, first);
    this.#set(thread, OPERATION.runFirst, first);
    this.#set(thread, OPERATION.lowered, first);
    this.#set(thread, OPERATION.lowerRegion, 0);
    this.#set(thread, OPERATION.step, PREPARING);
  }

  // Preparing.

  #prepareAll(request: MapRequest): Errno | undefined {
    const { first } = request;
    const end = first + request.count;
    for (let entry = first; entry < end; ) {
      const userPage = request.userPage + (entry - first) * this.#pagesPerEntry;
      const run = this.#prepareRun(request, entry, end - entry, userPage);
      if (typeof run === "string") {
        this.#set(this.#thread, OPERATION.step, DROPPING);
        return run;
      }
      entry += run;
    }
    this.#set(this.#thread, OPERATION.step, EXCHANGING);
    return undefined;
  }

  /** Counts the mappings of up to `most` entries in one region, and writes the entries' other values. Returns how many entries these are. */
  #prepareRun({ access, region: known }: MapRequest, first: number, most: number, userPage: number): number | Errno {
    this.#set(this.#thread, OPERATION.runFirst, first);
    let count = most;
    let region = this.#take(known, userPage, count);
    // Regions may adjoin: the longest run that lies in one, by halves.
    while (region < 0 && count > 1 && known === NONE) {
      count = Math.ceil(count / 2);
      region = this.#take(known, userPage, count);
    }
    if (region < 0) return errnoOf(region);
    for (let i = 0; i < count; i++) {
      const page = userPage + i * this.#pagesPerEntry;
      const physical = this.#pinned.physicalPage(region, page, this.window.pageShift);
      if (physical < 0 || physical % this.#pagesPerEntry !== 0) {
        this.#pinned.drop();
        return "EFAULT";
      }
      this.#writeOther(first + i, region, page, access);
    }
    // From here on a recovery finds the mappings in the entries; before, in the thread's hand.
    this.#set(this.#thread, OPERATION.prepared, first + count);
    this.#pinned.keep();
    return count;
  }

  #take(known: number, userPage: number, count: number): number {
    if (known !== NONE) return this.#pinned.takeRegion(known, count);
    return this.#pinned.take(this.owner, userPage, count * this.#pagesPerEntry, count);
  }

  #writeOther(entry: number, region: number, userPage: number, access: Access): void {
    const { words } = this.#state;
    const next = this.#other(entry);
    const at = valueAt(this.#state, entry, next);
    poke(words, at + VALUE.region, (region + 1) | (access << ACCESS_SHIFT));
    poke(words, at + VALUE.pageLow, userPage | 0);
    poke(words, at + VALUE.pageHigh, Math.floor(userPage / 2 ** 32));
    poke(words, entryAt(this.#state, entry) + ENTRY.pending, PENDING | next);
  }

  // Exchanging.

  #exchangeAll(first: number, count: number): Errno | undefined {
    let failure: Failure | undefined;
    let isReplaced = false;
    for (let entry = first; entry < first + count && failure === undefined; entry++) {
      isReplaced ||= this.#regionIn(valueAt(this.#state, entry, this.#current(entry))) >= 0;
      failure = this.#exchange(entry, this.#other(entry));
      if (failure === undefined) this.#makeCurrent(entry, this.#other(entry));
    }
    failure ??= this.#ops.publish();
    if (failure !== undefined) {
      this.#set(this.#thread, OPERATION.step, RESTORING);
      return errnoOfFailure(failure);
    }
    // An entry that was empty is in no IOTLB.
    this.#set(this.#thread, OPERATION.step, isReplaced ? INVALIDATING : LOWERING);
    return undefined;
  }

  /** The platform's entry gets one of the values. */
  #exchange(entry: number, which: number): Failure | undefined {
    const at = valueAt(this.#state, entry, which);
    const region = this.#regionIn(at);
    if (region < 0) {
      this.#ops.clear(entry, 1);
      return undefined;
    }
    const physical = this.#pinned.physicalPage(region, this.#pageIn(at), this.window.pageShift);
    return this.#ops.exchange(entry, physical / this.#pagesPerEntry, this.#accessIn(at) as Access, this.#old);
  }

  // From here on: steps that a recovery takes too.

  /** Goes on with the thread's change until it has ended, and unlocks the entries. A failure: the platform is busy, and the change waits. */
  #finish(thread: number): Failure | undefined {
    for (let step = this.#get(thread, OPERATION.step); step !== IDLE; step = this.#get(thread, OPERATION.step)) {
      const next = this.#takeStep(thread, step);
      if (typeof next === "string") return next;
      this.#set(thread, OPERATION.step, next);
      if (next === IDLE) this.#unlockEntries(thread);
    }
    return undefined;
  }

  /** Takes one step. Returns the next one, or why it could not be taken. */
  #takeStep(thread: number, step: number): number | Failure {
    const first = this.#get(thread, OPERATION.first);
    const end = first + this.#get(thread, OPERATION.count);
    switch (step) {
      case PREPARING:
        this.#settleRun(thread);
        return DROPPING;
      case EXCHANGING:
        return RESTORING;
      case CLEARING:
        this.#ops.clear(first, end - first);
        for (let entry = first; entry < end; entry++) this.#makeCurrent(entry, this.#pending(entry));
        return INVALIDATING;
      case RESTORING:
        return this.#restore(first, end) ?? INVALIDATING;
      case INVALIDATING:
        return this.#ops.publish() ?? this.#ops.invalidate(first, end) ?? LOWERING;
      default:
        this.#lowerAll(thread, step === LOWERING);
        return IDLE;
    }
  }

  /** A count that the dead thread had in its hand: it is kept if the entries have it. */
  #settleRun(thread: number): void {
    const isNoted = this.#get(thread, OPERATION.prepared) > this.#get(thread, OPERATION.runFirst);
    if (this.#pinned.handOf(thread) !== undefined) this.#pinned.settleHand(thread, isNoted);
  }

  #restore(first: number, end: number): Failure | undefined {
    for (let entry = first; entry < end; entry++) {
      const old = this.#pending(entry) ^ 1;
      const failure = this.#exchange(entry, old);
      if (failure !== undefined) return failure;
      this.#makeCurrent(entry, old);
    }
    return undefined;
  }

  /** Lowers the regions of the values that are not current, by runs in one region. */
  #lowerAll(thread: number, wasUsed: boolean): void {
    this.#lowerNoted(thread);
    const prepared = this.#get(thread, OPERATION.prepared);
    for (let entry = this.#get(thread, OPERATION.lowered); entry < prepared; ) {
      const region = this.#regionIn(valueAt(this.#state, entry, this.#other(entry)));
      let end = entry;
      while (end < prepared && this.#regionIn(valueAt(this.#state, end, this.#other(end))) === region) {
        if (wasUsed && region >= 0) this.#markDirty(valueAt(this.#state, end, this.#other(end)));
        end++;
      }
      this.#set(thread, OPERATION.lowerBefore, region < 0 ? 0 : this.#pinned.cellOf(region, thread));
      this.#set(thread, OPERATION.lowerCount, end - entry);
      this.#set(thread, OPERATION.lowerEnd, end);
      // Last: it says that the rest is right.
      this.#set(thread, OPERATION.lowerRegion, region + 1);
      this.#lowerNoted(thread);
      if (region < 0) this.#set(thread, OPERATION.lowered, end);
      entry = end;
    }
  }

  /** Lowers the noted run. Can be repeated: the thread's part of the count is stored, not changed. */
  #lowerNoted(thread: number): void {
    const region = this.#get(thread, OPERATION.lowerRegion) - 1;
    if (region < 0) return;
    const after = this.#get(thread, OPERATION.lowerBefore) - this.#get(thread, OPERATION.lowerCount);
    this.#pinned.restoreCell(thread, region, after);
    this.#set(thread, OPERATION.lowered, this.#get(thread, OPERATION.lowerEnd));
    this.#set(thread, OPERATION.lowerRegion, 0);
  }

  #markDirty(at: number): void {
    if ((this.#accessIn(at) & WRITES) === 0) return;
    this.#pinned.markDirty(this.#regionIn(at), this.#pageIn(at), this.#pagesPerEntry);
  }

  #recover(thread: number): Recovered | undefined {
    const failure = this.#finish(thread);
    // The thread may have died with locks before it noted a change, or after it has ended it.
    if (failure === undefined) for (let at = 0; at < LOCKS; at++) this.#unlockFor(thread, lockAt(at));
    if (failure === undefined) return undefined;
    const error = new IovaError(
      failure,
      `a pinned table of owner ${this.owner}, in the name of thread ${thread}: ${failure}`,
    );
    return { ranges: [], isLeft: true, failure: error };
  }

  /** The change of the thread has ended. Its locks that a recovery of it has unlocked already stay as they are. */
  #unlockEntries(thread: number): void {
    const first = this.#get(thread, OPERATION.first);
    const locks = locksOf(first, this.#get(thread, OPERATION.count));
    for (let i = 0; i < locks; i++) this.#unlockFor(thread, ithLock(first, locks, i));
  }

  #unlockFor(thread: number, at: number): void {
    if (holderOf(this.#state.words, at) === tagOf(thread)) unlock(this.#state.words, at);
  }

  // Words.

  #get(thread: number, word: number): number {
    return peek(this.#state.words, operationAt(thread) + word);
  }
  #set(thread: number, word: number, value: number): void {
    poke(this.#state.words, operationAt(thread) + word, value);
  }

  #current(entry: number): number {
    return peek(this.#state.words, entryAt(this.#state, entry) + ENTRY.current);
  }
  #other(entry: number): number {
    return this.#current(entry) ^ 1;
  }
  /** The value that becomes current by the change. */
  #pending(entry: number): number {
    return peek(this.#state.words, entryAt(this.#state, entry) + ENTRY.pending) & 1;
  }
  #makeCurrent(entry: number, which: number): void {
    poke(this.#state.words, entryAt(this.#state, entry) + ENTRY.current, which);
  }

  /** The region in a value; -1: it is empty. */
  #regionIn(at: number): number {
    return (peek(this.#state.words, at + VALUE.region) & REGION_MASK) - 1;
  }
  #accessIn(at: number): number {
    return (peek(this.#state.words, at + VALUE.region) >>> ACCESS_SHIFT) & 3;
  }
  #pageIn(at: number): number {
    const { words } = this.#state;
    return peek(words, at + VALUE.pageHigh) * 2 ** 32 + (peek(words, at + VALUE.pageLow) >>> 0);
  }
  #value(at: number): PinnedEntry | undefined {
    const region = this.#regionIn(at);
    return region < 0 ? undefined : { userPage: this.#pageIn(at), access: this.#accessIn(at) as Access, region };
  }

  #check(first: number, count: number): void {
    const { entries } = this.window;
    if (Number.isInteger(first) && Number.isInteger(count) && first >= 0 && count >= 1 && first + count <= entries)
      return;
    throw new InvalidArgumentError(
      "entries of a pinned table",
      inWords(`[${first}, ${first} + ${count})`),
      `a range in [0, ${entries})`,
    );
  }
}

/** Throws InvalidArgumentError for parts of other types. */
function checkParts(pinned: PinnedMemory, ops: TableOps): void {
  checkInstance("pinned of a table", pinned, PinnedMemory, "a view of a pinned memory");
  checkOps(ops);
}

function viewClosed(): IovaError {
  return new IovaError("view-closed", "this view of the pinned table is closed; attach a new one");
}

function errnoOfFailure(failure: Failure): Errno {
  return failure === "platform-busy" ? "EAGAIN" : "ENOMEM";
}

/** How many locks a range of entries has. */
function locksOf(first: number, count: number): number {
  return Math.min(LOCKS, ((first + count - 1) >>> BLOCK_SHIFT) - (first >>> BLOCK_SHIFT) + 1);
}

/** The locks of a range that begins at `first`, in ascending order: blocks have them in turn, so those of its end may come first. */
function ithLock(first: number, locks: number, i: number): number {
  const start = (first >>> BLOCK_SHIFT) % LOCKS;
  const wrapped = Math.max(0, start + locks - LOCKS);
  return lockAt(i < wrapped ? i : start + i - wrapped);
}
