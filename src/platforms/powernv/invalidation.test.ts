/** What goes to TCE_KILL when entries are unmapped, and how: the addresses, and that no bigint is made on the way of a mapping. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Registers } from "../../machine/contract.ts";
import { joinHalves } from "../../units/words64.ts";
import { TableGroup } from "./group.ts";
import { Phb } from "./phb.ts";
import { DEVICES, machineWith, mapPages, REGION } from "./set-up.model.ts";

// By its number: what the platform names could be wrong on both sides.
const TCE_KILL = 0x210;

/** A bridge whose writes of 64 bits are written down, with the group of PE 3. */
function watched() {
  const machine = machineWith({ memoryBytes: 2 ** 22 });
  const kills: bigint[] = [];
  const bigints: number[] = [];
  const { registers } = machine;
  const watching: Registers = {
    read32: (at) => registers.read32(at),
    write32: (at, value) => registers.write32(at, value),
    read64: (at) => {
      bigints.push(at);
      return registers.read64(at);
    },
    write64: (at, value) => {
      bigints.push(at);
      registers.write64(at, value);
    },
    writeHalves64: (at, high, low) => {
      if (at === TCE_KILL) kills.push(joinHalves(high, low));
      registers.writeHalves64(at, high, low);
    },
    readHigh64: (at) => registers.readHigh64(at),
    readLow64: (at) => registers.readLow64(at),
  };
  const seen = { memory: machine.memory, registers: watching, faults: () => machine.faults() };
  return { machine: seen, kills, bigints };
}

for (const [generation, pageShifts] of [
  ["power9", [12, 16, 21, 30]],
  ["power8", [24, 28]],
] as const) {
  for (const pageShift of pageShifts) {
    test(`${generation}: an entry of 2^${pageShift} bytes is killed at its bus address, with its PE, in both windows`, () => {
      const { machine, kills, bigints } = watched();
      const phb = Phb.create(machine, { generation, devices: DEVICES, region: REGION, threads: 4 });
      const group = TableGroup.create(phb, 3);
      for (const window of [0, 1] as const) {
        const levels = pageShift > 24 ? 2 : 3;
        const shape = { pageShift, windowBytes: 1n << BigInt(pageShift + 17), levels };
        const table = group.createTable({ ...shape, window });
        assert.equal(group.setWindow(table), undefined);
        const { ops } = table;
        for (const entry of [0, 1, 511, 512, 2 ** 16 + 3, 2 ** 17 - 1]) {
          kills.length = bigints.length = 0;
          assert.equal(ops.invalidate(entry, entry + 1), undefined);
          const base = window === 0 ? 0n : 1n << 59n;
          assert.deepEqual(kills, [(1n << 61n) | base | (BigInt(entry) << BigInt(pageShift)) | 3n]);
          assert.deepEqual(bigints, []);
        }
      }
    });
  }
}

test("up to 64 entries are killed one by one, more by their PE, in each group that has the table, and then all wait once", () => {
  const { machine, kills } = watched();
  const phb = Phb.create(machine, { devices: DEVICES, region: REGION, threads: 4 });
  const [first, second] = [TableGroup.create(phb, 1), TableGroup.create(phb, 3)];
  const table = first.createTable({ pageShift: 12, windowBytes: 2n ** 20n, levels: 1, window: 0 });
  assert.equal(first.setWindow(table), undefined);
  assert.equal(second.setWindow(table), undefined);
  kills.length = 0;
  assert.equal(table.ops.invalidate(100, 164), undefined);
  const ones = (pe: bigint) => Array.from({ length: 64 }, (_, i) => (1n << 61n) | (BigInt(100 + i) << 12n) | pe);
  assert.deepEqual(kills, [...ones(1n), ...ones(3n)]);
  kills.length = 0;
  assert.equal(table.ops.invalidate(100, 165), undefined);
  assert.equal(table.ops.invalidateAll(), undefined);
  const both = [(1n << 62n) | 1n, (1n << 62n) | 3n];
  assert.deepEqual(kills, [...both, ...both]);
});

test("mapping and unmapping make no bigint: every access of a register is by halves", () => {
  const { machine, bigints } = watched();
  const phb = Phb.create(machine, { devices: DEVICES, region: REGION, threads: 4 });
  const group = TableGroup.create(phb, 1);
  const table = group.createTable({ pageShift: 12, windowBytes: 2n ** 22n, levels: 2, window: 1 });
  assert.equal(group.setWindow(table), undefined);
  bigints.length = 0;
  for (const count of [1, 3, 100]) {
    const entry = mapPages(table.generic, 5, count);
    assert.equal(table.generic.unmap(entry, count), undefined);
  }
  assert.deepEqual(bigints, []);
});
