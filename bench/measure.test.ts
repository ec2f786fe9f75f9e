/** Tests of clocks, medians and quantiles. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { asSortedNanoseconds, measureSlices, median, nanoseconds, quantile } from "./measure.ts";

test("the median of an even number of values is the mean of the two in the middle", () => {
  assert.equal(median([9, 1, 5]), 5);
  assert.equal(median([4, 1, 3, 100]), 3.5);
  assert.ok(Number.isNaN(median([])));
});

test("a quantile is the least value that is not below its share", () => {
  const hundred = Float64Array.from({ length: 100 }, (_, i) => i + 1);
  assert.deepEqual(
    [0, 0.5, 0.99, 0.999, 1].map((q) => quantile(hundred, q)),
    [1, 50, 99, 100, 100],
  );
  assert.ok(Number.isNaN(quantile([], 0.5)));
});

test("asSortedNanoseconds: samples are in nanoseconds, sorted, without the clock's cost, never negative", () => {
  assert.deepEqual([...asSortedNanoseconds(Float64Array.of(0.002, 0.00001, 0.001), 40)], [0, 960, 1960]);
});

test("measureSlices: slices follow each other on one clock, and each calls its work once", () => {
  const seen: number[] = [];
  const before = nanoseconds();
  const { begins, ends } = measureSlices(3, (slice) => seen.push(slice));
  const moments = [before, ...Array.from(begins, (begin, i) => [begin, ends[i] as number]).flat(), nanoseconds()];
  assert.deepEqual(seen, [0, 1, 2]);
  assert.deepEqual(
    moments,
    moments.toSorted((a, b) => a - b),
  );
});
