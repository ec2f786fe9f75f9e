import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { FaultFact, InterruptFact } from "../facts.ts";
import { factsOf, linesOf } from "../facts-of.model.ts";

const FAULT = {
  shape: "intel-fault",
  kind: "fault",
  family: "intel",
  granule: 4096,
} as const;

function only(text: string): FaultFact | InterruptFact {
  const facts = factsOf(text);
  assert.equal(facts.length, 1, JSON.stringify(facts.map(({ shape }) => shape)));
  const [fact] = facts;
  assert.ok(fact?.kind === "fault" || fact?.kind === "interrupt");
  return fact;
}

describe("faults of VT-d in two lines", () => {
  it("reads the two lines of Linux 3.x as one fault, with a decimal reason", () => {
    const text = [
      "[ 1692.021403] dmar: DMAR:[DMA Read] Request device [00:02.0] fault addr 1a45aa9000 ",
      "[ 1692.021403] DMAR:[fault reason 12] non-zero reserved fields in PTE",
    ].join("\n");
    assert.deepEqual(factsOf(text), [
      {
        ...FAULT,
        lines: linesOf(1, 2),
        text: "dmar: DMAR:[DMA Read] Request device [00:02.0] fault addr 1a45aa9000",
        time: 1692.021403,
        clock: "uptime",
        cause: "table-error",
        access: "read",
        device: "0000:00:02.0",
        iova: 0x1a45aa9000n,
        reason: { code: "0xc", text: "non-zero reserved fields in PTE" },
      },
    ]);
  });

  it("reads the two lines with other lines between, and joined on one line", () => {
    const apart = [
      "[   10.000001] dmar: DMAR:[DMA Write] Request device [00:1f.2] fault addr fff00000 ",
      "[   10.000002] usb 1-1: new high-speed USB device number 2",
      "[   10.000003] ata1: SATA link up 6.0 Gbps",
      "[   10.000004] DMAR:[fault reason 05] PTE Write access is not set",
    ].join("\n");
    const joined =
      "dmar: DMAR:[DMA Write] Request device [00:1f.2] fault addr fff00000 DMAR:[fault reason 05] PTE Write access is not set";
    for (const text of [apart, joined]) {
      const facts = factsOf(text).filter(({ kind }) => kind === "fault");
      assert.equal(facts.length, 1);
      assert.deepEqual((facts[0] as FaultFact).reason, { code: "0x5", text: "PTE Write access is not set" });
    }
    assert.deepEqual(factsOf(apart).find(({ kind }) => kind === "fault")?.lines, linesOf(1, 4));
  });

  it("reads a second half whose first was cut away as a fault without address", () => {
    assert.deepEqual(factsOf("DMAR:[fault reason 06] PTE Read access is not set"), [
      {
        ...FAULT,
        shape: "intel-reason",
        lines: linesOf(1),
        text: "DMAR:[fault reason 06] PTE Read access is not set",
        cause: "absent-or-permission",
        access: "read",
        reason: { code: "0x6", text: "PTE Read access is not set" },
      },
    ]);
  });
});

