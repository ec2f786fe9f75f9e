/**
 * SPARC: the IOMMUs of sun4u's host bridges (Psycho, Sabre, Schizo, Tomatillo) name no device, only the bridge; sun4v's hypervisor refuses to map.
 * An AFAR is an address of memory, no IO address.
 */
import type { FaultFact, ReportedCause } from "../facts.ts";
import { type Family, given, type Shape, type Sink } from "../shape.ts";

/** Key of the latest error of a bridge, for the tags printed after it. */
const keyOf = (bridge: string): string => `sparc ${bridge}`;
const BRIDGE = String.raw`(?<bridge>(?:PSYCHO|SABRE|SCHIZO|TOMATILLO|PBM)[\w.-]*)`;

/** Types of an error, as printed. */
const CAUSES: Readonly<Record<string, ReportedCause>> = {
  "protection error": "permission",
  "invalid error": "absent",
  "timeout error": "table-error",
  "ecc error": "table-error",
};

const ERROR: Shape = {
  name: "sparc-iommu-error",
  example: "PSYCHO0: IOMMU Error, type[Protection Error]",
  kernels: "all: sun4u",
  pattern: new RegExp(String.raw`\b${BRIDGE}:\s+IOMMU\s+Error,\s+type\[(?<type>[^\]]{1,40})\]`, "i"),
  fields: { bridge: { radix: "text", unit: "host bridge" }, type: { radix: "text", unit: "type of error" } },
  read(values, found, sink) {
    const iommu = values.text("bridge") ?? "";
    const type = values.text("type") ?? "";
    const fact: FaultFact = {
      kind: "fault",
      family: "sparc",
      ...found.base,
      cause: CAUSES[type.toLowerCase()] ?? "unknown",
      granule: 1,
      iommu,
      values: { type },
    };
    sink.add(fact, keyOf(iommu));
  },
};

const TAG: Shape = {
  name: "sparc-iommu-tag",
  example: "PSYCHO0: IOMMU TAG(0)[error(Protection Error)wr(1)str(0)sz(8K)vpg(c0a58000)]",
  kernels: "all: sun4u, after an error",
  pattern: new RegExp(
    String.raw`\b${BRIDGE}:\s+IOMMU\s+TAG\((?<tag>\d+)\)\[(?:RAW\([0-9a-f]+\))?\s*error\((?<type>[^)]{1,40})\)\s*wr\((?<write>[01])\)[^\n]*?vpg\((?<page>(?:0x)?[0-9a-f]+)\)`,
    "i",
  ),
  fields: {
    bridge: { radix: "text", unit: "host bridge" },
    tag: { radix: "decimal", unit: "entry of the translation buffer" },
    type: { radix: "text", unit: "type of error" },
    write: { radix: "decimal", unit: "1: the entry is writable or was written" },
    page: { radix: "hex", unit: "IO address of the page" },
  },
  read(values, found, sink) {
    const open = openError(values.text("bridge") ?? "", sink);
    if (open === undefined) return;
    if (open.iova === undefined) Object.assign(open, given({ iova: values.number("page") }), { granule: 4096 });
    sink.extend(open, found);
  },
};

function openError(bridge: string, sink: Sink): FaultFact | undefined {
  const open = sink.open(keyOf(bridge));
  return open?.kind === "fault" ? open : undefined;
}

const HYPERVISOR: Shape = {
  name: "sparc-hypervisor-map",
  example: "iommu_batch_flush: IOMMU map of [00000000:00080000:1:47:2c000] failed with status 4",
  kernels: "4.x on: sun4v",
  pattern:
    /iommu_batch_flush:\s+(?:IOMMU|ATU)\s+map\s+of\s+\[(?<request>[0-9a-f:]+)\]\s+failed\s+with\s+status\s+(?<status>-?\d+)/,
  fields: {
    request: { radix: "text", unit: "handle, entry, pages, protection, list" },
    status: { radix: "text", unit: "status of the hypervisor" },
  },
  read(_values, found, sink) {
    sink.add({ kind: "map-refused", ...found.base, by: "sun4v" });
  },
};

export const SPARC: Family = {
  name: "sparc",
  about: "SPARC: errors of sun4u's bridges, maps that sun4v's hypervisor refuses",
  hint: /IOMMU/,
  shapes: [ERROR, TAG, HYPERVISOR],
};
