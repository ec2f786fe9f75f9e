import assert from "node:assert/strict";
import { test } from "node:test";
import { UNCONSTRAINED } from "../../allocator/constraints.ts";
import { readLayout } from "../../machines/software/layout.ts";
import { SoftwareMachine } from "../../machines/software/machine.ts";
import { DmaInFlight } from "../../machines/software/threads.ts";
import { wordsOf } from "../../shared/memory.ts";
import { iovaOf } from "../../table/iommu-table.ts";
import { FormatError, InvalidArgumentError, IovaError } from "../../units/errors.ts";
import type { DmaWindow } from "../../units/numbers.ts";
import { LinearPlatform, type LinearPlatformHandle, type LinearPlatformOptions } from "./platform.ts";
import { CONTROL, ENABLE } from "./registers.ts";

function windowOf(pageShift: number, entries = 256, base = 0x80000000n): DmaWindow {
  return { base, pageShift, entries };
}

function machineOf(): SoftwareMachine {
  return SoftwareMachine.create({ memoryBytes: 2 ** 22, devices: ["nic"], busyMilliseconds: 5 });
}

/** Maps one page, and returns its entry. */
function map(platform: LinearPlatform, page: number): number {
  const { generic } = platform;
  const entry = generic.allocate(1, UNCONSTRAINED, -1);
  assert.ok(entry >= 0);
  assert.equal(generic.set(entry, 1, page, 3), undefined);
  generic.publish();
  generic.commit(entry, 1);
  return entry;
}

function readByte(machine: SoftwareMachine, platform: LinearPlatform, entry: number): number | undefined {
  const byte = new Uint8Array(1);
  return machine.device("nic").dmaRead(iovaOf(platform.generic.window, entry), byte) ? byte[0] : undefined;
}

for (const [format, pageShift, base] of [
  ["powernv-tce", 12, 0x80000000n],
  ["powernv-tce", 16, 1n << 59n],
  ["sun4u-iopte", 13, 0xc0000000n],
  ["sun4u-iopte", 16, 0n],
] as const) {
  test(`${format}, page shift ${pageShift}: what the generic table maps, the device reaches; what it unmaps, no longer`, () => {
    const machine = machineOf();
    const platform = LinearPlatform.create(machine, { format, window: windowOf(pageShift, 64, base) });
    for (let page = 1; page < 20; page++) machine.memory.write(page << pageShift, Uint8Array.of(page));
    const entries = Array.from({ length: 19 }, (_, i) => map(platform, i + 1));
    assert.equal(new Set(entries).size, 19);
    entries.forEach((entry, i) => {
      assert.equal(readByte(machine, platform, entry), i + 1);
    });
    for (const entry of entries) assert.equal(platform.generic.unmap(entry, 1), undefined);
    for (const entry of entries) assert.equal(readByte(machine, platform, entry), undefined);
    assert.equal(machine.faults().length, 19);
  });
}

test("the table lies at the end of memory unless stated otherwise, and starts empty", () => {
  const machine = machineOf();
  const end = 2 ** 22;
  machine.memory.write(end - 8192, new Uint8Array(8192).fill(0xff));
  const window = windowOf(12, 1000);
  const platform = LinearPlatform.create(machine, { format: "powernv-tce", window });
  assert.equal(platform.tableAddress, end - 8192);
  assert.equal(platform.tableBytes, 8000);
  const value = { page: 1, access: 3 as 0 | 3 };
  for (let entry = 0; entry < 1000; entry++) {
    platform.ops.get(entry, value);
    assert.deepEqual(value, { page: 0, access: 0 });
  }
  assert.equal(
    LinearPlatform.create(machine, { format: "powernv-tce", window, tableAddress: 4096 }).tableAddress,
    4096,
  );
});

test("a second platform on the same machine ends the translations of the first", () => {
  const machine = machineOf();
  const window = windowOf(12);
  const first = LinearPlatform.create(machine, { format: "powernv-tce", window });
  machine.memory.write(4096, Uint8Array.of(9));
  const entry = map(first, 1);
  assert.equal(readByte(machine, first, entry), 9);
  const second = LinearPlatform.create(machine, { format: "sun4u-iopte", window: windowOf(13), tableAddress: 65536 });
  assert.equal(readByte(machine, first, entry), undefined);
  assert.equal(map(second, 1), entry);
});

