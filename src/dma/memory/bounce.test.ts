/** Bounce buffers of devices that are not trusted, seen from both sides: what the device gets, and what memory becomes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FreeError, InvalidArgumentError, SyncError } from "../../units/errors.ts";
import type { Access } from "../../units/numbers.ts";
import type { Mapping } from "../contract.ts";
import { DmaDevice } from "../device.ts";
import { FaultInjectingTable } from "../fault-injection.ts";
import { ScatterList } from "../scatter-list.ts";
import { got, MEMORY_BYTES, PAGES_AT, pattern, setUp } from "../set-up.model.ts";

const seed = Date.now() & 0x7fffffff;

const FORMATS = [
  ["powernv-tce", 12],
  ["powernv-tce", 16],
  ["sun4u-iopte", 13],
] as const;

/** The pages of a mapping as the device finds them: what lies before the buffer, the buffer, what lies behind. */
function pagesAround({ iova, bytes }: Mapping, pageSize: number) {
  const before = Number(iova % BigInt(pageSize));
  const all = Math.ceil((before + bytes) / pageSize) * pageSize;
  return { start: iova - BigInt(before), before, after: all - before - bytes, all };
}

test("a device that is not trusted reads its buffer and zeros beside it, and what it writes lands in the buffer alone", (t) => {
  t.diagnostic(`seed ${seed}`);
  const cases = fc.record({
    format: fc.constantFrom(...FORMATS),
    address: fc.integer({ min: 0, max: PAGES_AT / 2 }),
    bytes: fc.integer({ min: 1, max: 40000 }),
    access: fc.constantFrom<Access>(1, 2, 3),
    from: fc.integer({ min: 0, max: 39999 }),
    count: fc.integer({ min: 0, max: 40000 }),
  });
  fc.assert(
    fc.property(cases, ({ format: [format, pageShift], address, bytes, access, from, count }) => {
      const machine = setUp({ format, pageShift });
      const device = new DmaDevice(machine.table, {}, machine.untrusted);
      const before = machine.at(0, PAGES_AT);
      const mapping = got(device.map(BigInt(address), bytes, access));
      const around = pagesAround(mapping, 2 ** pageShift);
      assert.equal(Number(mapping.iova % 2n ** BigInt(pageShift)), address % 2 ** pageShift, "offset in the page");
      // Both formats let a device read whatever it may write.
      const expected = Buffer.concat([
        Buffer.alloc(around.before),
        before.subarray(address, address + bytes),
        Buffer.alloc(around.after),
      ]);
      assert.ok(machine.seen(around.start, around.all)?.equals(expected), "what the device reads of its pages");
      const wanted = Buffer.from(before);
      if (access !== 1) {
        const start = from % bytes;
        const sent = pattern(Math.min(count, bytes - start), 99);
        assert.ok(machine.nic.dmaWrite(mapping.iova + BigInt(start), sent));
        // Beside the buffer, where memory has another buffer.
        assert.ok(machine.nic.dmaWrite(around.start, Buffer.alloc(around.before, 7)));
        assert.ok(machine.nic.dmaWrite(mapping.iova + BigInt(bytes), Buffer.alloc(around.after, 7)));
        sent.copy(wanted, address + start);
      }
      assert.equal(device.unmap(mapping), undefined);
      assert.ok(machine.at(0, PAGES_AT).equals(wanted), "memory after the transfer");
      assert.equal(machine.seen(mapping.iova, 1), undefined, "the device is cut off");
      machine.assertNothingLeft();
      machine.machine.close();
    }),
    { seed, includeErrorInReport: true, numRuns: 60 },
  );
});

test("a bounce buffer keeps nothing of what its pages held before, also when nothing is copied in", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table, {}, machine.untrusted);
  const mapping = got(device.map(0x1010n, 100, 1, { skipSync: true }));
  assert.deepEqual(machine.seen(mapping.iova - 0x10n, 4096), Buffer.alloc(4096));
  machine.machine.close();
});

test("whole IO pages are mapped as they are", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table, {}, machine.untrusted);
  const mapping = got(device.map(0x3000n, 8192, 3));
  assert.equal(machine.pages.takenPages, 0);
  machine.memory.write(0x3000, Buffer.from("written after the map"));
  assert.equal(machine.seen(mapping.iova, 21)?.toString(), "written after the map");
  assert.equal(device.unmap(mapping), undefined);
  machine.assertNothingLeft();
  machine.machine.close();
});

