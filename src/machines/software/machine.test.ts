import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { Crew } from "../../crew/crew.ts";
import { PhysicalMemory } from "../../memory/physical-memory.ts";
import {
  CONTROL,
  ENABLE,
  ENTRIES,
  FAULTS_LOST,
  FORMAT_SHIFT,
  INVALIDATE_ALL,
  INVALIDATE_COUNT,
  INVALIDATE_FIRST,
  INVALIDATE_RESULT,
  PAGE_SHIFT,
  RESULT_DONE,
  RESULT_WOULD_BLOCK,
  TABLE_BASE,
  WINDOW_BASE,
} from "../../platforms/linear/registers.ts";
import { wordsOf } from "../../shared/memory.ts";
import { FormatError, InvalidArgumentError, IovaError } from "../../units/errors.ts";
import { readLayout } from "./layout.ts";
import { SoftwareMachine, type SoftwareMachineHandle, type SoftwareMachineOptions } from "./machine.ts";
import { enable, IOPTE, invalidate, readByDevice, start, TABLE_ADDRESS, TCE, tce, writeEntry } from "./set-up.model.ts";
import { DmaInFlight } from "./threads.ts";

const WINDOW = 0x80000000n;

function bytesAt(machine: SoftwareMachine, at: number, length: number): number[] {
  const bytes = new Uint8Array(length);
  machine.memory.read(at, bytes);
  return [...bytes];
}

// DMA.

test("a device writes through a mapping, across pages that are not neighbours in memory", () => {
  const machine = start();
  writeEntry(machine, 0, tce(0x40000, 3));
  writeEntry(machine, 1, tce(0x20000, 3));
  const data = Uint8Array.from({ length: 5000 }, (_, i) => i % 251);
  assert.ok(machine.device(0).dmaWrite(WINDOW + 100n, data));
  assert.deepEqual(bytesAt(machine, 0x40064, 3996), [...data.subarray(0, 3996)]);
  assert.deepEqual(bytesAt(machine, 0x20000, 1004), [...data.subarray(3996)]);
  assert.deepEqual(readByDevice(machine, WINDOW + 100n, 5000), [...data]);
  assert.deepEqual(bytesAt(machine, 0x40000, 100), new Array(100).fill(0));
});

test("a DMA of no bytes is granted wherever it points", () => {
  const machine = start();
  assert.ok(machine.device(0).dmaRead(0n, new Uint8Array(0)));
  assert.deepEqual(machine.faults(), []);
});

test("every page size is walked with its own offset, also where windows begin beyond 2^53", () => {
  for (const [pageShift, windowBase] of [
    [12, 1n << 59n],
    [16, 0n],
    [21, (1n << 64n) - (1n << 25n)],
    [30, 1n << 59n],
    [34, 1n << 40n],
  ] as const) {
    const machine = start({}, { pageShift, windowBase, entries: 16 });
    // Page 0 is all memory here but for small pages; entry 5 leads there.
    writeEntry(machine, 5, [0, 0, 0, 0, 0, 0, 0, 3]);
    const offset = 0x77;
    machine.memory.write(offset, Uint8Array.of(1, 2, 3));
    const at = windowBase + (5n << BigInt(pageShift)) + BigInt(offset);
    assert.deepEqual(readByDevice(machine, at, 3), [1, 2, 3], `page shift ${pageShift}`);
    assert.equal(readByDevice(machine, at + (1n << BigInt(pageShift)), 3), undefined);
    assert.deepEqual(
      machine.faults().map(({ reason }) => reason),
      ["not-mapped"],
    );
  }
});

// Faults.

