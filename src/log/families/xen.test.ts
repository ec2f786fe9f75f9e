import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { factsOf, linesOf } from "../facts-of.model.ts";

const VTD = { shape: "xen-vtd-fault", kind: "fault", family: "xen", granule: 4096, access: "write" } as const;

describe("VT-d under Xen", () => {
  it("reads the two lines of a fault as one", () => {
    const text = [
      "(XEN) [VT-D]DMAR:[DMA Write] Request device [0000:65:00.0] fault addr 1200000000",
      "(XEN) [VT-D]DMAR: reason 05 - PTE Write access is not set",
    ].join("\n");
    assert.deepEqual(factsOf(text), [
      {
        ...VTD,
        lines: linesOf(1, 2),
        text: "[VT-D]DMAR:[DMA Write] Request device [0000:65:00.0] fault addr 1200000000",
        cause: "absent-or-permission",
        device: "0000:65:00.0",
        iova: 0x1200000000n,
        reason: { code: "0x5", text: "PTE Write access is not set" },
      },
    ]);
  });

  it("reads the form with the address of the registers, and the table's entries after it", () => {
    const text = [
      "(XEN) DMAR:[DMA Write] Request device [07:01.1] fault addr 8e43c000, iommu reg = ffff82c3fff57000",
      "(XEN) DMAR:[fault reason 05h] PTE Write access is not set",
      "(XEN) print_vtd_entries: iommu #1 dev 0000:07:01.1 gmfn 8e43c",
      "(XEN)     l3[002] = 9c12d107",
      "(XEN)     l1[03c] not present",
    ].join("\n");
    assert.deepEqual(factsOf(text), [
      {
        ...VTD,
        lines: linesOf(1, 2, 4, 5),
        text: "DMAR:[DMA Write] Request device [07:01.1] fault addr 8e43c000, iommu reg = ffff82c3fff57000",
        cause: "absent-or-permission",
        device: "0000:07:01.1",
        iova: 0x8e43c000n,
        reason: { code: "0x5", text: "PTE Write access is not set" },
        dump: "absent",
      },
    ]);
  });

  it("reads a reason of interrupts in either radix", () => {
    for (const reason of ["25", "37"]) {
      const text = `(XEN) [VT-D]INTR-REMAP: Request device [0000:f0:1f.0] fault index 1c\n(XEN) [VT-D]INTR-REMAP: reason ${reason} - Blocked a compatibility format interrupt request`;
      assert.deepEqual(factsOf(text), [
        {
          shape: "xen-vtd-interrupt",
          kind: "interrupt",
          lines: linesOf(1, 2),
          text: "[VT-D]INTR-REMAP: Request device [0000:f0:1f.0] fault index 1c",
          device: "0000:f0:1f.0",
          index: 0x1c,
          reason: { code: "0x25", text: "Blocked a compatibility format interrupt request" },
          verdict: "not-remapped",
        },
      ]);
    }
  });

  it("leaves Linux's messages to the family of VT-d", () => {
    const [fact] = factsOf("dmar: DMAR:[DMA Write] Request device [07:01.1] fault addr 8e43c000");
    assert.equal(fact?.shape, "intel-fault");
  });
});

const AMD = { kind: "fault", family: "amd", granule: 1 } as const;

describe("AMD's IOMMU under Xen", () => {
  it("reads faults of new and old versions, and keeps Xen's domain apart from the IOMMU's", () => {
    const now = "(XEN) AMD-Vi: IO_PAGE_FAULT: 0000:0b:00.0 d0 addr 00000000fdf80000 flags 0x70 PR RW PE";
    const old = "(XEN) AMD-Vi: IO_PAGE_FAULT: domain = 3, device id = 0xa4, fault address = 0xc2c2c2c0, flags = 0x0";
    assert.deepEqual(factsOf(`${now}\n${old}`), [
      {
        ...AMD,
        shape: "xen-amd-fault",
        lines: linesOf(1),
        text: now.slice(6),
        cause: "permission",
        access: "write",
        device: "0000:0b:00.0",
        iova: 0xfdf80000n,
        reason: { code: "0x70", text: "IO_PAGE_FAULT" },
        values: { flags: 0x70, guest: "d0" },
      },
      {
        ...AMD,
        shape: "xen-amd-fault-old",
        lines: linesOf(2),
        text: old.slice(6),
        cause: "absent",
        access: "read",
        device: "0000:00:14.4",
        iova: 0xc2c2c2c0n,
        reason: { code: "0x0", text: "IO_PAGE_FAULT" },
        values: { flags: 0, guest: "3" },
      },
    ]);
  });

  it("reads a request for an interrupt", () => {
    const [fact] = factsOf("(XEN) AMD-Vi: IO_PAGE_FAULT: 0000:0b:00.0 d0 addr 00000000fdf8000000 flags 0x8 I");
    assert.deepEqual(fact?.kind === "interrupt" && [fact.device, fact.verdict], ["0000:0b:00.0", "blocked"]);
  });

  it("reads an event from its words", () => {
    const text = "(XEN) AMD-Vi: INVALID_DEV_REQUEST 00000800 8a000000 f8000840 000000fd";
    assert.deepEqual(factsOf(text), [
      {
        ...AMD,
        shape: "xen-amd-words",
        lines: linesOf(1),
        text: text.slice(6),
        cause: "interrupt-range",
        access: "write",
        device: "0000:08:00.0",
        iova: 0xfdf8000840n,
        reason: { code: "0xa00", text: "INVALID_DEVICE_REQUEST" },
        values: { flags: 0xa00 },
      },
    ]);
  });
});
