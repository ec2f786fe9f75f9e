/**
 * The law of the generic table, seen by ops that write everything down: alloc = bits, then entries; free = entries, then
 * invalidate, then bits.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { range } from "../allocator/allocator.model.ts";
import { UNCONSTRAINED } from "../allocator/constraints.ts";
import type { Failure } from "../units/failure.ts";
import type { Access, DmaWindow } from "../units/numbers.ts";
import type { EntryValue, TableOps } from "./contract.ts";
import { IommuTable, iovaOf, type TableOptions } from "./iommu-table.ts";

const window: DmaWindow = { base: 0x8000_0000n, pageShift: 12, entries: 256 };

/** Entries in an array; every call is written down. `watch` is called first in each. */
class RecordingOps implements TableOps {
  readonly calls: string[] = [];
  readonly pages: Array<number | undefined> = new Array(256).fill(undefined);
  failing: Failure | undefined;
  /** What `publish` answers. */
  publishing: Failure | undefined;
  watch: (call: string) => void = () => undefined;

  set(first: number, count: number, page: number, _access: Access): Failure | undefined {
    this.#note(`set ${first}+${count}`);
    for (let i = 0; i < count; i++) this.pages[first + i] = page + i;
    return undefined;
  }
  clear(first: number, count: number): void {
    this.#note(`clear ${first}+${count}`);
    this.pages.fill(undefined, first, first + count);
  }
  get(entry: number, into: EntryValue): void {
    into.page = this.pages[entry] ?? 0;
    into.access = this.pages[entry] === undefined ? 0 : 3;
  }
  exchange(): Failure | undefined {
    return "platform-refused";
  }
  publish(): Failure | undefined {
    this.#note("publish");
    return this.publishing;
  }
  invalidate(first: number, end: number): Failure | undefined {
    this.#note(`invalidate ${first}..${end}`);
    return this.failing;
  }
  invalidateAll(): Failure | undefined {
    this.#note("invalidate all");
    return this.failing;
  }
  #note(call: string): void {
    this.watch(call);
    this.calls.push(call);
  }
}

function tableWith(options: TableOptions = {}): { table: IommuTable; ops: RecordingOps } {
  const ops = new RecordingOps();
  return { table: IommuTable.create(window, ops, { pools: 1, largePool: false, threads: 2, ...options }), ops };
}

function map(table: IommuTable, count: number, page: number): number {
  const first = table.allocate(count, UNCONSTRAINED, -1);
  assert.ok(first >= 0);
  table.set(first, count, page, 3);
  table.publish();
  table.commit(first, count);
  return first;
}

test("bits are taken before entries are written, and no lock is held meanwhile", () => {
  const { table, ops } = tableWith();
  const other = IommuTable.attach(table.handle, new RecordingOps());
  ops.watch = (call) => {
    if (!call.startsWith("set")) return;
    const first = other.allocate(1, UNCONSTRAINED, -1);
    assert.ok(first >= 4, "the range being written belongs to its thread, and its pool's lock is free");
    other.abandon(first, 1);
  };
  assert.equal(map(table, 4, 100), 0);
});

test("setPages of ops that lack it sets page by page, all or nothing", () => {
  const { table, ops } = tableWith();
  const first = table.allocate(3, UNCONSTRAINED, -1);
  assert.equal(table.setPages(first, Float64Array.of(9, 4, 7), 3, 3), undefined);
  assert.deepEqual(ops.pages.slice(first, first + 4), [9, 4, 7, undefined]);
  assert.equal(table.abandon(first, 3), undefined);
  const { set } = ops;
  ops.set = (entry, count, page, access) =>
    page === 7 ? "platform-refused" : set.call(ops, entry, count, page, access);
  const next = table.allocate(3, UNCONSTRAINED, -1);
  assert.equal(table.setPages(next, Float64Array.of(9, 4, 7), 3, 3), "platform-refused");
  assert.ok(ops.pages.every((page) => page === undefined));
});

