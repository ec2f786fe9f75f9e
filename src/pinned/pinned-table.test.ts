/** Pinned tables in one thread: user addresses, regions and counts of entries, order of invalidations, failures without a trace. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Crew } from "../crew/crew.ts";
import * as memory from "../shared/memory.ts";
import type { DmaWindow } from "../units/numbers.ts";
import { opsWords, StaleOps } from "./ops.model.ts";
import { PinnedMemory } from "./pinned-memory.ts";
import { PinnedTable } from "./pinned-table.ts";

const ENTRIES = 32;

/** User page n lies in physical page n − 1000; regions A = [1000, 1008) and B = [1008, 1016) are registered. */
function scene(pageShift = 12) {
  const crew = Crew.create({ threads: 4 });
  const pinned = PinnedMemory.create({ memoryBytes: 2 ** 20, crew });
  const dirty: number[] = [];
  const reached: number[] = [];
  const words = memory.wordsOf(memory.createShared(4 * opsWords(ENTRIES)));
  const ops = new StaleOps(memory, words, ENTRIES);
  const user = {
    pageOf: (page: number) => (page < 1100 ? page - 1000 : -1),
    backingShift: () => 16,
    onUnpin: (_: number, page: number, isDirty: boolean) => {
      if (isDirty) dirty.push(page);
      if (ops.reachable().includes(page)) reached.push(page);
    },
  };
  const owner = pinned.addOwner({ limitBytes: 2 ** 20 }, user) as number;
  const [a, b] = [1000, 1008].map((page) => pinned.register(owner, page, 8) as number) as [number, number];
  const window: DmaWindow = { base: 0n, pageShift, entries: ENTRIES };
  const table = PinnedTable.create(pinned, owner, window, ops);
  const anotherView = (): { pinned: PinnedMemory; table: PinnedTable } => {
    const view = PinnedMemory.attach(pinned.handle, Crew.attach(crew.handle));
    return { pinned: view, table: PinnedTable.attach(view, table.handle, new StaleOps(memory, words, ENTRIES)) };
  };
  const counts = (): number[] => [a, b].map((region) => pinned.mapped(region) - 1);
  const entries = (): (number | undefined)[] =>
    Array.from({ length: 6 }, (_, entry) => {
      const value = table.get(entry);
      return typeof value === "object" ? value.userPage : undefined;
    });
  return { crew, pinned, owner, a, b, ops, table, anotherView, counts, entries, dirty, reached };
}

test("map counts each entry in its region, also over regions that adjoin, and unmap lowers them", () => {
  const { table, counts, entries, ops } = scene();
  assert.equal(table.map(1, 4, 1006, 3), undefined);
  assert.deepEqual(counts(), [2, 2]);
  assert.deepEqual(entries(), [undefined, 1006, 1007, 1008, 1009, undefined]);
  assert.deepEqual(ops.reachable(), [6, 7, 8, 9]);
  assert.equal(table.mapped, 4);
  assert.equal(table.unmap(2, 2), undefined);
  assert.deepEqual(counts(), [1, 1]);
  assert.equal(table.unmap(0, ENTRIES), undefined);
  assert.deepEqual(counts(), [0, 0]);
  assert.deepEqual(ops.reachable(), []);
  assert.equal(table.unmap(0, 3), undefined, "of nothing");
});

test("a map over live entries replaces them and lowers the old region, after the invalidation (spec section 8, defect 28)", () => {
  const { table, counts, entries, pinned, a, ops, dirty, reached } = scene();
  assert.equal(table.map(0, 3, 1000, 3), undefined);
  ops.isBusy = () => true;
  assert.equal(table.map(1, 2, 1008, 1), "EAGAIN");
  assert.deepEqual(counts(), [3, 2], "the device may still use the old pages");
  assert.equal(pinned.put(a), "EBUSY");
  ops.isBusy = () => false;
  assert.equal(table.map(1, 2, 1008, 1), undefined);
  assert.deepEqual(counts(), [1, 2]);
  assert.deepEqual(entries().slice(0, 4), [1000, 1008, 1009, undefined]);
  assert.equal(table.unmap(0, 1), undefined);
  assert.equal(pinned.put(a), undefined);
  assert.deepEqual([dirty, reached], [[2, 1, 0], []]);
});

test("only pages that a device could write are dirty", () => {
  const { table, pinned, b, dirty } = scene();
  assert.equal(table.map(0, 1, 1008, 1), undefined);
  assert.equal(table.map(1, 1, 1009, 2), undefined);
  assert.equal(table.clear(), undefined);
  assert.equal(pinned.put(b), undefined);
  assert.deepEqual(dirty, [9]);
});

test("a map that fails midway leaves the entries, and the counts, as they were", () => {
  const { table, counts, entries, ops, pinned, a } = scene();
  assert.equal(table.map(1, 1, 1015, 3), undefined);
  assert.equal(table.map(0, 5, 1012, 3), "ENOENT", "pages from 1016 on are not registered");
  assert.deepEqual([counts(), entries()[1]], [[0, 1], 1015]);
  ops.refuses = 3;
  assert.equal(table.map(0, 5, 1000, 3), "ENOMEM");
  assert.deepEqual(
    [counts(), entries()],
    [
      [0, 1],
      [undefined, 1015, undefined, undefined, undefined, undefined],
    ],
  );
  assert.deepEqual(ops.reachable(), [15]);
  assert.equal(pinned.put(a), undefined);
});

