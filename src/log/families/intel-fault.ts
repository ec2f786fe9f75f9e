/**
 * VT-d: a DMA or an interrupt that was refused. Until Linux 4.1 a message has two lines, the second with the reason. Addresses and PASIDs are
 * hexadecimal, with `0x` since 5.14; reasons are decimal until 5.13 and hexadecimal since.
 */
import type { Access, FaultFact, InterruptFact } from "../facts.ts";
import { PCI_DEVICE, pciName } from "../pci.ts";
import { given, HEX_ADDRESS, type Shape, type Sink, TEXT, type Values } from "../shape.ts";
import { accessOf, causeOf, interruptVerdictOf, isInterruptReason } from "./intel-reasons.ts";

/** The key under which the latest fault or interrupt is open, for its reason and for a dump of the tables. */
const KEY = "intel-fault";
/** PASID that stands for "none". */
const NO_PASID = 0xffff_ffffn;

/** A device, or one that the reporter masked: `[xx:xx.x]`. */
const DEVICE = String.raw`\[+(?<device>${PCI_DEVICE}|[x*?:.]+)\]`;
/** Up to the end of the line, or to a message that was run together with this one. */
const REASON_TEXT = String.raw`(?<text>[^\n]*?)(?=\s*(?:>\s*)?(?:dmar:|DMAR:|DRHD:|\[\s*\d+\.\d{3,}\]|\n|$))`;
const REASON = String.raw`\[fault\s+reason\s+(?:(?<hexReason>0x[0-9a-f]+)|(?<reason>\d+))\]\s*${REASON_TEXT}`;

const DEVICE_FIELD = { radix: "text", unit: "PCI device" } as const;
const REASON_FIELDS = {
  reason: { radix: "decimal", unit: "reason code, until Linux 5.13" },
  hexReason: { radix: "hex", unit: "reason code, Linux 5.14 on" },
  text: TEXT,
} as const;

const FAULT: Shape = {
  name: "intel-fault",
  example:
    "DMAR: [DMA Read] Request device [00:02.0] PASID ffffffff fault addr 9c000000 [fault reason 06] PTE Read access is not set",
  kernels: "all: two lines until 4.1, one line since; PASID 5.4 on, hexadecimal reasons 5.14 on",
  pattern: new RegExp(
    String.raw`\[DMA\s+(?<access>Read|Write)(?:\s+(?:NO_PASID|PASID\s+(?<pasid>(?:0x)?[0-9a-f]+)))?\]\s+Request\s+device\s+${DEVICE}` +
      String.raw`(?:\s+PASID\s+(?<oldPasid>(?:0x)?[0-9a-f]+))?\s+fault\s+addr\s+(?<address>(?:0x)?[0-9a-fx]+)(?:\s+${REASON})?`,
    "i",
  ),
  fields: {
    ...REASON_FIELDS,
    device: DEVICE_FIELD,
    access: TEXT,
    pasid: { radix: "hex", unit: "PASID, 5.14 on" },
    oldPasid: { radix: "hex", unit: "PASID, until 5.13" },
    address: HEX_ADDRESS,
  },
  repeats: "address",
  read(values, found, sink) {
    const pasid = values.number("pasid") ?? values.number("oldPasid");
    const iova = values.number("address");
    const fact: FaultFact = {
      kind: "fault",
      family: "intel",
      ...found.base,
      cause: "unknown",
      granule: 4096,
      access: values.text("access")?.toLowerCase() as Access,
      ...given({
        device: pciName(values.text("device")),
        // The hardware reports pages: another address has lost digits.
        iova: iova !== undefined && (iova & 0xfffn) === 0n ? iova : undefined,
        pasid: pasid === NO_PASID ? undefined : pasid,
      }),
    };
    sink.add(fact, KEY);
    setReason(fact, values);
  },
};

const INTERRUPT: Shape = {
  name: "intel-interrupt",
  example:
    "DMAR: [INTR-REMAP] Request device [42:00.2] fault index 1600 [fault reason 37] Blocked a compatibility format interrupt request",
  kernels: "all: two lines until 4.1, one line since; hexadecimal reasons 5.14 on",
  pattern: new RegExp(
    String.raw`(?:\[INTR-REMAP\]|INTR-REMAP:)\s+Request\s+device\s+${DEVICE}\s+fault\s+index\s+(?<index>(?:0x)?[0-9a-f]+)(?:\s+${REASON})?`,
    "i",
  ),
  fields: {
    ...REASON_FIELDS,
    device: DEVICE_FIELD,
    index: { radix: "hex", unit: "index of the interrupt remapping entry" },
  },
  read(values, found, sink) {
    const fact: InterruptFact = {
      kind: "interrupt",
      ...found.base,
      ...given({ device: pciName(values.text("device")), index: values.small("index") }),
    };
    sink.add(fact, KEY);
    setReason(fact, values);
  },
};

const SECOND_HALF: Shape = {
  name: "intel-reason",
  example: "DMAR:[fault reason 02] Present bit in context entry is clear",
  kernels: "until 4.1: the second half of a fault",
  pattern: new RegExp(REASON, "i"),
  fields: REASON_FIELDS,
  read(values, found, sink) {
    const open = openWithoutReason(sink);
    if (open !== undefined) {
      setReason(open, values);
      sink.extend(open, found);
      return;
    }
    // The first half was cut away: the fault happened all the same.
    const code = codeOf(values) ?? 0;
    const fact: FaultFact | InterruptFact = isInterruptReason(code)
      ? { kind: "interrupt", ...found.base }
      : { kind: "fault", family: "intel", ...found.base, cause: "unknown", granule: 4096 };
    sink.add(fact, KEY);
    setReason(fact, values);
  },
};

function codeOf(values: Values): number | undefined {
  return values.small("reason") ?? values.small("hexReason");
}

function setReason(fact: FaultFact | InterruptFact, values: Values): void {
  const code = codeOf(values);
  if (code !== undefined) setIntelReason(fact, code, values.text("text") ?? "");
}

export function setIntelReason(fact: FaultFact | InterruptFact, code: number, text: string): void {
  fact.reason = { code: `0x${code.toString(16)}`, text };
  if (fact.kind === "interrupt") {
    fact.verdict = interruptVerdictOf(code);
    return;
  }
  fact.cause = causeOf(code, text);
  const access = fact.access ?? accessOf(code);
  if (access !== undefined) fact.access = access;
}

/** The latest fault or interrupt that has no reason yet. */
export function openWithoutReason(sink: Sink): FaultFact | InterruptFact | undefined {
  const open = sink.open(KEY);
  const isOpen = (open?.kind === "fault" || open?.kind === "interrupt") && open.reason === undefined;
  return isOpen ? open : undefined;
}

/** The latest fault, when `iova` is undefined or in the page that it names. */
export function openIntelFault(sink: Sink, iova?: bigint): FaultFact | undefined {
  const fact = sink.open(KEY);
  if (fact?.kind !== "fault") return undefined;
  return iova === undefined || (fact.iova !== undefined && fact.iova >> 12n === iova >> 12n) ? fact : undefined;
}

/** Adds a fact that a reason or a dump may complete. */
export function addIntelFault(fact: FaultFact | InterruptFact, sink: Sink): void {
  sink.add(fact, KEY);
}

export const INTEL_FAULTS: readonly Shape[] = [FAULT, INTERRUPT, SECOND_HALF];
