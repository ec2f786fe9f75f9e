import assert from "node:assert/strict";
import { test } from "node:test";
import { InvalidArgumentError } from "../../units/errors.ts";
import { SoftwareMachine, type SoftwareMachineOptions } from "./machine.ts";
import { TCE, tce } from "./set-up.model.ts";
import { PASSED } from "./threads.ts";

const HIGH = 1n << 59n;

function machineOf(options: Partial<SoftwareMachineOptions> = {}): SoftwareMachine {
  return SoftwareMachine.create({
    memoryBytes: 2 ** 20,
    iommu: "none",
    devices: ["nic", "disk"],
    partitions: 3,
    windows: 2,
    ...options,
  });
}

/** A flat window of 64 pages over the table at `tableAddress`. */
function flat(base: bigint, tableAddress: number) {
  return { base, pageShift: 12, entries: 64, format: TCE, tableAddress };
}

function read(machine: SoftwareMachine, device: string, iova: bigint, length = 1): number[] | string | undefined {
  const bytes = new Uint8Array(length);
  if (machine.device(device).dmaRead(iova, bytes)) return [...bytes];
  return machine.faults()[0]?.reason;
}

test("two windows of one partition are told apart by their addresses, and a third address is outside of both", () => {
  const machine = machineOf();
  const unit = machine.translation;
  assert.equal(read(machine, "nic", 0n), "translation-off");
  assert.equal(unit.openWindow(0, 0, flat(0n, 0x10000)), PASSED);
  assert.equal(unit.openWindow(0, 1, flat(HIGH, 0x11000)), PASSED);
  machine.memory.write(0x10000, Uint8Array.from(tce(0x40000, 3)));
  machine.memory.write(0x11000, Uint8Array.from(tce(0x50000, 3)));
  machine.memory.write(0x40000, Uint8Array.of(4));
  machine.memory.write(0x50000, Uint8Array.of(5));
  assert.deepEqual(read(machine, "nic", 0n), [4]);
  assert.deepEqual(read(machine, "disk", HIGH), [5]);
  assert.equal(read(machine, "nic", 64n << 12n), "outside-window");
  unit.closeWindow(0, 0);
  assert.equal(read(machine, "nic", 0n), "outside-window");
  assert.deepEqual(read(machine, "nic", HIGH), [5]);
});

test("a DMA goes on from the end of one window to the beginning of the next", () => {
  const machine = machineOf();
  const unit = machine.translation;
  unit.openWindow(0, 1, flat(0n, 0x10000));
  unit.openWindow(0, 0, { ...flat(64n << 12n, 0x11000), pageShift: 16, entries: 4 });
  machine.memory.write(0x10000 + 63 * 8, Uint8Array.from(tce(0x40000, 3)));
  machine.memory.write(0x11000, Uint8Array.from(tce(0x50000, 3)));
  machine.memory.write(0x40fff, Uint8Array.of(7));
  machine.memory.write(0x50000, Uint8Array.of(8, 9));
  assert.deepEqual(read(machine, "nic", (64n << 12n) - 1n, 3), [7, 8, 9]);
});

test("devices of different partitions see their own windows, and a device that moves sees the new ones", () => {
  const machine = machineOf();
  const unit = machine.translation;
  unit.openWindow(1, 0, flat(0n, 0x10000));
  unit.openWindow(2, 0, flat(0n, 0x11000));
  machine.memory.write(0x10000, Uint8Array.from(tce(0x40000, 3)));
  machine.memory.write(0x11000, Uint8Array.from(tce(0x50000, 3)));
  machine.memory.write(0x40000, Uint8Array.of(4));
  machine.memory.write(0x50000, Uint8Array.of(5));
  unit.moveDevice(0, 1);
  unit.moveDevice(1, 2);
  assert.deepEqual(read(machine, "nic", 0n), [4]);
  assert.deepEqual(read(machine, "disk", 0n), [5]);
  unit.moveDevice(0, 2);
  assert.deepEqual(read(machine, "nic", 0n), [5]);
  assert.equal(unit.partitionOf(0), 2);
});

test("an invalidation of one window leaves what the IOTLB knows of another", () => {
  const machine = machineOf();
  const unit = machine.translation;
  unit.openWindow(0, 0, flat(0n, 0x10000));
  unit.openWindow(0, 1, flat(HIGH, 0x11000));
  for (const table of [0x10000, 0x11000]) machine.memory.write(table, Uint8Array.from(tce(0x40000, 3)));
  read(machine, "nic", 0n);
  read(machine, "nic", HIGH);
  for (const table of [0x10000, 0x11000]) machine.memory.write(table, new Uint8Array(8));
  assert.equal(unit.invalidate(0, 0, 0, 1), PASSED);
  assert.equal(read(machine, "nic", 0n), "not-mapped");
  assert.deepEqual(read(machine, "nic", HIGH), [0], "it is stale until it is invalidated itself");
  assert.equal(unit.invalidateAll(), PASSED);
  assert.equal(read(machine, "nic", HIGH), "not-mapped");
});

