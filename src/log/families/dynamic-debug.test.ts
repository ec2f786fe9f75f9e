import assert from "node:assert/strict";
import { test } from "node:test";
import { factsOf, linesOf } from "../facts-of.model.ts";

test("dynamic debug: a map and its pieces are one map, a piece without its map is one, an unmap follows", () => {
  const text = `iommu: map: iova 0x200000 pa 0x0000000080200000 size 0x400000
iommu: mapping: iova 0x200000 pa 0x0000000080200000 pgsize 0x200000 count 1
iommu: mapping: iova 0x400000 pa 0x0000000080400000 pgsize 0x200000 count 1
iommu: mapping: iova 0x900000 pa 0x0000000080900000 pgsize 0x1000 count 3
iommu: unmap this: iova 0x200000 size 0x400000
iommu: unmapped: iova 0x200000 size 0x200000`;
  const lines = text.split("\n");
  assert.deepEqual(factsOf(text), [
    {
      kind: "mapping",
      shape: "debug-map",
      lines: linesOf(1),
      text: lines[0],
      action: "map",
      iova: 0x200000n,
      bytes: 0x400000n,
      physical: 0x80200000n,
    },
    {
      kind: "mapping",
      shape: "debug-mapping",
      lines: linesOf(4),
      text: lines[3],
      action: "map",
      iova: 0x900000n,
      bytes: 0x3000n,
      physical: 0x80900000n,
    },
    {
      kind: "mapping",
      shape: "debug-unmapped",
      lines: linesOf(6),
      text: lines[5],
      action: "unmap",
      iova: 0x200000n,
      bytes: 0x200000n,
    },
  ]);
});
