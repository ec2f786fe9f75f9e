import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type AreaConstraints, UNCONSTRAINED } from "../allocator/constraints.ts";
import { InvalidArgumentError } from "../units/errors.ts";
import type { DmaWindow } from "../units/numbers.ts";
import { DmaDevice } from "./device.ts";
import type { DeviceLimits } from "./limits.ts";
import { ModelTable } from "./table.model.ts";
import { compileLimits, constraintsOf } from "./translated/compiled-limits.ts";

const seed = Date.now() & 0x7fffffff;
const windowOf = (base: bigint, pageShift: number, entries: number): DmaWindow =>
  ({ base, pageShift, entries }) as unknown as DmaWindow;

const windows = fc
  .record({
    pageShift: fc.constantFrom(12, 13, 16, 21, 34),
    entries: fc.integer({ min: 1, max: 24 }),
    place: fc.constantFrom("zero", "low", "across 4 GiB", "2^59", "top"),
  })
  .map(({ pageShift, entries, place }) => {
    const pageSize = 1n << BigInt(pageShift);
    const bases = {
      zero: 0n,
      low: 3n * pageSize,
      "across 4 GiB": pageSize > 2n ** 32n ? pageSize : 2n ** 32n - (BigInt(entries) / 2n) * pageSize,
      "2^59": 2n ** 59n,
      top: 2n ** 64n - BigInt(entries) * pageSize,
    };
    const base = bases[place as keyof typeof bases];
    return { base: base < 0n ? 0n : base, pageShift, entries };
  });

/** Limits around the window, so that they bite more often than not. */
const cases = windows.chain((window) => {
  const pageSize = 1n << BigInt(window.pageShift);
  const end = window.base + BigInt(window.entries) * pageSize;
  return fc.record({
    window: fc.constant(window),
    mask: fc.oneof(
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      fc.bigInt({ min: window.base > pageSize ? window.base - pageSize : 0n, max: end - 1n }),
      fc.constant(2n ** 64n - 1n),
    ),
    boundaryMask: fc.integer({ min: 0, max: 64 }).map((bit) => 2n ** BigInt(bit) - 1n),
    nearBoundary: fc.integer({ min: -3, max: 5 }).map((bit) => {
      const shift = window.pageShift + bit;
      return 2n ** BigInt(shift) - 1n;
    }),
    useNear: fc.boolean(),
    alignment: fc.integer({ min: 0, max: window.pageShift + 4 }).map((bit) => 2 ** bit),
    cpuPageShift: fc.constantFrom(12, 16),
    occupied: fc.uniqueArray(fc.integer({ min: 0, max: window.entries - 1 })),
    page: fc.integer({ min: 0, max: 64 }),
    offset: fc.oneof(fc.constant(0n), fc.bigInt({ min: 0n, max: pageSize - 1n })),
    bytes: fc.oneof(
      fc.bigInt({ min: 1n, max: 2n * pageSize }),
      fc.integer({ min: 1, max: 6 }).map((pages) => BigInt(pages) * pageSize),
    ),
  });
});

test("a mapping succeeds exactly when bytes allow it: mask, boundary, alignment and free entries, tried one by one", (t) => {
  t.diagnostic(`seed ${seed}`);
  const tally = { mapped: 0, refused: 0 };
  fc.assert(
    fc.property(cases, (c) => {
      const { window, mask, alignment, cpuPageShift, offset, bytes } = c;
      const boundaryMask = c.useNear ? c.nearBoundary : c.boundaryMask;
      const pageSize = 1n << BigInt(window.pageShift);
      const address = BigInt(c.page) * pageSize + offset;
      const cpuPage = 1n << BigInt(cpuPageShift);
      const alignTo = [pageSize, BigInt(alignment), address % cpuPage === 0n && bytes >= cpuPage ? cpuPage : 1n];
      const fits = (entry: number): boolean => {
        const busPage = window.base + BigInt(entry) * pageSize;
        const [first, last] = [busPage + offset, busPage + offset + bytes - 1n];
        const lastEntry = Number((last - window.base) / pageSize);
        for (let e = entry; e <= lastEntry; e++) if (e >= window.entries || c.occupied.includes(e)) return false;
        if (alignTo.some((unit) => busPage % unit !== 0n)) return false;
        return last <= mask && first / (boundaryMask + 1n) === last / (boundaryMask + 1n);
      };
      const possible = Array.from({ length: window.entries }, (_, entry) => entry).filter(fits);

      const table = new ModelTable(window);
      table.occupy(c.occupied);
      table.choose = (starts) => starts - 1;
      const device = new DmaDevice(table, { mask, boundaryMask, alignment }, { cpuPageShift });
      const mapping = device.map(address, Number(bytes), 3);
      if (typeof mapping === "string") {
        tally.refused++;
        assert.deepEqual(possible, [], `refused with ${mapping}`);
      } else {
        tally.mapped++;
        assert.ok(possible.includes(Number((mapping.iova - window.base) / pageSize)), `mapped at ${mapping.iova}`);
        assert.equal(device.unmap(mapping), undefined);
      }
      table.assertEmptyBeside(new Set(c.occupied));
    }),
    { seed, includeErrorInReport: true, numRuns: 4000 },
  );
  assert.ok(tally.mapped > 400 && tally.refused > 400, JSON.stringify(tally));
});

