/** Each class of misuse of the debug mode, committed: what is reported, and where it was mapped and misused. */
import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { FreeError } from "../../units/errors.ts";
import type { CoherentMemory, Mapping } from "../contract.ts";
import { ScatterList } from "../scatter-list.ts";
import { MAX_COLLECTED } from "./collector.ts";
import { type DebuggedDevice, debugged } from "./debugged-device.ts";
import { ModelDevice, type ModelDeviceOptions } from "./device.model.ts";
import type { MisuseKind, MisuseReport, Place } from "./misuse.ts";
import type { DebugOptions } from "./options.ts";

const MEMORY = 0x12_3000n;

interface Case {
  readonly device: DebuggedDevice;
  readonly model: ModelDevice;
}

/** A device under debug; the driver's functions below are those that reports have to lead to. */
// Reports without a handler are printed: not among the results of tests.
const warn: { readonly mock: { readonly calls: ReadonlyArray<{ readonly arguments: readonly unknown[] }> } } =
  mock.method(console, "warn", () => undefined);

function setUp(options: DebugOptions = {}, model: ModelDeviceOptions = { lenient: true }): Case {
  const below = new ModelDevice(model);
  return { device: debugged(below, { device: "nvme0", owner: "queue 3", ...options }), model: below };
}

function mapsIt<Result>(map: () => Result | string): Result {
  const result = map();
  assert.ok(typeof result !== "string");
  return result;
}

function misusesIt(misuse: () => unknown): void {
  misuse();
}

function listOf(...elements: readonly (readonly [bigint, number])[]): ScatterList {
  const list = new ScatterList(Math.max(1, elements.length));
  for (const [address, bytes] of elements) list.add(address, bytes);
  return list;
}

/** The report type that has this kind, among others perhaps. */
type ReportOf<Kind, Report = MisuseReport> = Report extends { kind: infer Kinds }
  ? Kind extends Kinds
    ? Report
    : never
  : never;

/** The only report: of this kind, misused in `misusesIt`. */
function onlyReport<Kind extends MisuseKind>(device: DebuggedDevice, kind: Kind): ReportOf<Kind> {
  const kinds = device.reports.map((report) => report.kind);
  assert.deepEqual(kinds, [kind]);
  const report = device.reports[0] as MisuseReport;
  assert.equal(report.device, "nvme0");
  leadsTo(report.misused, "misusesIt");
  return report as ReportOf<Kind>;
}

/** The place is in that function of this file, and begins here: none of the debug mode's own frames comes before. */
function leadsTo(place: Place, name: "mapsIt" | "misusesIt"): void {
  assert.equal(place.owner, "queue 3");
  assert.match(place.stack[0] ?? "", /debugged-device\.test\.(js|ts)/);
  assert.ok(
    place.stack.slice(0, 3).some((frame) => frame.includes(name)),
    place.stack.join("\n"),
  );
  assert.ok(!place.stack.some((frame) => /debugged-device\.(js|ts)|places\.(js|ts)|checks\.(js|ts)/.test(frame)));
}

const single = (access: 1 | 2 | 3, iova = 0x1000_0000n, bytes = 100) =>
  ({ kind: "single", iova, bytes, access, elements: 0, address: MEMORY }) as const;
const asFound = (description: ReturnType<typeof single>) => ({ ...description, address: undefined });

test("a failure that is unmapped is reported, by name or code, and the device below still says its own", () => {
  for (const value of ["table-full", -1, undefined]) {
    const { device } = setUp({}, {});
    assert.throws(() => misusesIt(() => device.unmap(value as unknown as Mapping)));
    const report = onlyReport(device, "free-error-value");
    assert.deepEqual([report.found, report.call], [value, "unmap"]);
  }
});

test("a free of an unmapped address reports the request, and passes the device's error on", () => {
  const { device, model } = setUp({}, {});
  const mapping = { iova: 0x5000n, bytes: 100, access: 1 } as const;
  assert.throws(() => misusesIt(() => device.unmap(mapping)), FreeError);
  assert.deepEqual(model.calls, ["unmap"]);
  const report = onlyReport(device, "free-unmapped");
  assert.deepEqual(report.found, asFound(single(1, 0x5000n)));
  assert.deepEqual([report.inside, report.before], [undefined, undefined]);
});

