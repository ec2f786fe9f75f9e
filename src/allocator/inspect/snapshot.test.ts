import assert from "node:assert/strict";
import { test } from "node:test";
import { range } from "../allocator.model.ts";
import { PooledAllocator } from "../pooled-allocator.ts";

function filled(): PooledAllocator {
  const allocator = PooledAllocator.create({
    entries: 1000,
    pools: 3,
    threads: 3,
    cache: "fifo",
    reserved: [range(7, 9)],
  });
  PooledAllocator.attach(allocator.handle).allocate(100);
  for (let i = 0; i < 20; i++) allocator.allocate(1 + i);
  allocator.free(allocator.allocate(5), 5);
  return allocator;
}

test("a restored table has the same live and reserved ranges, the same owners, and room for the rest", () => {
  const original = filled();
  original.drain();
  const restored = PooledAllocator.restore(original.snapshot());
  assert.deepEqual(restored.leaks(), original.leaks());
  assert.equal(restored.statistics().taken, original.statistics().taken);
  for (const ranges of original.leaks().values())
    for (const { first, end } of ranges) assert.equal(restored.free(first, end - first), 0);
  assert.equal(restored.unreserve(range(7, 9)), undefined);
  assert.equal(restored.allocate(1000), 0);
});

test("bytes without the mark, a snapshot cut or changed at any byte, and one of another version are refused", () => {
  const snapshot = filled().snapshot();
  for (let length = 0; length < snapshot.length; length++) {
    assert.throws(
      () => PooledAllocator.restore(snapshot.slice(0, length)),
      { name: "FormatError" },
      `cut to ${length} bytes`,
    );
  }
  for (let at = 0; at < snapshot.length; at++) {
    const changed = snapshot.slice();
    changed[at] = (changed[at] as number) ^ 0x10;
    assert.throws(() => PooledAllocator.restore(changed), { name: "FormatError" }, `byte ${at} changed`);
  }
  const newer = snapshot.slice();
  newer[8] = 3;
  assert.throws(() => PooledAllocator.restore(newer), { message: /version 3; this library reads version 2/ });
});