describe("faults of VT-d in one line", () => {
  it("reads PASID ffffffff and NO_PASID as no PASID, and keeps others", () => {
    const line = (pasid: string): string =>
      `DMAR: [DMA Read${pasid}] Request device [0000:95:00.0] fault addr 0x1187a9000 [fault reason 0x71] SM: Present bit in first-level paging entry is clear`;
    assert.deepEqual(only(line(" PASID 0x5")), {
      ...FAULT,
      lines: linesOf(1),
      text: line(" PASID 0x5"),
      cause: "absent",
      access: "read",
      device: "0000:95:00.0",
      iova: 0x1187a9000n,
      pasid: 5n,
      reason: { code: "0x71", text: "SM: Present bit in first-level paging entry is clear" },
    });
    assert.equal("pasid" in only(line(" NO_PASID")), false);
    const old = "DMAR: [DMA Read] Request device [00:02.0] PASID ffffffff fault addr 9c000000 [fault reason 06] PTE";
    assert.equal("pasid" in only(old), false);
  });

  it("reads the device of Linux 5.14, with 0x before bus and slot", () => {
    const fact = only(
      "DMAR: [DMA Read NO_PASID] Request device [0x00:0x02.0] fault addr 0x70ad5000 [fault reason 0x07] Next page table ptr is invalid",
    );
    assert.equal(fact.device, "0000:00:02.0");
    assert.deepEqual(fact.reason, { code: "0x7", text: "Next page table ptr is invalid" });
  });

  it("reads a fault whose device or address is masked, without them", () => {
    const fact = only("DMAR:[DMA Read] Request device [xx:xx.x] fault addr ffxxxxxx\nDMAR:[fault reason 06] PTE Read");
    assert.equal("device" in fact, false);
    assert.equal("iova" in fact, false);
    assert.equal(fact.reason?.code, "0x6");
  });

  it("reads a message that a mail program wrapped, and one that runs into the next", () => {
    const wrapped =
      "> DMAR: [DMA Write NO_PASID] Request device [03:00.0] fault addr\n> 0x100000 [fault reason 0x05] PTE Write access is\n> not set";
    assert.equal((only(wrapped) as FaultFact).iova, 0x100000n);
    const together =
      "DRHD: handling fault status reg 3> DMAR: [DMA Write] Request device [00:14.0] PASID ffffffff fault addr ffcda000 [fault reason 05] PTE Write access is not set DMAR: DRHD: handling fault status reg 2";
    const facts = factsOf(together);
    assert.deepEqual(facts.map(({ kind }) => kind).sort(), ["fault", "loss"]);
    const fault = facts.find(({ kind }) => kind === "fault") as FaultFact;
    assert.equal(fault.reason?.text, "PTE Write access is not set");
  });

  it("tells a missing table, a malformed entry and an address that is too wide apart", () => {
    const cause = (reason: string): string =>
      (
        only(
          `DMAR: [DMA Read] Request device [00:02.0] fault addr 9c000000 [fault reason ${reason}] words`,
        ) as FaultFact
      ).cause;
    assert.deepEqual(["01", "02", "04", "05", "11", "0x59", "0x5a", "0x79", "0x80", "0x86", "0xfe"].map(cause), [
      "no-table",
      "no-table",
      "address-size",
      "absent-or-permission",
      "table-error",
      "no-table",
      "table-error",
      "absent-or-permission",
      "address-size",
      "permission",
      "unknown",
    ]);
  });
});

it("where a reason's text says another thing than its code, neither is relied on (review of 2026-11-30)", () => {
  const cause = (reason: string): string =>
    (only(`DMAR: [DMA Read NO_PASID] Request device [3d:00.0] fault addr 0x1000 [fault reason ${reason}`) as FaultFact)
      .cause;
  assert.deepEqual(
    [
      "0x5a] SM: Present bit in PASID Table Entry is clear",
      "0x59] SM: Non-zero reserved field set in PASID Table Entry",
      "0x5a] SM: Non-zero reserved field set in PASID Table Entry",
      "0x59] SM: Present bit in PASID Table Entry is clear",
      "0x06] Present bit in context entry is clear",
      "0x5a]",
    ].map(cause),
    ["no-table-or-error", "no-table-or-error", "table-error", "no-table", "unknown", "table-error"],
  );
});

describe("interrupt remapping of VT-d", () => {
  it("reads reason 37 as decimal and 0x25 as hexadecimal: the same reason", () => {
    const old =
      "DMAR: [INTR-REMAP] Request device [42:00.2] fault index 1600 [fault reason 37] Blocked a compatibility format interrupt request";
    assert.deepEqual(factsOf(old), [
      {
        shape: "intel-interrupt",
        kind: "interrupt",
        lines: linesOf(1),
        text: old,
        device: "0000:42:00.2",
        index: 0x1600,
        reason: { code: "0x25", text: "Blocked a compatibility format interrupt request" },
        verdict: "not-remapped",
      },
    ]);
    const fact = only("DMAR: [INTR-REMAP] Request device [0xf0:0x1f.0] fault index 0xa00 [fault reason 0x25] Blocked");
    assert.deepEqual(fact.kind === "interrupt" && [fact.index, fact.verdict], [0xa00, "not-remapped"]);
  });

  it("reads the two lines of Linux 3.x, and reasons that block", () => {
    const text =
      "dmar: INTR-REMAP: Request device [[02:00.0] fault index 1c\nINTR-REMAP:[fault reason 38] Blocked an interrupt request due to source-id verification failure";
    assert.deepEqual(factsOf(text), [
      {
        shape: "intel-interrupt",
        kind: "interrupt",
        lines: linesOf(1, 2),
        text: "dmar: INTR-REMAP: Request device [[02:00.0] fault index 1c",
        device: "0000:02:00.0",
        index: 0x1c,
        reason: { code: "0x26", text: "Blocked an interrupt request due to source-id verification failure" },
        verdict: "blocked",
      },
    ]);
  });
});

