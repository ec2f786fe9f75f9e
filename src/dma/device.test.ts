import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FreeError, InvalidArgumentError } from "../units/errors.ts";
import { failureOf } from "../units/failure.ts";
import { type Access, type EntryAccess, WEAKLY_ORDERED } from "../units/numbers.ts";
import type { Mapping } from "./contract.ts";
import { DmaDevice } from "./device.ts";
import { ScatterList } from "./scatter-list.ts";
import { joinRuns, ModelTable, walk } from "./table.model.ts";

const seed = Date.now() & 0x7fffffff;

function mapped(result: Mapping | string): Mapping {
  assert.ok(typeof result !== "string", `map failed: ${String(result)}`);
  return result;
}

test("a device finds at the bus address exactly the bytes that were mapped, for every page size", (t) => {
  t.diagnostic(`seed ${seed}`);
  const cases = fc.record({
    pageShift: fc.constantFrom(12, 13, 16, 21),
    page: fc.integer({ min: 0, max: 2 ** 40 }),
    offset: fc.integer({ min: 0, max: 2 ** 21 - 1 }),
    bytes: fc.integer({ min: 1, max: 2 ** 16 }),
    access: fc.constantFrom<Access>(1, 2, 3),
  });
  fc.assert(
    fc.property(cases, ({ pageShift, page, offset, bytes, access }) => {
      const table = new ModelTable({ base: 2n ** 59n, pageShift, entries: 32 });
      const device = new DmaDevice(table);
      const address = BigInt(page) * 2n ** BigInt(pageShift) + BigInt(offset % 2 ** pageShift);
      const mapping = mapped(device.map(address, bytes, access));
      assert.deepEqual(joinRuns(walk(table, mapping.iova, bytes, access)), [{ address, bytes: BigInt(bytes) }]);
      assert.equal(device.unmap(mapping), undefined);
      table.assertEmptyBeside(new Set());
    }),
    { seed, includeErrorInReport: true, numRuns: 500 },
  );
});

test("the form without objects maps the same bytes", (t) => {
  t.diagnostic(`seed ${seed}`);
  const cases = fc.record({
    pageShift: fc.constantFrom(12, 13, 16, 21, 34),
    address: fc.maxSafeNat().map((address) => Math.floor(address / 2)),
    bytes: fc.integer({ min: 1, max: 2 ** 16 }),
  });
  fc.assert(
    fc.property(cases, ({ pageShift, address, bytes }) => {
      const table = new ModelTable({ base: 2n ** 40n, pageShift, entries: 32 });
      // 16 GiB pages are larger than the default boundary: pieces may cross 4 GiB here.
      const device = new DmaDevice(table, { boundaryMask: 2n ** 64n - 1n });
      const entry = device.mapPages(address, bytes, 2);
      assert.ok(entry >= 0, `mapPages: ${entry}`);
      const runs = joinRuns(walk(table, device.iovaOf(entry, address), bytes, 2));
      assert.deepEqual(runs, [{ address: BigInt(address), bytes: BigInt(bytes) }]);
      assert.equal(device.unmapPages(entry, device.pagesOf(address, bytes)), undefined);
      table.assertEmptyBeside(new Set());
    }),
    { seed, includeErrorInReport: true, numRuns: 500 },
  );
});

test("regression, defect 14: the offset inside a 2 MiB page is kept", () => {
  const table = new ModelTable({ base: 0n, pageShift: 21, entries: 4 });
  const device = new DmaDevice(table);
  const mapping = mapped(device.map(0x12345678n, 0x300000, 3));
  assert.equal(mapping.iova, 0x145678n);
  const entry = device.mapPages(0x12345678, 16, 3);
  assert.equal(device.iovaOf(entry, 0x12345678), 0x600000n + 0x145678n);
});

