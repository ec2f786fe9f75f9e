/**
 * Xen's drivers of VT-d and of AMD's IOMMU, on the hypervisor's console (`(XEN)`). An address is a guest's or the machine's; a domain is one of
 * Xen's, not one of the IOMMU's. Xen's SMMU messages are Linux's: families smmu and smmu-v3.
 */
import type { Access, FaultFact, InterruptFact } from "../facts.ts";
import { nameOfRequesterId, PCI_DEVICE, pciName } from "../pci.ts";
import { type Family, type Field, given, HEX_ADDRESS, type Shape, TEXT, type Values } from "../shape.ts";
import { amdFactOf } from "./amd-events.ts";
import { setEntry } from "./intel-dump.ts";
import { addIntelFault, openIntelFault, openWithoutReason, setIntelReason } from "./intel-fault.ts";

const DEVICE: Field = { radix: "text", unit: "PCI device" };
const FLAGS: Field = { radix: "hex", unit: "event flags" };
const GUEST: Field = { radix: "text", unit: "domain of Xen" };
const WORD: Field = { radix: "hex", unit: "word of 32 bits of the event" };

const FAULT: Shape = {
  name: "xen-vtd-fault",
  example: "[VT-D]DMAR:[DMA Write] Request device [0000:65:00.0] fault addr 1200000000",
  kernels: "Xen: with the address of the registers until 4.x",
  pattern: new RegExp(
    String.raw`(?=\[VT-D\]|DMAR:\s*\[DMA[^\n]{0,120}(?:\n[^\n]{0,80})?\biommu\s+reg\s+=)(?:\[VT-D\])?(?:\S+?:\d+:\s*)?DMAR:\s*\[DMA\s+(?<access>Read|Write)\]\s+Request\s+device\s+\[(?<device>${PCI_DEVICE}|[x:.]+)\]` +
      String.raw`\s+fault\s+addr\s+(?<address>(?:0x)?[0-9a-fx]+)(?:,\s+iommu\s+reg\s+=\s+(?<registers>[0-9a-f]+))?`,
    "i",
  ),
  fields: {
    access: TEXT,
    device: DEVICE,
    address: HEX_ADDRESS,
    registers: { radix: "hex", unit: "Xen's address of the registers" },
  },
  read(values, found, sink) {
    const fact: FaultFact = {
      kind: "fault",
      family: "xen",
      ...found.base,
      cause: "unknown",
      granule: 4096,
      access: values.text("access")?.toLowerCase() as Access,
      ...given({ device: pciName(values.text("device")), iova: values.number("address") }),
    };
    addIntelFault(fact, sink);
  },
};

const INTERRUPT: Shape = {
  name: "xen-vtd-interrupt",
  example: "[VT-D]INTR-REMAP: Request device [0000:f0:1f.0] fault index 1c",
  kernels: "Xen",
  pattern: new RegExp(
    String.raw`\[VT-D\](?:\S+?:\d+:\s*)?INTR-REMAP:\s+Request\s+device\s+\[(?<device>${PCI_DEVICE}|[x:.]+)\]\s+fault\s+index\s+(?<index>(?:0x)?[0-9a-f]+)`,
    "i",
  ),
  fields: { device: DEVICE, index: { radix: "hex", unit: "index of the interrupt remapping entry" } },
  read(values, found, sink) {
    const fact: InterruptFact = {
      kind: "interrupt",
      ...found.base,
      ...given({ device: pciName(values.text("device")), index: values.small("index") }),
    };
    addIntelFault(fact, sink);
  },
};

const REASON: Shape = {
  name: "xen-vtd-reason",
  example: "[VT-D]DMAR: reason 05 - PTE Write access is not set",
  kernels: "Xen: second line of a fault",
  pattern:
    /(?:\[VT-D\])?(?:DMAR|INTR-REMAP):\s*(?:reason\s+(?<reason>[0-9a-f]{2})\s+-\s+|\[fault\s+reason\s+(?<hexReason>[0-9a-f]+)h\]\s*)(?<text>[^\n]*)/i,
  fields: {
    reason: { radix: "text", unit: "reason code: decimal or hexadecimal" },
    hexReason: { radix: "hex", unit: "reason code" },
    text: TEXT,
  },
  read(values, found, sink) {
    const open = openWithoutReason(sink);
    if (open === undefined) return;
    setIntelReason(open, values.small("hexReason") ?? reasonOf(values.text("reason") ?? ""), values.text("text") ?? "");
    sink.extend(open, found);
  },
};

/** Versions differ in the radix. Decimal 20 to 29 would be no reason at all, so those are hexadecimal: of interrupts. */
function reasonOf(digits: string): number {
  const isHex = /[a-f]/i.test(digits) || digits.startsWith("2");
  return Number.parseInt(digits, isHex ? 16 : 10);
}

const ENTRY: Shape = {
  name: "xen-vtd-entry",
  example: "    l1[1a5] = 0",
  kernels: "Xen: print_vtd_entries, after a fault",
  pattern: /\bl(?<level>[1-6])\[(?<index>[0-9a-f]+)\]\s*(?:=\s*(?<value>[0-9a-f]+)\b|(?<absent>not\s+present))/,
  fields: {
    level: { radix: "decimal", unit: "level of the table" },
    index: { radix: "hex", unit: "index in the table" },
    value: { radix: "hex", unit: "table entry" },
    absent: TEXT,
  },
  read(values, found, sink) {
    const open = openIntelFault(sink);
    if (open === undefined) return;
    setEntry(open, values.small("level") ?? 1, values.number("value") ?? 0n);
    sink.extend(open, found);
  },
};

