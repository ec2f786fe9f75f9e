/**
 * Nvidia Tegra: the memory controller reports what the SMMU refused, by the name of its client, which is no device. One fault can be printed twice
 * with two wordings; "EMEM address decode error" is no error of the memory when the SMMU's bits follow.
 */
import type { Access, FaultFact, ReportedCause } from "../facts.ts";
import { type Family, given, HEX_ADDRESS, type Shape, SPEAKER, SPEAKER_FIELD, TEXT } from "../shape.ts";

/** The wordings printed of each fault so far. */
const WORDINGS = new WeakMap<FaultFact, Set<string>>();

/** `[RWS]`: the entry is readable, writable, not secure; `-` in a place says that it is not. */
function causeOf(bits: string, access: Access): ReportedCause {
  const [readable, writable] = bits;
  if (readable === "-" && writable === "-") return "absent";
  return (access === "write" ? writable : readable) === "-" ? "permission" : "unknown";
}

const FAULT: Shape = {
  name: "tegra-fault",
  example:
    "tegra-mc 70019000.memory-controller: display0a: read @0xfe056b40: EMEM address decode error (SMMU translation error [--S])",
  kernels: "all; `Page fault` is a second wording of the same fault",
  pattern: new RegExp(
    String.raw`(?:${SPEAKER}\s+)?(?<client>[\w-]{1,32}):\s+(?:secure\s+)?(?<access>read|write)\s+@(?<iova>0x[0-9a-f]+):\s+(?<text>[^(]{1,60}?)\s+\(SMMU\s+translation\s+error\s+\[(?<bits>[-R][-W][-S])\]\)`,
  ),
  fields: {
    iommu: SPEAKER_FIELD,
    client: { radix: "text", unit: "client of the memory controller" },
    access: TEXT,
    iova: HEX_ADDRESS,
    text: TEXT,
    bits: TEXT,
  },
  read(values, found, sink) {
    const access = values.text("access") as Access;
    const text = values.text("text") ?? "";
    const bits = values.text("bits") ?? "";
    const client = values.text("client") ?? "";
    const iova = values.number("iova");
    const key = `tegra ${client} ${access} ${iova}`;
    const open = sink.open(key);
    const wordings = open?.kind === "fault" ? WORDINGS.get(open) : undefined;
    if (open !== undefined && wordings !== undefined && !wordings.has(text)) {
      wordings.add(text);
      sink.extend(open, found);
      return;
    }
    const fact: FaultFact = {
      kind: "fault",
      family: "tegra",
      ...found.base,
      cause: causeOf(bits, access),
      granule: 1,
      ...given({ iommu: values.text("iommu"), iova }),
      client,
      access,
      values: { bits },
    };
    WORDINGS.set(fact, new Set([text]));
    sink.add(fact, key);
  },
};

export const TEGRA: Family = {
  name: "tegra",
  about: "Nvidia Tegra: faults that the memory controller reports for the SMMU",
  hint: /SMMU\s+translation\s+error/,
  shapes: [FAULT],
};
