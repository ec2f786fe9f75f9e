import assert from "node:assert/strict";
import { test } from "node:test";
import { append, largest, smallest } from "./lists.ts";

test("lists of 200,000 elements are added and searched: more than a call takes arguments", () => {
  const long = Array.from({ length: 200_000 }, (_, i) => i - 5);
  const list = [7];
  append(list, long);
  assert.equal(list.length, 200_001);
  assert.deepEqual([list[0], list[1], list.at(-1)], [7, -5, 199_994]);
  assert.equal(largest(long), 199_994);
  assert.equal(smallest(long), -5);
});

test("without values the answer is what was given as the least, or an infinity", () => {
  assert.equal(largest([], 12), 12);
  assert.equal(largest([3], 12), 12);
  assert.equal(largest([]), Number.NEGATIVE_INFINITY);
  assert.equal(smallest([]), Number.POSITIVE_INFINITY);
});
