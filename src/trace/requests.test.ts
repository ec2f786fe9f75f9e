import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { parseTrace } from "./parser.ts";
import { NEVER, type RequestHistory, requestsOf } from "./requests.ts";

const root = new URL("../../../traces/", import.meta.url);
const recorded = (name: string): RequestHistory => {
  const bytes = readFileSync(new URL(name, root));
  return requestsOf(parseTrace(name.endsWith(".gz") ? gunzipSync(bytes) : bytes));
};

/** Lines in short: `cpu µs event`. */
function history(...lines: string[]): RequestHistory {
  const text = lines.map((line) => {
    const [cpu, microseconds, ...event] = line.split(" ");
    const flags = `[00${cpu}] .....     1.${(microseconds as string).padStart(6, "0")}:`;
    return `            a-1     ${flags} ${event.join(" ")}\n`;
  });
  const trace = parseTrace(new TextEncoder().encode(text.join("")));
  assert.equal(trace.events.length, lines.length, trace.malformedReason);
  return requestsOf(trace);
}

const hex = (value: number): string => `0x${value.toString(16).padStart(16, "0")}`;
/** `map` of pages [first, end) to physical page `to`. */
const map = (first: number, end: number, to: number): string =>
  `map: IOMMU: iova=${hex(first * 4096)} - ${hex(end * 4096)} paddr=${hex(to * 4096)} size=${(end - first) * 4096}`;
const unmap = (first: number, end: number): string =>
  `unmap: IOMMU: iova=${hex(first * 4096)} - ${hex(end * 4096)} size=${(end - first) * 4096} unmapped_size=${(end - first) * 4096}`;
const page = (value: number): string => (value * 4096).toString(16);

/** Each request as `first line/pages/elements by physical page + pages`. */
const shapes = (h: RequestHistory): string[] =>
  Array.from({ length: h.length }, (_, r) => {
    const first = h.elementFirst[r] as number;
    const elements = Array.from({ length: h.elementCount[r] as number }, (_, i) => {
      const at = h.elementAddress[first + i] as number;
      return `${at / 4096}+${(h.elementBytes[first + i] as number) / 4096}`;
    });
    return `line ${h.line[r]}, ${h.pages[r]} pages: ${elements.join(" ")}`;
  });

