import assert from "node:assert/strict";
import { test } from "node:test";
import { ScatterList } from "../scatter-list.ts";
import { segmentCrosses } from "./segments.ts";

test("a segment crosses a boundary when its first and last byte lie on two sides of it, below and above 4 GiB", () => {
  const list = new ScatterList(1);
  let crossing = 0;
  for (const log2 of [0, 6, 12, 31, 32, 33, 40, 63, 64]) {
    const mask = 2n ** BigInt(log2) - 1n;
    for (const multiple of [1n, 2n, 3n, 2n ** 20n]) {
      for (const [before, bytes] of [
        [0n, 1],
        [0n, 2 ** 32 - 1],
        [1n, 1],
        [1n, 2],
        [64n, 64],
        [64n, 65],
        [2n ** 31n, 2 ** 31],
        [2n ** 31n, 2 ** 31 + 1],
      ] as const) {
        const iova = (mask + 1n) * multiple - before;
        if (iova < 0n || iova + BigInt(bytes) > 2n ** 64n) continue;
        list.iovas[0] = iova;
        list.segmentBytes[0] = bytes;
        const last = iova + BigInt(bytes) - 1n;
        const expected = ((iova ^ last) & ~mask) !== 0n;
        assert.equal(segmentCrosses(list, 0, mask), expected, `${bytes} bytes at ${iova}, mask ${mask}`);
        crossing += expected ? 1 : 0;
      }
    }
  }
  assert.ok(crossing > 30);
});
