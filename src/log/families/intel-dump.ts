/**
 * VT-d: the table entries that Linux prints beside a fault (5.16 on): root, context and PASID entry, then one paging entry a level. They show how
 * far the walk of the tables got. Bits: VT-d specification, chapter 9, "Translation Structure Formats".
 */
import type { Access, FaultFact } from "../facts.ts";
import { type Found, HEX_ADDRESS, type Shape } from "../shape.ts";
import { addIntelFault, openIntelFault } from "./intel-fault.ts";

const ENTRY = { radix: "hex", unit: "table entry" } as const;
const LEVEL = { radix: "decimal", unit: "level of the table, 1: the entry maps 4 KiB" } as const;
const KERNELS = "Linux 5.16 on";

/** Translation type of a context entry in legacy mode, bits 3:2: 2 is pass-through. */
const translationType = (contextLow: bigint): bigint => (contextLow >> 2n) & 3n;
/** PASID granular translation type of a PASID entry, bits 8:6: 1 first level, 2 second level, 3 nested, 4 pass-through. */
const pasidType = (entry: bigint): number => Number((entry >> 6n) & 7n);
const FIRST_LEVEL = 1;
const PASS_THROUGH = 4;

const HEADER: Shape = {
  name: "intel-dump",
  example: "DMAR: Dump dmar2 table entries for IOVA 0x7ffff000",
  kernels: KERNELS,
  pattern: /Dump\s+(?<iommu>[\w.-]+)\s+table\s+entries\s+for\s+IOVA\s+(?<address>0x[0-9a-f]+)/,
  fields: { iommu: { radix: "text", unit: "IOMMU" }, address: HEX_ADDRESS },
  read(values, found, sink) {
    const iova = values.number("address");
    if (iova === undefined) return;
    const known = openIntelFault(sink, iova);
    const fact = known ?? unseenFault(iova, found.base);
    fact.iommu = values.text("iommu") ?? "";
    if (known === undefined) addIntelFault(fact, sink);
    else sink.extend(fact, found);
  },
};

const ROOT: Shape = {
  name: "intel-dump-root",
  example: "DMAR: scalable mode root entry: hi 0x0000000000000000, low 0x0000000127f42001",
  kernels: KERNELS,
  pattern:
    /(?<scalable>scalable\s+mode\s+)?root\s+entry:\s+(?:hi\s+(?<high>0x[0-9a-f]+),\s+low\s+)?(?<low>0x[0-9a-f]+)/,
  fields: { scalable: { radix: "text", unit: "scalable mode" }, high: ENTRY, low: ENTRY },
  read(values, found, sink) {
    const fact = openIntelFault(sink);
    if (fact === undefined) return;
    fact.values = { ...fact.values, mode: values.text("scalable") === undefined ? "legacy" : "scalable" };
    sink.extend(fact, found);
  },
};

const CONTEXT: Shape = {
  name: "intel-dump-context",
  example: "DMAR: context entry: hi 0x0000000000001402, low 0x000000012d8ab001",
  kernels: KERNELS,
  pattern: /context\s+entry:\s+hi\s+(?<high>0x[0-9a-f]+),\s+low\s+(?<low>0x[0-9a-f]+)/,
  fields: { high: ENTRY, low: ENTRY },
  read(values, found, sink) {
    const fact = openIntelFault(sink);
    if (fact === undefined) return;
    const low = values.number("low") ?? 0n;
    const { mode } = fact.values ?? {};
    // In scalable mode these bits mean something else.
    if (mode === "legacy" && translationType(low) === 2n) fact.dump = "pass-through";
    sink.extend(fact, found);
  },
};

