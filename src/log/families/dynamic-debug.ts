/**
 * Dynamic debug of the IOMMU code (`dyndbg="file drivers/iommu/iommu.c +p"`): maps and unmaps, as the events of a trace have them. A map is
 * printed whole, then in the pieces that it is made of.
 */
import type { MappingFact } from "../facts.ts";
import { type Family, type Field, type Found, HEX_ADDRESS, type Shape, type Sink, type Values } from "../shape.ts";

const SIZE: Field = { radix: "hex", unit: "bytes" };
const PHYSICAL: Field = { radix: "hex", unit: "physical address" };
/** One key for all, so that facts are handed on in the order of the lines. */
const KEY = "dynamic-debug";

function mappingOf(action: "map" | "unmap", bytes: bigint, values: Values, found: Found): MappingFact {
  const physical = values.number("physical");
  const fact: MappingFact = { kind: "mapping", ...found.base, action, iova: values.number("iova") ?? 0n, bytes };
  return physical === undefined ? fact : { ...fact, physical };
}

const MAP: Shape = {
  name: "debug-map",
  example: "iommu: map: iova 0x200000 pa 0x0000000080200000 size 0x200000",
  kernels: "all with dynamic debug",
  pattern: /\bmap:\s+iova\s+(?<iova>0x[0-9a-f]+)\s+pa\s+(?<physical>0x[0-9a-f]+)\s+size\s+(?<size>0x[0-9a-f]+)/,
  fields: { iova: HEX_ADDRESS, physical: PHYSICAL, size: SIZE },
  read(values, found, sink) {
    sink.add(mappingOf("map", values.number("size") ?? 0n, values, found), KEY);
  },
};

const PIECE: Shape = {
  name: "debug-mapping",
  example: "iommu: mapping: iova 0x200000 pa 0x0000000080200000 pgsize 0x200000 count 1",
  kernels: "all with dynamic debug; the count since 5.14",
  pattern:
    /\bmapping:\s+iova\s+(?<iova>0x[0-9a-f]+)\s+pa\s+(?<physical>0x[0-9a-f]+)\s+pgsize\s+(?<page>0x[0-9a-f]+)(?:\s+count\s+(?<count>\d+))?/,
  fields: {
    iova: HEX_ADDRESS,
    physical: PHYSICAL,
    page: SIZE,
    count: { radix: "decimal", unit: "pages of that size" },
  },
  read(values, found, sink) {
    const bytes = (values.number("page") ?? 0n) * (values.number("count") ?? 1n);
    const piece = mappingOf("map", bytes, values, found);
    if (isPartOfOpenMap(piece, sink)) return;
    sink.add(piece, KEY);
  },
};

function isPartOfOpenMap(piece: MappingFact, sink: Sink): boolean {
  const open = sink.open(KEY);
  if (open?.kind !== "mapping" || open.action !== "map") return false;
  return piece.iova >= open.iova && piece.iova + piece.bytes <= open.iova + open.bytes;
}

const UNMAPPED: Shape = {
  name: "debug-unmapped",
  example: "iommu: unmapped: iova 0x200000 size 0x200000",
  kernels: "all with dynamic debug",
  pattern: /\bunmapped:\s+iova\s+(?<iova>0x[0-9a-f]+)\s+size\s+(?<size>0x[0-9a-f]+)/,
  fields: { iova: HEX_ADDRESS, size: SIZE },
  read(values, found, sink) {
    sink.add(mappingOf("unmap", values.number("size") ?? 0n, values, found), KEY);
  },
};

export const DYNAMIC_DEBUG: Family = {
  name: "dynamic-debug",
  about: "Dynamic debug of the IOMMU code: maps and unmaps",
  hint: /map(?:ping|ped)?:\s+iova/,
  shapes: [MAP, PIECE, UNMAPPED],
};