const AMD_FAULT: Shape = {
  name: "xen-amd-fault",
  example: "AMD-Vi: IO_PAGE_FAULT: 0000:0b:00.0 d0 addr 00000000fdf8000000 flags 0x8 I",
  kernels: "Xen 4.14 on",
  pattern: new RegExp(
    String.raw`AMD-Vi:\s+(?<event>IO_PAGE_FAULT):\s+(?<device>${PCI_DEVICE})\s+(?<guest>d\w+)\s+addr\s+(?<address>(?:0x)?[0-9a-f]+)\s+flags\s+(?<flags>0x[0-9a-f]+)`,
    "i",
  ),
  fields: { event: TEXT, device: DEVICE, guest: GUEST, address: HEX_ADDRESS, flags: FLAGS },
  read(values, found, sink) {
    const event = { name: "IO_PAGE_FAULT", flags: values.small("flags"), address: values.number("address") };
    sink.add(withGuest(values, amdFactOf(event, given({ device: pciName(values.text("device")) }), found)));
  },
};

const OLD_AMD_FAULT: Shape = {
  name: "xen-amd-fault-old",
  example: "AMD-Vi: IO_PAGE_FAULT: domain = 0, device id = 0xa4, fault address = 0xc2c2c2c0, flags = 0x0",
  kernels: "Xen until 4.13",
  pattern:
    /AMD-Vi:\s+(?<event>IO_PAGE_FAULT):\s+domain\s+=\s+(?<guest>\d+),\s+device\s+id\s+=\s+(?<source>0x[0-9a-f]+),\s+fault\s+address\s+=\s+(?<address>0x[0-9a-f]+)(?:,\s+flags\s+=\s+(?<flags>0x[0-9a-f]+))?/i,
  fields: {
    event: TEXT,
    guest: GUEST,
    source: { radix: "hex", unit: "requester id" },
    address: HEX_ADDRESS,
    flags: FLAGS,
  },
  read(values, found, sink) {
    const device = nameOfRequesterId(values.small("source") ?? 0);
    const event = { name: "IO_PAGE_FAULT", flags: values.small("flags"), address: values.number("address") };
    sink.add(withGuest(values, amdFactOf(event, { device }, found)));
  },
};

/** Keeps Xen's domain apart from the IOMMU's: 0 is the first guest, not a device without a table. */
function withGuest<Fact extends object>(values: Values, fact: Fact): Fact {
  if (!("kind" in fact && fact.kind === "fault")) return fact;
  const known = "values" in fact ? (fact.values as object) : {};
  return { ...fact, values: { ...known, guest: values.text("guest") ?? "" } };
}

/** Event codes in bits 31:28 of the second word (AMD I/O Virtualization Technology Specification, 2.5). */
const EVENTS: readonly (string | undefined)[] = [
  undefined,
  "ILLEGAL_DEV_TABLE_ENTRY",
  "IO_PAGE_FAULT",
  "DEV_TAB_HARDWARE_ERROR",
  "PAGE_TAB_HARDWARE_ERROR",
  "ILLEGAL_COMMAND_ERROR",
  "COMMAND_HARDWARE_ERROR",
  "IOTLB_INV_TIMEOUT",
  "INVALID_DEVICE_REQUEST",
  "INVALID_PPR_REQUEST",
];
/** Events that name no device in their first word. */
const OF_COMMANDS: ReadonlySet<string> = new Set(["ILLEGAL_COMMAND_ERROR", "COMMAND_HARDWARE_ERROR"]);

const AMD_WORDS: Shape = {
  name: "xen-amd-words",
  example: "AMD-Vi: INVALID_DEV_REQUEST 00000800 8a000000 f8000840 000000fd",
  kernels: "Xen",
  pattern:
    /AMD-Vi:\s+(?<event>[A-Z_]{4,})\s+(?<word0>[0-9a-f]{8})\s+(?<word1>[0-9a-f]{8})\s+(?<word2>[0-9a-f]{8})\s+(?<word3>[0-9a-f]{8})\b/,
  fields: { event: TEXT, word0: WORD, word1: WORD, word2: WORD, word3: WORD },
  read(values, found, sink) {
    const word1 = values.small("word1") ?? 0;
    const name = EVENTS[word1 >>> 28];
    if (name === undefined) return;
    const address = ((values.number("word3") ?? 0n) << 32n) | (values.number("word2") ?? 0n);
    const device = nameOfRequesterId((values.small("word0") ?? 0) & 0xffff);
    const event = { name, flags: (word1 >>> 16) & 0xfff, address };
    sink.add(amdFactOf(event, OF_COMMANDS.has(name) ? {} : { device }, found));
  },
};

export const XEN: Family = {
  name: "xen",
  about: "Xen's drivers of VT-d and of AMD's IOMMU",
  hint: /\[VT-D\]|DMAR:|INTR-REMAP:|AMD-Vi:|\bl[1-6]\[/,
  shapes: [FAULT, INTERRUPT, REASON, ENTRY, AMD_FAULT, OLD_AMD_FAULT, AMD_WORDS],
};