test("each refusal is a fault with device, address, access and reason, oldest first, taken once", () => {
  const machine = start({ devices: ["nic", "disk"] });
  writeEntry(machine, 1, tce(0x40000, 1));
  writeEntry(machine, 2, tce(0x40000, 2));
  writeEntry(machine, 3, tce(0x40000, 5));
  writeEntry(machine, 4, tce(0xfffff000, 3));
  const nic = machine.device("nic");
  const disk = machine.device(1);
  const byte = new Uint8Array(1);
  assert.equal(nic.dmaRead(WINDOW + 5n, byte), false);
  assert.equal(disk.dmaWrite(WINDOW + 0x1008n, byte), false);
  assert.equal(nic.dmaRead(WINDOW + 0x2000n, byte), false);
  assert.equal(nic.dmaRead(WINDOW + 0x3000n, byte), false);
  assert.equal(disk.dmaWrite(WINDOW + 0x4000n, byte), false);
  assert.equal(disk.dmaRead(WINDOW - 1n, byte), false);
  assert.equal(disk.dmaRead(WINDOW + 256n * 4096n, byte), false);
  assert.equal(disk.dmaRead((1n << 64n) - 1n, byte), false);
  machine.registers.write32(CONTROL, 0);
  assert.equal(nic.dmaWrite(WINDOW + 0x1000n, byte), false);
  assert.deepEqual(machine.faults(), [
    { device: "nic", iova: WINDOW + 5n, access: 1, reason: "not-mapped" },
    { device: "disk", iova: WINDOW + 0x1008n, access: 2, reason: "write-refused" },
    { device: "nic", iova: WINDOW + 0x2000n, access: 1, reason: "read-refused" },
    { device: "nic", iova: WINDOW + 0x3000n, access: 1, reason: "bad-entry" },
    { device: "disk", iova: WINDOW + 0x4000n, access: 2, reason: "outside-memory" },
    { device: "disk", iova: WINDOW - 1n, access: 1, reason: "outside-window" },
    { device: "disk", iova: WINDOW + 256n * 4096n, access: 1, reason: "outside-window" },
    { device: "disk", iova: (1n << 64n) - 1n, access: 1, reason: "outside-window" },
    { device: "nic", iova: WINDOW + 0x1000n, access: 2, reason: "translation-off" },
  ]);
  assert.deepEqual(machine.faults(), []);
  assert.equal(machine.statistics().faults, 9);
});

test("a DMA that is refused in the middle names the page, and what lay before it has landed", () => {
  const machine = start();
  writeEntry(machine, 0, tce(0x40000, 3));
  writeEntry(machine, 1, tce(0x50000, 1));
  assert.equal(machine.device(0).dmaWrite(WINDOW + 4090n, new Uint8Array(12).fill(9)), false);
  assert.deepEqual(bytesAt(machine, 0x40ffa, 6), [9, 9, 9, 9, 9, 9]);
  assert.deepEqual(bytesAt(machine, 0x50000, 6), [0, 0, 0, 0, 0, 0]);
  const [fault] = machine.faults();
  assert.equal(fault?.iova, WINDOW + 4096n);
  assert.equal(fault?.reason, "write-refused");
});

test("faults beyond the record are counted and lost; once taken there is room again", () => {
  const machine = start({ faultRecords: 4 });
  const byte = new Uint8Array(1);
  for (let i = 0; i < 7; i++) machine.device(0).dmaRead(WINDOW + BigInt(i), byte);
  assert.equal(machine.statistics().faults, 7);
  assert.equal(machine.statistics().faultsLost, 3);
  assert.equal(machine.registers.read32(FAULTS_LOST), 3);
  assert.deepEqual(
    machine.faults().map(({ iova }) => iova - WINDOW),
    [0n, 1n, 2n, 3n],
  );
  for (let i = 10; i < 13; i++) machine.device(0).dmaRead(WINDOW + BigInt(i), byte);
  assert.deepEqual(
    machine.faults().map(({ iova }) => iova - WINDOW),
    [10n, 11n, 12n],
  );
  assert.equal(machine.statistics().faultsLost, 3);
});

test("faults of several threads come in the order in which they happened, for any taker", () => {
  const one = start({ devices: ["a"] });
  const two = SoftwareMachine.attach(one.handle);
  const byte = new Uint8Array(1);
  for (let i = 0; i < 20; i++) (i % 3 === 0 ? one : two).device("a").dmaRead(WINDOW + BigInt(i), byte);
  assert.deepEqual(
    two.faults().map(({ iova }) => Number(iova - WINDOW)),
    Array.from({ length: 20 }, (_, i) => i),
  );
  assert.deepEqual(one.faults(), []);
});

// Registers.

test("registers read back what was written; turning translation off and on again forgets all translations", () => {
  const machine = start();
  const { registers } = machine;
  writeEntry(machine, 0, tce(0x40000, 1));
  readByDevice(machine, WINDOW, 1);
  assert.equal(registers.read32(CONTROL), ENABLE | (TCE << FORMAT_SHIFT));
  assert.equal(registers.read32(ENTRIES), 256);
  assert.equal(registers.read32(PAGE_SHIFT), 12);
  assert.equal(registers.read64(TABLE_BASE), BigInt(TABLE_ADDRESS));
  assert.equal(registers.read64(WINDOW_BASE), WINDOW);
  assert.deepEqual(machine.iotlbEntries(), [0]);
  enable(machine, { windowBase: (1n << 64n) - (256n << 12n) });
  assert.equal(registers.read64(WINDOW_BASE), (1n << 64n) - (256n << 12n));
  assert.deepEqual(machine.iotlbEntries(), []);
});

