/** The machine on memory that a program brings along: walk, devices and the DMA API work in every region, and refuse the holes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { DmaDevice } from "../../dma/device.ts";
import { DmaPool } from "../../dma/dma-pool.ts";
import { ScatterList } from "../../dma/scatter-list.ts";
import { got } from "../../dma/set-up.model.ts";
import { PhysicalMemory } from "../../memory/physical-memory.ts";
import { PhysicalPages } from "../../memory/physical-pages.ts";
import { LinearPlatform } from "../../platforms/linear/platform.ts";
import { Sun4uPlatform } from "../../platforms/sun4u/platform.ts";
import { SoftwareMachine, type SoftwareMachineOptions } from "./machine.ts";

const GIB4 = 2 ** 32;
/** A hole: [HOLE, GIB4). */
const HOLE = 2 ** 20;
const HIGH_BYTES = 2 ** 20;

/** A guest's RAM: one buffer, of which two adjacent regions lie below 4 GiB and one above. */
function guestRam(): { buffer: SharedArrayBuffer; memory: PhysicalMemory } {
  const buffer = new SharedArrayBuffer(HOLE + HIGH_BYTES);
  const memory = PhysicalMemory.of([
    { address: 0, buffer, bytes: HOLE / 2 },
    { address: HOLE / 2, buffer, offset: HOLE / 2, bytes: HOLE / 2 },
    { address: GIB4, buffer, offset: HOLE },
  ]);
  return { buffer, memory };
}

function setUp({ pageShift = 12, format = "powernv-tce", tableAddress = GIB4 + HIGH_BYTES - 4096 } = {}) {
  const { buffer, memory } = guestRam();
  const machine = SoftwareMachine.create({ memory, devices: ["nic"], threads: 2 });
  const window = { base: 0x80000000n, pageShift, entries: 64 };
  const platform = LinearPlatform.create(machine, { format, window, tableAddress });
  return { buffer, machine, table: platform.generic, platform, nic: machine.device("nic") };
}

test("a device reads and writes the caller's own buffer, below and above 4 GiB, and across regions", () => {
  const { buffer, machine, table, nic } = setUp();
  const device = new DmaDevice(table);
  const own = new Uint8Array(buffer);
  for (const [address, offset] of [
    [0x3010, 0x3010],
    [HOLE / 2 - 2, HOLE / 2 - 2],
    [GIB4 + 5, HOLE + 5],
  ] as const) {
    own.set([1, 2, 3, 4], offset);
    const mapping = got(device.map(BigInt(address), 4, 3));
    const seen = new Uint8Array(4);
    assert.ok(nic.dmaRead(mapping.iova, seen));
    assert.deepEqual([...seen], [1, 2, 3, 4]);
    assert.ok(nic.dmaWrite(mapping.iova, Uint8Array.of(9, 8, 7, 6)));
    assert.deepEqual([...own.subarray(offset, offset + 4)], [9, 8, 7, 6]);
    assert.equal(device.unmap(mapping), undefined);
  }
  assert.deepEqual(machine.faults(), []);
});

test("one IO page may contain the border of two adjacent regions", () => {
  const { machine, table, nic } = setUp({ pageShift: 20 });
  const mapping = got(new DmaDevice(table).map(0n, HOLE, 3));
  const data = Uint8Array.from({ length: HOLE }, (_, i) => i % 251);
  assert.ok(nic.dmaWrite(mapping.iova, data));
  const seen = new Uint8Array(HOLE);
  machine.memory.read(0, seen);
  assert.deepEqual(seen, data);
  assert.ok(nic.dmaRead(mapping.iova, seen.fill(0)));
  assert.deepEqual(seen, data);
});

test("a DMA into a hole is a fault with a reason of its own, and so is one beyond the end; neither throws or moves bytes there", () => {
  const { machine, table, nic } = setUp();
  const device = new DmaDevice(table);
  const mapping = got(device.map(BigInt(HOLE - 4096), 8192, 3));
  const before = new Uint8Array(8).fill(7);
  assert.equal(nic.dmaWrite(mapping.iova + 4092n, before), false);
  const beyond = got(device.map(BigInt(GIB4 + HIGH_BYTES), 1, 1));
  assert.equal(nic.dmaRead(beyond.iova, before), false);
  assert.deepEqual(
    machine.faults().map(({ iova, reason }) => [iova, reason]),
    [
      [mapping.iova + 4096n, "memory-hole"],
      [beyond.iova, "outside-memory"],
    ],
  );
  const last = new Uint8Array(4);
  machine.memory.read(HOLE - 4, last);
  assert.deepEqual([...last], [7, 7, 7, 7], "the part before the hole was written");
});

test("a page that a hole begins in is refused as a whole", () => {
  const { machine, table, nic } = setUp({ pageShift: 21 });
  const mapping = got(new DmaDevice(table).map(0n, 2 * HOLE, 3));
  assert.ok(nic.dmaRead(mapping.iova, new Uint8Array(HOLE)), "what is asked for lies before the hole");
  assert.equal(nic.dmaWrite(mapping.iova + 8n, new Uint8Array(HOLE).fill(1)), false);
  assert.deepEqual(machine.faults()[0]?.reason, "memory-hole");
  const untouched = new Uint8Array(16);
  machine.memory.read(0, untouched);
  assert.ok(untouched.every((byte) => byte === 0));
});

