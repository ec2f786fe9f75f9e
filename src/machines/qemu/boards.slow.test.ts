/**
 * Both boards with entries written by hand, byte by byte: no code of formats or platforms takes part, so that what is
 * wrong there can't be wrong here in the same way.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Fault } from "../../machine/contract.ts";
import { InvalidArgumentError } from "../../units/errors.ts";
import { withMachine } from "./install.model.ts";
import type { QemuMachine } from "./machine.ts";

const PATTERN = Uint8Array.from({ length: 10_000 }, (_, i) => (i * 29 + 7) & 0xff || 1);

function put64(machine: QemuMachine, at: number, value: bigint): void {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  machine.memory.write(at, bytes);
}

function bytesAt(machine: QemuMachine, at: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  machine.memory.read(at, bytes);
  return bytes;
}

function dmaRead(machine: QemuMachine, iova: bigint, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  assert.equal(machine.device().dmaRead(iova, bytes), true, `the read at ${iova.toString(16)} was refused`);
  return bytes;
}

function dmaWrite(machine: QemuMachine, iova: bigint, bytes: Uint8Array): void {
  assert.equal(machine.device().dmaWrite(iova, bytes), true, `the write at ${iova.toString(16)} was refused`);
}

/** Refused, recorded as one fault that begins at `iova` (or `from`), and nothing at `target` has changed. */
function assertWriteRefused(machine: QemuMachine, iova: bigint, target: number, from: bigint = iova): void {
  const before = bytesAt(machine, target, 64);
  machine.faults();
  assert.equal(machine.device().dmaWrite(iova, PATTERN.subarray(0, 64)), false);
  assert.deepEqual(summary(machine.faults()), [`write-refused at ${from.toString(16)}`]);
  assert.deepEqual(bytesAt(machine, target, 64), before);
}

function assertReadRefused(machine: QemuMachine, iova: bigint): void {
  machine.faults();
  assert.equal(machine.device().dmaRead(iova, new Uint8Array(64)), false);
  assert.deepEqual(summary(machine.faults()), [`read-refused at ${iova.toString(16)}`]);
}

function summary(faults: readonly Fault[]): string[] {
  return faults.map(({ iova, reason }) => `${reason} at ${iova.toString(16)}`);
}

// sun4u.

const IOMMU = { control: 0x200, base: 0x208, flush: 0x210 };
const TSB = 0x10_0000;
const VALID = 1n << 63n;
const SIZE_64K = 1n << 61n;
const WRITABLE = 2n;
const PAGE = 0x40_0000;

/** TSB of 1024 entries: a window of 8 MiB that ends at 2^32, or 64 MiB when its entries are for 64 KiB. */
function enableSun4u(machine: QemuMachine, pageShift: 13 | 16): void {
  machine.memory.write(TSB, new Uint8Array(8192));
  machine.registers.write64(IOMMU.base, BigInt(TSB));
  machine.registers.write64(IOMMU.control, pageShift === 13 ? 1n : 5n);
  assert.equal(machine.registers.read64(IOMMU.base), BigInt(TSB));
}

function iopte(machine: QemuMachine, entry: number, value: bigint): void {
  put64(machine, TSB + entry * 8, value);
  machine.registers.write64(IOMMU.flush, 0n);
}

const bus8K = (entry: number): bigint => 0xff80_0000n + BigInt(entry) * 0x2000n;
const bus64K = (entry: number): bigint => 0xfc00_0000n + BigInt(entry) * 0x1_0000n;

