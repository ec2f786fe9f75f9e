/**
 * IOMMUs that QEMU emulates, as QEMU itself prints and traces: VT-d (`vtd_`), AMD (`amdvi_`), SMMUv3 and virtio-iommu. One event is several lines:
 * the walk of the table, the failed access, the trace. QEMU's "permission error" is printed for an entry that is empty, too.
 */
import type { Access, FaultFact, ReportedCause } from "../facts.ts";
import { nameOfRequesterId } from "../pci.ts";
import {
  type Family,
  type Field,
  type Found,
  given,
  HEX_ADDRESS,
  type Shape,
  type Sink,
  TEXT,
  type Values,
} from "../shape.ts";
import { setEntry } from "./intel-dump.ts";
import { openIntelFault } from "./intel-fault.ts";
import { causeOf } from "./intel-reasons.ts";

/** Key of QEMU's latest event. */
const KEY = "qemu-fault";
const WRITE: Field = { radix: "decimal", unit: "1: write" };
const SOURCE: Field = { radix: "hex", unit: "requester id" };
const ENTRY: Field = { radix: "hex", unit: "table entry" };

const WALK: Shape = {
  name: "qemu-vtd-walk",
  example:
    "qemu-system-x86_64: vtd_iova_to_slpte: detected slpte permission error (iova=0x7ffde000, level=0x3, slpte=0x0, write=0)",
  kernels: "QEMU; with the PASID 8.0 on",
  pattern:
    /\bvtd_iova_to_\w+:\s+detected\s+\w+\s+(?<error>permission\s+error|reserve\s+non-zero)\s+\(?iova=(?<address>0x[0-9a-f]+),\s*level=(?<level>0x[0-9a-f])\s{0,8},?\s{0,8}\w+te=(?<entry>0x[0-9a-f]+),?\s*write=(?<write>[01])(?:,\s*pasid=(?<pasid>0x[0-9a-f]+))?/,
  fields: {
    error: TEXT,
    address: HEX_ADDRESS,
    level: { radix: "hex", unit: "level of the table" },
    entry: ENTRY,
    write: WRITE,
    pasid: { radix: "hex", unit: "PASID" },
  },
  read(values, found, sink) {
    const entry = values.number("entry") ?? 0n;
    const access = accessOf(values);
    const isReserved = values.text("error")?.startsWith("reserve") === true;
    const ofGuest = openIntelFault(sink, values.number("address"));
    if (ofGuest !== undefined) {
      // The guest's kernel has printed the event; QEMU shows the entry.
      if (isReserved) ofGuest.dump = "reserved";
      else setEntry(ofGuest, values.small("level") ?? 1, entry);
      sink.extend(ofGuest, found);
      return;
    }
    const pasid = values.number("pasid");
    const fact = faultOf(found, isReserved ? "table-error" : causeOfEntry(entry, access), values, access);
    if (pasid !== undefined && pasid !== 0xffff_ffffn) fact.pasid = pasid;
    fact.values = { entry };
    sink.add(fact, KEY);
  },
};

const ACCESS: Shape = {
  name: "qemu-vtd-access",
  example: "qemu-system-x86_64: vtd_iommu_translate: detected translation failure (dev=01:00:00, iova=0x7ffde000)",
  kernels: "QEMU",
  pattern:
    /\bvtd_iommu_translate:\s+detected\s+translation\s+failure\s+\(dev=(?<bus>[0-9a-f]{2}):(?<slot>[0-9a-f]{2})[:.](?<fn>[0-9a-f]{1,2}),\s*iova=(?<address>0x[0-9a-f]+)\)/,
  fields: {
    bus: { radix: "hex", unit: "bus" },
    slot: { radix: "hex", unit: "slot" },
    fn: { radix: "hex", unit: "function" },
    address: HEX_ADDRESS,
  },
  read(values, found, sink) {
    const part = (name: string): number => values.small(name) ?? 0;
    complete(nameOfRequesterId((part("bus") << 8) | (part("slot") << 3) | part("fn")), "unknown", values, found, sink);
  },
};

const TRACE: Shape = {
  name: "qemu-vtd-trace",
  example: "236498@1676271757.075075:vtd_dmar_fault sid 0xb00 fault 6 addr 0x1187a9000 write 0",
  kernels: "QEMU, traced",
  pattern:
    /\bvtd_dmar_fault\s+sid\s+(?<source>0x[0-9a-f]+)\s+fault\s+(?<reason>\d+)\s+addr\s+(?<address>0x[0-9a-f]+)\s+write\s+(?<write>[01])/,
  fields: {
    source: SOURCE,
    reason: { radix: "decimal", unit: "reason code of VT-d" },
    address: HEX_ADDRESS,
    write: WRITE,
  },
  read(values, found, sink) {
    const device = nameOfRequesterId(values.small("source") ?? 0);
    complete(device, causeOf(values.small("reason") ?? 0), values, found, sink, accessOf(values));
  },
};

/** Traced for each access that succeeds. */
const TRANSLATED: Shape = {
  name: "qemu-vtd-translated",
  example: "278365@1676297375.587477:vtd_dmar_slpte sid 0xb00 slpte 0x1f2556003 addr 0x800000000 write 0",
  kernels: "QEMU, traced",
  pattern:
    /\bvtd_dmar_slpte\s+sid\s+(?<source>0x[0-9a-f]+)\s+slpte\s+(?<entry>0x[0-9a-f]+)\s+addr\s+(?<address>0x[0-9a-f]+)\s+write\s+(?<write>[01])/,
  fields: { source: SOURCE, entry: ENTRY, address: HEX_ADDRESS, write: WRITE },
  read: () => undefined,
};

const TOO_WIDE: Shape = {
  name: "qemu-vtd-width",
  example: "qemu-system-x86_64: vtd_iova_to_slpte: detected IOVA overflow (iova=0x8000000000)",
  kernels: "QEMU",
  pattern: /\bvtd_iova_to_\w+:\s+detected\s+IOVA\s+overflow\s+\(iova=(?<address>0x[0-9a-f]+)/,
  fields: { address: HEX_ADDRESS },
  read: (values, found, sink) => sink.add(faultOf(found, "address-size", values), KEY),
};

const NOT_RECORDED: Shape = {
  name: "qemu-not-recorded",
  example: "qemu-system-x86_64: New fault is not recorded due to compression of faults",
  kernels: "QEMU",
  pattern: /[Nn]ew\s+fault\s+is\s+not\s+recorded(?<why>[^\n]*)/,
  fields: { why: TEXT },
  read: (_values, found, sink) => sink.add({ kind: "loss", what: "faults", ...found.base }),
};

const NO_CONTEXT: Shape = {
  name: "qemu-vtd-context",
  example: "vtd_ce_not_present Context entry bus 1 devfn 0 not present",
  kernels: "QEMU, traced",
  pattern: /\bvtd_ce_not_present\s+Context\s+entry\s+bus\s+(?<bus>\d+)\s+devfn\s+(?<devfn>\d+)\s+not\s+present/,
  fields: { bus: { radix: "decimal", unit: "bus" }, devfn: { radix: "decimal", unit: "slot << 3 | function" } },
  read(values, found, sink) {
    const device = nameOfRequesterId(((values.small("bus") ?? 0) << 8) | (values.small("devfn") ?? 0));
    sink.add({ ...faultOf(found, "no-table", values), device }, KEY);
  },
};

const AMD: Shape = {
  name: "qemu-amd-fault",
  example: "amdvi_page_fault error: page fault accessing guest physical address 0xfffff000",
  kernels: "QEMU, traced",
  pattern:
    /\bamdvi_page_fault\s+error:\s+page\s+fault\s+accessing\s+guest\s+physical\s+address\s+(?<address>0x[0-9a-f]+)/,
  fields: { address: HEX_ADDRESS },
  read: (values, found, sink) => sink.add(faultOf(found, "absent-or-permission", values), KEY),
};

/** Events of SMMUv3, as QEMU names them. */
const SMMU_CAUSES: Readonly<Record<string, ReportedCause>> = {
  F_TRANSLATION: "absent",
  F_PERMISSION: "permission",
  F_ADDR_SIZE: "address-size",
  F_WALK_EABT: "table-error",
  C_BAD_STREAMID: "no-table",
  C_BAD_STE: "no-table",
  F_STREAM_DISABLED: "no-table",
};

const SMMU: Shape = {
  name: "qemu-smmu-v3",
  example: "smmuv3-iommu-memory-region-8-0 translation failed for iova=0x8090040 (SMMU_EVT_F_TRANSLATION)",
  kernels: "QEMU",
  pattern:
    /(?<region>smmuv3-iommu-memory-region-[\w-]+)\s+translation\s+failed\s+for\s+iova=(?<address>0x[0-9a-f]+)\s*\((?:SMMU_EVT_)?(?<event>\w+)\)/,
  fields: { region: TEXT, address: HEX_ADDRESS, event: TEXT },
  read(values, found, sink) {
    const fact = faultOf(found, SMMU_CAUSES[values.text("event") ?? ""] ?? "unknown", values);
    sink.add({ ...fact, iommu: values.text("region") ?? "" }, KEY);
  },
};

const VIRTIO: Shape = {
  name: "qemu-virtio",
  example: "qemu-system-x86_64: virtio_iommu_translate no mapping for 0xfee00000 for sid=8",
  kernels: "QEMU 5.0 on",
  pattern:
    /\bvirtio_iommu_translate\s+(?:no\s+mapping\s+for\s+(?<address>0x[0-9a-f]+)\s+for\s+sid=(?<source>\d+)|sid=(?<unknown>\d+)\s+is\s+not\s+known|permission\s+error\s+on\s+(?<denied>0x[0-9a-f]+)\s*\((?<flag>\d)\))/,
  fields: {
    address: HEX_ADDRESS,
    source: { radix: "decimal", unit: "requester id" },
    unknown: { radix: "decimal", unit: "requester id" },
    denied: HEX_ADDRESS,
    flag: { radix: "decimal", unit: "1 read, 2 write" },
  },
  read(values, found, sink) {
    const source = values.small("source") ?? values.small("unknown");
    const flag = values.small("flag");
    const known = values.small("unknown") === undefined;
    const cause = flag === undefined ? "absent" : "permission";
    const fact = faultOf(found, known ? cause : "no-table", values, flag === 2 ? "write" : undefined);
    sink.add({ ...fact, ...given({ device: source === undefined ? undefined : nameOfRequesterId(source) }) }, KEY);
  },
};

function accessOf(values: Values): Access {
  return values.small("write") === 1 ? "write" : "read";
}

/** Bit 0 read, bit 1 write; without both the entry is empty. */
function causeOfEntry(entry: bigint, access: Access): ReportedCause {
  if ((entry & 3n) === 0n) return "absent";
  return (entry & (access === "write" ? 2n : 1n)) === 0n ? "permission" : "unknown";
}

function faultOf(found: Found, cause: ReportedCause, values: Values, access?: Access): FaultFact {
  const iova = values.number("address") ?? values.number("denied");
  return { kind: "fault", family: "qemu", ...found.base, cause, granule: 1, ...given({ iova, access }) };
}

/** Completes the event at this address, the guest's or QEMU's own; else it is one of its own. */
function complete(
  device: string,
  cause: ReportedCause,
  values: Values,
  found: Found,
  sink: Sink,
  access?: Access,
): void {
  const iova = values.number("address");
  const open = openIntelFault(sink, iova) ?? sink.open(KEY);
  if (open?.kind !== "fault" || open.iova === undefined || iova === undefined || open.iova >> 12n !== iova >> 12n) {
    sink.add({ ...faultOf(found, cause, values, access), device }, KEY);
    return;
  }
  open.device ??= device;
  sink.extend(open, found);
}

export const QEMU: Family = {
  name: "qemu",
  about: "IOMMUs that QEMU emulates: messages and traces of QEMU itself",
  hint: /vtd_|amdvi_|smmuv3-iommu|virtio_iommu_translate|not\s+recorded/,
  shapes: [WALK, ACCESS, TRACE, TRANSLATED, TOO_WIDE, NOT_RECORDED, NO_CONTEXT, AMD, SMMU, VIRTIO],
};