test("a second free says where the first one was", () => {
  const { device } = setUp();
  const mapping = mapsIt(() => device.map(MEMORY, 100, 1));
  assert.equal(
    mapsIt(() => device.unmap(mapping)),
    undefined,
  );
  misusesIt(() => device.unmap(mapping));
  const { before } = onlyReport(device, "free-unmapped");
  assert.deepEqual(before?.mapping, single(1));
  leadsTo(before?.mapped as Place, "mapsIt");
  leadsTo(before?.freed as Place, "mapsIt");
});

test("a free inside a mapping says which", () => {
  const { device } = setUp();
  mapsIt(() => device.map(MEMORY, 100, 1));
  misusesIt(() => device.unmap({ iova: 0x1000_0040n, bytes: 36, access: 1 }));
  const { inside } = onlyReport(device, "free-unmapped");
  assert.deepEqual(inside?.mapping, single(1));
  leadsTo(inside?.mapped as Place, "mapsIt");
});

test("a free with another size is reported, and the mapping stays known when the device refuses it", () => {
  const { device } = setUp({}, {});
  const mapping = mapsIt(() => device.map(MEMORY, 100, 2));
  assert.throws(() => misusesIt(() => device.unmap({ ...mapping, bytes: 60 })), FreeError);
  const report = onlyReport(device, "free-wrong-size");
  assert.deepEqual([report.found, report.expected], [asFound({ ...single(2), bytes: 60 as 100 }), single(2)]);
  leadsTo(report.mapped, "mapsIt");
  device.unmap(mapping);
  assert.deepEqual([device.liveMappings, device.reports.length], [0, 1]);
});

test("a free by the call of another kind is reported", () => {
  for (const free of ["unmapResource", "freeCoherent"] as const) {
    const { device } = setUp();
    const mapping = mapsIt(() => device.map(MEMORY, 100, 1));
    misusesIt(() => device[free](mapping as CoherentMemory));
    const report = onlyReport(device, "free-wrong-kind");
    assert.equal(report.found.kind, free === "unmapResource" ? "resource" : "coherent");
    assert.deepEqual(report.expected, single(1));
    leadsTo(report.mapped, "mapsIt");
  }
  const { device } = setUp();
  const list = listOf([MEMORY, 100]);
  mapsIt(() => device.mapSg(list, 1));
  misusesIt(() => device.unmap({ iova: list.iovas[0] as bigint, bytes: 100, access: 1 }));
  assert.equal(onlyReport(device, "free-wrong-kind").expected.kind, "scatterlist");
});

test("coherent memory that is freed with another CPU address is reported", () => {
  const { device } = setUp();
  const memory = mapsIt(() => device.allocateCoherent(8192));
  misusesIt(() => device.freeCoherent({ ...memory, address: memory.address + 4096 }));
  const report = onlyReport(device, "free-wrong-cpu-address");
  assert.deepEqual([report.found.address, report.expected.address], [0x4000_1000n, 0x4000_0000n]);
  leadsTo(report.mapped, "mapsIt");
});

test("a list that is freed with another number of elements is reported", () => {
  const { device } = setUp({}, { lenient: true, unlocked: true });
  const list = listOf([MEMORY, 4096], [0x20_0000n, 4096], [0x30_0000n, 512]);
  mapsIt(() => device.mapSg(list, 1));
  list.length = 2;
  misusesIt(() => device.unmapSg(list));
  const report = onlyReport(device, "free-wrong-element-count");
  assert.deepEqual([report.found.elements, report.expected.elements, report.expected.bytes], [2, 3, 8704]);
  leadsTo(report.mapped, "mapsIt");
});

