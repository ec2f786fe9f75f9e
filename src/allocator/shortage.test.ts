/** A thread that finds no space: what it calls in, from whom, and what it says. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Failure, failureOf } from "../units/failure.ts";
import { PooledAllocator } from "./pooled-allocator.ts";

/** The first thread has 48 of 64 entries quarantined. */
function quarantined(): { holder: PooledAllocator; short: PooledAllocator } {
  const holder = PooledAllocator.create({ entries: 64, threads: 3 });
  const short = PooledAllocator.attach(holder.handle);
  const first = holder.allocate(48);
  holder.startFree(first, 48);
  holder.quarantine(first, 48);
  return { holder, short };
}

test("a thread without space asks those whose ranges are quarantined, too (review of 2026-11-30, defect 4)", () => {
  const { holder, short } = quarantined();
  assert.equal(failureOf(short.allocate(40)), "table-full");
  assert.equal(short.statistics().drains, 1);
  assert.equal(
    short.shortage(40),
    "no space for 40 entries: 16 of 64 entries are free, the largest hole has 16; " +
      "cached, waiting or quarantined: thread 0 still holds 48 (drain() there gives them back)",
  );
  assert.ok(holder.allocate(1) >= 0, "its next operation flushes");
  assert.equal(holder.statistics().quarantined, 0);
  assert.ok(short.allocate(40) >= 0);
});

test("a closed thread is not asked: what it could not give back waits for a reclaim", () => {
  const iotlb: { invalidateAll: () => Failure | undefined } = { invalidateAll: () => "platform-busy" };
  const short = PooledAllocator.create({ entries: 64, threads: 2, invalidate: "lazy" }, iotlb);
  const closed = PooledAllocator.attach(short.handle, iotlb);
  const first = closed.allocate(48);
  closed.startFree(first, 48);
  closed.quarantine(first, 48);
  closed.close();
  assert.equal(failureOf(short.allocate(40)), "table-full");
  assert.equal(short.statistics().drains, 0);
  iotlb.invalidateAll = () => undefined;
  short.reclaim(closed.thread, "in-flight");
  assert.ok(short.allocate(40) >= 0);
});
