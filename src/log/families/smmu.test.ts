import assert from "node:assert/strict";
import { test } from "node:test";
import { factsOf, linesOf } from "../facts-of.model.ts";

const FAULT = { kind: "fault", family: "smmu", granule: 1 } as const;
const first = (text: string): string => text.split("\n")[0] ?? "";

test("a context fault of Linux 5.2 on, wrapped by a mail program, twice", () => {
  const text = `arm-smmu arm-smmu.0.auto: Unhandled context fault: fsr=0x402,
iova=0x2080000140, fsynr=0x1d0040, cbfrsynra=0x4000, cb=0
arm-smmu arm-smmu.0.auto: Unhandled context fault: fsr=0x402,
iova=0x23e0000100, fsynr=0x20050, cbfrsynra=0x4000, cb=0`;
  const common = {
    ...FAULT,
    shape: "smmu-context-fault",
    text: "arm-smmu arm-smmu.0.auto: Unhandled context fault: fsr=0x402,",
    iommu: "arm-smmu.0.auto",
    cause: "absent",
    reason: { code: "0x402", text: "TF" },
    streamId: 0x4000n,
    values: { contextBank: 0 },
  };
  assert.deepEqual(factsOf(text), [
    { ...common, lines: linesOf(1, 2), iova: 0x2080000140n, access: "execute" },
    { ...common, lines: linesOf(3, 4), iova: 0x23e0000100n, access: "write" },
  ]);
});

test("other orders and owners of the line: Xen, qcom_iommu, Qualcomm's kernels, 4.x", () => {
  const lines = [
    "(XEN) smmu: /axi/smmu@fd800000: Unhandled context fault: fsr=0x402, iova=0xf9030040, fsynr=0x12, cb=0",
    "qcom-iommu-ctx 1f09000.iommu-ctx: Unhandled context fault: fsr=0x8, iova=0x1000, fsynr=0x2, cb=1",
    "arm-smmu 15000000.apps-smmu: Unhandled context fault: iova=0xe6a4c000, fsr=0x80000402, fsynr=0x11, cb=7",
    "arm-smmu 7fb00000.smmu: Unhandled context fault: iova=0x9fd00000, fsynr=0x10001, cb=2",
  ];
  const facts = lines.map((line) => factsOf(line)[0]);
  const head = (index: number): object => ({
    ...FAULT,
    shape: "smmu-context-fault",
    lines: linesOf(1),
    text: (lines[index] ?? "").replace("(XEN) ", ""),
  });
  assert.deepEqual(facts.slice(0, 2), [
    {
      ...head(0),
      iommu: "/axi/smmu@fd800000",
      cause: "absent",
      reason: { code: "0x402", text: "TF" },
      iova: 0xf9030040n,
      access: "write",
      values: { contextBank: 0 },
    },
    {
      ...head(1),
      iommu: "1f09000.iommu-ctx",
      cause: "permission",
      reason: { code: "0x8", text: "PF" },
      iova: 0x1000n,
      access: "read",
      values: { contextBank: 1 },
    },
  ]);
  // MULTI is reported as a loss, beside the fault.
  assert.deepEqual(facts[2], {
    kind: "loss",
    what: "faults",
    shape: "smmu-context-fault",
    lines: linesOf(1),
    text: lines[2],
  });
  assert.deepEqual(factsOf(lines[2] ?? "")[1], {
    ...head(2),
    iommu: "15000000.apps-smmu",
    cause: "absent",
    reason: { code: "0x80000402", text: "TF" },
    overflow: true,
    iova: 0xe6a4c000n,
    access: "write",
    values: { contextBank: 7 },
  });
  assert.deepEqual(facts[3], {
    ...head(3),
    iommu: "7fb00000.smmu",
    cause: "unknown",
    iova: 0x9fd00000n,
    access: "read",
    values: { contextBank: 2 },
  });
});