test("a device that is trusted is not bounced", () => {
  const machine = setUp();
  const options = { memory: machine.memory, bounce: { pages: machine.pages } };
  got(new DmaDevice(machine.table, {}, options).map(0x3010n, 100, 3));
  assert.equal(machine.pages.takenPages, 0);
  machine.machine.close();
});

test("what a device only reads is never copied back", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table, {}, machine.untrusted);
  const mapping = got(device.map(0x1010n, 100, 1));
  machine.memory.write(0x1010, Buffer.alloc(100, 5));
  device.syncForCpu(mapping);
  assert.deepEqual(machine.at(0x1010, 100), Buffer.alloc(100, 5), "after syncForCpu");
  device.unmap(mapping);
  assert.deepEqual(machine.at(0x1010, 100), Buffer.alloc(100, 5), "after unmap");
  machine.machine.close();
});

test("sync copies the part that was asked for, each in its direction", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table, {}, machine.untrusted);
  const mapping = got(device.map(0x1010n, 6000, 3));
  const old = machine.at(0x1010, 6000);
  machine.memory.write(0x1010, Buffer.alloc(6000, 5));
  device.syncForDevice(mapping, { offset: 4000, bytes: 200 });
  const expected = Buffer.from(old).fill(5, 4000, 4200);
  assert.ok(machine.seen(mapping.iova, 6000)?.equals(expected), "what the device reads");
  machine.nic.dmaWrite(mapping.iova, Buffer.alloc(6000, 9));
  device.syncForCpu(mapping, { offset: 5990, bytes: 10 });
  assert.ok(machine.at(0x1010, 6000).equals(Buffer.alloc(6000, 5).fill(9, 5990)), "what the CPU reads");
  device.syncForCpu(mapping);
  assert.ok(machine.at(0x1010, 6000).equals(Buffer.alloc(6000, 9)));
  device.unmap(mapping);
  machine.machine.close();
});

test("what lies between device and memory is synchronized before a copy toward the CPU, and after one toward the device", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table, {}, machine.untrusted);
  const list = new ScatterList(1);
  list.addNumber(0x5010, 8);
  const mapping = got(device.map(0x1010n, 8, 3));
  assert.equal(device.mapSg(list, 3), undefined);
  let synchronize = (): void => assert.fail("not yet");
  machine.table.ops.synchronize = () => synchronize() as undefined;
  const cases = [
    [mapping.iova, 0x1010, () => device.syncForCpu(mapping), () => device.syncForDevice(mapping)],
    [list.iovas[0] as bigint, 0x5010, () => device.syncSgForCpu(list), () => device.syncSgForDevice(list)],
  ] as const;
  for (const [iova, original, forCpu, forDevice] of cases) {
    // A write of the device that has come no farther than to what lies in between.
    synchronize = () => assert.ok(machine.nic.dmaWrite(iova, Buffer.alloc(8, 9)));
    forCpu();
    assert.deepEqual(machine.at(original, 8), Buffer.alloc(8, 9));
    machine.memory.write(original, Buffer.alloc(8, 5));
    let seen: Buffer | undefined;
    synchronize = () => {
      seen = machine.seen(iova, 8);
    };
    forDevice();
    assert.deepEqual(seen, Buffer.alloc(8, 5));
  }
  assert.equal(device.unmapSg(list), undefined);
  assert.equal(device.unmap(mapping), undefined);
  machine.machine.close();
});

test("syncForDevice brings nothing to a device that only writes: its bytes are not overwritten", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table, {}, machine.untrusted);
  const mapping = got(device.map(0x1010n, 100, 2));
  machine.nic.dmaWrite(mapping.iova, Buffer.alloc(100, 9));
  device.syncForDevice(mapping);
  device.unmap(mapping);
  assert.deepEqual(machine.at(0x1010, 100), Buffer.alloc(100, 9));
  machine.machine.close();
});

