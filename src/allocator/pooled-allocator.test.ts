/**
 * The allocator against its plain model, address for address, and what a user sees of it.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { range, realAndModel } from "./allocator.model.ts";
import { type AreaConstraints, UNCONSTRAINED } from "./constraints.ts";
import type { AllocatorOptions } from "./options.ts";
import { PooledAllocator } from "./pooled-allocator.ts";
import { randomFrom } from "./random.model.ts";

const iotlb = { invalidateAll: (): undefined => undefined };

function randomConstraints(random: (below: number) => number, entries: number): AreaConstraints {
  if (random(3) > 0) return UNCONSTRAINED;
  return {
    limit: random(2) === 0 ? entries : random(entries + 40),
    alignmentPages: 2 ** random(6),
    boundaryPages: random(2) === 0 ? 0 : 2 ** (1 + random(8)),
    basePage: random(1000),
  };
}

/** Plays `steps` random operations on both; every answer must be the same. */
function playHistory(options: AllocatorOptions, seed: number, steps: number): void {
  const { real, model } = realAndModel(options);
  const random = randomFrom(seed);
  const { entries } = options;
  let after = -1;
  for (let step = 0; step < steps; step++) {
    if (random(100) < 55 || model.live.size === 0) {
      const longest = random(20) === 0 ? entries + 1 : random(4) === 0 ? 70 : 17;
      const count = 1 + random(Math.min(longest, entries + 1));
      const constraints = randomConstraints(random, entries);
      const start = random(4) === 0 ? after : -1;
      const expected = model.allocate(count, constraints, start);
      const found = real.allocate(count, constraints, start);
      assert.equal(
        found,
        expected,
        `seed ${seed}, step ${step}: allocate ${count} after ${start} in ${JSON.stringify(options)}`,
      );
      after = found < 0 ? -1 : found + count;
    } else {
      const [first, count] = [...model.live][random(model.live.size)] as [number, number];
      model.free(first, count);
      assert.equal(real.free(first, count), 0);
    }
  }
  for (const [first, count] of [...model.live]) {
    model.free(first, count);
    real.free(first, count);
  }
  assert.equal(real.statistics().taken, model.taken.filter(Boolean).length, `seed ${seed}: entries were lost`);
}

test("one thread without cache gets the addresses of the plain next-fit model, for every geometry", (t) => {
  const seed = Number(process.env["SEED"] ?? Date.now() % 1e9);
  t.diagnostic(`seed ${seed}`);
  let round = 0;
  for (const entries of [1, 7, 32, 33, 100, 129, 1000, 3000]) {
    for (const pools of [1, 2, 3, 4, 7, 16]) {
      for (const largePool of [true, false]) playHistory({ entries, pools, largePool }, seed + round++, 400);
    }
  }
});

test("reserved ranges are never handed out, and the addresses stay those of the model", (t) => {
  const seed = Number(process.env["SEED"] ?? Date.now() % 1e9);
  t.diagnostic(`seed ${seed}`);
  for (let round = 0; round < 20; round++) {
    playHistory(
      { entries: 300, pools: 3, reserved: [range(0, 1), range(90, 110), range(299, 300)] },
      seed + round,
      300,
    );
  }
});

/** Any option, any mix of operations: ranges stay disjoint and inside the table, and nothing is lost. */
const anyOptions = fc.record({
  entries: fc.integer({ min: 1, max: 600 }),
  pools: fc.integer({ min: 1, max: 8 }),
  largePool: fc.boolean(),
  cache: fc.constantFrom("none" as const, "fifo" as const),
  invalidate: fc.constantFrom("strict" as const, "lazy" as const),
});
const anyOperation = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("allocate" as const),
      count: fc.integer({ min: 1, max: 40 }),
      after: fc.integer({ min: -1, max: 600 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("free" as const), which: fc.nat() }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("reserve" as const),
      first: fc.nat(599),
      count: fc.integer({ min: 1, max: 60 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("drain" as const) }) },
);
type Operation = typeof anyOperation extends fc.Arbitrary<infer T> ? T : never;

class Shadow {
  readonly owner: Int32Array;
  readonly live: Array<{ first: number; count: number; reserved: boolean }> = [];
  constructor(entries: number) {
    this.owner = new Int32Array(entries);
  }
  add(first: number, count: number, reserved: boolean): void {
    assert.ok(first >= 0 && first + count <= this.owner.length, `[${first}, ${first + count}) is outside of the table`);
    assert.ok(
      this.owner.subarray(first, first + count).every((o) => o === 0),
      `[${first}, ${first + count}) overlaps`,
    );
    this.owner.fill(1, first, first + count);
    this.live.push({ first, count, reserved });
  }
  remove(which: number): { first: number; count: number; reserved: boolean } {
    const [gone] = this.live.splice(which % this.live.length, 1);
    if (gone === undefined) throw new Error("nothing is live");
    this.owner.fill(0, gone.first, gone.first + gone.count);
    return gone;
  }
}

