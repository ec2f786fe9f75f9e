import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { FaultFact } from "../facts.ts";
import { factsOf, linesOf } from "../facts-of.model.ts";

const FAULT = { shape: "intel-fault", kind: "fault", family: "intel", granule: 4096 } as const;

function fault(address: string): string {
  return `DMAR: [DMA Write NO_PASID] Request device [00:02.0] fault addr ${address} [fault reason 0x05] PTE Write access is not set`;
}

/** A fault at 0x7ffff000 with these lines of a dump after it. */
function dump(...entries: readonly string[]): FaultFact {
  const text = [fault("0x7ffff000"), "DMAR: Dump dmar2 table entries for IOVA 0x7ffff000", ...entries].join("\n");
  const [fact, ...others] = factsOf(text);
  assert.deepEqual(others, []);
  assert.ok(fact?.kind === "fault");
  return fact;
}

describe("dumps of VT-d's tables", () => {
  it("completes the fault with an entry that is absent", () => {
    const fact = dump(
      "DMAR: root entry: 0x0000000127f42001",
      "DMAR: context entry: hi 0x0000000000000102, low 0x000000012d8ab001",
      "DMAR: pte level: 3, pte value: 0x0000000101b3e003",
      "DMAR: pte level: 2, pte value: 0x0000000000000000",
      "DMAR: page table not present at level 1",
    );
    assert.deepEqual(fact, {
      ...FAULT,
      lines: linesOf(1, 2, 3, 4, 5, 6, 7),
      text: fault("0x7ffff000"),
      cause: "absent-or-permission",
      access: "write",
      device: "0000:00:02.0",
      iova: 0x7ffff000n,
      iommu: "dmar2",
      reason: { code: "0x5", text: "PTE Write access is not set" },
      values: { mode: "legacy" },
      dump: "absent",
    });
  });

  it("tells entries that are present, without the right, reserved, and passed through apart", () => {
    assert.equal(dump("DMAR: pte level: 1, pte value: 0x0000000123456003").dump, "present");
    assert.equal(dump("DMAR: pte level: 2, pte value: 0x0000000123400083").dump, "present");
    assert.equal(dump("DMAR: pte level: 1, pte value: 0x0000000123456001").dump, "no-permission");
    assert.equal(dump("DMAR: pte level: 4, pte value: 0x0000000123456083").dump, "reserved");
    assert.equal(dump("DMAR: pasid table entry[0]: 0x0000000000000109").dump, "pass-through");
    assert.equal(
      dump("DMAR: root entry: 0x0000000127f42001", "DMAR: context entry: hi 0x0000000000000102, low 0x0000000000000009")
        .dump,
      "pass-through",
    );
    assert.equal(dump("DMAR: pte level: 3, pte value: 0x0000000101b3e003").dump, undefined);
  });
});

describe("dumps of VT-d's tables in scalable mode, and without their fault", () => {
  it("does not read the translation type of a context entry in scalable mode", () => {
    const fact = dump(
      "DMAR: scalable mode root entry: hi 0x0000000000000000, low 0x0000000127f42001",
      "DMAR: context entry: hi 0x0000000000000000, low 0x0000000101b3e009",
      "DMAR: pasid dir entry: 0x0000000101b3f001",
      "DMAR: pasid table entry[0]: 0x0000000127f43049",
      "DMAR: pasid table entry[1]: 0x0000000000000109",
      "DMAR: pte level: 4, pte value: 0x0000000000000002",
    );
    assert.deepEqual(fact.values, { mode: "scalable", pasidType: 1 });
    assert.equal(fact.dump, "absent");
  });

  it("makes a fault of a dump whose fault was cut away", () => {
    const text = [
      fault("0x1000"),
      "DMAR: Dump dmar0 table entries for IOVA 0x7ffff000",
      "DMAR: pte level: 1, pte value: 0x0",
      "DMAR: fault 7fa8a78000 (level=1) PTE = 149efc003",
    ].join("\n");
    assert.deepEqual(factsOf(text).slice(1), [
      {
        ...FAULT,
        shape: "intel-dump",
        lines: linesOf(2, 3),
        text: "DMAR: Dump dmar0 table entries for IOVA 0x7ffff000",
        cause: "unknown",
        iova: 0x7ffff000n,
        iommu: "dmar0",
        dump: "absent",
      },
      {
        ...FAULT,
        shape: "intel-dump-graphics",
        lines: linesOf(4),
        text: "DMAR: fault 7fa8a78000 (level=1) PTE = 149efc003",
        cause: "unknown",
        iova: 0x7fa8a78000n,
        dump: "present",
      },
    ]);
  });
});