test("the IO page must fit the pages behind the region, and be aligned to the user address", () => {
  const { table, counts, pinned, owner } = scene(14);
  assert.equal(table.map(0, 2, 1001, 3), "EINVAL");
  assert.equal(table.map(0, 2, 1004, 3), undefined);
  assert.deepEqual(counts(), [1, 1]);
  const narrow = pinned.register(owner, 1017, 8) as number;
  assert.equal(pinned.regionOf(narrow).backingShift, 12);
  assert.equal(table.map(0, 1, 1020, 3), "EFAULT");
  assert.deepEqual(counts(), [1, 1]);
});

test("entries outside of the window, and an access above 3, are misuse", () => {
  const { table } = scene();
  assert.throws(() => table.map(ENTRIES - 1, 2, 1000, 3), /entries of a pinned table is \[31, 31 \+ 2\)/);
  assert.throws(() => table.unmap(-1, 1), /entries of a pinned table/);
  assert.throws(() => table.map(0, 1, 1000, 4 as never), /access is 4/);
  table.close();
  table.close();
  assert.throws(() => table.map(0, 1, 1000, 3), /view of the pinned table is closed/);
});

test("ops that throw leave the entries as they were", () => {
  const { table, counts, ops, entries } = scene();
  const { exchange } = ops;
  ops.exchange = (entry, page, access, old) => {
    if (entry === 2) throw new Error("machine gone");
    return exchange.call(ops, entry, page, access, old);
  };
  assert.throws(() => table.map(0, 4, 1000, 3), /machine gone/);
  assert.deepEqual([counts(), entries()[0]], [[0, 0], undefined]);
});

test("a thread unmaps entries that another has mapped, and the table's removal empties it", () => {
  const { table, anotherView, counts, ops } = scene();
  const other = anotherView();
  assert.equal(table.map(0, 4, 1000, 3), undefined);
  assert.equal(other.table.unmap(0, 2), undefined);
  assert.deepEqual(counts(), [2, 0]);
  assert.equal(other.table.remove(), undefined);
  assert.deepEqual([counts(), ops.reachable()], [[0, 0], []]);
});

test("the end of the process empties the table before its regions are unpinned", () => {
  const { crew, pinned, owner, anotherView, ops, reached } = scene();
  const dead = anotherView();
  assert.equal(dead.pinned.join(owner), undefined);
  assert.equal(dead.table.map(0, 4, 1004, 3), undefined);
  assert.equal(crew.reclaim(dead.pinned.thread, "in-flight").isFree, false);
  assert.deepEqual(ops.reachable(), [4, 5, 6, 7]);
  assert.equal(crew.reclaim(dead.pinned.thread, "everything").isFree, true);
  assert.deepEqual([ops.reachable(), pinned.pins, pinned.hasOwner(owner), reached], [[], 0, false, []]);
});

test("a platform that is busy keeps the regions of a process pinned until it can invalidate", () => {
  const { crew, pinned, owner, anotherView, ops, reached } = scene();
  const dead = anotherView();
  assert.equal(dead.pinned.join(owner), undefined);
  assert.equal(dead.table.map(0, 4, 1004, 3), undefined);
  ops.isBusy = () => true;
  assert.throws(
    () => crew.reclaim(dead.pinned.thread, "everything"),
    /the mappings of owner 16 of thread 1 can't end: EAGAIN/,
  );
  assert.equal(pinned.pins, 16);
  ops.isBusy = () => false;
  assert.equal(crew.reclaim(dead.pinned.thread, "everything").isFree, true);
  assert.deepEqual([ops.reachable(), pinned.pins, reached], [[], 0, []]);
});

test("the last thread of a process ends its tables, also when another thread has made and used them", () => {
  const { crew, pinned, owner, anotherView, ops, reached } = scene();
  const dead = anotherView();
  assert.equal(dead.pinned.join(owner), undefined);
  const last = PinnedMemory.attach(pinned.handle, Crew.attach(crew.handle));
  assert.equal(last.join(owner), undefined);
  assert.equal(dead.table.map(0, 4, 1004, 3), undefined);
  assert.equal(crew.reclaim(dead.pinned.thread, "everything").isFree, true);
  assert.deepEqual([ops.reachable(), pinned.pins], [[4, 5, 6, 7], 16]);
  assert.equal(crew.reclaim(last.thread, "everything").isFree, true);
  assert.deepEqual([ops.reachable(), pinned.pins, reached], [[], 0, []]);
});

test("endOwner empties the tables of the process", () => {
  const { pinned, owner, table, ops, reached } = scene();
  assert.equal(table.map(0, 4, 1004, 3), undefined);
  assert.equal(pinned.endOwner(owner), undefined);
  assert.deepEqual([ops.reachable(), pinned.pins, reached], [[], 0, []]);
});
