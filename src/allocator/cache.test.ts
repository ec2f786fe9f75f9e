/** What a thread's cache answers: only ranges that the request may have. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { UNCONSTRAINED } from "./constraints.ts";
import { PooledAllocator } from "./pooled-allocator.ts";
import { randomFrom } from "./random.model.ts";

test("a cached range is no answer to a request that is longer than its boundary (review of 2026-11-30, defect 1)", () => {
  const allocator = PooledAllocator.create({ entries: 1024, cache: "fifo", threads: 1 });
  const constraints = { ...UNCONSTRAINED, boundaryPages: 2 };
  assert.equal(allocator.allocate(3, constraints), -3, "longer-than-boundary, by the pools");
  assert.equal(allocator.free(allocator.allocate(3), 3), 0);
  assert.equal(allocator.allocate(3, constraints), -3, "longer-than-boundary, with [0, 3) in the cache");
  assert.equal(allocator.allocate(3), 0, "it is still in the cache");
});

test("whatever the cache holds, limit, alignment and boundary are kept, by their definition", (t) => {
  const seed = Number(process.env["SEED"] ?? Date.now() % 1e9);
  t.diagnostic(`seed ${seed}`);
  const random = randomFrom(seed);
  const allocator = PooledAllocator.create({ entries: 2048, cache: "fifo", threads: 1 });
  for (let step = 0; step < 20_000; step++) {
    const count = 1 + random(16);
    const constraints = {
      limit: random(3) === 0 ? random(2048) : 2048,
      alignmentPages: 2 ** random(4),
      boundaryPages: random(3) === 0 ? 0 : 2 ** random(6),
      basePage: random(64),
    };
    const first = allocator.allocate(count, constraints);
    if (first < 0) continue;
    const { alignmentPages, basePage, boundaryPages, limit } = constraints;
    const where = `seed ${seed}, step ${step}: [${first}, ${first + count}) of ${JSON.stringify(constraints)}`;
    assert.ok(first + count <= limit && (basePage + first) % alignmentPages === 0, where);
    for (let page = basePage + first + 1; boundaryPages > 0 && page < basePage + first + count; page++) {
      assert.notEqual(page % boundaryPages, 0, where);
    }
    assert.equal(allocator.free(first, count), 0);
    if (random(4) === 0) {
      const plain = 1 + random(16);
      const other = allocator.allocate(plain, UNCONSTRAINED, random(2048));
      if (other >= 0) assert.equal(allocator.free(other, plain), 0);
    }
  }
  assert.ok(allocator.statistics().cacheTakes > 1000, "the cache was asked");
});