test("sun4u moves bytes both ways by an IOPTE of 8 KiB, across pages that are not neighbours, and refuses the rest", (t) =>
  withMachine(t, "sun4u", (machine) => {
    enableSun4u(machine, 13);
    iopte(machine, 3, VALID | BigInt(PAGE) | WRITABLE);
    iopte(machine, 4, VALID | BigInt(PAGE + 0x8000) | WRITABLE);
    dmaWrite(machine, bus8K(3) + 5n, PATTERN);
    const second = 0x2000 - 5;
    assert.deepEqual(bytesAt(machine, PAGE + 5, second), PATTERN.subarray(0, second));
    assert.deepEqual(bytesAt(machine, PAGE + 0x8000, PATTERN.length - second), PATTERN.subarray(second));
    assert.deepEqual(dmaRead(machine, bus8K(3) + 5n, PATTERN.length), PATTERN);
    assert.deepEqual(machine.faults(), []);
    iopte(machine, 4, 0n);
    assertWriteRefused(machine, bus8K(4), PAGE + 0x8000);
    assertReadRefused(machine, bus8K(4));
    // The part before the refused page has landed.
    machine.memory.write(PAGE + 0x2000 - 16, new Uint8Array(16));
    assertWriteRefused(machine, bus8K(4) - 16n, PAGE + 0x8000, bus8K(4));
    assert.deepEqual(bytesAt(machine, PAGE + 0x2000 - 16, 16), PATTERN.subarray(0, 16));
  }));

test("sun4u refuses a write, but no read, by an IOPTE without WRITE", (t) =>
  withMachine(t, "sun4u", (machine) => {
    enableSun4u(machine, 13);
    machine.memory.write(PAGE, PATTERN.subarray(0, 64));
    iopte(machine, 3, VALID | BigInt(PAGE));
    assert.deepEqual(dmaRead(machine, bus8K(3), 64), PATTERN.subarray(0, 64));
    machine.memory.write(PAGE, new Uint8Array(64));
    assertWriteRefused(machine, bus8K(3), PAGE);
  }));

test("sun4u's board leaves the table as it was, also when the DMA is to its last entries", (t) =>
  withMachine(t, "sun4u", (machine) => {
    enableSun4u(machine, 13);
    for (const entry of [1021, 1022, 1023]) iopte(machine, entry, VALID | BigInt(PAGE + entry * 0x2000) | WRITABLE);
    const table = bytesAt(machine, TSB, 8192);
    dmaWrite(machine, bus8K(1022) + 0x1f00n, PATTERN.subarray(0, 512));
    dmaWrite(machine, bus8K(1021) + 0x1f00n, PATTERN.subarray(0, 512));
    assert.deepEqual(dmaRead(machine, bus8K(1022) + 0x1f00n, 512), PATTERN.subarray(0, 512));
    assert.deepEqual(bytesAt(machine, PAGE + 1023 * 0x2000, 256), PATTERN.subarray(256, 512));
    assert.deepEqual(bytesAt(machine, TSB, 8192), table);
  }));

test("sun4u takes an IOPTE of 64 KiB in each of the eight entries that it covers; one alone covers 8 KiB", (t) =>
  withMachine(t, "sun4u", (machine) => {
    enableSun4u(machine, 13);
    // 0x2000 too much: the low bits of a large page's address count for nothing.
    iopte(machine, 8, VALID | SIZE_64K | BigInt(PAGE + 0x2000) | WRITABLE);
    assertWriteRefused(machine, bus8K(9), PAGE + 0x2000);
    for (let entry = 9; entry < 16; entry++) iopte(machine, entry, VALID | SIZE_64K | BigInt(PAGE) | WRITABLE);
    dmaWrite(machine, bus8K(8) + 0x1f00n, PATTERN);
    assert.deepEqual(bytesAt(machine, PAGE + 0x1f00, PATTERN.length), PATTERN);
    assertWriteRefused(machine, bus8K(16), PAGE + 0x1_0000);
  }));

test("sun4u with a TSB for pages of 64 KiB takes one IOPTE for each, and needs its size bit", (t) =>
  withMachine(t, "sun4u", (machine) => {
    enableSun4u(machine, 16);
    iopte(machine, 2, VALID | SIZE_64K | BigInt(PAGE) | WRITABLE);
    iopte(machine, 3, VALID | SIZE_64K | BigInt(PAGE + 0x4_0000));
    dmaWrite(machine, bus64K(2) + 0xd000n, PATTERN);
    assert.deepEqual(bytesAt(machine, PAGE + 0xd000, PATTERN.length), PATTERN);
    assertWriteRefused(machine, bus64K(3), PAGE + 0x4_0000);
    // Without the size bit the offset is that of an 8 KiB page: the model's view of what the manual leaves open.
    iopte(machine, 4, VALID | BigInt(PAGE + 0x8_0000) | WRITABLE);
    dmaWrite(machine, bus64K(4) + 0x6010n, PATTERN.subarray(0, 64));
    assert.deepEqual(bytesAt(machine, PAGE + 0x8_0010, 64), PATTERN.subarray(0, 64));
  }));

