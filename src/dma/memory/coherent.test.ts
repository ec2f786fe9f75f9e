/** Coherent memory: where it lies, what it holds, and that nothing of it is left after a failure or a free. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { PhysicalPages } from "../../memory/physical-pages.ts";
import { FreeError, InvalidArgumentError, IovaError } from "../../units/errors.ts";
import type { CoherentMemory } from "../contract.ts";
import { DmaDevice } from "../device.ts";
import { FaultInjectingTable } from "../fault-injection.ts";
import { got, MEMORY_BYTES, pattern, setUp } from "../set-up.model.ts";

const seed = Date.now() & 0x7fffffff;

function powerOfTwoFor(bytes: number): number {
  return 2 ** Math.ceil(Math.log2(bytes));
}

test("coherent memory is zeroed, aligned to its next power of two on both sides, and shares no page with other data", (t) => {
  t.diagnostic(`seed ${seed}`);
  const cases = fc.record({
    pageShift: fc.constantFrom(12, 16),
    // A window whose base is aligned to no more than its page.
    skew: fc.integer({ min: 0, max: 15 }),
    sizes: fc.array(fc.constantFrom(1, 64, 4096, 4097, 8192, 12288, 20000, 65536, 70000), {
      minLength: 1,
      maxLength: 8,
    }),
  });
  fc.assert(
    fc.property(cases, ({ pageShift, skew, sizes }) => {
      const machine = setUp({ pageShift, entries: 128, base: 0x80000000n + BigInt(skew) * 2n ** BigInt(pageShift) });
      const device = new DmaDevice(machine.table, {}, machine.withCoherent);
      const blocks: CoherentMemory[] = [];
      for (const bytes of sizes) {
        const block = device.allocateCoherent(bytes);
        if (typeof block === "string") continue;
        const alignment = powerOfTwoFor(bytes);
        assert.equal(block.iova % BigInt(alignment), 0n, `bus address of ${bytes} bytes`);
        assert.equal(block.address % alignment, 0, `physical address of ${bytes} bytes`);
        assert.equal(block.bytes, bytes);
        const page = 2 ** pageShift;
        const whole = Math.ceil(bytes / page) * page;
        assert.ok(machine.seen(block.iova, whole)?.equals(Buffer.alloc(whole)), "zeros to the end of the last page");
        assert.ok(machine.nic.dmaWrite(block.iova, pattern(bytes, block.address)));
        blocks.push(block);
      }
      assert.ok(blocks.length > 0);
      // All are apart: each still holds what was written to it.
      for (const { address, bytes } of blocks) assert.ok(machine.at(address, bytes).equals(pattern(bytes, address)));
      for (const block of blocks) {
        assert.equal(device.freeCoherent(block), undefined);
        assert.equal(machine.seen(block.iova, 1), undefined);
      }
      machine.assertNothingLeft();
      machine.machine.close();
    }),
    { seed, includeErrorInReport: true, numRuns: 60 },
  );
});

test("CPU and device see each other's writes at once", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table, {}, machine.withCoherent);
  const block = got(device.allocateCoherent(100));
  machine.memory.write(block.address, Buffer.from("doorbell"));
  assert.equal(machine.seen(block.iova, 8)?.toString(), "doorbell");
  machine.nic.dmaWrite(block.iova, Buffer.from("complete"));
  assert.equal(machine.at(block.address, 8).toString(), "complete");
  device.syncForCpu(block, { offset: 0, bytes: 8 });
  machine.machine.close();
});

test("it lies under the coherent mask, wholly", () => {
  const machine = setUp();
  const limits = { mask: 2n ** 64n - 1n, coherentMask: 0x80000000n + 5n * 4096n - 2n };
  const device = new DmaDevice(machine.table, limits, machine.withCoherent);
  // The fifth page is cut by the mask, and coherent memory takes whole pages.
  const blocks = [1, 2, 3, 4].map(() => got(device.allocateCoherent(4096)));
  for (const { iova } of blocks) assert.ok(iova + 4096n <= 0x80004000n);
  assert.equal(device.allocateCoherent(1), "table-full");
  assert.equal(device.allocateCoherent(5 * 4096), "mask-too-low");
  const below = new DmaDevice(machine.table, { coherentMask: 0xffffn }, machine.withCoherent);
  assert.equal(below.allocateCoherent(1), "mask-too-low");
  assert.equal(typeof below.map(0x1000n, 100, 3), "object", "the mask for everything else is another one");
  machine.machine.close();
});

test("the longest that the table holds can be had; longer is a failure, and no page stays taken", () => {
  const machine = setUp({ entries: 64 });
  const device = new DmaDevice(machine.table, {}, machine.withCoherent);
  for (const bytes of [64 * 4096 + 1, 2 ** 40, Number.MAX_SAFE_INTEGER]) {
    assert.equal(device.allocateCoherent(bytes), "longer-than-table");
  }
  const all = got(device.allocateCoherent(64 * 4096));
  assert.equal(device.allocateCoherent(1), "table-full");
  assert.equal(machine.pages.takenPages, 64);
  assert.equal(device.freeCoherent(all), undefined);
  const bounded = new DmaDevice(machine.table, { boundaryMask: 0x1fffn }, machine.withCoherent);
  assert.equal(bounded.allocateCoherent(8193), "longer-than-boundary");
  const sub = new DmaDevice(machine.table, { boundaryMask: 0x3ffn }, machine.withCoherent);
  assert.equal(sub.allocateCoherent(1025), "longer-than-boundary");
  machine.assertNothingLeft();
  machine.machine.close();
});

test("when memory or the table runs out, or the platform refuses, nothing is left", () => {
  const small = setUp({ pagesBytes: 2 * 4096 });
  const device = new DmaDevice(small.table, {}, small.withCoherent);
  assert.equal(device.allocateCoherent(3 * 4096), "out-of-memory");
  const block = got(device.allocateCoherent(8192));
  assert.equal(device.allocateCoherent(1), "out-of-memory");
  assert.equal(device.freeCoherent(block), undefined);
  for (const faults of [{ allocate: {} }, { set: {} }]) {
    const failing = new DmaDevice(new FaultInjectingTable(small.table, faults), {}, small.withCoherent);
    assert.equal(failing.allocateCoherent(1), "allocate" in faults ? "table-full" : "platform-refused");
  }
  small.assertNothingLeft();
  small.machine.close();
});

test("wrong frees throw, say why, and change nothing", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table, {}, machine.withCoherent);
  const block = got(device.allocateCoherent(5000));
  const wrong = (code: string, message: RegExp) => (error: unknown) =>
    error instanceof FreeError && error.code === code && message.test(error.message);
  const free = (change: Partial<CoherentMemory>) => () => device.freeCoherent({ ...block, ...change });
  assert.throws(free({ iova: block.iova + 4096n }), wrong("not-allocated", /no coherent memory begins there/));
  assert.throws(free({ bytes: 5001 }), wrong("wrong-length", /5001 bytes .*: 5000 were allocated there/));
  assert.throws(free({ address: block.address + 4096 }), wrong("wrong-owner", /its memory is at 0x[0-9a-f]+, not 0x/));
  assert.throws(() => device.unmap(block), wrong("not-allocated", /coherent memory, for freeCoherent/));
  assert.throws(() => device.unmapResource(block), FreeError);
  const mapping = got(device.map(0x1000n, 4096, 3));
  assert.throws(() => device.freeCoherent({ ...mapping, address: 0x1000 }), FreeError);
  assert.deepEqual(machine.seen(block.iova, 5000), Buffer.alloc(5000));
  assert.equal(device.freeCoherent(block), undefined);
  assert.throws(() => device.freeCoherent(block), FreeError);
  assert.equal(device.unmap(mapping), undefined);
  machine.assertNothingLeft();
  machine.machine.close();
});

test("on a lazy table memory goes back only when the device is cut off", () => {
  const machine = setUp({ lazy: true });
  const device = new DmaDevice(machine.table, {}, machine.withCoherent);
  const block = got(device.allocateCoherent(4096));
  assert.ok(machine.seen(block.iova, 1), "the IOTLB knows it now");
  assert.equal(device.freeCoherent(block), undefined);
  assert.equal(machine.seen(block.iova, 1), undefined);
  machine.assertNothingLeft();
  machine.machine.close();
});

test("memory whose invalidation failed is never allocated again", () => {
  for (const lazy of [false, true]) {
    const machine = setUp({ lazy });
    const device = new DmaDevice(machine.table, {}, machine.withCoherent);
    const block = got(device.allocateCoherent(4096));
    machine.platform.ops.invalidate = () => "platform-busy";
    machine.platform.ops.invalidateAll = () => "platform-busy";
    assert.equal(device.freeCoherent(block), "platform-busy");
    assert.equal(machine.pages.takenPages, 1);
    assert.throws(() => device.freeCoherent(block), FreeError, "it is gone all the same");
    machine.machine.close();
  }
});

test("a device that was made without memory has no coherent memory, and says what is missing", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table);
  const missing = (error: unknown) => error instanceof IovaError && error.code === "not-set-up";
  assert.throws(() => device.allocateCoherent(1), missing);
  const { coherentPages, memory } = machine.withCoherent;
  assert.throws(() => new DmaDevice(machine.table, {}, { coherentPages: coherentPages! }), InvalidArgumentError);
  const beyond = PhysicalPages.create({ address: MEMORY_BYTES - 4096, bytes: 8192 });
  assert.throws(() => new DmaDevice(machine.table, {}, { memory: memory!, coherentPages: beyond }), /0x401000/);
  const whole = new DmaDevice(machine.table, {}, machine.withCoherent);
  for (const bytes of [0, -1, 1.5, Number.NaN])
    assert.throws(() => whole.allocateCoherent(bytes), InvalidArgumentError);
  machine.machine.close();
});

test("coherent memory is unmapped by freeCoherent alone, also when only a part of its first page is named", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table, {}, machine.withCoherent);
  const block = got(device.allocateCoherent(4096));
  const part = { ...block, iova: block.iova + 64n, bytes: 64 };
  assert.throws(() => device.unmap(part), /coherent memory, for freeCoherent/);
  assert.throws(() => device.unmapResource(part), FreeError);
  assert.ok(machine.seen(block.iova, 4096), "still mapped");
  assert.equal(device.freeCoherent(block), undefined);
  machine.assertNothingLeft();
  machine.machine.close();
});

test("unmapPages refuses coherent memory as unmap does (review of 2026-11-30, defect 11)", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table, {}, machine.withCoherent);
  const block = got(device.allocateCoherent(4096));
  const entry = Number((block.iova - machine.table.window.base) >> 12n);
  assert.throws(() => device.unmapPages(entry, 1), {
    name: "FreeError",
    code: "not-allocated",
    message: /freeCoherent/,
  });
  assert.equal(device.freeCoherent(block), undefined);
  machine.assertNothingLeft();
});
