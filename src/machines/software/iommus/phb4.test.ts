import assert from "node:assert/strict";
import { test } from "node:test";
import { InvalidArgumentError } from "../../../units/errors.ts";
import { SoftwareMachine } from "../machine.ts";
import { requesterIdOf } from "./phb4.ts";

// Offsets and encodings as numbers, as a manual has them: what the platform names could be wrong on both sides.
const RTT = 0x20000;
const TABLE = 0x10000;
const PE = 2;
const SECOND = 1n << 59n;

function machineOf(memoryBytes = 2 ** 20, windows = 2): SoftwareMachine {
  const devices = ["a", "b"];
  return SoftwareMachine.create({ memoryBytes, iommu: "phb4", partitions: 4, windows, devices, threads: 2 });
}

function ioda(machine: SoftwareMachine, table: number, index: number, value: bigint): void {
  machine.registers.write64(0x220, (1n << 63n) | (BigInt(table) << 48n) | BigInt(index));
  machine.registers.write64(0x228, value);
}

function readIoda(machine: SoftwareMachine, table: number, index: number): bigint {
  machine.registers.write64(0x220, (BigInt(table) << 48n) | BigInt(index));
  return machine.registers.read64(0x228);
}

function bind(machine: SoftwareMachine, device: number, partition: number): void {
  machine.memory.write(RTT + 2 * requesterIdOf(device), Uint8Array.of(0, partition));
}

/** One level of 512 entries for 4 KiB pages; device a in PE 2. */
function started(): SoftwareMachine {
  const machine = machineOf();
  machine.registers.write64(0x168, (1n << 63n) | BigInt(RTT));
  bind(machine, 0, PE);
  machine.registers.write64(0x208, 1n << 63n);
  ioda(machine, 9, 2 * PE, (BigInt(TABLE >> 12) << 16n) | (1n << 8n) | 1n);
  return machine;
}

function writeTce(machine: SoftwareMachine, at: number, value: number): void {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setUint32(4, value);
  machine.memory.write(at, bytes);
}

/** The byte that a device reads, or why it can't; a freeze is ended. */
function read(machine: SoftwareMachine, iova: bigint, device = 0): number | string | undefined {
  const byte = new Uint8Array(1);
  if (machine.device(device).dmaRead(iova, byte)) return byte[0];
  for (let partition = 0; partition < 4; partition++) ioda(machine, 8, partition, 0n);
  return machine.faults()[0]?.reason;
}

test("a TVE's table translates its PE's first window, and what was killed is walked again", () => {
  const machine = started();
  writeTce(machine, TABLE + 5 * 8, 0x40000 | 1);
  machine.memory.write(0x40007, Uint8Array.of(7));
  machine.memory.write(0x41007, Uint8Array.of(8));
  assert.equal(read(machine, 0x5007n), 7);
  assert.equal(read(machine, 0x6007n), "not-mapped");
  assert.equal(read(machine, 512n << 12n), "outside-window");
  assert.equal(read(machine, SECOND + 0x5007n), "outside-window");
  assert.equal(read(machine, 0x5007n, 1), "translation-off", "the other device is in PE 0");
  for (const kill of [(1n << 61n) | 0x5000n | BigInt(PE), (1n << 62n) | BigInt(PE), 1n << 63n]) {
    writeTce(machine, TABLE + 5 * 8, 0x40000 | 1);
    machine.registers.write64(0x210, 1n << 63n);
    assert.equal(read(machine, 0x5007n), 7);
    writeTce(machine, TABLE + 5 * 8, 0x41000 | 1);
    assert.equal(read(machine, 0x5007n), 7, "stale");
    machine.registers.write64(0x210, (1n << 61n) | 0x6000n | BigInt(PE));
    machine.registers.write64(0x210, (1n << 61n) | 0x5000n | 1n);
    machine.registers.write64(0x210, (1n << 62n) | 1n);
    machine.registers.write64(0x210, (1n << 61n) | SECOND | 0x5000n | BigInt(PE));
    assert.equal(read(machine, 0x5007n), 7, "kills of another entry, PE or window take nothing away");
    machine.registers.write64(0x210, kill);
    assert.equal(read(machine, 0x5007n), 8);
  }
  machine.registers.write64(0x200, 1n << 63n);
  assert.equal(machine.registers.read64(0x200), 1n << 62n);
});

