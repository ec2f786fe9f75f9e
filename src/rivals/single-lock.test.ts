import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Worker } from "node:worker_threads";
import { type AreaConstraints, UNCONSTRAINED } from "../allocator/constraints.ts";
import { createShared, glance, wordsOf } from "../shared/memory.ts";
import { FreeError } from "../units/errors.ts";
import { LONGER_THAN_BOUNDARY, LONGER_THAN_TABLE, MASK_TOO_LOW, TABLE_FULL } from "../units/failure.ts";
import type { DmaWindow } from "../units/numbers.ts";
import { ShadowOps } from "./single-lock.model.ts";
import { SingleLockTable } from "./single-lock.ts";

const windowOf = (entries: number): DmaWindow => ({ base: 0n, pageShift: 12, entries });
const tableOf = (entries: number, ops = new ShadowOps()): SingleLockTable =>
  SingleLockTable.create(windowOf(entries), ops);

/** Next fit as one would say it: the first free place at or after the hint, else the first from 0 on. */
class PlainNextFit {
  readonly taken: boolean[];
  hint = 0;
  constructor(entries: number) {
    this.taken = new Array<boolean>(entries).fill(false);
  }
  allocate(count: number, limits: AreaConstraints): number {
    const fits = (first: number): boolean => {
      const page = limits.basePage + first;
      const last = page + count - 1;
      if (first + count > Math.min(limits.limit, this.taken.length) || page % limits.alignmentPages !== 0) return false;
      if (limits.boundaryPages && Math.floor(page / limits.boundaryPages) !== Math.floor(last / limits.boundaryPages))
        return false;
      return !this.taken.slice(first, first + count).includes(true);
    };
    const starts = [...this.taken.keys()];
    const first = starts.find((start) => start >= this.hint && fits(start)) ?? starts.find(fits) ?? TABLE_FULL;
    if (first >= 0) {
      this.taken.fill(true, first, first + count);
      this.hint = first + count;
    }
    return first;
  }
}

describe("the single-lock table", () => {
  test("writes coherent memory by the ops' setCoherent, where they have one, and checks an unmap without it", () => {
    const coherent: number[] = [];
    const withOwn = Object.assign(new ShadowOps(), {
      setCoherent: (first: number): undefined => {
        coherent.push(first);
      },
    });
    const table = tableOf(8, withOwn);
    const first = table.allocate(2);
    assert.equal(table.setCoherent(first, 2, 5, 3), undefined);
    assert.deepEqual(coherent, [first]);
    assert.equal(tableOf(8).setCoherent(0, 2, 5, 3), undefined);
    table.checkUnmap(first, 2);
    assert.throws(() => table.checkUnmap(first + 2, 1), FreeError);
    assert.equal(table.unmap(first, 2), undefined, "the check has changed nothing");
  });

  test("gives the addresses of plain next fit, with alignment, boundary and mask", () => {
    let seed = Number(process.env["SEED"] ?? 2015);
    console.log(`seed ${seed}`);
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    for (let run = 0; run < 200; run++) {
      const entries = 8 + random(90);
      const limits = {
        limit: 8 + random(entries),
        alignmentPages: 1 << random(3),
        boundaryPages: random(2) * 16,
        basePage: random(40),
      };
      const table = tableOf(entries);
      const model = new PlainNextFit(entries);
      const held: (readonly [number, number])[] = [];
      for (let step = 0; step < 100; step++) {
        if (random(3) === 0 && held.length > 0) {
          const [first, count] = held.splice(random(held.length), 1)[0] as readonly [number, number];
          table.unmap(first, count);
          model.taken.fill(false, first, first + count);
          continue;
        }
        const count = 1 + random(6);
        const first = table.allocate(count, limits, -1);
        assert.equal(
          first,
          model.allocate(count, limits),
          `run ${run} step ${step}: ${count} entries, ${JSON.stringify(limits)}`,
        );
        if (first >= 0) held.push([first, count]);
      }
      assert.equal(table.statistics().taken, model.taken.filter(Boolean).length);
    }
  });
});

describe("the single-lock table's allocations", () => {
  test("a whole table can be had, to the last entry", () => {
    const table = tableOf(70);
    assert.equal(table.allocate(70), 0);
    assert.equal(table.allocate(1), TABLE_FULL);
    assert.deepEqual([table.statistics().largestHole, table.statistics().failures], [0, 1]);
  });

  test("asks at the preferred start first", () => {
    const table = tableOf(64);
    assert.equal(table.allocate(4, UNCONSTRAINED, 20), 20);
    assert.equal(table.allocate(4, UNCONSTRAINED, 22), 24);
  });

  test("a request that can never succeed says why", () => {
    const table = tableOf(64);
    const limits = { limit: 10, alignmentPages: 1, boundaryPages: 8, basePage: 0 };
    assert.equal(table.allocate(65), LONGER_THAN_TABLE);
    assert.equal(table.allocate(9, limits), LONGER_THAN_BOUNDARY);
    assert.equal(table.allocate(11, { ...limits, boundaryPages: 0 }), MASK_TOO_LOW);
  });
});

