import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { test } from "node:test";
import { PooledAllocator } from "../allocator/pooled-allocator.ts";
import { Crew } from "./crew.ts";
import { reclaimOnExit } from "./reclaim-on-exit.ts";

function started() {
  const crew = Crew.create({ threads: 2 });
  const allocator = PooledAllocator.create({ entries: 64, crew });
  const seat = crew.addThread();
  const worker = new EventEmitter();
  return { crew, allocator, seat, worker, recovered: reclaimOnExit(worker, crew, seat) };
}

test("when the worker exits, what it had comes back, and its number", async () => {
  const { crew, allocator, seat, worker, recovered } = started();
  const theirs = PooledAllocator.attach(
    structuredClone(allocator.handle),
    undefined,
    Crew.attach(structuredClone(seat)),
  );
  const first = theirs.allocate(5);
  assert.deepEqual([...allocator.leaks().keys()], [seat.thread]);
  worker.emit("exit", 1);
  const back = await recovered;
  assert.deepEqual([...(back?.ranges.get(allocator.handle.structure) ?? [])], [{ first, end: first + 5 }]);
  assert.deepEqual([allocator.leaks().size, crew.threadsInUse()], [0, [0]]);
});

test("a worker that ended before it attached leaves no number taken", async () => {
  const { crew, worker, recovered } = started();
  worker.emit("exit", 1);
  assert.equal((await recovered)?.isFree, true);
  assert.deepEqual(crew.threadsInUse(), [0]);
});

test("a number that the worker had given back is left alone, also when another thread has it by then", async () => {
  const { crew, seat, worker, recovered } = started();
  Crew.attach(seat).close();
  const next = Crew.attach(crew.handle);
  assert.equal(next.thread, seat.thread);
  worker.emit("exit", 0);
  assert.equal(await recovered, undefined);
  assert.deepEqual(crew.threadsInUse(), [0, 1]);
  assert.equal(next.isDeclaredDead, false);
});

test("what a recovery throws rejects the promise, and the reclaim can be repeated", async () => {
  const { crew, seat, worker, recovered } = started();
  const structure = crew.addStructure();
  let isBroken = true;
  crew.enter(structure, "table", () => {
    if (isBroken) throw new Error("the platform is gone");
    return undefined;
  });
  Crew.attach(seat).enter(structure, "table", () => undefined);
  worker.emit("exit", 1);
  await assert.rejects(recovered, /the platform is gone/);
  isBroken = false;
  assert.equal(crew.reclaim(seat.thread, "everything").isFree, true);
});
