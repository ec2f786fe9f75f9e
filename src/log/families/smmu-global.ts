/** Arm SMMU version 1 and 2: faults that belong to no context. They name the stream; no address is printed. */
import type { FaultFact, ReportedCause } from "../facts.ts";
import { given, type Shape, type Sink, SPEAKER, SPEAKER_FIELD, type Values } from "../shape.ts";

const REGISTER = { radix: "hex", unit: "register" } as const;

function keyOf(values: Values): string {
  return `smmu-global ${values.text("iommu") ?? ""}`;
}

/** SMMU_sGFSR: bit 1 unidentified stream, 0 and 3 and 4 invalid context, 2 stream matches twice, 6 external abort, 7 permission. */
function causeOf(gfsr: number): ReportedCause {
  if (gfsr & 0x2) return "no-table";
  if (gfsr & 0x5d) return "table-error";
  return gfsr & 0x80 ? "permission" : "unknown";
}

function globalFault(values: Values, base: Pick<FaultFact, "shape" | "lines" | "text">): FaultFact {
  return {
    kind: "fault",
    family: "smmu",
    ...base,
    ...given({ iommu: values.text("iommu") }),
    cause: "unknown",
    granule: 1,
  };
}

const BLOCKED: Shape = {
  name: "smmu-blocked-stream",
  example: `arm-smmu 64000000.mmu: Blocked unknown Stream ID 0x2000; boot with "arm-smmu.disable_bypass=0" to allow, but this may have security implications`,
  kernels: "Linux 5.2 on",
  pattern: new RegExp(
    String.raw`(?:${SPEAKER}\s+)?(?<text>Blocked\s+unknown\s+Stream\s+ID)\s+(?<sid>0x[0-9a-f]+)(?:;\s+boot\s+with\s+"arm-smmu\.disable_bypass=0"\s+to\s+allow(?:,\s+but\s+this\s+may\s+have\s+security\s+implications)?)?`,
  ),
  fields: {
    iommu: SPEAKER_FIELD,
    text: { radix: "text", unit: "text" },
    sid: { radix: "hex", unit: "stream id" },
  },
  read(values, found, sink) {
    const fact = globalFault(values, found.base);
    fact.cause = "no-table";
    Object.assign(fact, given({ streamId: values.number("sid") }));
    sink.add(fact, keyOf(values));
  },
};

const UNEXPECTED: Shape = {
  name: "smmu-global-fault",
  example: "arm-smmu 3da0000.iommu: Unexpected global fault, this could be serious",
  kernels: "all; of an unknown stream until 5.1",
  pattern: new RegExp(String.raw`(?:${SPEAKER}\s+)?Unexpected\s+(?:\{[^}\n]{1,40}\}\s+)?global\s+fault`),
  fields: { iommu: SPEAKER_FIELD },
  read(values, found, sink) {
    sink.add(globalFault(values, found.base), keyOf(values));
  },
};

const REGISTERS: Shape = {
  name: "smmu-gfsr",
  example: "arm-smmu 3da0000.iommu: \tGFSR 0x80000002, GFSYNR0 0x00000000, GFSYNR1 0x00000429, GFSYNR2 0x00000000",
  kernels: "all: the line after a global fault",
  pattern: new RegExp(
    String.raw`(?:${SPEAKER}\s+)?\bGFSR\s+(?<gfsr>0x[0-9a-f]+),\s+GFSYNR0\s+(?<gfsynr0>0x[0-9a-f]+),\s+GFSYNR1\s+(?<gfsynr1>0x[0-9a-f]+)(?:,\s+GFSYNR2\s+0x[0-9a-f]+)?`,
  ),
  fields: { iommu: SPEAKER_FIELD, gfsr: REGISTER, gfsynr0: REGISTER, gfsynr1: REGISTER },
  read(values, found, sink) {
    const gfsr = values.small("gfsr") ?? 0;
    const open = openFault(values, sink);
    const fact = open ?? globalFault(values, found.base);
    if (fact.cause === "unknown") fact.cause = causeOf(gfsr);
    fact.reason = { code: `0x${gfsr.toString(16)}`, text: gfsr & 2 ? "USF" : "" };
    fact.access = (values.small("gfsynr0") ?? 0) & 0x2 ? "write" : "read";
    fact.streamId ??= (values.number("gfsynr1") ?? 0n) & 0xffffn;
    if (gfsr >= 2 ** 31) fact.overflow = true;
    if (open === undefined) sink.add(fact, keyOf(values));
    else sink.extend(fact, found);
    if (gfsr >= 2 ** 31) sink.add({ kind: "loss", what: "faults", ...found.base });
  },
};

/** A global fault whose registers have not been read yet. */
function openFault(values: Values, sink: Sink): FaultFact | undefined {
  const fact = sink.open(keyOf(values));
  return fact?.kind === "fault" && fact.reason === undefined ? fact : undefined;
}

export const SMMU_GLOBAL: readonly Shape[] = [BLOCKED, UNEXPECTED, REGISTERS];