test("sun4u's model leaves out the bits of a bus address above the window, and with the IOMMU off the translation", (t) =>
  withMachine(t, "sun4u", (machine) => {
    enableSun4u(machine, 13);
    iopte(machine, 3, VALID | BigInt(PAGE) | WRITABLE);
    dmaWrite(machine, bus8K(3) - 0x80_0000n, PATTERN.subarray(0, 64));
    assert.deepEqual(bytesAt(machine, PAGE, 64), PATTERN.subarray(0, 64));
    machine.registers.write64(IOMMU.control, 0n);
    dmaWrite(machine, BigInt(PAGE + 0x8000), PATTERN.subarray(0, 64));
    assert.deepEqual(bytesAt(machine, PAGE + 0x8000, 64), PATTERN.subarray(0, 64));
  }));

test("sun4u's model keeps no translation: a changed IOPTE counts at once, without a flush", (t) =>
  withMachine(t, "sun4u", (machine) => {
    enableSun4u(machine, 13);
    put64(machine, TSB + 24, VALID | BigInt(PAGE) | WRITABLE);
    dmaWrite(machine, bus8K(3), PATTERN.subarray(0, 64));
    put64(machine, TSB + 24, VALID | BigInt(PAGE + 0x8000) | WRITABLE);
    dmaWrite(machine, bus8K(3), PATTERN.subarray(0, 64));
    assert.deepEqual(bytesAt(machine, PAGE + 0x8000, 64), PATTERN.subarray(0, 64));
  }));

// powernv.

const PHB = { rttBar: 0x168, rtcInvalidate: 0x208, iodaAddress: 0x220, iodaData: 0x228 };
const ENABLE = 1n << 63n;
const RTT = 0x20_0000;
const DEVICE = 0x10;
const PARTITION = 5;
const TVT = 9n;
const READABLE = 1n;
const TCES = 0x30_0000;
const TARGET = 0x40_0000;

/** The device is in a partition, and this entry is one of the partition's two windows. */
function enablePowernv(machine: QemuMachine, tve: bigint, window: 0 | 1 = 0): void {
  machine.memory.write(RTT, new Uint8Array(0x2_0000));
  machine.memory.write(RTT + DEVICE * 2, Uint8Array.of(0, PARTITION));
  machine.memory.write(TCES, new Uint8Array(0x2_0000));
  machine.registers.write64(PHB.rttBar, ENABLE | BigInt(RTT));
  machine.registers.write64(PHB.rtcInvalidate, ENABLE);
  machine.registers.write64(PHB.iodaAddress, (TVT << 48n) | BigInt(PARTITION * 2 + window));
  machine.registers.write64(PHB.iodaData, tve);
}

/** `tableShift`: log2 of the entries of each level. */
function tve(options: { levels: number; tableShift: number; pageShift: number }): bigint {
  const { levels, tableShift, pageShift } = options;
  const fields = [levels - 1, tableShift - 8, pageShift - 11].map(BigInt) as [bigint, bigint, bigint];
  return (BigInt(TCES / 4096) << 16n) | (fields[0] << 13n) | (fields[1] << 8n) | fields[2];
}

