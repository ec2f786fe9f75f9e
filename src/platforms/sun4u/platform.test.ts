import assert from "node:assert/strict";
import { test } from "node:test";
import { UNCONSTRAINED } from "../../allocator/constraints.ts";
import { readLayout } from "../../machines/software/layout.ts";
import { SoftwareMachine } from "../../machines/software/machine.ts";
import { DmaInFlight } from "../../machines/software/threads.ts";
import { wordsOf } from "../../shared/memory.ts";
import { iovaOf } from "../../table/iommu-table.ts";
import { FormatError, InvalidArgumentError, IovaError } from "../../units/errors.ts";
import { FLUSH_ALL_ABOVE } from "./ops.ts";
import { Sun4uPlatform, type Sun4uPlatformHandle } from "./platform.ts";
import { CONTROL, FLUSH, TSB_BASE } from "./registers.ts";

const MEMORY_BYTES = 2 ** 22;

function machineOf(iotlbEntries = 64): SoftwareMachine {
  return SoftwareMachine.create({
    memoryBytes: MEMORY_BYTES,
    iommu: "sabre",
    busyMilliseconds: 5,
    iotlb: { entries: iotlbEntries },
  });
}

function map(platform: Sun4uPlatform, page: number, count = 1, access: 1 | 3 = 3): number {
  const { generic } = platform;
  const entry = generic.allocate(count, UNCONSTRAINED, -1);
  assert.ok(entry >= 0);
  assert.equal(generic.set(entry, count, page, access), undefined);
  generic.publish();
  generic.commit(entry, count);
  return entry;
}

function readAt(machine: SoftwareMachine, iova: bigint): number {
  const byte = new Uint8Array(1);
  assert.ok(machine.device(0).dmaRead(iova, byte));
  return byte[0] as number;
}

function bytesAt(machine: SoftwareMachine, address: number, length: number): number[] {
  const bytes = new Uint8Array(length);
  machine.memory.read(address, bytes);
  return [...bytes];
}

function memoryBelow(machine: SoftwareMachine, end: number): Buffer {
  const bytes = Buffer.alloc(end);
  machine.memory.read(0, bytes);
  return bytes;
}

for (const [pageShift, high] of [
  [13, 0x80],
  [16, 0xa0],
] as const) {
  const pageBytes = 2 ** pageShift;

  test(`pages of ${pageBytes} bytes: the bridge and the entries hold what the manual says, and the window ends at 4 GiB`, () => {
    const machine = machineOf();
    const platform = Sun4uPlatform.create(machine, { pageShift, entries: 2048 });
    assert.equal(platform.tableAddress, MEMORY_BYTES - 2048 * 8);
    assert.equal(machine.registers.read64(CONTROL), BigInt((1 << 16) | (pageShift === 16 ? 4 : 0) | 1));
    assert.equal(machine.registers.read64(TSB_BASE), BigInt(platform.tableAddress));
    assert.equal(platform.generic.window.base, 2n ** 32n - 2048n * BigInt(pageBytes));
    const entry = map(platform, 3);
    const low = 3 * pageBytes;
    const address = platform.tableAddress + entry * 8;
    assert.deepEqual(bytesAt(machine, address, 8), [high, 0, 0, 0, 0, low >> 16, (low >> 8) & 255, 0x12]);
    const dummy = platform.dummyAddress;
    platform.generic.unmap(entry, 1);
    assert.deepEqual(bytesAt(machine, address, 8), [high, 0, 0, 0, 0, dummy >> 16, (dummy >> 8) & 255, 0x12]);
  });

  test(`pages of ${pageBytes} bytes: every byte of a mapping is that of its page, at large offsets too (defect 14)`, () => {
    const machine = machineOf();
    const platform = Sun4uPlatform.create(machine, { pageShift, entries: 1024 });
    const entry = map(platform, 5, 3);
    for (const offset of [0, 0x1fff, pageBytes - 1, pageBytes, 2 * pageBytes + 0x1234, 3 * pageBytes - 1]) {
      machine.memory.write(5 * pageBytes + offset, Uint8Array.of((offset % 251) + 1));
      const iova = iovaOf(platform.generic.window, entry) + BigInt(offset);
      assert.equal(readAt(machine, iova), (offset % 251) + 1, `offset ${offset}`);
    }
  });

  test(`pages of ${pageBytes} bytes: a stray DMA lands in the dummy page and does not fault`, () => {
    const machine = machineOf();
    const platform = Sun4uPlatform.create(machine, { pageShift, entries: 1024 });
    const before = memoryBelow(machine, platform.dummyAddress);
    const entry = map(platform, 2);
    const iova = iovaOf(platform.generic.window, entry);
    assert.ok(machine.device(0).dmaWrite(iova, Uint8Array.of(7)));
    assert.equal(platform.generic.unmap(entry, 1), undefined);
    assert.ok(machine.device(0).dmaWrite(iova + 1n, Uint8Array.of(8, 9)));
    before[2 * pageBytes] = 7;
    assert.ok(memoryBelow(machine, platform.dummyAddress).equals(before));
    assert.deepEqual(bytesAt(machine, platform.dummyAddress, 3), [0, 8, 9]);
    assert.deepEqual(machine.faults(), []);
  });
}

