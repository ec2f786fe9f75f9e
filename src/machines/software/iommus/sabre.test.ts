import assert from "node:assert/strict";
import { test } from "node:test";
import { InvalidArgumentError } from "../../../units/errors.ts";
import { SoftwareMachine } from "../machine.ts";

/** Offsets and bits by their numbers, as the manual gives them: shares no constant with what it tests. */
const [CONTROL, TSB_BASE, FLUSH, TAGS] = [0x200, 0x208, 0x210, 0xa580];

/** An IOPTE at 0x10000 + 8 · entry: page at 0x4000, CACHE, WRITE. */
function machineWith(entry: number, firstByte: number): SoftwareMachine {
  const machine = SoftwareMachine.create({ memoryBytes: 2 ** 20, iommu: "sabre" });
  machine.memory.write(0x10000 + 8 * entry, Uint8Array.of(firstByte, 0, 0, 0, 0, 0, firstByte < 0xa0 ? 0x40 : 0, 0x12));
  machine.registers.write64(TSB_BASE, 0x10000n);
  return machine;
}

for (const [size, wide, base] of [
  [0, 0, 0xff800000n],
  [3, 0, 0xfc000000n],
  [0, 4, 0xfc000000n],
  [2, 4, 0xf0000000n],
] as const) {
  test(`TSB size ${size}, wide pages ${wide}: the window begins at 0x${base.toString(16)} and ends at 4 GiB`, () => {
    const machine = machineWith(0, wide === 0 ? 0x80 : 0xa0);
    machine.memory.write(wide === 0 ? 0x4000 : 0, Uint8Array.of(11));
    machine.registers.write64(CONTROL, BigInt((size << 16) | wide | 1));
    const byte = new Uint8Array(1);
    assert.ok(machine.device(0).dmaRead(base, byte));
    assert.equal(byte[0], 11);
    assert.equal(machine.device(0).dmaRead(base - 1n, byte), false);
    assert.equal(machine.device(0).dmaRead(2n ** 32n, byte), false);
    assert.deepEqual(
      machine.faults().map(({ reason }) => reason),
      ["outside-window", "outside-window"],
    );
  });
}

test("the IOTLB is empty only once all 16 tags have been written", () => {
  const machine = machineWith(5, 0x80);
  machine.registers.write64(CONTROL, 1n);
  machine.device(0).dmaRead(0xff800000n + 5n * 8192n, new Uint8Array(1));
  for (let tag = 0; tag < 15; tag++) machine.registers.write64(TAGS + 8 * tag, 0n);
  assert.deepEqual(machine.iotlbEntries(), [5]);
  machine.registers.write64(TAGS + 8 * 15, 0n);
  assert.deepEqual(machine.iotlbEntries(), []);
});

test("translation that is off refuses every DMA, and a flush does nothing then", () => {
  const machine = machineWith(0, 0x80);
  machine.registers.write64(FLUSH, 0xff800000n);
  assert.equal(machine.statistics().invalidations, 0);
  assert.equal(machine.device(0).dmaRead(0xff800000n, new Uint8Array(1)), false);
  assert.equal(machine.faults()[0]?.reason, "translation-off");
});

test("unknown registers, invalid set-ups, and a TSB moved while translation is on are refused", () => {
  const { registers } = machineWith(0, 0x80);
  assert.throws(() => registers.read32(CONTROL), InvalidArgumentError);
  assert.throws(() => registers.write32(CONTROL, 1), InvalidArgumentError);
  assert.throws(() => registers.read64(FLUSH), InvalidArgumentError);
  assert.throws(() => registers.write64(0x2800, 1n), /0x2800/);
  assert.throws(() => registers.write64(TAGS + 4, 0n), InvalidArgumentError);
  assert.throws(() => registers.write64(TAGS, 1n), /tag 0 of the IOTLB is 1/);
  assert.throws(() => registers.write64(TSB_BASE, 4096n), /TSB_BASE is 4096n; expected a multiple of 8192/);
  assert.throws(() => registers.write64(CONTROL, BigInt((7 << 16) | 5)), /entries of the TSB is 131072/);
  assert.throws(() => registers.write64(CONTROL, BigInt((7 << 16) | 1)), /table address of the window/);
  registers.write64(CONTROL, 1n);
  assert.throws(() => registers.write64(TSB_BASE, 0x20000n), /TSB_BASE is written while translation is on/);
  assert.equal(registers.read64(TSB_BASE), 0x10000n);
});

/** Of Psycho's streaming cache. */
const [STREAMING_CONTROL, PAGE_FLUSH, FLUSH_SYNC, CONTEXT_FLUSH, STREAMING_TAGS] = [
  0x2800, 0x2808, 0x2810, 0x2818, 0xb800,
];

/** Entry 5 leads to 0x4000 through the streaming cache, with context 0xabc. */
function psycho(): SoftwareMachine {
  const machine = SoftwareMachine.create({ memoryBytes: 2 ** 20, iommu: "psycho" });
  machine.memory.write(0x10000 + 8 * 5, Uint8Array.of(0x95, 0x5e, 0, 0, 0, 0, 0x40, 0x12));
  machine.registers.write64(TSB_BASE, 0x10000n);
  machine.registers.write64(STREAMING_CONTROL, 1n);
  machine.registers.write64(CONTROL, 1n);
  return machine;
}

const ENTRY_5 = 0xff800000n + 5n * 8192n;
const FLAG = 0x8000;

