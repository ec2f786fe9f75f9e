/**
 * Intel VT-d (`DMAR:`), from the two-line messages of Linux 3.x to the scalable mode of today. Faults, dumps of tables and invalidation errors
 * stand in files of their own; here are the messages of the driver's mapping code, and the family.
 */
import { deviceName, PCI_DEVICE } from "../pci.ts";
import { type Family, given, type Shape } from "../shape.ts";
import { INTEL_DUMPS } from "./intel-dump.ts";
import { INTEL_FAULTS } from "./intel-fault.ts";
import { INTEL_INVALIDATIONS } from "./intel-invalidation.ts";

const ENTRY = { radix: "hex", unit: "page table entry" } as const;

const ALREADY_SET: Shape = {
  name: "intel-already-set",
  example: "DMAR: ERROR: DMA PTE for vPFN 0x428ec already set (to 3f6ec003 not 3f6ec003)",
  kernels: "all",
  pattern:
    /DMA\s+PTE\s+for\s+vPFN\s+(?<pfn>(?:0x)?[0-9a-f]+)\s+already\s+set\s+\(to\s+(?<old>(?:0x)?[0-9a-f]+)\s+not\s+(?<new>(?:0x)?[0-9a-f]+)\)/,
  fields: { pfn: { radix: "hex", unit: "IO address >> 12" }, old: ENTRY, new: ENTRY },
  read(values, found, sink) {
    const pfn = values.number("pfn");
    const oldEntry = values.number("old");
    const newEntry = values.number("new");
    if (pfn === undefined || oldEntry === undefined || newEntry === undefined) return;
    sink.add({ kind: "conflict", ...found.base, iova: pfn << 12n, oldEntry, newEntry });
  },
};

const WIDTH: Shape = {
  name: "intel-width",
  example: "intel_iommu_map: iommu width (39) is not sufficient for the mapped address (8800001000)",
  kernels: "until 5.x",
  pattern:
    /iommu\s+width\s+\((?<width>\d+)\)\s+is\s+not\s+sufficient\s+for\s+the\s+mapped\s+address\s+\((?<address>(?:0x)?[0-9a-f]+)\)/,
  fields: {
    width: { radix: "decimal", unit: "bits of the address" },
    address: { radix: "hex", unit: "IO address, the end of the range" },
  },
  read(values, found, sink) {
    const limit = values.number("width");
    const iova = values.number("address");
    if (limit === undefined || iova === undefined) return;
    sink.add({ kind: "map-refused", ...found.base, by: "intel", iova, because: "beyond-aperture", limit });
  },
};

const NO_RANGE: Shape = {
  name: "intel-no-range",
  example: "Allocating 1-page iova for 0000:00:1f.2 failed",
  kernels: "until 5.4, with or without `DMAR: `",
  pattern: new RegExp(
    String.raw`Allocating\s+(?<pages>\d+)-page\s+iova\s+for\s+(?<device>${PCI_DEVICE}|[\w.:@-]{1,64})\s+failed`,
    "i",
  ),
  fields: { pages: { radix: "decimal", unit: "pages" }, device: { radix: "text", unit: "device" } },
  read(values, found, sink) {
    const fields = given({ device: deviceName(values.text("device")), pages: values.small("pages") });
    sink.add({ kind: "exhausted", ...found.base, ...fields });
  },
};

export const INTEL: Family = {
  name: "intel",
  about: "Intel VT-d: DMA faults, interrupt remapping, dumps of tables, invalidation errors",
  hint: /DMAR|DRHD|DMA|INTR-REMAP|fault|iommu|iova|entry|VT-d|QI|pte|Invalidation/,
  shapes: [...INTEL_FAULTS, ...INTEL_DUMPS, ...INTEL_INVALIDATIONS, ALREADY_SET, WIDTH, NO_RANGE],
};
