import assert from "node:assert/strict";
import { test } from "node:test";
import type { EntryRange } from "./numbers.ts";
import { gapsBetween, mergeRanges, overlaps, rangeOf, without } from "./ranges.ts";

const ENTRIES = 6;
/** All ranges in [0, 6). */
const ALL: readonly EntryRange[] = Array.from({ length: ENTRIES }, (_, first) =>
  Array.from({ length: ENTRIES - first }, (_, i) => rangeOf(first, first + i + 1)),
).flat();

function entriesOf(ranges: readonly EntryRange[]): number[] {
  const isIn = (entry: number) => ranges.some(({ first, end }) => entry >= first && entry < end);
  return Array.from({ length: ENTRIES }, (_, entry) => entry).filter(isIn);
}

test("the union of ranges has their entries, ascending, and no two of its ranges touch; its gaps have all others", () => {
  for (const a of ALL) {
    for (const b of ALL) {
      const merged = mergeRanges([b, a]);
      assert.deepEqual(entriesOf(merged), entriesOf([a, b]));
      assert.ok(merged.every(({ first }, i) => i === 0 || first > (merged[i - 1] as EntryRange).end));
      const gaps = gapsBetween(merged, ENTRIES);
      assert.deepEqual([...entriesOf(merged), ...entriesOf(gaps)].sort(), [0, 1, 2, 3, 4, 5]);
    }
  }
  assert.deepEqual(gapsBetween([], ENTRIES), [rangeOf(0, ENTRIES)]);
});

test("a range without another one has the entries that only it has, in ranges that are not empty", () => {
  for (const a of ALL) {
    for (const { first, end } of ALL) {
      const rest = without(a, first, end);
      const expected = entriesOf([a]).filter((entry) => entry < first || entry >= end);
      assert.deepEqual(entriesOf(rest), expected);
      assert.ok(rest.every((part) => part.first < part.end));
      assert.equal(overlaps(a, first, end), expected.length < a.end - a.first);
    }
  }
});
