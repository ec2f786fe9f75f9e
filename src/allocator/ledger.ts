/**
 * The ledger: a halfword for each entry. At a range's first entry stand its state, owner and length; the rest of the range is
 * zero, but for lengths that have no code. It is what lets a free be checked, a leak be reported, and a dead thread's ranges be
 * found. It is the truth about what is taken: the bitmap is a copy to search in, which recovery makes anew from the ledger.
 *
 *   15 14 13 | 12 .. 5 | 4 .. 0
 *    state   |  owner  | code of the length: 1 .. 24 are lengths; 25 .. 30 are 32, 64 .. 1024; 31: in the next three slots
 *
 * Two kinds of writes:
 * - A range begins or ends under the lock of its pool (a span's: of all its pools). The first slot is written last when a range begins,
 *   and first when it ends, so that a thread that dies in between leaves a whole range or none.
 * - State and owner change without a lock, by plain stores of the owner. A change that two threads may attempt at once (free of a live
 *   range, recovery) is a compareExchange of the slot.
 */

import { compareExchangeHalf, glanceHalf, peekHalf, pokeHalf, type SharedHalves } from "../shared/memory.ts";

/** No range begins here. */
export const NONE = 0;
/** Allocated, its entries are being written: no device uses it yet. */
export const PENDING = 1;
/** In use. */
export const LIVE = 2;
/** Being freed, or waiting for a flush: its entries are or will be cleared. */
export const ENDING = 3;
/** In a thread's cache: free, but its bits are taken. */
export const CACHED = 4;
/** Reserved: never handed out. Its owner is the thread that reserved it. */
export const RESERVED = 5;
/** Its invalidation failed: the IOTLB may still know it. */
export const QUARANTINED = 6;
/** Not a range's first entry: 13 bits of the length of the range that began before. */
const CONTINUED = 7;

export type RangeState =
  | typeof NONE
  | typeof PENDING
  | typeof LIVE
  | typeof ENDING
  | typeof CACHED
  | typeof RESERVED
  | typeof QUARANTINED;

const STATE_NAMES = ["free", "pending", "live", "ending", "cached", "reserved", "quarantined", "inside a range"];

const STATE_SHIFT = 13;
const OWNER_SHIFT = 5;
const LENGTH_MASK = 31;
/** Lengths up to this are their own codes. */
export const LONGEST_PLAIN = 24;
/** Code of 32 entries; each further one is twice as long. */
const CODE_OF_32 = 25;
const LONGEST_CODED = 1024;
/** Code of all other lengths. */
const LONG = 31;
const PART_BITS = 13;
const PART_MASK = (1 << PART_BITS) - 1;
const PARTS = 3; // 39 bits for a length of 31

/** The halfword of a range's first entry. */
export function slotOf(state: number, owner: number, count: number): number {
  return (state << STATE_SHIFT) | (owner << OWNER_SHIFT) | (count <= LONGEST_PLAIN ? count : codeOf(count));
}

/** Powers of two, which drivers map often, have codes of their own. */
function codeOf(count: number): number {
  const isCoded = count >= 32 && count <= LONGEST_CODED && (count & (count - 1)) === 0;
  return isCoded ? CODE_OF_32 + 26 - Math.clz32(count) : LONG;
}

/** True if the slot alone has the length. Otherwise the next three have it. */
export const isLengthIn = (slot: number): boolean => (slot & LENGTH_MASK) !== LONG;
const withLength = (state: number, owner: number, slot: number): number =>
  (state << STATE_SHIFT) | (owner << OWNER_SHIFT) | (slot & LENGTH_MASK);

export const stateIn = (slot: number): number => slot >>> STATE_SHIFT;
export const ownerIn = (slot: number): number => (slot >>> OWNER_SHIFT) & 0xff;
export const nameOfState = (state: number): string => STATE_NAMES[state] as string;

/** True if the halfword is the first of a range. */
export function beginsRange(slot: number): boolean {
  return slot !== 0 && slot >>> STATE_SHIFT !== CONTINUED;
}

/**
 * Begins a range. The first slot is written last, so that the length is complete for every reader that sees the first slot: relaxed
 * readers, and the recovery of a thread that dies in this function.
 */
export function beginRange(ledger: SharedHalves, first: number, count: number, state: number, owner: number): void {
  const slot = slotOf(state, owner, count);
  if (!isLengthIn(slot)) {
    for (let part = 0; part < PARTS; part++) {
      const bits = Math.floor(count / 2 ** (part * PART_BITS)) & PART_MASK;
      pokeHalf(ledger, first + 1 + part, (CONTINUED << STATE_SHIFT) | bits);
    }
  }
  pokeHalf(ledger, first, slot);
}

/** Ends a range. The first slot is cleared first, so that no range has an incomplete length. */
export function endRange(ledger: SharedHalves, first: number, count: number): void {
  pokeHalf(ledger, first, 0);
  if (isLengthIn(slotOf(NONE, 0, count))) return;
  for (let part = 0; part < PARTS; part++) pokeHalf(ledger, first + 1 + part, 0);
}

/** Ends all ranges in [first, end), in ascending order; of each range, the first slot is cleared first. */
export function endRanges(ledger: SharedHalves, first: number, end: number): void {
  for (let entry = first; entry < end; entry++) pokeHalf(ledger, entry, 0);
}

/** The halfword at an entry, for its owner or under the pool's lock. */
export function slotAt(ledger: SharedHalves, entry: number): number {
  return peekHalf(ledger, entry);
}

/** The halfword at an entry, for a reader that may race and checks again before it acts. */
export function slotSeen(ledger: SharedHalves, entry: number): number {
  return glanceHalf(ledger, entry);
}

/** Changes state and owner of a range by its owner. The length stays. */
export function change(ledger: SharedHalves, first: number, slot: number, state: number, owner: number): void {
  pokeHalf(ledger, first, withLength(state, owner, slot));
}

/** As `change`, when another thread might do the same: true for the one that did it. */
export function tryChange(ledger: SharedHalves, first: number, slot: number, state: number, owner: number): boolean {
  return compareExchangeHalf(ledger, first, slot, withLength(state, owner, slot)) === slot;
}

/**
 * Under the pool's lock: may `thread` end the range with this halfword? False: another thread has freed or taken it over. For a range of
 * `thread` the lock is enough. A range of another thread needs a compareExchange, because recovery may take it over without the lock.
 */
export function claim(ledger: SharedHalves, first: number, slot: number, thread: number): boolean {
  if (ownerIn(slot) === thread) return peekHalf(ledger, first) === slot;
  return tryChange(ledger, first, slot, ENDING, thread);
}

/** The length of the range with this first halfword if the slot alone says it, else 1: how far a walk that may race can go on safely. */
export function stepFrom(slot: number): number {
  const code = slot & LENGTH_MASK;
  if (code === LONG || code === 0 || slot >>> STATE_SHIFT === CONTINUED) return 1;
  return code < CODE_OF_32 ? code : 32 << (code - CODE_OF_32);
}

/** The length of the range with this first halfword, in entries. */
export function lengthOf(ledger: SharedHalves, first: number, slot: number): number {
  const code = slot & LENGTH_MASK;
  if (code < CODE_OF_32) return code;
  if (code !== LONG) return 32 << (code - CODE_OF_32);
  let length = 0;
  for (let part = PARTS - 1; part >= 0; part--) {
    length = length * 2 ** PART_BITS + (glanceHalf(ledger, first + 1 + part) & PART_MASK);
  }
  return length;
}
