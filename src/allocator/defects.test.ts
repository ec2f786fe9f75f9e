/**
 * One regression test for each known defect of the allocators that came before, named as in the list of the specification,
 * section 8. Each says what they did, and shows that ours does not.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Failure, failureOf, PLATFORM_BUSY } from "../units/failure.ts";
import { UNCONSTRAINED } from "./constraints.ts";
import { PooledAllocator } from "./pooled-allocator.ts";
import { randomFrom } from "./random.model.ts";

/** Counts its flushes; `failing` makes them fail. */
class Iotlb {
  flushes = 0;
  failing: Failure | undefined;
  invalidateAll(): Failure | undefined {
    this.flushes++;
    return this.failing;
  }
}

/** Takes single entries until none is left. */
function takeAll(allocator: PooledAllocator): number[] {
  const taken: number[] = [];
  for (let first = allocator.allocate(1); first >= 0; first = allocator.allocate(1)) taken.push(first);
  return taken;
}

test("defect 1, the last entries of every pool are never used: every entry can be had, and a whole pool at once", () => {
  for (const pools of [1, 2, 3, 5, 16]) {
    const allocator = PooledAllocator.create({ entries: 1000, pools, largePool: false });
    for (const pool of allocator.statistics().pools) {
      const count = pool.end - pool.first;
      const first = allocator.allocate(count, UNCONSTRAINED, pool.first);
      assert.equal(first, pool.first, `a whole pool of ${count} entries`);
    }
    assert.equal(allocator.allocate(1), -1);
  }
  assert.equal(new Set(takeAll(PooledAllocator.create({ entries: 1000, pools: 7 }))).size, 1000);
});

test("defect 2, a pool count that is no power of two leaves pools unused as first choice: every pool is some thread's own", () => {
  const first = PooledAllocator.create({ entries: 9 * 64, pools: 9, largePool: false, threads: 9 });
  const threads = [first, ...Array.from({ length: 8 }, () => PooledAllocator.attach(first.handle))];
  const poolOf = (entry: number): number => first.statistics().pools.findIndex((pool) => entry < pool.end);
  assert.equal(new Set(threads.map((thread) => poolOf(thread.allocate(1)))).size, 9);
});

test("defect 3, the tail n mod npools is lost, and freeing there crashes: the tail is allocated and freed", () => {
  const allocator = PooledAllocator.create({ entries: 1003, pools: 4, largePool: false });
  const all = takeAll(allocator);
  assert.equal(Math.max(...all), 1002);
  for (const entry of all) assert.equal(allocator.free(entry, 1), 0);
  assert.equal(allocator.statistics().taken, 0);
});

test("defect 4, a request longer than the boundary loops for ever: it fails at once and says why", () => {
  const allocator = PooledAllocator.create({ entries: 1000 });
  assert.equal(failureOf(allocator.allocate(17, { ...UNCONSTRAINED, boundaryPages: 16 })), "longer-than-boundary");
  assert.equal(allocator.statistics().searches, 0, "nothing was searched");
  // Just fits, but only where the base allows it.
  const first = allocator.allocate(16, { ...UNCONSTRAINED, boundaryPages: 16, basePage: 5 });
  assert.equal((first + 5) % 16, 0);
});

test("defect 5, pools share bitmap words under different locks: every pool starts on a word of its own", () => {
  for (const entries of [100, 1000, 1001, 4097]) {
    for (const pools of [1, 3, 7, 16, 31]) {
      const allocator = PooledAllocator.create({ entries, pools });
      const { pools: parts } = allocator.statistics();
      for (const pool of parts) assert.equal(pool.first % 32, 0);
      assert.deepEqual(
        parts.map((pool) => pool.first),
        [0, ...parts.slice(0, -1).map((pool) => pool.end)],
        "no gap",
      );
      assert.equal(parts[parts.length - 1]?.end, entries);
    }
  }
});