test("a copy of part of a mapped list is known as that list", () => {
  const { device } = setUp({}, {});
  const list = listOf([MEMORY, 4096], [0x20_0000n, 4096]);
  mapsIt(() => device.mapSg(list, 1));
  const copy = listOf([MEMORY, 4096]);
  copy.iovas.set(list.iovas.subarray(0, 1));
  assert.throws(() => misusesIt(() => device.unmapSg(copy)), FreeError);
  assert.equal(onlyReport(device, "free-wrong-element-count").found.elements, 1);
  assert.equal(device.liveMappings, 1);
});

test("a list that is freed twice, or was never mapped, is reported, also when its address is in use again", () => {
  const { device } = setUp({}, { direct: true });
  const list = listOf([MEMORY, 4096]);
  mapsIt(() => device.mapSg(list, 1));
  mapsIt(() => device.unmapSg(list));
  mapsIt(() => device.mapSg(listOf([MEMORY, 4096]), 1));
  assert.throws(() => misusesIt(() => device.unmapSg(list)), FreeError);
  leadsTo(onlyReport(device, "free-unmapped").before?.freed as Place, "mapsIt");
  const other = setUp({}, {});
  assert.throws(() => misusesIt(() => other.device.unmapSg(listOf([MEMORY, 4096]))), FreeError);
  assert.equal(onlyReport(other.device, "free-unmapped").found.elements, 1);
});

test("an element that changed its length shows as another size", () => {
  const { device } = setUp({}, { lenient: true });
  const list = listOf([MEMORY, 4096]);
  mapsIt(() => device.mapSg(list, 1));
  list.bytes[0] = 512;
  misusesIt(() => device.unmapSg(list));
  const { found, expected } = onlyReport(device, "free-wrong-size");
  assert.deepEqual([found.bytes, expected.bytes], [512, 4096]);
});

test("a free in another direction is reported", () => {
  const { device } = setUp();
  const mapping = mapsIt(() => device.map(MEMORY, 100, 1));
  misusesIt(() => device.unmap({ ...mapping, access: 2 }));
  const report = onlyReport(device, "free-wrong-direction");
  assert.deepEqual([report.found.access, report.expected.access], [2, 1]);
  leadsTo(report.mapped, "mapsIt");
});

test("with checkResults, a result that failureOf has not seen is reported at its first use, once", () => {
  const { device } = setUp({ checkResults: true });
  const mapping = mapsIt(() => device.map(MEMORY, 100, 1));
  misusesIt(() => device.syncForDevice(mapping));
  const report = onlyReport(device, "result-not-checked");
  assert.deepEqual(report.expected, single(1));
  leadsTo(report.mapped, "mapsIt");
  device.unmap(mapping);
  const checked = mapsIt(() => device.map(MEMORY, 100, 1));
  assert.equal(device.failureOf(checked), undefined);
  device.unmap(checked);
  const coherent = mapsIt(() => device.allocateCoherent(100));
  assert.equal(device.failureOf(coherent), undefined);
  device.freeCoherent(coherent);
  assert.equal(device.reports.length, 1);
  misusesIt(() => device.unmapResource(mapsIt(() => device.mapResource(0x9000n, 64, 3))));
  assert.equal(device.counts["result-not-checked"], 2);
  assert.equal(device.failureOf("table-full"), "table-full");
});

test("of two mappings of one address, each is checked by itself", () => {
  const { device } = setUp({ checkResults: true }, { direct: true });
  const mappings = [1, 2].map(() => mapsIt(() => device.map(MEMORY, 100, 1)));
  for (const mapping of mappings) device.failureOf(mapping);
  for (const mapping of mappings) device.unmap(mapping);
  assert.deepEqual(device.reports, []);
});

test("a sync of an unmapped address, or of a failure, is reported", () => {
  const { device } = setUp();
  misusesIt(() => device.syncForCpu({ iova: 0x7000n, bytes: 64, access: 2 }));
  assert.equal(onlyReport(device, "sync-unmapped").found.iova, 0x7000n);
  const list = setUp();
  misusesIt(() => list.device.syncSgForDevice(listOf([MEMORY, 100])));
  assert.equal(onlyReport(list.device, "sync-unmapped").found.kind, "scatterlist");
  const failed = setUp();
  misusesIt(() => failed.device.syncForDevice("table-full" as unknown as Mapping));
  assert.equal(onlyReport(failed.device, "sync-error-value").found, "table-full");
});

