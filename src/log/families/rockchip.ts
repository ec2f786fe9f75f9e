/**
 * Rockchip: a page fault, then the walk through the table as the memory has it. The valid bits of its entries are evidence: of an entry that
 * was absent when the line was printed, or of one that was there.
 */
import type { Access, FaultFact } from "../facts.ts";
import {
  type Family,
  given,
  HEX_ADDRESS,
  type Shape,
  type Sink,
  SPEAKER,
  SPEAKER_FIELD,
  TEXT,
  type Values,
} from "../shape.ts";

function keyOf(values: Values): string {
  return `rockchip ${values.text("iommu") ?? ""}`;
}

const FAULT: Shape = {
  name: "rockchip-fault",
  example: "rk_iommu fdfe0800.iommu: Page fault at 0x00000000ffe79000 of type write",
  kernels: "all",
  pattern: new RegExp(
    String.raw`(?:${SPEAKER}\s+)?Page\s+fault\s+at\s+(?<iova>0x[0-9a-f]+)\s+of\s+type\s+(?<access>read|write)`,
  ),
  fields: { iommu: SPEAKER_FIELD, iova: HEX_ADDRESS, access: TEXT },
  read(values, found, sink) {
    const fact: FaultFact = {
      kind: "fault",
      family: "rockchip",
      ...found.base,
      cause: "absent-or-permission",
      granule: 1,
      access: values.text("access") as Access,
      ...given({ iommu: values.text("iommu"), iova: values.number("iova") }),
    };
    sink.add(fact, keyOf(values));
  },
};

function openFault(values: Values, sink: Sink): FaultFact | undefined {
  const fact = sink.open(keyOf(values));
  return fact?.kind === "fault" ? fact : undefined;
}

const INDEXES: Shape = {
  name: "rockchip-indexes",
  example: "rk_iommu fe043e00.iommu: iova = 0x00000000ff801000: dte_index: 0x3fe pte_index: 0x1 page_offset: 0x0",
  kernels: "all: the second line",
  pattern: new RegExp(
    String.raw`(?:${SPEAKER}\s+)?iova\s+=\s+(?<iova>0x[0-9a-f]+):\s+dte_index:\s+0x[0-9a-f]+(?:\s+pte_index:\s+0x[0-9a-f]+)?(?:\s+page_offset:\s+0x[0-9a-f]+)?`,
  ),
  fields: { iommu: SPEAKER_FIELD, iova: HEX_ADDRESS },
  read(values, found, sink) {
    const fact = openFault(values, sink);
    if (fact !== undefined) sink.extend(fact, found);
  },
};

const ENTRIES: Shape = {
  name: "rockchip-entries",
  example:
    "rk_iommu fe043e00.iommu: mmu_dte_addr: 0x000000010189a000 dte@0x000000010189aff8: 0x1722101 valid: 1 pte@0x0000000101722004: 0x2c01107 valid: 1 page@0x0000000102c01000 flags: 0x106",
  kernels: "all: the third line",
  pattern: new RegExp(
    String.raw`(?:${SPEAKER}\s+)?mmu_dte_addr:\s+0x[0-9a-f]+\s+dte@0x[0-9a-f]+:\s+(?:0x)?[0-9a-f]+\s+valid:\s+(?<dteValid>[01])` +
      String.raw`(?:\s+pte@0x[0-9a-f]+:\s+(?:0x)?[0-9a-f]+\s+valid:\s+(?<pteValid>[01]))?(?:\s+page@0x[0-9a-f]+\s+flags:\s+(?<flags>(?:0x)?[0-9a-f]+))?`,
  ),
  fields: {
    iommu: SPEAKER_FIELD,
    dteValid: { radix: "decimal", unit: "valid bit of the entry of the directory" },
    pteValid: { radix: "decimal", unit: "valid bit of the entry of the page table" },
    flags: { radix: "hex", unit: "bits 8:1 of the entry: 1 readable, 2 writable" },
  },
  read(values, found, sink) {
    const fact = openFault(values, sink);
    if (fact === undefined) return;
    const isValid = values.small("dteValid") === 1 && values.small("pteValid") === 1;
    if (isValid) {
      const needed = fact.access === "write" ? 4 : 2;
      const flags = values.small("flags") ?? 6;
      fact.dump = (flags & needed) === 0 ? "no-permission" : "present";
      if (fact.dump === "no-permission") fact.cause = "permission";
    } else {
      fact.dump = "absent";
      fact.cause = "absent";
    }
    sink.extend(fact, found);
  },
};

const BUS_ERROR: Shape = {
  name: "rockchip-bus-error",
  example: "rk_iommu ff903f00.iommu: BUS_ERROR occurred at 0x00000000ffe79000",
  kernels: "all: the walk itself was refused by the bus",
  pattern: new RegExp(String.raw`(?:${SPEAKER}\s+)?BUS_ERROR\s+occurred\s+at\s+(?<iova>0x[0-9a-f]+)`),
  fields: { iommu: SPEAKER_FIELD, iova: HEX_ADDRESS },
  read(values, found, sink) {
    sink.add({
      kind: "fault",
      family: "rockchip",
      ...found.base,
      cause: "table-error",
      granule: 1,
      ...given({ iommu: values.text("iommu"), iova: values.number("iova") }),
    });
  },
};

const RGA: Shape = {
  name: "rockchip-rga-fault",
  example: "rga: rga_iommu: IOMMU intr fault, IOVA[0xfff00000], STATUS[0x0]",
  kernels: "Rockchip's kernels: the 2D engine's own message, beside the IOMMU's or alone",
  pattern:
    /(?:\b(?<driver>rga\w{0,16}):\s+)?(?:\w{1,32}:\s+)?IOMMU\s+intr\s+fault,\s+IOVA\[(?<iova>0x[0-9a-f]+)\],\s+STATUS\[(?<status>0x[0-9a-f]+)\]/i,
  fields: {
    driver: { radix: "text", unit: "driver" },
    iova: HEX_ADDRESS,
    status: { radix: "hex", unit: "status register" },
  },
  read(values, found, sink) {
    sink.add({
      kind: "fault",
      family: "rockchip",
      ...found.base,
      cause: "unknown",
      granule: 1,
      ...given({ driver: values.text("driver"), iova: values.number("iova") }),
      reason: { code: `0x${(values.small("status") ?? 0).toString(16)}`, text: "" },
    });
  },
};

export const ROCKCHIP: Family = {
  name: "rockchip",
  about: "Rockchip: page faults with the walk through the table",
  hint: /rk_iommu|Page\s+fault\s+at|dte|BUS_ERROR|intr\s+fault/i,
  shapes: [FAULT, INDEXES, ENTRIES, BUS_ERROR, RGA],
};
