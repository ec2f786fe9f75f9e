/**
 * Changes of a guest table's entries, and of the entries of its attached hardware tables.
 *
 * Each change has one order: lock the entries → change each hardware table (pinned-table.ts: count, exchange, invalidate, lower) → store the
 * TCE → unlock. So while an entry is not locked, its TCE and its hardware entries lead to the same memory, in every table that was attached when
 * the TCE was put.
 *
 * A thread notes each step of its change before it takes it. Steps can be repeated. A recovery continues with the noted step, with the number and
 * the lock of the dead thread:
 *   putting  → the TCE is stored                  all hardware tables have the new page
 *            → restoring                          one refuses: those before it get their old pages back
 *            → restoring → emptying               … or, if an old page is not registered any more, the entry is empty in all tables, its TCE 0
 *   clearing → the value is stored                all hardware tables are empty there
 * When the platform is busy, the change keeps its step, and the next call of the thread continues it.
 */
import type { PinnedTable } from "../../pinned/pinned-table.ts";
import { USER_PAGE_SHIFT } from "../../pinned/user-memory.ts";
import { holderOf, lock, tagOf, unlock } from "../../shared/lock.ts";
import { glance, load, peek, poke } from "../../shared/memory.ts";
import { type Errno, isErrno } from "../../units/errno.ts";
import { IovaError } from "../../units/errors.ts";
import type { Access } from "../../units/numbers.ts";
import { HIGH_WORD, LOW_WORD } from "../../units/words64.ts";
import {
  BLOCK_SHIFT,
  type GuestState,
  HARDWARE,
  hardwareAt,
  ithLock,
  lockOfEntry,
  MOST_HARDWARE,
  OLD,
  OLD_ACCESS_SHIFT,
  OPERATION,
  operationAt,
  TABLE,
  tableAt,
  tceAt,
} from "./guest-layout.ts";

const IDLE = 0;
/** Hardware tables get the new page. */
const PUTTING = 1;
/** Hardware tables get their old pages back. */
const RESTORING = 2;
/** The entry is emptied in all tables. */
const EMPTYING = 3;
/** Entries are emptied in the hardware tables; the guest table gets the value. */
const CLEARING = 4;

/** READ and WRITE in the low word of a TCE: the same bits as an Access. */
export const PERMISSIONS = 3;
const NOTHING = { userPage: 0, access: 0 } as const;
const OLD_PAGE_MASK: number = 2 ** OLD_ACCESS_SHIFT - 1;

/** Result of a search for a guest table. Each thread reuses one object. */
export interface FoundTable {
  table: number;
  /** State word of the table. Another value later: the table was removed. */
  word: number;
  pageShift: number;
  /** Bus address of entry 0, in pages of 4 KiB. */
  basePage: number;
  size: number;
  /** Index of entry 0 in the column of TCEs. */
  first: number;
}

/** This thread's views of hardware tables, by their HARDWARE.structure. */
export type HardwareViews = ReadonlyMap<number, PinnedTable>;

/** One thread's view. */
export class GuestChanges {
  readonly #state: GuestState;
  readonly #thread: number;
  readonly #views: HardwareViews;

  constructor(state: GuestState, thread: number, views: HardwareViews) {
    this.#state = state;
    this.#thread = thread;
    this.#views = views;
  }

