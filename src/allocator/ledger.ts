/**
 * The ledger: a halfword for each entry. At a range's first entry stand its state, owner and length; the rest of the range is
 * zero, but a length over 30 continues in the range's own next slots. It is what lets a free be checked, a leak be
 * reported and a dead thread's ranges be found.
 *
 *   15 14 13 | 12 .. 5 | 4 .. 0
 *    state   |  owner  | length (31: in the next three slots)
 *
 * Who writes a slot: the range's owner, and whoever holds the pool's lock while the range belongs to nobody. A change that
 * two threads might attempt at once (free of a live range) is a compareExchange of the halfword.
 */

import type { SharedHalves } from "../shared/memory.ts";
import * as memory from "../shared/memory.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { compareExchangeHalf, glanceHalf, peekHalf, pokeHalf } = memory;

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
const LONG = 31;
const PART_BITS = 13;
const PART_MASK = (1 << PART_BITS) - 1;
const PARTS = 3; // 39 bits for a length of 31

/** The halfword of a range's first entry. */
export function slotOf(state: number, owner: number, count: number): number {
  return (state << STATE_SHIFT) | (owner << OWNER_SHIFT) | (count < LONG ? count : LONG);
}
export const stateIn = (slot: number): number => slot >>> STATE_SHIFT;
export const ownerIn = (slot: number): number => (slot >>> OWNER_SHIFT) & 0xff;
export const nameOfState = (state: number): string => STATE_NAMES[state] as string;

/** Is the halfword the first of a range? */
export function beginsRange(slot: number): boolean {
  return slot !== 0 && slot >>> STATE_SHIFT !== CONTINUED;
}

/** Records a range. The first halfword goes last: a relaxed reader that sees it finds the length in place. */
export function record(ledger: SharedHalves, first: number, count: number, state: number, owner: number): void {
  if (count >= LONG) {
    for (let part = 0; part < PARTS; part++) {
      const bits = Math.floor(count / 2 ** (part * PART_BITS)) & PART_MASK;
      pokeHalf(ledger, first + 1 + part, (CONTINUED << STATE_SHIFT) | bits);
    }
  }
  pokeHalf(ledger, first, slotOf(state, owner, count));
}

/** Forgets a range. Idempotent. */
export function forget(ledger: SharedHalves, first: number, count: number): void {
  pokeHalf(ledger, first, 0);
  if (count >= LONG) for (let part = 0; part < PARTS; part++) pokeHalf(ledger, first + 1 + part, 0);
}

/** Forgets every range that begins in [first, first + count): what recovery does with a half-made one. */
export function wipe(ledger: SharedHalves, first: number, count: number): void {
  for (let entry = first; entry < first + count; entry++) pokeHalf(ledger, entry, 0);
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
  pokeHalf(ledger, first, slotOf(state, owner, slot & LONG));
}

/** As `change`, when another thread might do the same: true for the one that did it. */
export function tryChange(ledger: SharedHalves, first: number, slot: number, state: number, owner: number): boolean {
  return compareExchangeHalf(ledger, first, slot, slotOf(state, owner, slot & LONG)) === slot;
}

/**
 * Is the range with this halfword `thread`'s to give back? Its own it is if the slot still says so: the pool's lock, which is held,
 * keeps others of the same mind out. Another's is claimed, since somebody may take over all that its owner has without a lock.
 */
export function claim(ledger: SharedHalves, first: number, slot: number, thread: number): boolean {
  if (ownerIn(slot) === thread) return peekHalf(ledger, first) === slot;
  return tryChange(ledger, first, slot, ENDING, thread);
}

/** The length of the range with this first halfword: it alone tells lengths of 31 and more apart. */
export function lengthOf(ledger: SharedHalves, first: number, slot: number): number {
  const short = slot & LONG;
  if (short !== LONG) return short;
  let length = 0;
  for (let part = PARTS - 1; part >= 0; part--) {
    length = length * 2 ** PART_BITS + (glanceHalf(ledger, first + 1 + part) & PART_MASK);
  }
  return length;
}
