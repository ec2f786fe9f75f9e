import assert from "node:assert/strict";
import { test } from "node:test";
import { randomFrom } from "../../allocator/random.model.ts";
import { LineRanges, NO_RANGE } from "./overlaps.ts";

const seed = Date.now() & 0x7fffffff;

interface Range {
  readonly first: number;
  readonly end: number;
}

test(`overlaps and the deepest line are those of a plain list (seed ${seed})`, () => {
  const random = randomFrom(seed);
  for (const [capacity, lines, longest] of [
    [1, 8, 4],
    [12, 24, 6],
    [64, 300, 20],
    [64, 40, 40],
  ] as const) {
    const ranges = new LineRanges(capacity);
    const live = new Map<number, Range>();
    for (let step = 0; step < 1500; step++) {
      const first = random(lines) + (random(2) === 0 ? 0 : 2 ** 46);
      const wanted = { first, end: first + 1 + random(longest) };
      compare(ranges, live, wanted);
      if (random(5) < 3) {
        const range = ranges.insert(wanted.first, wanted.end, step, NO_RANGE);
        assert.equal(range === NO_RANGE, live.size === capacity);
        if (range === NO_RANGE) continue;
        assert.equal(ranges.ownerOf(range), step);
        live.set(range, wanted);
      } else if (live.size > 0) {
        const range = [...live.keys()][random(live.size)] as number;
        ranges.removeAll(range);
        live.delete(range);
      }
    }
  }
});

function compare(ranges: LineRanges, live: ReadonlyMap<number, Range>, { first, end }: Range): void {
  const overlapping = [...live.values()].filter((range) => range.first < end && range.end > first);
  const found = ranges.overlapping(first, end);
  assert.equal(found === NO_RANGE, overlapping.length === 0);
  if (found !== NO_RANGE) assert.equal(ranges.firstOf(found), Math.min(...overlapping.map((range) => range.first)));
  const having = (line: number) => overlapping.filter((range) => range.first <= line && line < range.end).length;
  const { line, ranges: most } = ranges.deepest(first, end);
  assert.equal(having(line), most);
  assert.ok(line >= first && line < end);
  for (let other = first; other < end; other++) assert.ok(having(other) <= most);
}

test("the ranges of one owner go together, and their room can be had again", () => {
  const ranges = new LineRanges(3);
  const first = ranges.insert(0, 1, 7, NO_RANGE);
  const chain = ranges.insert(10, 11, 7, first);
  const other = ranges.insert(20, 21, 8, NO_RANGE);
  assert.equal(ranges.insert(30, 31, 9, NO_RANGE), NO_RANGE);
  ranges.removeAll(chain);
  assert.equal(ranges.overlapping(0, 12), NO_RANGE);
  assert.equal(ranges.overlapping(0, 100), other);
  for (const line of [0, 10]) assert.notEqual(ranges.insert(line, line + 1, 9, NO_RANGE), NO_RANGE);
});

test("many ranges in order make no deep tree", () => {
  const ranges = new LineRanges(2 ** 16);
  for (let line = 0; line < 2 ** 16; line++) ranges.insert(line, line + 1, line, NO_RANGE);
  assert.equal(ranges.ownerOf(ranges.overlapping(40_000, 40_001)), 40_000);
  assert.deepEqual(ranges.deepest(0, 2 ** 16), { line: 0, ranges: 1 });
});
