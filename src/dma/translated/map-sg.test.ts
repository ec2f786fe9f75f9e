import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FreeError, InvalidArgumentError } from "../../units/errors.ts";
import type { Access } from "../../units/numbers.ts";
import { DmaDevice } from "../device.ts";
import type { DmaDeviceOptions } from "../device-options.ts";
import { FaultInjectingTable } from "../fault-injection.ts";
import type { DeviceLimits } from "../limits.ts";
import { ScatterList } from "../scatter-list.ts";
import { type ByteRun, joinRuns, ModelTable, walk } from "../table.model.ts";

const seed = Date.now() & 0x7fffffff;
const PAGE = 4096;
const SEGMENT_ROOM = 4096;
const MAX_BYTES = 2 ** 32 - 1;

interface Element {
  readonly address: bigint;
  readonly bytes: number;
}

function listOf(elements: readonly Element[]): ScatterList {
  const list = new ScatterList(Math.max(1, elements.length), SEGMENT_ROOM);
  for (const { address, bytes } of elements) list.add(address, bytes);
  return list;
}

/** What the driver sees: [bus address, bytes] of each segment. */
const segmentsOf = (list: ScatterList): [bigint, number][] =>
  Array.from({ length: list.segments }, (_, i) => [list.iovas[i]!, list.segmentBytes[i]!]);

const elementRuns = (elements: readonly Element[]): ByteRun[] =>
  joinRuns(elements.map(({ address, bytes }) => ({ address, bytes: BigInt(bytes) })));

/** Pages of 4 KiB, whole and not contiguous in memory. */
const scattered = (pages: number): Element[] =>
  Array.from({ length: pages }, (_, i) => ({ address: BigInt(0x100000 + 2 * i * PAGE), bytes: PAGE }));

interface Case {
  readonly window: { base: bigint; pageShift: number; entries: number };
  readonly occupied: readonly number[];
  readonly limits: Required<Omit<DeviceLimits, "coherentMask">>;
  readonly options: DmaDeviceOptions;
  readonly elements: readonly Element[];
  readonly access: Access;
  /** Spreads the areas over the free ranges. */
  readonly scatter: number;
}

/**
 * A buffer's pages: whole ones, but for the start of the first and the end of the last. Now and then an empty element lies between them, or
 * one of them lacks a byte at its start or its end, so that the list is no run.
 */
function runsFor(pageShift: number): fc.Arbitrary<Element[]> {
  const pageSize = 2 ** pageShift;
  const cut = fc.oneof(fc.constant(0), fc.integer({ min: 1, max: Math.min(pageSize, MAX_BYTES) - 1 }));
  const pages = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 12 });
  return fc.tuple(pages, cut, cut, fc.nat(20), fc.nat(40)).map(([pages, before, after, empty, flaw]) => {
    const elements = pages.map((page, i) => {
      const skipped = i === 0 ? before : 0;
      const end = i === pages.length - 1 && after > skipped ? after : pageSize;
      return { address: BigInt(page * pageSize + skipped), bytes: Math.min(end - skipped, MAX_BYTES) };
    });
    const flawed = elements[flaw >> 1];
    if (flawed !== undefined && flawed.bytes > 1) {
      const lost = BigInt(flaw & 1);
      elements[flaw >> 1] = { address: flawed.address + lost, bytes: flawed.bytes - 1 };
    }
    if (empty < elements.length) elements.splice(empty, 0, { address: 5n, bytes: 0 });
    return elements;
  });
}

/** Elements as drivers have them: runs of pages, pieces with an offset, neighbours in memory, empty ones. */
function elementsFor(pageShift: number): fc.Arbitrary<Element[]> {
  return fc.oneof(runsFor(pageShift), piecesFor(pageShift));
}