function perform(real: PooledAllocator, shadow: Shadow, operation: Operation): void {
  if (operation.kind === "allocate") {
    const first = real.allocate(operation.count, UNCONSTRAINED, operation.after);
    if (first >= 0) shadow.add(first, operation.count, false);
  } else if (operation.kind === "reserve") {
    const end = Math.min(operation.first + operation.count, real.entries);
    if (operation.first >= end) return;
    const isFree = shadow.owner.subarray(operation.first, end).every((owner) => owner === 0);
    const failure = real.reserve(range(operation.first, end));
    assert.equal(failure, isFree ? undefined : "in-use");
    if (isFree) shadow.add(operation.first, end - operation.first, true);
  } else if (operation.kind === "free" && shadow.live.length > 0) {
    const { first, count, reserved } = shadow.remove(operation.which);
    if (reserved) assert.equal(real.unreserve(range(first, first + count)), undefined);
    else assert.equal(real.free(first, count), 0);
  } else if (operation.kind === "drain") assert.equal(real.drain(), undefined);
}

test("whatever the options and operations: ranges are disjoint, and the whole table can be taken in the end", () => {
  fc.assert(
    fc.property(anyOptions, fc.array(anyOperation, { maxLength: 120 }), (options, operations) => {
      const real = PooledAllocator.create({ threads: 2, ...options }, iotlb);
      const shadow = new Shadow(options.entries);
      for (const operation of operations) perform(real, shadow, operation);
      while (shadow.live.length > 0) perform(real, shadow, { kind: "free", which: 0 });
      assert.equal(real.allocate(options.entries), 0, "the whole table");
    }),
    { numRuns: 300, verbose: 1 },
  );
});

test("each of the four wrong frees is an error of its own, and changes nothing", () => {
  const real = PooledAllocator.create({ entries: 100, frees: "owner-only" });
  const other = PooledAllocator.attach(real.handle);
  const first = real.allocate(5);
  const wrong: Array<readonly [() => void, string]> = [
    [() => real.free(99, 2), "out-of-range"],
    [() => real.free(-1, 1), "out-of-range"],
    [() => real.free(0.5, 1), "out-of-range"],
    [() => real.free(first, 0), "out-of-range"],
    [() => real.free(first + 1, 4), "not-allocated"],
    [() => real.free(50, 5), "not-allocated"],
    [() => real.free(first, 4), "wrong-length"],
    [() => real.free(first, 6), "wrong-length"],
    [() => other.free(first, 5), "wrong-owner"],
  ];
  for (const [act, code] of wrong) assert.throws(act, { name: "FreeError", code });
  assert.equal(real.free(first, 5), 0);
  assert.throws(() => real.free(first, 5), { name: "FreeError", code: "not-allocated" });
  assert.equal(real.statistics().taken, 0);
});

test("long ranges are checked by their whole length, and their inner slots are no ranges", () => {
  const real = PooledAllocator.create({ entries: 100_000 });
  const first = real.allocate(70_000);
  assert.throws(() => real.free(first, 69_999), { code: "wrong-length", message: /70000 were allocated/ });
  for (let inner = 1; inner < 6; inner++) assert.throws(() => real.free(first + inner, 1), { code: "not-allocated" });
  assert.equal(real.free(first, 70_000), 0);
});

test("a request that can never succeed says so at once", () => {
  const real = PooledAllocator.create({ entries: 100 });
  assert.equal(real.allocate(101), -4, "longer-than-table");
  assert.equal(real.allocate(9, { ...UNCONSTRAINED, boundaryPages: 8 }), -3, "longer-than-boundary");
  assert.equal(real.allocate(9, { ...UNCONSTRAINED, limit: 8 }), -2, "mask-too-low");
  assert.equal(real.allocate(1, { ...UNCONSTRAINED, limit: -5 }), -2, "a mask below the window");
  for (const count of [0, -1, 1.5, Number.NaN]) assert.throws(() => real.allocate(count), { code: "invalid-argument" });
});

test("options out of range are named, with what was found and what is expected", () => {
  const wrong: Array<readonly [AllocatorOptions, RegExp]> = [
    [{ entries: 0 }, /entries is 0; expected an integer from 1 to 2147483647/],
    [{ entries: 2 ** 31 }, /entries is 2147483648/],
    [{ entries: 100, pools: 0 }, /pools is 0/],
    [{ entries: 100, pools: 1025 }, /pools is 1025; expected an integer from 1 to 1024/],
    [{ entries: 100, threads: 257 }, /threads is 257/],
    [{ entries: 100, cache: "lifo" as "fifo" }, /cache is "lifo"; expected none or fifo/],
    [{ entries: 100, reserved: [range(90, 101)] }, /reserved range is \[90, 101\)/],
    [{ entries: 100, reserved: [range(1, 5), range(4, 6)] }, /reserved range is \[4, 6\); expected no overlap/],
    [{ entries: 100, invalidate: "lazy" }, /invalidator is undefined/],
  ];
  for (const [options, message] of wrong)
    assert.throws(() => PooledAllocator.create(options), { name: "InvalidArgumentError", message });
});