test("INVALIDATE_ALL forgets everything, and invalidations are counted", () => {
  const machine = start();
  for (let entry = 0; entry < 8; entry++) {
    writeEntry(machine, entry, tce(0x40000, 1));
    readByDevice(machine, WINDOW + BigInt(entry * 4096), 1);
  }
  assert.equal(machine.iotlbEntries().length, 8);
  const before = machine.statistics().invalidations;
  machine.registers.write32(INVALIDATE_ALL, 1);
  assert.deepEqual(machine.iotlbEntries(), []);
  assert.equal(machine.registers.read32(INVALIDATE_RESULT), 0);
  assert.equal(machine.statistics().invalidations, before + 1);
});

test("the doorbell frame is banked: two threads' writes to INVALIDATE_FIRST do not meet", () => {
  const one = start();
  const two = SoftwareMachine.attach(one.handle);
  for (const entry of [3, 9]) {
    writeEntry(one, entry, tce(0x40000, 1));
    readByDevice(one, WINDOW + BigInt(entry * 4096), 1);
  }
  one.registers.write32(INVALIDATE_FIRST, 3);
  two.registers.write32(INVALIDATE_FIRST, 9);
  assert.equal(one.registers.read32(INVALIDATE_FIRST), 3);
  one.registers.write32(INVALIDATE_COUNT, 1);
  assert.deepEqual(two.iotlbEntries(), [9]);
});

test("a set-up that makes no sense is refused with what is wrong, and translation stays off", () => {
  const machine = SoftwareMachine.create({ memoryBytes: 2 ** 20 });
  const { registers } = machine;
  const refused = (set: Parameters<typeof enable>[1], message: RegExp): void => {
    assert.throws(() => enable(machine, set), message);
    assert.throws(() => enable(machine, set), InvalidArgumentError);
    assert.equal(registers.read32(CONTROL) & ENABLE, 0);
  };
  refused({ format: 0 }, /format code of the window is 0; expected 1 to/);
  refused({ format: 255 }, /format code of the window is 255/);
  refused({ entries: 0 }, /register ENTRIES is 0/);
  refused({ entries: 2 ** 31 }, /register ENTRIES/);
  refused({ entries: 1.5 }, /register ENTRIES/);
  refused({ pageShift: 11 }, /register PAGE_SHIFT is 11/);
  refused({ pageShift: 35 }, /register PAGE_SHIFT is 35/);
  refused({ format: IOPTE, pageShift: 12 }, /page shift of the window is 12; expected one of 13, 16/);
  refused({ tableAddress: TABLE_ADDRESS + 8 }, /table address of the window is 65544; expected a multiple of 4096/);
  refused({ tableAddress: 2 ** 20 }, /table address of the window is 1048576/);
  refused({ tableAddress: 2 ** 20 - 4096, entries: 513 }, /with 513 entries in memory, \[0x0, 0x100000\)/);
  refused({ windowBase: 1n }, /base of the window is 1n; expected a multiple of 4096/);
  refused({ windowBase: (1n << 64n) - (255n << 12n) }, /with 256 pages below 2\^64/);
  refused({ windowBase: -4096n }, /register value is -4096n; expected 64 bits, unsigned/);
  refused({ windowBase: 1n << 64n }, /expected 64 bits/);
  assert.throws(
    () => SoftwareMachine.create({ memoryBytes: 2 ** 20 }).registers.write32(CONTROL, ENABLE),
    /format code/,
  );
  enable(machine, { tableAddress: 2 ** 20 - 4096, entries: 512, windowBase: (1n << 64n) - (512n << 12n) });
});

test("a table of more entries than memory holds is refused, a window of 2^31 - 1 entries over enough memory is not", () => {
  assert.throws(() => start({}, { entries: 2 ** 31 - 1 }), /table address of the window is 65536/);
});