test("a platform attaches on another view of the machine by its cloned handle, and shares table and allocator", () => {
  const machine = machineOf();
  const platform = LinearPlatform.create(machine, { format: "sun4u-iopte", window: windowOf(13) });
  const machine2 = SoftwareMachine.attach(structuredClone(machine.handle));
  const platform2 = LinearPlatform.attach(machine2, structuredClone(platform.handle));
  assert.notEqual(platform2.generic.thread, platform.generic.thread);
  machine.memory.write(3 << 13, Uint8Array.of(33));
  const entry = map(platform2, 3);
  assert.equal(readByte(machine, platform, entry), 33);
  assert.notEqual(map(platform, 4), entry);
  assert.equal(platform.generic.unmap(entry, 1), undefined);
  assert.equal(readByte(machine2, platform2, entry), undefined);
});

test("what does not fit together is refused before anything of the machine changes", () => {
  const machine = machineOf();
  const running = LinearPlatform.create(machine, { format: "powernv-tce", window: windowOf(12) });
  machine.memory.write(4096, Uint8Array.of(5));
  const entry = map(running, 1);
  const refused = (options: Partial<LinearPlatformOptions>, message: RegExp): void => {
    const all = { format: "powernv-tce", window: windowOf(12), ...options };
    assert.throws(() => LinearPlatform.create(machine, all), message);
    assert.throws(() => LinearPlatform.create(machine, all), InvalidArgumentError);
    assert.equal(readByte(machine, running, entry), 5);
  };
  refused({ format: "vtd" }, /entry format is "vtd"; expected one of powernv-tce, sun4u-iopte/);
  refused({ format: "toString" }, /entry format is "toString"/);
  refused({ format: "sun4u-iopte" }, /page shift of sun4u-iopte is 12/);
  refused({ window: windowOf(12, 0) }, /the window's entries is 0/);
  refused({ window: windowOf(12, 2 ** 20) }, /a table of 8388608 bytes in 4194304 of memory/);
  refused({ window: windowOf(12, 256, 5n) }, /window's base/);
  refused({ window: windowOf(12, 256, (1n << 64n) - 4096n) }, /beyond 2\^64/);
  refused({ tableAddress: 4097 }, /table address is 4097/);
  refused({ table: { pools: 0 } }, /pools is 0/);
});

test("an invalid handle is refused", () => {
  const machine = machineOf();
  const { handle } = LinearPlatform.create(machine, { format: "powernv-tce", window: windowOf(12) });
  for (const wrong of [undefined, {}, { ...handle, table: undefined }, { ...handle, tableAddress: "0" }]) {
    assert.throws(() => LinearPlatform.attach(machine, wrong as LinearPlatformHandle), FormatError);
  }
  assert.throws(() => LinearPlatform.attach(machine, { ...handle, format: "x" }), InvalidArgumentError);
});

test("a DMA of a killed thread holds up the making of a platform, with an error that says so, until it is forgotten", () => {
  const machine = machineOf();
  const window = windowOf(12);
  LinearPlatform.create(machine, { format: "powernv-tce", window });
  const dead = SoftwareMachine.attach(machine.handle);
  // As a thread killed in mid-DMA leaves it: its bit is set, its sequence is odd.
  const words = wordsOf(machine.handle.state);
  const layout = readLayout(words, machine.handle.state.byteLength / 4);
  new DmaInFlight(words, layout, dead.thread).begin();
  const create = (): LinearPlatform => LinearPlatform.create(machine, { format: "powernv-tce", window });
  assert.throws(create, (error) => error instanceof IovaError && error.code === "platform-busy");
  machine.crew.reclaim(dead.thread, "in-flight");
  create();
  assert.equal(machine.registers.read32(CONTROL) & ENABLE, ENABLE);
});
