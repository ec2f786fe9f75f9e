/**
 * A range that can neither go back to its pool, whose lock a dead thread holds, nor wait in its thread's queue, which is full: it is
 * quarantined, the caller learns why, and it comes back later.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { tagOf } from "../shared/lock.ts";
import { store } from "../shared/memory.ts";
import { range } from "./allocator.model.ts";
import { UNCONSTRAINED } from "./constraints.ts";
import { POOL, QUEUE_RANGES } from "./layout.ts";
import { PooledAllocator } from "./pooled-allocator.ts";
import { assertSound } from "./soundness.model.ts";
import { openState } from "./state.ts";

const ENTRIES = 2 ** 16;
const iotlb = { invalidateAll: () => undefined };

interface Stuck {
  readonly main: PooledAllocator;
  /** The number of the thread that holds the pool's lock. */
  readonly dead: number;
  readonly pending: number;
  readonly ending: number;
}

/** A thread whose queue is full, in a table of one pool that another thread has locked; waiters have given up on that one before. */
function stuck(): Stuck {
  const main = PooledAllocator.create(
    { entries: ENTRIES, pools: 1, threads: 2, cache: "none", invalidate: "lazy" },
    iotlb,
  );
  const dead = PooledAllocator.attach(main.handle, iotlb).thread;
  assert.equal(main.reserve(range(100, 200)), undefined);
  const pending = main.begin(3, UNCONSTRAINED, -1);
  const ending = main.allocate(4);
  main.startFree(ending, 4);
  for (let i = 0; i < QUEUE_RANGES; i++) assert.equal(main.free(main.allocate(1), 1), 0);
  const { words, layout } = openState(main.handle);
  const givenUp = 1 << 17;
  store(words, layout.poolsAt + POOL.lock, tagOf(dead) | givenUp);
  return { main, dead, pending, ending };
}

/** How each call gives a range back, and how long the range is. */
const CALLS: Readonly<Record<string, readonly [give: (stuck: Stuck) => unknown, count: number]>> = {
  abandon: [({ main, pending }) => main.abandon(pending, 3), 3],
  finishFree: [({ main, ending }) => main.finishFree(ending, 4), 4],
  unreserve: [({ main }) => main.unreserve(range(100, 200)), 100],
};

for (const [name, [give, count]] of Object.entries(CALLS)) {
  test(`${name}: answers why a range could not go back to a locked pool when the queue is full, and loses nothing`, () => {
    const scene = stuck();
    const { main, dead } = scene;
    assert.equal(give(scene), "owner-unresponsive");
    assert.equal(main.statistics().quarantined, count);
    main.reclaim(dead, "everything");
    assert.equal(main.drain(), undefined);
    if (name !== "abandon") main.abandon(scene.pending, 3);
    if (name !== "finishFree") main.finishFree(scene.ending, 4);
    if (name !== "unreserve") main.unreserve(range(100, 200));
    assert.equal(main.drain(), undefined);
    assertSound(openState(main.handle));
    assert.equal(main.reserve(range(0, ENTRIES)), undefined, "every entry can be had");
  });
}