function piecesFor(pageShift: number): fc.Arbitrary<Element[]> {
  const pageSize = 2 ** pageShift;
  const element = fc.record({
    page: fc.integer({ min: 1, max: 200 }),
    offset: fc.oneof(
      { arbitrary: fc.constant(0), weight: 3 },
      fc.maxSafeNat().map((offset) => offset % pageSize),
    ),
    bytes: fc
      .oneof(
        { arbitrary: fc.integer({ min: 1, max: 3 }).map((pages) => pages * pageSize), weight: 3 },
        { arbitrary: fc.integer({ min: 1, max: Math.min(2 * pageSize, MAX_BYTES) }), weight: 2 },
        { arbitrary: fc.constantFrom(0, 1, 512, pageSize - 1), weight: 1 },
      )
      .map((bytes) => Math.min(bytes, MAX_BYTES)),
    followsLast: fc.boolean(),
  });
  return fc.array(element, { maxLength: 10 }).map((drafts) => {
    const elements: Element[] = [];
    for (const { page, offset, bytes, followsLast } of drafts) {
      const last = elements.at(-1);
      const address =
        followsLast && last !== undefined ? last.address + BigInt(last.bytes) : BigInt(page * pageSize + offset);
      elements.push({ address, bytes });
    }
    return elements;
  });
}

const cases: fc.Arbitrary<Case> = fc
  .record({
    pageShift: fc.constantFrom(12, 13, 16, 21, 30, 31, 32, 34),
    entries: fc.integer({ min: 4, max: 48 }),
    base: fc.nat(3),
  })
  .chain(({ pageShift, entries, base }) => {
    const pageSize = 2n ** BigInt(pageShift);
    const acrossBoundary = pageShift < 29 ? 2n ** 32n - 8n * pageSize : 2n ** 59n;
    const bases = [0n, 5n * pageSize, acrossBoundary, 2n ** 64n - BigInt(entries) * pageSize];
    const window = { base: bases[base]!, pageShift, entries };
    const lastByte = window.base + BigInt(entries) * pageSize - 1n;
    return fc.record<Case>({
      window: fc.constant(window),
      occupied: fc.oneof(
        fc.constant([]),
        fc.uniqueArray(fc.integer({ min: 0, max: entries - 1 }), { maxLength: entries >> 1 }),
      ),
      limits: fc.record({
        mask: fc.oneof(fc.constant(2n ** 64n - 1n), fc.bigInt({ min: lastByte - 3n * pageSize, max: lastByte })),
        maxSegmentBytes: fc
          .constantFrom(
            MAX_BYTES,
            65536,
            2 ** pageShift,
            3 * 2 ** pageShift,
            1000 + 2 ** pageShift,
            2 ** (pageShift - 3) - 1,
          )
          // So that an element has at most a few hundred pieces.
          .map((bytes) => Math.min(Math.max(bytes, 2 ** (pageShift - 6)), MAX_BYTES)),
        boundaryMask: fc.oneof(
          fc.constantFrom(2n ** 32n - 1n, 2n ** 64n - 1n),
          fc.integer({ min: -2, max: 5 }).map((bit) => 2n ** BigInt(pageShift + bit) - 1n),
        ),
        alignment: fc.oneof(fc.constant(1), fc.constantFrom(64, 2 ** pageShift, 2 ** (pageShift + 2))),
      }),
      options: fc.record({ merge: fc.boolean(), cpuPageShift: fc.constantFrom(12, 14, 16) }),
      elements: elementsFor(pageShift),
      access: fc.constantFrom<Access>(1, 2, 3),
      scatter: fc.nat(),
    });
  });

function setUp(c: Case): { table: ModelTable; device: DmaDevice; list: ScatterList } {
  const table = new ModelTable(c.window);
  table.occupy(c.occupied);
  table.choose = (starts) => (c.scatter * 2654435761) % starts;
  return { table, device: new DmaDevice(table, c.limits, c.options), list: listOf(c.elements) };
}

