/** virtio-iommu, as a Linux guest prints its faults. Reasons: virtio specification, "IOMMU device", fault reporting. */
import type { FaultFact, ReportedCause } from "../facts.ts";
import { nameOfRequesterId } from "../pci.ts";
import { type Family, given, HEX_ADDRESS, type Shape, TEXT } from "../shape.ts";

/** The device's reason: no domain for the endpoint; the domain's mappings do not hold or do not allow the access. */
const CAUSES: Readonly<Record<string, ReportedCause>> = {
  domain: "no-table",
  page: "absent-or-permission",
  mapping: "absent-or-permission",
};

const FAULT: Shape = {
  name: "virtio-fault",
  example: "virtio_iommu virtio0: page fault from EP 32 at 0x103231000 [W]",
  kernels: "Linux 5.3 on",
  pattern:
    /virtio_iommu\s+(?<iommu>[\w.-]+):\s+(?<reason>\w+)\s+fault\s+from\s+EP\s+(?<endpoint>\d+)(?:\s+at\s+(?<address>0x[0-9a-fx]+)\s+\[(?<access>[RWX]{0,3})\]|\s+flags\s+(?<flags>(?:0x)?[0-9a-f]+))?/,
  fields: {
    iommu: { radix: "text", unit: "IOMMU" },
    reason: { radix: "text", unit: "reason: domain, page, unknown" },
    endpoint: { radix: "decimal", unit: "endpoint: a requester id, segment above bit 15" },
    address: HEX_ADDRESS,
    access: TEXT,
    flags: { radix: "hex", unit: "flags of the fault" },
  },
  read(values, found, sink) {
    const word = values.text("reason") ?? "";
    const endpoint = values.small("endpoint") ?? 0;
    const fact: FaultFact = {
      kind: "fault",
      family: "virtio",
      ...found.base,
      cause: CAUSES[word] ?? "unknown",
      granule: 1,
      iommu: values.text("iommu") ?? "",
      device: nameOfRequesterId(endpoint & 0xffff, (endpoint >>> 16).toString(16).padStart(4, "0")),
      values: { endpoint },
      ...given({ iova: values.number("address"), access: accessOf(values.text("access") ?? "") }),
    };
    sink.add(fact);
  },
};

/** The letters in brackets: read, write, execute; none when the device did not say. */
function accessOf(letters: string): FaultFact["access"] {
  if (letters.includes("X")) return "execute";
  if (letters.includes("W")) return "write";
  return letters.includes("R") ? "read" : undefined;
}

export const VIRTIO: Family = {
  name: "virtio",
  about: "virtio-iommu in a guest",
  hint: /virtio_iommu/,
  shapes: [FAULT],
};
