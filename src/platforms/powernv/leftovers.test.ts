import assert from "node:assert/strict";
import { test } from "node:test";
import type { SoftwareMachine } from "../../machines/software/machine.ts";
import { TableGroup } from "./group.ts";
import { LEAST_FREE_ENTRIES } from "./reservations.ts";
import { machineWith, mapPages, phbOn, readAt, readByte } from "./set-up.model.ts";
import { PowernvTable } from "./table.ts";

const OLD_TABLE = 2 ** 20;

/** The bytes of a TCE, or of an inner entry, below 4 GiB. */
function writeTce(machine: SoftwareMachine, at: number, value: number): void {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setUint32(4, value);
  machine.memory.write(at, bytes);
}

test("what a crashed kernel left mapped stays mapped and reserved; the rest can be used", () => {
  const machine = machineWith();
  const phb = phbOn(machine);
  const group = TableGroup.create(phb, 1);
  phb.bindDevice("nic", 1);
  for (const entry of [7, 8, 9, 4095]) writeTce(machine, OLD_TABLE + entry * 8, 0x5000 | 3);
  machine.memory.write(0x5000, Uint8Array.of(55));
  const table = group.createTable({ pageShift: 12, windowBytes: 2n ** 24n, levels: 1, window: 0, existing: OLD_TABLE });
  assert.deepEqual(table.leftovers, {
    kept: [
      { first: 7, end: 10 },
      { first: 4095, end: 4096 },
    ],
    released: undefined,
  });
  assert.equal(group.setWindow(table), undefined);
  for (const entry of [7, 9, 4095]) assert.equal(readAt(machine, "nic", table.generic, entry), 55, "old DMA goes on");
  const all = Array.from({ length: 4096 - 5 }, () => table.generic.allocate(1));
  assert.ok(all.every((entry) => entry > 0 && ![7, 8, 9, 4095].includes(entry)));
  assert.ok(table.generic.allocate(1) < 0);
  assert.equal(table.takeOwnership(), "in-use");
});

test("ownership is refused while a crashed kernel's entries are mapped, though nothing is allocated", () => {
  const machine = machineWith();
  const phb = phbOn(machine);
  writeTce(machine, OLD_TABLE + 7 * 8, 0x5000 | 3);
  const options = { pageShift: 12, windowBytes: 2n ** 24n, levels: 1, window: 0, existing: OLD_TABLE } as const;
  const table = PowernvTable.create(phb, options);
  assert.equal(table.takeOwnership(), "in-use");
  table.ops.clear(7, 1);
  assert.ok(typeof table.takeOwnership() !== "string");
});

test("when fewer than 2048 entries are free, the top 2048 are emptied and handed out", () => {
  for (const [filled, released] of [
    [2047, false],
    [2048, true],
  ] as const) {
    const machine = machineWith();
    const phb = phbOn(machine);
    const group = TableGroup.create(phb, 1);
    phb.bindDevice("nic", 1);
    // Entry 0 is reserved besides: 4096 − 1 − filled are free.
    for (let entry = 4096 - filled; entry < 4096; entry++) writeTce(machine, OLD_TABLE + entry * 8, 0x5000 | 3);
    const options = { pageShift: 12, windowBytes: 2n ** 24n, levels: 1, window: 0, existing: OLD_TABLE } as const;
    const table = group.createTable(options);
    assert.equal(group.setWindow(table), undefined);
    const { kept } = table.leftovers as { kept: readonly { first: number; end: number }[] };
    if (!released) {
      assert.deepEqual(kept, [{ first: 4096 - filled, end: 4096 }]);
      assert.equal(table.leftovers?.released, undefined);
      continue;
    }
    assert.deepEqual(kept, []);
    assert.deepEqual(table.leftovers?.released, { first: 4096 - LEAST_FREE_ENTRIES, end: 4096 });
    assert.equal(readAt(machine, "nic", table.generic, 4000), undefined, "released is emptied");
    const all = Array.from({ length: 4095 }, () => table.generic.allocate(1));
    assert.ok(all.every((entry) => entry > 0));
  }
});

test("a left table of two levels is taken over with its levels, which are not ours to free", () => {
  const machine = machineWith();
  const phb = phbOn(machine);
  const group = TableGroup.create(phb, 1);
  phb.bindDevice("nic", 1);
  const oldLevel = OLD_TABLE + 8192;
  writeTce(machine, OLD_TABLE + 3 * 8, oldLevel | 3);
  writeTce(machine, oldLevel + 5 * 8, 0x6000 | 1);
  machine.memory.write(0x6000, Uint8Array.of(66));
  const options = { pageShift: 12, windowBytes: 2n ** 30n, levels: 2, window: 0, existing: OLD_TABLE } as const;
  const table = group.createTable(options);
  const entry = 3 * 512 + 5;
  assert.deepEqual(table.leftovers?.kept, [{ first: entry, end: entry + 1 }]);
  assert.equal(group.setWindow(table), undefined);
  assert.equal(readAt(machine, "nic", table.generic, entry), 66);
  const mapped = mapPages(table.generic, 6);
  assert.equal(readAt(machine, "nic", table.generic, mapped), 66);
  assert.ok(phb.pages.takenPages > 0, "new levels are ours");
  assert.equal(table.generic.unmap(mapped, 1), undefined);
  assert.equal(table.release(), undefined);
  assert.equal(group.unsetWindow(table), undefined);
  assert.equal(phb.pages.takenPages, 0);
  const bytes = new Uint8Array(8);
  machine.memory.read(OLD_TABLE + 3 * 8, bytes);
  assert.equal(bytes[7], 3, "the old level stands where it stood");
  assert.equal(readByte(machine, "nic", BigInt(entry) << 12n), undefined);
});

test("a left table whose levels lie outside of memory, beyond 4 GiB or in our region is refused, untouched", () => {
  const machine = machineWith();
  const phb = phbOn(machine);
  const options = { pageShift: 12, windowBytes: 2n ** 30n, levels: 2, window: 0 } as const;
  for (const level of [2 ** 21, 2 ** 22, 2 ** 22 - 4096]) {
    writeTce(machine, OLD_TABLE, level | 3);
    assert.throws(
      () => PowernvTable.create(phb, { ...options, existing: OLD_TABLE }),
      /level of an existing table is \[/,
    );
  }
  machine.memory.write(OLD_TABLE, Uint8Array.of(0, 0, 0, 1, 0, 0x10, 0, 3));
  assert.throws(() => PowernvTable.create(phb, { ...options, existing: OLD_TABLE }), /below 4 GiB/);
  for (const existing of [5, -4096, 2 ** 21, Number.NaN, 2 ** 22]) {
    assert.throws(() => PowernvTable.create(phb, { ...options, existing }), /level of an existing table/);
  }
  assert.equal(phb.pages.takenPages, 0);
});