test("with skipSync only sync copies, and bytes that the device leaves alone survive it", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table, {}, machine.untrusted);
  const before = machine.at(0x1010, 100);
  const mapping = got(device.map(0x1010n, 100, 2, { skipSync: true }));
  machine.nic.dmaWrite(mapping.iova, Buffer.alloc(40, 9));
  device.syncForCpu(mapping);
  assert.deepEqual(machine.at(0x1010, 100), Buffer.from(before).fill(9, 0, 40));
  machine.nic.dmaWrite(mapping.iova, Buffer.alloc(80, 8));
  device.unmap(mapping);
  assert.deepEqual(machine.at(0x1010, 100), Buffer.from(before).fill(9, 0, 40), "unmap copied nothing");
  machine.assertNothingLeft();
  machine.machine.close();
});

test("the form without objects bounces as well", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table, {}, machine.untrusted);
  const entry = device.mapPages(0x1010, 5000, 3);
  const iova = device.iovaOf(entry, 0x1010);
  assert.ok(machine.seen(iova, 5000)?.equals(machine.at(0x1010, 5000)));
  assert.deepEqual(machine.seen(iova - 0x10n, 0x10), Buffer.alloc(0x10));
  machine.nic.dmaWrite(iova, Buffer.alloc(5000, 9));
  assert.equal(device.unmapPages(entry, device.pagesOf(0x1010, 5000)), undefined);
  assert.deepEqual(machine.at(0x1010, 5000), Buffer.alloc(5000, 9));
  machine.assertNothingLeft();
  machine.machine.close();
});

test("a peer's registers are never bounced", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table, {}, machine.untrusted);
  const mapping = got(device.mapResource(0x3010n, 16, 3));
  assert.equal(machine.pages.takenPages, 0);
  machine.nic.dmaWrite(mapping.iova, Buffer.alloc(16, 9));
  assert.deepEqual(machine.at(0x3010, 16), Buffer.alloc(16, 9), "a write goes straight to the register");
  assert.equal(device.unmapResource(mapping), undefined);
  const beyond = got(device.mapResource(2n ** 40n + 5n, 16, 3));
  assert.equal(device.unmapResource(beyond), undefined, "registers lie outside of memory");
  const memory = got(device.map(0x3010n, 16, 3));
  assert.throws(() => device.unmapResource(memory), FreeError);
  assert.equal(device.unmap(memory), undefined);
  machine.assertNothingLeft();
  machine.machine.close();
});

test("a list of pieces is bounced piece by piece, and stays as its driver gave it", (t) => {
  t.diagnostic(`seed ${seed}`);
  const element = fc.record({
    page: fc.integer({ min: 0, max: 3 }),
    offset: fc.constantFrom(0, 0, 1, 4095),
    bytes: fc.constantFrom(0, 1, 4096, 4096, 8192, 5000),
  });
  const cases = fc.record({
    format: fc.constantFrom(...FORMATS),
    elements: fc.array(element, { minLength: 1, maxLength: 8 }),
    cpuPageShift: fc.constantFrom(12, 16),
  });
  fc.assert(
    fc.property(cases, ({ format: [format, pageShift], elements, cpuPageShift }) => {
      const machine = setUp({ format, pageShift, entries: 256 });
      const device = new DmaDevice(machine.table, {}, { ...machine.untrusted, cpuPageShift });
      const list = new ScatterList(8);
      const pageSize = 2 ** pageShift;
      // Apart from each other, so that each byte has one place in the list.
      const places = elements.map(
        ({ page, offset, bytes }, i) => [0x20000 * i + ((page * pageSize) % 0x10000) + offset, bytes] as const,
      );
      const fitting = places.filter(([address, bytes]) => address + bytes <= PAGES_AT);
      for (const [address, bytes] of fitting) list.addNumber(address, bytes);
      const columns = [list.addresses.slice(), list.bytes.slice()];
      const wanted = Buffer.concat(fitting.map(([address, bytes]) => machine.at(address, bytes)));
      assert.equal(device.mapSg(list, 3), undefined);
      assert.deepEqual([list.addresses, list.bytes], columns, "the input columns");
      const segments = Array.from(
        { length: list.segments },
        (_, i) => [list.iovas[i]!, list.segmentBytes[i]!] as const,
      );
      const read = segments.map(([iova, bytes]) => machine.seen(iova, bytes) ?? Buffer.alloc(0));
      assert.ok(Buffer.concat(read).equals(wanted), "the device reads the elements in order");
      const partial = fitting.filter(([address, bytes]) => bytes > 0 && (address % pageSize) + (bytes % pageSize) > 0);
      assert.equal(machine.pages.takenPages > 0, partial.length > 0, "only parts of pages are bounced");

      const sent = pattern(wanted.length, 77);
      let done = 0;
      for (const [iova, bytes] of segments) {
        assert.ok(machine.nic.dmaWrite(iova, sent.subarray(done, done + bytes)));
        done += bytes;
      }
      assert.equal(device.unmapSg(list), undefined);
      const received = Buffer.concat(fitting.map(([address, bytes]) => machine.at(address, bytes)));
      assert.ok(received.equals(sent), "what the device wrote is in the elements");
      machine.assertNothingLeft();
      // The list can be used again: nothing of the mapping stuck to it.
      assert.equal(device.mapSg(list, 1), undefined);
      assert.equal(device.unmapSg(list), undefined);
      machine.machine.close();
    }),
    { seed, includeErrorInReport: true, numRuns: 60 },
  );
});

