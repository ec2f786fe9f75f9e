/** The mappings of a trace as drivers asked for them: the `map` lines of one request of the DMA API are one mapping. */
import { UNKNOWN_DEVICE, UNKNOWN_DIRECTION } from "../../trace/events.ts";
import { UNCLAIMED } from "../../trace/join.ts";
import type { TraceAnalysis } from "./analysis.ts";
import { NO_ROW } from "./lives.ts";

/** One row a request, in the order in which they were made. */
export interface MappingRequests {
  readonly length: number;
  /** Row of the dma event, or of the only `map` line. */
  readonly row: Int32Array;
  /** As the owners count. */
  readonly owner: Int32Array;
  readonly direction: Int8Array;
  readonly bytes: Float64Array;
  /** Row of the last `unmap` line that ended a part of it; NO_ROW while a part is live. */
  readonly unmapRow: Int32Array;
}

/** All requests. Lives that began before the trace are no request of it. */
export function requestsIn(analysis: TraceAnalysis): MappingRequests {
  const { lives, trace } = analysis;
  const rows = trace.events.length;
  const bytesOfRow = new Float64Array(rows);
  const lastOfRow = new Int32Array(rows);
  const ownerOfRow = new Int32Array(rows);
  let length = 0;
  for (let life = 0; life < lives.length; life++) {
    const row = requestOf(analysis, life);
    if (row === NO_ROW) continue;
    const bytes = ((lives.end[life] as number) - (lives.first[life] as number)) * 4096;
    const unmapRow = lives.unmapRow[life] as number;
    const known = lastOfRow[row] as number;
    if (bytesOfRow[row] === 0) {
      length++;
      lastOfRow[row] = unmapRow;
      ownerOfRow[row] = lives.owner[life] as number;
    } else lastOfRow[row] = known === NO_ROW || unmapRow === NO_ROW ? NO_ROW : Math.max(known, unmapRow);
    bytesOfRow[row] = (bytesOfRow[row] as number) + bytes;
  }
  return packed(analysis, length, bytesOfRow, lastOfRow, ownerOfRow);
}

/** The row that stands for the request to which the life belongs; NO_ROW when it belongs to none. */
function requestOf({ lives, ignored, history }: TraceAnalysis, life: number): number {
  const map = lives.mapRow[life] as number;
  if (map === NO_ROW || ignored[life] === 1 || lives.first[life] === lives.end[life]) return NO_ROW;
  const claim = history.claim[map] as number;
  return claim === UNCLAIMED ? map : claim;
}

function packed(
  { trace }: TraceAnalysis,
  length: number,
  bytesOfRow: Float64Array,
  lastOfRow: Int32Array,
  ownerOfRow: Int32Array,
): MappingRequests {
  const { device, direction } = trace.events;
  const requests = {
    length,
    row: new Int32Array(length),
    owner: new Int32Array(length),
    direction: new Int8Array(length),
    bytes: new Float64Array(length),
    unmapRow: new Int32Array(length),
  };
  let request = 0;
  for (let row = 0; row < bytesOfRow.length; row++) {
    if (bytesOfRow[row] === 0) continue;
    requests.row[request] = row;
    requests.owner[request] = ownerOfRow[row] as number;
    requests.direction[request] = device[row] === UNKNOWN_DEVICE ? UNKNOWN_DIRECTION : (direction[row] as number);
    requests.bytes[request] = bytesOfRow[row] as number;
    requests.unmapRow[request] = lastOfRow[row] as number;
    request++;
  }
  return requests;
}