describe("the single-lock table's frees", () => {
  test("frees under the lock: entries, IOTLB, bits", () => {
    const ops = new ShadowOps();
    const table = tableOf(64, ops);
    const first = table.allocate(3);
    ops.onInvalidate = () =>
      assert.equal(table.statistics().taken, 3, "not to be had before the IOTLB has forgotten it");
    ops.calls.length = 0;
    table.unmap(first, 3);
    assert.deepEqual(ops.calls, ["clear 0+3", "publish", "invalidate [0, 3)"]);
    assert.equal(table.statistics().taken, 0);
    assert.equal(table.statistics().lockAcquisitions, 2);
  });

  test("a list is freed area by area, each under the lock; misuse is found before anything is touched", () => {
    const ops = new ShadowOps();
    const table = tableOf(64, ops);
    table.allocate(8);
    ops.calls.length = 0;
    assert.throws(() => table.unmapAll(Int32Array.of(0, 30), Int32Array.of(4, 2), 2), /entry 30 is not taken/);
    assert.equal(ops.calls.length, 0);
    table.unmapAll(Int32Array.of(0, 4), Int32Array.of(4, 4), 2);
    assert.equal(ops.calls.filter((call) => call.startsWith("invalidate")).length, 2);
    assert.equal(table.statistics().taken, 0);
  });

  test("a range whose invalidation failed is never handed out again, and the lock is free", () => {
    const ops = new ShadowOps();
    const table = tableOf(8, ops);
    const first = table.allocate(8);
    ops.invalidation = "platform-busy";
    assert.equal(table.unmap(first, 8), "platform-busy");
    assert.equal(table.allocate(1), TABLE_FULL);
  });

  test("a range whose entries could not be emptied is never handed out again either", () => {
    const ops = new ShadowOps();
    const table = tableOf(8, ops);
    const first = table.allocate(8);
    ops.publishing = "platform-refused";
    assert.equal(table.unmap(first, 8), "platform-refused");
    assert.equal(table.allocate(1), TABLE_FULL);
  });

  test("several areas are abandoned with all of them cleared before the first `publish`", () => {
    const ops = new ShadowOps();
    const table = tableOf(8, ops);
    const firsts = Int32Array.of(table.allocate(2), table.allocate(3));
    ops.calls.length = 0;
    table.abandonAll(firsts, Int32Array.of(2, 3), 2);
    assert.deepEqual(ops.calls.slice(0, 4), ["clear 0+2", "clear 2+3", "clear 0+2", "publish"]);
    assert.equal(table.statistics().taken, 0);
  });

  test("a double free and a free outside the table are FreeErrors", () => {
    const table = tableOf(64);
    table.allocate(2);
    table.unmap(0, 2);
    assert.throws(() => table.unmap(0, 2), FreeError);
    assert.throws(() => table.unmap(63, 2), /out of 64|the table has 64/);
  });
});

describe("the single-lock table on threads", () => {
  test("a foreign handle is refused", () => {
    const { handle } = tableOf(64);
    assert.throws(
      () => SingleLockTable.attach({ ...handle, window: windowOf(32) }, new ShadowOps()),
      /not that of a single-lock table/,
    );
    assert.throws(
      () => SingleLockTable.attach({ window: windowOf(64), state: createShared(4096) }, new ShadowOps()),
      /not that of/,
    );
  });

  test("three threads never own the same entry, and lose none", async () => {
    const table = tableOf(128);
    const shadow = createShared(128 * 4);
    const wrong = await Promise.all(
      [1, 2, 3].map(async (mark) => {
        const workerData = { handle: table.handle, shadow, mark, rounds: 20_000 };
        const worker = new Worker(new URL("./single-lock.test.worker.js", import.meta.url), { workerData });
        return await new Promise<number>((resolve, reject) => {
          worker.once("message", resolve);
          worker.once("error", reject);
        });
      }),
    );
    assert.deepEqual(wrong, [0, 0, 0]);
    const { taken, lockAcquisitions } = table.statistics();
    assert.equal(taken, 0);
    assert.ok(lockAcquisitions > 60_000);
    for (let entry = 0; entry < 128; entry++) assert.equal(glance(wordsOf(shadow), entry), 0);
  });
});