test("unknown registers, wrong widths and invalid ranges are refused", () => {
  const machine = start();
  const { registers } = machine;
  const wrong: (() => unknown)[] = [
    () => registers.read32(0x20),
    () => registers.read32(TABLE_BASE),
    () => registers.read64(ENTRIES),
    () => registers.write32(FAULTS_LOST, 0),
    () => registers.write32(INVALIDATE_RESULT, 0),
    () => registers.write32(WINDOW_BASE, 0),
    () => registers.write64(CONTROL, 0n),
    () => registers.write32(-4, 0),
    () => invalidate(machine, -1, 1),
    () => invalidate(machine, 0, 0),
    () => invalidate(machine, 0, -5),
    () => invalidate(machine, 2 ** 31 - 2, 2),
    () => invalidate(machine, 0, Number.NaN),
    () => invalidate(machine, 0.5, 1),
    () => invalidate(machine, 0, 1.5),
  ];
  for (const access of wrong) assert.throws(access, InvalidArgumentError, String(access));
  assert.throws(() => registers.read32(0x20), /32-bit register to read is 0x20/);
  assert.throws(() => invalidate(machine, 5, 0), /range to invalidate is \[5, 5\)/);
});

test("while translation is on, only CONTROL may be written", () => {
  const { registers } = start();
  assert.throws(() => registers.write32(ENTRIES, 10), /register ENTRIES is written while translation is on/);
  assert.throws(() => registers.write64(WINDOW_BASE, 0n), InvalidArgumentError);
  assert.equal(registers.read32(ENTRIES), 256);
});

// Devices.

test("devices are found by name and by number; an unknown device is refused with the names of all devices", () => {
  const machine = start({ devices: ["nic", "disk"] });
  assert.equal(machine.device("disk"), machine.device(1));
  assert.throws(() => machine.device("gpu"), /device is "gpu"; expected one of nic, disk/);
  assert.throws(() => machine.device(2), InvalidArgumentError);
});

test("a DMA with an address beyond 64 bits, or with something else than bytes, is refused before it begins", () => {
  const machine = start();
  const device = machine.device(0);
  assert.throws(() => device.dmaRead(-1n, new Uint8Array(1)), InvalidArgumentError);
  assert.throws(() => device.dmaRead(1n << 64n, new Uint8Array(1)), InvalidArgumentError);
  assert.throws(() => device.dmaRead(5 as unknown as bigint, new Uint8Array(1)), InvalidArgumentError);
  assert.throws(() => device.dmaWrite(WINDOW, [1] as unknown as Uint8Array), /bytes of a DMA of device0 is an array/);
  assert.equal(invalidate(machine, 0, 1), 0, "nothing is left in flight");
});

// Options, handles, threads.

test("options out of range are refused with what was found", () => {
  const refused = (options: Partial<SoftwareMachineOptions>, message: RegExp): void => {
    assert.throws(() => SoftwareMachine.create({ memoryBytes: 4096, ...options }), message);
    assert.throws(() => SoftwareMachine.create({ memoryBytes: 4096, ...options }), InvalidArgumentError);
  };
  refused({ memoryBytes: 1000 }, /memory size in bytes is 1000/);
  refused({ threads: 0 }, /threads of the machine is 0; expected an integer from 1 to 256/);
  refused({ crew: { threads: 32 } as never }, /crew is an object; expected a Crew/);
  refused(
    { crew: Crew.create({ threads: 2 }), threads: 3 },
    /threads of the machine is 3; expected those of the crew, 2/,
  );
  refused({ threads: 1025 }, /threads of the machine is 1025/);
  refused({ faultRecords: 0 }, /fault records is 0/);
  refused({ busyMilliseconds: 0 }, /busy milliseconds is 0/);
  refused({ iotlb: { entries: -1 } }, /IOTLB entries is -1/);
  refused({ iotlb: { entries: 12, ways: 4 } }, /IOTLB entries is 12; expected 0, or a power of two times the 4 ways/);
  refused({ iotlb: { entries: 2, ways: 4 } }, /IOTLB entries is 2/);
  refused({ iotlb: { ways: 0 } }, /IOTLB ways is 0/);
  refused({ iotlb: { replacement: "fifo" as "random" } }, /IOTLB replacement is "fifo"/);
  refused({ iotlb: { seed: 0.5 } }, /IOTLB seed is 0.5/);
  refused({ devices: [] }, /number of devices is 0/);
  refused({ devices: ["a", "a"] }, /name of device 1 is "a"; expected a text that no other device has/);
  refused({ devices: [""] }, /name of device 0/);
});