test("sync of a list copies all its bounced elements", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table, {}, machine.untrusted);
  const list = new ScatterList(3);
  for (const address of [0x1010, 0x3000, 0x5020]) list.addNumber(address, 100);
  assert.equal(device.mapSg(list, 3), undefined);
  machine.memory.write(0x5020, Buffer.alloc(100, 5));
  device.syncSgForDevice(list);
  assert.deepEqual(machine.seen(list.iovas[2]!, 100), Buffer.alloc(100, 5));
  machine.nic.dmaWrite(list.iovas[0]!, Buffer.alloc(100, 9));
  device.syncSgForCpu(list);
  assert.deepEqual(machine.at(0x1010, 100), Buffer.alloc(100, 9));
  list.bytes[1] = 99;
  assert.throws(() => device.syncSgForCpu(list), SyncError);
  assert.throws(() => device.unmapSg(list), FreeError);
  list.bytes[1] = 100;
  assert.equal(device.unmapSg(list), undefined);
  assert.throws(() => device.syncSgForDevice(list), SyncError);
  machine.assertNothingLeft();
  machine.machine.close();
});

test("regression, defects 11 and 12 with bounce buffers: when any step fails, no page and no entry is left", () => {
  // Without room for the whole list, elements get areas of their own: of 5 allocations the first fails, and then any other.
  const none = { probability: 0 };
  const schedules = [
    ...[1, 2, 3, 4].map((step) => ({ chained: false, faults: { set: { interval: step, times: 1 }, allocate: none } })),
    ...[1, 2, 3, 4].map((step) => ({ chained: true, faults: { set: { interval: step, times: 1 }, allocate: none } })),
    ...[2, 3, 4, 5].map((step) => ({ chained: true, faults: { allocate: { interval: step, times: 1 } } })),
  ];
  for (const { chained, faults } of schedules) {
    const machine = setUp({ entries: 8 });
    const holes = chained ? [0, 1, 2, 3, 4, 5, 6, 7].map(() => machine.table.allocate(1)) : [];
    for (const entry of holes) machine.table.commit(entry, 1);
    for (const entry of holes.filter((entry) => entry % 2 === 0)) machine.table.unmap(entry, 1);
    const device = new DmaDevice(new FaultInjectingTable(machine.table, faults), {}, machine.untrusted);
    const list = new ScatterList(4);
    for (const address of [0x1010, 0x3000, 0x5020, 0x7030]) list.addNumber(address, 100);
    const before = machine.at(0, PAGES_AT);
    const failure = device.mapSg(list, 3);
    assert.equal(failure, "interval" in (faults.allocate ?? {}) ? "table-full" : "platform-refused");
    assert.equal(list.segments, 0);
    assert.ok(machine.at(0, PAGES_AT).equals(before), "memory is as it was");
    for (const entry of holes.filter((entry) => entry % 2 === 1)) machine.table.unmap(entry, 1);
    machine.assertNothingLeft();
    // The same list can be mapped once the fault is over.
    assert.equal(device.mapSg(list, 3), undefined);
    assert.equal(device.unmapSg(list), undefined);
    machine.assertNothingLeft();
    machine.machine.close();
  }
});

