/** Samsung Exynos: a fault, then the table's base and entries. Old kernels panic after it, so its last lines may be all there is. */
import type { Access, FaultFact, ReportedCause } from "../facts.ts";
import { DEVICE, given, HEX_ADDRESS, type Shape, type Sink, SPEAKER, SPEAKER_FIELD, TEXT } from "../shape.ts";

const KEY = "exynos";

function causeOf(name: string): ReportedCause {
  if (/PROTECTION/.test(name)) return "permission";
  // The walk found no entry, or was refused by the bus.
  if (/PAGE/.test(name)) return "absent";
  return /PTW|BUS|MULTI/.test(name) ? "table-error" : "unknown";
}

const FAULT: Shape = {
  name: "exynos-fault",
  example: "exynos-sysmmu 14860000.sysmmu: 14830000.decon: [READ] PAGE FAULT occurred at 0x6715b3e0",
  kernels: "all; `[READ]` since 4.x; before with `by MASTER(Page table base: 0x…)`",
  pattern: new RegExp(
    String.raw`(?:${SPEAKER}\s+)?(?:(?<device>[\w.@-]{1,64}):\s+)?(?:\[(?<access>READ|WRITE)\]\s+)?(?<name>(?:A[RW]\s+)?(?:PAGE|PTW|BUS\s+ERROR|MULTI-HIT|(?:ACCESS|SECURITY)\s+PROTECTION|UNKNOWN))(?:\s+FAULT)?\s+occurred\s+at\s+(?<iova>0x[0-9a-f]+)` +
      String.raw`(?:\s+by\s+(?<master>[\w.@-]{1,64}))?`,
  ),
  fields: { iommu: SPEAKER_FIELD, device: DEVICE, access: TEXT, name: TEXT, iova: HEX_ADDRESS, master: DEVICE },
  read(values, found, sink) {
    const name = values.text("name") ?? "";
    // Before `[READ]` the name tells it: AR is the channel of reads, AW that of writes.
    const channel = /^A(?<channel>[RW])\s/.exec(name)?.groups?.["channel"];
    const access = values.text("access") ?? { R: "READ", W: "WRITE" }[channel ?? ""];
    const fact: FaultFact = {
      kind: "fault",
      family: "exynos",
      ...found.base,
      cause: causeOf(name),
      granule: 1,
      ...given({
        iommu: values.text("iommu"),
        device: values.text("master") ?? values.text("device"),
        iova: values.number("iova"),
        access: access?.toLowerCase() as Access | undefined,
      }),
    };
    sink.add(fact, KEY);
  },
};

function openFault(sink: Sink): FaultFact | undefined {
  const fact = sink.open(KEY);
  return fact?.kind === "fault" ? fact : undefined;
}

const ENTRY: Shape = {
  name: "exynos-entry",
  example: "exynos-sysmmu 14860000.sysmmu: \tLv1 entry: 0x6dd1cc01",
  kernels: "all: after a fault",
  pattern: /\bLv(?<level>[12])\s+entry:\s+(?<entry>(?:0x)?[0-9a-f]+)/,
  fields: {
    level: { radix: "decimal", unit: "level" },
    entry: { radix: "hex", unit: "entry: bits 1:0 are 0 (or 3 at level 1) when it is absent" },
  },
  read(values, found, sink) {
    const fact = openFault(sink);
    if (fact === undefined) return;
    const kind = Number((values.number("entry") ?? 0n) & 3n);
    const isAbsent = kind === 0 || (kind === 3 && values.small("level") === 1);
    // A table at level 1 says nothing yet; a section does.
    if (isAbsent) fact.dump = "absent";
    else if (values.small("level") === 2 || kind === 2) fact.dump = "present";
    sink.extend(fact, found);
  },
};

const TABLE_BASE: Shape = {
  name: "exynos-table-base",
  example: "exynos-sysmmu 14860000.sysmmu: Page table base: 0x2f7c0000",
  kernels: "all: after a fault",
  pattern: /\bPage\s+table\s+base:\s+(?<base>(?:0x)?[0-9a-f]+)/,
  fields: { base: { radix: "hex", unit: "physical address" } },
  read(_values, found, sink) {
    const fact = openFault(sink);
    if (fact !== undefined) sink.extend(fact, found);
  },
};

export const EXYNOS_SHAPES: readonly Shape[] = [FAULT, ENTRY, TABLE_BASE];
