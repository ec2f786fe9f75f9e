/**
 * Which entries of a new table are never handed out: entry 0 of a window at bus address 0 (to many drivers an address of 0 means none),
 * the hole where the bridge decodes its own MMIO, and what a kernel that crashed left mapped.
 */

import type { Memory } from "../../machine/contract.ts";
import type { EntryValue } from "../../table/contract.ts";
import { InvalidArgumentError, inWords } from "../../units/errors.ts";
import { append } from "../../units/lists.ts";
import type { DmaWindow, EntryRange } from "../../units/numbers.ts";
import { mergeRanges, rangeOf } from "../../units/ranges.ts";
import type { TceGeometry } from "./geometry.ts";
import type { TceOps } from "./ops.ts";
import { forEachLevel } from "./tree.ts";

/** A new kernel needs at least so many free entries (Linux: KDUMP_MIN_TCE_ENTRIES). */
export const LEAST_FREE_ENTRIES = 2048;

/** Bus addresses [start, end). */
export interface BusRange {
  readonly start: bigint;
  readonly end: bigint;
}

/** What is reserved whatever the table holds: ascending, disjoint. */
export function fixedReservations(window: DmaWindow, hole: BusRange | undefined): EntryRange[] {
  const ranges: EntryRange[] = [];
  if (window.base === 0n) ranges.push(rangeOf(0, 1));
  if (hole !== undefined) append(ranges, entriesOf(window, hole));
  return mergeRanges(ranges);
}

/** What was found in a table that others left. */
export interface Leftovers {
  /** Entries that stay as they are, and reserved. */
  readonly kept: readonly EntryRange[];
  /** Entries of the top that were emptied, since too few were free. */
  readonly released: EntryRange | undefined;
}

/**
 * Takes over what a crashed kernel left: entries that are not empty are kept, since devices may still use them. If then fewer than
 * LEAST_FREE_ENTRIES are free, as many at the top are emptied. `reserved`: what is not free for other reasons. The caller
 * invalidates afterwards.
 */
export function takeLeftovers(ops: TceOps, entries: number, reserved: readonly EntryRange[]): Leftovers {
  const found = filledRanges(ops, entries);
  const taken = mergeRanges([...found, ...reserved]).reduce((sum, { first, end }) => sum + end - first, 0);
  if (entries - taken >= LEAST_FREE_ENTRIES) return { kept: found, released: undefined };
  const top = Math.max(0, entries - LEAST_FREE_ENTRIES);
  ops.clear(top, entries - top);
  ops.publish();
  const kept = found.filter(({ first }) => first < top).map(({ first, end }) => rangeOf(first, Math.min(end, top)));
  return { kept, released: rangeOf(top, entries) };
}

/**
 * Throws InvalidArgumentError unless all levels of a table that others made lie in memory, below 4 GiB (its ops look at one word of an inner
 * entry), and outside of the region that new levels come from.
 */
export function checkForeignLevels(
  memory: Memory,
  rootAddress: number,
  { levels, levelBits, levelBytes }: TceGeometry,
  region: { readonly address: number; readonly bytes: number },
): void {
  const check = (level: number): void => {
    const end = level + levelBytes;
    const isInside =
      Number.isInteger(level) && level > 0 && level % 4096 === 0 && end <= Math.min(memory.bytes, 2 ** 32);
    if (isInside && (end <= region.address || level >= region.address + region.bytes)) return;
    const expected = `page-aligned memory below 4 GiB and outside of [${region.address}, ${region.address + region.bytes})`;
    throw new InvalidArgumentError("level of an existing table", inWords(`[${level}, ${end})`), expected);
  };
  check(rootAddress);
  // Levels from above, so that none is looked into that lies outside.
  const checkBelow = (address: number, depth: number): void => {
    if (depth === 1) return;
    for (const level of levelsRightBelow(memory, address, levelBits)) {
      check(level);
      checkBelow(level, depth - 1);
    }
  };
  checkBelow(rootAddress, levels);
}

/** Of `ranges`, those that are none of `others`. */
export function withoutRanges(ranges: readonly EntryRange[], others: readonly EntryRange[]): EntryRange[] {
  const known = new Set(others.map(({ first, end }) => `${first} ${end}`));
  return ranges.filter(({ first, end }) => !known.has(`${first} ${end}`));
}

function levelsRightBelow(memory: Memory, rootAddress: number, levelBits: number): readonly number[] {
  const found: number[] = [];
  // Two levels: those right below the first, and no further.
  forEachLevel(memory, { rootAddress, levels: 2, levelBits }, (level) => found.push(level));
  return found;
}

function filledRanges(ops: TceOps, entries: number): EntryRange[] {
  const found: EntryRange[] = [];
  const value: EntryValue = { page: 0, access: 0 };
  let first = -1;
  for (let entry = 0; entry < entries; ) {
    const endOfHole = ops.endOfHole(entry);
    if (endOfHole === entry) ops.get(entry, value);
    const isFilled = endOfHole === entry && value.access !== 0;
    if (isFilled && first < 0) first = entry;
    if (!isFilled && first >= 0) {
      found.push(rangeOf(first, entry));
      first = -1;
    }
    entry = Math.max(entry + 1, endOfHole);
  }
  if (first >= 0) found.push(rangeOf(first, entries));
  return found;
}

/** The entries of the window in which the bus addresses lie, none or one range. */
function entriesOf({ base, pageShift, entries }: DmaWindow, { start, end }: BusRange): EntryRange[] {
  if (typeof start !== "bigint" || typeof end !== "bigint" || start < 0n || start >= end) {
    throw new InvalidArgumentError("MMIO hole", inWords(`[${start}, ${end})`), "bus addresses, as bigints, ascending");
  }
  const pageBytes = 1n << BigInt(pageShift);
  const windowEnd = base + BigInt(entries) * pageBytes;
  if (end <= base || start >= windowEnd) return [];
  const first = start <= base ? 0 : Number((start - base) / pageBytes);
  const last = end >= windowEnd ? entries : Number((end - base + pageBytes - 1n) / pageBytes);
  return [rangeOf(first, last)];
}