/** The law of a mapped list, checked on bytes. */
function checkSegments(c: Case, table: ModelTable, list: ScatterList): void {
  const segments = segmentsOf(list);
  const { mask, maxSegmentBytes, boundaryMask } = c.limits;
  const runs = segments.flatMap(([iova, bytes]) => walk(table, iova, bytes, c.access));
  assert.deepEqual(joinRuns(runs), elementRuns(c.elements), "the segments hold the elements' bytes, in order");
  for (const [iova, bytes] of segments) {
    const last = iova + BigInt(bytes) - 1n;
    assert.ok(bytes >= 1 && bytes <= maxSegmentBytes, `segment of ${bytes} bytes`);
    assert.ok(last <= mask, `last byte ${last} beyond the mask`);
    assert.equal(iova / (boundaryMask + 1n), last / (boundaryMask + 1n), "a segment crosses the boundary");
  }
  const filled = c.elements.filter(({ bytes }) => bytes > 0);
  const cut = filled.some(({ bytes }) => bytes > maxSegmentBytes);
  if (!cut) assert.ok(list.segments <= filled.length, "more segments than elements");
  if (!c.options.merge && !cut) assert.equal(list.segments, filled.length, "merged although merging is off");
  if (c.options.merge && !cut) checkMaximal(c, segments);
  checkAlignment(c, table);
}

/** No two segments are left that could have been one. */
function checkMaximal({ limits }: Case, segments: readonly [bigint, number][]): void {
  for (let i = 1; i < segments.length; i++) {
    const [[before, beforeBytes], [after, afterBytes]] = [segments[i - 1]!, segments[i]!];
    const adjacent = before + BigInt(beforeBytes) === after;
    const fits = beforeBytes + afterBytes <= limits.maxSegmentBytes;
    const atBoundary = after % (limits.boundaryMask + 1n) === 0n;
    assert.ok(!adjacent || !fits || atBoundary, `segments ${i - 1} and ${i} could have been merged`);
  }
}

/** Each element's first page lies at a multiple of what its device and its kind ask for. */
function checkAlignment(c: Case, table: ModelTable): void {
  const pageSize = 2n ** BigInt(c.window.pageShift);
  const cpuPage = 2n ** BigInt(c.options.cpuPageShift!);
  let at = -1;
  const filled = c.elements.filter(({ bytes }) => bytes > 0);
  // Where the elements lie can't be read off the segments: look for entries that hold the element's first page.
  for (const { address, bytes } of filled) {
    const isAligned = (entry: number, unit: bigint) => (c.window.base + BigInt(entry) * pageSize) % unit === 0n;
    const wholeCpuPages = address % cpuPage === 0n && BigInt(bytes) >= cpuPage;
    const unit = [pageSize, BigInt(c.limits.alignment), wholeCpuPages ? cpuPage : 1n].reduce((a, b) => (a > b ? a : b));
    at = table.entries.findIndex(
      (entry, i) => entry.access !== 0 && BigInt(entry.page) === address / pageSize && isAligned(i, unit),
    );
    assert.ok(at >= 0, `no page of the element at ${address} lies at a multiple of ${unit}`);
  }
}

test("a mapped list shows the device its elements' bytes in order, within all limits; an unmapped one leaves nothing", (t) => {
  t.diagnostic(`seed ${seed}`);
  const tally: Record<string, number> = {};
  const count = (what: string) => (tally[what] = (tally[what] ?? 0) + 1);
  fc.assert(
    fc.property(cases, (c) => {
      const { table, device, list } = setUp(c);
      const failure = device.mapSg(list, c.access);
      count(failure ?? (table.calls.commit > 1 ? "chained" : "mapped"));
      if (failure === undefined) {
        checkSegments(c, table, list);
        if (list.segments < c.elements.filter(({ bytes }) => bytes > 0).length) count("merged");
        assert.ok(table.calls.publish <= 1, `${table.calls.publish} calls of publish`);
        assert.equal(device.unmapSg(list), undefined);
        assert.ok(table.calls.unmapAll <= 1, `${table.calls.unmapAll} unmaps`);
      }
      assert.equal(list.segments, 0);
      table.assertEmptyBeside(new Set(c.occupied));
    }),
    { seed, includeErrorInReport: true, numRuns: 6000 },
  );
  for (const kind of ["mapped", "chained", "merged", "table-full", "mask-too-low", "longer-than-boundary"]) {
    assert.ok((tally[kind] ?? 0) > 20, `too few ${kind}: ${JSON.stringify(tally)}`);
  }
});