describe("requests from iommu lines alone", () => {
  test("adjacent chunks that one unmap ends are one request, whatever the gaps", () => {
    const h = history(
      `0 1 ${map(10, 11, 5)}`,
      `0 2 ${map(11, 13, 9)}`,
      `0 900 ${map(13, 14, 7)}`,
      `1 950 ${unmap(10, 14)}`,
    );
    assert.deepEqual(shapes(h), ["line 1, 4 pages: 5+1 9+2 7+1"]);
    assert.deepEqual([...h.operations], [1, -1]);
    assert.deepEqual([h.cpu[0], h.unmapCpu[0], h.counts.crossCpuUnmaps], [0, 1, 1]);
  });

  test("adjacent maps with unmaps of their own are requests of their own", () => {
    const h = history(`0 1 ${map(10, 11, 5)}`, `0 2 ${map(11, 13, 9)}`, `0 3 ${unmap(11, 13)}`, `0 4 ${unmap(10, 11)}`);
    assert.deepEqual(shapes(h), ["line 1, 1 pages: 5+1", "line 2, 2 pages: 9+2"]);
    assert.deepEqual([...h.operations], [1, 2, -2, -1]);
  });

  test("an interrupt's unmap between two chunks does not tear a request apart", () => {
    const h = history(
      `0 1 ${map(90, 91, 1)}`,
      `0 5 ${map(10, 11, 5)}`,
      `0 6 ${unmap(90, 91)}`,
      `0 7 ${map(11, 12, 9)}`,
      `0 8 ${unmap(10, 12)}`,
    );
    assert.deepEqual(shapes(h), ["line 1, 1 pages: 1+1", "line 2, 2 pages: 5+1 9+1"]);
    assert.deepEqual([...h.operations], [1, -1, 2, -2]);
  });

  test("chunks of two CPUs don't mix", () => {
    const h = history(`0 1 ${map(10, 11, 5)}`, `1 1 ${map(11, 12, 6)}`, `0 2 ${unmap(10, 11)}`, `0 3 ${unmap(11, 12)}`);
    assert.equal(h.length, 2);
  });

  test("never unmapped: one request when the chunks come within microseconds", () => {
    const close = history(`0 1 ${map(10, 11, 5)}`, `0 2 ${map(11, 12, 9)}`);
    assert.deepEqual([close.length, close.counts.neverUnmapped, close.unmapCpu[0]], [1, 1, NEVER]);
    assert.equal(history(`0 1 ${map(10, 11, 5)}`, `0 900 ${map(11, 12, 9)}`).length, 2);
  });

  test("an unmap of a mapping made before the trace is counted and left out", () => {
    const h = history(`0 1 ${unmap(10, 14)}`, `0 2 ${map(10, 11, 5)}`, `0 3 ${unmap(10, 11)}`);
    assert.deepEqual([h.length, h.counts.unmapsOfUnknown], [1, 1]);
  });

  test("unmapped in parts: over when the last part is gone, also from the middle", () => {
    const h = history(
      `0 1 ${map(0, 4, 5)}`,
      `0 2 ${unmap(1, 2)}`,
      `0 3 ${unmap(0, 1)}`,
      `0 4 ${map(50, 51, 1)}`,
      `2 5 ${unmap(2, 4)}`,
    );
    assert.deepEqual([...h.operations], [1, 2, -1]);
    assert.deepEqual([h.counts.partialUnmaps, h.unmapCpu[0]], [2, 2]);
  });

  test("one unmap may end several requests and holes between them", () => {
    const h = history(`0 1 ${map(10, 11, 5)}`, `0 2 ${map(20, 21, 9)}`, `0 3 ${unmap(0, 4096)}`);
    assert.deepEqual([...h.operations], [1, 2, -1, -2]);
  });

  test("the top page of 64 bits, and pages above 2^53 bytes, are told apart", () => {
    const top = 2 ** 52 - 1;
    const line = `map: IOMMU: iova=0xfffffffffffff000 - 0x0000000000000000 paddr=0x0000000000005000 size=4096`;
    const h = history(
      `0 1 ${line}`,
      `0 2 ${line.replaceAll("fffff000", "ffffe000").replace("0x0000000000000000", "0xfffffffffffff000")}`,
      `0 3 ${unmap(top, top + 1).replace(/iova=\S+ - \S+/, "iova=0xfffffffffffff000 - 0x0000000000000000")}`,
    );
    assert.deepEqual([...h.operations], [1, 2, -1]);
  });
});

