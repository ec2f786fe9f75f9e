/** Operations on ranges of entries, [first, end). Not for hot paths: each result is a new object. */
import type { EntryRange } from "./numbers.ts";

export function rangeOf(first: number, end: number): EntryRange {
  return { first, end };
}

/** True if the range has entries in [first, end). */
export function overlaps(range: EntryRange, first: number, end: number): boolean {
  return range.first < end && first < range.end;
}

/** The parts of the range outside of [first, end): up to two ranges. */
export function without(range: EntryRange, first: number, end: number): EntryRange[] {
  const before = rangeOf(range.first, Math.min(range.end, first));
  const behind = rangeOf(Math.max(range.first, end), range.end);
  return [before, behind].filter((part) => part.first < part.end);
}

/** The union, ascending and disjoint, with adjacent ranges merged. */
export function mergeRanges(ranges: readonly EntryRange[]): EntryRange[] {
  const merged: EntryRange[] = [];
  for (const { first, end } of ranges.toSorted((a, b) => a.first - b.first)) {
    const last = merged.at(-1);
    if (last === undefined || first > last.end) merged.push(rangeOf(first, end));
    else merged[merged.length - 1] = rangeOf(last.first, Math.max(last.end, end));
  }
  return merged;
}

/** The gaps of ascending, disjoint ranges in [0, entries). */
export function gapsBetween(ranges: readonly EntryRange[], entries: number): EntryRange[] {
  const gaps: EntryRange[] = [];
  let from = 0;
  for (const { first, end } of ranges) {
    if (first > from) gaps.push(rangeOf(from, first));
    from = end;
  }
  if (from < entries) gaps.push(rangeOf(from, entries));
  return gaps;
}