test("whichever allocation or set fails, everything is undone, and the list can be mapped again", (t) => {
  t.diagnostic(`seed ${seed}`);
  let injected = 0;
  fc.assert(
    fc.property(cases, (c) => {
      const probe = setUp(c);
      const wanted = probe.device.mapSg(probe.list, c.access);
      const { allocate, set } = probe.table.calls;
      for (const [kind, calls] of [
        ["allocateAt", allocate + 1],
        ["setAt", set],
      ] as const) {
        for (let at = 1; at <= calls; at++) {
          const { table, device, list } = setUp(c);
          table.faults = { [kind]: at };
          const failure = device.mapSg(list, c.access);
          if (failure === undefined) {
            // A whole area that is refused is made up for by chaining: the result must be as good.
            assert.equal(kind, "allocateAt");
            checkSegments(c, table, list);
            assert.equal(device.unmapSg(list), undefined);
          } else if (kind === "setAt" && wanted === undefined) {
            injected++;
            assert.equal(failure, "platform-refused");
          }
          assert.deepEqual(
            list.iovas,
            new BigUint64Array(SEGMENT_ROOM).map((_, i) => (failure ? 0n : list.iovas[i]!)),
          );
          assert.equal(list.segments, 0);
          table.assertEmptyBeside(new Set(c.occupied));
          table.faults = {};
          assert.equal(device.mapSg(list, c.access), wanted);
        }
      }
    }),
    { seed, includeErrorInReport: true, numRuns: 300 },
  );
  assert.ok(injected > 100, `${injected} sets failed`);
});

test("single pages are mapped exactly when there are as many free entries", () => {
  for (let taken = 0; taken < 256; taken++) {
    const occupied = [0, 1, 2, 3, 4, 5, 6, 7].filter((entry) => (taken >> entry) & 1);
    for (let pages = 0; pages <= 8; pages++) {
      const table = new ModelTable({ base: 0n, pageShift: 12, entries: 8 });
      table.occupy(occupied);
      const failure = new DmaDevice(table).mapSg(listOf(scattered(pages)), 3);
      assert.equal(
        failure,
        pages <= 8 - occupied.length ? undefined : "table-full",
        `${pages} pages, taken ${occupied}`,
      );
    }
  }
});

test("regression, defect 11: when an entry can't be set, the area it was for is given back too", () => {
  for (const occupied of [[], [1, 3, 5, 7]]) {
    for (let setAt = 1; setAt <= 4; setAt++) {
      const table = new ModelTable({ base: 0n, pageShift: 12, entries: 8 });
      table.occupy(occupied);
      table.faults = { setAt };
      const list = listOf(scattered(4));
      assert.equal(new DmaDevice(table).mapSg(list, 3), "platform-refused");
      table.assertEmptyBeside(new Set(occupied));
    }
  }
});

test("regression, defect 12: entries that were set are taken out of the device's reach before their range is free again", () => {
  const table = new ModelTable({ base: 0n, pageShift: 12, entries: 8 });
  table.occupy([1, 3, 5, 7]);
  table.faults = { setAt: 4 };
  // Three elements were set. Each area goes back through `abandon`, which clears and invalidates; never as a bare range.
  assert.equal(new DmaDevice(table).mapSg(listOf(scattered(4)), 3), "platform-refused");
  const { abandonAll, commit, unmap, unmapAll } = table.calls;
  assert.deepEqual([abandonAll, commit, unmap, unmapAll], [1, 0, 0, 0]);
  assert.ok(table.entries.every(({ access }) => access === 0));
});

