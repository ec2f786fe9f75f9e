/** Exactly the range that was asked for: taken whole or not at all, from any pool, with a name for who has it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { failureCode } from "../units/failure.ts";
import { type AllocatorModel, range, realAndModel } from "./allocator.model.ts";
import { UNCONSTRAINED } from "./constraints.ts";
import { PooledAllocator } from "./pooled-allocator.ts";
import { assertSound } from "./soundness.model.ts";
import { openState } from "./state.ts";

const seed = Date.now() & 0x7fffffff;
const IN_USE = failureCode("in-use");

interface Command {
  readonly what: "allocate" | "allocateAt" | "beginAt" | "free" | "reserve";
  readonly first: number;
  readonly count: number;
}

/** One command on both. Frees the range of the model that `first` chooses. */
function play(real: PooledAllocator, model: AllocatorModel, { what, first, count }: Command): void {
  const isFree = first + count <= real.entries && !model.taken.slice(first, first + count).includes(true);
  const where = `${what} of [${first}, ${first + count})`;
  if (what === "free") {
    const [start, length] = [...model.live][first % Math.max(1, model.live.size)] ?? [];
    if (start === undefined || length === undefined) return;
    assert.equal(real.free(start, length), 0, where);
    model.free(start, length);
  } else if (what === "allocate") {
    // The addresses of other requests are not the model's after an exact one: only that they are free.
    const found = real.allocate(count);
    if (found < 0) return;
    assert.ok(!model.taken.slice(found, found + count).includes(true), where);
    model.taken.fill(true, found, found + count);
    model.live.set(found, count);
  } else if (first + count > real.entries) {
    const act = () => (what === "reserve" ? real.reserve(range(first, first + count)) : real[what](first, count));
    assert.throws(act, { name: "InvalidArgumentError" }, where);
  } else if (what === "reserve") {
    assert.equal(real.reserve(range(first, first + count)), model.reserve(first, first + count) ? undefined : "in-use");
  } else {
    assert.equal(real[what](first, count), isFree ? first : IN_USE, where);
    if (!isFree) return;
    if (what === "beginAt") real.commit(first, count);
    model.taken.fill(true, first, first + count);
    model.live.set(first, count);
  }
}

test("random commands: an exact range is taken exactly if a plain model says that it is free", (t) => {
  t.diagnostic(`seed ${seed}`);
  const command = fc.record({
    what: fc.constantFrom<Command["what"]>(
      "allocate",
      "allocateAt",
      "allocateAt",
      "beginAt",
      "free",
      "free",
      "reserve",
    ),
    first: fc.integer({ min: 0, max: 300 }),
    count: fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 200 })),
  });
  const options = fc.constantFrom(
    { entries: 300, pools: 1 },
    { entries: 300, pools: 4 },
    { entries: 300, pools: 2, largePool: true },
    { entries: 300, pools: 4, cache: "fifo" as const },
  );
  fc.assert(
    fc.property(options, fc.array(command, { maxLength: 60 }), (chosen, commands) => {
      const { real, model } = realAndModel(chosen);
      for (const one of commands) play(real, model, one);
      assertSound(openState(real.handle));
      for (let entry = 0; entry < real.entries; entry++) {
        const holder = real.holderOf(range(entry, entry + 1));
        const isHeld = holder !== undefined && holder.state !== "cached";
        assert.equal(isHeld, model.taken[entry], `entry ${entry}`);
        assert.ok(holder === undefined || (holder.first <= entry && entry < holder.end));
      }
    }),
    { seed, numRuns: 300 },
  );
});

test("a range of every length may lie across the borders of pools, and comes back whole", () => {
  const allocator = PooledAllocator.create({ entries: 4096, pools: 4, threads: 1, cache: "none" });
  for (const [first, count] of [
    [0, 4096],
    [1, 4095],
    [1000, 2000],
    [1023, 2],
    [4095, 1],
  ] as const) {
    assert.equal(allocator.beginAt(first, count), first);
    assert.deepEqual(allocator.holderOf(range(0, 4096)), { first, end: first + count, owner: 0, state: "pending" });
    allocator.commit(first, count);
    assert.equal(allocator.free(first, count), 0);
    assert.equal(allocator.statistics().taken, 0);
  }
});

test("`holderOf` says which range is in the way, in which state and whose; a failed call changes nothing", () => {
  const allocator = PooledAllocator.create({ entries: 256, pools: 1, threads: 2, cache: "none" });
  const other = PooledAllocator.attach(allocator.handle);
  assert.equal(other.allocateAt(100, 30), 100);
  assert.equal(allocator.reserve(range(10, 12)), undefined);
  assert.equal(other.beginAt(50, 5), 50);
  assert.equal(other.allocateAt(60, 40), 60);
  other.startFree(60, 40);
  const { taken } = allocator.statistics();
  const asked = (first: number, count: number) => {
    const answer = allocator.beginAt(first, count);
    return answer === IN_USE ? allocator.holderOf(range(first, first + count)) : answer;
  };
  assert.deepEqual(asked(99, 1), { first: 60, end: 100, owner: 1, state: "ending" });
  assert.deepEqual(asked(129, 10), { first: 100, end: 130, owner: 1, state: "live" });
  assert.deepEqual(asked(0, 200), { first: 10, end: 12, owner: 0, state: "reserved" });
  assert.deepEqual(asked(12, 50), { first: 50, end: 55, owner: 1, state: "pending" });
  assert.equal(allocator.holderOf(range(130, 256)), undefined);
  assert.equal(allocator.holderOf(range(0, 10)), undefined);
  assert.equal(allocator.statistics().taken, taken);
  other.quarantine(60, 40);
  assert.deepEqual(allocator.holderOf(range(70, 71)), { first: 60, end: 100, owner: 1, state: "quarantined" });
});

