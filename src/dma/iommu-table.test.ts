/** The DMA layer on the real table: allocator, cache, ledger and lazy flush below it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { IommuTable, type TableOptions } from "../table/iommu-table.ts";
import type { DmaWindow } from "../units/numbers.ts";
import { DmaDevice } from "./device.ts";
import { ModelOps } from "./ops.model.ts";
import { largestMapping } from "./queries.ts";
import { ScatterList } from "./scatter-list.ts";

const seed = Date.now() & 0x7fffffff;
const PAGE = 4096n;
const BASE = 0xfff80000n;
const ENTRIES = 256;
const LISTS = 6;

interface Step {
  readonly list: number;
  readonly pieces: readonly { page: number; offset: number; bytes: number }[];
  readonly refuseAt: number;
}

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    list: fc.nat(LISTS - 1),
    pieces: fc.array(
      fc.record({
        page: fc.integer({ min: 1, max: 2 ** 30 }),
        offset: fc.oneof({ arbitrary: fc.constant(0), weight: 4 }, fc.nat(4095)),
        bytes: fc.oneof({ arbitrary: fc.constantFrom(4096, 8192, 65536), weight: 3 }, fc.nat(20000)),
      }),
      { maxLength: 24, size: "max" },
    ),
    refuseAt: fc.oneof({ arbitrary: fc.constant(0), weight: 3 }, fc.integer({ min: 1, max: 8 })),
  }),
  { maxLength: 40, size: "max" },
);

const tables: TableOptions[] = [
  {},
  { cache: "fifo", threads: 1 },
  { invalidate: "lazy", cache: "fifo", threads: 1 },
  { invalidate: "lazy", pools: 4, largePool: true },
  { pools: 4 },
];

/** Every byte of every segment leads to the byte of the element that it stands for. */
function checkBytes(ops: ModelOps, list: ScatterList): void {
  let element = 0;
  let done = 0n;
  for (let segment = 0; segment < list.segments; segment++) {
    const end = list.iovas[segment]! + BigInt(list.segmentBytes[segment]!);
    for (let at = list.iovas[segment]!; at < end; ) {
      while (done === BigInt(list.bytes[element]!)) [element, done] = [element + 1, 0n];
      const entry = ops.entries[Number((at - BASE) / PAGE)]!;
      assert.equal(entry.access, 3);
      assert.equal(BigInt(entry.page) * PAGE + ((at - BASE) % PAGE), list.addresses[element]! + done);
      const [left, inPage] = [BigInt(list.bytes[element]!) - done, PAGE - ((at - BASE) % PAGE)];
      const step = [left, inPage, end - at].reduce((a, b) => (a < b ? a : b));
      at += step;
      done += step;
    }
  }
}

function run(history: readonly Step[], options: TableOptions, gathers: boolean): Record<string, number> {
  const ops = new ModelOps(ENTRIES);
  ops.gathers = gathers;
  const window = { base: BASE, pageShift: 12, entries: ENTRIES } as unknown as DmaWindow;
  const table = IommuTable.create(window, ops, options);
  const device = new DmaDevice(table);
  const lists = Array.from({ length: LISTS }, () => new ScatterList(24));
  const pages = new Array<number>(LISTS).fill(-1);
  const tally: Record<string, number> = {};
  for (const { list: index, pieces, refuseAt } of history) {
    const list = lists[index]!;
    if (pages[index] !== -1) {
      assert.equal(device.unmapSg(list), undefined);
      pages[index] = -1;
    } else {
      list.clear();
      for (const { page, offset, bytes } of pieces) list.addNumber(page * 4096 + offset, bytes);
      let sets = 0;
      // Where sets are gathered, half of the failures come from `publish`.
      const late = gathers && refuseAt > 0 && refuseAt % 2 === 0;
      ops.refuse = () => !late && ++sets === refuseAt;
      ops.refusePublish = () => late;
      const failure = device.mapSg(list, 3);
      const kind = failure ?? "mapped";
      tally[kind] = (tally[kind] ?? 0) + 1;
      if (failure === undefined) {
        pages[index] = pieces.reduce(
          (sum, { offset, bytes }) => sum + (bytes && Math.ceil((offset + bytes) / 4096)),
          0,
        );
      }
    }
    lists.forEach((mapped, i) => {
      if (pages[i] !== -1) checkBytes(ops, mapped);
    });
    const wanted = pages.reduce((sum, count) => sum + Math.max(0, count), 0);
    assert.equal(ops.used, wanted, "entries that translate, beside those of mapped lists");
    // Also what a failed mapSg had set: a device may have walked it (defect 12).
    if (options.invalidate !== "lazy") assert.equal(ops.stale.size, 0, "entries that the IOTLB may still know");
  }
  lists.forEach((list, i) => {
    if (pages[i] !== -1) device.unmapSg(list);
  });
  table.allocator.drain();
  assert.equal(table.statistics().taken, 0, "entries still taken");
  assert.deepEqual([ops.used, ops.stale.size], [0, 0]);
  return tally;
}

for (const options of tables) {
  for (const gathers of [false, true]) {
    const ops = gathers ? " and ops that gather" : "";
    test(`lists come and go on a table with ${JSON.stringify(options)}${ops}: bytes right, failures without a trace`, (t) => {
      t.diagnostic(`seed ${seed}`);
      const sum: Record<string, number> = {};
      fc.assert(
        fc.property(steps, (history) => {
          for (const [kind, count] of Object.entries(run(history, options, gathers)))
            sum[kind] = (sum[kind] ?? 0) + count;
        }),
        { seed, includeErrorInReport: true, numRuns: 60 },
      );
      const kinds = ["mapped", "table-full", "platform-refused", ...(gathers ? ["platform-busy"] : [])];
      for (const kind of kinds) assert.ok((sum[kind] ?? 0) > 10, `too few ${kind}: ${JSON.stringify(sum)}`);
    });
  }
}

test("a full table takes exactly its entries in single pages, from lists of any length", () => {
  const ops = new ModelOps(ENTRIES);
  const window = { base: BASE, pageShift: 12, entries: ENTRIES } as unknown as DmaWindow;
  const device = new DmaDevice(IommuTable.create(window, ops, { pools: 8 }), { boundaryMask: 2n ** 64n - 1n });
  const lists: ScatterList[] = [];
  for (let left = ENTRIES, length = 1; left > 0; length = Math.min(length + 6, left)) {
    const list = new ScatterList(length);
    for (let i = 0; i < length; i++) list.addNumber(0x100000 + i * 8192, 4096);
    assert.equal(device.mapSg(list, 1), undefined, `${length} of the last ${left} pages`);
    lists.push(list);
    left -= length;
  }
  assert.equal(ops.used, ENTRIES);
  const one = new ScatterList(1);
  one.addNumber(0x5000, 1);
  assert.equal(device.mapSg(one, 1), "table-full");
  for (const list of lists) assert.equal(device.unmapSg(list), undefined);
  assert.equal(ops.used, 0);
});

test("the largest mapping that an empty table promises can be made, also across pools (review of 2026-11-30, defect 2)", () => {
  const window = { base: 0x20000n, pageShift: 12, entries: 128 } as unknown as DmaWindow;
  const table = IommuTable.create(window, new ModelOps(128), { pools: 2 });
  const limits = { boundaryMask: 0x3ffffn };
  const bytes = largestMapping([{ kind: "translated", table }], limits);
  assert.equal(bytes, 2 ** 18);
  assert.deepEqual(new DmaDevice(table, limits).map(0n, bytes, 1), { iova: 0x40000n, bytes, access: 1 });
});