test("a table of three levels is walked down to its entries; where a level is missing nothing is mapped", () => {
  const machine = machineOf();
  const unit = machine.translation;
  const [root, middle, last] = [0x10000, 0x11000, 0x12000];
  const setup = {
    base: HIGH,
    pageShift: 12,
    entries: 2 ** 27,
    format: TCE,
    tableAddress: root,
    levels: 3,
    levelBits: 9,
  };
  assert.equal(unit.openWindow(0, 0, setup), PASSED);
  const entry = (5 << 18) | (6 << 9) | 7;
  const iova = HIGH + (BigInt(entry) << 12n);
  assert.equal(read(machine, "nic", iova), "not-mapped");
  machine.memory.write(root + 5 * 8, Uint8Array.from(tce(middle, 3)));
  assert.equal(read(machine, "nic", iova), "not-mapped");
  machine.memory.write(middle + 6 * 8, Uint8Array.from(tce(last, 3)));
  machine.memory.write(last + 7 * 8, Uint8Array.from(tce(0x40000, 1)));
  machine.memory.write(0x40000, Uint8Array.of(42));
  assert.deepEqual(read(machine, "nic", iova), [42]);
  assert.equal(machine.device("nic").dmaWrite(iova, Uint8Array.of(1)), false);
  assert.equal(machine.faults()[0]?.reason, "write-refused");
});

test("an inner entry that leads out of memory, or permits reading only, is bad and reads nothing", () => {
  const machine = machineOf();
  const setup = {
    base: 0n,
    pageShift: 12,
    entries: 2 ** 18,
    format: TCE,
    tableAddress: 0x10000,
    levels: 2,
    levelBits: 9,
  };
  machine.translation.openWindow(0, 0, setup);
  machine.memory.write(0x10000, Uint8Array.from(tce(2 ** 20 - 4096, 3)));
  assert.equal(read(machine, "nic", 0n), "not-mapped", "the last page of memory may be a level");
  machine.memory.write(0x10000, Uint8Array.from(tce(2 ** 20, 3)));
  assert.equal(read(machine, "nic", 0n), "bad-entry");
  machine.memory.write(0x10000, Uint8Array.from(tce(0x11000, 1)));
  assert.equal(read(machine, "nic", 0n), "bad-entry");
});

test("through a direct window the bus sees all of memory from the window's base on, and no more", () => {
  const machine = machineOf();
  machine.translation.openDirect(0, 1, HIGH);
  machine.memory.write(0x12345, Uint8Array.of(1, 2, 3));
  assert.deepEqual(read(machine, "nic", HIGH + 0x12345n, 3), [1, 2, 3]);
  assert.ok(machine.device("nic").dmaWrite(HIGH + 0xfffffn, Uint8Array.of(9)));
  assert.equal(read(machine, "nic", HIGH + 0x100000n), "outside-window");
});

test("a frozen partition drops every DMA without a fault, the others go on, and once thawed it works again", () => {
  const machine = machineOf();
  const unit = machine.translation;
  for (const partition of [1, 2]) unit.openDirect(partition, 0, 0n);
  unit.moveDevice(0, 1);
  unit.moveDevice(1, 2);
  unit.freezeOnFault(1, true);
  assert.deepEqual(read(machine, "nic", 0n), [0]);
  assert.equal(read(machine, "nic", 1n << 40n), "outside-window");
  assert.ok(unit.isFrozen(1));
  assert.equal(read(machine, "nic", 0n), undefined, "dropped, and no fault");
  assert.deepEqual(read(machine, "disk", 0n), [0]);
  assert.equal(machine.statistics().dropped, 1);
  unit.thaw(1);
  assert.deepEqual(read(machine, "nic", 0n), [0]);
  assert.equal(unit.freeze(2), PASSED);
  assert.equal(machine.device("disk").dmaWrite(0n, Uint8Array.of(1)), false);
  assert.equal(read(machine, "disk", 1n << 40n), undefined, "no fault is recorded");
});

test("invalid windows, partitions and devices are refused with the numbers, and open windows stay open", () => {
  const machine = machineOf();
  const unit = machine.translation;
  unit.openDirect(0, 0, 0n);
  const wrong: [() => unknown, RegExp][] = [
    [() => unit.openWindow(3, 0, flat(0n, 0)), /partition is 3; expected an integer from 0 to 2/],
    [() => unit.openWindow(0, 2, flat(0n, 0)), /window is 2; expected an integer from 0 to 1/],
    [() => unit.openWindow(0, 0, { ...flat(0n, 0), levels: 6, levelBits: 9 }), /levels of the window's table is 6/],
    [() => unit.openWindow(0, 0, { ...flat(0n, 0), levels: 2, levelBits: 8 }), /entries of a level, as log2 is 8/],
    [
      () => unit.openWindow(0, 0, { ...flat(0n, 0), levels: 2, levelBits: 20 }),
      /with 1048576 entries in memory, \[0x0, 0x100000\)/,
    ],
    [
      () => unit.openWindow(0, 0, { ...flat(0n, 0), format: 2, pageShift: 13, levels: 2, levelBits: 9 }),
      /expected 1 with/,
    ],
    [() => unit.moveDevice(2, 0), /device is 2/],
    [() => unit.moveDevice(0, 3), /partition is 3/],
  ];
  for (const [call, message] of wrong) {
    assert.throws(call, message);
    assert.throws(call, InvalidArgumentError);
  }
  assert.deepEqual(read(machine, "nic", 0n), [0]);
  assert.throws(() => machine.registers.read32(0), /this machine's IOMMU belongs to its hypervisor/);
  assert.throws(
    () => SoftwareMachine.create({ memoryBytes: 4096, iommu: "vtd" }),
    /iommu is "vtd"; expected one of none, linear/,
  );
});
