import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { FaultFact } from "../facts.ts";
import { factsOf, linesOf } from "../facts-of.model.ts";

const FAULT = { kind: "fault", family: "qemu", granule: 1 } as const;

function only(text: string): FaultFact {
  const facts = factsOf(text);
  assert.equal(facts.length, 1, JSON.stringify(facts.map(({ shape }) => shape)));
  const [fact] = facts;
  assert.ok(fact?.kind === "fault");
  return fact;
}

describe("QEMU's VT-d", () => {
  it("reads the lines of one event as one fault, and an empty entry as absent", () => {
    const text = [
      "qemu-system-x86_64: vtd_iova_to_slpte: detected slpte permission error (iova=0x7ffde000, level=0x3, slpte=0x0, write=0)",
      "qemu-system-x86_64: vtd_iommu_translate: detected translation failure (dev=01:00:00, iova=0x7ffde000)",
      "236498@1676271757.075075:vtd_dmar_fault sid 0x100 fault 6 addr 0x7ffde000 write 0",
    ];
    assert.deepEqual(factsOf(text.join("\n")), [
      {
        ...FAULT,
        shape: "qemu-vtd-walk",
        lines: linesOf(1, 2, 3),
        text: text[0],
        cause: "absent",
        access: "read",
        device: "0000:01:00.0",
        iova: 0x7ffde000n,
        values: { entry: 0n },
      },
    ]);
  });

  it("reads the entry: empty, without the right, with reserved bits in QEMU's misspelt form", () => {
    const walk = (entry: string, write: number): string =>
      `qemu: vtd_iova_to_slpte: detected slpte permission error (iova=0x1000, level=0x1, slpte=${entry}, write=${write}, pasid=0xffffffff)`;
    assert.deepEqual(
      [walk("0x1f2556000", 0), walk("0x1f2556001", 1), walk("0x1f2556001", 0)].map((text) => only(text).cause),
      ["absent", "permission", "unknown"],
    );
    assert.equal("pasid" in only(walk("0x0", 0)), false);
    const reserved =
      "qemu: vtd_iova_to_slpte: detected splte reserve non-zero iova=0x1000, level=0x1slpte=0x8000000000000003, write=1";
    assert.deepEqual(only(reserved), {
      ...FAULT,
      shape: "qemu-vtd-walk",
      lines: linesOf(1),
      text: reserved,
      cause: "table-error",
      access: "write",
      iova: 0x1000n,
      values: { entry: 0x8000000000000003n },
    });
  });
});

describe("QEMU's VT-d beside other messages, and its single lines", () => {
  it("completes the guest's own message of the event, though the clocks differ", () => {
    const text = [
      "[ 3762.001609] DMAR: [DMA Read NO_PASID] Request device [0b:00.0] fault addr",
      "0x1187a9000 [fault reason 0x06] PTE Read access is not set",
      "2023-02-13T07:02:37.074397Z qemu-system-x86_64: vtd_iova_to_slpte: detected",
      "slpte permission error (iova=0x1187a9000, level=0x3, slpte=0x0, write=0,",
      "pasid=0xffffffff)",
      "236498@1676271757.075075:vtd_dmar_fault sid 0xb00 fault 6 addr 0x1187a9000",
      "write 0",
      "278365@1676297375.587477:vtd_dmar_slpte sid 0xb00 slpte 0x1f2556003 addr",
      "0x800000000 write 0",
    ].join("\n");
    assert.deepEqual(only(text), {
      kind: "fault",
      shape: "intel-fault",
      family: "intel",
      granule: 4096,
      lines: linesOf(1, 2, 3, 4, 5, 6, 7),
      text: "DMAR: [DMA Read NO_PASID] Request device [0b:00.0] fault addr",
      time: 3762.001609,
      clock: "uptime",
      cause: "absent-or-permission",
      access: "read",
      device: "0000:0b:00.0",
      iova: 0x1187a9000n,
      reason: { code: "0x6", text: "PTE Read access is not set" },
      dump: "absent",
    });
  });

  it("reads the failed access, the trace, an address too wide and a missing context, each alone", () => {
    const access = only("qemu: vtd_iommu_translate: detected translation failure (dev=00:1f:07, iova=0x1000)");
    assert.deepEqual([access.device, access.cause, access.iova], ["0000:00:1f.7", "unknown", 0x1000n]);
    const trace = only("vtd_dmar_fault sid 0xb00 fault 2 addr 0x2000 write 1");
    assert.deepEqual([trace.device, trace.cause, trace.access], ["0000:0b:00.0", "no-table", "write"]);
    assert.equal(only("qemu: vtd_iova_to_slpte: detected IOVA overflow (iova=0x8000000000)").cause, "address-size");
    const context = only("vtd_ce_not_present Context entry bus 1 devfn 17 not present");
    assert.deepEqual([context.device, context.cause], ["0000:01:02.1", "no-table"]);
  });

  it("reads a fault that was not recorded as lost, and an access that succeeds as nothing", () => {
    const text = "qemu-system-x86_64: New fault is not recorded due to compression of faults";
    assert.deepEqual(factsOf(text), [
      { shape: "qemu-not-recorded", kind: "loss", what: "faults", lines: linesOf(1), text },
    ]);
    assert.deepEqual(factsOf("vtd_dmar_slpte sid 0xb00 slpte 0x1f2556003 addr 0x800000000 write 0"), []);
  });
});

describe("QEMU's other IOMMUs", () => {
  it("reads SMMUv3's event by its name", () => {
    const text = "smmuv3-iommu-memory-region-8-0 translation failed for iova=0x8090040 (SMMU_EVT_F_TRANSLATION)";
    assert.deepEqual(only(text), {
      ...FAULT,
      shape: "qemu-smmu-v3",
      lines: linesOf(1),
      text,
      cause: "absent",
      iova: 0x8090040n,
      iommu: "smmuv3-iommu-memory-region-8-0",
    });
  });

  it("reads virtio-iommu's three errors, with decimal requester ids", () => {
    const errors = [
      "virtio_iommu_translate no mapping for 0xfee00000 for sid=32",
      "virtio_iommu_translate sid=32 is not known!!",
      "virtio_iommu_translate permission error on 0x1000(2): allowed=1",
    ].map((text) => only(`qemu-system-x86_64: ${text}`));
    assert.deepEqual(
      errors.map(({ device, cause, iova, access }) => [device, cause, iova, access]),
      [
        ["0000:00:04.0", "absent", 0xfee00000n, undefined],
        ["0000:00:04.0", "no-table", undefined, undefined],
        [undefined, "permission", 0x1000n, "write"],
      ],
    );
  });

  it("reads AMD's fault", () => {
    const text = "amdvi_page_fault error: page fault accessing guest physical address 0xfffff000";
    assert.deepEqual(only(text), {
      ...FAULT,
      shape: "qemu-amd-fault",
      lines: linesOf(1),
      text,
      cause: "absent-or-permission",
      iova: 0xfffff000n,
    });
  });
});
