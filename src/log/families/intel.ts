/**
 * Intel VT-d (`DMAR:`), from the two-line messages of Linux 3.x to the scalable mode of today. The device, the address and the reason have
 * changed their radix over time: an address has no `0x` before 5.14, and a reason is decimal until then.
 */
import type { Access, FaultFact, ReportedCause } from "../facts.ts";
import { PCI_DEVICE, pciName } from "../pci.ts";
import { type Family, HEX_ADDRESS, type Shape, type Sink, TEXT, type Values } from "../shape.ts";

/**
 * VT-d specification, 7.2 "fault reasons" (legacy mode) and 7.3 (scalable mode): what each says about the entry. 5 and 6 are printed for an entry
 * that is absent, and for one that is present and does not allow the access.
 */
function causeOf(reason: number): ReportedCause {
  if (reason >= 1 && reason <= 3) return "no-table";
  if (reason === 4) return "address-size";
  if (reason === 5 || reason === 6) return "absent-or-permission";
  if (reason === 7 || (reason >= 8 && reason <= 12)) return "table-error";
  if (reason === 13) return "passed-through";
  return scalableCauseOf(reason);
}

function scalableCauseOf(reason: number): ReportedCause {
  if (reason >= 0x30 && reason <= 0x5a) return "no-table";
  return reason === 0x71 || reason === 0x72 ? "absent-or-permission" : "unknown";
}

const FAULT_FIELDS = {
  access: TEXT,
  device: { radix: "text", unit: "PCI device" },
  pasid: { radix: "hex", unit: "PASID" },
  address: HEX_ADDRESS,
  reason: { radix: "decimal", unit: "reason code" },
  hexReason: { radix: "hex", unit: "reason code" },
  text: TEXT,
} as const;

/** The key of a fault whose reason stands in a line of its own. */
const HALF = "intel-fault";

const FAULT: Shape = {
  name: "intel-fault",
  example:
    "DMAR: [DMA Read] Request device [00:02.0] PASID ffffffff fault addr 9c000000 [fault reason 06] PTE Read access is not set",
  kernels: "all: two lines until 4.1, one line since; PASID 5.4 on, hexadecimal 5.14 on",
  pattern: new RegExp(
    String.raw`\[DMA\s+(?<access>Read|Write)(?:\s+(?:NO_PASID|PASID\s+(?<pasid1>(?:0x)?[0-9a-f]+)))?\]\s+Request\s+device\s+\[(?<device>${PCI_DEVICE}|[x:.]+)\]` +
      String.raw`(?:\s+PASID\s+(?<pasid>(?:0x)?[0-9a-f]+))?\s+fault\s+addr\s+(?<address>(?:0x)?[0-9a-fx]+)` +
      String.raw`(?:\s+\[fault\s+reason\s+(?:(?<hexReason>0x[0-9a-f]+)|(?<reason>\d+))\]\s*(?<text>[^\n]*))?`,
    "i",
  ),
  fields: { ...FAULT_FIELDS, pasid1: FAULT_FIELDS.pasid },
  read(values, found, sink) {
    const fact: FaultFact = {
      kind: "fault",
      family: "intel",
      ...found.base,
      cause: "unknown",
      granule: 4096,
      access: values.text("access")?.toLowerCase() as Access,
    };
    const device = pciName(values.text("device"));
    if (device !== undefined) fact.device = device;
    const iova = values.number("address");
    if (iova !== undefined) fact.iova = iova;
    const pasid = values.number("pasid") ?? values.number("pasid1");
    if (pasid !== undefined && pasid !== 0xffffffffn) fact.pasid = pasid;
    sink.add(fact, HALF);
    if (values.small("reason") !== undefined || values.small("hexReason") !== undefined) setReason(fact, values);
  },
};

const REASON: Shape = {
  name: "intel-reason",
  example: "DMAR:[fault reason 02] Present bit in context entry is clear",
  kernels: "until 4.1: the second half of a fault",
  pattern: /\[fault\s+reason\s+(?:(?<hexReason>0x[0-9a-f]+)|(?<reason>\d+))\]\s*(?<text>[^\n]*)/i,
  fields: FAULT_FIELDS,
  read(values, found, sink) {
    const fact = openFault(sink);
    if (fact === undefined || fact.reason !== undefined) return;
    setReason(fact, values);
    sink.extend(fact, found);
  },
};

function openFault(sink: Sink): FaultFact | undefined {
  const fact = sink.open(HALF);
  return fact?.kind === "fault" ? fact : undefined;
}

function setReason(fact: FaultFact, values: Values): void {
  const code = values.small("reason") ?? values.small("hexReason") ?? 0;
  fact.cause = causeOf(code);
  fact.reason = { code: `0x${code.toString(16)}`, text: values.text("text") ?? "" };
}

const STATUS: Shape = {
  name: "intel-status",
  example: "DMAR: DRHD: handling fault status reg 3",
  kernels: "all",
  pattern: /DRHD:\s+handling\s+fault\s+status\s+reg\s+(?<status>[0-9a-f]+)/i,
  fields: { status: { radix: "hex", unit: "fault status register: bit 0 overflow" } },
  read(values, found, sink) {
    const status = values.small("status") ?? 0;
    // VT-d specification, 11.4.9: bit 0, primary fault overflow: the hardware dropped faults.
    if ((status & 1) === 1) sink.add({ kind: "loss", what: "faults", ...found.base });
  },
};

export const INTEL: Family = {
  name: "intel",
  about: "Intel VT-d: DMA faults, interrupt remapping, invalidation errors",
  hint: /DMAR|DRHD|fault\s+reason|Request\s+device/,
  shapes: [FAULT, REASON, STATUS],
};
