/**
 * A closed view acts no more: its number, and what it held, may be another thread's. Every method of the class is classed here, so a
 * new one can't be forgotten (review of 2026-11-30, defect 7; of newcomers, B17).
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { range } from "./allocator.model.ts";
import { UNCONSTRAINED } from "./constraints.ts";
import { PooledAllocator } from "./pooled-allocator.ts";
import { ledgerRanges, type RecordedRange } from "./soundness.model.ts";
import { openState } from "./state.ts";

interface Scene {
  readonly closed: PooledAllocator;
  /** What the closed view had when it was closed. */
  readonly live: number;
  readonly pending: number;
  readonly ending: number;
  /** A thread that was killed, with a live range at `theirs`. */
  readonly dead: PooledAllocator;
  readonly theirs: number;
}

const LENGTH = 5;

/** Methods that act, each as a call that an open view would carry out. */
const ACTS: Readonly<Record<string, (scene: Scene) => unknown>> = {
  allocate: ({ closed }) => closed.allocate(1),
  allocateWith: ({ closed }) => closed.allocateWith(1, { order: "lowest" }),
  allocateAt: ({ closed }) => closed.allocateAt(200, 10),
  beginAt: ({ closed }) => closed.beginAt(200, 10),
  begin: ({ closed }) => closed.begin(1, UNCONSTRAINED, -1),
  checkPending: ({ closed, pending }) => closed.checkPending(pending, LENGTH),
  commit: ({ closed, pending }) => closed.commit(pending, LENGTH),
  abandon: ({ closed, pending }) => closed.abandon(pending, LENGTH),
  quarantinePending: ({ closed, pending }) => closed.quarantinePending(pending, LENGTH),
  free: ({ closed, live }) => closed.free(live, LENGTH),
  checkOpen: ({ closed }) => closed.checkOpen(),
  checkFree: ({ closed, live }) => closed.checkFree(live, LENGTH),
  startFree: ({ closed, live }) => closed.startFree(live, LENGTH),
  startFreeAll: ({ closed, live }) => closed.startFreeAll(Int32Array.of(live), Int32Array.of(LENGTH), 1),
  cancelFree: ({ closed, ending }) => closed.cancelFree(ending, LENGTH),
  finishFree: ({ closed, ending }) => closed.finishFree(ending, LENGTH),
  finishFreeLazily: ({ closed, ending }) => closed.finishFreeLazily(ending, LENGTH),
  quarantine: ({ closed, ending }) => closed.quarantine(ending, LENGTH),
  reserve: ({ closed }) => closed.reserve(range(200, 210)),
  unreserve: ({ closed }) => closed.unreserve(range(250, 256)),
  drain: ({ closed }) => closed.drain(),
  flushIotlb: ({ closed }) => closed.flushIotlb(),
  invalidateAll: ({ closed }) => closed.invalidateAll(),
  adopt: ({ closed, theirs }) => closed.adopt(theirs, LENGTH),
  reclaim: ({ closed, dead }) => closed.reclaim(dead.thread, "everything"),
  recover: ({ closed, dead }) => closed.recover(dead.thread, "everything"),
};
/** Methods that only read, or do nothing the second time. */
const STILL_ANSWER: Readonly<Record<string, (closed: PooledAllocator) => unknown>> = {
  atClose: (closed) => closed.atClose(() => undefined),
  lazy: (closed) => closed.lazy,
  statistics: (closed) => closed.statistics(),
  leaks: (closed) => closed.leaks(),
  holderOf: (closed) => closed.holderOf(range(0, 256)),
  live: (closed) => [...closed.live()],
  lengthAt: (closed) => assert.throws(() => closed.lengthAt(0), { code: "not-allocated" }),
  reservations: (closed) => closed.reservations(),
  shortage: (closed) => closed.shortage(1),
  snapshot: (closed) => closed.snapshot(),
  threadsInUse: (closed) => closed.threadsInUse(),
  close: (closed) => closed.close(),
};

function sceneWith(cache: "none" | "fifo"): Scene {
  const main = PooledAllocator.create({ entries: 256, threads: 3, cache, reserved: [range(250, 256)] });
  const closed = PooledAllocator.attach(main.handle);
  const dead = PooledAllocator.attach(main.handle);
  const [live, ending] = [closed.allocate(LENGTH), closed.allocate(LENGTH)];
  const pending = closed.begin(LENGTH, UNCONSTRAINED, -1);
  const theirs = dead.allocate(LENGTH);
  closed.startFree(ending, LENGTH);
  closed.close();
  return { closed, live, pending, ending, dead, theirs };
}

function recorded({ closed }: Scene): RecordedRange[] {
  const state = openState(closed.handle);
  return ledgerRanges(state);
}

const VIEW_CLOSED = { name: "IovaError", code: "view-closed" };

test("every method of the allocator is classed as one that acts or one that reads", () => {
  const methods = Object.getOwnPropertyNames(PooledAllocator.prototype).filter((name) => name !== "constructor");
  assert.deepEqual(methods.toSorted(), [...Object.keys(ACTS), ...Object.keys(STILL_ANSWER)].toSorted());
});

for (const cache of ["none", "fifo"] as const) {
  for (const [name, act] of Object.entries(ACTS)) {
    test(`${name} of a closed view throws view-closed and changes nothing, cache ${cache}`, () => {
      const scene = sceneWith(cache);
      const before = recorded(scene);
      assert.throws(() => act(scene), VIEW_CLOSED);
      assert.deepEqual(recorded(scene), before);
    });
  }
}

test("recovery by way of the crew, as machines do it, is refused too", () => {
  const scene = sceneWith("none");
  const before = recorded(scene);
  assert.throws(() => scene.closed.crew.reclaim(scene.dead.thread, "everything"), VIEW_CLOSED);
  assert.deepEqual(recorded(scene), before);
});

test("what only reads still answers, and a second close leaves the number to its next thread", () => {
  const main = PooledAllocator.create({ entries: 256, threads: 2, cache: "fifo" });
  const closed = PooledAllocator.attach(main.handle);
  closed.close();
  const next = PooledAllocator.attach(closed.handle);
  assert.equal(next.thread, closed.thread);
  for (const answer of Object.values(STILL_ANSWER)) answer(closed);
  assert.ok(next.threadsInUse().includes(next.thread));
  assert.ok(next.allocate(1) >= 0);
});