test("strict: entries are cleared, then invalidated, and only then can the range be taken", () => {
  const { table, ops } = tableWith();
  const other = IommuTable.attach(table.handle, new RecordingOps());
  const first = map(table, 256, 100);
  ops.calls.length = 0;
  ops.watch = () => assert.equal(other.allocate(1, UNCONSTRAINED, -1), -1, "not before the invalidation is over");
  assert.equal(table.unmap(first, 256), undefined);
  assert.deepEqual(ops.calls, ["clear 0+256", "publish", "invalidate 0..256"]);
  assert.equal(other.allocate(256, UNCONSTRAINED, -1), 0);
});

test("lazy: entries are cleared at once, and the range waits for a flush of the whole IOTLB", () => {
  const { table, ops } = tableWith({ invalidate: "lazy" });
  table.unmap(map(table, 200, 100), 200);
  assert.deepEqual(ops.calls.slice(2), ["clear 0+200", "publish"]);
  assert.equal(ops.pages[0], undefined);
  assert.equal(table.allocate(100, UNCONSTRAINED, -1), 0, "no space without the range: it is flushed and comes back");
  assert.equal(ops.calls.includes("invalidate all"), true);
});

test("a scatterlist's areas are checked before the first is touched", () => {
  const { table, ops } = tableWith();
  const first = map(table, 4, 100);
  const second = map(table, 4, 200);
  ops.calls.length = 0;
  const wrong = [
    [[first, second + 1], [4, 3], "not-allocated"],
    [[first, second], [4, 5], "wrong-length"],
    [[first, first], [4, 4], "not-allocated"],
  ] as const;
  for (const [firsts, counts, code] of wrong) {
    assert.throws(() => table.unmapAll(Int32Array.from(firsts), Int32Array.from(counts), 2), {
      name: "FreeError",
      code,
    });
    assert.deepEqual(ops.calls, []);
  }
  assert.equal(table.unmapAll(Int32Array.of(first, second), Int32Array.of(4, 4), 2), undefined);
  assert.deepEqual(
    ops.calls,
    ["clear 0+8", "publish", "invalidate 0..8"],
    "adjacent areas share one clearing and one invalidation",
  );
});

test("an abandoned range leaves no trace: entries, IOTLB, bits", () => {
  const { table, ops } = tableWith();
  const first = table.allocate(8, UNCONSTRAINED, -1);
  table.set(first, 4, 100, 3);
  ops.calls.length = 0;
  table.abandon(first, 8);
  assert.deepEqual(ops.calls, ["clear 0+8", "publish", "invalidate 0..8"]);
  assert.equal(
    ops.pages.every((page) => page === undefined),
    true,
  );
  assert.equal(table.statistics().taken, 0);
});

test("when the IOTLB can't be invalidated, the range is quarantined and the caller is told", () => {
  const { table, ops } = tableWith();
  const first = map(table, 8, 100);
  ops.failing = "platform-busy";
  assert.equal(table.unmap(first, 8), "platform-busy");
  assert.equal(table.statistics().quarantined, 8);
  assert.throws(() => table.unmap(first, 8), { code: "not-allocated" });
  ops.failing = undefined;
  assert.equal(table.allocator.flushIotlb(), undefined);
  assert.equal(table.statistics().quarantined, 0);
  assert.equal(table.allocate(256, UNCONSTRAINED, -1), 0);
});

test("entries that can't be emptied keep their range out of use, by unmap and by abandon, until an invalidation succeeds", () => {
  const { table, ops } = tableWith();
  const mapped = map(table, 8, 100);
  const list = [map(table, 4, 200), map(table, 4, 300)];
  const pending = [table.allocate(2, UNCONSTRAINED, -1), table.allocate(2, UNCONSTRAINED, -1)];
  const single = table.allocate(2, UNCONSTRAINED, -1);
  ops.publishing = "platform-busy";
  assert.equal(table.unmap(mapped, 8), "platform-busy");
  assert.equal(table.unmapAll(Int32Array.from(list), Int32Array.of(4, 4), 2), "platform-busy");
  table.abandonAll(Int32Array.from(pending), Int32Array.of(2, 2), 2);
  table.abandon(single, 2);
  assert.equal(table.statistics().quarantined, 22);
  ops.publishing = undefined;
  assert.equal(table.allocator.flushIotlb(), undefined);
  assert.equal(table.statistics().taken, 0);
});