test("cached ranges in the way are called in: the thread's own at once, another's when it makes its next call", () => {
  const allocator = PooledAllocator.create({ entries: 65536, pools: 1, threads: 2, cache: "fifo" });
  const other = PooledAllocator.attach(allocator.handle);
  assert.equal(allocator.free(allocator.allocate(4), 4), 0);
  assert.equal(allocator.holderOf(range(0, 4))?.state, "cached");
  assert.equal(allocator.beginAt(0, 8), 0);
  allocator.commit(0, 8);
  const theirs = other.allocate(4);
  assert.equal(other.free(theirs, 4), 0);
  assert.equal(allocator.beginAt(theirs, 2), IN_USE, "the other thread is idle");
  const { first, end, owner, state } = allocator.holderOf(range(theirs, theirs + 2)) ?? {};
  assert.deepEqual([first, end, owner, state], [theirs, theirs + 4, 1, "cached"]);
  const kept = other.allocate(1);
  assert.equal(allocator.beginAt(theirs + 2, 2), theirs + 2, "its next call has returned what it kept");
  assert.equal(other.free(kept, 1), 0);
  allocator.abandon(theirs + 2, 2);
});

test("what the thread itself keeps is returned first: if that is all that is in the way, no other thread is asked", () => {
  const allocator = PooledAllocator.create({ entries: 65536, pools: 1, threads: 2, cache: "fifo" });
  const other = PooledAllocator.attach(allocator.handle);
  const theirs = other.allocate(4);
  const own = allocator.allocate(2);
  assert.equal(other.free(theirs, 4), 0);
  assert.equal(allocator.free(own, 2), 0);
  assert.equal(allocator.beginAt(own, 2), own);
  assert.equal(other.free(other.allocate(1), 1), 0);
  assert.equal(allocator.holderOf(range(theirs, theirs + 4))?.state, "cached");
});

test("a range in use is refused without calling caches in, which keep their ranges", () => {
  const allocator = PooledAllocator.create({ entries: 65536, pools: 1, threads: 1, cache: "fifo" });
  assert.equal(allocator.allocateAt(100, 10), 100);
  assert.equal(allocator.free(allocator.allocate(4), 4), 0);
  assert.equal(allocator.allocateAt(105, 10), IN_USE);
  assert.equal(allocator.holderOf(range(0, 4))?.state, "cached");
});

test("a range that waits for a flush is flushed when it is in the way", () => {
  let flushes = 0;
  const invalidator = { invalidateAll: () => void flushes++ };
  const allocator = PooledAllocator.create({ entries: 256, threads: 1, invalidate: "lazy" }, invalidator as never);
  assert.equal(allocator.allocateAt(10, 20), 10);
  assert.equal(allocator.free(10, 20), 0);
  assert.deepEqual([flushes, allocator.holderOf(range(15, 16))?.state], [0, "ending"]);
  assert.equal(allocator.allocateAt(29, 5), 29);
  assert.equal(flushes, 1);
});

test("a dead thread's pending exact range comes back", () => {
  const allocator = PooledAllocator.create({ entries: 256, threads: 2 });
  const dead = PooledAllocator.attach(allocator.handle);
  assert.equal(dead.beginAt(30, 100), 30);
  assert.deepEqual([...allocator.reclaim(dead.thread, "in-flight")], [range(30, 130)]);
  assert.equal(allocator.beginAt(0, 256), 0);
});

test("a range outside of the table, and numbers of a wrong type, are refused with the mistake", () => {
  const allocator = PooledAllocator.create({ entries: 256, threads: 1 });
  const refused = (act: () => unknown, message: string): void =>
    assert.throws(act, { name: "InvalidArgumentError", message });
  refused(() => allocator.allocateAt(256, 1), "first entry to allocate is 256; expected an integer from 0 to 255");
  refused(() => allocator.beginAt(-1, 1), "first entry to allocate is -1; expected an integer from 0 to 255");
  refused(() => allocator.beginAt(0.5, 1), "first entry to allocate is 0.5; expected an integer from 0 to 255");
  refused(() => allocator.beginAt(1n as never, 1), "first entry to allocate is 1n; expected an integer from 0 to 255");
  refused(() => allocator.beginAt(250, 7), "count is 7; expected an integer from 1 to 6");
  refused(() => allocator.beginAt(250, 0), "count is 0; expected an integer from 1 to 6");
  refused(
    () => allocator.holderOf(range(250, 257)),
    "range is [250, 257); expected a range of entries inside [0, 256)",
  );
  assert.equal(allocator.statistics().taken, 0);
  assert.equal(allocator.begin(1, UNCONSTRAINED, -1), 0);
});