  /**
   * Puts a TCE with permissions, which leads to this user page. All or nothing, with one exception: if a second hardware table refuses, and the old
   * page of the first is not registered any more, the entry is empty in all tables. Errors as PinnedTable.map, and "ENXIO": the table was removed,
   * or this thread has no view of a hardware table.
   */
  put(found: FoundTable, entry: number, high: number, low: number, userPage: number): Errno | undefined {
    const errno = this.#begin(found, entry);
    if (errno !== undefined) return errno;
    const isBusy = this.#noteOld(found, entry);
    if (isBusy) {
      this.#unlockFor(this.#thread, lockOfEntry(this.#state, found.first + entry));
      return "EAGAIN";
    }
    this.#set(this.#thread, OPERATION.userLow, userPage | 0);
    this.#set(this.#thread, OPERATION.userHigh, Math.floor(userPage / 2 ** 32));
    this.#note(found, entry, 1, high, low, PUTTING);
    return this.finish(this.#thread);
  }

  /** Empties entries of one block in the hardware tables, and stores a value without permissions. Errors as PinnedTable.unmap, and "ENXIO" as `put`. */
  clear(found: FoundTable, entry: number, count: number, high: number, low: number): Errno | undefined {
    const errno = this.#begin(found, entry);
    if (errno !== undefined) return errno;
    this.#note(found, entry, count, high, low, CLEARING);
    return this.finish(this.#thread);
  }

  /** Reads a TCE into an array of two words, at HIGH_WORD and LOW_WORD. */
  get(found: FoundTable, entry: number, into: Uint32Array): Errno | undefined {
    const errno = this.#begin(found, entry);
    if (errno !== undefined) return errno;
    const { words } = this.#state;
    const at = tceAt(this.#state, found.first + entry);
    into[HIGH_WORD] = peek(words, at + HIGH_WORD);
    into[LOW_WORD] = peek(words, at + LOW_WORD);
    unlock(words, lockOfEntry(this.#state, found.first + entry));
    return undefined;
  }

  /** Number of entries from this one to the end of its block. */
  leftInBlock(found: FoundTable, entry: number): number {
    const unit = 2 ** BLOCK_SHIFT;
    return unit - ((found.first + entry) % unit);
  }

  /** Waits for the end of all changes that have begun: takes and releases each lock. */
  awaitChanges(): Errno | undefined {
    const { words, locks } = this.#state;
    for (let i = 0; i < locks; i++) {
      if (lock(words, ithLock(i), tagOf(this.#thread)) !== 0) return "EAGAIN";
      unlock(words, ithLock(i));
    }
    return undefined;
  }

  /** This thread's view of an attached table; undefined: no table is attached there, or it is being detached; "ENXIO": the thread has no view of it. */
  hardware(table: number, which: number): PinnedTable | "ENXIO" | undefined {
    const at = hardwareAt(this.#state, table, which);
    const structure = glance(this.#state.words, at + HARDWARE.structure);
    if (structure === 0 || glance(this.#state.words, at + HARDWARE.detachedBy) !== 0) return undefined;
    return this.#views.get(structure) ?? "ENXIO";
  }

  /**
   * Continues a thread's change to its end, and unlocks the entries. "EAGAIN": the platform is busy, and the change waits. Another errno: the change
   * was not made.
   */
  finish(thread: number): Errno | undefined {
    let answer: Errno | undefined;
    for (let step = this.#get(thread, OPERATION.step); step !== IDLE; step = this.#get(thread, OPERATION.step)) {
      const errno = this.#takeStep(thread, step);
      if (errno === "EAGAIN") return errno;
      answer ??= errno;
    }
    return answer;
  }

  /** Completes or undoes a dead thread's change of entries. Throws IovaError "not-attached" without a view of a hardware table. */
  recover(thread: number): Errno | undefined {
    if (this.#get(thread, OPERATION.step) !== IDLE) {
      const table = this.#get(thread, OPERATION.table);
      if (this.#lacksView(table)) {
        throw new IovaError(
          "not-attached",
          `thread ${this.#thread} has no view of a table attached to guest table ${table}`,
        );
      }
      if (this.finish(thread) === "EAGAIN") return "EAGAIN";
    }
    // The thread may have died with a lock before it noted a change, or after the end of one.
    for (let i = 0; i < this.#state.locks; i++) this.#unlockFor(thread, ithLock(i));
    return undefined;
  }

  // A change: its begin.

  /** Completes the thread's last change, if it waits for the platform, and locks the entry's block. */
  #begin(found: FoundTable, entry: number): Errno | undefined {
    if (this.finish(this.#thread) === "EAGAIN") return "EAGAIN";
    const { words } = this.#state;
    const at = lockOfEntry(this.#state, found.first + entry);
    if (lock(words, at, tagOf(this.#thread)) !== 0) return "EAGAIN";
    // Removals change the word first, and then wait for the locks.
    const isThere = load(words, tableAt(this.#state, found.table) + TABLE.state) === found.word;
    if (isThere && !this.#lacksView(found.table)) return undefined;
    unlock(words, at);
    return "ENXIO";
  }

  #lacksView(table: number): boolean {
    for (let which = 0; which < MOST_HARDWARE; which++) if (this.hardware(table, which) === "ENXIO") return true;
    return false;
  }

  /**
   * Notes the old value of the entry in each hardware table. Without an attached table it notes an empty one: a table may be attached during the
   * change. True: another thread holds a lock of the hardware table for too long.
   */
  #noteOld(found: FoundTable, entry: number): boolean {
    for (let which = 0; which < MOST_HARDWARE; which++) {
      const view = this.hardware(found.table, which);
      const isThere = view !== undefined && view !== "ENXIO";
      const old = isThere ? view.get(entry * this.#scale(found.table, view)) : undefined;
      if (isErrno(old)) return true;
      const { userPage, access } = old ?? NOTHING;
      const at = OPERATION.old + which * OLD.words;
      this.#set(this.#thread, at + OLD.low, userPage | 0);
      this.#set(this.#thread, at + OLD.high, Math.floor(userPage / 2 ** 32) | (access << OLD_ACCESS_SHIFT));
    }
    return false;
  }

  /** Notes the beginning of a change. The step is stored last: it makes the other words valid. */
  #note(found: FoundTable, first: number, count: number, high: number, low: number, step: number): void {
    const thread = this.#thread;
    this.#set(thread, OPERATION.table, found.table);
    this.#set(thread, OPERATION.first, first);
    this.#set(thread, OPERATION.count, count);
    this.#set(thread, OPERATION.high, high | 0);
    this.#set(thread, OPERATION.low, low | 0);
    this.#set(thread, OPERATION.done, 0);
    this.#set(thread, OPERATION.step, step);
  }

  // Steps that a recovery takes too.

  /** Takes one step, and notes the next one. "EAGAIN": the step waits for the platform. Another errno: the change is not made. */
  #takeStep(thread: number, step: number): Errno | undefined {
    switch (step) {
      case PUTTING:
        return this.#put(thread);
      case RESTORING:
        return this.#restore(thread);
      case EMPTYING:
        return this.#unmap(thread) ?? this.#end(thread, 0, 0);
      default:
        return (
          this.#unmap(thread) ?? this.#end(thread, this.#get(thread, OPERATION.high), this.#get(thread, OPERATION.low))
        );
    }
  }

  #put(thread: number): Errno | undefined {
    const userPage = this.#get(thread, OPERATION.userHigh) * 2 ** 32 + (this.#get(thread, OPERATION.userLow) >>> 0);
    const low = this.#get(thread, OPERATION.low);
    for (let which = this.#get(thread, OPERATION.done); which < MOST_HARDWARE; which++) {
      const errno = this.#map(thread, which, userPage, (low & PERMISSIONS) as Access);
      if (errno === "EAGAIN") return errno;
      if (errno !== undefined) {
        this.#set(thread, OPERATION.step, RESTORING);
        return errno;
      }
      this.#set(thread, OPERATION.done, which + 1);
    }
    return this.#end(thread, this.#get(thread, OPERATION.high), low);
  }

  #restore(thread: number): Errno | undefined {
    for (let which = 0; which < this.#get(thread, OPERATION.done); which++) {
      const at = OPERATION.old + which * OLD.words;
      const high = this.#get(thread, at + OLD.high);
      const userPage = (high & OLD_PAGE_MASK) * 2 ** 32 + (this.#get(thread, at + OLD.low) >>> 0);
      const errno = this.#map(thread, which, userPage, (high >>> OLD_ACCESS_SHIFT) as 0 | Access);
      if (errno === "EAGAIN") return errno;
      if (errno === undefined) continue;
      this.#set(thread, OPERATION.step, EMPTYING);
      return undefined;
    }
    this.#finishStep(thread);
    return undefined;
  }

  /** Changes the entries of one hardware table for one entry of the guest. Access 0 empties them. */
  #map(thread: number, which: number, userPage: number, access: 0 | Access): Errno | undefined {
    const table = this.#get(thread, OPERATION.table);
    const view = this.hardware(table, which);
    if (view === "ENXIO") return undefined;
    if (view === undefined) return this.#finishDetached(table, which);
    const scale = this.#scale(table, view);
    const first = this.#get(thread, OPERATION.first) * scale;
    if (access === 0) return view.unmap(first, scale);
    const errno = view.map(first, scale, userPage, access);
    return errno === undefined || errno === "EAGAIN"
      ? errno
      : unlessMapped(view, first, scale, userPage, access, errno);
  }

  #unmap(thread: number): Errno | undefined {
    const table = this.#get(thread, OPERATION.table);
    for (let which = 0; which < MOST_HARDWARE; which++) {
      const view = this.hardware(table, which);
      if (view === "ENXIO") continue;
      const errno = view === undefined ? this.#finishDetached(table, which) : this.#unmapIn(view, thread, table);
      if (errno !== undefined) return errno;
    }
    return undefined;
  }

  #unmapIn(view: PinnedTable, thread: number, table: number): Errno | undefined {
    const scale = this.#scale(table, view);
    return view.unmap(this.#get(thread, OPERATION.first) * scale, this.#get(thread, OPERATION.count) * scale);
  }

  /**
   * A hardware table that is being detached is not changed any more. A change of this thread that waits for the platform there is completed first,
   * because it holds locks that the detaching thread needs. If this thread detaches the table, the waiting change is the detachment.
   */
  #finishDetached(table: number, which: number): Errno | undefined {
    const { words } = this.#state;
    const at = hardwareAt(this.#state, table, which);
    const structure = glance(words, at + HARDWARE.structure);
    if (structure === 0 || glance(words, at + HARDWARE.detachedBy) === tagOf(this.#thread)) return undefined;
    return this.#views.get(structure)?.finish();
  }

  /** Stores the TCE in all entries of the change, and ends it. */
  #end(thread: number, high: number, low: number): undefined {
    const { words } = this.#state;
    const column = glance(words, tableAt(this.#state, this.#get(thread, OPERATION.table)) + TABLE.first);
    const first = column + this.#get(thread, OPERATION.first);
    for (let index = first; index < first + this.#get(thread, OPERATION.count); index++) {
      const at = tceAt(this.#state, index);
      // A VMM reads without the lock: it must see no permissions until both words are stored.
      poke(words, at + LOW_WORD, 0);
      poke(words, at + HIGH_WORD, high);
      poke(words, at + LOW_WORD, low);
    }
    this.#finishStep(thread);
  }

  #finishStep(thread: number): void {
    const column = glance(this.#state.words, tableAt(this.#state, this.#get(thread, OPERATION.table)) + TABLE.first);
    const at = lockOfEntry(this.#state, column + this.#get(thread, OPERATION.first));
    this.#set(thread, OPERATION.step, IDLE);
    this.#unlockFor(thread, at);
  }

  /** Hardware entries of one entry of the guest. */
  #scale(table: number, view: PinnedTable): number {
    return 2 ** (glance(this.#state.words, tableAt(this.#state, table) + TABLE.pageShift) - view.window.pageShift);
  }

  #unlockFor(thread: number, at: number): void {
    if (holderOf(this.#state.words, at) === tagOf(thread)) unlock(this.#state.words, at);
  }

  #get(thread: number, word: number): number {
    return peek(this.#state.words, operationAt(thread) + word);
  }
  #set(thread: number, word: number, value: number): void {
    poke(this.#state.words, operationAt(thread) + word, value);
  }
}

/**
 * The errno of a map, unless the entries lead there already: a repeated step may have succeeded before, and its repetition can fail while another
 * thread tries to unregister the region.
 */
function unlessMapped(
  view: PinnedTable,
  first: number,
  count: number,
  userPage: number,
  access: Access,
  errno: Errno,
): Errno | undefined {
  const pagesPerEntry = 2 ** (view.window.pageShift - USER_PAGE_SHIFT);
  for (let i = 0; i < count; i++) {
    const found = view.get(first + i);
    if (found === "EAGAIN") return found;
    if (isErrno(found) || found?.userPage !== userPage + i * pagesPerEntry || found.access !== access) return errno;
  }
  return undefined;
}
