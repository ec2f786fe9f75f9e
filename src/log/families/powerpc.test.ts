import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { factsOf, linesOf } from "../facts-of.model.ts";

describe("PowerPC's tables without room", () => {
  it("reads pages as decimal where a device is named; elsewhere only a number that has one reading (review of 2026-11-30)", () => {
    const old = "iommu_alloc failed, tbl c00000000263c480 vaddr c000000133b00000 npages 10";
    const other = (pages: string): string => old.replace("npages 10", `npages ${pages}`);
    const now = "lpfc 0002:01:00.0: iommu_alloc failed, tbl c00000000263c480 vaddr c000000133b00000 npages 10";
    const fact = { shape: "powerpc-alloc", kind: "exhausted", table: "c00000000263c480" };
    assert.deepEqual(factsOf(`${old}\n${now}`), [
      { ...fact, lines: linesOf(1), text: old },
      { ...fact, lines: linesOf(2), text: now, pages: 10, device: "0002:01:00.0", driver: "lpfc" },
    ]);
    assert.deepEqual(
      ["1", "9", "1f", "0x10"].map((pages) => factsOf(other(pages)).map((one) => "pages" in one && one.pages)),
      [[1], [9], [31], [16]],
    );
  });
});

describe("EEH", () => {
  it("reads both lines of a freeze, printed twice and in either order, as one", () => {
    const lines = ["EEH: Recovering PHB#30-PE#10000", "EEH: Frozen PHB#30-PE#10000 detected"];
    for (const text of [lines, lines.toReversed(), [...lines, ...lines]]) {
      assert.deepEqual(factsOf(text.join("\n")), [
        {
          shape: text[0]?.includes("Recovering") === true ? "eeh-recovering" : "eeh-frozen",
          kind: "frozen",
          lines: linesOf(...text.map((_, index) => index + 1)),
          text: text[0],
          pe: "PHB#30-PE#10000",
        },
      ]);
    }
  });

  it("tells endpoints apart, and reads the forms of older and newer kernels", () => {
    const text = [
      "EEH: Frozen PE#1 on PHB#0 detected",
      "EEH: Frozen PHB#0-PE#2 detected",
      "EEH: Fenced PHB#3 detected",
      "EEH: Detected PCI bus error on PHB#5-PE#fd",
      "EEH: Detected PCI bus error on device 0001:c1:00.0",
    ].join("\n");
    assert.deepEqual(
      factsOf(text)
        .map((fact) => fact.kind === "frozen" && (fact.pe ?? fact.device))
        .sort(),
      ["0001:c1:00.0", "PHB#0-PE#1", "PHB#0-PE#2", "PHB#3", "PHB#5-PE#fd"],
    );
  });
});
