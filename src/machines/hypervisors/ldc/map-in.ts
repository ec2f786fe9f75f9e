/**
 * Pages of the other end that an end has mapped in. Its CPUs access them at real addresses of this end, until this end unmaps them or the
 * exporting end revokes them.
 *
 * A mapped-in page has a slot in shared memory, one of the slots of the thread that mapped it in; every thread of the end may use the page.
 * The entry's revoke cookie refers to the slot: it contains slot number and generation, and is stored by compareExchange, so that a page is
 * mapped in once. Races:
 *
 * - With the exporter's clear of the entry: the importer stores the revoke cookie, then loads the entry again; the exporter stores the
 *   empty entry, then loads the revoke cookie. At least one sees the other's store.
 * - With the end of the whole map table: the importer sets the slot to MAKING, then loads the table's address again; the thread that ends
 *   the table clears its address, then reads the slots.
 * - With a concurrent revocation: a compareExchange from MAKING completes the slot, and fails if it has become REVOKED.
 * - With accesses: an access stores its slot in a word of its thread, then loads the slot's state. A revocation or ldc_unmap changes the
 *   state, then waits for these words, then removes the revoke cookie from the entry. So when the exporter sees no revoke cookie, no access
 *   is in progress. The word of a killed thread stays until `forget`.
 */

import type { PhysicalMemory } from "../../../memory/physical-memory.ts";
import { cookieIndex, pageShiftOf, SIZE_CODES, sizeCodeOf } from "../../../platforms/ldc/cookies.ts";
import {
  EBADPGSZ,
  EBUSY,
  EINVAL,
  ENOACCESS,
  ENOMAP,
  ENORADDR,
  EOK,
  ETOOMANY,
} from "../../../platforms/sun4v/services.ts";
import {
  compareExchange,
  load,
  mayWait,
  milliseconds,
  notify,
  type SharedWords,
  store,
  waitWhile,
} from "../../../shared/memory.ts";
import { END, type Layout, SLOT, SLOTS_PER_THREAD, THREAD } from "./layout.ts";

// Values of the two low bits of a slot's state.
const FREE = 0;
const MAKING = 1;
const USED = 2;
const REVOKED = 3;
const STATE_MASK = 3;
const GENERATION_STEP = 4;
/** Generations wrap at 2^15, so that revoke cookies fit 31 bits. */
const GENERATION_LIMIT: number = 2 ** 15 * GENERATION_STEP;
const SLOT_LIMIT = 2 ** 16;

const ENTRY_BYTES = 16;
/** Bytes 12 .. 15 of an entry: the low half of the big-endian revoke cookie. */
const REVOKE_COOKIE_AT = 12;

/** Start of the real addresses of mapped-in pages, above all memory. Each slot has room for the largest page. */
const APERTURE = 2 ** 50;
const APERTURE_STEP = 2 ** 34;

/** Permissions of CPUs: bits 4 .. 6 of an entry. */
const READ = 1;
const WRITE = 2;
/** All permissions of an entry. */
const PERMISSIONS = 0x7f0;

/** The longest sleep of a waiting revocation between two checks. */
const LONGEST_SLEEP_MS = 5;

export interface MapInParts {
  readonly state: SharedWords;
  readonly layout: Layout;
  /** The importing end. */
  readonly end: 0 | 1;
  /** This thread's number on end 0's machine. */
  readonly thread: number;
  /** Memory of the exporting end, which contains its map table. */
  readonly exported: PhysicalMemory;
}

/** One thread's view of the pages that one end has mapped in. Stateless. */
export class MapIn {
  readonly #state: SharedWords;
  readonly #layout: Layout;
  readonly #end: 0 | 1;
  readonly #exporterAt: number;
  readonly #thread: number;
  readonly #exported: PhysicalMemory;

  constructor(parts: MapInParts) {
    this.#state = parts.state;
    this.#layout = parts.layout;
    this.#end = parts.end;
    this.#exporterAt = parts.layout.ends[parts.end === 0 ? 1 : 0];
    this.#thread = parts.thread;
    this.#exported = parts.exported;
  }