test("a foreign handle, one of another version and a truncated one are refused", () => {
  const { handle } = PooledAllocator.create({ entries: 100 });
  const cut = new SharedArrayBuffer(handle.state.byteLength - 4);
  new Uint8Array(cut).set(new Uint8Array(handle.state, 0, cut.byteLength));
  assert.throws(() => PooledAllocator.attach({ ...handle, version: 99 }), {
    name: "FormatError",
    message: /version 99; this library reads version/,
  });
  assert.throws(() => PooledAllocator.attach({ ...handle, state: cut }), {
    name: "FormatError",
    message: /bytes long; its header says/,
  });
  assert.throws(() => PooledAllocator.attach({ ...handle, state: new SharedArrayBuffer(4096) }), {
    name: "FormatError",
    message: /no iova table/,
  });
  assert.throws(
    () => PooledAllocator.attach({ ...handle, state: new ArrayBuffer(4096) as unknown as SharedArrayBuffer }),
    { name: "FormatError" },
  );
  assert.throws(() => PooledAllocator.attach(undefined as never), { name: "FormatError" });
});

test("thread slots are claimed, given back, and run out with a clear error", () => {
  const first = PooledAllocator.create({ entries: 100, threads: 2 });
  const second = PooledAllocator.attach(first.handle);
  assert.deepEqual([first.thread, second.thread], [0, 1]);
  assert.throws(() => PooledAllocator.attach(first.handle), {
    code: "no-thread-slot",
    message: /all 2 thread numbers are taken/,
  });
  second.close();
  second.close();
  const third = PooledAllocator.attach(first.handle);
  assert.equal(third.thread, 1);
  // Its number is another's now, who must not lose it.
  second.close();
  assert.throws(() => PooledAllocator.attach(first.handle), { code: "no-thread-slot" });
  assert.equal(third.free(third.allocate(1), 1), 0);
});

test("memory is n/8 + 2n bytes, bounds, 256 B a pool and 40 KiB a thread", () => {
  for (const [entries, pools, threads] of [
    [1 << 20, 16, 32],
    [1 << 20, 1, 1],
    [1000, 3, 2],
    [2 ** 24, 1024, 256],
  ] as const) {
    const { state } = PooledAllocator.create({ entries, pools, threads, largePool: false }).handle;
    const blocks = Math.ceil(Math.ceil(entries / pools) / 1024);
    const bounds = 4 * pools * Math.ceil((blocks + Math.ceil(blocks / 32)) / 32) * 32;
    const formula = entries / 8 + 2 * entries + bounds + 256 * pools + 40 * 1024 * threads;
    assert.ok(
      state.byteLength >= formula && state.byteLength <= formula + 1024 + 128 * pools,
      `${state.byteLength} bytes for ${entries} entries; the formula says ${formula}`,
    );
  }
});

test("leaks are reported by owner; cached and reserved ranges are not leaks", () => {
  const real = PooledAllocator.create({ entries: 1000, cache: "fifo", threads: 4, reserved: [range(0, 1)] });
  const other = PooledAllocator.attach(real.handle);
  const kept = real.allocate(3);
  real.free(real.allocate(2), 2);
  const theirs = other.allocate(40);
  assert.deepEqual(
    [...real.leaks()],
    [
      [0, [range(kept, kept + 3)]],
      [1, [range(theirs, theirs + 40)]],
    ].sort(),
  );
});

test("a thread that finds no space gets what others have cached, and is told what idle ones still hold", () => {
  const real = PooledAllocator.create({ entries: 4096, pools: 1, largePool: false, cache: "fifo", threads: 2 });
  const other = PooledAllocator.attach(real.handle);
  const ranges = Array.from({ length: 8 }, () => other.allocate(1));
  for (const first of ranges) other.free(first, 1);
  assert.equal(real.statistics().cached, 8);
  assert.equal(real.allocate(4096), -1, "the other thread is idle: it can't answer");
  assert.match(real.shortage(4096), /thread 1 still holds 8 \(drain\(\) there/);
  other.free(other.allocate(1), 1); // its next operation answers
  assert.equal(real.statistics().cached, 1);
  assert.equal(other.drain(), undefined);
  assert.equal(real.allocate(4096), 0);
});

test("the cache of a thread is bounded, whatever is freed into it", () => {
  for (const invalidate of ["strict", "lazy"] as const) {
    const real = PooledAllocator.create({ entries: 1 << 16, cache: "fifo", threads: 4, invalidate }, iotlb);
    const random = randomFrom(7);
    for (let i = 0; i < 20_000; i++) {
      const counts = Array.from({ length: 20 }, () => 1 + random(16));
      const firsts = counts.map((count) => real.allocate(count));
      for (const [k, first] of firsts.entries()) real.free(first, counts[k] as number);
      if (i % 1000 === 0)
        assert.ok(real.statistics().cached <= (1 << 16) / 4 / 4, `${real.statistics().cached} entries are cached`);
    }
  }
});
