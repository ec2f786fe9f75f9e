import assert from "node:assert/strict";
import { test } from "node:test";
import { PendingFlushes } from "./pending-flushes.ts";
import { MOST_RUNS, StreamedRuns } from "./streamed-runs.ts";

function runsOf(...runs: readonly (readonly [first: number, end: number, streaming: number])[]): StreamedRuns {
  const list = new StreamedRuns();
  for (const [first, end, streaming] of runs) assert.ok(list.add(first, end, streaming));
  return list;
}

/** "entry:streaming" of each entry, in order. */
function entriesOf(runs: StreamedRuns | undefined): string[] | undefined {
  if (runs === undefined) return undefined;
  return Array.from({ length: runs.length }, (_, i) => {
    const first = runs.first[i] as number;
    const count = (runs.end[i] as number) - first;
    return Array.from({ length: count }, (_, at) => `${first + at}:${runs.streaming[i]}`);
  }).flat();
}

test("a run that goes on with the one before joins it, and a full list takes no other", () => {
  const list = runsOf([0, 2, 5], [2, 3, 5]);
  assert.equal(list.length, 1);
  for (let i = 1; i < MOST_RUNS; i++) assert.ok(list.add(10 * i, 10 * i + 1, 5));
  assert.equal(list.add(5000, 5001, 5), false);
  assert.equal(list.length, MOST_RUNS);
});

test("taking a range takes its parts of runs, and leaves what lies beside them", () => {
  const pending = new PendingFlushes();
  pending.add(runsOf([0, 4, 1], [4, 10, 2], [20, 22, 3]));
  assert.deepEqual(entriesOf(pending.take(2, 6)), ["2:1", "3:1", "4:2", "5:2"]);
  assert.deepEqual(entriesOf(pending.take(7, 8)), ["7:2"]);
  assert.deepEqual(entriesOf(pending.takeAll()), ["0:1", "1:1", "6:2", "8:2", "9:2", "20:3", "21:3"]);
  assert.deepEqual(entriesOf(pending.takeAll()), []);
});

test("a range that was not emptied entry after entry is not known, and what is known of it is dropped", () => {
  for (const [first, end, left] of [
    [0, 12, ["20:3"]],
    [8, 12, ["0:1", "1:1", "2:1", "3:1", "2:2", "20:3"]],
    [2, 3, ["0:1", "1:1", "3:1", "20:3"]],
  ] as const) {
    const pending = new PendingFlushes();
    pending.add(runsOf([0, 4, 1], [2, 3, 2], [20, 21, 3]));
    assert.equal(pending.take(first, end), undefined);
    assert.deepEqual(entriesOf(pending.takeAll()), [...left]);
  }
});

test("entries of which a run is lost are not known, whatever was known of them before", () => {
  const pending = new PendingFlushes();
  for (let i = 0; i < MOST_RUNS; i++) pending.add(runsOf([2 * i, 2 * i + 1, 1]));
  // Exchanged before, and not invalidated since.
  pending.add(runsOf([4, 5, 2]));
  assert.equal(pending.take(4, 5), undefined);
  assert.deepEqual(entriesOf(pending.take(6, 7)), ["6:1"]);
});

test("of more runs than a list holds it is known that there are some, until all are taken", () => {
  const pending = new PendingFlushes();
  for (let i = 0; i <= MOST_RUNS; i++) pending.add(runsOf([2 * i, 2 * i + 1, 1]));
  assert.deepEqual(entriesOf(pending.take(0, 1)), ["0:1"]);
  assert.equal(pending.takeAll(), undefined);
  assert.deepEqual(entriesOf(pending.takeAll()), []);
});