test("defect 6, the mask path allocates outside of the locked pool, and a mask below the table underflows: it does neither", () => {
  const allocator = PooledAllocator.create({ entries: 4096, pools: 4, threads: 4 });
  const other = PooledAllocator.attach(allocator.handle);
  const constraints = { ...UNCONSTRAINED, limit: 100 };
  const taken: number[] = [];
  for (let first = other.allocate(1, constraints); first >= 0; first = other.allocate(1, constraints))
    taken.push(first);
  assert.deepEqual(
    taken.sort((a, b) => a - b),
    Array.from({ length: 100 }, (_, entry) => entry),
    "all below the mask, and nothing else",
  );
  const locked = allocator.statistics().pools.map((pool) => pool.lockAcquisitions);
  assert.deepEqual(locked.slice(1), [0, 0, 0], "only the pool that the mask leaves was locked");
  for (const limit of [0, -1, -(2 ** 40)]) {
    assert.equal(failureOf(allocator.allocate(1, { ...UNCONSTRAINED, limit })), "mask-too-low");
  }
});

test("defect 7, one need-flush flag under many locks allows reuse before the flush: a range waits for a flush that began after its free", () => {
  const iotlb = new Iotlb();
  const one = PooledAllocator.create(
    { entries: 4096, pools: 2, largePool: false, threads: 2, invalidate: "lazy", cache: "fifo" },
    iotlb,
  );
  const two = PooledAllocator.attach(one.handle, {
    // A flush of thread two is under way when thread one frees: it may have passed the entry already.
    invalidateAll: () => {
      one.free(first, 4);
      return undefined;
    },
  });
  const first = one.allocate(4);
  two.flushIotlb();
  assert.notEqual(one.allocate(4), first, "that flush does not count");
  one.flushIotlb();
  assert.equal(one.allocate(4), first, "this one does");
});

test("defect 8, an O(n) scan and a flush under the lock: a full pool is passed by in no step, and flushes run outside of locks", () => {
  const entries = 1 << 20;
  const allocator = PooledAllocator.create({ entries, pools: 1, largePool: false });
  takeAll(allocator);
  const before = allocator.statistics();
  for (let i = 0; i < 1000; i++) assert.equal(allocator.allocate(1), -1);
  const after = allocator.statistics();
  assert.ok(
    after.searchSteps - before.searchSteps < 2 * (entries / 1024),
    `${after.searchSteps - before.searchSteps} steps for 1000 failing requests`,
  );
  // One hole in each 64 entries, requests for two: every block is known to be too full after one look.
  for (let entry = 0; entry < entries; entry += 64) allocator.free(entry, 1);
  allocator.allocate(2);
  const holes = allocator.statistics().searchSteps;
  for (let i = 0; i < 1000; i++) assert.equal(allocator.allocate(2), -1);
  assert.ok(allocator.statistics().searchSteps - holes < 2 * (entries / 1024));
});

test("defect 8, continued: no pool is locked while the IOTLB is flushed", () => {
  const held: number[] = [];
  const iotlb = {
    invalidateAll: (): undefined => {
      // Another thread can take entries from every pool at this moment.
      held.push(other.allocate(1), other.allocate(100));
      return undefined;
    },
  };
  const allocator = PooledAllocator.create({ entries: 4096, threads: 2, cache: "none", invalidate: "lazy" }, iotlb);
  const other = PooledAllocator.attach(allocator.handle, new Iotlb());
  for (let i = 0; i < 2000; i++) allocator.free(allocator.allocate(1 + (i % 3)), 1 + (i % 3));
  assert.ok(held.length > 0 && held.every((first) => first >= 0));
});

test("defect 9, many pools fragment a small window while the large pool is empty: requests fall back in all directions", () => {
  const allocator = PooledAllocator.create({ entries: 1024, pools: 16, largePool: true });
  assert.equal(takeAll(allocator).length, 1024, "small requests use the large pool too");
  const fresh = PooledAllocator.create({ entries: 1024, pools: 16, largePool: true });
  const long: number[] = [];
  for (let first = fresh.allocate(48); first >= 0; first = fresh.allocate(48)) long.push(first);
  const room = fresh.statistics().pools.reduce((sum, pool) => sum + Math.floor((pool.end - pool.first) / 48), 0);
  assert.ok(long.length >= room, "long requests use the small pools too");
  assert.ok(fresh.statistics().largestHole < 48, "and what is free across the borders of pools");
  assert.ok(
    PooledAllocator.create({ entries: 1024, pools: 16 }).allocate(1000) >= 0,
    "and a span of many, if it must be",
  );
});

