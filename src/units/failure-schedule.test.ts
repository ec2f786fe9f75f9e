import assert from "node:assert/strict";
import { test } from "node:test";
import { FailureSchedule, type FailureScheduleOptions } from "./failure-schedule.ts";

/** Which of `calls` calls fail, from 1. */
function failing(options: FailureScheduleOptions, calls: number): number[] {
  const schedule = new FailureSchedule("tests", options);
  const found = Array.from({ length: calls }, (_, i) => i + 1).filter(() => schedule.next());
  assert.equal(schedule.failed, found.length);
  return found;
}

test("a schedule lets `after` calls succeed, then fails every n-th, so many times", () => {
  assert.deepEqual(failing({}, 3), [1, 2, 3]);
  assert.deepEqual(failing({ after: 2 }, 4), [3, 4]);
  assert.deepEqual(failing({ after: 1, interval: 3 }, 10), [4, 7, 10]);
  assert.deepEqual(failing({ after: 1, interval: 2, times: 2 }, 10), [3, 5]);
  assert.deepEqual(failing({ times: 0 }, 3), []);
  assert.deepEqual(failing({ probability: 0 }, 3), []);
});

test("a schedule with a number out of range is refused, and says of which calls it is", () => {
  assert.throws(() => new FailureSchedule("sets", { after: -1 }), /fault-free calls of sets is -1/);
  assert.throws(() => new FailureSchedule("sets", { interval: 0 }), /fault interval of sets is 0/);
});