test("an RTT entry counts from the RTC invalidate on, and not before", () => {
  const machine = started();
  writeTce(machine, TABLE + 5 * 8, 0x40000 | 1);
  machine.memory.write(0x40000, Uint8Array.of(7));
  assert.equal(read(machine, 0x5000n), 7);
  bind(machine, 0, 1);
  assert.equal(read(machine, 0x5000n), 7, "the bridge still knows the old PE");
  machine.registers.write64(0x208, BigInt(requesterIdOf(1)) << 32n);
  assert.equal(read(machine, 0x5000n), 7, "another device's is no help");
  machine.registers.write64(0x208, BigInt(requesterIdOf(0)) << 32n);
  assert.equal(read(machine, 0x5000n), "translation-off");
  bind(machine, 0, 4);
  assert.throws(() => machine.registers.write64(0x208, 1n << 63n), InvalidArgumentError);
});

test("a table of five levels is walked to its end", () => {
  const machine = started();
  for (let level = 0; level < 4; level++)
    writeTce(machine, 0x50000 + level * 4096 + 8 * level, (0x51000 + level * 4096) | 3);
  writeTce(machine, 0x54000 + 4 * 8, 0x40000 | 3);
  machine.memory.write(0x40009, Uint8Array.of(5));
  ioda(machine, 9, 2 * PE, (0x50n << 16n) | (4n << 13n) | (1n << 8n) | 1n);
  // Indexes 0, 1, 2, 3, 4 from the first level on.
  const entry = (1n << 27n) | (2n << 18n) | (3n << 9n) | 4n;
  assert.equal(read(machine, (entry << 12n) | 9n), 5);
  // Index 16 of the first level: beyond entry 2^31, where this machine's windows end.
  assert.equal(read(machine, ((entry | (16n << 36n)) << 12n) | 9n), "outside-window");
});

test("page size 0 is bypass for all memory, table size 0 is no window, and both windows have their place", () => {
  const machine = started();
  machine.memory.write(0x40007, Uint8Array.of(7));
  ioda(machine, 9, 2 * PE + 1, 1n << 12n);
  assert.equal(read(machine, SECOND + 0x40007n), 7);
  assert.equal(readIoda(machine, 9, 2 * PE + 1), 1n << 12n);
  ioda(machine, 9, 2 * PE + 1, 0n);
  assert.equal(read(machine, SECOND + 0x40007n), "outside-window");
  assert.throws(() => ioda(machine, 9, 2 * PE + 1, (1n << 40n) | (1n << 12n)), /range in a bypass TVE/);
});

test("PEST shows a freeze, sets one and ends it; the index goes on by itself when asked to", () => {
  const machine = started();
  assert.equal(machine.device(0).dmaRead(0x5000n, new Uint8Array(1)), false);
  for (const table of [7, 8]) {
    assert.equal(readIoda(machine, table, PE), 1n << 63n);
    assert.equal(readIoda(machine, table, 1), 0n);
  }
  ioda(machine, 7, PE, 0n);
  assert.equal(machine.translation.isFrozen(PE), true);
  ioda(machine, 8, PE, 0n);
  assert.equal(machine.translation.isFrozen(PE), false);
  ioda(machine, 8, PE, 1n << 63n);
  machine.registers.write64(0x220, (1n << 63n) | (8n << 48n) | 1n);
  assert.deepEqual([machine.registers.read64(0x228), machine.registers.read64(0x228)], [0n, 1n << 63n]);
  assert.equal(machine.registers.read64(0x220), (1n << 63n) | (8n << 48n) | 3n);
});