test("when `publish` fails, the list fails with its reason: no area is committed, none is left", () => {
  for (const occupied of [[], [1, 3, 5, 7]]) {
    const table = new ModelTable({ base: 0n, pageShift: 12, entries: 8 });
    table.occupy(occupied);
    table.faults = { publishAt: 1 };
    const list = listOf(scattered(4));
    const device = new DmaDevice(table);
    assert.equal(device.mapSg(list, 3), "platform-busy");
    assert.deepEqual([list.segments, table.calls.commit, table.calls.publish], [0, 0, 1]);
    table.assertEmptyBeside(new Set(occupied));
    assert.equal(device.mapSg(list, 3), undefined, "the same list later");
  }
});

test("regression, defect 14: elements keep their offset inside 64 KiB and 2 MiB pages", () => {
  for (const pageShift of [16, 21]) {
    const table = new ModelTable({ base: 0n, pageShift, entries: 8 });
    const list = listOf([
      { address: 0x40312345n, bytes: 100 },
      { address: 0x8001f000n, bytes: 0x1000 },
    ]);
    assert.equal(new DmaDevice(table).mapSg(list, 3), undefined);
    const inPage = (address: bigint) => address % (1n << BigInt(pageShift));
    assert.deepEqual(segmentsOf(list), [
      [inPage(0x40312345n), 100],
      [(1n << BigInt(pageShift)) + inPage(0x8001f000n), 0x1000],
    ]);
  }
});

test("regression, defect 30: neighbours that meet exactly at a segment boundary stay two segments", () => {
  // Entries 6 .. 9 around the boundary at entry 8: too long for one area between two boundaries, so the list is chained.
  const table = new ModelTable({ base: 0n, pageShift: 12, entries: 16 });
  table.occupy([0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15]);
  const list = listOf(scattered(4));
  const device = new DmaDevice(table, { boundaryMask: 0x7fffn });
  assert.equal(device.mapSg(list, 3), undefined);
  assert.deepEqual(segmentsOf(list), [
    [0x6000n, 2 * PAGE],
    [0x8000n, 2 * PAGE],
  ]);
  device.unmapSg(list);
  // Without a boundary there the same four are one.
  assert.equal(new DmaDevice(table, { boundaryMask: 0xffffn }).mapSg(list, 3), undefined);
  assert.deepEqual(segmentsOf(list), [[0x6000n, 4 * PAGE]]);
});

test("the boundary is one of bus addresses, wherever the window begins", () => {
  const table = new ModelTable({ base: 2n ** 32n - 3n * 4096n, pageShift: 12, entries: 6 });
  const list = listOf(scattered(6));
  assert.equal(new DmaDevice(table).mapSg(list, 3), undefined);
  assert.deepEqual(segmentsOf(list), [
    [2n ** 32n - 3n * 4096n, 3 * PAGE],
    [2n ** 32n, 3 * PAGE],
  ]);
});

test("a list is one area and one segment when there is room, and chained when there is not", () => {
  const table = new ModelTable({ base: 0x10000n, pageShift: 12, entries: 16 });
  const list = listOf(scattered(4));
  const device = new DmaDevice(table);
  assert.equal(device.mapSg(list, 3), undefined);
  assert.deepEqual(segmentsOf(list), [[0x10000n, 4 * PAGE]]);
  assert.deepEqual(table.calls, {
    allocate: 1,
    set: 4,
    publish: 1,
    commit: 1,
    abandon: 0,
    abandonAll: 0,
    unmap: 0,
    unmapAll: 0,
  });
  assert.equal(device.unmapSg(list), undefined);

  table.occupy([3, 7]);
  const longer = listOf(scattered(9));
  assert.equal(device.mapSg(longer, 3), undefined);
  assert.deepEqual(segmentsOf(longer), [
    [0x10000n, 3 * PAGE],
    [0x14000n, 3 * PAGE],
    [0x18000n, 3 * PAGE],
  ]);
  assert.deepEqual([table.calls.publish, table.calls.commit], [2, 10]);
  assert.equal(device.unmapSg(longer), undefined);
  assert.equal(table.calls.unmapAll, 2);
});

