/**
 * The reserved entries of a new table: entry 0 of a window at bus address 0 (many drivers take address 0 for an error), the MMIO hole of
 * the bridge, and entries that a crashed kernel left mapped.
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

/** Least number of free entries that a new kernel needs (Linux: KDUMP_MIN_TCE_ENTRIES). */
export const LEAST_FREE_ENTRIES = 2048;

/** A range of bus addresses, [start, end). */
export interface BusRange {
  /** The first bus address, in bytes. */
  readonly start: bigint;
  /** One past the last bus address, in bytes. */
  readonly end: bigint;
}

/** The reservations that do not depend on the table's content: ascending, disjoint. */
export function fixedReservations(window: DmaWindow, hole: BusRange | undefined): EntryRange[] {
  const ranges: EntryRange[] = [];
  if (window.base === 0n) ranges.push(rangeOf(0, 1));
  if (hole !== undefined) append(ranges, entriesOf(window, hole));
  return mergeRanges(ranges);
}

/** The entries found in a table that a crashed kernel left. */
export interface Leftovers {
  /** Mapped entries that stay mapped and are reserved. */
  readonly kept: readonly EntryRange[];
  /** Entries at the top that were emptied because too few were free. */
  readonly released: EntryRange | undefined;
}

/**
 * Takes over the entries of a crashed kernel. Entries that are not empty are kept, because devices may still use them. If fewer than
 * LEAST_FREE_ENTRIES are free then, that many entries at the top are emptied. `reserved`: entries that are not free for other reasons. The
 * caller invalidates afterwards.
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
 * Throws InvalidArgumentError unless all levels of an existing table lie in memory, below 4 GiB (the ops read one word of an inner entry),
 * and outside of the region for new levels.
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
  // From the first level down, so that no level outside of memory is read.
  const checkBelow = (address: number, depth: number): void => {
    if (depth === 1) return;
    for (const level of levelsRightBelow(memory, address, levelBits)) {
      check(level);
      checkBelow(level, depth - 1);
    }
  };
  checkBelow(rootAddress, levels);
}

/** The ranges that are not among `others`. */
export function withoutRanges(ranges: readonly EntryRange[], others: readonly EntryRange[]): EntryRange[] {
  const known = new Set(others.map(({ first, end }) => `${first} ${end}`));
  return ranges.filter(({ first, end }) => !known.has(`${first} ${end}`));
}

function levelsRightBelow(memory: Memory, rootAddress: number, levelBits: number): readonly number[] {
  const found: number[] = [];
  // `levels: 2` visits only the levels directly below the first.
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

/** The entries of the window that contain these bus addresses: one range, or none. */
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