test("a sync beyond the mapping is reported, one of its last byte is not", () => {
  for (const [offset, bytes] of [
    [90, 11],
    [-1, 10],
    [0, 101],
    [Number.NaN, 1],
  ] as const) {
    const { device } = setUp();
    const mapping = mapsIt(() => device.map(MEMORY, 100, 3));
    device.syncForCpu(mapping, { offset: 99, bytes: 1 });
    misusesIt(() => device.syncForCpu(mapping, { offset, bytes }));
    const report = onlyReport(device, "sync-out-of-range");
    assert.deepEqual([report.found, report.expected], [{ offset, bytes }, single(3)]);
    leadsTo(report.mapped, "mapsIt");
  }
  const { device } = setUp();
  const mapping = mapsIt(() => device.map(MEMORY, 100, 3));
  misusesIt(() => device.syncForDevice({ ...mapping, bytes: 4096 }));
  assert.deepEqual(onlyReport(device, "sync-out-of-range").found, { offset: 0, bytes: 4096 });
});

test("a sync in another direction is reported; one direction of both is right", () => {
  const { device } = setUp();
  const mapping = mapsIt(() => device.map(MEMORY, 100, 2));
  misusesIt(() => device.syncForCpu({ ...mapping, access: 3 }));
  const report = onlyReport(device, "sync-wrong-direction");
  assert.deepEqual([report.found.access, report.expected.access], [3, 2]);
  leadsTo(report.mapped, "mapsIt");
  const both = setUp();
  const other = mapsIt(() => both.device.map(MEMORY, 100, 3));
  both.device.syncForCpu({ ...other, access: 2 });
  both.device.syncForDevice({ ...other, access: 1 });
  assert.deepEqual(both.device.reports, []);
});

test("a sync for the CPU of what the device only reads is reported, of lists too", () => {
  const { device } = setUp();
  const mapping = mapsIt(() => device.map(MEMORY, 100, 1));
  device.syncForDevice(mapping);
  misusesIt(() => device.syncForCpu(mapping));
  leadsTo(onlyReport(device, "sync-for-cpu-to-device").mapped, "mapsIt");
  const lists = setUp();
  const list = listOf([MEMORY, 100]);
  mapsIt(() => lists.device.mapSg(list, 1));
  lists.device.syncSgForDevice(list);
  misusesIt(() => lists.device.syncSgForCpu(list));
  assert.equal(onlyReport(lists.device, "sync-for-cpu-to-device").expected.access, 1);
});

test("a sync for the device of what the device only writes is reported, of lists too", () => {
  const { device } = setUp();
  const mapping = mapsIt(() => device.map(MEMORY, 100, 2));
  device.syncForCpu(mapping);
  misusesIt(() => device.syncForDevice(mapping));
  leadsTo(onlyReport(device, "sync-for-device-from-device").mapped, "mapsIt");
  const lists = setUp();
  const list = listOf([MEMORY, 100]);
  mapsIt(() => lists.device.mapSg(list, 2));
  lists.device.syncSgForCpu(list);
  misusesIt(() => lists.device.syncSgForDevice(list));
  assert.equal(onlyReport(lists.device, "sync-for-device-from-device").expected.access, 2);
});

test("a list that is synced with another number of elements is reported", () => {
  const { device } = setUp({}, { lenient: true, unlocked: true });
  const list = listOf([MEMORY, 4096], [0x20_0000n, 4096]);
  mapsIt(() => device.mapSg(list, 3));
  list.length = 1;
  misusesIt(() => device.syncSgForCpu(list));
  const report = onlyReport(device, "sync-wrong-element-count");
  assert.deepEqual([report.found.elements, report.expected.elements], [1, 2]);
  leadsTo(report.mapped, "mapsIt");
});

