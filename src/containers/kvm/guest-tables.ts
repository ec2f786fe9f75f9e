/**
 * KVM's tables of one guest: for each liobn a table of 64-bit TCEs as the guest has put them, whose pages user space can read, and the
 * hardware tables that are attached to it. guest-calls.ts answers the guest's hypercalls with them.
 *
 * Tables, attachments and memory slots are changed under one lock. A thread that dies in any call is recovered by `crew.reclaim`, after the pinned
 * tables and before the pinned memory. The tables end with the process of the VMM.
 */
import type { Attachment, Recovered } from "../../crew/crew.ts";
import { PinnedMemory } from "../../pinned/pinned-memory.ts";
import { PinnedTable } from "../../pinned/pinned-table.ts";
import { holderOf, inherit, lock, tagOf, unlock } from "../../shared/lock.ts";
import { glance, hintTo, load, poke, type SharedBuffer, store } from "../../shared/memory.ts";
import { checkHandle } from "../../table/handle.ts";
import { type Errno, errnoOf, isErrno } from "../../units/errno.ts";
import { checkInstance, checkInteger, InvalidArgumentError, IovaError } from "../../units/errors.ts";
import { checkKeys } from "../../units/keys.ts";
import { MAX_ENTRIES } from "../../units/numbers.ts";
import { type FoundTable, GuestChanges } from "./guest-changes.ts";
import {
  CHANGES_LOCK_AT,
  createGuestState,
  FREE,
  GENERATION_UNIT,
  type GuestState,
  HARDWARE,
  hardwareAt,
  LIVE,
  MAKING,
  MOST_HARDWARE,
  openGuestState,
  REMOVING,
  STATE_MASK,
  TABLE,
  tableAt,
  tceAt,
} from "./guest-layout.ts";
import { GuestMemory, type GuestMemoryRange, guestPagesOf } from "./guest-memory.ts";

/** Options of `GuestTables.create`. */
export interface GuestTablesOptions {
  /** This thread's view of the pinned memory. */
  readonly pinned: PinnedMemory;
  /** The process of the VMM, which is charged: a number of `pinned.addOwner`. */
  readonly owner: number;
  /** Most TCEs of all tables together: 1 .. 2^27. */
  readonly entries: number;
  /** Most tables at a time: 1 .. 1024. Default 8. */
  readonly tables?: number;
  /** Number of memory slots: 1 .. 1024. Default 32. */
  readonly memorySlots?: number;
}

/** Structured-cloneable: post it to another thread and `GuestTables.attach` there. */
export interface GuestTablesHandle {
  /** @internal */
  readonly state: SharedBuffer;
  /** @internal */
  readonly structure: number;
}

/** The window of a guest table. */
export interface GuestWindow {
  /** log2 of the bytes of the guest's IO page: 12 .. 34. */
  readonly pageShift: number;
  /** First bus address, in IO pages. */
  readonly offset: number;
  /** Number of IO pages, from 1 on; one TCE each. */
  readonly size: number;
}

/** Memory of a table's TCEs: 64 bits each, in the byte order of the processor. Read-only for user space. */
export interface GuestTablePages {
  /** The shared buffer. */
  readonly buffer: SharedBuffer;
  /** Byte of the first TCE. */
  readonly byteOffset: number;
  /** Size in bytes: 8 for each TCE. */
  readonly bytes: number;
}

const TCES_PER_PAGE = 512;
const NONE = -1;

