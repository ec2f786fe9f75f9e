import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { randomFrom } from "../allocator/random.model.ts";
import { parseTrace } from "../trace/parser.ts";
import type { DeviceStatistics } from "./contract.ts";
import { LargestHole } from "./largest-hole.ts";
import { statisticsOf } from "./statistics.ts";

const traces = fileURLToPath(new URL("../../../traces/", import.meta.url));

/** Lines as `[microseconds, event]`, all on CPU 0. */
function measure(lines: readonly (readonly [number, string])[]) {
  const text = lines.map(
    ([time, event]) => `            a-1     [000] .....     ${(time / 1e6).toFixed(6)}: ${event}\n`,
  );
  const trace = parseTrace(new TextEncoder().encode(text.join("")));
  assert.equal(trace.events.length, lines.length, trace.malformedReason);
  return statisticsOf(trace);
}

const range = (first: number, end: number): string =>
  `iova=0x${(first * 4096).toString(16)} - 0x${(end * 4096).toString(16)}`;
const map = (first: number, end: number): string =>
  `map: IOMMU: ${range(first, end)} paddr=0x5000 size=${(end - first) * 4096}`;
const unmap = (first: number, end: number): string =>
  `unmap: IOMMU: ${range(first, end)} size=${(end - first) * 4096} unmapped_size=${(end - first) * 4096}`;
const dmaMap = (device: string, first: number, pages: number): string =>
  `dma_map_page: ${device} dir=TO_DEVICE dma_addr=${(first * 4096).toString(16)} size=${pages * 4096} phys_addr=5000 attrs=`;
const dmaUnmap = (device: string, first: number, pages: number): string =>
  `dma_unmap_page: ${device} dir=TO_DEVICE dma_addr=${(first * 4096).toString(16)} size=${pages * 4096} attrs=`;
const failed = (device: string): string =>
  `dma_map_page: ${device} dir=TO_DEVICE dma_addr=ffffffffffffffff size=4096 phys_addr=5000 attrs=`;

function withoutParts({ overTime, ...numbers }: DeviceStatistics) {
  return { ...numbers, parts: overTime.length };
}

describe("the numbers of a small trace", () => {
  const statistics = measure([
    [0, map(8, 10)],
    [0, dmaMap("d0", 8, 2)],
    [250_000, map(4, 5)],
    [250_000, dmaMap("d0", 4, 1)],
    [500_000, unmap(8, 10)],
    [500_000, dmaUnmap("d0", 8, 2)],
    [500_000, failed("d1")],
    [1_000_000, unmap(32, 33)],
  ]);

  test("of each device, most active first", () => {
    const none = { maps: 0, unmaps: 0, neverUnmapped: 0, failures: 0, mapLines: 0, unmapLines: 0 };
    const older = { olderRanges: 0, olderBytes: 0 };
    assert.deepEqual(statistics.devices.map(withoutParts), [
      {
        device: "d0",
        ...{ maps: 2, unmaps: 1, neverUnmapped: 1, failures: 0, mapLines: 2, unmapLines: 1 },
        ...older,
        ...{ bytes: 12288, pages: 3 },
        sizes: [
          { atMostBytes: 4096, maps: 1 },
          { atMostBytes: 8192, maps: 1 },
        ],
        lifetimes: {
          ...{ known: 1, knownShare: 0.5 },
          ...{ p50Microseconds: 5e5, p90Microseconds: 5e5, p99Microseconds: 5e5, maxMicroseconds: 5e5 },
        },
        // 2 pages for 0.5 s, 1 page for 0.75 s.
        live: { peakBytes: 12288, peakMappings: 2, meanBytes: 1.75 * 4096, meanMappings: 1.25 },
        mapsPerSecond: { mean: 2, peak: 10, peakWindowSeconds: 0.1 },
        // Pages 1 … 15: first 1 … 7 are free, then 1 … 3 and 10 … 15, then 5 … 15.
        hole: { limitBytes: 65536, leastBytes: 6 * 4096, atEndBytes: 11 * 4096 },
        parts: 100,
      },
      {
        ...{ device: "d1", ...none, failures: 1, ...older, bytes: 0, pages: 0, sizes: [], lifetimes: null },
        live: { peakBytes: 0, peakMappings: 0, meanBytes: 0, meanMappings: 0 },
        ...{ mapsPerSecond: { mean: 0, peak: 0, peakWindowSeconds: 0.1 }, hole: null, parts: 100 },
      },
      {
        ...{ device: "unknown", ...none, unmapLines: 1, olderRanges: 1, olderBytes: 4096 },
        ...{ bytes: 0, pages: 0, sizes: [], lifetimes: null },
        live: { peakBytes: 4096, peakMappings: 1, meanBytes: 4096, meanMappings: 1 },
        mapsPerSecond: { mean: 0, peak: 0, peakWindowSeconds: 0.1 },
        hole: { limitBytes: 64 * 4096, leastBytes: 31 * 4096, atEndBytes: 63 * 4096 },
        parts: 100,
      },
    ]);
  });

  test("over time: the most live and the smallest largest hole of each part, and the maps in it", () => {
    const parts = statistics.devices[0]?.overTime ?? [];
    assert.deepEqual(
      [0, 1, 24, 25, 49, 50, 51, 99].map((part) => parts[part]),
      [
        { startSeconds: 0, maps: 1, liveBytes: 8192, largestHoleBytes: 7 * 4096 },
        { startSeconds: 0.01, maps: 0, liveBytes: 8192, largestHoleBytes: 7 * 4096 },
        { startSeconds: 0.24, maps: 0, liveBytes: 8192, largestHoleBytes: 7 * 4096 },
        { startSeconds: 0.25, maps: 1, liveBytes: 12288, largestHoleBytes: 6 * 4096 },
        { startSeconds: 0.49, maps: 0, liveBytes: 12288, largestHoleBytes: 6 * 4096 },
        { startSeconds: 0.5, maps: 0, liveBytes: 12288, largestHoleBytes: 6 * 4096 },
        { startSeconds: 0.51, maps: 0, liveBytes: 4096, largestHoleBytes: 11 * 4096 },
        { startSeconds: 0.99, maps: 0, liveBytes: 4096, largestHoleBytes: 11 * 4096 },
      ],
    );
  });
});