test("memory that devices can't reach is reported, an element of a list by its index", () => {
  const dmaAble = [
    { address: 0x2000n, bytes: 0x1000 },
    { address: 0x1000n, bytes: 0x1000 },
  ];
  const { device, model } = setUp({ dmaAble });
  assert.ok(typeof device.map(0x1800n, 0x1000, 1) !== "string");
  misusesIt(() => device.map(0x2fffn, 2, 1));
  const report = onlyReport(device, "map-not-dma-able");
  assert.deepEqual([report.address, report.bytes, report.element], [0x2fffn, 2, undefined]);
  assert.deepEqual(model.calls, ["map", "map"]);
  const lists = setUp({ dmaAble: (address) => address < 0x2000n });
  misusesIt(() => lists.device.mapSg(listOf([0x1000n, 64], [0x9000n, 0], [0x8000n, 32]), 1));
  const element = onlyReport(lists.device, "map-not-dma-able");
  assert.deepEqual([element.address, element.bytes, element.element], [0x8000n, 32, 2]);
  // Registers of a peer are not memory, and are not checked against the DMA-able ranges.
  lists.device.mapResource(0x9000n, 64, 3);
  assert.equal(lists.device.reports.length, 1);
});

test("a segment longer than the device takes is reported", () => {
  const { device } = setUp({ limits: { maxSegmentBytes: 8192 } });
  mapsIt(() => device.mapSg(listOf([MEMORY, 8192]), 1));
  misusesIt(() => device.mapSg(listOf([0x20_0000n, 100], [0x30_0000n, 8193]), 1));
  const report = onlyReport(device, "map-segment-too-long");
  assert.deepEqual([report.segment, report.bytes, report.maxSegmentBytes], [1, 8193, 8192]);
  assert.equal(report.iova, 0x1000_3000n);
});

test("a segment across the device's boundary is reported, one that ends there is not", () => {
  const { device } = setUp({ limits: { boundaryMask: 0xfffn } }, { direct: true });
  mapsIt(() => device.mapSg(listOf([0x2800n, 0x800]), 1));
  misusesIt(() => device.mapSg(listOf([0x4000n, 0x1000], [0x6800n, 0x801]), 1));
  const report = onlyReport(device, "map-segment-across-boundary");
  assert.deepEqual([report.segment, report.iova, report.bytes, report.boundaryMask], [1, 0x6800n, 0x801, 0xfffn]);
});

test("a cache line that two mappings give to a device to write is reported, once for a call", () => {
  const { device } = setUp();
  mapsIt(() => device.map(MEMORY + 32n, 100, 2));
  misusesIt(() => device.mapSg(listOf([MEMORY, 32], [MEMORY + 128n, 1]), 3));
  const report = onlyReport(device, "map-overlapping-lines");
  assert.deepEqual([report.cacheLine, report.found.elements], [MEMORY, 2]);
  assert.equal(report.other.mapping.address, MEMORY + 32n);
  leadsTo(report.other.mapped, "mapsIt");
});

test("lines that the device only reads, neighbouring lines, and elements of one list do not overlap", () => {
  const { device } = setUp();
  const first = mapsIt(() => device.map(MEMORY, 64, 2));
  device.map(MEMORY, 64, 1);
  device.map(MEMORY + 64n, 64, 2);
  device.map(MEMORY - 1n, 1, 3);
  device.mapResource(MEMORY, 64, 3);
  device.map(MEMORY, 64, 2, { skipSync: true });
  device.mapSg(listOf([0x50_0000n, 32], [0x50_0020n, 32], [0x60_0000n, 0]), 2);
  // An element without bytes has no line, also in the middle of one that is mapped.
  device.mapSg(listOf([MEMORY + 32n, 0], [0x70_0000n, 64]), 2);
  device.unmap(first);
  const memory = mapsIt(() => device.allocateCoherent(100));
  assert.deepEqual(device.reports, []);
  misusesIt(() => device.map(BigInt(memory.address), 64, 2));
  assert.equal(onlyReport(device, "map-overlapping-lines").other.mapping.kind, "coherent");
});

