import assert from "node:assert/strict";
import { test } from "node:test";
import { createShared, wordsOf } from "../../shared/memory.ts";
import { InvalidArgumentError } from "../../units/errors.ts";
import { CallInjection } from "./injection.ts";

function injection(): CallInjection {
  return new CallInjection(wordsOf(createShared(4 * (CallInjection.words + 1))), 1);
}

test("nothing is injected before it is set, and calls are counted", () => {
  const calls = injection();
  assert.deepEqual([calls.begin(), calls.begin(), calls.take(7), calls.calls], [0, 0, 7, 2]);
});

test("the n-th call from when it was set fails, and as many behind it as were asked for", () => {
  const calls = injection();
  calls.begin();
  calls.set({ fail: { after: 1, times: 3 }, status: -7 });
  assert.deepEqual(
    Array.from({ length: 6 }, () => calls.begin()),
    [0, -7, -7, -7, 0, 0],
  );
  calls.set({ fail: { times: 1 } });
  calls.set({});
  assert.equal(calls.begin(), 0, "what was set before is over");
});

test("a call takes no more than the most, at random any number from one to that", () => {
  const calls = injection();
  calls.set({ most: 4 });
  assert.deepEqual([calls.take(3), calls.take(4), calls.take(9)], [3, 4, 4]);
  calls.set({ most: 4, random: true });
  const taken = Array.from({ length: 200 }, () => {
    calls.begin();
    return calls.take(9);
  });
  assert.deepEqual(new Set(taken), new Set([1, 2, 3, 4]));
  assert.equal(calls.take(1), 1);
});

test("numbers that can't be are refused: among them a status that would be no failure", () => {
  for (const wrong of [
    { most: -1 },
    { fail: { after: 0.5 } },
    { fail: { times: -1 } },
    { status: 0 },
    { status: 2 ** 31 },
  ]) {
    assert.throws(() => injection().set(wrong), InvalidArgumentError, JSON.stringify(wrong));
  }
});