test("unknown registers and tables, and invalid TVEs, are refused with the numbers", () => {
  const machine = started();
  const { registers } = machine;
  const refused = (use: () => unknown, message: RegExp): void => {
    assert.throws(use, message);
    assert.throws(use, InvalidArgumentError);
  };
  refused(() => registers.read32(0x228), /32-bit register to read is 0x228/);
  refused(() => registers.write32(0x210, 1), /32-bit register to write is 0x210/);
  refused(() => registers.read64(0x130), /64-bit register to read is 0x130/);
  refused(() => registers.write64(0x140, 1n), /64-bit register to write is 0x140/);
  refused(() => ioda(machine, 16, 0, 0n), /table in IODA_ADDRESS is 16/);
  refused(() => readIoda(machine, 1, 0), /table in IODA_ADDRESS is 1/);
  refused(() => ioda(machine, 9, 8, 0n), /PE of a TVE is 4; expected below 4/);
  refused(() => ioda(machine, 9, 0, (1n << 8n) | 2n), /page size in a TVE is 2/);
  refused(() => ioda(machine, 9, 0, (0x1000n << 16n) | (1n << 8n) | 1n), /table address of the window/);
  refused(() => registers.write64(0x168, (1n << 63n) | 0x1000n), /address in RTT_BAR is 4096/);
  refused(() => registers.write64(0x168, (1n << 63n) | 0x100000n), /address in RTT_BAR is 1048576/);
  refused(() => machineOf(2 ** 20, 1), /windows of a machine with iommu phb4 is 1/);
});

test("an access by halves is the access of 64 bits: high half, then low half, whatever their signs", () => {
  const machine = started();
  const { registers } = machine;
  registers.writeHalves64(0x220, -(2 ** 31) | (9 << 16), 2 * PE);
  assert.equal(registers.read64(0x220), (1n << 63n) | (9n << 48n) | BigInt(2 * PE));
  assert.equal(registers.readHigh64(0x220), 2 ** 31 + 9 * 2 ** 16);
  assert.equal(registers.readHigh64(0x228), 0);
  registers.writeHalves64(0x220, 9 << 16, 2 * PE);
  assert.equal(registers.read64(0x228), (BigInt(TABLE >> 12) << 16n) | (1n << 8n) | 1n);
  registers.writeHalves64(0x200, 2 ** 31, 0);
  assert.equal(registers.readHigh64(0x200), 2 ** 30);
  writeTce(machine, TABLE + 5 * 8, 0x40000 | 1);
  machine.memory.write(0x40007, Uint8Array.of(7));
  assert.equal(read(machine, 0x5007n), 7);
  writeTce(machine, TABLE + 5 * 8, 0);
  registers.writeHalves64(0x210, 2 ** 29, 0x6000 | PE);
  assert.equal(read(machine, 0x5007n), 7, "another entry");
  registers.writeHalves64(0x210, 2 ** 29, 0x5000 | PE);
  assert.equal(read(machine, 0x5007n), "not-mapped");
  assert.throws(() => registers.writeHalves64(0x140, 0, 1), /64-bit register to write is 0x140/);
  assert.throws(() => registers.readHigh64(0x130), /64-bit register to read is 0x130/);
});

test("a kill for an unknown PE invalidates nothing, and reads only the bridge's words", () => {
  const machine = started();
  writeTce(machine, TABLE + 5 * 8, 0x40000 | 1);
  machine.memory.write(0x40007, Uint8Array.of(7));
  assert.equal(read(machine, 0x5007n), 7);
  writeTce(machine, TABLE + 5 * 8, 0);
  for (const pe of [4n, 255n, 511n]) {
    machine.registers.write64(0x210, (1n << 61n) | 0x5000n | pe);
    machine.registers.write64(0x210, (1n << 61n) | SECOND | 0x5000n | pe);
  }
  assert.equal(read(machine, 0x5007n), 7);
});