test("the largest hole equals that of a plain search, as overlapping ranges come and go", () => {
  const seed = Date.now() >>> 0;
  const random = randomFrom(seed);
  for (let round = 0; round < 50; round++) {
    const ranges = Array.from({ length: 20 }, () => {
      const first = random(60);
      return { first, end: first + 1 + random(10) };
    });
    const hole = new LargestHole(
      1,
      64,
      ranges.flatMap(({ first, end }) => [first, end]),
    );
    const live = new Set<(typeof ranges)[number]>();
    for (let step = 0; step < 60; step++) {
      const one = ranges[random(20)] as (typeof ranges)[number];
      hole.change(one.first, one.end, live.has(one) ? -1 : 1);
      if (!live.delete(one)) live.add(one);
      let run = 0;
      let longest = 0;
      for (let page = 1; page < 64; page++) {
        run = [...live].some(({ first, end }) => page >= first && page < end) ? 0 : run + 1;
        longest = Math.max(longest, run);
      }
      assert.equal(hole.largest, longest, `seed ${seed}`);
    }
  }
});

test("the sums of random traces are those of a plain model", () => {
  const seed = Date.now() >>> 0;
  const random = randomFrom(seed);
  for (let round = 0; round < 20; round++) {
    const lines: [number, string][] = [];
    const live = new Map<number, { pages: number; since: number; device: string }>();
    const model = { maps: 0, pages: 0, unmaps: 0, lifetime: 0, peak: 0, area: 0 };
    let livePages = 0;
    const [begin, end] = [1000, 1000 + 200 * 100];
    for (let time = begin; time <= end; time += 100) {
      const device = `d${random(3)}`;
      const first = 8 + 8 * random(30);
      const known = live.get(first);
      if (known === undefined) {
        const pages = 1 + random(8);
        lines.push([time, map(first, first + pages)], [time, dmaMap(device, first, pages)]);
        live.set(first, { pages, since: time, device });
        model.maps++;
        model.pages += pages;
        livePages += pages;
        model.peak = Math.max(model.peak, livePages);
      } else {
        lines.push([time, unmap(first, first + known.pages)], [time, dmaUnmap(known.device, first, known.pages)]);
        live.delete(first);
        model.unmaps++;
        model.lifetime = Math.max(model.lifetime, time - known.since);
        livePages -= known.pages;
      }
      if (time < end) model.area += livePages * 100;
    }
    const { devices } = measure(lines);
    const sum = (of: (device: DeviceStatistics) => number): number =>
      devices.reduce((total, one) => total + of(one), 0);
    const message = `seed ${seed}`;
    assert.equal(
      sum(({ maps }) => maps),
      model.maps,
      message,
    );
    assert.equal(
      sum(({ unmaps }) => unmaps),
      model.unmaps,
      message,
    );
    assert.equal(
      sum(({ pages }) => pages),
      model.pages,
      message,
    );
    assert.equal(
      sum(({ sizes }) => sizes.reduce((total, size) => total + size.maps, 0)),
      model.maps,
      message,
    );
    assert.equal(
      sum(({ overTime }) => overTime.reduce((total, part) => total + part.maps, 0)),
      model.maps,
      message,
    );
    assert.equal(Math.max(...devices.map(({ lifetimes }) => lifetimes?.maxMicroseconds ?? 0)), model.lifetime, message);
    const mean = sum(({ live: { meanBytes } }) => meanBytes) / 4096;
    assert.ok(Math.abs(mean - model.area / (end - begin)) < 1e-6, `${message}: ${mean}`);
    assert.ok(sum(({ live: { peakBytes } }) => peakBytes) >= model.peak * 4096, message);
  }
});

describe("the lines of real traces are all counted, each once", () => {
  for (const name of ["nvme-io-612.txt.gz", "fixtures/e1000e.txt", "fixtures/vfio.txt", "fixtures/overrun.txt"]) {
    test(name, () => {
      const file = readFileSync(`${traces}${name}`);
      const bytes = name.endsWith(".gz") ? gunzipSync(file) : file;
      const text = bytes.toString("latin1");
      const { devices, limits } = statisticsOf(parseTrace(bytes));
      const sum = (of: (device: DeviceStatistics) => number): number =>
        devices.reduce((total, one) => total + of(one), 0);
      assert.deepEqual(
        [sum(({ mapLines }) => mapLines), sum(({ unmapLines }) => unmapLines), sum(({ failures }) => failures)],
        [/: map: IOMMU:/g, /: unmap: IOMMU:/g, /dma_addr=f{16}|dma_map_sg_err:/g].map(
          (pattern) => text.match(pattern)?.length ?? 0,
        ),
      );
      const mapped = [...text.matchAll(/: map: IOMMU:.* size=(\d+)/g)].reduce(
        (total, one) => total + Number(one[1]),
        0,
      );
      assert.equal(
        sum((device) => device.bytes),
        mapped,
      );
      assert.equal(limits[0]?.startsWith("Events were lost"), name.includes("overrun"));
    });
  }
});