test("lazy: a range whose entries can't be emptied is not left to the flush queue", () => {
  const { table, ops } = tableWith({ invalidate: "lazy" });
  const mapped = map(table, 8, 100);
  ops.publishing = "platform-refused";
  assert.equal(table.unmap(mapped, 8), "platform-refused");
  assert.deepEqual([table.statistics().quarantined, table.statistics().waiting], [8, 0]);
});

test("several abandoned areas are all cleared before anything is published, adjacent ones at once", () => {
  const { table, ops } = tableWith();
  const areas = [4, 4, 8, 4].map((count) => table.allocate(count, UNCONSTRAINED, -1));
  table.abandon(areas[2] as number, 8);
  ops.calls.length = 0;
  table.abandonAll(
    Int32Array.of(areas[0] as number, areas[1] as number, areas[3] as number),
    Int32Array.of(4, 4, 4),
    3,
  );
  assert.deepEqual(ops.calls.slice(0, 3), ["clear 0+8", "clear 16+4", "publish"]);
  assert.equal(table.statistics().taken, 0);
});

test("an abandon of a wrong length is a FreeError before any entry is cleared (review of 2026-11-30, defect 5)", () => {
  const { table, ops } = tableWith();
  const pending = table.allocate(50, UNCONSTRAINED, -1);
  const neighbour = map(table, 50, 100);
  assert.equal(neighbour, pending + 50);
  ops.calls.length = 0;
  const wrong = { name: "FreeError", code: "wrong-length" };
  assert.throws(() => table.abandon(pending, 70), wrong);
  assert.throws(() => table.abandonAll(Int32Array.of(pending), Int32Array.of(70), 1), wrong);
  assert.deepEqual(ops.calls, [], "the entries are untouched");
  assert.equal(table.statistics().taken, 100);
  table.abandon(pending, 50);
});

test("a dead thread's ranges that can't be cleared are not given back", () => {
  const { table, ops } = tableWith();
  const dead = IommuTable.attach(table.handle, ops);
  dead.set(dead.allocate(5, UNCONSTRAINED, -1), 5, 200, 3);
  ops.publishing = "platform-busy";
  assert.throws(() => table.reclaim(dead.thread, "in-flight"), { code: "platform-busy" });
  assert.deepEqual([table.statistics().quarantined, table.statistics().taken], [5, 5]);
});

for (const op of ["clear", "publish", "invalidate all"]) {
  test(`${op} throws during a reclaim: the error goes on, and the next reclaim has all ranges (review of 2026-11-30)`, () => {
    const { table, ops } = tableWith();
    const dead = IommuTable.attach(table.handle, new RecordingOps());
    const live = map(dead, 3, 100);
    const pending = dead.allocate(40, UNCONSTRAINED, -1);
    const error = new Error("the platform is gone");
    ops.watch = (call) => {
      if (call.startsWith(op)) throw error;
    };
    assert.throws(() => table.reclaim(dead.thread, "everything"), error);
    assert.throws(() => table.reclaim(dead.thread, "everything"), error, "the recovery lock is free");
    assert.equal(table.statistics().taken, 43, "nothing is handed out that may still translate");
    ops.watch = () => undefined;
    ops.calls.length = 0;
    // What was live has been begun with, so its entries may be empty: it comes back with what was in flight.
    assert.deepEqual(
      [...table.reclaim(dead.thread, "in-flight")],
      [range(live, live + 3), range(pending, pending + 40)],
    );
    assert.deepEqual(ops.calls, ["clear 0+43", "publish", "invalidate all"]);
    assert.equal(table.allocate(256, UNCONSTRAINED, -1), 0);
  });
}