test("without the flush a device goes on using the old page; with it, it lands in the dummy page", () => {
  const machine = machineOf();
  const platform = Sun4uPlatform.create(machine, { entries: 1024 });
  machine.memory.write(2 * 8192, Uint8Array.of(42));
  for (const count of [1, FLUSH_ALL_ABOVE, FLUSH_ALL_ABOVE + 1]) {
    const entry = map(platform, 2, count);
    const iova = iovaOf(platform.generic.window, entry);
    assert.equal(readAt(machine, iova), 42);
    platform.ops.clear(entry, count);
    platform.ops.publish();
    assert.equal(readAt(machine, iova), 42);
    assert.equal(platform.ops.invalidate(entry, entry + count), undefined);
    assert.equal(readAt(machine, iova), 0);
    platform.generic.unmap(entry, count);
  }
});

test("a flush forgets its page alone, whatever the address has above the window", () => {
  const machine = machineOf();
  const platform = Sun4uPlatform.create(machine, { entries: 1024 });
  const entry = map(platform, 2, 2);
  const iova = iovaOf(platform.generic.window, entry);
  readAt(machine, iova);
  readAt(machine, iova + 8192n);
  machine.registers.write64(FLUSH, iova % (1024n * 8192n));
  assert.deepEqual(machine.iotlbEntries(), [entry + 1]);
});

test("a page that may only be read refuses writes, which is a fault", () => {
  const machine = machineOf();
  const platform = Sun4uPlatform.create(machine, { entries: 1024 });
  const iova = iovaOf(platform.generic.window, map(platform, 2, 1, 1));
  assert.equal(machine.device(0).dmaWrite(iova, Uint8Array.of(1)), false);
  assert.deepEqual(
    machine.faults().map(({ reason }) => reason),
    ["write-refused"],
  );
});

test("get and exchange report an entry that leads to the dummy page as empty", () => {
  const machine = machineOf();
  const platform = Sun4uPlatform.create(machine, { entries: 1024 });
  const value = { page: 1, access: 3 as 0 | 1 | 2 | 3 };
  for (let entry = 0; entry < 1024; entry++) {
    platform.ops.get(entry, value);
    assert.deepEqual(value, { page: 0, access: 0 });
  }
  assert.equal(platform.ops.exchange(9, 4, 3, value), undefined);
  assert.deepEqual(value, { page: 0, access: 0 });
  assert.equal(platform.ops.exchange(9, 5, 1, value), undefined);
  assert.deepEqual(value, { page: 4, access: 3 });
});

