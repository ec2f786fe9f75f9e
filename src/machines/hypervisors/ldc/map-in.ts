/**
 * Pages of the other end that an end has mapped in: its CPUs read and write them at real addresses of this end, until it unmaps them or
 * the exporting end revokes them.
 *
 * A mapped-in page has a slot in shared memory, of the thread that made it; every thread of the end may use it. What ties it to the
 * entry is the entry's revoke cookie: slot and generation, stored by compareExchange, so that a page is mapped in once.
 *
 * - Against the exporter's clearing of the entry: the revoke cookie is stored before the entry is looked at once more; the exporter
 *   stores the empty entry before it looks at the revoke cookie. One of the two sees the other.
 * - Against the end of the whole map table: the slot is MAKING before the place of the entry is looked at once more; who ends the table
 *   takes it away before it looks at the slots.
 * - Against a revocation at the same time: a slot is finished by compareExchange from MAKING, and fails when it is REVOKED meanwhile.
 * - An access marks its slot in a word of its thread, then looks at the slot's state; who ends the mapping, by a revocation or by
 *   ldc_unmap, changes the state, then waits for the marks, then takes the revoke cookie out of the entry. So once the exporter
 *   sees no revoke cookie, no access goes on. A killed thread leaves its mark, until `forget`.
 */
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
import type { SoftwareMemory } from "../../software/memory.ts";
import { END, type Layout, SLOT, SLOTS_PER_THREAD, THREAD } from "./layout.ts";

// What goes on in a slot: the two low bits of its state.
const FREE = 0;
const MAKING = 1;
const USED = 2;
const REVOKED = 3;
const STATE_MASK = 3;
const GENERATION_STEP = 4;
/** Generations count to 2^15, so that revoke cookies stay in 31 bits. */
const GENERATION_LIMIT: number = 2 ** 15 * GENERATION_STEP;
const SLOT_LIMIT = 2 ** 16;

const ENTRY_BYTES = 16;
/** Bytes 12 .. 15 of an entry: the low half of the big-endian revoke cookie. */
const REVOKE_COOKIE_AT = 12;

/** Real addresses of mapped-in pages begin here, above all memory; each slot has room for the largest page. */
const APERTURE = 2 ** 50;
const APERTURE_STEP = 2 ** 34;

/** What CPUs may do, as an entry's bits 4 .. 6 say. */
const READ = 1;
const WRITE = 2;
/** All permissions of an entry. */
const PERMISSIONS = 0x7f0;

/** The longest sleep before a waiting revocation looks again. */
const LONGEST_SLEEP_MS = 5;

export interface MapInParts {
  readonly state: SharedWords;
  readonly layout: Layout;
  /** The importing end. */
  readonly end: 0 | 1;
  /** This thread's slot on end 0's machine. */
  readonly thread: number;
  /** Memory of the exporting end, with its map table. */
  readonly exported: SoftwareMemory;
}

/** One thread's view of what one end has mapped in. Holds no state of its own. */
export class MapIn {
  readonly #state: SharedWords;
  readonly #layout: Layout;
  readonly #end: 0 | 1;
  readonly #exporterAt: number;
  readonly #thread: number;
  readonly #exported: SoftwareMemory;

  constructor(parts: MapInParts) {
    this.#state = parts.state;
    this.#layout = parts.layout;
    this.#end = parts.end;
    this.#exporterAt = parts.layout.ends[parts.end === 0 ? 1 : 0];
    this.#thread = parts.thread;
    this.#exported = parts.exported;
  }

  /** Maps the cookie's page in. A status; with EOK, real address and permissions go to args[0] and args[1]. */
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

