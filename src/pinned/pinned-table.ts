/**
 * A table whose entries lead to pinned memory: a platform's entries (TableOps), and for each the user address and the region in which it is
 * counted. Containers map through it, and KVM for a guest's table. The generic table does not use it.
 *
 * Each change has one order:
 *   count the new regions → exchange entry and user address → invalidate → mark old pages dirty → lower the old regions.
 * So a region's count is lowered only when no device can reach its pages any more, and the lowered region is the one of the replaced address. The
 * entries of a change are locked from its begin to its end. Other threads can change other entries meanwhile.
 *
 * A thread notes each step of its change before it takes it. Steps can be repeated. A recovery continues with the noted step, with the number
 * and the locks of the dead thread:
 *   preparing  → dropping                               nothing is exchanged yet: the new counts are lowered
 *   exchanging → restoring → invalidating → lowering    the old values come back; then the new counts are lowered
 *   clearing               → invalidating → lowering    an unmap is completed
 * When the platform is busy, the change keeps its step, and the next call of the thread continues it.
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
/** As lowering, for values that no device has used: pages are not marked dirty. */
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

/** User page, access and region of a mapped entry. */
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
  /** NONE: the region that contains the pages. */
  readonly region: number;
}

/**
 * An IO page table whose entries lead to registered memory of one process: a mapped entry keeps its region registered. One thread's view: post
 * `handle`, and `attach` in each other thread. Entries are indices in the window: 0 .. entries − 1.
 *
 * Methods throw InvalidArgumentError for entries outside of the window and for arguments of another type or range, and IovaError "view-closed"
 * after `close`.
 *
 * @example
 * A process registers 16 pages; 8 of them are mapped for a device.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { isErrno, LinearPlatform, PinnedMemory, PinnedTable, SoftwareMachine } from "iova/platform";
 *
 * const machine = SoftwareMachine.create({ memoryBytes: 2 ** 22, threads: 2 });
 * const window = { base: 0x10_0000n, pageShift: 12, entries: 64 };
 * const platform = LinearPlatform.create(machine, { format: "powernv-tce", window });
 * const pinned = PinnedMemory.create({ memoryBytes: 2 ** 22, crew: machine.crew });
 *
 * // User page n lies in physical page n − 1000.
 * const owner = pinned.addOwner({ limitBytes: 2 ** 20 }, { pageOf: (page) => page - 1000, backingShift: () => 12 });
 * assert.ok(!isErrno(owner));
 * assert.ok(!isErrno(pinned.register(owner, 1000, 16)));
 *
 * const table = PinnedTable.create(pinned, owner, window, platform.ops);
 * assert.equal(table.map(0, 8, 1004, 3), undefined); // entries 0 .. 7 lead to user pages 1004 .. 1011
 * assert.equal(table.map(8, 8, 1012, 3), "ENOENT"); // user page 1016 is not registered
 * machine.memory.store32(7 * 4096 + 4, 0x2a00); // user page 1007 lies in physical page 7
 * const byte = new Uint8Array(1);
 * assert.equal(machine.device(0).dmaRead(window.base + 3n * 4096n + 5n, byte), true);
 * assert.equal(byte[0], 42);
 *
 * assert.equal(pinned.unregister(owner, 1000, 16), "EBUSY");
 * assert.equal(table.unmap(0, 8), undefined);
 * assert.equal(pinned.unregister(owner, 1000, 16), undefined);
 * ```
 */
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
  /** User pages per entry: IO page size / 4096. */
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
   * A table over a window whose entries are empty, and are changed only through it from now on. `ops`: this thread's operations on the entries.
   * The table empties itself when the owner ends. Throws InvalidArgumentError, and as `Crew.addStructure`.
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
   * Maps `count` entries from `first` on to consecutive user memory from `userPage` on. `access`: 1 the device reads, 2 it writes, 3 both. Live
   * entries are replaced. All or nothing: after another errno than "EAGAIN" the entries are unchanged.
   *
   * - "EINVAL": `userPage` is not aligned to the IO page;
   * - "ENOENT": a part of the memory is not registered;
   * - "ENXIO": a region of the memory is being released;
   * - "EFAULT": the IO page is larger than a page behind the region, or its physical address is not aligned to the IO page;
   * - "ENOMEM": the platform refuses: it has no memory for the entries, or they can't hold the page;
   * - "EAGAIN": the platform is busy, or another thread holds the entries' locks for too long. Repeat the call.
   */
  map(first: number, count: number, userPage: number, access: Access): Errno | undefined {
    this.#check(first, count);
    checkInteger("user page", userPage, 0, Number.MAX_SAFE_INTEGER);
    checkInteger("access", access, 1, 3);
    if (userPage % this.#pagesPerEntry !== 0) return "EINVAL";
    return this.#begin(first, count) ?? this.#mapLocked({ first, count, userPage, access, region: NONE });
  }

  /** As `map`, to pages of a known region, which may be one that lookups do not find (`RegisterOptions`). "ENXIO": it is not registered. */
  mapRegion(first: number, count: number, region: number, userPage: number, access: Access): Errno | undefined {
    this.#check(first, count);
    checkInteger("region", region, 0, Number.MAX_SAFE_INTEGER);
    checkInteger("user page", userPage, 0, Number.MAX_SAFE_INTEGER);
    checkInteger("access", access, 1, 3);
    if (userPage % this.#pagesPerEntry !== 0) return "EINVAL";
    return this.#begin(first, count) ?? this.#mapLocked({ first, count, userPage, access, region });
  }

  /**
   * Empties `count` entries from `first` on; they may be empty already. Pages that devices could write are marked dirty. "EAGAIN": the platform is
   * busy, or another thread holds the entries' locks for too long. Some entries may be empty then, but memory that a device may reach stays
   * registered. Repeat the call.
   */
  unmap(first: number, count: number): Errno | undefined {
    this.#check(first, count);
    return this.#begin(first, count) ?? this.#unmapLocked(first, count);
  }

  /** Empties all entries. As `unmap`. */
  clear(): Errno | undefined {
    return this.unmap(0, this.window.entries);
  }

  /** Continues this thread's last change, if it waits for the platform. "EAGAIN": it still waits, and its entries stay locked. */
  finish(): Errno | undefined {
    if (this.#isClosed) throw viewClosed();
    return this.#finish(this.#thread) === undefined ? undefined : "EAGAIN";
  }

  /** User page, access and region of an entry; undefined: it is empty. "EAGAIN": another thread holds its lock for too long. */
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

  /** Number of mapped entries. Exact while no other thread maps. */
  get mapped(): number {
    let mapped = 0;
    for (let entry = 0; entry < this.window.entries; entry++) {
      if (peek(this.#state.words, valueAt(this.#state, entry, this.#current(entry)) + VALUE.region) !== 0) mapped++;
    }
    return mapped;
  }

  /** Empties the table and removes it from the crew, for all threads. "EAGAIN": as `unmap`; the table stays. Repeat the call. */
  remove(): Errno | undefined {
    const errno = this.clear();
    if (errno !== undefined) return errno;
    this.#pinned.crew.removeStructure(this.handle.structure);
    this.close();
    return undefined;
  }

  /** Detaches this thread; entries stay. A change that waits for the platform is completed by the reclaim of this thread. A second call does nothing. */
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

  /** Completes the thread's last change, if it waits for the platform, and locks the entries. */
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
      // "EAGAIN" even if the entries were exchanged and only the old regions wait to be lowered: repeating the map gives the same entries.
      return this.#finish(this.#thread) === undefined ? errno : "EAGAIN";
    } finally {
      // An op has thrown: exchanged entries get their old values back now, or with the next call.
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

  /** Notes the beginning of a change. The step is stored last: it makes the other words valid. */
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

  /** Counts the mappings of up to `most` entries in one region, and writes the entries' other values. Returns the number of entries. */
  #prepareRun({ access, region: known }: MapRequest, first: number, most: number, userPage: number): number | Errno {
    this.#set(this.#thread, OPERATION.runFirst, first);
    let count = most;
    let region = this.#take(known, userPage, count);
    // Regions may adjoin. Halve the run until it lies in one of them.
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
    // Pairs with #settleRun. After this store a recovery finds the new mappings in the entries; before it, in the thread's hand.
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

  /** Writes value `which` of the entry to the platform's table. */
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

  // Steps that a recovery takes too.

  /** Continues the thread's change to its end, and unlocks the entries. Returns a failure if the platform is busy: the change waits. */
  #finish(thread: number): Failure | undefined {
    for (let step = this.#get(thread, OPERATION.step); step !== IDLE; step = this.#get(thread, OPERATION.step)) {
      const next = this.#takeStep(thread, step);
      if (typeof next === "string") return next;
      this.#set(thread, OPERATION.step, next);
      if (next === IDLE) this.#unlockEntries(thread);
    }
    return undefined;
  }

  /** Takes one step. Returns the next step, or the failure of the platform. */
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

  /** Settles the hand of a dead thread: its count is kept if the entries have the new values. */
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
      // Last: it makes the other words valid.
      this.#set(thread, OPERATION.lowerRegion, region + 1);
      this.#lowerNoted(thread);
      if (region < 0) this.#set(thread, OPERATION.lowered, end);
      entry = end;
    }
  }

  /** Lowers the noted run. Can be repeated: it stores the noted value of the thread's part of the count. */
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
    // The thread may have died with locks before it noted a change, or after the end of one.
    if (failure === undefined) for (let at = 0; at < LOCKS; at++) this.#unlockFor(thread, lockAt(at));
    if (failure === undefined) return undefined;
    const error = new IovaError(
      failure,
      `a pinned table of owner ${this.owner}, in the name of thread ${thread}: ${failure}`,
    );
    return { ranges: [], isLeft: true, failure: error };
  }

  /** Releases the locks of an ended change. A lock that an earlier recovery has released, and that another thread may hold now, is left alone. */
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
  /** The value that the change makes the current one. */
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

/** Number of locks of a range of entries. */
function locksOf(first: number, count: number): number {
  return Math.min(LOCKS, ((first + count - 1) >>> BLOCK_SHIFT) - (first >>> BLOCK_SHIFT) + 1);
}

/** The locks of a range that begins at `first`, in ascending order: blocks have them in turn, so those of its end may come first. */
function ithLock(first: number, locks: number, i: number): number {
  const start = (first >>> BLOCK_SHIFT) % LOCKS;
  const wrapped = Math.max(0, start + locks - LOCKS);
  return lockAt(i < wrapped ? i : start + i - wrapped);
}
