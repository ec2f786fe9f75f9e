/** The ops of a TCE table of several levels, entry by entry: what the spec says of exchange, invalidation afterwards, holes, and clear. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { EntryValue } from "../../table/contract.ts";
import { TableGroup } from "./group.ts";
import type { TceOps } from "./ops.ts";
import { machineWith, phbOn, readAt } from "./set-up.model.ts";

function twoLevels() {
  const machine = machineWith({ iotlb: { entries: 16, ways: 4 } });
  const phb = phbOn(machine);
  const group = TableGroup.create(phb, 1);
  phb.bindDevice("nic", 1);
  const table = group.createTable({ pageShift: 12, windowBytes: 2n ** 30n, levels: 2, window: 0 });
  assert.equal(group.setWindow(table), undefined);
  for (let page = 1; page < 64; page++) machine.memory.write(page * 4096, Uint8Array.of(page));
  const read = (entry: number): number | undefined => {
    const byte = readAt(machine, "nic", table.generic, entry);
    machine.translation.thaw(1);
    return byte;
  };
  return { machine, phb, table, ops: table.ops, read };
}

function get(ops: ReturnType<typeof twoLevels>["ops"], entry: number): EntryValue {
  const value: EntryValue = { page: -1, access: 0 };
  ops.get(entry, value);
  return value;
}

test("exchange swaps one entry and gives back page and direction; the device sees the old one until a batch is invalidated", () => {
  const { ops, read } = twoLevels();
  // Of three levels: the last entry of one, the first of the next, one far away.
  const entries = [511, 512, 5000];
  for (const [i, entry] of entries.entries()) assert.equal(ops.set(entry, 1, 10 + i, i === 0 ? 1 : 3), undefined);
  ops.publish();
  assert.deepEqual(entries.map(read), [10, 11, 12]);
  const old: EntryValue = { page: -1, access: 0 };
  const olds = entries.map((entry, i) => {
    assert.equal(ops.exchange(entry, 20 + i, 3, old), undefined);
    return { ...old };
  });
  // Who keeps books of pages marks those dirty whose old direction let the device write.
  const expected: EntryValue[] = [10, 11, 12].map((page, i) => ({ page, access: i === 0 ? 1 : 3 }));
  assert.deepEqual(olds, expected);
  ops.publish();
  assert.deepEqual(entries.map(read), [10, 11, 12], "nothing was invalidated");
  assert.equal(ops.invalidate(511, 513) ?? ops.invalidate(5000, 5001), undefined);
  assert.deepEqual(entries.map(read), [20, 21, 22]);
});

test("exchange makes the level that it needs, and tells of an empty entry; one that is refused changes nothing", () => {
  const { phb, ops, read } = twoLevels();
  const before = phb.pages.takenPages;
  const old: EntryValue = { page: -1, access: 3 };
  assert.equal(ops.exchange(3000, 7, 3, old), undefined);
  assert.deepEqual(old, { page: 0, access: 0 });
  assert.equal(phb.pages.takenPages, before + 1);
  for (const page of [2 ** 52, -1, 0.5, Number.NaN]) {
    assert.equal(ops.exchange(3000, page, 3, old), "platform-refused");
    assert.equal(ops.exchange(9000, page, 3, old), "platform-refused");
  }
  assert.equal(phb.pages.takenPages, before + 1);
  assert.deepEqual(get(ops, 3000), { page: 7, access: 3 });
  ops.publish();
  assert.equal(read(3000), 7);
});

test("a hole reads as empty, and clearing it makes no level; entries on both sides of one go", () => {
  const { phb, ops, table } = twoLevels();
  const before = phb.pages.takenPages;
  const { entries } = table.geometry;
  assert.deepEqual(get(ops, entries - 1), { page: 0, access: 0 });
  ops.clear(0, entries);
  assert.equal(phb.pages.takenPages, before);
  assert.equal(ops.set(1000, 48, 5, 3), undefined);
  assert.equal(ops.set(4000, 5, 5, 3), undefined);
  ops.clear(1010, 2994);
  assert.deepEqual(get(ops, 1009), { page: 14, access: 3 });
  assert.deepEqual(get(ops, 1010), { page: 0, access: 0 });
  assert.deepEqual(get(ops, 4003), { page: 0, access: 0 });
  assert.deepEqual(get(ops, 4004), { page: 9, access: 3 });
  // Right behind a hole of one level: a hole ends where its level does.
  assert.equal(ops.set(10 * 512, 2, 5, 3), undefined);
  assert.equal((ops as TceOps).endOfHole(9 * 512 + 7), 10 * 512);
  ops.clear(9 * 512, 513);
  assert.deepEqual([get(ops, 10 * 512).access, get(ops, 10 * 512 + 1).access], [0, 3]);
});

test("a set over several levels is one run of pages, and writing implies reading", () => {
  const { phb, ops } = twoLevels();
  const before = phb.pages.takenPages;
  assert.equal(ops.set(500, 1100, 2 ** 40, 2), undefined);
  assert.equal(phb.pages.takenPages, before + 4);
  for (const entry of [500, 511, 512, 1023, 1024, 1535, 1536, 1599]) {
    assert.deepEqual(get(ops, entry), { page: 2 ** 40 + entry - 500, access: 3 });
  }
  assert.deepEqual([get(ops, 499).access, get(ops, 1600).access], [0, 0]);
  assert.equal(ops.set(500, 1100, 2 ** 52 - 1099, 3), "platform-refused", "the last page is invalid");
  assert.deepEqual(get(ops, 500), { page: 2 ** 40, access: 3 });
});
