/**
 * Arm SMMU, architecture versions 1 and 2, and what is built like it: qcom_iommu, the GPU's own SMMU, Xen's driver. A context fault names an
 * address; a global fault names only a stream. Source of the registers: IHI 0062, chapter 9 and 10.
 */
import type { Access, FaultFact, ReportedCause } from "../facts.ts";
import {
  DEVICE,
  type Family,
  type Field,
  type Found,
  given,
  HEX_ADDRESS,
  type Shape,
  type Sink,
  SPEAKER,
  SPEAKER_FIELD,
  TEXT,
  type Values,
} from "../shape.ts";
import { SMMU_GLOBAL } from "./smmu-global.ts";

const FSR: Field = {
  radix: "hex",
  unit: "fault status: 1 absent, 2 access flag, 3 permission, 4 external, 7 address size",
};
const FSYNR: Field = { radix: "hex", unit: "fault syndrome: bit 4 write, 6 instruction" };

/** SMMU_CBn_FSR: what its lowest bits say of the entry. */
function causeOf(fsr: number): ReportedCause {
  if (fsr & 0x2) return "absent";
  if (fsr & 0xc) return "permission";
  if (fsr & 0x80) return "address-size";
  // External abort, TLB match conflict, TLB lock.
  return fsr & 0x70 ? "table-error" : "unknown";
}

function nameOf(fsr: number): string {
  const names = ["", "TF", "AFF", "PF", "EF", "TLBMCF", "TLBLKF", "ASF", "UUT"];
  return names.filter((name, bit) => name !== "" && fsr & (1 << bit)).join(" ");
}

/** SMMU_CBn_FSYNR0. */
function accessOf(fsynr: number): Access {
  if (fsynr & 0x10) return "write";
  return fsynr & 0x40 ? "execute" : "read";
}

function keyOf(values: Values): string {
  return `smmu ${values.text("iommu") ?? ""}`;
}

function setStatus(fact: FaultFact, fsr: number, text = nameOf(fsr)): void {
  fact.cause = causeOf(fsr);
  fact.reason = { code: `0x${fsr.toString(16)}`, text };
  if (fsr >= 2 ** 31) fact.overflow = true;
}

/** MULTI: the SMMU met further faults and reports only the first. */
function reportLoss(fsr: number, found: Found, sink: Sink): void {
  if (fsr >= 2 ** 31) sink.add({ kind: "loss", what: "faults", ...found.base });
}

/** One `name=value` of a list whose order has changed with the versions; Qualcomm's kernels number the registers of the syndrome. */
const item = (name: string): string =>
  String.raw`(?:(?=(?:[\s,]{1,4}\w{1,16}=\w{1,20}){0,8}?[\s,]{1,4}${name === "fsynr" ? "fsynr0?" : name}=(?<${name}>(?:0x)?[0-9a-f]+)(?![0-9a-fx]))|)`;

const CONTEXT_FAULT: Shape = {
  name: "smmu-context-fault",
  example:
    "arm-smmu 15000000.iommu: Unhandled context fault: fsr=0x402, iova=0x1032db3e0, fsynr=0x130000, cbfrsynra=0x300, cb=4",
  kernels: "all but 6.11-rc; the stream since 5.2; Xen and qcom_iommu; Qualcomm's kernels name the address first",
  pattern: new RegExp(
    String.raw`(?:${SPEAKER}\s+)?(?:Unhandled|Unexpected)\s+(?:arm-smmu\s+)?(?:context|IOMMU\s+page)\s+fault[:!]?` +
      `${["fsr", "iova", "fsynr", "cbfrsynra", "cb"].map(item).join("")}(?:[\\s,]{1,4}\\w{1,16}=\\w{1,20}){0,9}`,
    "i",
  ),
  fields: {
    iommu: SPEAKER_FIELD,
    fsr: FSR,
    iova: HEX_ADDRESS,
    fsynr: FSYNR,
    cbfrsynra: { radix: "hex", unit: "bits 15:0 stream id" },
    cb: { radix: "decimal", unit: "context bank" },
  },
  repeats: "iova",
  read(values, found, sink) {
    const { iova, fsynr, cb } = { iova: values.number("iova"), fsynr: values.small("fsynr"), cb: values.small("cb") };
    const stream = values.number("cbfrsynra");
    const fsr = values.small("fsr");
    const fact: FaultFact = {
      kind: "fault",
      family: "smmu",
      ...found.base,
      cause: "unknown",
      granule: 1,
      ...given({
        iommu: values.text("iommu"),
        iova,
        access: fsynr === undefined ? undefined : accessOf(fsynr),
        streamId: stream === undefined ? undefined : stream & 0xffffn,
        values: cb === undefined ? undefined : { contextBank: cb },
      }),
    };
    if (fsr !== undefined) setStatus(fact, fsr);
    sink.add(fact, keyOf(values));
    if (fsr !== undefined) reportLoss(fsr, found, sink);
  },
};

/** The fault whose registers are being printed. */
function openFault(values: Values, sink: Sink): FaultFact | undefined {
  const fact = sink.open(keyOf(values)) ?? sink.open("smmu ");
  return fact?.kind === "fault" ? fact : undefined;
}