  /** Maps the cookie's page in. Returns a status; with EOK, real address and permissions are in args[0] and args[1]. */
  map(cookie: bigint, args: BigUint64Array): number {
    const code = sizeCodeOf(cookie);
    if (code >= SIZE_CODES) return EBADPGSZ;
    const pageBytes = 2 ** pageShiftOf(code);
    const entry = cookieIndex(cookie);
    const at = this.#entryAt(entry);
    if (at < 0) return EINVAL;
    const [high, low] = this.#readEntry(at);
    const permissions = (low >>> 4) & 7;
    if ((low & PERMISSIONS) === 0) return ENOMAP;
    if (permissions === 0 || (low & 0xf) !== code) return ENOACCESS;
    const page = Math.floor(((high & 0x0fffffff) * 2 ** 32 + low) / pageBytes);
    if ((page + 1) * pageBytes > this.#exported.bytes) return ENORADDR;
    const slot = this.#claim();
    if (slot < 0) return ETOOMANY;
    const slotAt = this.#slotAt(slot);
    store(this.#state, slotAt + SLOT.entry, entry);
    store(this.#state, slotAt + SLOT.code, code);
    store(this.#state, slotAt + SLOT.pageLow, page | 0);
    store(this.#state, slotAt + SLOT.pageHigh, Math.floor(page / 2 ** 32));
    store(this.#state, slotAt + SLOT.permissions, permissions);
    const status = this.#finish(slot, at, high, low);
    if (status !== EOK) return status;
    args[0] = BigInt(APERTURE + slot * APERTURE_STEP) + (cookie & BigInt(pageBytes - 1));
    args[1] = BigInt(permissions);
    return EOK;
  }

  /** Unmaps a page of this end by its real address. EBUSY as in `revoke`. */
  unmap(address: bigint): number {
    const slot = this.#slotOf(Number(address));
    if (slot < 0) return EINVAL;
    const found = load(this.#state, this.#slotAt(slot) + SLOT.state);
    const isThere = (found & STATE_MASK) === USED || (found & STATE_MASK) === REVOKED;
    return isThere ? this.#endMapping(slot, generationIn(found)) : ENOMAP;
  }

  /**
   * For the exporting end: ends the mapping with this entry and revoke cookie. With EOK no access to it is in progress. EBUSY if an access
   * exceeds the machine's time limit; the call can be repeated.
   */
  revoke(entry: number, revokeCookie: number): number {
    const slot = (revokeCookie % SLOT_LIMIT) - 1;
    if (slot < 0 || slot >= this.#layout.slots) return EINVAL;
    const generation = Math.floor(revokeCookie / SLOT_LIMIT) * GENERATION_STEP;
    const isOfEntry = load(this.#state, this.#slotAt(slot) + SLOT.entry) === entry;
    // Otherwise the other end has unmapped it meanwhile, or it was never mapped in.
    return isOfEntry ? this.#endMapping(slot, generation) : EOK;
  }

  /** For the exporting end, when its map table ends: ends all mappings. EBUSY as in `revoke`. */
  endAll(): number {
    let answer: number = EOK;
    for (let slot = 0; slot < this.#layout.slots; slot++) {
      const found = load(this.#state, this.#slotAt(slot) + SLOT.state);
      const ended = this.#endMapping(slot, generationIn(found));
      if (ended !== EOK) answer = ended;
    }
    return answer;
  }

  /** Reads, as a CPU of this end, bytes of one mapped-in page. False: no page is mapped in there, or it is not readable. */
  read(address: number, into: Uint8Array): boolean {
    return this.#access(address, into, READ);
  }

  write(address: number, from: Uint8Array): boolean {
    return this.#access(address, from, WRITE);
  }

  /** Recovers a killed thread: the word of its access, slots in MAKING, and slots that it was about to free. */
  forget(thread: number): undefined {
    store(this.#state, this.#accessingAt(thread), 0);
    notify(this.#state, this.#accessingAt(thread), this.#layout.threads);
    for (let slot = 0; slot < this.#layout.slots; slot++) this.#freeReleased(slot);
    for (let i = 0; i < SLOTS_PER_THREAD; i++) {
      const slot = thread * SLOTS_PER_THREAD + i;
      const at = this.#slotAt(slot) + SLOT.state;
      const state = load(this.#state, at);
      if ((state & STATE_MASK) !== MAKING) continue;
      this.#releaseEntry(slot, state);
      compareExchange(this.#state, at, state, state - MAKING + FREE);
    }
  }

  #access(address: number, bytes: Uint8Array, use: number): boolean {
    const slot = this.#slotOf(address);
    if (slot < 0) return false;
    store(this.#state, this.#accessingAt(this.#thread), slot + 1);
    // After the store of the word. Pairs with the revocation, which loads these words after it has changed the state.
    const done = this.#move(this.#slotAt(slot), (address - APERTURE) % APERTURE_STEP, bytes, use);
    store(this.#state, this.#accessingAt(this.#thread), 0);
    notify(this.#state, this.#accessingAt(this.#thread), this.#layout.threads);
    return done;
  }

  #move(slotAt: number, offset: number, bytes: Uint8Array, use: number): boolean {
    const state = this.#state;
    if ((load(state, slotAt + SLOT.state) & STATE_MASK) !== USED) return false;
    const pageBytes = 2 ** pageShiftOf(load(state, slotAt + SLOT.code));
    const permitted = (load(state, slotAt + SLOT.permissions) & use) !== 0;
    if (!permitted || offset + bytes.length > pageBytes) return false;
    const page = load(state, slotAt + SLOT.pageHigh) * 2 ** 32 + (load(state, slotAt + SLOT.pageLow) >>> 0);
    if (use === READ) this.#exported.read(page * pageBytes + offset, bytes);
    else this.#exported.write(page * pageBytes + offset, bytes);
    return true;
  }

  /** Sets a free slot of this thread to MAKING. Returns it, or -1. */
  #claim(): number {
    for (let i = 0; i < SLOTS_PER_THREAD; i++) {
      const slot = this.#thread * SLOTS_PER_THREAD + i;
      const at = this.#slotAt(slot) + SLOT.state;
      const state = load(this.#state, at);
      if ((state & STATE_MASK) !== FREE) continue;
      // Only this thread takes its slots, so no other thread changes a free one.
      store(this.#state, at, ((state + GENERATION_STEP) % GENERATION_LIMIT) + MAKING);
      return slot;
    }
    return -1;
  }

  /** Stores the slot's revoke cookie in its entry, if the entry has not changed. */
  #finish(slot: number, entryAt: number, high: number, low: number): number {
    const at = this.#slotAt(slot) + SLOT.state;
    // A call with a guessed revoke cookie may have revoked it already.
    const making = generationIn(load(this.#state, at)) + MAKING;
    const cookie = swapped(revokeCookieOf(slot, making));
    if (this.#exported.compareExchange32(entryAt + REVOKE_COOKIE_AT, 0, cookie) !== 0) {
      compareExchange(this.#state, at, making, making - MAKING + FREE);
      return EBUSY;
    }
    const [highNow, lowNow] = this.#readEntry(entryAt);
    // The thread that ends the table clears its address, then reads the slots: it sees this slot, or this load sees the cleared address.
    const isThere = this.#entryAt(load(this.#state, this.#slotAt(slot) + SLOT.entry)) === entryAt;
    const same = isThere && highNow === high && lowNow === low;
    if (same && compareExchange(this.#state, at, making, making - MAKING + USED) === making) return EOK;
    this.#exported.compareExchange32(entryAt + REVOKE_COOKIE_AT, cookie, 0);
    compareExchange(this.#state, at, making, making - MAKING + FREE);
    return ENOACCESS;
  }

  /** Ends the mapping of this generation. Several threads may do that concurrently: each step takes effect once and may be repeated. */
  #endMapping(slot: number, generation: number): number {
    const at = this.#slotAt(slot) + SLOT.state;
    for (;;) {
      const found = load(this.#state, at);
      if (generationIn(found) !== generation || (found & STATE_MASK) === FREE) return EOK;
      if (compareExchange(this.#state, at, found, generation + REVOKED) === found) break;
    }
    if (!this.#awaitAccesses(slot)) return EBUSY;
    this.#releaseEntry(slot, generation);
    compareExchange(this.#state, at, generation + REVOKED, generation + FREE);
    return EOK;
  }

  /**
   * Frees a slot whose mapping was ended except for this last step: the entry no longer contains its revoke cookie, so no later call would
   * free it. (If the thread died before removing the revoke cookie, the exporting end ends the mapping by it.)
   */
  #freeReleased(slot: number): void {
    const at = this.#slotAt(slot);
    const found = load(this.#state, at + SLOT.state);
    if ((found & STATE_MASK) !== REVOKED) return;
    const entryAt = this.#entryAt(load(this.#state, at + SLOT.entry));
    const cookie = swapped(revokeCookieOf(slot, found));
    // After the end of the map table there is no entry to check. An access may be in progress then, for which a repeated end of the table
    // waits.
    const isKept = entryAt < 0 ? this.#isAccessed(slot) : this.#exported.load32(entryAt + REVOKE_COOKIE_AT) === cookie;
    if (isKept) return;
    compareExchange(this.#state, at + SLOT.state, found, found - REVOKED + FREE);
  }

  /** Removes the slot's revoke cookie from its entry, if it is there. */
  #releaseEntry(slot: number, state: number): void {
    const at = this.#entryAt(load(this.#state, this.#slotAt(slot) + SLOT.entry));
    const cookie = swapped(revokeCookieOf(slot, state));
    if (at >= 0) this.#exported.compareExchange32(at + REVOKE_COOKIE_AT, cookie, 0);
  }

  #isAccessed(slot: number): boolean {
    for (let thread = 0; thread < this.#layout.threads; thread++) {
      if (load(this.#state, this.#accessingAt(thread)) === slot + 1) return true;
    }
    return false;
  }

  #awaitAccesses(slot: number): boolean {
    const deadline = milliseconds() + (mayWait() ? this.#layout.busyMilliseconds : 1);
    for (let thread = 0; thread < this.#layout.threads; thread++) {
      const at = this.#accessingAt(thread);
      while (load(this.#state, at) === slot + 1) {
        if (milliseconds() > deadline) return false;
        if (mayWait()) waitWhile(this.#state, at, slot + 1, LONGEST_SLEEP_MS);
      }
    }
    return true;
  }

  /** The entry's halves as numbers. Reads them again until they are consistent. */
  #readEntry(at: number): readonly [high: number, low: number] {
    for (;;) {
      const low = this.#exported.load32(at + 4);
      const high = this.#exported.load32(at);
      if (this.#exported.load32(at + 4) === low) return [swapped(high), swapped(low)];
    }
  }

  /** Physical address of an entry of the exporting end's map table, or -1. */
  #entryAt(entry: number): number {
    const entries = load(this.#state, this.#exporterAt + END.tableEntries);
    const page = load(this.#state, this.#exporterAt + END.tablePage);
    return entry < entries ? page * 8192 + entry * ENTRY_BYTES : -1;
  }

  #slotAt(slot: number): number {
    return this.#layout.slotsAt[this.#end] + slot * SLOT.words;
  }

  #accessingAt(thread: number): number {
    return this.#layout.threadsAt + thread * THREAD.words + THREAD.accessing + this.#end;
  }

  #slotOf(address: number): number {
    const slot = Math.floor((address - APERTURE) / APERTURE_STEP);
    return slot < this.#layout.slots ? slot : -1;
  }
}

/** The generation in a slot's state. */
function generationIn(state: number): number {
  return state - (state & STATE_MASK);
}

/** The revoke cookie of a slot. Never 0, because slots count from 1. */
function revokeCookieOf(slot: number, state: number): number {
  return (generationIn(state) / GENERATION_STEP) * SLOT_LIMIT + slot + 1;
}

/** The word with its bytes reversed, unsigned. */
function swapped(word: number): number {
  const high = (word & 0xff) * 0x1000000 + ((word >>> 8) & 0xff) * 0x10000;
  return high + ((word >>> 16) & 0xff) * 0x100 + (word >>> 24);
}