test("the registers beside a fault belong to the same fact, with the entry of the table in memory", () => {
  const text = `arm-smmu 15000000.iommu: Unhandled context fault: fsr=0x402, iova=0x1000, fsynr=0x11, cbfrsynra=0x19c3, cb=4
arm-smmu 15000000.iommu: FSR    = 00000402 [Format=2 TF], SID=0x19c3
arm-smmu 15000000.iommu: FSYNR0 = 00000011 [S1CBNDX=0 WNR PLVL=1]
arm-smmu 15000000.iommu: soft iova-to-phys=0x0000000000000000
arm-smmu 15000000.iommu: hard iova-to-phys (ATOS)=0x0`;
  assert.deepEqual(factsOf(text), [
    {
      ...FAULT,
      shape: "smmu-context-fault",
      lines: linesOf(1, 2, 3, 4, 5),
      text: first(text),
      iommu: "15000000.iommu",
      cause: "absent",
      reason: { code: "0x402", text: "TF" },
      iova: 0x1000n,
      access: "write",
      streamId: 0x19c3n,
      dump: "absent",
      values: { contextBank: 4, fsr: 0x402, softPhysical: 0n, hardPhysical: 0n },
    },
  ]);
});

test("the registers alone (6.11-rc, old kernels of Qualcomm) are a fault; two dumps are two", () => {
  const text = `arm-smmu 15000000.iommu: FSR    = 00000402 [TF ], SID=0x19c3
arm-smmu 15000000.iommu: FSYNR0 = 00130000 [S1CBNDX=19 PLVL=0]
arm-smmu 15000000.iommu: FSR    = 00000408 [Format=2 PF], SID=0x19c4
arm-smmu 15000000.iommu: FAR    = 00000000e6a4c000`;
  const common = { ...FAULT, shape: "smmu-fsr", iommu: "15000000.iommu" };
  assert.deepEqual(factsOf(text), [
    {
      ...common,
      lines: linesOf(1, 2),
      text: first(text),
      cause: "absent",
      reason: { code: "0x402", text: "TF" },
      streamId: 0x19c3n,
      access: "read",
      values: { fsr: 0x402 },
    },
    {
      ...common,
      lines: linesOf(3, 4),
      text: text.split("\n")[2],
      cause: "permission",
      reason: { code: "0x408", text: "PF" },
      streamId: 0x19c4n,
      iova: 0xe6a4c000n,
      values: { fsr: 0x408 },
    },
  ]);
});

test("the fault of a GPU that the driver msm prints", () => {
  const text =
    "[  12.5] adreno 5000000.gpu: *** gpu fault: ttbr0=0000000102e85000 iova=0000000000001000 dir=READ type=TRANSLATION source=UCHE (0,0,0,1)";
  assert.deepEqual(factsOf(text.replace("12.5", "12.500000")), [
    {
      ...FAULT,
      shape: "smmu-gpu-fault",
      lines: linesOf(1),
      text: text.slice(9),
      time: 12.5,
      clock: "uptime",
      cause: "absent",
      device: "5000000.gpu",
      iova: 0x1000n,
      access: "read",
    },
  ]);
});

test("a blocked stream and its registers are one fact without an address", () => {
  const text = `arm-smmu 64000000.mmu: Blocked unknown Stream ID 0x2000; boot with "arm-smmu.disable_bypass=0" to allow, but this may have security implications
arm-smmu 64000000.mmu:     GFSR 0x00000002, GFSYNR0 0x00000002, GFSYNR1 0x00002000, GFSYNR2 0x00000000`;
  assert.deepEqual(factsOf(text), [
    {
      ...FAULT,
      shape: "smmu-blocked-stream",
      lines: linesOf(1, 2),
      text: first(text),
      iommu: "64000000.mmu",
      cause: "no-table",
      reason: { code: "0x2", text: "USF" },
      streamId: 0x2000n,
      access: "write",
    },
  ]);
});

test("an unexpected global fault: its registers name the stream and the losses", () => {
  const text = `arm-smmu 3da0000.iommu: Unexpected global fault, this could be serious
arm-smmu 3da0000.iommu: \tGFSR 0x80000002, GFSYNR0 0x00000000, GFSYNR1 0x00000429, GFSYNR2 0x00000000`;
  const fault = {
    ...FAULT,
    shape: "smmu-global-fault",
    lines: linesOf(1, 2),
    text: first(text),
    iommu: "3da0000.iommu",
    cause: "no-table",
    reason: { code: "0x80000002", text: "USF" },
    access: "read",
    streamId: 0x429n,
    overflow: true,
  };
  const loss = { kind: "loss", what: "faults", shape: "smmu-gfsr", lines: linesOf(2), text: text.split("\n")[1] };
  assert.deepEqual(factsOf(text), [loss, fault]);
});