test("merging stops at the maximum segment size, and can be switched off", () => {
  const table = new ModelTable({ base: 0n, pageShift: 12, entries: 64 });
  const list = listOf(scattered(20));
  const sizes = (limits: DeviceLimits, options?: DmaDeviceOptions): number[] => {
    const device = new DmaDevice(table, limits, options);
    assert.equal(device.mapSg(list, 3), undefined);
    const found = segmentsOf(list).map(([, bytes]) => bytes / PAGE);
    device.unmapSg(list);
    return found;
  };
  assert.deepEqual(sizes({}), [16, 4]);
  assert.deepEqual(sizes({ maxSegmentBytes: 7 * PAGE + 1 }), [7, 7, 6]);
  assert.deepEqual(sizes({ maxSegmentBytes: 2 ** 32 - 1 }), [20]);
  assert.deepEqual(sizes({}, { merge: false }), new Array(20).fill(1));
});

test("an element that is longer than a segment may be comes out in pieces, and the last piece may grow", () => {
  const table = new ModelTable({ base: 0n, pageShift: 12, entries: 64 });
  const list = listOf([
    { address: 0x100000n, bytes: 2 * PAGE },
    { address: 0x200000n, bytes: 35 * PAGE },
    { address: 0x400000n, bytes: PAGE },
  ]);
  assert.equal(new DmaDevice(table).mapSg(list, 3), undefined);
  assert.deepEqual(segmentsOf(list), [
    [0n, 2 * PAGE],
    [0x2000n, 16 * PAGE],
    [0x12000n, 16 * PAGE],
    [0x22000n, 4 * PAGE],
  ]);
});

test("pieces keep the device's alignment", () => {
  const table = new ModelTable({ base: 0n, pageShift: 12, entries: 8 });
  const list = listOf([{ address: 0x100200n, bytes: 2500 }]);
  assert.equal(new DmaDevice(table, { maxSegmentBytes: 1023, alignment: 512 }).mapSg(list, 3), undefined);
  assert.deepEqual(segmentsOf(list), [
    [0x200n, 512],
    [0x400n, 512],
    [0x600n, 512],
    [0x800n, 512],
    [0xa00n, 452],
  ]);
});

test("pieces that may not fit the list's segment columns are refused before anything is allocated", () => {
  const table = new ModelTable({ base: 0n, pageShift: 12, entries: 64 });
  const list = new ScatterList(2);
  list.add(0n, 3 * 65536);
  assert.throws(
    () => new DmaDevice(table).mapSg(list, 3),
    (error) =>
      error instanceof InvalidArgumentError &&
      /segment capacity of a list with elements longer than 65536 bytes is 2; expected at least 3/.test(error.message),
  );
  assert.equal(table.calls.allocate, 0);
  list.length = 0;
  list.add(0n, 2 * 65536);
  assert.equal(new DmaDevice(table).mapSg(list, 3), undefined);
  assert.equal(list.segments, 2);
});

test("each element starts on an IO page of its own, and pieces of a page don't merge", () => {
  const table = new ModelTable({ base: 0n, pageShift: 16, entries: 8 });
  const list = listOf([
    { address: 0x50000n, bytes: 0x1000 },
    { address: 0x51000n, bytes: 0x1000 },
    { address: 0x5f000n, bytes: 0x1000 },
    { address: 0x60000n, bytes: 0x1000 },
  ]);
  assert.equal(new DmaDevice(table).mapSg(list, 3), undefined);
  assert.deepEqual(segmentsOf(list), [
    [0x00000n, 0x1000],
    [0x11000n, 0x1000],
    [0x2f000n, 0x2000],
  ]);
});