test("an overlap ends with the mapping that it was with", () => {
  const { device } = setUp();
  const list = listOf([MEMORY, 4096], [0x20_0000n, 4096]);
  mapsIt(() => device.mapSg(list, 2));
  device.unmapSg(list);
  device.map(MEMORY, 4096, 2);
  device.map(0x20_0000n, 4096, 2);
  assert.deepEqual(device.reports, []);
});

test("more than 7 overlaps of one cache line are a report of their own", () => {
  const { device } = setUp({ ignore: ["map-overlapping-lines"], cacheLineBytes: 128 });
  for (let i = 0; i < 8; i++) mapsIt(() => device.map(MEMORY + 128n * 3n - 1n, 2 + i, 2));
  mapsIt(() => device.map(MEMORY, 1, 2));
  assert.deepEqual([device.reports, device.counts["map-overlapping-lines"]], [[], 7]);
  misusesIt(() => device.map(MEMORY + 200n, 4096, 3));
  const report = onlyReport(device, "map-too-many-overlaps");
  assert.deepEqual([report.overlaps, report.maxOverlaps, report.cacheLine], [8, 7, MEMORY + 256n]);
  assert.equal(report.other.mapping.address, MEMORY + 128n * 3n - 1n);
  leadsTo(report.other.mapped, "mapsIt");
});

test("a device that is removed with live mappings says how many, and the oldest", () => {
  const { device } = setUp();
  const mappings = Array.from({ length: 5 }, (_, i) => mapsIt(() => device.map(MEMORY + 4096n * BigInt(i), 100, 1)));
  device.unmap(mappings[0] as Mapping);
  misusesIt(() => device.deviceRemoved());
  const report = onlyReport(device, "removed-with-live-mappings");
  assert.deepEqual([report.count, report.example.mapping.address], [4, MEMORY + 4096n]);
  leadsTo(report.example.mapped, "mapsIt");
  for (const mapping of mappings.slice(1)) device.unmap(mapping);
  device.deviceRemoved();
  assert.equal(device.reports.length, 1);
});

test("out of records, it says so once, switches itself off, and never reports anything again", () => {
  const { device, model } = setUp({ capacity: 2, checkResults: true });
  const before = [1, 2].map((i) => mapsIt(() => device.map(MEMORY + 4096n * BigInt(i), 100, 1)));
  assert.ok(device.memoryBytes > 0);
  let last: Mapping | string = "";
  misusesIt(() => {
    last = device.map(MEMORY, 100, 2);
  });
  assert.equal(onlyReport(device, "out-of-records").capacity, 2);
  assert.deepEqual([device.isSwitchedOff, device.liveMappings, device.memoryBytes], [true, 0, 0]);
  for (const mapping of [...before, last as unknown as Mapping, last as unknown as Mapping]) device.unmap(mapping);
  device.syncForCpu(before[0] as Mapping, { offset: 0, bytes: 1e6 });
  device.deviceRemoved();
  device.failureOf("table-full");
  assert.equal(device.reports.length, 1);
  assert.deepEqual(model.calls, [...Array(3).fill("map"), ...Array(4).fill("unmap"), "syncForCpu"]);
});

test("out of room for pieces of memory, it switches itself off too", () => {
  const { device } = setUp({ capacity: 4 });
  mapsIt(() => device.mapSg(listOf([0x1000n, 64], [0x3000n, 64], [0x5000n, 64], [0x7000n, 64]), 2));
  assert.equal(device.isSwitchedOff, false);
  misusesIt(() => device.map(0x9000n, 64, 2));
  onlyReport(device, "out-of-records");
});

test("records are used again: many mappings one after the other take few", () => {
  const { device } = setUp({ capacity: 2 });
  for (let i = 0; i < 100; i++) device.unmap(mapsIt(() => device.map(MEMORY, 100, 2)));
  assert.deepEqual([device.reports, device.isSwitchedOff], [[], false]);
});