test("limits that can't bite come down to no constraints at all", () => {
  const window = windowOf(2n ** 31n, 12, 2 ** 18);
  const idle: DeviceLimits[] = [
    {},
    { mask: 2n ** 32n - 1n },
    { boundaryMask: 2n ** 64n - 1n },
    { boundaryMask: 2n ** 30n - 1n },
    { alignment: 4096 },
  ];
  for (const limits of idle) {
    const compiled = compileLimits(window, limits, 12);
    for (const cpuAligned of [false, true]) {
      assert.equal(constraintsOf(compiled, compiled.streaming, cpuAligned, 4096), UNCONSTRAINED);
    }
    assert.equal(compiled.coherent, compiled.streaming);
  }
});

test("a mask that ends inside a page lets short mappings use that page", () => {
  const window = windowOf(0x10000n, 12, 8);
  const limits = compileLimits(window, { mask: 0x12345n }, 12);
  const limitOf = (end: number) => constraintsOf(limits, limits.streaming, false, end).limit;
  assert.deepEqual([0x346, 0x347, 0x1346, 0x1347].map(limitOf), [3, 2, 3, 2]);
});

test("the coherent mask has areas of its own, and is the streaming mask when left out", () => {
  const window = windowOf(0n, 12, 16);
  const limit = (areas: { plain: AreaConstraints }) => areas.plain.limit;
  const both = compileLimits(window, { mask: 0xffffn, coherentMask: 0x3fffn }, 12);
  assert.deepEqual([limit(both.streaming), limit(both.coherent)], [UNCONSTRAINED.limit, 4]);
  const one = compileLimits(window, { mask: 0x7fffn }, 12);
  assert.deepEqual([limit(one.streaming), limit(one.coherent)], [8, 8]);
});

test("limits outside their range are refused with what was found and what was expected", () => {
  const window = windowOf(0n, 12, 16);
  const wrong: [DeviceLimits, RegExp][] = [
    [{ mask: -1n }, /mask is -1n; expected a bigint/],
    [{ mask: 2n ** 64n }, /mask is 18446744073709551616n/],
    [{ mask: 5 as unknown as bigint }, /mask is 5; expected a bigint/],
    [{ coherentMask: 2n ** 64n }, /coherent mask is/],
    [{ maxSegmentBytes: 0 }, /maximum segment size in bytes is 0/],
    [{ maxSegmentBytes: 2 ** 32 }, /maximum segment size in bytes is 4294967296/],
    [{ boundaryMask: 0x1000n }, /boundary mask is 0x1000; expected a power of two less one/],
    [{ boundaryMask: 2n ** 64n }, /boundary mask is/],
    [{ alignment: 0 }, /alignment in bytes is 0/],
    [{ alignment: 3 }, /alignment in bytes is 3/],
    [{ alignment: 2 ** 49 + 1 }, /alignment in bytes is/],
    [{ alignment: 2 ** 53 }, /alignment in bytes is/],
  ];
  for (const [limits, message] of wrong) {
    assert.throws(
      () => compileLimits(window, limits, 12),
      (error) => error instanceof InvalidArgumentError && message.test(error.message),
      JSON.stringify(limits, (_, value) => String(value)),
    );
  }
});