test("whole CPU pages are aligned in one area and in a chain", () => {
  const elements = [
    { address: 0x51000n, bytes: 0x1000 },
    { address: 0x60000n, bytes: 0x10000 },
    { address: 0x80000n, bytes: 0x20000 },
  ];
  for (const [occupied, wanted] of [
    [[], [0x20000n, 0x30000n]],
    [[1], [0x30000n, 0x40000n]],
    // No room for all at once: entry 40 is taken, and the chain goes round it.
    [[40], [0x20000n, 0x40000n]],
  ] as [number[], bigint[]][]) {
    const table = new ModelTable({ base: 0x0f000n, pageShift: 12, entries: 1 + 64 + 16 });
    table.occupy([...occupied, 0]);
    const list = listOf(elements);
    assert.equal(new DmaDevice(table, {}, { cpuPageShift: 16, merge: false }).mapSg(list, 3), undefined);
    assert.deepEqual(list.iovas.slice(1, 3), new BigUint64Array(wanted), `taken ${occupied}`);
  }
});

test("what is no whole CPU page takes the next IO page, in one area and in a chain", () => {
  for (const occupied of [[], [60]]) {
    const table = new ModelTable({ base: 0x10000n, pageShift: 12, entries: 61 });
    table.occupy(occupied);
    table.faults = occupied.length > 0 ? { allocateAt: 1 } : {};
    const list = listOf([
      { address: 0x51000n, bytes: 0x1000 },
      { address: 0x60000n, bytes: 0xe000 },
      { address: 0x71000n, bytes: 0x10000 },
      { address: 0x90800n, bytes: 0x10000 },
    ]);
    assert.equal(new DmaDevice(table, {}, { cpuPageShift: 16, merge: false }).mapSg(list, 3), undefined);
    assert.deepEqual(list.iovas.slice(0, 4), new BigUint64Array([0x10000n, 0x11000n, 0x1f000n, 0x2f800n]));
  }
});

test("each element of a chain is asked for where the one before ended", () => {
  const table = new ModelTable({ base: 0n, pageShift: 12, entries: 16 });
  // Left to itself, this table takes the lowest range for the first element and the highest for all others.
  table.occupy([0, 1, 8, 9, 10, 11]);
  let asked = 0;
  table.choose = (starts) => (asked++ === 0 ? 0 : starts - 1);
  const list = listOf([{ address: 0x100000n, bytes: 3 * PAGE }, ...scattered(5)]);
  assert.equal(new DmaDevice(table).mapSg(list, 3), undefined);
  assert.deepEqual(segmentsOf(list), [
    [0x2000n, 6 * PAGE],
    [0xf000n, PAGE],
    [0xe000n, PAGE],
  ]);
});

test("elements of no bytes are skipped, and a list without bytes is mapped without anything", () => {
  const table = new ModelTable({ base: 0n, pageShift: 12, entries: 8 });
  const device = new DmaDevice(table);
  const list = listOf([
    { address: 0x1000n, bytes: 0 },
    { address: 0x5000n, bytes: PAGE },
    { address: 0x5000n, bytes: 0 },
    { address: 0x9000n, bytes: PAGE },
    { address: 2n ** 64n - 1n, bytes: 0 },
  ]);
  assert.equal(device.mapSg(list, 3), undefined);
  assert.deepEqual(segmentsOf(list), [[0n, 2 * PAGE]]);
  assert.equal(device.unmapSg(list), undefined);
  for (const empty of [[], [{ address: 0n, bytes: 0 }]]) {
    const none = listOf(empty);
    assert.equal(device.mapSg(none, 3), undefined);
    assert.equal(none.segments, 0);
    assert.equal(device.unmapSg(none), undefined);
    assert.throws(() => device.unmapSg(none), FreeError);
  }
});

