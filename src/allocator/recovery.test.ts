/**
 * Recovery as its caller sees it. That it is right at every access is the explorer's (explorer) and the kills' to show.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { lock, tagOf } from "../shared/lock.ts";
import { wordsOf } from "../shared/memory.ts";
import type { Failure } from "../units/failure.ts";
import type { EntryRange } from "../units/numbers.ts";
import { range } from "./allocator.model.ts";
import { UNCONSTRAINED } from "./constraints.ts";
import { HEADER, POOL } from "./layout.ts";
import { PooledAllocator } from "./pooled-allocator.ts";

test("in lazy mode a dead thread's freed ranges come back only after a flush", () => {
  let flushes = 0;
  const iotlb = { invalidateAll: (): undefined => void flushes++ };
  const allocator = PooledAllocator.create({ entries: 32, invalidate: "lazy", threads: 2 }, iotlb);
  const dead = PooledAllocator.attach(allocator.handle, iotlb);
  dead.free(dead.allocate(32), 32);
  assert.deepEqual([...allocator.reclaim(dead.thread, "in-flight")], [range(0, 32)]);
  assert.equal(flushes, 1);
  assert.equal(allocator.allocate(32), 0);
});

test("two threads die at once, one with a pool's lock: neither recovery hangs, and nothing is lost", () => {
  const allocator = PooledAllocator.create({ entries: 4096, pools: 1, cache: "fifo", threads: 3 });
  const one = PooledAllocator.attach(allocator.handle);
  const two = PooledAllocator.attach(allocator.handle);
  const held = Array.from({ length: 8 }, () => one.allocate(1));
  for (const first of held) one.free(first, 1);
  lock(wordsOf(allocator.handle.state), HEADER.words + POOL.lock, tagOf(two.thread));
  assert.equal(allocator.reclaim(one.thread, "everything").length, 8);
  allocator.reclaim(two.thread, "everything");
  assert.equal(allocator.allocate(4096), 0, "what had to wait came back");
});

test("a number stays in use while ranges of a dead thread are live, and the list of numbers tells", () => {
  const allocator = PooledAllocator.create({ entries: 64, threads: 2 });
  const dead = PooledAllocator.attach(allocator.handle);
  const first = dead.allocate(3);
  assert.deepEqual(allocator.threadsInUse(), [0, 1]);
  assert.deepEqual([...allocator.reclaim(1, "in-flight")], []);
  assert.throws(() => PooledAllocator.attach(allocator.handle), { code: "no-thread-slot" });
  allocator.free(first, 3);
  assert.deepEqual([...allocator.reclaim(1, "everything")], []);
  assert.deepEqual(allocator.threadsInUse(), [0]);
});

test("reservations outlive their thread, and can be listed and given back", () => {
  const allocator = PooledAllocator.create({ entries: 64, threads: 2 });
  const dead = PooledAllocator.attach(allocator.handle);
  dead.reserve(range(10, 20));
  allocator.reclaim(1, "everything");
  assert.deepEqual([...allocator.reservations()], [[1, [range(10, 20)]]]);
  assert.equal(allocator.unreserve(range(10, 20)), undefined);
  assert.equal(allocator.allocate(64), 0);
});

test("an unknown scope is refused before any range is taken", () => {
  const allocator = PooledAllocator.create({ entries: 64, threads: 2 });
  const dead = PooledAllocator.attach(allocator.handle);
  dead.allocate(3);
  const nonsense = "all" as "everything";
  assert.throws(() => allocator.reclaim(dead.thread, nonsense), {
    code: "invalid-argument",
    message: /scope is "all"/,
  });
  assert.equal(allocator.leaks().get(dead.thread)?.length, 1);
  assert.equal(allocator.reclaim(dead.thread, "everything").length, 1);
});

test("300,000 live ranges of a dead thread come back, and the recovery lock with them (review of 2026-11-30)", () => {
  const ranges = 300_000;
  const allocator = PooledAllocator.create({ entries: 2 * ranges, threads: 3 });
  const dead = PooledAllocator.attach(allocator.handle);
  for (let i = 0; i < ranges; i++) dead.allocate(1);
  const next = PooledAllocator.attach(allocator.handle);
  next.allocate(5);
  assert.equal(allocator.reclaim(dead.thread, "everything").length, ranges);
  assert.equal(allocator.reclaim(next.thread, "everything").length, 1);
  assert.equal(allocator.allocate(2 * ranges), 0);
});

test("a reclaim leaves the counts of cache takes and puts as they were, also where they are folded (review of 2026-11-30, defect 10)", () => {
  for (const pairs of [0, 65_500]) {
    const allocator = PooledAllocator.create({ entries: 1 << 16, cache: "fifo", threads: 2 });
    const dead = PooledAllocator.attach(allocator.handle);
    const held = Array.from({ length: 100 }, () => dead.allocate(1));
    for (let i = 0; i < pairs; i++) {
      dead.free(held[0] as number, 1);
      held[0] = dead.allocate(1);
    }
    for (const first of held) dead.free(first, 1);
    const counts = () => {
      const { cacheTakes, cachePuts, cached } = allocator.statistics();
      return { cacheTakes, cachePuts, cached };
    };
    assert.deepEqual(counts(), { cacheTakes: pairs, cachePuts: pairs + 100, cached: 100 });
    allocator.reclaim(dead.thread, "everything");
    assert.deepEqual(counts(), { cacheTakes: pairs, cachePuts: pairs + 100, cached: 0 });
  }
});

test("a view closed with ranges pending or begun to be freed leaves a dead slot, and reclaim has them (review of 2026-11-30, defect 8)", () => {
  for (const invalidate of ["strict", "lazy"] as const) {
    const iotlb = { invalidateAll: (): undefined => undefined };
    const allocator = PooledAllocator.create({ entries: 256, threads: 2, invalidate }, iotlb);
    const closed = PooledAllocator.attach(allocator.handle, iotlb);
    const first = closed.begin(5, UNCONSTRAINED, -1);
    const ending = closed.allocate(40);
    closed.startFree(ending, 40);
    closed.free(closed.allocate(3), 3);
    closed.close();
    assert.deepEqual(allocator.threadsInUse(), [0, 1]);
    assert.deepEqual([...allocator.reclaim(1, "in-flight")], [range(first, first + 5), range(ending, ending + 40)]);
    assert.deepEqual(allocator.threadsInUse(), [0]);
    assert.equal(allocator.allocate(256), 0);
  }
});

test("a view that is closed while its queue waits for a flush leaves a free slot: the next thread there gives that back", () => {
  const iotlb: { invalidateAll: () => Failure | undefined } = { invalidateAll: () => "platform-busy" };
  const allocator = PooledAllocator.create({ entries: 256, threads: 2, invalidate: "lazy" }, iotlb);
  const closed = PooledAllocator.attach(allocator.handle, iotlb);
  closed.free(closed.allocate(3), 3);
  closed.close();
  assert.deepEqual(allocator.threadsInUse(), [0]);
  iotlb.invalidateAll = () => undefined;
  PooledAllocator.attach(allocator.handle, iotlb).drain();
  assert.equal(allocator.allocate(256), 0);
});

test("ranges of all lengths that lie between others' come back, across pools and in batches, and the others stay", () => {
  const lengths = [1, 2, 3, 70, 5, 700, 9];
  for (const cache of ["none", "fifo"] as const) {
    const allocator = PooledAllocator.create({ entries: 32_768, pools: 4, cache, threads: 3 });
    const dead = PooledAllocator.attach(allocator.handle);
    const other = PooledAllocator.attach(allocator.handle);
    const span = dead.allocate(9000); // longer than a pool
    const held: EntryRange[] = [range(span, span + 9000)];
    const kept: EntryRange[] = [];
    for (let i = 0; ; i++) {
      const count = lengths[i % lengths.length] as number;
      const first = dead.allocate(count);
      if (first < 0) break;
      held.push(range(first, first + count));
      if (i % 3 !== 0) continue;
      const between = other.allocate(1, UNCONSTRAINED, first + count);
      if (between < 0) break;
      kept.push(range(between, between + 1));
    }
    assert.ok(held.length > 200);
    const byFirst = (a: EntryRange, b: EntryRange) => a.first - b.first;
    assert.deepEqual([...allocator.reclaim(dead.thread, "everything")], held.toSorted(byFirst));
    assert.deepEqual(allocator.leaks(), new Map([[other.thread, kept.toSorted(byFirst)]]));
    assert.equal(allocator.statistics().taken, kept.length);
    for (const { first } of kept) other.free(first, 1);
    other.close();
    assert.equal(allocator.allocate(32_768), 0);
  }
});

test("many ranges in a pool that a second dead thread has locked are quarantined, and come back when the pool is open", () => {
  const allocator = PooledAllocator.create({ entries: 4096, pools: 2, cache: "none", threads: 4 });
  const [one, two] = [PooledAllocator.attach(allocator.handle), PooledAllocator.attach(allocator.handle)];
  const ranges = 300;
  for (let i = 0; i < ranges; i++) one.allocate(1, UNCONSTRAINED, 7 * i);
  lock(wordsOf(allocator.handle.state), HEADER.words + POOL.lock, tagOf(two.thread));
  assert.equal(allocator.reclaim(one.thread, "everything").length, ranges);
  // 2048 / 7 entries of the first pool.
  assert.equal(allocator.statistics().quarantined, 293);
  allocator.reclaim(two.thread, "everything");
  assert.equal(allocator.flushIotlb(), undefined);
  assert.equal(allocator.allocate(4096), 0);
});
