/** Direct windows: no table, so what a device sees is told by the addresses alone. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FreeError, InvalidArgumentError } from "../units/errors.ts";
import type { DmaDeviceOptions } from "./device-options.ts";
import type { DirectWindow } from "./device-window.ts";
import { DirectDevice } from "./direct.ts";
import { ScatterList } from "./scatter-list.ts";
import { got, MEMORY_BYTES, PAGES_AT, setUp } from "./set-up.model.ts";

const seed = Date.now() & 0x7fffffff;
const BYPASS = 2n ** 59n;
const WHOLE: DirectWindow = { kind: "direct", base: BYPASS, address: 0, bytes: MEMORY_BYTES };

test("bus address is physical address plus offset, for every window", (t) => {
  t.diagnostic(`seed ${seed}`);
  const cases = fc.record({
    base: fc.bigInt({ min: 0n, max: 2n ** 51n }).map((page) => page * 4096n),
    address: fc.integer({ min: 0, max: 2 ** 40 }).map((page) => page * 4096),
    at: fc.integer({ min: 0, max: 2 ** 30 }),
    bytes: fc.integer({ min: 1, max: 65536 }),
  });
  fc.assert(
    fc.property(cases, ({ base, address, at, bytes }) => {
      const window = { kind: "direct", base, address, bytes: 2 ** 31 } as const;
      // No boundary: it may lie anywhere in such windows.
      const device = new DirectDevice(window, { boundaryMask: 2n ** 64n - 1n });
      const mapping = got(device.map(BigInt(address + at), bytes, 3));
      assert.deepEqual(mapping, { iova: base + BigInt(at), bytes, access: 3 });
      const list = new ScatterList(1);
      list.addNumber(address + at, bytes);
      assert.equal(device.mapSg(list, 3), undefined);
      assert.equal(list.iovas[0], base + BigInt(at));
      assert.equal(device.unmap(mapping), undefined);
      assert.equal(device.unmapSg(list), undefined);
    }),
    { seed, includeErrorInReport: true, numRuns: 500 },
  );
});

test("a list has its bytes in order, merged only where they are adjacent in memory, within all limits", (t) => {
  t.diagnostic(`seed ${seed}`);
  const cases = fc.record({
    elements: fc.array(fc.tuple(fc.integer({ min: 0, max: 12 }), fc.constantFrom(0, 1, 2048, 4096, 8192)), {
      maxLength: 8,
    }),
    maxSegmentBytes: fc.constantFrom(2048, 4096, 6000, 65536),
    boundaryMask: fc.constantFrom(0xfffn, 0x1fffn, 0x3fffn, 2n ** 32n - 1n, 2n ** 64n - 1n),
    base: fc.constantFrom(BYPASS, 0n, 0x1000n, 2n ** 32n - 0x3000n),
    merge: fc.boolean(),
  });
  fc.assert(
    fc.property(cases, ({ elements, maxSegmentBytes, boundaryMask, base, merge }) => {
      const window = { ...WHOLE, base };
      const device = new DirectDevice(window, { maxSegmentBytes, boundaryMask }, { merge });
      const list = new ScatterList(8, 64);
      for (const [half, bytes] of elements) list.addNumber(half * 2048, bytes);
      const crosses = (address: bigint, bytes: number) =>
        bytes > 0 && (address & ~boundaryMask) !== ((address + BigInt(bytes) - 1n) & ~boundaryMask);
      const refused = elements.some(([half, bytes]) => crosses(base + BigInt(half * 2048), bytes));
      assert.equal(device.mapSg(list, 3), refused ? "longer-than-boundary" : undefined);
      if (refused) {
        assert.equal(list.segments, 0);
        assert.equal(list.mapping.device, undefined);
        return;
      }
      const expected: [address: bigint, bytes: number][] = [];
      for (const [half, bytes] of elements.filter(([, bytes]) => bytes > 0)) {
        const start = base + BigInt(half * 2048);
        const last = expected.at(-1);
        const adjacent = merge && last !== undefined && last[0] + BigInt(last[1]) === start;
        if (adjacent && last[1] + bytes <= maxSegmentBytes && !crosses(last[0], last[1] + bytes)) last[1] += bytes;
        else
          for (let at = 0; at < bytes; at += maxSegmentBytes)
            expected.push([start + BigInt(at), Math.min(maxSegmentBytes, bytes - at)]);
      }
      const found = Array.from({ length: list.segments }, (_, i) => [list.iovas[i]!, list.segmentBytes[i]!]);
      assert.deepEqual(found, expected);
      assert.equal(device.unmapSg(list), undefined);
      assert.equal(list.segments, 0);
    }),
    { seed, includeErrorInReport: true, numRuns: 1000 },
  );
});

/** A device that reaches the first 3 MiB, with its pages in reach, and the machine of 4. */
function narrow(options: Partial<DmaDeviceOptions> = {}) {
  const machine = setUp();
  const bounce = { memory: machine.memory, bounce: { pages: machine.pages }, ...options };
  const device = new DirectDevice(WHOLE, { mask: BYPASS + 3n * 2n ** 20n - 1n }, bounce);
  return { machine, device, far: 3 * 2 ** 20 + 16 };
}