test("a single mapping that fails leaves no page and no entry", () => {
  for (const faults of [{ allocate: {} }, { set: {} }]) {
    const machine = setUp();
    const device = new DmaDevice(new FaultInjectingTable(machine.table, faults), {}, machine.untrusted);
    assert.equal(device.map(0x1010n, 100, 3), "allocate" in faults ? "table-full" : "platform-refused");
    machine.assertNothingLeft();
    machine.machine.close();
  }
});

test("when bounce pages run out in the middle of a list, it is not mapped, and all pages are back", () => {
  const machine = setUp({ pagesBytes: 3 * 4096 });
  const device = new DmaDevice(machine.table, {}, machine.untrusted);
  const list = new ScatterList(4);
  for (const address of [0x1010, 0x3010, 0x5010, 0x7010]) list.addNumber(address, 100);
  assert.equal(device.mapSg(list, 3), "out-of-memory");
  assert.equal(list.segments, 0);
  machine.assertNothingLeft();
  assert.equal(device.map(0x1010n, 3 * 4096, 3), "out-of-memory");
  list.length = 3;
  assert.equal(device.mapSg(list, 3), undefined);
  assert.equal(device.unmapSg(list), undefined);
  machine.assertNothingLeft();
  machine.machine.close();
});

test("what can never be mapped is refused before pages are taken for it", () => {
  const machine = setUp({ pagesBytes: 3 * 4096 });
  const device = new DmaDevice(machine.table, { boundaryMask: 0x3fffn }, machine.untrusted);
  assert.equal(device.map(0x1010n, 65 * 4096, 3), "longer-than-table");
  assert.equal(device.map(0x1010n, 5 * 4096, 3), "longer-than-boundary");
  machine.machine.close();
});

test("a part of a page that is no memory can't be bounced: nothing is mapped, and no page is taken", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table, {}, machine.untrusted);
  assert.throws(() => device.map(BigInt(MEMORY_BYTES - 10), 11, 3), /end of a buffer to bounce is 0x400001/);
  assert.throws(() => device.map(2n ** 60n + 1n, 11, 3), InvalidArgumentError);
  const list = new ScatterList(2);
  list.addNumber(0x1010, 10);
  list.add(2n ** 60n + 1n, 10);
  assert.throws(() => device.mapSg(list, 3), InvalidArgumentError);
  machine.assertNothingLeft();
  const options = { memory: machine.memory, bounce: { pages: machine.pages, untrusted: true } };
  assert.throws(() => new DmaDevice(machine.table, {}, { bounce: options.bounce }), /option `memory` is undefined/);
  machine.machine.close();
});

test("wrong unmaps and syncs of a bounced mapping throw, and it stays mapped", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table, {}, machine.untrusted);
  const mapping = got(device.map(0x1010n, 100, 3));
  const with_ = (change: object) => ({ ...mapping, ...change }) as Mapping;
  assert.throws(() => device.unmap(with_({ bytes: 99 })), { name: "FreeError", code: "wrong-length" });
  assert.throws(() => device.unmap(with_({ iova: mapping.iova + 1n })), { name: "FreeError", code: "wrong-length" });
  const wrong = (code: string) => ({ name: "SyncError", code });
  assert.throws(() => device.syncForCpu(mapping, { offset: 90, bytes: 11 }), wrong("out-of-range"));
  assert.throws(() => device.syncForCpu(mapping, { offset: -1, bytes: 1 }), wrong("out-of-range"));
  assert.throws(() => device.syncForCpu(mapping, { offset: 0, bytes: 0 }), wrong("out-of-range"));
  assert.throws(() => device.syncForDevice(with_({ iova: mapping.iova + 4096n })), wrong("not-allocated"));
  assert.throws(() => device.syncForDevice(with_({ iova: 0n })), wrong("out-of-range"));
  assert.throws(() => device.syncForDevice(with_({ bytes: 99 })), wrong("wrong-length"));
  assert.equal(device.unmap(mapping), undefined);
  assert.throws(() => device.syncForCpu(mapping), wrong("not-allocated"));
  assert.throws(() => device.unmap(mapping), FreeError);
  machine.assertNothingLeft();
  machine.machine.close();
});