const STATUS: Shape = {
  name: "smmu-fsr",
  example: "arm-smmu 15000000.iommu: FSR    = 00000402 [Format=2 TF], SID=0x19c3",
  kernels: "Linux 6.11 on: beside the fault (6.11-rc: alone); Qualcomm's kernels",
  pattern: new RegExp(
    String.raw`(?:${SPEAKER}\s+)?\bFSR\s+=\s+(?:0x)?(?<fsr>[0-9a-f]{8})\s+\[(?<names>[^\]\n]{0,80})\](?:,\s+SID=(?<sid>0x[0-9a-f]+))?`,
  ),
  fields: { iommu: SPEAKER_FIELD, fsr: FSR, names: TEXT, sid: { radix: "hex", unit: "stream id" } },
  read(values, found, sink) {
    const fsr = values.small("fsr") ?? 0;
    const streamId = values.number("sid");
    const open = openFault(values, sink);
    const isOfOpen = open !== undefined && open.values?.["fsr"] === undefined && isSame(open, fsr);
    const fact: FaultFact = isOfOpen
      ? open
      : {
          kind: "fault",
          family: "smmu",
          ...found.base,
          ...given({ iommu: values.text("iommu") }),
          cause: "unknown",
          granule: 1,
        };
    const isNew = fact.reason === undefined;
    if (isNew) setStatus(fact, fsr);
    Object.assign(fact, given({ streamId: fact.streamId ?? streamId }));
    fact.values = { ...fact.values, fsr };
    if (isOfOpen) sink.extend(fact, found);
    else sink.add(fact, keyOf(values));
    if (isNew) reportLoss(fsr, found, sink);
  },
};

function isSame(open: FaultFact, fsr: number): boolean {
  return open.reason === undefined || Number(open.reason.code) === fsr;
}

const REGISTER: Shape = {
  name: "smmu-register",
  example: "arm-smmu 15000000.iommu: FSYNR0 = 00130000 [S1CBNDX=19 PLVL=0]",
  kernels: "Linux 6.11 on, Qualcomm's kernels, msm_iommu",
  pattern: new RegExp(String.raw`(?:${SPEAKER}\s+)?\b(?<name>FAR|FSYNR0)\s+=\s+(?:0x)?(?<value>[0-9a-f]{8,16})\b`),
  fields: {
    iommu: SPEAKER_FIELD,
    name: TEXT,
    value: { radix: "hex", unit: "FAR: IO address; FSYNR0: fault syndrome" },
  },
  read(values, found, sink) {
    const fact = openFault(values, sink);
    const value = values.number("value");
    if (fact === undefined || value === undefined) return;
    if (values.text("name") === "FAR") fact.iova ??= value;
    else fact.access ??= accessOf(Number(value));
    sink.extend(fact, found);
  },
};

const IOVA_TO_PHYSICAL: Shape = {
  name: "smmu-iova-to-phys",
  example: "arm-smmu 15000000.apps-smmu: soft iova-to-phys=0x0000000000000000",
  kernels: "Qualcomm: what the table in memory says (soft), and what the SMMU answers (hard)",
  pattern: new RegExp(
    String.raw`(?:${SPEAKER}\s+)?(?<who>soft|hard)\s+iova-to-phys\s{0,8}(?:\(ATOS\)\s{0,8})?=\s*(?<physical>(?:0x)?[0-9a-f]+)`,
  ),
  fields: { iommu: SPEAKER_FIELD, who: TEXT, physical: { radix: "hex", unit: "physical address" } },
  read(values, found, sink) {
    const fact = openFault(values, sink);
    const physical = values.number("physical");
    if (fact === undefined || physical === undefined) return;
    if (values.text("who") === "soft") fact.dump = physical === 0n ? "absent" : "present";
    fact.values = { ...fact.values, [values.text("who") === "soft" ? "softPhysical" : "hardPhysical"]: physical };
    sink.extend(fact, found);
  },
};

const GPU_FAULT: Shape = {
  name: "smmu-gpu-fault",
  example:
    "adreno 5000000.gpu: *** gpu fault: ttbr0=0000000102e85000 iova=0000000000001000 dir=READ type=TRANSLATION source=UCHE (0,0,0,1)",
  kernels: "Linux 4.9 on: the driver msm takes the faults of its GPU's SMMU; direction and type since 5.14",
  pattern: new RegExp(
    String.raw`(?:(?<device>[\w./@-]{1,64}):\s+(?:\[[^\]\n]{1,60}\]\s+)?)?\*\*\*\s+(?:gpu\s+)?fault:\s+(?:ttbr0=\s*[0-9a-f]+\s+)?iova=\s*(?:(?:0x)?(?<iova>[0-9a-f]+)(?![0-9a-fxX])|[xX0]+),?` +
      String.raw`(?:\s+flags=\d+)?(?:\s+dir=(?<access>READ|WRITE))?(?:\s+type=(?<type>[A-Z]+))?`,
  ),
  fields: { device: DEVICE, iova: HEX_ADDRESS, access: TEXT, type: TEXT },
  read(values, found, sink) {
    const type = values.text("type");
    const causes: Record<string, ReportedCause> = {
      TRANSLATION: "absent",
      PERMISSION: "permission",
      EXTERNAL: "table-error",
    };
    sink.add({
      kind: "fault",
      family: "smmu",
      ...found.base,
      cause: causes[type ?? ""] ?? "unknown",
      granule: 1,
      ...given({
        device: values.text("device"),
        iova: values.number("iova"),
        access: values.text("access")?.toLowerCase() as Access | undefined,
      }),
    });
  },
};

export const SMMU: Family = {
  name: "smmu",
  about: "Arm SMMU version 1 and 2, and what is built like it",
  hint: /smmu|context\s+fault|IOMMU\s+page\s+fault|FSR|FSYNR|FAR\s|iova-to-phys|fault:\s|Stream\s+ID|TLB\s+sync/i,
  shapes: [CONTEXT_FAULT, STATUS, REGISTER, IOVA_TO_PHYSICAL, GPU_FAULT, ...SMMU_GLOBAL],
};