test("memory beyond the mask is refused without bounce buffers, also at its last byte", () => {
  const device = new DirectDevice(WHOLE, { mask: BYPASS + 0xffffn });
  got(device.map(0xff00n, 0x100, 3));
  assert.equal(device.map(0xff00n, 0x101, 3), "mask-too-low");
  assert.equal(device.map(BigInt(MEMORY_BYTES), 1, 3), "mask-too-low");
  assert.equal(device.map(2n ** 63n, 1, 3), "mask-too-low");
  assert.equal(device.mapResource(0x10000n, 1, 3), "mask-too-low");
  const list = new ScatterList(2);
  list.addNumber(0x1000, 10);
  list.addNumber(0x10000, 10);
  assert.equal(device.mapSg(list, 3), "mask-too-low");
  assert.deepEqual([list.segments, list.iovas[0], list.mapping.device], [0, 0n, undefined]);
});

test("memory beyond the mask is bounced where there are bounce buffers, and only that", () => {
  const { machine, device, far } = narrow();
  machine.memory.write(far, Buffer.alloc(100, 5));
  const mapping = got(device.map(BigInt(far), 100, 3));
  const standIn = Number(mapping.iova - BYPASS);
  assert.ok(standIn >= PAGES_AT && standIn + 100 <= 3 * 2 ** 20, "in the pages, in reach");
  assert.equal(standIn % 4096, far % 4096, "the offset in the page is kept");
  assert.deepEqual(machine.at(standIn, 100), Buffer.alloc(100, 5));
  machine.memory.write(standIn, Buffer.alloc(40, 9));
  device.syncForCpu(mapping, { offset: 0, bytes: 20 });
  assert.deepEqual(machine.at(far, 100), Buffer.alloc(100, 5).fill(9, 0, 20));
  assert.throws(() => device.unmap({ ...mapping, bytes: 99 }), { name: "FreeError", code: "wrong-length" });
  assert.throws(() => device.unmapResource(mapping), FreeError);
  assert.equal(device.unmap(mapping), undefined);
  assert.deepEqual(machine.at(far, 100), Buffer.alloc(100, 5).fill(9, 0, 40));
  const near = got(device.map(0x1010n, 100, 3));
  assert.equal(near.iova, BYPASS + 0x1010n);
  assert.equal(device.unmap(near), undefined);
  machine.assertNothingLeft();
  machine.machine.close();
});

test("of a list only the elements beyond the mask are bounced; a failure gives their pages back", () => {
  const { machine, device, far } = narrow();
  const list = new ScatterList(3);
  for (const address of [0x1010, far, far + 8192]) list.addNumber(address, 100);
  const columns = list.addresses.slice();
  assert.equal(device.mapSg(list, 3), undefined);
  assert.deepEqual(list.addresses, columns);
  assert.equal(list.iovas[0], BYPASS + 0x1010n);
  assert.equal(machine.pages.takenPages, 2);
  machine.memory.write(Number(list.iovas[2]! - BYPASS), Buffer.alloc(100, 9));
  device.syncSgForCpu(list);
  assert.deepEqual(machine.at(far + 8192, 100), Buffer.alloc(100, 9));
  assert.equal(device.unmapSg(list), undefined);
  machine.assertNothingLeft();

  const bounded = new DirectDevice(
    WHOLE,
    { mask: BYPASS + 3n * 2n ** 20n - 1n, boundaryMask: 0xfffn },
    { memory: machine.memory, bounce: { pages: machine.pages } },
  );
  list.bytes[2] = 8192;
  assert.equal(bounded.mapSg(list, 3), "longer-than-boundary", "no bounce buffer is short enough");
  assert.equal(list.segments, 0);
  machine.assertNothingLeft();
  machine.machine.close();
});

test("a buffer across a segment boundary is bounced to where it crosses none", () => {
  const { machine } = narrow();
  const limits = { boundaryMask: 0xffffn };
  const list = new ScatterList(1);
  list.addNumber(0xfff0, 32);
  assert.equal(new DirectDevice(WHOLE, limits).mapSg(list, 3), "longer-than-boundary");
  const small = { address: PAGES_AT, bytes: 2 ** 20 };
  assert.equal(machine.pages.handle.address, small.address);
  const device = new DirectDevice(WHOLE, limits, { memory: machine.memory, bounce: { pages: machine.pages } });
  assert.equal(device.mapSg(list, 3), undefined);
  const start = list.iovas[0]!;
  assert.equal(start & ~0xffffn, (start + 31n) & ~0xffffn);
  assert.equal(device.unmapSg(list), undefined);
  machine.assertNothingLeft();
  machine.machine.close();
});