/** Does what the device writes reach memory when this is done? */
function reaches(machine: SoftwareMachine, flush: () => void, byte: number): boolean {
  machine.device(0).dmaWrite(ENTRY_5, Uint8Array.of(byte));
  flush();
  machine.memory.write(FLAG, new Uint8Array(8));
  machine.registers.write64(FLUSH_SYNC, BigInt(FLAG));
  const seen = new Uint8Array(8);
  machine.memory.read(FLAG, seen);
  assert.deepEqual([...seen], [0, 0, 0, 0, 0, 0, 0, 1]);
  machine.memory.read(0x4000, seen);
  return seen[0] === byte;
}

test("a line is flushed by its page, anywhere in it and above the window, or by the 12 bits of its context, and by nothing else", () => {
  const machine = psycho();
  const { registers } = machine;
  let byte = 1;
  for (const [at, value, flushed] of [
    [PAGE_FLUSH, ENTRY_5, true],
    [PAGE_FLUSH, ENTRY_5 + 0x1fffn, true],
    [PAGE_FLUSH, ENTRY_5 % 0x800000n, true],
    [PAGE_FLUSH, ENTRY_5 | (1n << 40n), true],
    [PAGE_FLUSH, ENTRY_5 + 0x2000n, false],
    [CONTEXT_FLUSH, 0xabcn, true],
    [CONTEXT_FLUSH, 0x1abcn, true],
    [CONTEXT_FLUSH, 0xabdn, false],
    [CONTEXT_FLUSH, 0n, false],
    [FLUSH, ENTRY_5, false],
  ] as const) {
    const name = `0x${value.toString(16)} written to 0x${at.toString(16)}`;
    assert.equal(
      reaches(machine, () => registers.write64(at, value), byte++),
      flushed,
      name,
    );
  }
});

test("bad values of the streaming cache's registers are refused with the numbers, and change nothing", () => {
  const machine = psycho();
  const { registers } = machine;
  machine.device(0).dmaWrite(ENTRY_5, Uint8Array.of(7));
  const tag = registers.read64(STREAMING_TAGS);
  assert.equal(tag, ENTRY_5 + 2n);
  assert.throws(
    () => registers.write64(FLUSH_SYNC, BigInt(FLAG + 8)),
    /flag of a flush sync is 32776; expected a multiple of 64/,
  );
  assert.throws(() => registers.write64(FLUSH_SYNC, 2n ** 20n), InvalidArgumentError);
  assert.throws(() => registers.write64(FLUSH_SYNC, 2n ** 63n), InvalidArgumentError);
  for (const at of [STREAMING_CONTROL + 4, CONTEXT_FLUSH + 8, STREAMING_TAGS, STREAMING_TAGS + 128]) {
    assert.throws(() => registers.write64(at, 0n), InvalidArgumentError);
  }
  for (const at of [PAGE_FLUSH, FLUSH_SYNC, CONTEXT_FLUSH, STREAMING_TAGS + 4, STREAMING_TAGS + 128]) {
    assert.throws(() => registers.read64(at), InvalidArgumentError);
  }
  for (const value of [-1n, 2n ** 64n]) {
    assert.throws(() => registers.write64(CONTEXT_FLUSH, value), /register value is .*; expected 64 bits, unsigned/);
  }
  assert.equal(registers.read64(STREAMING_TAGS), tag);
  assert.equal(registers.read64(STREAMING_CONTROL), 1n);
});

test("an access by halves is the access of 64 bits, whatever the signs of the halves", () => {
  const machine = psycho();
  const { registers } = machine;
  assert.deepEqual([registers.readHigh64(TSB_BASE), registers.readLow64(TSB_BASE)], [0, 0x10000]);
  registers.writeHalves64(CONTROL, 0, 0);
  registers.writeHalves64(TSB_BASE, -(2 ** 31), -(2 ** 31));
  assert.equal(registers.read64(TSB_BASE), 0x80000000_80000000n);
  assert.deepEqual([registers.readHigh64(TSB_BASE), registers.readLow64(TSB_BASE)], [2 ** 31, 2 ** 31]);
  registers.writeHalves64(TSB_BASE, 0, 0x10000);
  registers.writeHalves64(CONTROL, 0, 1);
  assert.deepEqual([registers.readHigh64(CONTROL), registers.readLow64(CONTROL)], [0, 1]);
  const low = Number(ENTRY_5);
  for (const [name, flush] of [
    ["a page", () => registers.writeHalves64(PAGE_FLUSH, 0, low | 0)],
    ["the same, unsigned and above the window", () => registers.writeHalves64(PAGE_FLUSH, 7, low)],
    ["a context", () => registers.writeHalves64(CONTEXT_FLUSH, 0, 0xabc)],
  ] as const) {
    assert.equal(reaches(machine, flush, name.length), true, name);
  }
  const other = psycho();
  other.device(0).dmaWrite(ENTRY_5, Uint8Array.of(1));
  const tag = [other.registers.readHigh64(STREAMING_TAGS), other.registers.readLow64(STREAMING_TAGS)];
  assert.deepEqual(tag, [0, low + 2]);
  assert.deepEqual(machine.iotlbEntries(), [5]);
  registers.writeHalves64(FLUSH, 0, low | 0);
  assert.deepEqual(machine.iotlbEntries(), []);
  assert.throws(() => registers.writeHalves64(TAGS, 1, 0), /tag 0 of the IOTLB is 4294967296/);
  assert.throws(() => registers.writeHalves64(FLUSH_SYNC, 2 ** 20, FLAG), InvalidArgumentError);
  for (const read of ["readHigh64", "readLow64", "read64"] as const) {
    assert.throws(() => registers[read](FLUSH), /64-bit register to read is 0x210/);
  }
});