/**
 * KVM's tables of one guest. One thread's view: post `handle`, and `attach` in each vCPU thread. A vCPU thread also needs its own view of each attached
 * hardware table, and calls `attachHardware` with it.
 *
 * Methods answer error numbers by name; "EAGAIN" from any of them: the platform is busy, or another thread held a lock for too long; repeat the
 * call. Arguments of another type or range throw InvalidArgumentError, calls after `close` IovaError "view-closed".
 *
 * @example
 * A guest puts a TCE by a hypercall, and the VMM reads it from the table.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { GuestCalls, GuestTables, isErrno } from "iova/containers";
 * import { PinnedMemory } from "iova/platform";
 *
 * // The VMM: a process whose memory begins at user address 0x7f000000. 1 MiB of it is the guest's memory.
 * const pinned = PinnedMemory.create({ memoryBytes: 2 ** 22 });
 * const memory = { pageOf: (page: number) => page - 0x7f000, backingShift: () => 12 };
 * const owner = pinned.addOwner({ limitBytes: 2 ** 22 }, memory);
 * assert.ok(!isErrno(owner));
 *
 * const tables = GuestTables.create({ pinned, owner, entries: 1024 });
 * assert.equal(tables.setMemory(0, { guestAddress: 0n, bytes: 2n ** 20n, userAddress: 0x7f00_0000n }), undefined);
 * const liobn = 0x8000_0000;
 * assert.equal(tables.createTable(liobn, { pageShift: 12, offset: 0, size: 256 }), undefined);
 * // With a hardware table: tables.attachHardware(liobn, pinnedTable)
 *
 * // A vCPU: H_PUT_TCE (0x20) of guest page 5, for reads and writes, at bus address 0x3000.
 * const calls = new GuestCalls({ tables, readUser: () => false });
 * assert.equal(calls.hypercall(0x20, BigUint64Array.of(BigInt(liobn), 0x3000n, 0x5003n, 0n)), 0);
 *
 * const pages = tables.pagesOf(liobn);
 * assert.ok(pages);
 * assert.equal(new BigUint64Array(pages.buffer, pages.byteOffset, 256)[3], 0x5003n);
 * assert.equal(tables.remove(), undefined);
 * ```
 */
export class GuestTables {
  /** Structured-cloneable: post it to another thread and `GuestTables.attach` there. */
  readonly handle: GuestTablesHandle;
  /** This thread's view of the pinned memory. */
  readonly pinned: PinnedMemory;
  /** The process of the VMM. */
  readonly owner: number;
  /**
   * Memory slots of the guest.
   *
   * @internal
   */
  readonly memory: GuestMemory;
  /**
   * Changes of entries.
   *
   * @internal
   */
  readonly changes: GuestChanges;
  readonly #state: GuestState;
  readonly #thread: number;
  readonly #attachment: Attachment;
  readonly #forgetEnding: () => void;
  readonly #views = new Map<number, PinnedTable>();
  #isClosed = false;

