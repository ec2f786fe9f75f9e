/** What users reach for beside allocate and free: a free without a length, the live ranges, lowest first, and waiting for space. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { Crew } from "../crew/crew.ts";
import { createShared, load, notify, store, waitWhile, wordsOf } from "../shared/memory.ts";
import { failureOf } from "../units/failure.ts";
import { range } from "./allocator.model.ts";
import { type AreaConstraints, UNCONSTRAINED } from "./constraints.ts";
import { PooledAllocator } from "./pooled-allocator.ts";
import { randomFrom } from "./random.model.ts";
import { assertSound } from "./soundness.model.ts";
import { openState } from "./state.ts";

test("free without a length gives the whole range back, short or long", () => {
  const allocator = PooledAllocator.create({ entries: 4096, pools: 2, cache: "fifo", threads: 1 });
  for (const count of [1, 5, 30, 31, 500, 3000]) {
    assert.equal(allocator.free(allocator.allocate(count)), 0);
  }
  assert.equal(allocator.drain(), undefined);
  assert.equal(allocator.statistics().taken, 0);
});

test("free without a length refuses what begins no live range, and names a failure that was not looked at", () => {
  const allocator = PooledAllocator.create({ entries: 64, threads: 2 });
  const first = allocator.allocate(8);
  for (const wrong of [first + 1, 40]) assert.throws(() => allocator.free(wrong), { code: "not-allocated" });
  for (const wrong of [64, 1.5, Number.NaN]) assert.throws(() => allocator.free(wrong), { code: "out-of-range" });
  assert.throws(() => allocator.free(-1), {
    code: "out-of-range",
    message: "free of -1: the failure table-full, no entry",
  });
  assert.equal(allocator.free(first), 0);
  assert.throws(() => allocator.free(first), { code: "not-allocated" });
});

test("live() names every live range in ascending order, with its owner, and nothing else", () => {
  const main = PooledAllocator.create({ entries: 4096, pools: 2, cache: "fifo", threads: 2, reserved: [range(0, 1)] });
  const other = PooledAllocator.attach(main.handle);
  const long = main.allocate(100);
  const short = other.allocate(3);
  main.free(main.allocate(2));
  main.begin(7, UNCONSTRAINED, -1);
  assert.deepEqual(
    [...main.live()],
    [
      { first: long, end: long + 100, owner: 0 },
      { first: short, end: short + 3, owner: 1 },
    ].sort((a, b) => a.first - b.first),
  );
  for (const { first } of main.live()) assert.equal(main.free(first), 0);
  assert.deepEqual([...main.live()], []);
});

/** By the definition, entry by entry: the lowest place where `count` free entries lie; -1: none. */
function lowestOf(taken: Uint8Array, count: number, { alignmentPages, boundaryPages, limit }: AreaConstraints): number {
  for (let first = 0; first + count <= Math.min(taken.length, limit); first += alignmentPages) {
    const isFree = taken.subarray(first, first + count).every((bit) => bit === 0);
    const isCut =
      boundaryPages > 0 && Math.floor(first / boundaryPages) !== Math.floor((first + count - 1) / boundaryPages);
    if (isFree && !isCut) return first;
  }
  return -1;
}

test("order lowest: the lowest free range that fits, for random tables, limits and histories", (t) => {
  const seed = Number(process.env["SEED"] ?? Date.now() % 1e9);
  t.diagnostic(`seed ${seed}`);
  const random = randomFrom(seed);
  for (let round = 0; round < 60; round++) {
    const entries = 32 + random(400);
    const allocator = PooledAllocator.create({
      entries,
      pools: 1 + random(6),
      largePool: random(2) === 0,
      threads: 1,
      cache: "none",
    });
    const taken = new Uint8Array(entries);
    for (let step = 0; step < 120; step++) {
      const live = [...allocator.live()];
      const victim = live[random(live.length * 2)];
      if (victim !== undefined) {
        allocator.free(victim.first);
        taken.fill(0, victim.first, victim.end);
        continue;
      }
      const count = 1 + random(random(4) === 0 ? 80 : 8);
      const limits = {
        limit: entries - random(9),
        alignmentPages: 2 ** random(3),
        boundaryPages: random(2) * 128,
        basePage: 0,
      };
      const constraints = random(2) === 0 ? UNCONSTRAINED : limits;
      const found = allocator.allocateWith(count, { order: "lowest", constraints });
      const expected = lowestOf(taken, count, constraints);
      assert.equal(found < 0 ? -1 : found, expected, `seed ${seed}, round ${round}, step ${step}: ${count} entries`);
      if (found >= 0) taken.fill(1, found, found + count);
    }
    assertSound(openState(allocator.handle));
  }
});

test("allocateWith refuses unknown options and values out of range", () => {
  const allocator = PooledAllocator.create({ entries: 64 });
  const refused: readonly (readonly [object, RegExp])[] = [
    [{ ordre: "lowest" }, /^option of an allocation is "ordre".*did you mean order\?/],
    [{ order: "highest" }, /^order is "highest"; expected next or lowest/],
    [{ waitMilliseconds: -1 }, /^milliseconds to wait for entries is -1/],
    [{ after: 0.5 }, /^entry after which to allocate is 0.5/],
  ];
  for (const [options, message] of refused) assert.throws(() => allocator.allocateWith(1, options), { message });
  assert.throws(() => allocator.allocateWith(0, { order: "lowest" }), { code: "invalid-argument" });
  assert.equal(
    failureOf(allocator.allocateWith(65, { order: "lowest", waitMilliseconds: 600_000 })),
    "longer-than-table",
  );
});

test("waitMilliseconds: a full table is tried again until another thread frees", async () => {
  const allocator = PooledAllocator.create({ entries: 64, threads: 2 });
  const first = allocator.allocate(64);
  const signal = createShared(4);
  const worker = new Worker(new URL("./freeing.test.worker.js", import.meta.url), {
    workerData: { handle: allocator.handle, signal, first },
  });
  const ended = new Promise((resolve) => worker.once("exit", resolve));
  const words = wordsOf(signal);
  while (load(words, 0) === 0) waitWhile(words, 0, 0, 1000);
  assert.equal(failureOf(allocator.allocateWith(8, { waitMilliseconds: 1 })), "table-full");
  store(words, 0, 2);
  notify(words, 0, 1);
  assert.ok(allocator.allocateWith(8, { waitMilliseconds: 600_000 }) >= 0);
  await ended;
});

test("attach takes a crew without an invalidator before it, and the thread has its number of that crew", () => {
  const crew = Crew.create({ threads: 3 });
  const { handle } = PooledAllocator.create({ entries: 64, crew });
  const seat = crew.addThread();
  const attached = PooledAllocator.attach(handle, Crew.attach(seat));
  attached.allocate(4);
  assert.deepEqual([...attached.leaks().keys()], [seat.thread]);
});
