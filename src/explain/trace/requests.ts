/** The mappings of a trace as drivers asked for them: the `map` lines of one request of the DMA API are one mapping. */
import { type TraceEvents, UNKNOWN_DEVICE } from "../../trace/events.ts";
import { UNCLAIMED } from "../../trace/join.ts";
import type { TraceAnalysis } from "./analysis.ts";
import { NO_ROW } from "./lives.ts";

export interface MappingRequest {
  /** The dma event, or the only `map` line. */
  readonly row: number;
  /** As the owners count. */
  readonly owner: number;
  readonly direction: number;
  bytes: number;
  /** Row of the last `unmap` line that ended a part of it; NO_ROW while a part is live. */
  unmapRow: number;
}

/** All requests, in the order in which they were made. Lives that began before the trace are no request of it. */
export function requestsIn(analysis: TraceAnalysis): MappingRequest[] {
  const { lives, history, trace } = analysis;
  const byRow = new Map<number, MappingRequest>();
  for (let life = 0; life < lives.length; life++) {
    const map = lives.mapRow[life] as number;
    if (map === NO_ROW || analysis.ignored[life] === 1) continue;
    const claim = history.claim[map] as number;
    const row = claim === UNCLAIMED ? map : claim;
    const bytes = ((lives.end[life] as number) - (lives.first[life] as number)) * 4096;
    const unmapRow = lives.unmapRow[life] as number;
    const known = byRow.get(row);
    if (known === undefined) {
      byRow.set(row, {
        row,
        owner: lives.owner[life] as number,
        direction: directionAt(trace.events, row),
        bytes,
        unmapRow,
      });
    } else {
      known.bytes += bytes;
      known.unmapRow = known.unmapRow === NO_ROW || unmapRow === NO_ROW ? NO_ROW : Math.max(known.unmapRow, unmapRow);
    }
  }
  return [...byRow.values()].sort((a, b) => a.row - b.row);
}

function directionAt(events: TraceEvents, row: number): number {
  return events.device[row] === UNKNOWN_DEVICE ? -1 : (events.direction[row] as number);
}
