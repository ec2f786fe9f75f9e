import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { joinDevices } from "./join.ts";
import { parseTrace } from "./parser.ts";

/** The row that each row is joined with; lines as `cpu event`. */
function claims(...lines: string[]): number[] {
  const text = lines.map(
    (line, i) => `            a-1     [00${line[0]}] .....     1.00${1000 + i}: ${line.slice(2)}\n`,
  );
  const trace = parseTrace(new TextEncoder().encode(text.join("")));
  assert.equal(trace.events.length, lines.length, trace.malformedReason);
  return [...joinDevices(trace.events).claim];
}

const range = (first: number, end: number): string =>
  `iova=0x${(first * 4096).toString(16)} - 0x${(end * 4096).toString(16)}`;
const map = (first: number, end: number): string =>
  `map: IOMMU: ${range(first, end)} paddr=0x5000 size=${(end - first) * 4096}`;
const unmap = (first: number, end: number): string =>
  `unmap: IOMMU: ${range(first, end)} size=${(end - first) * 4096} unmapped_size=${(end - first) * 4096}`;
const dmaMap = (device: string, page: number): string =>
  `dma_map_page: ${device} dir=TO_DEVICE dma_addr=${page.toString(16)}2c0 size=100 phys_addr=52c0 attrs=`;
const dmaUnmap = (device: string, page: number): string =>
  `dma_unmap_page: ${device} dir=TO_DEVICE dma_addr=${page.toString(16)}2c0 size=100 attrs=`;
const list = (pages: readonly number[]): string =>
  `{${pages.map((page) => `0x${(page * 4096).toString(16)}`).join(",")}}`;
const dmaMapSg = (first: number, elements: readonly number[]): string =>
  `dma_map_sg: d0 dir=TO_DEVICE dma_addrs=${list([first])} sizes=${list([elements.length])} phys_addrs=${list(elements)} attrs=`;
const dmaUnmapSg = (elements: readonly number[]): string =>
  `dma_unmap_sg: d0 dir=TO_DEVICE phys_addrs=${list(elements)} attrs=`;

describe("dma events claim iommu lines", () => {
  test("a map by the event that follows on the same CPU, an unmap by the event after it", () => {
    assert.deepEqual(
      claims(
        `0 ${map(10, 11)}`,
        `1 ${map(10, 11)}`,
        `0 ${dmaMap("d0", 10)}`,
        `1 ${unmap(10, 11)}`,
        `1 ${dmaUnmap("d0", 10)}`,
      ),
      [2, -1, -1, 2, -1],
    );
  });

  test("a late dma_unmap means the older mapping, although the address is in use again", () => {
    const lines = [
      ...[`0 ${map(10, 11)}`, `0 ${dmaMap("d0", 10)}`, `1 ${unmap(10, 11)}`],
      ...[`0 ${map(10, 11)}`, `0 ${dmaMap("d0", 10)}`, `1 ${dmaUnmap("d0", 10)}`],
      ...[`1 ${unmap(10, 11)}`, `1 ${dmaUnmap("d0", 10)}`],
    ];
    assert.deepEqual(claims(...lines), [1, -1, 1, 4, -1, -1, 4, -1]);
  });

  test("an unmap that covers more than the mapping is claimed all the same", () => {
    assert.deepEqual(
      claims(
        `0 ${map(10, 11)}`,
        `0 ${dmaMap("d0", 10)}`,
        `0 ${unmap(8, 16)}`,
        `0 ${unmap(20, 21)}`,
        `0 ${dmaUnmap("d0", 10)}`,
      ),
      [1, -1, 1, -1, -1],
    );
  });

  test("a list is matched by all its elements: a longer or different one with the same beginning is not meant", () => {
    const lines = [
      ...[`0 ${map(30, 33)}`, `0 ${dmaMapSg(30, [5, 6, 7])}`],
      ...[`0 ${map(20, 22)}`, `0 ${dmaMapSg(20, [5, 9])}`],
      ...[`0 ${map(10, 12)}`, `0 ${dmaMapSg(10, [5, 6])}`],
      ...[`0 ${dmaUnmapSg([5, 6])}`, `0 ${unmap(10, 12)}`],
      ...[`0 ${dmaUnmapSg([5, 6, 7])}`, `0 ${unmap(30, 33)}`],
    ];
    assert.deepEqual(claims(...lines), [1, -1, 3, -1, 5, -1, -1, 5, -1, 1]);
  });

  test("an event that fits no request is left unassigned", () => {
    assert.deepEqual(claims(`0 ${dmaUnmap("d0", 10)}`, `0 ${unmap(10, 11)}`, `0 ${dmaUnmapSg([5])}`), [-1, -1, -1]);
  });
});
