import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { describeMisuse } from "./describe.ts";
import { MISUSE_KINDS, type MisuseKind, type MisuseReport } from "./misuse.ts";

const expected = {
  kind: "single",
  iova: 0x1000_0000n,
  bytes: 100,
  access: 1,
  elements: 0,
  address: 0x12_3000n,
} as const;
const found = { ...expected, bytes: 60, access: 2, address: undefined } as const;
const moved = { ...expected, kind: "coherent", address: 0x12_4000n } as const;
const list = { ...expected, kind: "scatterlist", elements: 3, access: undefined } as const;
const mapped = { owner: "rx", stack: ["fill (ring.js:3:4)", "open (ring.js:1:2)"] };
const misused = { owner: "tx", stack: ["drain (ring.js:9:8)"] };
const common = { device: "nvme0", misused };
const other = { mapping: expected, mapped };

/** One of each kind. */
const REPORTS: readonly MisuseReport[] = [
  { ...common, kind: "free-error-value", call: "unmap", found: "table-full" },
  { ...common, kind: "free-unmapped", call: "unmap", found, inside: other, before: { ...other, freed: mapped } },
  { ...common, kind: "free-wrong-size", call: "unmap", found, expected, mapped },
  { ...common, kind: "free-wrong-kind", call: "unmap", found, expected: list, mapped },
  { ...common, kind: "free-wrong-cpu-address", call: "freeCoherent", found: moved, expected, mapped },
  {
    ...common,
    kind: "free-wrong-element-count",
    call: "unmapSg",
    found: { ...list, elements: 2 },
    expected: list,
    mapped,
  },
  { ...common, kind: "free-wrong-direction", call: "unmap", found, expected, mapped },
  { ...common, kind: "result-not-checked", call: "unmap", expected, mapped },
  { ...common, kind: "sync-error-value", call: "syncForCpu", found: -1 },
  { ...common, kind: "sync-unmapped", call: "syncSgForCpu", found: list, inside: undefined, before: undefined },
  { ...common, kind: "sync-out-of-range", call: "syncForCpu", found: { offset: 90, bytes: 11 }, expected, mapped },
  { ...common, kind: "sync-wrong-direction", call: "syncForCpu", found, expected, mapped },
  { ...common, kind: "sync-for-cpu-to-device", call: "syncForCpu", found, expected, mapped },
  { ...common, kind: "sync-for-device-from-device", call: "syncForDevice", found, expected, mapped },
  {
    ...common,
    kind: "sync-wrong-element-count",
    call: "syncSgForCpu",
    found: { ...list, elements: 2 },
    expected: list,
    mapped,
  },
  { ...common, kind: "map-not-dma-able", call: "mapSg", address: 0x9000n, bytes: 64, element: 2 },
  {
    ...common,
    ...{ kind: "map-segment-too-long", call: "mapSg", segment: 1 },
    ...{ iova: 0x1000n, bytes: 8193, maxSegmentBytes: 8192, boundaryMask: 0xffffn },
  },
  {
    ...common,
    ...{ kind: "map-segment-across-boundary", call: "mapSg", segment: 1 },
    ...{ iova: 0xfff0n, bytes: 32, maxSegmentBytes: 8192, boundaryMask: 0xffffn },
  },
  { ...common, kind: "map-overlapping-lines", call: "map", found, cacheLine: 0x12_3040n, other },
  {
    ...common,
    kind: "map-too-many-overlaps",
    call: "map",
    found,
    cacheLine: 0x40n,
    overlaps: 8,
    maxOverlaps: 7,
    other,
  },
  { ...common, kind: "removed-with-live-mappings", call: "deviceRemoved", count: 4, example: other },
  { ...common, kind: "out-of-records", call: "map", capacity: 65536 },
];

