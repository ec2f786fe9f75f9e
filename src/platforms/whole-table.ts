/**
 * Ranges of a table's entries, put together and taken apart; and the taking of a whole table, so that nobody maps in it, before it is handed
 * over, freed or removed.
 */
import type { PooledAllocator } from "../allocator/pooled-allocator.ts";
import type { Failure } from "../units/failure.ts";
import type { Entry, EntryRange } from "../units/numbers.ts";

/**
 * Reserves every entry but those in `known`, ranges that are reserved already. What was reserved, for `unreserveAll`; or why it can't be
 * done, "in-use" when an entry is allocated: then nothing is reserved.
 */
export function reserveRest(allocator: PooledAllocator, known: readonly EntryRange[]): readonly EntryRange[] | Failure {
  const taken: EntryRange[] = [];
  for (const gap of gapsBetween(mergeRanges(known), allocator.entries)) {
    const refused = allocator.reserve(gap);
    if (refused !== undefined) {
      unreserveAll(allocator, taken);
      return refused;
    }
    taken.push(gap);
  }
  return taken;
}

/** A range that can't be given back, since a dead thread holds its pool's lock, waits with this thread, or is quarantined: none is lost. */
export function unreserveAll(allocator: PooledAllocator, ranges: readonly EntryRange[]): void {
  for (const range of ranges) allocator.unreserve(range);
}

/** The ranges, ascending and disjoint. */
export function mergeRanges(ranges: readonly EntryRange[]): EntryRange[] {
  const merged: EntryRange[] = [];
  for (const { first, end } of ranges.toSorted((a, b) => a.first - b.first)) {
    const last = merged.at(-1);
    if (last === undefined || first > last.end) merged.push(rangeOf(first, end));
    else merged[merged.length - 1] = rangeOf(last.first, Math.max(last.end, end));
  }
  return merged;
}

/** What ascending, disjoint ranges leave of [0, entries). */
function gapsBetween(ranges: readonly EntryRange[], entries: number): EntryRange[] {
  const gaps: EntryRange[] = [];
  let from = 0;
  for (const { first, end } of ranges) {
    if (first > from) gaps.push(rangeOf(from, first));
    from = end;
  }
  if (from < entries) gaps.push(rangeOf(from, entries));
  return gaps;
}

export function rangeOf(first: number, end: number): EntryRange {
  return { first: first as Entry, end: end as Entry };
}