test("a handle goes through structured cloning, and a foreign or cut one is refused", () => {
  const machine = start({ devices: ["a", "b"] });
  const copy = structuredClone(machine.handle);
  const other = SoftwareMachine.attach(copy);
  writeEntry(other, 0, tce(0x40000, 1));
  machine.memory.write(0x40000, Uint8Array.of(42));
  assert.deepEqual(readByDevice(other, WINDOW, 1), [42]);
  const { handle } = machine;
  const refused = (changes: Partial<Record<keyof SoftwareMachineHandle, unknown>>, message: RegExp): void => {
    const wrong = { ...handle, ...changes } as SoftwareMachineHandle;
    assert.throws(() => SoftwareMachine.attach(wrong), message);
    assert.throws(() => SoftwareMachine.attach(wrong), FormatError);
  };
  refused({ state: handle.memory }, /not that of a software machine/);
  const small = PhysicalMemory.of([{ address: 0, buffer: new SharedArrayBuffer(4096) }]);
  refused({ memory: small.handle }, /the handle's memory ends at 4096; its machine's ends at 1048576/);
  refused({ state: new SharedArrayBuffer(0) }, /not that of a software machine/);
  refused({ state: new ArrayBuffer(4096) }, /not that of a software machine/);
  refused({ memory: new SharedArrayBuffer(4096) }, /not that of physical memory: its regions is undefined/);
  refused({ memory: undefined }, /not that of a software machine/);
  refused({ devices: ["a"] }, /names 1 devices; its machine has 2/);
  const cut = new SharedArrayBuffer(handle.state.byteLength - 4);
  new Uint8Array(cut).set(new Uint8Array(handle.state, 0, cut.byteLength));
  refused({ state: cut }, /its header asks for/);
  const newer = new SharedArrayBuffer(handle.state.byteLength);
  new Uint8Array(newer).set(new Uint8Array(handle.state));
  new Int32Array(newer)[1] = 99;
  refused({ state: newer }, /layout version 99; this library has version 6/);
  assert.throws(() => SoftwareMachine.attach(undefined as unknown as SoftwareMachineHandle), FormatError);
});

test("slots are claimed and given back; when all are taken, attaching says so", () => {
  const one = start({ threads: 2 });
  const two = SoftwareMachine.attach(one.handle);
  assert.deepEqual([one.thread, two.thread], [0, 1]);
  assert.throws(() => SoftwareMachine.attach(one.handle), /all 2 thread numbers are taken/);
  two.close();
  assert.equal(SoftwareMachine.attach(one.handle).thread, 1);
});

test("a closed view refuses all use, and the others go on", () => {
  const one = start();
  const two = SoftwareMachine.attach(one.handle);
  const device = two.device(0);
  two.close();
  const next = SoftwareMachine.attach(one.handle);
  assert.equal(next.thread, two.thread);
  two.close();
  assert.notEqual(SoftwareMachine.attach(one.handle).thread, next.thread, "a second close does nothing");
  const closed: (() => unknown)[] = [
    () => device.dmaRead(WINDOW, new Uint8Array(1)),
    () => invalidate(two, 0, 1),
    () => two.registers.write64(WINDOW_BASE, 0n),
  ];
  for (const use of closed) {
    assert.throws(use, (error) => error instanceof IovaError && error.code === "closed", String(use));
  }
  assert.equal(invalidate(one, 0, 1), 0);
});

test("statistics are summed over threads, those that have left included", () => {
  const one = start();
  const two = SoftwareMachine.attach(one.handle);
  writeEntry(one, 0, tce(0x40000, 1));
  readByDevice(one, WINDOW, 1);
  readByDevice(two, WINDOW, 1);
  readByDevice(two, WINDOW + 4096n, 1);
  const before = one.statistics();
  assert.deepEqual([before.walks, before.hits, before.faults, before.fillsRefused], [2, 1, 1, 0]);
  two.close();
  assert.deepEqual(one.statistics(), before);
});

test("a thread that may not sleep does not wait for a DMA in flight: it would block, and says so", async () => {
  const machine = start({ threads: 8, busyMilliseconds: 60_000 });
  const words = wordsOf(machine.handle.state);
  const layout = readLayout(words, machine.handle.state.byteLength / 4);
  const dma = new DmaInFlight(words, layout, SoftwareMachine.attach(machine.handle).thread);
  const invalidateElsewhere = async (): Promise<number> => {
    const url = new URL("./no-waiting.test.worker.js", import.meta.url);
    const worker = new Worker(url, { workerData: machine.handle });
    return await new Promise((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
    });
  };
  assert.equal(await invalidateElsewhere(), RESULT_DONE);
  dma.begin();
  assert.equal(await invalidateElsewhere(), RESULT_WOULD_BLOCK);
  dma.end();
  assert.equal(await invalidateElsewhere(), RESULT_DONE);
});
