/** Lines and recordings that tests of the trace parser read, and what came of a line as text. */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { type Trace, UNKNOWN_DEVICE } from "./events.ts";
import { parseTrace } from "./parser.ts";

const root = new URL("../../../", import.meta.url);
/** A shipped trace, unpacked. */
export const read = (name: string): Uint8Array => {
  const bytes = readFileSync(new URL(`traces/${name}`, root));
  return name.endsWith(".gz") ? gunzipSync(bytes) : bytes;
};
export const parse = (text: string): Trace => parseTrace(new TextEncoder().encode(text));
export const MAP_LINE =
  "              dd-194     [003] d.h1.     9.118253: map: IOMMU: iova=0x00000000ffff9000 - 0x00000000ffffa000 paddr=0x000000010945b000 size=4096";
export const UNMAP_LINE =
  "          <idle>-0       [000] dNH1.     9.122515: unmap: IOMMU: iova=0x0000000012349000 - 0x000000001234b000 size=8192 unmapped_size=16384";

/** A row of the columns as text, to compare and to show. */
export function row(trace: Trace, at: number): string {
  const { events } = trace;
  const hex = (low: number, high: number): string => ((BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)).toString(16);
  const list = (columns: typeof events.elements, first: number, count: number): string =>
    Array.from({ length: count }, (_, i) => hex(columns.low[first + i]!, columns.high[first + i]!)).join(",");
  return [
    `kind ${events.kind[at]} cpu ${events.cpu[at]} time ${events.time[at]} line ${events.line[at]}`,
    `iova ${hex(events.iovaLow[at]!, events.iovaHigh[at]!)} bytes ${events.bytes[at]}`,
    `physical ${hex(events.physicalLow[at]!, events.physicalHigh[at]!)}`,
    `device ${events.device[at] === UNKNOWN_DEVICE ? "-" : trace.devices[events.device[at]!]} dir ${events.direction[at]}`,
    `elements ${list(events.elements, events.lists.elementFirst[events.list[at]!]!, events.lists.elementCount[events.list[at]!]!)}`,
    `segments ${list(events.segments, events.lists.segmentFirst[events.list[at]!]!, events.lists.segmentCount[events.list[at]!]!)}`,
  ].join("; ");
}