for (const [levels, tableShift, pageShift] of [
  [1, 12, 16],
  [1, 12, 12],
  [2, 9, 12],
  [2, 9, 16],
  [3, 9, 12],
] as const) {
  test(`powernv moves bytes by TCEs on ${levels} levels, pages of ${2 ** pageShift} bytes, and refuses the rest`, (t) =>
    withMachine(t, "powernv", (machine) => {
      enablePowernv(machine, tve({ levels, tableShift, pageShift }));
      const pageBytes = 1n << BigInt(pageShift);
      // Entry 7 of the last level, on the path 2, 2 … above it.
      let page = 7n;
      for (let level = 1; level < levels; level++) page += 2n << BigInt(tableShift * level);
      let table = TCES;
      for (let level = 1; level < levels; level++) {
        put64(machine, table + 16, BigInt(table + 0x1000) | 3n);
        table += 0x1000;
      }
      const iova = page * pageBytes;
      const entry = (index: number, value: bigint): void => put64(machine, table + index * 8, value);
      entry(7, BigInt(TARGET) | READABLE | WRITABLE);
      entry(8, BigInt(TARGET + 0x4_0000) | READABLE | WRITABLE);
      const bytes = PATTERN.subarray(0, 4000);
      const at = iova + pageBytes - 100n;
      dmaWrite(machine, at, bytes);
      assert.deepEqual(bytesAt(machine, TARGET + Number(pageBytes) - 100, 100), bytes.subarray(0, 100));
      assert.deepEqual(bytesAt(machine, TARGET + 0x4_0000, 3900), bytes.subarray(100));
      assert.deepEqual(dmaRead(machine, at, bytes.length), bytes);
      assert.deepEqual(machine.faults(), []);
      entry(8, BigInt(TARGET + 0x4_0000) | READABLE);
      assertWriteRefused(machine, iova + pageBytes, TARGET + 0x4_0000);
      assert.deepEqual(dmaRead(machine, at, bytes.length), bytes);
      entry(8, 0n);
      assertWriteRefused(machine, iova + pageBytes, TARGET + 0x4_0000);
      assertReadRefused(machine, iova + pageBytes);
    }));
}

test("powernv's second window begins at 2^59", (t) =>
  withMachine(t, "powernv", (machine) => {
    enablePowernv(machine, tve({ levels: 1, tableShift: 12, pageShift: 16 }), 1);
    put64(machine, TCES + 8, BigInt(TARGET) | READABLE | WRITABLE);
    dmaWrite(machine, (1n << 59n) + 0x1_0040n, PATTERN.subarray(0, 64));
    assert.deepEqual(bytesAt(machine, TARGET + 0x40, 64), PATTERN.subarray(0, 64));
    assertWriteRefused(machine, 0x1_0040n, TARGET + 0x40);
  }));

test("powernv's board leaves RTT, IODA address and all TVEs as they were", (t) =>
  withMachine(t, "powernv", (machine) => {
    enablePowernv(machine, tve({ levels: 1, tableShift: 12, pageShift: 16 }));
    const { registers } = machine;
    const first = ENABLE | (TVT << 48n);
    registers.write64(PHB.iodaAddress, first);
    for (let entry = 0; entry < 1024; entry++) {
      if (entry !== PARTITION * 2) registers.write64(PHB.iodaData, BigInt(0x10 + entry) << 16n);
      else registers.read64(PHB.iodaData);
    }
    registers.write64(PHB.iodaAddress, first + 77n);
    put64(machine, TCES + 8, BigInt(TARGET) | READABLE | WRITABLE);
    dmaWrite(machine, 0x1_0000n, PATTERN.subarray(0, 64));
    dmaRead(machine, 0x1_0000n, 64);
    assert.equal(registers.read64(PHB.iodaAddress), first + 77n);
    assert.equal(registers.read64(PHB.rttBar), ENABLE | BigInt(RTT));
    registers.write64(PHB.iodaAddress, first);
    for (let entry = 0; entry < 1024; entry++) {
      const found = registers.read64(PHB.iodaData);
      if (entry !== PARTITION * 2) assert.equal(found, BigInt(0x10 + entry) << 16n, `TVE ${entry}`);
    }
  }));

test("powernv's model keeps no translation: a changed TCE counts at once, without an invalidation", (t) =>
  withMachine(t, "powernv", (machine) => {
    enablePowernv(machine, tve({ levels: 1, tableShift: 12, pageShift: 16 }));
    put64(machine, TCES + 8, BigInt(TARGET) | READABLE | WRITABLE);
    dmaWrite(machine, 0x1_0000n, PATTERN.subarray(0, 64));
    put64(machine, TCES + 8, BigInt(TARGET + 0x1_0000) | READABLE | WRITABLE);
    dmaWrite(machine, 0x1_0000n, PATTERN.subarray(0, 64));
    assert.deepEqual(bytesAt(machine, TARGET + 0x1_0000, 64), PATTERN.subarray(0, 64));
  }));