test("a bounce buffer is found between two boundaries, also when the free pages begin just before one", () => {
  const machine = setUp();
  const options = { memory: machine.memory, bounce: { pages: machine.pages } };
  const device = new DirectDevice(WHOLE, { boundaryMask: 0x3fffn }, options);
  // Of the four pages up to the boundary three are taken: the next two in a row lie across it.
  const taken = machine.pages.allocate(3 * 4096);
  const mapping = got(device.map(0x3ff0n, 32, 3));
  assert.equal(mapping.iova & ~0x3fffn, (mapping.iova + 31n) & ~0x3fffn);
  assert.equal(device.unmap(mapping), undefined);
  machine.pages.free(taken, 3 * 4096);
  machine.assertNothingLeft();
  machine.machine.close();
});

test("a buffer across a boundary can only have been bounced: its unmap without a bounce buffer throws", () => {
  const machine = setUp();
  const options = { memory: machine.memory, bounce: { pages: machine.pages } };
  const device = new DirectDevice(WHOLE, { boundaryMask: 0xffffn }, options);
  const never = { iova: BYPASS + 0xfff0n, bytes: 32, access: 3 } as const;
  assert.throws(() => device.unmap(never), { name: "FreeError", code: "wrong-owner" });
  machine.machine.close();
});

test("bounce pages that the device can't reach either are a failure, and are given back", () => {
  const machine = setUp();
  const options = { memory: machine.memory, bounce: { pages: machine.pages } };
  const device = new DirectDevice(WHOLE, { mask: BYPASS + BigInt(PAGES_AT) - 1n }, options);
  assert.equal(device.map(BigInt(PAGES_AT), 10, 3), "mask-too-low");
  machine.assertNothingLeft();
  machine.machine.close();
});

test("coherent memory is where its pages are, zeroed and aligned, under the coherent mask", () => {
  const machine = setUp();
  const device = new DirectDevice(WHOLE, {}, machine.withCoherent);
  const block = got(device.allocateCoherent(5000));
  assert.equal(block.iova, BYPASS + BigInt(block.address));
  assert.equal(block.iova % 8192n, 0n);
  assert.deepEqual(machine.at(block.address, 8192), Buffer.alloc(8192));
  assert.throws(() => device.unmap(block), FreeError);
  assert.equal(device.freeCoherent(block), undefined);
  const skewed = new DirectDevice({ ...WHOLE, base: BYPASS + 0x1000n }, {}, machine.withCoherent);
  assert.equal(skewed.allocateCoherent(8192), "platform-refused", "aligned in memory is not aligned on the bus");
  machine.assertNothingLeft();
  machine.machine.close();
});

test("coherent memory that its device can't reach is a failure, and its pages go back", () => {
  const machine = setUp();
  const device = new DirectDevice(WHOLE, { coherentMask: BYPASS + BigInt(PAGES_AT) + 4095n }, machine.withCoherent);
  const page = got(device.allocateCoherent(4096));
  assert.equal(device.allocateCoherent(1), "mask-too-low");
  assert.equal(machine.pages.takenPages, 1);
  assert.equal(device.freeCoherent(page), undefined);
  machine.assertNothingLeft();
  machine.machine.close();
});

test("wrong windows, and devices that are not trusted, are refused", () => {
  for (const change of [{ base: 1n }, { base: -4096n }, { bytes: 0 }, { address: -1 }, { base: 2n ** 64n - 4096n }]) {
    assert.throws(() => new DirectDevice({ ...WHOLE, ...change }), InvalidArgumentError, Object.keys(change).join());
  }
  const machine = setUp();
  assert.throws(() => new DirectDevice(WHOLE, {}, machine.untrusted), /not trusted is direct; expected a translated/);
  machine.machine.close();
});

test("unmaps and syncs outside of the window throw", () => {
  const device = new DirectDevice(WHOLE);
  const mapping = got(device.map(0x1010n, 100, 3));
  const outside = { ...mapping, iova: 0x1010n };
  assert.throws(() => device.unmap(outside), { name: "FreeError", code: "out-of-range" });
  assert.throws(() => device.syncForCpu(outside), { name: "SyncError", code: "out-of-range" });
  assert.throws(() => device.syncForDevice(mapping, { offset: 0, bytes: 101 }), { name: "SyncError" });
  const list = new ScatterList(1);
  assert.throws(() => device.unmapSg(list), { name: "FreeError", code: "not-allocated" });
  assert.throws(() => device.syncSgForDevice(list), { name: "SyncError", code: "not-allocated" });
  list.addNumber(0, 10);
  assert.equal(device.mapSg(list, 1), undefined);
  assert.throws(() => device.mapSg(list, 1), InvalidArgumentError);
  assert.throws(() => new DirectDevice(WHOLE).unmapSg(list), { code: "wrong-owner" });
  assert.equal(device.unmapSg(list), undefined);
  const long = new ScatterList(1);
  long.addNumber(0, 65537);
  assert.throws(() => device.mapSg(long, 1), /segment capacity .* is 1; expected at least 2/);
});
