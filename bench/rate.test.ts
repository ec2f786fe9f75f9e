import assert from "node:assert/strict";
import { test } from "node:test";
import { rateTogether, timeUndisturbed } from "./rate.ts";

/** A player that does 100 operations in each slice; slices as [begin, end] in nanoseconds. */
function player(...slices: readonly (readonly [number, number])[]) {
  return {
    operations: 100,
    slices: {
      begins: Float64Array.from(slices, ([begin]) => begin),
      ends: Float64Array.from(slices, ([, end]) => end),
      cpuNanoseconds: 0,
      queuedNanoseconds: 0,
    },
  };
}

/** Slices of 1000 ns, one after the other. */
const steady = (count: number, from = 0) =>
  Array.from({ length: count }, (_, i): [number, number] => [from + i * 1000, from + (i + 1) * 1000]);

const near = (found: number, expected: number) =>
  assert.ok(Math.abs(found / expected - 1) < 0.05, `${found}, not ${expected}`);

test("one player is as fast as its median slice, whatever happened in others", () => {
  near(rateTogether([player([0, 1000], [1000, 2000], [2000, 90_000])]), 100);
});

test("an undisturbed time is that of a slice of which few are quicker: not the least one's, and not the median", () => {
  // 1 slice of 500 ns, 2 of 1000 ns, 7 of 3000 ns.
  const slices = [3, 1, 3, 0.5, 3, 1, 3, 3, 3, 3].map((long, i): [number, number] => [
    i * 9000,
    i * 9000 + long * 1000,
  ]);
  assert.equal(timeUndisturbed(player(...slices)), 10);
});

test("two players side by side are twice as fast as one", () => {
  near(rateTogether([player(...steady(100)), player(...steady(100))]), 200);
});

test("operations of a player before the other has begun, or after it has ended, do not count", () => {
  near(rateTogether([player(...steady(100)), player(...steady(50, 20_300))]), 200);
});

test("without a common time, the rate is all operations over the whole time", () => {
  near(rateTogether([player(...steady(10)), player(...steady(10, 20_000))]), 2000 / 30);
});

test("two players that take turns have the rate of one", () => {
  // Each is descheduled in the middle of a slice while the other one runs.
  const turns = Array.from({ length: 50 }, (_, i): [number, number] => [i * 2000, i * 2000 + 2000]);
  near(rateTogether([player(...turns), player(...turns)]), 100);
  const early = Array.from({ length: 100 }, (_, i): [number, number] => [i * 2000, i * 2000 + 1000]);
  const late = early.map(([begin, end]): [number, number] => [begin + 1000, end + 1000]);
  near(rateTogether([player(...early), player(...late)]), 100);
});

test("a short pause of one player does not change the rate", () => {
  const paused: [number, number][] = [...steady(50), [50_000, 60_000], ...steady(40, 60_000)];
  near(rateTogether([player(...paused), player(...steady(100))]), 200);
});