  private constructor(pinned: PinnedMemory, handle: GuestTablesHandle, state: GuestState) {
    this.pinned = pinned;
    this.handle = handle;
    this.owner = state.owner;
    this.#state = state;
    this.#thread = pinned.thread;
    this.memory = new GuestMemory(state);
    this.changes = new GuestChanges(state, pinned.thread, this.#views);
    this.#attachment = pinned.crew.enter(handle.structure, "guest-table", (dead) => this.#recover(dead));
    this.#forgetEnding = pinned.onOwnerEnd(state.owner, () => this.removeAll());
  }

  /** A guest without tables and memory. Throws InvalidArgumentError, and as `Crew.addStructure`. */
  static create(options: GuestTablesOptions): GuestTables {
    checkKeys("a guest's tables", options, {
      pinned: "object",
      owner: "any",
      entries: "any",
      tables: "any",
      memorySlots: "any",
    });
    const { pinned, owner, entries, tables = 8, memorySlots = 32 } = options;
    checkInteger("TCEs of a guest's tables", entries, 1, 2 ** 27);
    checkInteger("tables of a guest", tables, 1, 1024);
    checkInteger("memory slots of a guest", memorySlots, 1, 1024);
    checkInstance("pinned of a guest's tables", pinned, PinnedMemory, "a view of a pinned memory");
    if (!pinned.hasOwner(owner)) {
      throw new InvalidArgumentError("owner of a guest's tables", owner, "an owner that has not ended");
    }
    const state = createGuestState({ owner, tables, memorySlots, entries, threads: pinned.crew.threads });
    return new GuestTables(pinned, { state: state.buffer, structure: pinned.crew.addStructure() }, state);
  }

  /** A view for the calling thread, on its view of the pinned memory. Throws FormatError for a foreign handle, and as Crew.enter. */
  static attach(pinned: PinnedMemory, handle: GuestTablesHandle): GuestTables {
    checkInstance("pinned of a guest's tables", pinned, PinnedMemory, "a view of a pinned memory");
    checkHandle("a guest's tables", handle, { state: "shared", structure: "count" });
    return new GuestTables(pinned, handle, openGuestState(handle.state));
  }

  // Calls of user space.

  /**
   * Sets a memory slot: 0 .. memorySlots − 1. Mappings stay. "EEXIST": the range overlaps another slot. "EINVAL": an address or size that is not a
   * multiple of 4096, an end beyond 2^64, or 8 TiB and more.
   */
  setMemory(slot: number, range: GuestMemoryRange): Errno | undefined {
    const pages = guestPagesOf(range);
    return isErrno(pages) ? pages : this.#locked(() => this.memory.set(slot, pages));
  }

  /**
   * Creates an empty table. The pages of its TCEs, of 4 KiB, are charged to the VMM. Errors are checked in this order:
   *
   * - "EINVAL": size 0, a page shift outside of 12 .. 34, or an end beyond 2^64;
   * - "ENOMEM": no room for the table or its TCEs, or the limit of locked memory is reached;
   * - "ESRCH": the process has ended or is ending;
   * - "EBUSY": the liobn has a table already.
   *
   * After "EAGAIN" the liobn may be taken: call `removeTable` before you repeat the call.
   */
  createTable(liobn: number, window: GuestWindow): Errno | undefined {
    checkLiobn(liobn);
    checkKeys("the window of a guest table", window, { pageShift: "any", offset: "any", size: "any" });
    const { pageShift, offset, size } = window;
    checkInteger("page shift of a guest table", pageShift, 0, Number.MAX_SAFE_INTEGER);
    checkInteger("offset of a guest table in IO pages", offset, 0, Number.MAX_SAFE_INTEGER);
    checkInteger("size of a guest table in IO pages", size, 0, Number.MAX_SAFE_INTEGER);
    if (size === 0 || pageShift < 12 || pageShift > 34 || offset + size > 2 ** (64 - pageShift)) return "EINVAL";
    return this.#locked(() => this.#create(liobn, window));
  }

  /**
   * Detaches all hardware tables as `detachHardware` does, ends the charge, and frees the liobn. "ENOENT": the liobn has no table. "EAGAIN": the table
   * answers no calls any more, but memory that a device may reach stays registered. Repeat the call. Throws IovaError "not-attached" if this thread
   * has no view of an attached hardware table.
   */
  removeTable(liobn: number): Errno | undefined {
    checkLiobn(liobn);
    return this.#locked(() => {
      const table = this.#tableOf(liobn);
      return table === NONE ? "ENOENT" : this.#removeAsOwn(table);
    });
  }

  /** Removes all tables, as `removeTable` does. */
  removeAll(): Errno | undefined {
    return this.#locked(() => {
      let errno: Errno | undefined;
      for (let table = 0; table < this.#state.tables; table++) {
        if (this.#stageOf(table) !== FREE) errno = this.#removeAsOwn(table) ?? errno;
      }
      return errno;
    });
  }

  /**
   * Attaches a hardware table: TCEs that the guest puts from now on are mapped in it too. Earlier ones are not. If the table is attached already, the call
   * only registers this thread's view of it.
   *
   * - "ENOENT": the liobn has no table;
   * - "EINVAL": the hardware table belongs to another process, begins at another bus address, is smaller, or has larger pages;
   * - "EBUSY": it is being detached; repeat `detachHardware`;
   * - "ENOSPC": 8 hardware tables are attached.
   */
  attachHardware(liobn: number, hardware: PinnedTable): Errno | undefined {
    checkLiobn(liobn);
    checkInstance("hardware table", hardware, PinnedTable, "a PinnedTable");
    return this.#locked(() => {
      const table = this.#liveTableOf(liobn);
      if (table === NONE) return "ENOENT";
      if (hardware.owner !== this.owner || !this.#fits(table, hardware)) return "EINVAL";
      this.#views.set(structureOf(hardware), hardware);
      const which = this.#attachmentOf(table, structureOf(hardware));
      if (which === NONE) return this.#attach(table, hardware);
      return this.#detachingTag(table, which) === 0 ? undefined : "EBUSY";
    });
  }

  /**
   * Detaches a hardware table, and empties its entries in the guest's window. The guest's TCEs stay. "ENOENT": it is not attached. "EAGAIN": nothing is
   * mapped in it any more, but entries may be left. Repeat the call.
   */
  detachHardware(liobn: number, hardware: PinnedTable): Errno | undefined {
    checkLiobn(liobn);
    checkInstance("hardware table", hardware, PinnedTable, "a PinnedTable");
    return this.#locked(() => {
      const table = this.#tableOf(liobn);
      const which = table === NONE ? NONE : this.#attachmentOf(table, structureOf(hardware));
      if (which === NONE) return "ENOENT";
      this.#views.set(structureOf(hardware), hardware);
      return this.#detachAsOwn(table, which);
    });
  }

  /**
   * Memory of a table's TCEs, for user space to read; it must not write there. Undefined: the liobn has no table. While a vCPU changes a TCE, its low 32
   * bits, which have the permissions, are 0.
   */
  pagesOf(liobn: number): GuestTablePages | undefined {
    checkLiobn(liobn);
    const table = this.#liveTableOf(liobn);
    if (table === NONE) return undefined;
    const { buffer, words } = this.#state;
    const at = tableAt(this.#state, table);
    const byteOffset = 4 * tceAt(this.#state, glance(words, at + TABLE.first));
    return { buffer, byteOffset, bytes: 8 * glance(words, at + TABLE.size) };
  }

  // Calls of vCPUs: guest-calls.ts.

  /**
   * Finds the table of a liobn. False: the liobn has no table. `changes` answers "ENXIO" if the table is removed later.
   *
   * @internal
   */
  find(liobn: number, into: FoundTable): boolean {
    if (this.#isClosed) throw viewClosed();
    const { words } = this.#state;
    for (let table = 0; table < this.#state.tables; table++) {
      const at = tableAt(this.#state, table);
      const word = load(words, at + TABLE.state);
      if ((word & STATE_MASK) !== LIVE || glance(words, at + TABLE.liobn) !== (liobn | 0)) continue;
      into.table = table;
      into.word = word;
      into.pageShift = glance(words, at + TABLE.pageShift);
      into.basePage = glance(words, at + TABLE.baseHigh) * 2 ** 32 + (glance(words, at + TABLE.baseLow) >>> 0);
      into.size = glance(words, at + TABLE.size);
      into.first = glance(words, at + TABLE.first);
      // A change of the fields has another generation.
      if (load(words, at + TABLE.state) === word) return true;
    }
    return false;
  }

  /**
   * Checks that a guest page at this user page could be mapped in all attached hardware tables. "ENOENT": a part is not registered. "ENXIO": it is being
   * released, or this thread has no view of a hardware table. "EFAULT", "EINVAL": the IO page does not fit the memory behind it.
   *
   * @internal
   */
  check(found: FoundTable, userPage: number): Errno | undefined {
    for (let which = 0; which < MOST_HARDWARE; which++) {
      const view = this.changes.hardware(found.table, which);
      if (view === undefined) continue;
      const errno = view === "ENXIO" ? view : this.#refusal(view, userPage, 2 ** (found.pageShift - 12));
      if (errno !== undefined) return errno;
    }
    return undefined;
  }

  /** The error of a map of user memory in a hardware table now; undefined: it could be mapped. */
  #refusal({ window }: PinnedTable, userPage: number, pages: number): Errno | undefined {
    const unit = 2 ** (window.pageShift - 12);
    if (userPage % unit !== 0) return "EINVAL";
    for (let page = userPage; page < userPage + pages; page += unit) {
      const region = this.pinned.take(this.owner, page, unit);
      if (region < 0) return errnoOf(region);
      const physical = this.pinned.physicalPage(region, page, window.pageShift);
      this.pinned.drop();
      if (physical < 0 || physical % unit !== 0) return "EFAULT";
    }
    return undefined;
  }

  // The end.

  /** Removes all tables as `removeAll` does, and the guest from the crew, for all threads; then closes this view. */
  remove(): Errno | undefined {
    const errno = this.removeAll();
    if (errno !== undefined) return errno;
    this.pinned.crew.removeStructure(this.handle.structure);
    this.close();
    return undefined;
  }

  /**
   * Detaches this thread; tables stay. A change, removal or detachment that waits for the platform is completed by the reclaim of this thread. A second
   * call does nothing.
   */
  close(): void {
    if (this.#isClosed) return;
    const isLeft = this.changes.finish(this.#thread) === "EAGAIN" || this.#isHalfDone(this.#thread);
    this.#isClosed = true;
    this.#forgetEnding();
    this.pinned.crew.leave(this.#attachment, isLeft);
  }

  /** `using` ends it as `close` does. */
  [Symbol.dispose](): void {
    this.close();
  }

  // With the lock of changes held.

  #locked(action: () => Errno | undefined): Errno | undefined {
    if (this.#isClosed) throw viewClosed();
    // A waiting change of this thread holds the lock of an entry, which the action may need.
    if (this.changes.finish(this.#thread) === "EAGAIN") return "EAGAIN";
    const { words } = this.#state;
    if (lock(words, CHANGES_LOCK_AT, tagOf(this.#thread)) !== 0) return "EAGAIN";
    try {
      return action();
    } finally {
      unlock(words, CHANGES_LOCK_AT);
    }
  }

  #create(liobn: number, { pageShift, offset, size }: GuestWindow): Errno | undefined {
    const table = this.#freeTable();
    const first = size > this.#state.entries ? NONE : this.#freeEntries(size);
    if (table === NONE || first === NONE) return "ENOMEM";
    const isTaken = this.#tableOf(liobn) !== NONE;
    const { words } = this.#state;
    const at = tableAt(this.#state, table);
    const basePage = offset * 2 ** (pageShift - 12);
    hintTo(words, at + TABLE.liobn, liobn | 0);
    hintTo(words, at + TABLE.pageShift, pageShift);
    hintTo(words, at + TABLE.baseLow, basePage | 0);
    hintTo(words, at + TABLE.baseHigh, Math.floor(basePage / 2 ** 32));
    hintTo(words, at + TABLE.size, size);
    hintTo(words, at + TABLE.first, first);
    // Noted before the charge, so that a recovery finds the charge.
    hintTo(words, at + TABLE.user, this.pinned.newUser());
    hintTo(words, at + TABLE.changedBy, tagOf(this.#thread));
    this.#setStage(table, MAKING);
    const charged = this.pinned.charge(this.owner, Math.ceil(size / TCES_PER_PAGE), glance(words, at + TABLE.user));
    const errno = isErrno(charged) ? charged : isTaken ? "EBUSY" : undefined;
    if (errno !== undefined) return this.#uncharge(table) ?? errno;
    for (let index = first; index < first + size; index++) {
      poke(words, tceAt(this.#state, index), 0);
      poke(words, tceAt(this.#state, index) + 1, 0);
    }
    this.#setStage(table, LIVE);
    return undefined;
  }

  /** Ends the charge of an unused table, and frees it. "EAGAIN": the pinned memory is locked. */
  #uncharge(table: number): Errno | undefined {
    const user = glance(this.#state.words, tableAt(this.#state, table) + TABLE.user);
    const charges = this.pinned.chargesOf(this.owner, user);
    if (isErrno(charges)) return charges;
    for (const charge of charges) {
      const errno = this.pinned.uncharge(charge);
      if (errno === "EAGAIN") return errno;
    }
    this.#setStage(table, FREE);
    return undefined;
  }

  /** Removes a table in this thread's name: if this thread dies, or leaves while the platform is busy, its recovery continues the removal. */
  #removeAsOwn(table: number): Errno | undefined {
    for (let which = 0; which < MOST_HARDWARE; which++) this.#viewOf(table, which);
    hintTo(this.#state.words, tableAt(this.#state, table) + TABLE.changedBy, tagOf(this.#thread));
    return this.#remove(table);
  }

  #remove(table: number): Errno | undefined {
    // Calls that find the table from now on are refused. Wait for those that have found it before.
    if (this.#stageOf(table) === LIVE) this.#setStage(table, REMOVING);
    const errno = this.changes.awaitChanges();
    if (errno !== undefined) return errno;
    for (let which = 0; which < MOST_HARDWARE; which++) {
      const busy = this.#detach(table, which);
      if (busy !== undefined) return busy;
    }
    return this.#uncharge(table);
  }

  #attach(table: number, hardware: PinnedTable): Errno | undefined {
    const { words } = this.#state;
    const which = this.#attachmentOf(table, 0);
    if (which === NONE) return "ENOSPC";
    const at = hardwareAt(this.#state, table, which);
    hintTo(words, at + HARDWARE.detachedBy, 0);
    hintTo(words, at + HARDWARE.structure, structureOf(hardware));
    // Changes that begin after this store map in it.
    const errno = this.changes.awaitChanges();
    return errno === undefined ? undefined : (this.#detachAsOwn(table, which) ?? errno);
  }

  /** Detaches in this thread's name: if this thread dies, or leaves while the platform is busy, its recovery continues the detachment. */
  #detachAsOwn(table: number, which: number): Errno | undefined {
    hintTo(this.#state.words, hardwareAt(this.#state, table, which) + HARDWARE.detachedBy, tagOf(this.#thread));
    return this.#detach(table, which);
  }

  /** Tag of the thread that detaches the hardware table; 0: it is not being detached. */
  #detachingTag(table: number, which: number): number {
    return glance(this.#state.words, hardwareAt(this.#state, table, which) + HARDWARE.detachedBy);
  }

  #detach(table: number, which: number): Errno | undefined {
    const view = this.#viewOf(table, which);
    if (view === undefined) return undefined;
    const { words } = this.#state;
    const at = hardwareAt(this.#state, table, which);
    // No change maps in it from here on.
    if (this.#detachingTag(table, which) === 0) hintTo(words, at + HARDWARE.detachedBy, tagOf(this.#thread));
    const size = glance(words, tableAt(this.#state, table) + TABLE.size);
    const entries = size * 2 ** (glance(words, tableAt(this.#state, table) + TABLE.pageShift) - view.window.pageShift);
    const errno = this.changes.awaitChanges() ?? view.unmap(0, entries);
    if (errno === undefined) hintTo(words, at + HARDWARE.structure, 0);
    return errno;
  }

  /** This thread's view of an attached hardware table; undefined: no table is attached there. Throws IovaError "not-attached" without a view. */
  #viewOf(table: number, which: number): PinnedTable | undefined {
    const structure = glance(this.#state.words, hardwareAt(this.#state, table, which) + HARDWARE.structure);
    const view = this.#views.get(structure);
    if (structure === 0 || view !== undefined) return view;
    const message = `thread ${this.#thread} has no view of a hardware table of guest table ${table}`;
    throw new IovaError("not-attached", message);
  }

  #fits(table: number, { window }: PinnedTable): boolean {
    const { words } = this.#state;
    const at = tableAt(this.#state, table);
    const pageShift = glance(words, at + TABLE.pageShift);
    if (window.pageShift > pageShift) return false;
    const basePage = glance(words, at + TABLE.baseHigh) * 2 ** 32 + (glance(words, at + TABLE.baseLow) >>> 0);
    if (Number(window.base >> 12n) !== basePage) return false;
    return window.entries >= glance(words, at + TABLE.size) * 2 ** (pageShift - window.pageShift);
  }

  /** Index of the table's attachment with this structure; 0 finds a free one. NONE: no such attachment. */
  #attachmentOf(table: number, structure: number): number {
    for (let which = 0; which < MOST_HARDWARE; which++) {
      if (glance(this.#state.words, hardwareAt(this.#state, table, which) + HARDWARE.structure) === structure)
        return which;
    }
    return NONE;
  }

  #stageOf(table: number): number {
    return load(this.#state.words, tableAt(this.#state, table) + TABLE.state) & STATE_MASK;
  }
  #setStage(table: number, stage: number): void {
    const at = tableAt(this.#state, table) + TABLE.state;
    const word = load(this.#state.words, at);
    store(this.#state.words, at, ((word & ~STATE_MASK) + GENERATION_UNIT) | stage);
  }

  #freeTable(): number {
    for (let table = 0; table < this.#state.tables; table++) if (this.#stageOf(table) === FREE) return table;
    return NONE;
  }

  /** The table with this liobn, even if it is being removed. NONE: no such table. */
  #tableOf(liobn: number): number {
    for (let table = 0; table < this.#state.tables; table++) {
      const isIts = glance(this.#state.words, tableAt(this.#state, table) + TABLE.liobn) === (liobn | 0);
      if (isIts && this.#stageOf(table) !== FREE) return table;
    }
    return NONE;
  }
  #liveTableOf(liobn: number): number {
    const table = this.#tableOf(liobn);
    return table === NONE || this.#stageOf(table) !== LIVE ? NONE : table;
  }

  /** Lowest index in the column of TCEs at which `size` TCEs are free; NONE: no room. */
  #freeEntries(size: number): number {
    const { words, tables, entries } = this.#state;
    let first = 0;
    for (let isMoved = true; isMoved; ) {
      isMoved = false;
      for (let table = 0; table < tables; table++) {
        if (this.#stageOf(table) === FREE) continue;
        const at = tableAt(this.#state, table);
        const taken = glance(words, at + TABLE.first);
        const end = taken + glance(words, at + TABLE.size);
        if (taken >= first + size || first >= end) continue;
        first = end;
        isMoved = true;
      }
    }
    return first + size <= Math.min(entries, MAX_ENTRIES) ? first : NONE;
  }

  // Recovery.

  /** Completes or undoes the changes of a dead thread: first of entries, then of tables. Can be repeated. */
  #recover(thread: number): Recovered | undefined {
    const errno = this.changes.recover(thread) ?? this.#repair(thread);
    if (errno === undefined) return undefined;
    const failure = new IovaError("platform-busy", `a guest's tables, in the name of thread ${thread}: ${errno}`);
    return { ranges: [], isLeft: true, failure };
  }

  /** Repairs tables that the dead thread was making, removing or detaching. Each of them names its thread. */
  #repair(thread: number): Errno | undefined {
    const { words } = this.#state;
    if (holderOf(words, CHANGES_LOCK_AT) !== tagOf(thread) && !this.#isHalfDone(thread)) return undefined;
    if (!this.#lockForRecovery()) return "EAGAIN";
    let errno: Errno | undefined;
    try {
      for (let table = 0; table < this.#state.tables; table++) errno = this.#repairTable(thread, table) ?? errno;
    } finally {
      // Unfinished changes still name their thread: a repeated recovery continues them.
      unlock(words, CHANGES_LOCK_AT);
    }
    return errno;
  }

  /** Takes the lock of changes, even from a dead thread: the crew runs one recovery at a time, so no other thread takes it over. */
  #lockForRecovery(): boolean {
    const { words } = this.#state;
    const tag = tagOf(this.#thread);
    const holder = holderOf(words, CHANGES_LOCK_AT);
    const isHolderDead = holder !== 0 && !this.pinned.crew.isIn(holder - 1, this.handle.structure);
    return (isHolderDead && inherit(words, CHANGES_LOCK_AT, holder, tag)) || lock(words, CHANGES_LOCK_AT, tag) === 0;
  }

  /** True if a table or an attachment names the thread in a step that has not ended. */
  #isHalfDone(thread: number): boolean {
    for (let table = 0; table < this.#state.tables; table++) {
      if (this.#isChanging(thread, table)) return true;
      if (this.#stageOf(table) !== LIVE) continue;
      for (let which = 0; which < MOST_HARDWARE; which++) if (this.#isDetaching(thread, table, which)) return true;
    }
    return false;
  }

  /** True if this thread is making or removing the table. */
  #isChanging(thread: number, table: number): boolean {
    const stage = this.#stageOf(table);
    const changedBy = glance(this.#state.words, tableAt(this.#state, table) + TABLE.changedBy);
    return (stage === MAKING || stage === REMOVING) && changedBy === tagOf(thread);
  }

  #isDetaching(thread: number, table: number, which: number): boolean {
    const structure = glance(this.#state.words, hardwareAt(this.#state, table, which) + HARDWARE.structure);
    return structure !== 0 && this.#detachingTag(table, which) === tagOf(thread);
  }

  #repairTable(thread: number, table: number): Errno | undefined {
    if (this.#isChanging(thread, table)) {
      return this.#stageOf(table) === MAKING ? this.#uncharge(table) : this.#remove(table);
    }
    if (this.#stageOf(table) !== LIVE) return undefined;
    let errno: Errno | undefined;
    for (let which = 0; which < MOST_HARDWARE; which++) {
      if (this.#isDetaching(thread, table, which)) errno = this.#detach(table, which) ?? errno;
    }
    return errno;
  }
}

function checkLiobn(liobn: number): void {
  checkInteger("liobn", liobn, 0, 2 ** 32 - 1);
}

function viewClosed(): IovaError {
  return new IovaError("view-closed", "this view of the guest's tables is closed; attach a new one");
}

/** Number of a hardware table, as in HARDWARE.structure. */
function structureOf({ handle }: PinnedTable): number {
  return (handle.structure + 1) | 0;
}
