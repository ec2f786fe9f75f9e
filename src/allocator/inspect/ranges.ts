/** Walks over the ranges in the ledger without locks, for leak reports, statistics and recovery. */
import { isTakenRelaxed } from "../../shared/bitmap.ts";
import { glance, type SharedHalves, type SharedWords } from "../../shared/memory.ts";
import type { EntryRange } from "../../units/numbers.ts";
import type { Layout } from "../layout.ts";
import {
  beginsRange,
  lengthOf,
  nameOfState,
  ownerIn,
  type RangeState,
  slotSeen,
  stateIn,
  stepFrom,
} from "../ledger.ts";

/**
 * Calls `visit` for every range in the ledger, in ascending order. `slot` is the range's first halfword, read once; the range may end at
 * any time after that. A range that begins where another one has just ended may be missed. A dead thread's ranges are never missed: a walk
 * that starts after the thread's end can't see what the slots held before its ranges.
 */
export function forEachRange(
  ledger: SharedHalves,
  words: SharedWords,
  layout: Layout,
  visit: (first: number, slot: number) => void,
): void {
  for (let entry = 0; entry < layout.entries; ) {
    if (isWordFree(words, layout, entry)) {
      entry += 32;
      continue;
    }
    const slot = slotSeen(ledger, entry);
    if (beginsRange(slot)) visit(entry, slot);
    entry += stepFrom(slot);
  }
}

/** True if a whole word of free entries begins here. Then no range begins in it. */
export function isWordFree(words: SharedWords, { bitmapAt }: Layout, entry: number): boolean {
  return (entry & 31) === 0 && glance(words, bitmapAt + (entry >>> 5)) === 0;
}

/** A range of entries, and the number of the thread that it belongs to. */
export interface OwnedRange extends EntryRange {
  /** Number of the thread, 0 .. threads − 1. */
  readonly owner: number;
}

/** State of a range whose entries are not free. */
export type HoldingState =
  /** Allocated; its entries are being written. */
  | "pending"
  /** In use. */
  | "live"
  /** Being freed, or waiting for a flush of the IOTLB. */
  | "ending"
  /** Free, and kept by its owner for its next requests. */
  | "cached"
  /** Reserved: never handed out. */
  | "reserved"
  /** Out of use until its entries are empty and the IOTLB is invalidated. */
  | "quarantined";

/** A range of entries that is not free: the thread that has it, and in which state. */
export interface HeldRange extends OwnedRange {
  /** Why the entries are not free. */
  readonly state: HoldingState;
}

/** The ranges that have entries of [first, end), in ascending order. Looked up as the iteration goes on. */
export function* holdersIn(
  ledger: SharedHalves,
  words: SharedWords,
  layout: Layout,
  first: number,
  end: number,
): Generator<HeldRange, void, undefined> {
  for (let entry = startOfHolder(ledger, words, layout, first); entry < end; ) {
    if (isWordFree(words, layout, entry)) {
      entry += 32;
      continue;
    }
    const slot = slotSeen(ledger, entry);
    const start = entry;
    entry += stepFrom(slot);
    if (!beginsRange(slot)) continue;
    const last = start + lengthOf(ledger, start, slot);
    if (last <= first) continue;
    yield { first: start, end: last, owner: ownerIn(slot), state: nameOfState(stateIn(slot)) as HoldingState };
  }
}

/** The start of the range that has `entry`, as far as taken entries go back without a gap; `entry` if it is free. */
function startOfHolder(ledger: SharedHalves, words: SharedWords, { bitmapAt }: Layout, entry: number): number {
  let start = entry;
  while (!beginsRange(slotSeen(ledger, start))) {
    if (start === 0 || !isTakenRelaxed(words, bitmapAt, start)) return entry;
    start--;
  }
  return start;
}

/** Ranges in this state, in ascending order. Looked up as the iteration goes on. */
export function* rangesIn(
  ledger: SharedHalves,
  words: SharedWords,
  layout: Layout,
  state: RangeState,
): Generator<OwnedRange, void, undefined> {
  for (let entry = 0; entry < layout.entries; ) {
    if (isWordFree(words, layout, entry)) {
      entry += 32;
      continue;
    }
    const slot = slotSeen(ledger, entry);
    const first = entry;
    entry += stepFrom(slot);
    if (stateIn(slot) !== state) continue;
    const end = first + lengthOf(ledger, first, slot);
    yield { first, end, owner: ownerIn(slot) };
  }
}

/** Ranges in this state, by owner. */
export function rangesByOwner(
  ledger: SharedHalves,
  words: SharedWords,
  layout: Layout,
  state: RangeState,
): Map<number, EntryRange[]> {
  const owners = new Map<number, EntryRange[]>();
  for (const { first, end, owner } of rangesIn(ledger, words, layout, state)) {
    const ranges = owners.get(owner) ?? [];
    ranges.push({ first, end });
    owners.set(owner, ranges);
  }
  return owners;
}
