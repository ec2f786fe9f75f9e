import assert from "node:assert/strict";
import { test } from "node:test";
import { beyondTable, EntrySpans } from "./entry-spans.ts";

/** Entries below 12 that a set of spans has, each asked for alone. */
function entriesOf(spans: EntrySpans): number[] {
  return Array.from({ length: 12 }, (_, entry) => entry).filter((entry) => {
    const taken = spans.take(entry, entry + 1);
    for (const { first, end } of taken) spans.add(first, end);
    return taken.length > 0;
  });
}

test("what is removed of spans is exactly what was named, wherever it lies in them", () => {
  for (let first = 0; first < 12; first++) {
    for (let end = first + 1; end <= 12; end++) {
      const spans = new EntrySpans();
      spans.add(2, 5);
      spans.add(8, 10);
      spans.remove(first, end);
      const expected = [2, 3, 4, 8, 9].filter((entry) => entry < first || entry >= end);
      assert.deepEqual(entriesOf(spans), expected, `[${first}, ${end})`);
      assert.equal(spans.isEmpty, expected.length === 0);
    }
  }
});

test("spans with entries in a range are taken whole, the others stay", () => {
  const spans = new EntrySpans();
  assert.deepEqual(spans.take(0, 12), []);
  spans.add(2, 5);
  spans.add(8, 10);
  assert.deepEqual(spans.take(5, 8), []);
  assert.deepEqual(spans.take(4, 5), [{ first: 2, end: 5 }]);
  assert.deepEqual(entriesOf(spans), [8, 9]);
  assert.deepEqual(spans.take(0, 12), [{ first: 8, end: 10 }]);
  assert.ok(spans.isEmpty);
});

test("the error about a range beyond the table has the numbers", () => {
  assert.match(beyondTable(7, 2, 8).message, /range of entries is \[7, 9\); expected at least one entry in \[0, 8\)/);
});