test("with noWarning nothing is said of how a mapping is made, but of how it is misused", () => {
  const { device } = setUp({ dmaAble: [], limits: { maxSegmentBytes: 64, boundaryMask: 63n } }, { direct: true });
  const silent = { noWarning: true };
  const mapping = mapsIt(() => device.map(MEMORY, 100, 2, silent));
  mapsIt(() => device.mapSg(listOf([MEMORY + 1n, 65]), 2, silent));
  assert.deepEqual(device.reports, []);
  misusesIt(() => device.unmap({ ...mapping, access: 1 }));
  onlyReport(device, "free-wrong-direction");
});

test("a hot misuse is counted, and reported a stated number of times", () => {
  const seen: MisuseKind[] = [];
  const { device } = setUp({ reportsPerKind: 3, onMisuse: ({ kind }) => seen.push(kind), ignore: ["sync-unmapped"] });
  for (let i = 0; i < 10; i++) device.unmap({ iova: 0x5000n, bytes: 1, access: 1 });
  for (let i = 0; i < 4; i++) device.syncForCpu({ iova: 0x5000n, bytes: 1, access: 2 });
  assert.deepEqual(seen, Array(3).fill("free-unmapped"));
  assert.deepEqual([device.counts["free-unmapped"], device.counts["sync-unmapped"]], [10, 4]);
  assert.deepEqual(device.reports, []);
});

test("without a handler, the first 256 reports are kept", () => {
  const { device } = setUp({ reportsPerKind: 1000, stackFrames: 0 });
  for (let i = 0; i < 2 * MAX_COLLECTED; i++) device.unmap({ iova: BigInt(i), bytes: 1, access: 1 });
  assert.deepEqual([device.reports.length, device.counts["free-unmapped"]], [256, 512]);
});

test("a handler that throws breaks off a wrong free before it is made", () => {
  const below = new ModelDevice({ lenient: true });
  const device = debugged(below, {
    onMisuse: ({ kind }) => {
      throw new Error(kind);
    },
  });
  const mapping = mapsIt(() => device.map(MEMORY, 100, 1));
  assert.throws(() => device.unmap({ ...mapping, bytes: 5 }), /free-wrong-size/);
  assert.deepEqual(below.calls, ["map"]);
  assert.equal(device.unmap(mapping), undefined);
  assert.equal(device.liveMappings, 0);
});

test("an owner may change: reports have the one of the mapping and the one of the misuse", () => {
  let owner = "rx ring";
  const { device } = setUp({ owner: () => owner, stackFrames: 0 });
  const mapping = mapsIt(() => device.map(MEMORY, 100, 1));
  owner = "tx ring";
  device.unmap({ ...mapping, access: 3 });
  const [report] = device.reports;
  assert.ok(report !== undefined && "mapped" in report);
  assert.deepEqual(
    [report.mapped, report.misused],
    [
      { owner: "rx ring", stack: [] },
      { owner: "tx ring", stack: [] },
    ],
  );
});

test("failures pass through, and leave nothing to be freed", () => {
  const { device, model } = setUp();
  for (const map of [
    () => device.map(MEMORY, 100, 2),
    () => device.mapSg(listOf([MEMORY, 100]), 2),
    () => device.mapResource(MEMORY, 100, 2),
    () => device.allocateCoherent(100),
  ]) {
    model.nextFailure = "table-full";
    assert.equal(map(), "table-full");
  }
  device.deviceRemoved();
  assert.deepEqual(device.reports, []);
});

test("switched off, it is the device itself", () => {
  const model = new ModelDevice();
  assert.equal(debugged(model, false), model);
});

test("without a handler each report is a warning on the console, too; with one it is not (review of 2026-11-30, B19)", () => {
  const before = warn.mock.calls.length;
  const wrong = { iova: 0x5000n, bytes: 1, access: 1 } as const;
  setUp().device.unmap(wrong);
  assert.equal(warn.mock.calls.length, before + 1);
  assert.match(String(warn.mock.calls[before]?.arguments[0]), /^nvme0: unmap: frees .* \[free-unmapped\]/);
  setUp({ onMisuse: () => undefined }).device.unmap(wrong);
  assert.equal(warn.mock.calls.length, before + 1);
});