test("a mask below the window is too low, whatever is free", () => {
  const table = new ModelTable({ base: 2n ** 31n, pageShift: 12, entries: 16 });
  for (const mask of [0n, 0xffffffn, 2n ** 31n - 1n]) {
    const device = new DmaDevice(table, { mask });
    assert.equal(device.map(0n, 1, 3), "mask-too-low");
    assert.equal(failureOf(device.mapPages(0, 1, 3)), "mask-too-low");
  }
  assert.equal(table.calls.allocate, 0);
  // The mask is the last byte that may be used: one byte into the window lets one byte in.
  const device = new DmaDevice(table, { mask: 2n ** 31n });
  assert.equal(device.map(0n, 2, 3), "mask-too-low");
  assert.equal(mapped(device.map(0n, 1, 3)).iova, 2n ** 31n);
});

test("requests that can never succeed fail at once and say why", () => {
  const table = new ModelTable({ base: 0n, pageShift: 12, entries: 16 });
  assert.equal(new DmaDevice(table).map(0n, 16 * 4096 + 1, 3), "longer-than-table");
  assert.equal(new DmaDevice(table).map(0n, 2 ** 53 - 1, 3), "longer-than-table");
  const bounded = new DmaDevice(table, { boundaryMask: 0x3fffn });
  assert.equal(bounded.map(1n, 4 * 4096, 3), "longer-than-boundary");
  assert.equal(new DmaDevice(table, { mask: 0x7fffn }).map(0n, 9 * 4096, 3), "mask-too-low");
  const small = new DmaDevice(table, { boundaryMask: 511n });
  assert.equal(small.map(500n, 13, 3), "longer-than-boundary");
  assert.equal(small.map(0n, 4096, 3), "longer-than-boundary");
  assert.equal(table.calls.allocate, 0);
  assert.equal(mapped(small.map(500n, 12, 3)).iova, 500n);
});

test("whole CPU pages are aligned to a CPU page where IO pages are smaller", () => {
  const table = new ModelTable({ base: 0x3000n, pageShift: 12, entries: 64 });
  const device = new DmaDevice(table, {}, { cpuPageShift: 16 });
  assert.equal(mapped(device.map(0x50000n, 0x10000, 3)).iova, 0x10000n);
  // Less than a CPU page, or not at its start: any IO page will do.
  assert.equal(mapped(device.map(0x50000n, 0xb000, 3)).iova, 0x3000n);
  assert.equal(mapped(device.map(0x51000n, 0x10000, 3)).iova, 0x20000n);
});

test("entries are published once, before the mapping is handed out", () => {
  const table = new ModelTable({ base: 0n, pageShift: 12, entries: 4 });
  const device = new DmaDevice(table);
  mapped(device.map(0n, 8192, 3));
  assert.deepEqual(table.calls, {
    allocate: 1,
    set: 1,
    publish: 1,
    commit: 1,
    abandon: 0,
    abandonAll: 0,
    unmap: 0,
    unmapAll: 0,
  });
});

test("when `publish` fails, the mapping fails with its reason, and nothing is left", () => {
  const table = new ModelTable({ base: 0n, pageShift: 12, entries: 4 });
  table.faults = { publishAt: 1 };
  const device = new DmaDevice(table);
  assert.equal(device.map(0n, 8192, 3), "platform-busy");
  table.assertEmptyBeside(new Set());
  assert.equal(table.calls.commit, 0);
  mapped(device.map(0n, 8192, 3));
});

test("wrong unmaps throw, and what is mapped stays mapped", () => {
  const table = new ModelTable({ base: 0x10000n, pageShift: 12, entries: 8 });
  const device = new DmaDevice(table);
  const mapping = mapped(device.map(0x5010n, 5000, 3));
  const misuse = (code: string) => (error: unknown) => error instanceof FreeError && error.code === code;
  const with_ = (change: object) => ({ ...mapping, ...change }) as Mapping;
  assert.throws(() => device.unmap(with_({ iova: 0xffffn })), misuse("out-of-range"));
  assert.throws(() => device.unmap(with_({ iova: 0x18000n })), misuse("out-of-range"));
  assert.throws(() => device.unmap(with_({ iova: 0x17fffn, bytes: 2 })), misuse("out-of-range"));
  assert.throws(() => device.unmap(with_({ iova: 0x12000n })), misuse("not-allocated"));
  assert.throws(() => device.unmap(with_({ bytes: 10 })), misuse("wrong-length"));
  assert.throws(() => device.unmap(with_({ bytes: 0 })), InvalidArgumentError);
  assert.equal(walk(table, mapping.iova, 5000, 3).length, 2);
  assert.equal(device.unmap(mapping), undefined);
  assert.throws(() => device.unmap(mapping), misuse("not-allocated"));
});