const FIRST_LINES: Readonly<Record<MisuseKind, string>> = {
  "free-error-value": 'unmap: frees "table-full", which is no mapping',
  "free-unmapped": "unmap: frees single, 60 bytes at bus address 0x10000000, FROM_DEVICE, which is not mapped",
  "free-wrong-size": "unmap: frees 60 bytes of a mapping of 100",
  "free-wrong-kind": "unmap: frees as a mapping by map what mapSg has made",
  "free-wrong-cpu-address": "freeCoherent: frees memory at 0x124000; the mapping's is at 0x123000",
  "free-wrong-element-count": "unmapSg: frees a list of 2 elements; 3 were mapped",
  "free-wrong-direction": "unmap: frees as FROM_DEVICE what was mapped TO_DEVICE",
  "result-not-checked":
    "unmap: uses a result that failureOf has not seen: single, 100 bytes at bus address 0x10000000, memory at 0x123000, TO_DEVICE",
  "sync-error-value": "syncForCpu: syncs -1, which is no mapping",
  "sync-unmapped":
    "syncSgForCpu: syncs scatterlist, 100 bytes at bus address 0x10000000, memory at 0x123000, 3 elements, which is not mapped",
  "sync-out-of-range": "syncForCpu: syncs 11 bytes from byte 90 on of a mapping of 100 bytes",
  "sync-wrong-direction": "syncForCpu: syncs as FROM_DEVICE what was mapped TO_DEVICE",
  "sync-for-cpu-to-device": "syncForCpu: syncs for the CPU what the device only reads",
  "sync-for-device-from-device": "syncForDevice: syncs for the device what the device only writes",
  "sync-wrong-element-count": "syncSgForCpu: syncs a list of 2 elements; 3 were mapped",
  "map-not-dma-able": "mapSg: maps element 2, 64 bytes at 0x9000, memory that devices can't reach",
  "map-segment-too-long": "mapSg: segment 1 has 8193 bytes; the device takes 8192",
  "map-segment-across-boundary": "mapSg: segment 1, 32 bytes at 0xfff0, crosses a boundary of the device (mask 0xffff)",
  "map-overlapping-lines": "map: the cache line at 0x123040 is mapped already, for a device to write",
  "map-too-many-overlaps": "map: the cache line at 0x40 is mapped 8 times already, more than 7",
  "removed-with-live-mappings": "deviceRemoved: the device is removed with 4 live mappings",
  "out-of-records": "map: more than 65536 mappings are live: the debug mode is switched off",
};

test("the first line of each kind of report says what is wrong, with the numbers", () => {
  assert.deepEqual(
    REPORTS.map(({ kind }) => kind),
    MISUSE_KINDS,
  );
  for (const report of REPORTS) {
    const [first, ...others] = describeMisuse(report);
    assert.equal(first, `nvme0: ${FIRST_LINES[report.kind]} [${report.kind}]`);
    for (const line of others) assert.match(line, /^ {2}/);
    assert.deepEqual(others.slice(-2), ["  misused by tx at", "    drain (ring.js:9:8)"]);
  }
});

test("docs/dma-debug.md has every kind, with its first line as the example", () => {
  const page = readFileSync(new URL("../../../../docs/dma-debug.md", import.meta.url), "utf8");
  const rows = [...page.matchAll(/^\| `([a-z-]+)` \| .* \| (.*) \|$/gm)].map(([, kind, example]) => [kind, example]);
  assert.deepEqual(
    rows,
    MISUSE_KINDS.map((kind) => [kind, FIRST_LINES[kind]]),
  );
});

test("a report has both descriptions and both places", () => {
  const report = REPORTS.find(({ kind }) => kind === "free-wrong-size") as MisuseReport;
  assert.deepEqual(describeMisuse(report).slice(1), [
    "  found:    single, 60 bytes at bus address 0x10000000, FROM_DEVICE",
    "  expected: single, 100 bytes at bus address 0x10000000, memory at 0x123000, TO_DEVICE",
    "  mapped by rx at",
    "    fill (ring.js:3:4)",
    "    open (ring.js:1:2)",
    "  misused by tx at",
    "    drain (ring.js:9:8)",
  ]);
});

test("a report about an unmapped address names the mapping around it, and the last one there", () => {
  const report = REPORTS.find(({ kind }) => kind === "free-unmapped") as MisuseReport;
  const lines = describeMisuse(report).map((line) => line.trim().replace(/ .*/, ""));
  assert.deepEqual(
    lines.filter((word) => /^(found|inside|before|mapped|freed|misused)/.test(word)),
    ["found:", "inside:", "mapped", "before:", "mapped", "freed", "misused"],
  );
});

test("a place without stack or owner is one line, and nonsense is described literally", () => {
  const nowhere = { owner: "", stack: [] };
  const nonsense = { ...found, access: 9 as 1, bytes: undefined as unknown as number };
  assert.deepEqual(
    describeMisuse({
      ...{ device: "device", kind: "free-wrong-direction", call: "unmap", found: nonsense, expected },
      ...{ mapped: nowhere, misused: nowhere },
    }).filter((line) => /9|mapped$|misused$/.test(line)),
    [
      "device: unmap: frees as access 9 what was mapped TO_DEVICE [free-wrong-direction]",
      "  found:    single, undefined bytes at bus address 0x10000000, access 9",
      "  mapped",
      "  misused",
    ],
  );
});
