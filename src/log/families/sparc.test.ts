import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { factsOf, linesOf } from "../facts-of.model.ts";

describe("SPARC's IOMMUs", () => {
  it("reads the bridge and the type of an error, and takes no address from the AFAR", () => {
    const text = [
      "PSYCHO0: Uncorrectable Error, primary error type[DMA Write]",
      "PSYCHO0: bytemask[0000] dword_offset[7] UPA_MID[1f] was_block(1)",
      "PSYCHO0: UE AFAR [000000005c8bc040]",
      "PSYCHO0: IOMMU Error, type[Protection Error]",
    ].join("\n");
    assert.deepEqual(factsOf(text), [
      {
        shape: "sparc-iommu-error",
        kind: "fault",
        family: "sparc",
        lines: linesOf(4),
        text: "PSYCHO0: IOMMU Error, type[Protection Error]",
        cause: "permission",
        granule: 1,
        iommu: "PSYCHO0",
        values: { type: "Protection Error" },
      },
    ]);
  });

  it("takes the page from the bridge's tag, and tells the types apart", () => {
    const text = [
      "SCHIZO1: IOMMU Error, type[Invalid Error]",
      "SCHIZO1: IOMMU TAG(3)[error(Invalid Error)wr(1)str(0)sz(8K)vpg(c0a58000)]",
      "SABRE0: IOMMU Error, type[TimeOut Error]",
    ].join("\n");
    const fact = { shape: "sparc-iommu-error", kind: "fault", family: "sparc" };
    assert.deepEqual(factsOf(text), [
      {
        ...fact,
        lines: linesOf(1, 2),
        text: "SCHIZO1: IOMMU Error, type[Invalid Error]",
        cause: "absent",
        granule: 4096,
        iommu: "SCHIZO1",
        values: { type: "Invalid Error" },
        iova: 0xc0a58000n,
      },
      {
        ...fact,
        lines: linesOf(3),
        text: "SABRE0: IOMMU Error, type[TimeOut Error]",
        cause: "table-error",
        granule: 1,
        iommu: "SABRE0",
        values: { type: "TimeOut Error" },
      },
    ]);
  });

  it("reads a map that the hypervisor refused", () => {
    const text = "iommu_batch_flush: IOMMU map of [00000000:00080000:1:47:2c000] failed with status 4";
    assert.deepEqual(factsOf(text), [
      { shape: "sparc-hypervisor-map", kind: "map-refused", lines: linesOf(1), text, by: "sun4v" },
    ]);
  });
});