test("defect 10, no detection of double free or wrong length: both are errors", () => {
  for (const cache of ["none", "fifo"] as const) {
    const allocator = PooledAllocator.create({ entries: 65536, cache, threads: 1 });
    const first = allocator.allocate(4);
    assert.throws(() => allocator.free(first, 3), { code: "wrong-length" });
    allocator.free(first, 4);
    assert.throws(() => allocator.free(first, 4), { code: "not-allocated" });
  }
});

test("defect 23, sizes over a limit are never cached: every length from 1 to 16 comes back from the cache, longer ones take one lock", () => {
  const allocator = PooledAllocator.create({ entries: 1 << 20, cache: "fifo" });
  for (let count = 1; count <= 16; count++) allocator.free(allocator.allocate(count), count);
  const before = allocator.statistics();
  for (let count = 1; count <= 16; count++) allocator.free(allocator.allocate(count), count);
  assert.equal(allocator.statistics().lockAcquisitions, before.lockAcquisitions);
  assert.equal(allocator.statistics().cacheTakes - before.cacheTakes, 16);
  allocator.free(allocator.allocate(64), 64);
  assert.equal(
    allocator.statistics().lockAcquisitions,
    before.lockAcquisitions + 2,
    "documented: over 16 entries there is no cache",
  );
});

test("defect 24, cached ranges grow without bound and fragment the space: a bounded cache of exact sizes", () => {
  const allocator = PooledAllocator.create({ entries: 1 << 16, cache: "fifo", threads: 2 });
  const random = randomFrom(24);
  let most = 0;
  for (let i = 0; i < 300; i++) {
    const counts = Array.from({ length: 300 }, () => 1 + random(16));
    const firsts = counts.map((count) => allocator.allocate(count));
    for (const [k, first] of firsts.entries()) if (first >= 0) allocator.free(first, counts[k] as number);
    most = Math.max(most, allocator.statistics().cached);
  }
  assert.ok(most > 0 && most <= (1 << 16) / 4 / 2, `${most} entries were cached at most`);
  allocator.drain();
  assert.equal(allocator.allocate(1 << 16), 0, "nothing stays fragmented");
});

test("defect 25, a 32-bit-first search that ages: a failed request leaves no mark that makes a later, possible one fail", () => {
  const allocator = PooledAllocator.create({ entries: 1024, pools: 1, largePool: false });
  const low = { ...UNCONSTRAINED, limit: 512 };
  const first = allocator.allocate(512, low);
  assert.equal(failureOf(allocator.allocate(64, low)), "table-full");
  assert.ok(allocator.allocate(64) >= 0, "above the limit there was space all the time");
  allocator.free(first, 512);
  assert.equal(allocator.allocate(64, low) < 448, true);
});

test("defect 26, only some CPUs' caches are flushed on exhaustion: every attached thread that holds entries is asked", () => {
  const allocator = PooledAllocator.create({ entries: 1 << 14, cache: "fifo", threads: 4 });
  const others = Array.from({ length: 3 }, () => PooledAllocator.attach(allocator.handle));
  for (const other of others) other.free(other.allocate(2), 2);
  assert.equal(failureOf(allocator.allocate(1 << 14)), "table-full");
  for (const other of others) other.allocate(1);
  assert.equal(allocator.statistics().cached, 0, "each gave its cache back at its next operation");
});

test("defect 27, lazy flush by wrap-around: an entry ahead of the hint is not reused before a flush", () => {
  for (const cache of ["none", "fifo"] as const) {
    const iotlb = new Iotlb();
    const allocator = PooledAllocator.create(
      { entries: 64, pools: 1, largePool: false, threads: 1, invalidate: "lazy", cache },
      iotlb,
    );
    const ahead = allocator.allocate(1, UNCONSTRAINED, 40);
    allocator.allocate(1, UNCONSTRAINED, 10);
    allocator.free(ahead, 1);
    const seen: number[] = [];
    while (iotlb.flushes === 0) {
      const first = allocator.allocate(1);
      if (iotlb.flushes === 0) seen.push(first);
    }
    assert.equal(seen.includes(ahead), false, "the hint has passed it by");
    assert.equal(seen.length, 62, "and nothing else was kept back");
  }
});

