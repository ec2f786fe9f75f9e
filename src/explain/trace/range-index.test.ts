import assert from "node:assert/strict";
import { test } from "node:test";
import { randomFrom } from "../../allocator/random.model.ts";
import { RangeIndex } from "./range-index.ts";

test("an index of ranges finds what a search through all of them finds, as they come and go", () => {
  const seed = Date.now() >>> 0;
  const random = randomFrom(seed);
  for (let round = 0; round < 30; round++) {
    // Far apart, above 2^32 pages, or crowded, so that ranges overlap and chains hold several buckets.
    const base = [0, 2 ** 20, 2 ** 40][random(3)] as number;
    const spread = [40, 5000][random(2)] as number;
    const first = Float64Array.from({ length: 200 }, () => base + random(spread));
    const end = first.map((page) => page + random(4) ** random(6));
    const index = new RangeIndex({ first, end });
    const live = new Set<number>();
    for (let step = 0; step < 400; step++) {
      const number = random(200);
      if (live.delete(number)) index.remove(number);
      else {
        live.add(number);
        index.add(number);
      }
      const page = base + random(spread);
      const holding = [...live].filter((one) => (first[one] as number) <= page && page < (end[one] as number));
      const count = index.find(page);
      const found = index.found.subarray(0, count);
      const message = `seed ${seed}, round ${round}, step ${step}`;
      assert.deepEqual([...found].sort(), holding.sort(), message);
      const until = page + 1 + random(spread);
      const begins = [...live]
        .filter((one) => (first[one] as number) < (end[one] as number))
        .map((one) => first[one] as number)
        .filter((begin) => begin >= page && begin < until);
      assert.equal(index.nextBegin(page, until), begins.length === 0 ? undefined : Math.min(...begins), message);
    }
  }
});

test("of equal ranges, an index finds those added first first", () => {
  const length = 100;
  const first = new Float64Array(length).fill(7);
  const end = new Float64Array(length).fill(9);
  const index = new RangeIndex({ first, end });
  for (let number = 0; number < length; number++) index.add(number);
  for (let number = 0; number < length; number += 3) index.remove(number);
  index.add(0);
  const rest = Array.from({ length }, (_, number) => number).filter((number) => number % 3 !== 0);
  const count = index.find(8);
  assert.deepEqual([...index.found.subarray(0, count)], [...rest, 0]);
});