test("powernv's model refuses a read by a TCE that only lets the device write", (t) =>
  withMachine(t, "powernv", (machine) => {
    enablePowernv(machine, tve({ levels: 1, tableShift: 12, pageShift: 16 }));
    put64(machine, TCES + 8, BigInt(TARGET) | WRITABLE);
    dmaWrite(machine, 0x1_0000n, PATTERN.subarray(0, 64));
    assertReadRefused(machine, 0x1_0000n);
  }));

// Both.

for (const board of ["sun4u", "powernv"] as const) {
  test(`${board}: words of memory are little-endian, compare-and-swap swaps once, and what is outside is refused`, (t) =>
    withMachine(t, board, ({ memory }) => {
      const at = 0x50_0000;
      memory.store32(at, 0x8182_8384);
      const bytes = new Uint8Array(4);
      memory.read(at, bytes);
      assert.deepEqual(bytes, Uint8Array.of(0x84, 0x83, 0x82, 0x81));
      assert.equal(memory.load32(at), 0x8182_8384);
      assert.equal(memory.compareExchange32(at, 0x8182_8384 | 0, -1), 0x8182_8384);
      assert.equal(memory.compareExchange32(at, 0x8182_8384, 7), 0xffff_ffff);
      assert.equal(memory.load32(at), 0xffff_ffff);
      memory.storeWords(at, Uint32Array.of(1, 2, 0xf000_0003, 4, 5, 6), 4, 0);
      assert.deepEqual(
        [0, 4, 8, 12, 16].map((offset) => memory.load32(at + offset)),
        [1, 2, 0xf000_0003, 4, 0],
      );
      const large = Uint8Array.from({ length: 100_000 }, (_, i) => (i * 13) & 0xff);
      memory.write(at + 3, large);
      const found = new Uint8Array(large.length);
      memory.read(at + 3, found);
      assert.deepEqual(found, large);
      for (const bad of [-4, 2, 1.5, Number.NaN, memory.bytes, memory.bytes - 2, 2 ** 60]) {
        assert.throws(() => memory.store32(bad, 0), InvalidArgumentError);
        assert.throws(() => memory.load32(bad), InvalidArgumentError);
      }
      assert.throws(() => memory.write(memory.bytes - 4, new Uint8Array(5)), /expected all bytes in/);
      assert.throws(() => memory.storeWords(at, new Uint32Array(4), 3, 0), InvalidArgumentError);
      assert.throws(() => memory.storeWords(at, new Uint32Array(4), 6, 0), InvalidArgumentError);
    }));

  test(`${board}: bad numbers are refused before they reach QEMU, which would abort`, (t) =>
    withMachine(t, board, (machine) => {
      const { registers } = machine;
      for (const bad of [-8, 4.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, 0x1_0000]) {
        assert.throws(() => registers.read64(bad), InvalidArgumentError);
        assert.throws(() => registers.write64(bad, 0n), InvalidArgumentError);
      }
      for (const bad of [-1n, 1n << 64n]) assert.throws(() => registers.write64(0x208, bad), InvalidArgumentError);
      assert.throws(() => registers.write64(0x208, 5 as unknown as bigint), InvalidArgumentError);
      for (const bad of [-1, 2 ** 32, 0.5]) assert.throws(() => registers.write32(0x208, bad), InvalidArgumentError);
      const device = machine.device(machine.device().name);
      assert.throws(() => device.dmaRead(-1n, new Uint8Array(1)), InvalidArgumentError);
      assert.throws(() => device.dmaWrite((1n << 64n) - 1n, new Uint8Array(2)), InvalidArgumentError);
      assert.throws(() => machine.device("nvme"), InvalidArgumentError);
      // It still answers.
      assert.equal(typeof registers.read64(0x208), "bigint");
    }));
}
