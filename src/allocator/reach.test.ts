/**
 * No entry is out of reach of any request: an allocation fails only when no free range fits, wherever the borders of pools lie
 * (review of 2026-11-30, defect 2).
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { range } from "./allocator.model.ts";
import { type AreaConstraints, UNCONSTRAINED } from "./constraints.ts";
import type { AllocatorOptions } from "./options.ts";
import { PooledAllocator } from "./pooled-allocator.ts";
import { randomFrom } from "./random.model.ts";
import { assertSound } from "./soundness.model.ts";
import { openState } from "./state.ts";

const iotlb = { invalidateAll: (): undefined => undefined };

type Random = (below: number) => number;

/** By the definition, entry by entry: does a free range of `count` entries lie where the request may go? */
function fitsSomewhere(taken: Uint8Array, count: number, constraints: AreaConstraints): boolean {
  const { alignmentPages, basePage, boundaryPages, limit } = constraints;
  const fits = (first: number): boolean => {
    if ((basePage + first) % alignmentPages !== 0) return false;
    for (let entry = first; entry < first + count; entry++) {
      if (taken[entry] === 1) return false;
      if (boundaryPages > 0 && entry > first && (basePage + entry) % boundaryPages === 0) return false;
    }
    return true;
  };
  for (let first = 0; first + count <= Math.min(taken.length, limit); first++) if (fits(first)) return true;
  return false;
}

function randomOptions(random: Random): AllocatorOptions {
  const entries = 32 + random(500);
  const hole = random(entries - 8);
  return {
    entries,
    pools: 1 + random(16),
    largePool: random(2) === 0,
    cache: random(2) === 0 ? "fifo" : "none",
    invalidate: random(3) === 0 ? "lazy" : "strict",
    threads: 1,
    reserved: random(2) === 0 ? [] : [range(hole, hole + 1 + random(8))],
  };
}

function randomConstraints(random: Random, entries: number): AreaConstraints {
  if (random(2) === 0) return UNCONSTRAINED;
  return {
    limit: random(2) === 0 ? entries : random(entries + 40),
    alignmentPages: 2 ** random(6),
    boundaryPages: random(2) === 0 ? 0 : 2 ** (1 + random(8)),
    basePage: random(1000),
  };
}

interface Played {
  /** Requests that failed, and allocations that crossed the border of two pools. */
  failures: number;
  spans: number;
}

function play(random: Random, where: string, played: Played): void {
  const options = randomOptions(random);
  const { entries } = options;
  const allocator = PooledAllocator.create(options, iotlb);
  const borders = allocator.statistics().pools.map(({ first }) => first);
  const taken = new Uint8Array(entries);
  for (const { first, end } of options.reserved ?? []) taken.fill(1, first, end);
  const live: Array<readonly [first: number, count: number]> = [];
  // From nearly empty to nearly full tables.
  const share = 50 + random(45);
  for (let step = 0; step < 150; step++) {
    if (random(100) < share || live.length === 0) {
      const count = 1 + random(random(4) === 0 ? Math.min(entries, 120) : 20);
      const constraints = randomConstraints(random, entries);
      const first = allocator.allocate(count, constraints);
      const what = `${where}, step ${step}: allocate ${count} of ${JSON.stringify({ ...options, ...constraints })}`;
      if (first < 0) {
        assert.ok(!fitsSomewhere(taken, count, constraints), `${what} answered ${first}, but a free range fits`);
        played.failures++;
        continue;
      }
      assert.ok(
        taken.subarray(first, first + count).every((bit) => bit === 0),
        `${what} answered ${first}: taken`,
      );
      taken.fill(1, first, first + count);
      live.push([first, count]);
      if (borders.some((border) => first < border && border < first + count)) played.spans++;
    } else {
      const [[first, count]] = live.splice(random(live.length), 1) as [readonly [number, number]];
      taken.fill(0, first, first + count);
      assert.equal(allocator.free(first, count), 0);
    }
  }
  assertSound(openState(allocator.handle), where);
  for (const [first, count] of live) assert.equal(allocator.free(first, count), 0);
  assert.equal(allocator.drain(), undefined);
  assert.equal(allocator.statistics().taken, taken.length - entries + reservedEntries(options), `${where}: lost`);
}