test("coherent memory, pools, bounce buffers and scatterlists work in each region", () => {
  for (const at of [0x40000, HOLE / 2, GIB4 + 0x10000]) {
    const { machine, table, nic } = setUp();
    const { memory } = machine;
    const pages = PhysicalPages.create({ address: at, bytes: 0x20000 });
    const device = new DmaDevice(table, {}, { memory, coherentPages: pages, bounce: { pages, untrusted: true } });
    const coherent = got(device.allocateCoherent(5000));
    assert.ok(nic.dmaWrite(coherent.iova, Uint8Array.of(1, 2, 3)));
    const seen = new Uint8Array(3);
    memory.read(coherent.address, seen);
    assert.deepEqual([...seen], [1, 2, 3]);
    const pool = new DmaPool(device, memory, { blockBytes: 64 });
    const block = got(pool.allocate());
    assert.ok(nic.dmaWrite(block.iova, Uint8Array.of(4, 5, 6)));
    memory.read(block.address, seen);
    assert.deepEqual([...seen], [4, 5, 6]);
    const list = ScatterList.from([
      { address: 0x1001n, bytes: 3 },
      { address: BigInt(GIB4 + 7), bytes: 9 },
    ]);
    assert.equal(device.mapSg(list, 2), undefined);
    assert.ok(nic.dmaWrite(list.iovas[0] as bigint, Uint8Array.of(7, 8, 9)));
    assert.equal(device.unmapSg(list), undefined);
    memory.read(0x1001, seen);
    assert.deepEqual([...seen], [7, 8, 9]);
    pool.free(block);
    pool.destroy();
    assert.equal(device.freeCoherent(coherent), undefined);
    assert.equal(pages.takenPages, 0);
  }
});

test("pages and buffers that reach into a hole are refused before anything is taken", () => {
  const { machine, table } = setUp();
  const { memory } = machine;
  const inHole = PhysicalPages.create({ address: HOLE - 4096, bytes: 8192 });
  assert.throws(() => new DmaDevice(table, {}, { memory, coherentPages: inHole }), {
    name: "InvalidArgumentError",
    message:
      "range of the physical pages is [0xff000, 0x101000); expected all bytes in memory, and it has a hole there",
  });
  const pages = PhysicalPages.create({ address: 0x40000, bytes: 0x10000 });
  const device = new DmaDevice(table, {}, { memory, bounce: { pages, untrusted: true } });
  assert.throws(() => device.map(BigInt(HOLE - 2), 4, 1), {
    name: "InvalidArgumentError",
    message: "buffer to bounce is 4 bytes at 0xffffe; expected all bytes in memory, and it reaches into a hole",
  });
  assert.deepEqual([pages.takenPages, table.statistics().taken], [0, 0]);
});

test("a table may lie across adjacent regions, and not in a hole", () => {
  const { machine, table, nic } = setUp({ tableAddress: HOLE / 2 - 4096 });
  assert.equal(table.window.entries, 64);
  const wide = SoftwareMachine.create({ memory: guestRam().memory });
  const window = { base: 0x80000000n, pageShift: 12, entries: 1024 };
  const across = LinearPlatform.create(wide, { format: "powernv-tce", window, tableAddress: HOLE / 2 - 4096 });
  const device = new DmaDevice(across.generic);
  const mapping = got(device.map(0n, 1024 * 4096, 1));
  assert.ok(wide.device(0).dmaRead(mapping.iova, new Uint8Array(200 * 4096)), "entries on both sides of the border");
  assert.throws(
    () => LinearPlatform.create(wide, { format: "powernv-tce", window, tableAddress: HOLE - 4096 }),
    /table address is 0xff000; expected an address where memory has 8192 bytes without a hole/,
  );
  assert.equal(nic.dmaRead(0x80000000n, new Uint8Array(1)), false);
  assert.equal(machine.faults().length, 1);
});

test("what a device writes through the streaming cache arrives in the caller's buffer, above 4 GiB too", () => {
  const { buffer, memory } = guestRam();
  const machine = SoftwareMachine.create({ memory, iommu: "psycho" });
  const platform = Sun4uPlatform.create(machine, { entries: 1024, tableAddress: 65536, streaming: true });
  const device = new DmaDevice(platform.generic);
  const mapping = got(device.map(BigInt(GIB4 + 100), 200, 3));
  assert.ok(machine.device(0).dmaWrite(mapping.iova, new Uint8Array(200).fill(5)));
  assert.equal(device.unmap(mapping), undefined);
  assert.ok(new Uint8Array(buffer, HOLE + 100, 200).every((byte) => byte === 5));
});

test("another thread attaches to a machine on brought-along memory", () => {
  const { machine } = setUp();
  const other = SoftwareMachine.attach(structuredClone(machine.handle));
  other.memory.store32(GIB4 + 4, 17);
  assert.equal(machine.memory.load32(GIB4 + 4), 17);
});

test("a memory of a wrong type, one that is given twice, and one that lies too high are refused", () => {
  const refused = (options: object, message: string): void =>
    assert.throws(() => SoftwareMachine.create(options as SoftwareMachineOptions), {
      name: "InvalidArgumentError",
      message,
    });
  const { memory } = guestRam();
  refused({ memory, memoryBytes: 4096 }, "memoryBytes beside memory is 4096; expected only one of the two");
  refused({}, "memory size in bytes is undefined; expected an integer from 4096 to 4294967296");
  const notMemory = new SharedArrayBuffer(4096);
  refused({ memory: notMemory }, "memory of the machine is a SharedArrayBuffer; expected a PhysicalMemory");
  const high = PhysicalMemory.of([{ address: 2 ** 43 - 4096, buffer: notMemory }]);
  refused({ memory: high }, "end of the machine's memory is 0x80000000000; expected an address below 0x80000000000");
});