test("a bounced mapping is unmapped by the object that made it, and no other", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table, {}, machine.untrusted);
  const other = new DmaDevice(machine.table, {}, machine.untrusted);
  const mapping = got(device.map(0x1010n, 100, 3));
  assert.throws(() => other.unmap(mapping), { name: "FreeError", code: "wrong-owner" });
  machine.nic.dmaWrite(mapping.iova, Buffer.alloc(100, 9));
  assert.equal(device.unmap(mapping), undefined);
  assert.throws(() => other.unmap(mapping), { name: "FreeError", code: "not-allocated" });
  assert.deepEqual(machine.at(0x1010, 100), Buffer.alloc(100, 9));
  machine.assertNothingLeft();
  machine.machine.close();
});

test("a sync of a mapping without a bounce buffer copies nothing, and is checked nevertheless", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table);
  const mapping = got(device.map(0x1010n, 100, 3));
  const before = machine.at(0, PAGES_AT);
  device.syncForCpu(mapping);
  device.syncForDevice(mapping, { offset: 99, bytes: 1 });
  assert.ok(machine.at(0, PAGES_AT).equals(before));
  assert.throws(() => device.syncForCpu(mapping, { offset: 100, bytes: 1 }), SyncError);
  device.unmap(mapping);
  assert.throws(() => device.syncForCpu(mapping), { name: "SyncError", code: "not-allocated" });
  const list = new ScatterList(1);
  assert.throws(() => device.syncSgForCpu(list), SyncError);
  machine.machine.close();
});

test("on a lazy table, too, a device that is not trusted is cut off when unmap returns", () => {
  const machine = setUp({ lazy: true });
  const device = new DmaDevice(machine.table, {}, machine.untrusted);
  for (const address of [0x1010n, 0x3000n]) {
    const mapping = got(device.map(address, 4096, 3));
    assert.ok(machine.seen(mapping.iova, 4096), "the IOTLB knows it now");
    assert.equal(device.unmap(mapping), undefined);
    assert.equal(machine.seen(mapping.iova, 1), undefined);
  }
  const list = new ScatterList(1);
  list.addNumber(0x1010, 10);
  assert.equal(device.mapSg(list, 3), undefined);
  const iova = list.iovas[0]!;
  assert.ok(machine.seen(iova, 10));
  assert.equal(device.unmapSg(list), undefined);
  assert.equal(machine.seen(iova, 1), undefined);
  machine.assertNothingLeft();
  machine.machine.close();
});

test("on a lazy table a peer's registers, too, are out of an untrusted device's reach when unmapResource returns", () => {
  const machine = setUp({ lazy: true });
  const device = new DmaDevice(machine.table, {}, machine.untrusted);
  const mapping = got(device.mapResource(0x3010n, 16, 3));
  assert.ok(machine.seen(mapping.iova, 16), "the IOTLB knows it now");
  assert.equal(device.unmapResource(mapping), undefined);
  assert.equal(machine.seen(mapping.iova, 16), undefined);
  machine.assertNothingLeft();
  machine.machine.close();
});

test("what one device gets holds nothing of another's, whatever its bounce pages and coherent pages were used for before", () => {
  // One page, so that each user gets what the one before has left.
  const machine = setUp({ pagesBytes: 4096 });
  const options = { ...machine.untrusted, coherentPages: machine.pages };
  const first = new DmaDevice(machine.table, {}, options);
  const second = new DmaDevice(machine.table, {}, options);
  const leaveSecret = [
    () => {
      const mapping = got(first.map(0x1010n, 4000, 2));
      machine.nic.dmaWrite(mapping.iova - 0x10n, Buffer.alloc(4096, 0x5e));
      first.unmap(mapping);
    },
    () => {
      const block = got(first.allocateCoherent(4096));
      machine.nic.dmaWrite(block.iova, Buffer.alloc(4096, 0x5e));
      first.freeCoherent(block);
    },
  ];
  for (const leave of leaveSecret) {
    for (const access of [1, 2, 3] as const) {
      for (const skipSync of [false, true]) {
        leave();
        machine.memory.write(0x3020, Buffer.alloc(8, 7));
        const mapping = got(second.map(0x3020n, 8, access, { skipSync }));
        const page = machine.seen(mapping.iova - 0x20n, 4096) as Buffer;
        assert.ok(!page.includes(0x5e), `access ${access}, skipSync ${skipSync}`);
        second.unmap(mapping);
        assert.deepEqual(machine.at(0x3020, 8), Buffer.alloc(8, 7), "nor does its driver");
      }
    }
    leave();
    const block = got(second.allocateCoherent(100));
    assert.deepEqual(machine.seen(block.iova, 4096), Buffer.alloc(4096));
    second.freeCoherent(block);
  }
  machine.assertNothingLeft();
  machine.machine.close();
});

