/**
 * One thread works while a dead thread, not reclaimed yet, holds the lock of a pool. The tests state how long each call waits, by the
 * explorer's clock, which only sleeps advance, and its result.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { PooledAllocator } from "../src/allocator/pooled-allocator.ts";
import { OWNER_UNRESPONSIVE } from "../src/units/failure.ts";
import { allocatorModules } from "./allocator.model.ts";
import { explore } from "./explore.ts";
import { milliseconds, store } from "./memory.ts";

const modules = await allocatorModules();

/** Thread 2 is dead. */
const DEAD = 2;
/** Sleeps last 5 ms, so a wait ends up to 5 ms late. */
const FULL = 2005;
const SHORT = 55;

interface Views {
  readonly one: PooledAllocator;
  readonly other: PooledAllocator;
}

/** Answers of calls, each with the milliseconds that it took, while the dead thread holds pool 0. `prepare` runs before. */
function whileHeld(
  options: { readonly pools: number; readonly cache?: "fifo"; readonly invalidate?: "lazy" },
  prepare: (views: Views) => void,
  calls: readonly ((views: Views) => unknown)[],
): unknown {
  let seen: unknown;
  const report = explore<Views>({
    setup: () => {
      const checked = modules.options.checkOptions({ entries: 256, threads: 3, ...options });
      const crew = modules.crew.createCrewState({ threads: 3 });
      const { handle } = modules.state.createState({ ...checked, cacheLimit: 256 }, crew);
      const iotlb = { invalidateAll: () => undefined };
      const one = modules.allocator.PooledAllocator.attach(handle, iotlb);
      const other = modules.allocator.PooledAllocator.attach(handle, iotlb);
      assert.equal(modules.allocator.PooledAllocator.attach(handle, iotlb).thread, DEAD);
      prepare({ one, other });
      const { words, layout } = modules.state.openState(handle);
      store(words, layout.poolsAt + modules.layout.POOL.lock, DEAD + 1);
      return { one, other };
    },
    threads: [
      (views) =>
        calls.map((call) => {
          const began = milliseconds();
          const answer = call(views);
          return [answer, milliseconds() - began];
        }),
    ],
    check: (_, { threads }) => {
      seen = threads[0]?.value;
    },
    expectsTimeOut: () => true,
  });
  assert.equal(report.first, undefined, report.first?.trace);
  return seen;
}

/** Quarantines `ranges` ranges of one entry. */
function quarantine(allocator: PooledAllocator, ranges: number): void {
  const firsts = Array.from({ length: ranges }, () => allocator.allocate(1));
  for (const first of firsts) {
    allocator.startFree(first, 1);
    allocator.quarantine(first, 1);
  }
}

test("a flush waits once for a pool, for any number of quarantined ranges in it, and reports that some stay (review of 2026-11-30, defect 0)", () => {
  for (const invalidate of [undefined, "lazy"] as const) {
    const options = invalidate === undefined ? { pools: 1 } : { pools: 1, invalidate };
    const answers = whileHeld(options, ({ one }) => quarantine(one, 20), [
      ({ one }) => one.flushIotlb(),
      ({ one }) => one.flushIotlb(),
      ({ one }) => one.drain(),
      ({ one }) => one.invalidateAll(),
      ({ one }) => one.statistics().quarantined,
    ]);
    assert.deepEqual(answers, [
      ["owner-unresponsive", FULL],
      ["owner-unresponsive", SHORT],
      ["owner-unresponsive", SHORT],
      [undefined, 0],
      [20, 0],
    ]);
  }
});

test("a flush returns the quarantined ranges of other pools meanwhile", () => {
  const prepare = ({ one, other }: Views) => {
    quarantine(one, 5);
    const first = other.allocate(3);
    other.free(first, 3);
    const taken = one.allocate(3, { ...modules.constraints.UNCONSTRAINED }, 128);
    one.startFree(taken, 3);
    one.quarantine(taken, 3);
  };
  const answers = whileHeld({ pools: 2 }, prepare, [
    ({ one }) => one.flushIotlb(),
    ({ one }) => one.statistics().quarantined,
  ]);
  assert.deepEqual(answers, [
    ["owner-unresponsive", FULL],
    [5, 0],
  ]);
});

test("a drain waits once for a pool, whatever lengths the cache holds of it", () => {
  const prepare = ({ one }: Views) => {
    const held = Array.from({ length: 8 }, (_, i) => ({ first: one.allocate(i + 1), count: i + 1 }));
    for (const { first, count } of held) one.free(first, count);
  };
  const answers = whileHeld({ pools: 1, cache: "fifo" }, prepare, [({ one }) => one.drain()]);
  assert.deepEqual(answers, [["owner-unresponsive", FULL]]);
});

test("an allocation waits once for its own pool, then uses another one (review of 2026-11-30, defect 6)", () => {
  const answers = whileHeld({ pools: 2 }, () => undefined, [
    ({ one }) => one.allocate(1),
    ({ one }) => one.allocate(1),
    ({ one }) => one.allocate(1, undefined, 0),
  ]);
  assert.deepEqual(answers, [
    [128, FULL],
    [129, SHORT],
    [130, SHORT],
  ]);
});

test("an allocation first drains its own cache to other pools; it fails only if that does not help", () => {
  const prepare = ({ one, other }: Views) => {
    const [first, second] = [other.allocate(2), other.allocate(2)];
    one.free(first, 2);
    one.free(second, 2);
    other.allocate(124);
  };
  const answers = whileHeld({ pools: 2, cache: "fifo" }, prepare, [
    ({ one }) => one.allocate(4),
    ({ one }) => one.allocate(4),
  ]);
  assert.deepEqual(answers, [
    [128, FULL + SHORT],
    [OWNER_UNRESPONSIVE, SHORT],
  ]);
});

test("the recovery of another dead thread waits for the lock once, and shortly", () => {
  const prepare = ({ other }: Views) => {
    const held = Array.from({ length: 8 }, () => other.allocate(1));
    for (const first of held) other.free(first, 1);
  };
  const answers = whileHeld({ pools: 1, cache: "fifo" }, prepare, [
    ({ one, other }) => one.reclaim(other.thread, "everything").length,
  ]);
  assert.deepEqual(answers, [[8, SHORT]]);
});