test("nonsense is refused before anything is allocated", () => {
  const table = new ModelTable({ base: 0n, pageShift: 12, entries: 8 });
  const device = new DmaDevice(table);
  const wrong: [() => unknown, RegExp][] = [
    [() => device.map(-1n, 1, 3), /address is -1/],
    [
      () => device.map(2n ** 64n - 1n, 2, 3),
      /address is 18446744073709551615n; expected a bigint from 0n to 2n \*\* 64n - 2n/,
    ],
    [() => device.map(0n, 0, 3), /length in bytes is 0/],
    [() => device.map(0n, 1.5, 3), /length in bytes is 1.5/],
    [() => device.map(0n, 1, 0 as Access), /access is 0; expected 1/],
    [() => device.mapPages(0, 1, 4 as Access), /access is 4/],
    [() => device.mapPages(-1, 1, 3), /range is 1 bytes at -1/],
    [() => device.mapPages(0, 0, 3), /range is 0 bytes at 0/],
    [() => device.mapPages(2 ** 53 - 1, 1, 3), /range is 1 bytes at 9007199254740991/],
    [() => device.mapPages(0.5, 1, 3), /range is 1 bytes at 0.5/],
    [() => device.iovaOf(-1, 0), /entry is -1/],
    [() => new DmaDevice(table, {}, { cpuPageShift: 11 }), /CPU page shift is 11/],
  ];
  for (const [call, message] of wrong) {
    assert.throws(call, (error) => error instanceof InvalidArgumentError && message.test(error.message), `${message}`);
  }
  assert.equal(table.calls.allocate, 0);
});

test("a physical address at the end of 64 bits can be mapped", () => {
  const table = new ModelTable({ base: 0n, pageShift: 12, entries: 8 });
  const mapping = mapped(new DmaDevice(table).map(2n ** 64n - 5n, 5, 1));
  assert.deepEqual(joinRuns(walk(table, mapping.iova, 5, 1)), [{ address: 2n ** 64n - 5n, bytes: 5n }]);
});

test("weak ordering reaches the entries of map and mapSg, and only those that ask for it", () => {
  const written: number[] = [];
  class Recording extends ModelTable {
    override set(first: number, count: number, page: number, access: EntryAccess) {
      written.push(access);
      return super.set(first, count, page, (access & 3) as Access);
    }
  }
  const device = new DmaDevice(new Recording({ base: 0n, pageShift: 12, entries: 16 }));
  const list = new ScatterList(1);
  list.addNumber(0x1000, 10);
  mapped(device.map(0n, 1, 2, { weaklyOrdered: true }));
  mapped(device.map(0n, 1, 2, { skipSync: true, noWarning: true }));
  assert.equal(device.mapSg(list, 3, { weaklyOrdered: true }), undefined);
  assert.equal(device.unmapSg(list), undefined);
  assert.equal(device.mapSg(list, 1), undefined);
  assert.deepEqual(written, [2 | WEAKLY_ORDERED, 2, 3 | WEAKLY_ORDERED, 1]);
});

test("failureOf tells a result from a failure", () => {
  const device = new DmaDevice(new ModelTable({ base: 0n, pageShift: 12, entries: 1 }));
  const mapping = device.map(0n, 1, 3);
  assert.equal(device.failureOf(mapping), undefined);
  assert.equal(device.failureOf(device.map(0n, 1, 3)), "table-full");
});