test("what a bounced mapping that others have unmapped left behind is not copied over memory when its entry is used again", () => {
  for (const kind of ["map", "mapResource", "mapPages", "bounced map"] as const) {
    const machine = setUp({ entries: 1 });
    const device = new DmaDevice(machine.table, {}, machine.untrusted);
    const stray = got(device.map(0x1010n, 100, 3));
    // Misuse: past the object that made it.
    assert.equal(new DmaDevice(machine.table).unmap(stray), undefined);
    machine.memory.write(0x1010, Buffer.alloc(100, 9));
    const finish = {
      map: () => device.unmap(got(device.map(0x3000n, 4096, 3))),
      mapResource: () => device.unmapResource(got(device.mapResource(0x3000n, 4096, 3))),
      mapPages: () => device.unmapPages(device.mapPages(0x3000, 4096, 3), 1),
      "bounced map": () => device.unmap(got(device.map(0x5020n, 50, 3))),
    };
    assert.equal(finish[kind](), undefined, kind);
    assert.deepEqual(machine.at(0x1010, 100), Buffer.alloc(100, 9), kind);
    machine.assertNothingLeft();
    machine.machine.close();
  }
});

test("when the IOTLB can't be invalidated, the bounce pages stay out of use, and the bytes come back", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table, {}, machine.untrusted);
  const mapping = got(device.map(0x1010n, 100, 3));
  machine.nic.dmaWrite(mapping.iova, Buffer.alloc(100, 9));
  machine.platform.ops.invalidate = () => "platform-busy";
  assert.equal(device.unmap(mapping), "platform-busy");
  assert.equal(machine.pages.takenPages, 1);
  assert.deepEqual(machine.at(0x1010, 100), Buffer.alloc(100, 9));
  machine.machine.close();
});

test("a failed map whose entries can't be forgotten keeps its bounce buffers and coherent pages: a device may still reach them", () => {
  for (const attempt of ["map", "mapSg", "allocateCoherent"] as const) {
    const { memory, pages, table } = setUp();
    const device = new DmaDevice(table, {}, { memory, coherentPages: pages, bounce: { pages, untrusted: true } });
    // The platform takes the entries, fails to make them visible, and can't forget them.
    table.ops.publish = () => "platform-busy";
    table.ops.invalidate = () => "platform-busy";
    const list = new ScatterList(2);
    list.addNumber(0x1010, 100);
    list.addNumber(0x3010, 100);
    const attempts = {
      map: () => device.map(0x1010n, 100, 3),
      mapSg: () => device.mapSg(list, 3),
      allocateCoherent: () => device.allocateCoherent(100),
    };
    assert.equal(attempts[attempt](), "platform-busy");
    assert.equal(pages.takenPages, attempt === "mapSg" ? 2 : 1, attempt);
    assert.ok(table.statistics().taken > 0, "the range is quarantined");
  }
});

test("a map that fails before a device could have been told gives its pages back, also after one whose pages had to stay", () => {
  const machine = setUp({ entries: 4 });
  const { pages, table } = machine;
  const device = new DmaDevice(table, {}, machine.untrusted);
  const { publish } = table.ops;
  table.ops.publish = () => "platform-busy";
  // For good: the two ranges stay out of use.
  table.ops.invalidate = () => "platform-busy";
  table.ops.invalidateAll = () => "platform-busy";
  const list = new ScatterList(1);
  list.addNumber(0x1010, 100);
  assert.equal(device.map(0x1010n, 100, 3), "platform-busy");
  assert.equal(device.mapSg(list, 3), "platform-busy");
  assert.equal(pages.takenPages, 2, "a device may still reach them");
  table.ops.publish = publish;
  assert.ok(table.allocate(2) >= 0, "the rest");
  for (let attempt = 0; attempt < 2; attempt++) {
    assert.equal(device.map(0x1010n, 100, 3), "table-full");
    assert.equal(device.mapSg(list, 3), "table-full");
    assert.equal(pages.takenPages, 2, "no others");
  }
  machine.machine.close();
});