  /** Ends a mapping of this end's, by its real address. EBUSY as in `revoke`. */
  unmap(address: bigint): number {
    const slot = this.#slotOf(Number(address));
    if (slot < 0) return EINVAL;
    const found = load(this.#state, this.#slotAt(slot) + SLOT.state);
    const isThere = (found & STATE_MASK) === USED || (found & STATE_MASK) === REVOKED;
    return isThere ? this.#endMapping(slot, generationIn(found)) : ENOMAP;
  }

  /**
   * For the exporting end: ends the mapping of an entry that a revoke cookie stands for. With EOK no access through it goes on; EBUSY
   * when one has been going on for longer than the machine waits: then the call can be repeated.
   */
  revoke(entry: number, revokeCookie: number): number {
    const slot = (revokeCookie % SLOT_LIMIT) - 1;
    if (slot < 0 || slot >= this.#layout.slots) return EINVAL;
    const generation = Math.floor(revokeCookie / SLOT_LIMIT) * GENERATION_STEP;
    const isOfEntry = load(this.#state, this.#slotAt(slot) + SLOT.entry) === entry;
    // The other end has unmapped it meanwhile, or it never was.
    return isOfEntry ? this.#endMapping(slot, generation) : EOK;
  }

  /** For the exporting end, whose map table ends: nothing of it is mapped in any more. EBUSY as in `revoke`. */
  endAll(): number {
    let answer: number = EOK;
    for (let slot = 0; slot < this.#layout.slots; slot++) {
      const found = load(this.#state, this.#slotAt(slot) + SLOT.state);
      const ended = this.#endMapping(slot, generationIn(found));
      if (ended !== EOK) answer = ended;
    }
    return answer;
  }

  /** CPUs of this end read mapped-in memory, inside one page. False: nothing is mapped there, or not for reading. */
  read(address: number, into: Uint8Array): boolean {
    return this.#access(address, into, READ);
  }

  write(address: number, from: Uint8Array): boolean {
    return this.#access(address, from, WRITE);
  }

  /** What a killed thread left: its mark, slots that it was making, and those that it was about to free. */
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
    // After the mark: pairs with the revocation, which looks at the marks after it has changed the state.
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

  /** A slot of this thread's in MAKING, or -1. */
  #claim(): number {
    for (let i = 0; i < SLOTS_PER_THREAD; i++) {
      const slot = this.#thread * SLOTS_PER_THREAD + i;
      const at = this.#slotAt(slot) + SLOT.state;
      const state = load(this.#state, at);
      if ((state & STATE_MASK) !== FREE) continue;
      // Only this thread takes its slots, so nobody else changes a free one.
      store(this.#state, at, ((state + GENERATION_STEP) % GENERATION_LIMIT) + MAKING);
      return slot;
    }
    return -1;
  }

  /** Ties a slot to its entry, if the entry is still what it was. */
  #finish(slot: number, entryAt: number, high: number, low: number): number {
    const at = this.#slotAt(slot) + SLOT.state;
    // Whoever guesses the revoke cookie may have revoked it already.
    const making = generationIn(load(this.#state, at)) + MAKING;
    const cookie = swapped(revokeCookieOf(slot, making));
    if (this.#exported.compareExchange32(entryAt + REVOKE_COOKIE_AT, 0, cookie) !== 0) {
      compareExchange(this.#state, at, making, making - MAKING + FREE);
      return EBUSY;
    }
    const [highNow, lowNow] = this.#readEntry(entryAt);
    // Who ends the table takes it away first, then looks at the slots: it sees this one, or this one sees it.
    const isThere = this.#entryAt(load(this.#state, this.#slotAt(slot) + SLOT.entry)) === entryAt;
    const same = isThere && highNow === high && lowNow === low;
    if (same && compareExchange(this.#state, at, making, making - MAKING + USED) === making) return EOK;
    this.#exported.compareExchange32(entryAt + REVOKE_COOKIE_AT, cookie, 0);
    compareExchange(this.#state, at, making, making - MAKING + FREE);
    return ENOACCESS;
  }

  /** Ends the mapping of this generation. Several threads may do that at once: each step is there once, and may be repeated. */
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
   * Frees a slot whose mapping somebody has ended but for this last step: the revoke cookie is out of the entry, so nobody would come back
   * to it. (Who died before that left the revoke cookie, by which the exporting end ends it.)
   */
  #freeReleased(slot: number): void {
    const at = this.#slotAt(slot);
    const found = load(this.#state, at + SLOT.state);
    if ((found & STATE_MASK) !== REVOKED) return;
    const entryAt = this.#entryAt(load(this.#state, at + SLOT.entry));
    const cookie = swapped(revokeCookieOf(slot, found));
    // Where the map table has ended there is none to tell: then an access may go on, for which whoever ends the table anew is to wait.
    const isKept = entryAt < 0 ? this.#isAccessed(slot) : this.#exported.load32(entryAt + REVOKE_COOKIE_AT) === cookie;
    if (isKept) return;
    compareExchange(this.#state, at + SLOT.state, found, found - REVOKED + FREE);
  }

  /** Takes the slot's revoke cookie out of its entry, if it is there. */
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

  /** The entry's halves as numbers; read until they belong together. */
  #readEntry(at: number): readonly [high: number, low: number] {
    for (;;) {
      const low = this.#exported.load32(at + 4);
      const high = this.#exported.load32(at);
      if (this.#exported.load32(at + 4) === low) return [swapped(high), swapped(low)];
    }
  }

  /** Physical address of an entry of the exporting end's map table; -1 when there is none. */
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

/** Of a slot's state, all but what goes on. */
function generationIn(state: number): number {
  return state - (state & STATE_MASK);
}

/** Never 0: slots count from one. */
function revokeCookieOf(slot: number, state: number): number {
  return (generationIn(state) / GENERATION_STEP) * SLOT_LIMIT + slot + 1;
}

/** The word with its bytes in the other order, unsigned. */
function swapped(word: number): number {
  const high = (word & 0xff) * 0x1000000 + ((word >>> 8) & 0xff) * 0x10000;
  return high + ((word >>> 16) & 0xff) * 0x100 + (word >>> 24);
}