const reservedEntries = ({ reserved }: AllocatorOptions): number =>
  (reserved ?? []).reduce((sum, { first, end }) => sum + end - first, 0);

test("a request fails only when no free range fits, for random tables, limits and histories", (t) => {
  const seed = Number(process.env["SEED"] ?? Date.now() % 1e9);
  t.diagnostic(`seed ${seed}`);
  const played: Played = { failures: 0, spans: 0 };
  for (let round = 0; round < 150; round++) play(randomFrom(seed + round), `seed ${seed + round}`, played);
  t.diagnostic(`${played.failures} failures, ${played.spans} ranges across borders`);
  assert.ok(played.failures > 1000 && played.spans > 100, "the histories reach both");
});

test("a free run across a border is found, of any length, aligned, under a boundary and under a limit", () => {
  const issue = PooledAllocator.create({ entries: 167, pools: 4, reserved: [range(96, 144)] });
  assert.equal(issue.allocate(70), 0, "[0, 96) is free");

  const middle = (): PooledAllocator =>
    PooledAllocator.create({ entries: 128, pools: 2, largePool: false, reserved: [range(0, 16), range(112, 128)] });
  for (const count of [49, 64, 65, 96]) assert.equal(middle().allocate(count), 16, `${count} of the 96 free entries`);
  assert.equal(middle().allocate(97), -1);
  assert.equal(middle().statistics().largestHole, 96);
  assert.equal(middle().allocate(64, { ...UNCONSTRAINED, alignmentPages: 32 }), 32);
  assert.equal(
    middle().allocate(64, { ...UNCONSTRAINED, alignmentPages: 64 }),
    -1,
    "[0, 64) and [64, 128) are not free",
  );
  assert.equal(middle().allocate(64, { ...UNCONSTRAINED, boundaryPages: 64, basePage: 32 }), 32);
  assert.equal(middle().allocate(60, { ...UNCONSTRAINED, limit: 76 }), 16);
  assert.equal(middle().allocate(61, { ...UNCONSTRAINED, limit: 76 }), -1);
});

test("a free run across the border of the small pools and the large one is found", () => {
  const allocator = PooledAllocator.create({ entries: 256, pools: 2, largePool: true });
  const { pools } = allocator.statistics();
  const border = pools[pools.length - 1]?.first as number;
  assert.equal(allocator.reserve(range(0, border - 8)), undefined);
  assert.equal(allocator.reserve(range(border + 8, 256)), undefined);
  assert.equal(allocator.allocate(16), border - 8);
  assert.equal(allocator.free(border - 8, 16), 0);
  assert.equal(allocator.allocate(9), border - 8);
});

test("a short range across a border goes through the cache and back to both pools", () => {
  const options = { entries: 2048, pools: 2, largePool: false, cache: "fifo", threads: 1 } as const;
  const allocator = PooledAllocator.create(options);
  assert.equal(allocator.reserve(range(0, 1020)), undefined);
  assert.equal(allocator.reserve(range(1028, 2048)), undefined);
  assert.equal(allocator.allocate(8), 1020);
  assert.equal(allocator.allocate(1), -1, "both pools know now that they are full");
  assert.equal(allocator.free(1020, 8), 0);
  assert.equal(allocator.statistics().cached, 8);
  assert.equal(allocator.drain(), undefined);
  assert.equal(allocator.statistics().taken, 2040);
  assertSound(openState(allocator.handle));
  assert.equal(allocator.reserve(range(1020, 1028)), undefined, "both pools have their part again");
});

test("a second free of a range across a border is a FreeError", () => {
  const allocator = PooledAllocator.create({ entries: 128, pools: 2, largePool: false });
  const first = allocator.allocate(100);
  assert.equal(allocator.free(first, 100), 0);
  assert.throws(() => allocator.free(first, 100), { name: "FreeError" });
});