test("a dead thread's pending and ending ranges come back, cleared and invalidated; its live ones only with everything", () => {
  const { table, ops } = tableWith({ invalidate: "lazy" });
  const dead = IommuTable.attach(table.handle, ops);
  const live = map(dead, 3, 100);
  const pending = dead.allocate(5, UNCONSTRAINED, -1);
  dead.set(pending, 5, 200, 3);
  dead.unmap(map(dead, 7, 300), 7);
  assert.deepEqual(
    [...table.reclaim(dead.thread, "in-flight")].map(({ first, end }) => end - first),
    [5, 7],
  );
  assert.equal(ops.pages[pending], undefined, "cleared");
  assert.equal(ops.calls[ops.calls.length - 1], "invalidate all");
  assert.equal(ops.pages[live], 100, "what is live stays mapped");
  assert.deepEqual([...table.reclaim(dead.thread, "everything")], [range(live, live + 3)]);
  assert.equal(table.allocate(256, UNCONSTRAINED, -1), 0);
  assert.throws(() => table.reclaim(dead.thread, "everything"), { code: "no-such-thread" });
  assert.throws(() => table.reclaim(table.thread, "everything"), { code: "own-thread" });
});

test("an entry becomes a bus address in one place, also in a window at 2^59", () => {
  assert.equal(iovaOf(window, 3), 0x8000_3000n);
  assert.equal(iovaOf({ ...window, base: 1n << 59n, pageShift: 16 }, 5), (1n << 59n) + 0x50000n);
});

test("a window that can't be is refused with its numbers", () => {
  const wrong: Array<readonly [Partial<DmaWindow>, RegExp]> = [
    [{ pageShift: 11 }, /page shift is 11/],
    [{ base: 0x800n }, /base is 0x800; expected a multiple of the IO page/],
    [{ entries: 0 }, /entries is 0/],
    [{ base: (1n << 64n) - 4096n }, /beyond 2\^64/],
  ];
  for (const [part, message] of wrong) {
    assert.throws(() => IommuTable.create({ ...window, ...part }, new RecordingOps()), {
      name: "InvalidArgumentError",
      message,
    });
  }
});

/** Methods of a table that act, and those that only read, or do nothing the second time. */
const ACTS: Readonly<Record<string, (table: IommuTable, pending: number, live: number) => unknown>> = {
  allocate: (table) => table.allocate(1),
  allocateAt: (table) => table.allocateAt(200, 5),
  get: (table, _, live) => table.get(live, { page: 0, access: 0 }),
  encloseOps: (table) => table.encloseOps((ops) => ops),
  set: (table, pending) => table.set(pending, 5, 100, 3),
  setPages: (table, pending) => table.setPages(pending, Float64Array.of(100, 7, 9, 8, 3), 5, 3),
  setCoherent: (table, pending) => table.setCoherent(pending, 5, 100, 3),
  synchronize: (table, pending) => table.synchronize(pending, 5),
  publish: (table) => table.publish(),
  commit: (table, pending) => table.commit(pending, 5),
  abandon: (table, pending) => table.abandon(pending, 5),
  abandonAll: (table, pending) => table.abandonAll(Int32Array.of(pending), Int32Array.of(5), 1),
  unmap: (table, _, live) => table.unmap(live, 7),
  unmapAll: (table, _, live) => table.unmapAll(Int32Array.of(live), Int32Array.of(7), 1),
  checkUnmap: (table, _, live) => table.checkUnmap(live, 7),
  awaitInvalidation: (table) => table.awaitInvalidation(),
  reserve: (table) => table.reserve(range(250, 256)),
  reclaim: (table) => table.reclaim(0, "everything"),
};
const STILL_ANSWER = ["handle", "thread", "statistics", "leaks", "holderOf", "mappings", "close"];

for (const [name, act] of Object.entries(ACTS)) {
  test(`${name} of a closed view throws view-closed, and no entry is touched (review of 2026-11-30, defect 7)`, () => {
    const { table, ops } = tableWith();
    const closed = IommuTable.attach(table.handle, ops);
    const pending = closed.allocate(5, UNCONSTRAINED, -1);
    const live = map(closed, 7, 100);
    closed.close();
    closed.close();
    ops.calls.length = 0;
    const { taken } = table.statistics();
    assert.throws(() => act(closed, pending, live), { name: "IovaError", code: "view-closed" });
    assert.deepEqual([ops.calls, table.statistics().taken, ops.pages[live]], [[], taken, 100]);
  });
}

test("every method of a table is classed as one that acts or one that reads", () => {
  const methods = Object.getOwnPropertyNames(IommuTable.prototype).filter((name) => name !== "constructor");
  assert.deepEqual(methods.toSorted(), [...Object.keys(ACTS), ...STILL_ANSWER].toSorted());
});