test("wrong unmaps of a list throw, say why, and leave it mapped", () => {
  const table = new ModelTable({ base: 0n, pageShift: 12, entries: 8 });
  const [device, other] = [new DmaDevice(table), new DmaDevice(table)];
  const misuse = (code: string, message: RegExp) => (error: unknown) =>
    error instanceof FreeError && error.code === code && message.test(error.message);
  const list = listOf(scattered(2));
  assert.throws(() => device.unmapSg(list), misuse("not-allocated", /list of 2 elements that is not mapped/));
  assert.equal(device.mapSg(list, 3), undefined);
  assert.throws(() => other.unmapSg(list), misuse("wrong-owner", /that another device mapped/));
  list.bytes[1]! -= 1;
  assert.throws(() => device.unmapSg(list), misuse("wrong-length", /whose 2 elements were changed/));
  list.bytes[1]! += 1;
  list.addresses[0]! += 1n;
  assert.throws(() => device.unmapSg(list), misuse("wrong-length", /whose 2 elements were changed/));
  list.addresses[0]! -= 1n;
  assert.throws(() => device.mapSg(list, 3), InvalidArgumentError);
  assert.equal(walk(table, 0n, 2 * PAGE, 3).length, 2);
  assert.equal(device.unmapSg(list), undefined);
  assert.throws(() => device.unmapSg(list), misuse("not-allocated", /not mapped/));
  table.assertEmptyBeside(new Set());
});

test("a list that can never be mapped is refused at once", () => {
  const table = new ModelTable({ base: 0x10000n, pageShift: 12, entries: 8 });
  const refused = (elements: Element[], limits: DeviceLimits) =>
    new DmaDevice(table, limits).mapSg(listOf(elements), 3);
  assert.equal(refused(scattered(9), {}), "longer-than-table");
  assert.equal(refused([{ address: 0n, bytes: 2 ** 32 - 1 }], { maxSegmentBytes: 2 ** 32 - 1 }), "longer-than-table");
  assert.equal(refused(scattered(5), { mask: 0x13fffn }), "mask-too-low");
  assert.equal(refused(scattered(1), { mask: 0xffffn }), "mask-too-low");
  assert.equal(refused([{ address: 0n, bytes: 3 * PAGE }], { boundaryMask: 0x1fffn }), "longer-than-boundary");
  const second = [...scattered(1), { address: 0n, bytes: 3 * PAGE }];
  assert.equal(refused(second, { boundaryMask: 0x1fffn }), "longer-than-boundary");
  assert.equal(
    refused([...scattered(1), { address: 500n, bytes: 13 }], { boundaryMask: 511n }),
    "longer-than-boundary",
  );
  assert.equal(table.calls.allocate, 0);
});

test("a table that can't be asked is not asked again for each element", () => {
  for (const failure of ["would-block", "owner-unresponsive", "platform-busy"] as const) {
    const table = new ModelTable({ base: 0n, pageShift: 12, entries: 8 });
    const device = new DmaDevice(new FaultInjectingTable(table, { allocate: { failure, times: 1 } }));
    assert.equal(device.mapSg(listOf(scattered(2)), 3), failure);
    assert.equal(table.calls.allocate, 0);
  }
});

test("a boundary below one IO page takes elements that stay inside it, and merges none", () => {
  const table = new ModelTable({ base: 0n, pageShift: 16, entries: 8 });
  const list = listOf([
    { address: 0x5f000n, bytes: 0x1000 },
    { address: 0x60000n, bytes: 0x1000 },
  ]);
  assert.equal(new DmaDevice(table, { boundaryMask: 0xfffn }).mapSg(list, 3), undefined);
  assert.deepEqual(segmentsOf(list), [
    [0xf000n, 0x1000],
    [0x10000n, 0x1000],
  ]);
});

test("columns that were filled directly are checked when they are mapped", () => {
  const table = new ModelTable({ base: 0n, pageShift: 12, entries: 8 });
  const device = new DmaDevice(table);
  const list = new ScatterList(2);
  list.addresses[1] = 2n ** 64n - 4096n;
  list.bytes[1] = 4097;
  list.length = 2;
  assert.throws(
    () => device.mapSg(list, 3),
    /end of scatterlist element 1 is 18446744073709551617n; expected at most 2\^64/,
  );
  assert.throws(() => device.mapSg(list, 7 as Access), /access is 7/);
  list.bytes[1] = 4096;
  assert.equal(device.mapSg(list, 3), undefined);
  assert.deepEqual(walk(table, 0n, 4096, 3), [{ address: 2n ** 64n - 4096n, bytes: 4096n }]);
});