const PASID: Shape = {
  name: "intel-dump-pasid",
  example: "DMAR: pasid table entry[0]: 0x0000000000000109",
  kernels: KERNELS,
  pattern: /pasid\s+(?<table>dir|table)\s+entry(?:\[(?<index>\d+)\])?:\s+(?<value>0x[0-9a-f]+)/,
  fields: {
    table: { radix: "text", unit: "directory or table" },
    index: { radix: "decimal", unit: "word of 64 bits of the entry" },
    value: ENTRY,
  },
  read(values, found, sink) {
    const fact = openIntelFault(sink);
    if (fact === undefined) return;
    const value = values.number("value") ?? 0n;
    if (values.text("table") === "table" && (values.small("index") ?? 0) === 0) {
      const type = pasidType(value);
      fact.values = { ...fact.values, mode: "scalable", pasidType: type };
      if ((value & 1n) === 1n && type === PASS_THROUGH) fact.dump = "pass-through";
    }
    sink.extend(fact, found);
  },
};

const PAGING: Shape = {
  name: "intel-dump-pte",
  example: "DMAR: pte level: 1, pte value: 0x0000000123456003",
  kernels: KERNELS,
  pattern: /pte\s+level:?\s+(?<level>\d)(?:\s*,)?\s+(?:pte\s+)?value:?\s+(?<value>0x[0-9a-f]+)/,
  fields: { level: LEVEL, value: ENTRY },
  read(values, found, sink) {
    const fact = openIntelFault(sink);
    if (fact === undefined) return;
    setEntry(fact, values.small("level") ?? 1, values.number("value") ?? 0n);
    sink.extend(fact, found);
  },
};

const MISSING: Shape = {
  name: "intel-dump-missing",
  example: "DMAR: page table not present at level 1",
  kernels: KERNELS,
  pattern: /(?<table>page\s+table)\s+(?:is\s+)?not\s+present\s+at\s+level\s+(?<level>\d)/,
  fields: { table: { radix: "text", unit: "table" }, level: LEVEL },
  read(_values, found, sink) {
    const fact = openIntelFault(sink);
    if (fact === undefined) return;
    fact.dump = "absent";
    sink.extend(fact, found);
  },
};

/** The tests of the graphics driver print entries in a form of their own. */
const GRAPHICS: Shape = {
  name: "intel-dump-graphics",
  example: "DMAR: fault 7fa8a78000 (level=1) PTE = 149efc003",
  kernels: "tests of i915",
  pattern: /fault\s+(?<address>(?:0x)?[0-9a-f]+)\s+\(level=(?<level>\d)\)\s+PTE\s+=\s+(?<value>(?:0x)?[0-9a-f]+)/,
  fields: { address: HEX_ADDRESS, level: LEVEL, value: ENTRY },
  read(values, found, sink) {
    const iova = values.number("address");
    if (iova === undefined) return;
    const known = openIntelFault(sink, iova);
    const fact = known ?? unseenFault(iova, found.base);
    setEntry(fact, values.small("level") ?? 1, values.number("value") ?? 0n);
    if (known === undefined) addIntelFault(fact, sink);
    else sink.extend(fact, found);
  },
};

/** A dump is printed for faults only: this one's own line was cut away. */
function unseenFault(iova: bigint, base: Found["base"]): FaultFact {
  return { kind: "fault", family: "intel", ...base, cause: "unknown", granule: 4096, iova };
}

/** Takes a paging entry of the walk, which goes from the highest level down. */
export function setEntry(fact: FaultFact, level: number, entry: bigint): void {
  const { pasidType: type } = fact.values ?? {};
  const present = (entry & (type === FIRST_LEVEL ? 1n : 3n)) !== 0n;
  const large = (entry & 0x80n) !== 0n;
  if (!present) fact.dump = "absent";
  else if (large && level > 3)
    fact.dump = "reserved"; // no page is larger than 1 GiB
  else if (!allows(entry, fact.access)) fact.dump = "no-permission";
  else if (level === 1 || large) fact.dump = "present";
}

/** Bit 0: read (first level: present), bit 1: write. An access that is not known may be any. */
function allows(entry: bigint, access: Access | undefined): boolean {
  if (access === undefined) return true;
  return (entry & (access === "write" ? 2n : 1n)) !== 0n;
}

export const INTEL_DUMPS: readonly Shape[] = [HEADER, ROOT, CONTEXT, PASID, PAGING, MISSING, GRAPHICS];