describe("the fault status register of VT-d", () => {
  const kinds = (status: string): unknown[] =>
    factsOf(`DMAR: DRHD: handling fault status reg ${status}`).map(({ kind }) => kind);

  it("says that faults were lost when bit 0 is set, whatever the record index is", () => {
    assert.deepEqual(factsOf("DMAR: DRHD: handling fault status reg 503"), [
      {
        shape: "intel-status",
        kind: "loss",
        what: "faults",
        lines: linesOf(1),
        text: "DMAR: DRHD: handling fault status reg 503",
      },
    ]);
    assert.deepEqual(["2", "502", "402", "602"].map(kinds), [[], [], [], []]);
    assert.deepEqual(kinds("3"), ["loss"]);
  });

  it("tells errors of invalidations from faults", () => {
    assert.deepEqual(["40", "20", "10", "ffffffff"].map(kinds), [
      ["invalidation-timeout"],
      ["invalidation-timeout"],
      ["fault"],
      ["invalidation-timeout"],
    ]);
  });
});

describe("the invalidation queue of VT-d", () => {
  it("reads the lines of one time-out as one fact, the status register among them", () => {
    const text = [
      "[ 2403.441828][T49880] DMAR: VT-d detected Invalidation Time-out Error: SID 5e00",
      "[ 2403.441830][    C0] DMAR: DRHD: handling fault status reg 40",
      "[ 2403.441831][T49880] DMAR: QI HEAD: Invalidation Wait qw0 = 0x200000025, qw1 = 0x1003a07fc",
      "[ 2403.441833][T49880] DMAR: QI PRIOR: Invalidation Wait qw0 = 0x200000025, qw1 = 0x1003a07f8",
      "[ 2403.441879][T49880] DMAR: Invalidation Time-out Error (ITE) cleared",
    ].join("\n");
    const fact = {
      shape: "intel-invalidation-error",
      kind: "invalidation-timeout",
      lines: linesOf(1, 2, 3, 4, 5),
      text: "DMAR: VT-d detected Invalidation Time-out Error: SID 5e00",
      time: 2403.441828,
      clock: "uptime",
      silent: "device",
      device: "0000:5e:00.0",
    };
    assert.deepEqual(factsOf(text), [fact]);
    assert.equal(factsOf(`${text}\n${text.replaceAll("2403.", "2404.")}`).length, 2);
  });

  it("reads a source id of 0 as not recorded", () => {
    const [fact] = factsOf("DMAR: VT-d detected Invalidation Time-out Error: SID 0");
    assert.deepEqual(fact?.kind === "invalidation-timeout" && [fact.device, fact.silent], [undefined, "device"]);
  });

  it("reads registers of all ones as an IOMMU that does not answer", () => {
    const text = [
      "DMAR: VT-d detected Invalidation Queue Error: Reason f",
      "DMAR: VT-d detected Invalidation Time-out Error: SID ffff",
      "DMAR: VT-d detected Invalidation Completion Error: SID ffff",
      "DMAR: QI HEAD: UNKNOWN qw0 = 0x0, qw1 = 0x0",
      "DMAR: Invalidation Queue Error (IQE) cleared",
    ].join("\n");
    assert.deepEqual(factsOf(text), [
      {
        shape: "intel-queue-error",
        kind: "invalidation-timeout",
        lines: linesOf(1, 2, 3, 4, 5),
        text: "DMAR: VT-d detected Invalidation Queue Error: Reason f",
        silent: "iommu",
        gone: true,
      },
    ]);
  });

  it("reads an entry that the queue refused as an error of the tables", () => {
    const text = "DMAR: DRHD: handling fault status reg 10\nDMAR: VT-d detected Invalidation Queue Error: Reason 2";
    assert.deepEqual(factsOf(text), [
      {
        shape: "intel-status",
        kind: "fault",
        family: "intel",
        lines: linesOf(1, 2),
        text: "DMAR: DRHD: handling fault status reg 10",
        cause: "table-error",
        values: { isQueue: 1 },
        granule: 1,
        reason: { code: "0x2", text: "Invalidation Queue Error" },
      },
    ]);
  });
});

describe("the mapping code of VT-d", () => {
  it("reads an entry that was set already: its address, the old and the new entry", () => {
    const text = "DMAR: ERROR: DMA PTE for vPFN 0xf1f7e already set (to f1f7e003 not 173025001)";
    assert.deepEqual(factsOf(text), [
      {
        shape: "intel-already-set",
        kind: "conflict",
        lines: linesOf(1),
        text,
        iova: 0xf1f7e000n,
        oldEntry: 0xf1f7e003n,
        newEntry: 0x173025001n,
      },
    ]);
  });

  it("reads an address that is wider than the IOMMU", () => {
    const text = "intel_iommu_map: iommu width (39) is not sufficient for the mapped address (8800001000)";
    assert.deepEqual(factsOf(text), [
      {
        shape: "intel-width",
        kind: "map-refused",
        lines: linesOf(1),
        text,
        by: "intel",
        iova: 0x8800001000n,
        because: "beyond-aperture",
        limit: 39n,
      },
    ]);
  });
});
