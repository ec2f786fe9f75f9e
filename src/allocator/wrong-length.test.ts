/**
 * Every call that names a range compares its full length with the recorded one: lengths of 31 entries and more share one code in the
 * ledger's first halfword (review of 2026-11-30, defects 5 and 9).
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { UNCONSTRAINED } from "./constraints.ts";
import { PooledAllocator } from "./pooled-allocator.ts";
import { assertSound, ledgerRanges, type RecordedRange } from "./soundness.model.ts";
import { openState } from "./state.ts";

type Call = (allocator: PooledAllocator, first: number, count: number) => unknown;

const OF_PENDING: Readonly<Record<string, Call>> = {
  checkPending: (allocator, first, count) => allocator.checkPending(first, count),
  commit: (allocator, first, count) => allocator.commit(first, count),
  abandon: (allocator, first, count) => allocator.abandon(first, count),
  quarantinePending: (allocator, first, count) => allocator.quarantinePending(first, count),
};
const OF_ENDING: Readonly<Record<string, Call>> = {
  cancelFree: (allocator, first, count) => allocator.cancelFree(first, count),
  finishFree: (allocator, first, count) => allocator.finishFree(first, count),
  finishFreeLazily: (allocator, first, count) => allocator.finishFreeLazily(first, count),
  quarantine: (allocator, first, count) => allocator.quarantine(first, count),
};
const OF_LIVE: Readonly<Record<string, Call>> = {
  free: (allocator, first, count) => allocator.free(first, count),
  checkFree: (allocator, first, count) => allocator.checkFree(first, count),
  startFree: (allocator, first, count) => allocator.startFree(first, count),
  startFreeAll: (allocator, first, count) => allocator.startFreeAll(Int32Array.of(first), Int32Array.of(count), 1),
};

function recorded(allocator: PooledAllocator): RecordedRange[] {
  const state = openState(allocator.handle);
  return ledgerRanges(state);
}

/** A range of `count` entries in front of a live one of 80, which a length that is too long would reach. */
function tableWith(count: number, state: "pending" | "ending" | "live"): { allocator: PooledAllocator; first: number } {
  const allocator = PooledAllocator.create({ entries: 4096, threads: 1 });
  const first = allocator.begin(count, UNCONSTRAINED, -1);
  assert.equal(allocator.allocate(80), first + count);
  if (state !== "pending") allocator.commit(first, count);
  if (state === "ending") allocator.startFree(first, count);
  return { allocator, first };
}

for (const [state, calls] of [
  ["pending", OF_PENDING],
  ["ending", OF_ENDING],
  ["live", OF_LIVE],
] as const) {
  for (const [name, call] of Object.entries(calls)) {
    test(`${name} with another length than the ${state} range's is a FreeError and changes nothing`, () => {
      for (const count of [20, 31, 50]) {
        const { allocator, first } = tableWith(count, state);
        const before = recorded(allocator);
        for (const wrong of [count - 1, count + 1, count + 20, 1]) {
          assert.throws(() => call(allocator, first, wrong), { name: "FreeError", code: "wrong-length" });
        }
        assert.deepEqual(recorded(allocator), before);
        assert.equal(allocator.allocate(3, UNCONSTRAINED, first), first + count + 80, "no entry has become free");
        call(allocator, first, count);
      }
    });
  }
}

test("a length that is no integer is a FreeError too", () => {
  const { allocator, first } = tableWith(20, "pending");
  for (const wrong of [20.5, -1, 0, Number.NaN]) {
    assert.throws(() => allocator.abandon(first, wrong), { name: "FreeError" }, String(wrong));
  }
  allocator.abandon(first, 20);
  assertSound(openState(allocator.handle));
});

for (const cache of ["none", "fifo"] as const) {
  test(`cache ${cache}: a length with a fraction, or out of range, frees nothing, and takes nothing`, () => {
    const allocator = PooledAllocator.create({ entries: 4096, pools: 1, threads: 1, cache });
    const [first, freed] = [allocator.allocate(1), allocator.allocate(1)];
    allocator.free(freed, 1);
    const ending = allocator.allocate(2);
    allocator.startFree(ending, 2);
    const before = recorded(allocator);
    for (const count of [1.5, 0, -1, 2 ** 32 + 1, Number.NaN]) {
      assert.throws(() => allocator.free(first, count), { name: "FreeError" }, `free of ${count}`);
      assert.throws(() => allocator.finishFree(ending, count), { name: "FreeError" }, `finishFree of ${count}`);
    }
    assert.throws(() => allocator.finishFree(ending, 2.5), { name: "FreeError" });
    for (const count of [1.5, 0, -1, Number.NaN])
      assert.throws(() => allocator.allocate(count), { name: "InvalidArgumentError" }, `allocate of ${count}`);
    assert.deepEqual(recorded(allocator), before);
    assert.equal(allocator.finishFree(ending, 2), undefined);
    assertSound(openState(allocator.handle));
  });
}

test("adopt takes a live range of exactly this length, and of the thread that was named", () => {
  const one = PooledAllocator.create({ entries: 4096, threads: 3 });
  const two = PooledAllocator.attach(one.handle);
  for (const count of [20, 50]) {
    const first = one.allocate(count);
    const before = recorded(one);
    for (const wrong of [count - 1, count + 1, 999]) {
      assert.equal(two.adopt(first, wrong), false);
      assert.equal(two.adopt(first, wrong, one.thread), false);
    }
    assert.equal(two.adopt(first, count, 2), false);
    assert.deepEqual(recorded(one), before);
    assert.equal(two.adopt(first, count, one.thread), true);
    assert.deepEqual(
      recorded(one).map(({ owner }) => owner),
      [...before.slice(0, -1).map(({ owner }) => owner), two.thread],
    );
  }
});

test("adopt refuses a number that no thread has, and changes no state of the range", () => {
  const one = PooledAllocator.create({ entries: 4096, threads: 2 });
  const two = PooledAllocator.attach(one.handle);
  const first = one.allocate(20);
  one.startFree(first, 20);
  for (const from of [256, 2, -1, 0.5]) {
    assert.throws(() => two.adopt(first, 20, from), { name: "InvalidArgumentError", message: /thread to adopt from/ });
  }
  one.finishFree(first, 20);
  assert.equal(one.statistics().taken, 0);
});