test("a failed invalidation keeps the range out of use until a flush succeeds", () => {
  const iotlb = new Iotlb();
  const allocator = PooledAllocator.create(
    { entries: 64, pools: 1, largePool: false, threads: 1, invalidate: "lazy" },
    iotlb,
  );
  allocator.free(allocator.allocate(10), 10);
  iotlb.failing = "platform-busy";
  assert.equal(allocator.drain(), "platform-busy");
  assert.equal(failureOf(allocator.allocate(64)), "table-full");
  iotlb.failing = undefined;
  assert.equal(allocator.allocate(64), 0);
});

test("a queue that is full while flushes fail quarantines, loses nothing, and recovers with the first flush that succeeds", () => {
  const iotlb = new Iotlb();
  const allocator = PooledAllocator.create(
    { entries: 4096, pools: 1, largePool: false, threads: 1, cache: "none", invalidate: "lazy" },
    iotlb,
  );
  const firsts = Array.from({ length: 1000 }, () => allocator.allocate(2));
  iotlb.failing = "platform-busy";
  const answers = firsts.map((first) => allocator.free(first, 2));
  const { quarantined, waiting } = allocator.statistics();
  assert.equal(quarantined + waiting, 2000);
  assert.ok(quarantined > 0);
  const failed = answers.filter((answer) => answer !== 0);
  assert.deepEqual(failed, new Array(quarantined / 2).fill(PLATFORM_BUSY), "each free that quarantined says so");
  iotlb.failing = undefined;
  assert.equal(allocator.drain(), undefined);
  assert.equal(allocator.allocate(4096), 0);
});

test("the queue of a thread is bounded by the size of the table, so that two threads can't fill a small one with freed ranges", () => {
  for (const entries of [512, 4096, 1 << 20]) {
    const allocator = PooledAllocator.create({ entries, threads: 1, cache: "none", invalidate: "lazy" }, new Iotlb());
    let most = 0;
    for (let i = 0; i < 5000; i++) {
      allocator.free(allocator.allocate(3), 3);
      most = Math.max(most, allocator.statistics().waiting);
      if (entries > 4096 && i > 600) break;
    }
    assert.ok(most <= Math.max(16, entries / 16) + 3, `${most} of ${entries} entries waited`);
    assert.ok(most >= 16);
  }
});

test("a range of 30 entries beside a free one joins it, and the whole run can be taken", () => {
  // Found by reading: with both neighbours, the mask for 30 entries needed 32 bits, which a shift by 32 does not give.
  const allocator = PooledAllocator.create({ entries: 1024, pools: 1, threads: 1 });
  for (const count of [1, 30, 993]) allocator.allocate(count);
  assert.equal(allocator.allocate(1), -1);
  allocator.free(0, 1);
  allocator.free(1, 30);
  assert.equal(allocator.allocate(31), 0);
});

for (const cache of ["none", "fifo"] as const) {
  test(`what a closing thread can't give back while flushes fail, its number's next thread gives back: cache ${cache}`, () => {
    const iotlb = new Iotlb();
    const first = PooledAllocator.create({ entries: 64, cache, invalidate: "lazy", threads: 2 }, iotlb);
    const closing = PooledAllocator.attach(first.handle, iotlb);
    const entry = closing.allocate(4);
    closing.free(entry, 4);
    iotlb.failing = "platform-busy";
    closing.close();
    assert.equal(first.statistics().taken, 4, "the IOTLB may still know them");
    iotlb.failing = undefined;
    const next = PooledAllocator.attach(first.handle, iotlb);
    assert.equal(next.thread, closing.thread);
    assert.equal(next.drain(), undefined);
    assert.equal(first.statistics().taken, 0);
  });
}