test("the dummy page is refused, and nothing is left of a long range that it is in (defect 13)", () => {
  const machine = machineOf();
  const platform = Sun4uPlatform.create(machine, { entries: 1024 });
  const dummyPage = platform.dummyAddress / 8192;
  const table = bytesAt(machine, platform.tableAddress, 8192);
  assert.equal(platform.ops.set(0, 1, dummyPage, 3), "platform-refused");
  assert.equal(platform.ops.set(0, 2, 2 ** 34 - 1, 3), "platform-refused");
  assert.equal(platform.ops.set(0, 600, dummyPage - 300, 3), "platform-refused");
  assert.deepEqual(bytesAt(machine, platform.tableAddress, 8192), table);
});

test("a flush that meets a DMA that does not end says so, once, and the range is quarantined (defect 15: the wait is bounded)", () => {
  const machine = machineOf();
  const platform = Sun4uPlatform.create(machine, { entries: 1024 });
  const entry = map(platform, 2);
  const stuck = SoftwareMachine.attach(machine.handle);
  const state = wordsOf(machine.handle.state);
  const layout = readLayout(state, machine.handle.state.byteLength / 4);
  new DmaInFlight(state, layout, stuck.thread).begin();
  assert.equal(platform.generic.unmap(entry, 1), "platform-busy");
  assert.equal(platform.ops.invalidateAll(), "platform-busy");
  assert.throws(() => Sun4uPlatform.create(machine, { entries: 1024 }), IovaError);
  machine.crew.reclaim(stuck.thread, "in-flight");
  assert.equal(platform.ops.invalidateAll(), undefined);
});

test("a platform attaches by its cloned handle on another view of the machine", () => {
  const machine = machineOf();
  const platform = Sun4uPlatform.create(machine, { pageShift: 16, entries: 1024 });
  const otherMachine = SoftwareMachine.attach(structuredClone(machine.handle));
  const other = Sun4uPlatform.attach(otherMachine, structuredClone(platform.handle));
  machine.memory.write(65536, Uint8Array.of(6));
  const entry = map(other, 1);
  assert.equal(readAt(machine, iovaOf(platform.generic.window, entry)), 6);
  assert.equal(other.generic.unmap(entry, 1), undefined);
  assert.equal(readAt(machine, iovaOf(platform.generic.window, entry)), 0);
  assert.throws(() => Sun4uPlatform.attach(machine, {} as Sun4uPlatformHandle), FormatError);
  const streaming = Sun4uPlatform.create(SoftwareMachine.create({ memoryBytes: 2 ** 22, iommu: "psycho" }), {
    entries: 1024,
    streaming: true,
  });
  // As of a library that kept the counts of syncs elsewhere.
  const older = { ...streaming.handle, syncs: undefined };
  assert.throws(() => Sun4uPlatform.attach(machine, older), FormatError);
});

test("what a bridge can't have is refused with the numbers, and nothing changes", () => {
  const machine = machineOf();
  const platform = Sun4uPlatform.create(machine, { entries: 1024 });
  const control = machine.registers.read64(CONTROL);
  for (const [options, message] of [
    [{ entries: 1000 }, /entries of the TSB is 1000; expected a power of two from 1024 to 131072/],
    [{ entries: 512 }, /entries of the TSB is 512/],
    [{ entries: 65536, pageShift: 16 }, /at least is 65536; expected an integer from 1 to 32768/],
    [{ pageShift: 12 }, /page shift of sun4u is 12; expected one of 13, 16/],
    [{ entries: 1024, tableAddress: 4096 }, /address of the TSB is 4096; expected a multiple of 8192/],
    [{ entries: 1024, tableAddress: 0 }, /address of the TSB is 0/],
    [{ entries: 1024, tableAddress: MEMORY_BYTES }, /table address is 4194304/],
  ] as const) {
    assert.throws(
      () => Sun4uPlatform.create(machine, options),
      (error: Error) => {
        assert.ok(error instanceof InvalidArgumentError);
        assert.match(error.message, message);
        return true;
      },
    );
  }
  assert.equal(machine.registers.read64(CONTROL), control);
  assert.throws(() => platform.ops.clear(1024, 1), InvalidArgumentError);
  assert.throws(() => platform.ops.invalidate(1020, 1025), InvalidArgumentError);
  assert.throws(() => platform.ops.get(-1, { page: 0, access: 0 }), InvalidArgumentError);
});