describe("requests with dma events", () => {
  const sg = (device: string, first: number, pages: number, elements: readonly number[]): string =>
    `dma_map_sg: ${device} dir=FROM_DEVICE nents=1/1 ents=1/1 dma_addrs={0x${page(first)}} sizes={0x${page(pages)}} phys_addrs={${elements.map((e) => `0x${page(e)}`).join(",")}} attrs=`;

  test("a list's elements are kept, also where chunks join neighbours in memory", () => {
    const h = history(`0 1 ${map(10, 13, 5)}`, `0 2 ${map(13, 14, 40)}`, `0 3 ${sg("nvme0", 10, 4, [5, 6, 40])}`);
    assert.deepEqual(shapes(h), ["line 1, 4 pages: 5+1 6+2 40+1"]);
    assert.deepEqual([h.device[0], h.access[0], h.counts.namedRequests], [0, 2, 1]);
  });

  test("a small piece keeps its place in its page and its length", () => {
    const h = history(
      `0 1 ${map(10, 11, 5)}`,
      `0 2 dma_map_page: net0 dir=TO_DEVICE dma_addr=a2c0 size=1522 phys_addr=52c0 attrs=`,
    );
    assert.deepEqual([h.elementAddress[0], h.elementBytes[0], h.access[0]], [0x52c0, 1522, 1]);
  });

  test("neighbours that a guess would join stay apart, since each has its dma event", () => {
    const one = (at: number): string[] => [
      `0 1 ${map(at, at + 1, at)}`,
      `0 1 dma_map_page: net0 dir=TO_DEVICE dma_addr=${page(at)} size=4096 phys_addr=${page(at)} attrs=`,
    ];
    assert.equal(history(...one(10), ...one(11)).length, 2);
  });

  test("overlapping ranges of two devices: the dma event says whose mapping an unmap ends", () => {
    const mapped = (device: string, to: number): string[] => [
      `0 1 ${map(10, 11, to)}`,
      `0 1 dma_map_page: ${device} dir=TO_DEVICE dma_addr=a000 size=4096 phys_addr=${page(to)} attrs=`,
    ];
    const over = (device: string): string[] => [
      `1 5 ${unmap(10, 11)}`,
      `1 5 dma_unmap_page: ${device} dir=TO_DEVICE dma_addr=a000 size=4096 attrs=`,
    ];
    const h = history(...mapped("nvme0", 5), ...mapped("net0", 6), ...over("net0"), ...over("nvme0"));
    assert.deepEqual([...h.operations], [1, 2, -2, -1]);
    assert.equal(h.counts.ambiguousUnmaps, 0);
    const unnamed = history(`0 1 ${map(10, 11, 5)}`, `0 2 ${map(10, 11, 6)}`, `0 3 ${unmap(10, 11)}`);
    assert.deepEqual(
      [[...unnamed.operations], unnamed.counts.ambiguousUnmaps],
      [[1, 2, -1], 1],
      "the oldest, and counted",
    );
  });

  test("a list is unmapped by device and list: its event comes before the unmap and names no address", () => {
    const unmapSg = (device: string): string[] => [
      `1 5 dma_unmap_sg: ${device} dir=FROM_DEVICE phys_addrs={0x5000,0x6000} attrs=`,
      `1 5 ${unmap(10, 12)}`,
    ];
    const mapSg = (device: string): string[] => [`0 1 ${map(10, 12, 5)}`, `0 1 ${sg(device, 10, 2, [5, 6])}`];
    const h = history(...mapSg("a"), ...mapSg("b"), ...unmapSg("b"), ...unmapSg("a"));
    assert.deepEqual([...h.operations], [1, 2, -2, -1]);
  });

  test("failed mappings, and devices without an IOMMU, are counted and left out", () => {
    const h = history(
      `0 1 dma_map_page: a dir=TO_DEVICE dma_addr=ffffffffffffffff size=4096 phys_addr=5000 attrs=`,
      `0 2 dma_map_sg_err: a dir=TO_DEVICE dma_addrs={0x5000} err=-12 attrs=`,
      `0 3 dma_map_page: b dir=TO_DEVICE dma_addr=5000 size=4096 phys_addr=5000 attrs=`,
    );
    assert.deepEqual([h.length, h.counts.failedMaps, h.counts.untranslated], [0, 2, 1]);
  });
});

describe("requests of recordings", () => {
  test("nvme-io-612: one request for each dma event that maps", () => {
    const h = recorded("nvme-io-612.txt.gz");
    assert.equal(h.length, 576 + 366 + 1);
    assert.deepEqual([h.counts.namedRequests, h.counts.neverUnmapped, h.counts.unmapsOfUnknown], [943, 1, 0]);
    assert.equal(h.operations.length, 943 + 942);
    assert.equal(h.elementAddress.length, 9914);
  });

  test("VFIO, without dma events: the 8 mappings that are left are those of the known truth", () => {
    const h = recorded("fixtures/vfio.txt");
    assert.deepEqual([h.length, h.counts.neverUnmapped], [41, 8]);
    assert.equal(h.counts.partialUnmaps, 1, "the attach test maps two pages and unmaps them one by one");
  });

  test("every operation belongs to a request; a request is mapped before it is unmapped, each at most once", () => {
    for (const name of ["nvme-io-612.txt.gz", "fixtures/linux-6.1.txt", "fixtures/e1000e.txt", "fixtures/vfio.txt"]) {
      const h = recorded(name);
      const state = new Uint8Array(h.length);
      for (const operation of h.operations) {
        const request = Math.abs(operation) - 1;
        assert.equal(state[request], operation > 0 ? 0 : 1);
        state[request] = operation > 0 ? 1 : 2;
      }
      assert.ok(!state.includes(0), name);
    }
  });
});
