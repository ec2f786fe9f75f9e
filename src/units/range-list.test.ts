import assert from "node:assert/strict";
import { test } from "node:test";
import type { EntryRange } from "./numbers.ts";
import { RangeList } from "./range-list.ts";

/** Ranges of 1 to 4 entries; every third one begins behind a gap. */
function ranges(count: number): EntryRange[] {
  const all: EntryRange[] = [];
  for (let i = 0, first = 0; i < count; i++) {
    const end = first + 1 + (i & 3);
    all.push({ first, end });
    first = end + (i % 3 === 2 ? 5 : 0);
  }
  return all;
}

function listOf(all: readonly EntryRange[]): RangeList {
  const list = new RangeList();
  for (const { first, end } of all) list.add(first, end);
  return list;
}

test("a list has the ranges that were added, in their order, however many there are", () => {
  for (const count of [0, 1, 63, 64, 65, 1000]) {
    const all = ranges(count);
    const list = listOf(all);
    assert.equal(list.length, count);
    assert.deepEqual([...list], all);
    for (const index of [-count - 1, -count, -1, 0, count - 1, count]) assert.deepEqual(list.at(index), all.at(index));
  }
});

test("a run ends where the next range begins behind a gap, or where the caller's part of the list ends", () => {
  const list = listOf(ranges(9));
  assert.deepEqual(
    Array.from(list, (_, from) => list.endOfRun(from)),
    [3, 3, 3, 6, 6, 6, 9, 9, 9],
  );
  assert.deepEqual([list.endOfRun(3, 5), list.endOfRun(3, 4)], [5, 4]);
});

test("a list holds ranges up to the last entry that a table can have", () => {
  const last = { first: 2 ** 31 - 2, end: 2 ** 31 - 1 };
  assert.deepEqual([...listOf([last])], [last]);
});
