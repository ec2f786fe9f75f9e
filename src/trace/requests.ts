/**
 * Requests of drivers, reconstructed from the kernel's events: requests (a mapping of one or more pieces of memory, as
 * `mapSg` takes them) and the order in which they were mapped and unmapped.
 *
 * One request makes several `map` lines, one per physically contiguous chunk, and mostly one `unmap` line. Which lines belong
 * together: those that one dma event claims (join.ts); without dma events, lines of one CPU whose bus addresses follow each
 * other, that end in the same `unmap` line, or, never unmapped, that came within microseconds. That is exact for what dma
 * events cover and for what one `unmap` ends; a guess only for several small maps that are never unmapped.
 *
 * Left out, and counted: unmaps of what was mapped before the trace, and mappings that failed in the recording.
 */

import { DEVICE_READS, DEVICE_READS_AND_WRITES, DEVICE_WRITES } from "../units/numbers.ts";
import {
  BIDIRECTIONAL,
  EMPTY_LIST,
  FROM_DEVICE,
  MAP,
  TO_DEVICE,
  type Trace,
  type TraceEvents,
  UNKNOWN_DEVICE,
  UNMAP,
} from "./events.ts";
import { type DeviceJoin, joinDevices, pageNumber, pageOf, pagesOf, TRACE_PAGE_BYTES, UNCLAIMED } from "./join.ts";
import { LiveRanges } from "./live.ts";

/** `map` lines that follow each other this closely may be one request, when nothing else tells. */
const CHUNK_GAP_NS = 50_000;
/** Never unmapped in the trace. */
export const NEVER = -1;

/** Requests as columns, in the order in which they were mapped. */
export interface RequestHistory {
  /** Number of requests. */
  readonly length: number;
  /** CPU that mapped. */
  readonly cpu: Int32Array;
  /** CPU that unmapped, or NEVER. */
  readonly unmapCpu: Int32Array;
  /** Index in `Trace.devices`, or UNKNOWN_DEVICE. */
  readonly device: Int32Array;
  /** Allowed accesses of the device: 1 reads, 2 writes, 3 both (also when the trace does not say). */
  readonly access: Uint8Array;
  /** Line of the first `map`. */
  readonly line: Int32Array;
  /** Pages of 4 KiB on the bus. */
  readonly pages: Float64Array;
  /** First row in the element columns, and how many. */
  readonly elementFirst: Int32Array;
  readonly elementCount: Int32Array;
  /** Physical byte address of each element; exact below 2^53. */
  readonly elementAddress: Float64Array;
  readonly elementBytes: Float64Array;
  /** Maps and unmaps in the order of the trace: r + 1 maps request r, −(r + 1) unmaps it. */
  readonly operations: Int32Array;
  readonly counts: RequestCounts;
}

export interface RequestCounts {
  /** `map` lines: physically contiguous chunks. */
  readonly mapLines: number;
  readonly unmapLines: number;
  /** Requests of which a dma event names the device. */
  readonly namedRequests: number;
  /** Requests that the trace does not unmap. */
  readonly neverUnmapped: number;
  /** Requests that were mapped on one CPU and unmapped on another. */
  readonly crossCpuUnmaps: number;
  /** `unmap` lines of what was mapped before the trace, or in lost events. */
  readonly unmapsOfUnknown: number;
  readonly partialUnmaps: number;
  /** `unmap` lines that fitted several live ranges equally (of several devices). */
  readonly ambiguousUnmaps: number;
  readonly failedMaps: number;
  /** dma mappings that no IOMMU translates. */
  readonly untranslated: number;
}

/** Reads the history of requests back from a trace's events. */
export function requestsOf(trace: Trace): RequestHistory {
  const { events } = trace;
  const join = joinDevices(events);
  const live = new LiveRanges(events, join.claim);
  for (let row = 0; row < events.length; row++) {
    if (events.kind[row] === MAP) live.map(row);
    else if (events.kind[row] === UNMAP) live.unmap(row);
  }
  const groups = groupRows(events, join.claim, live.endedBy);
  return new HistoryBuilder(events, join, live).build(groups);
}

/** The `map` rows of each request. */
function groupRows(events: TraceEvents, claim: Int32Array, endedBy: Int32Array): number[][] {
  const groups: number[][] = [];
  const byClaim = new Map<number, number[]>();
  const lastOfCpu = new Map<number, number[]>();
  for (let row = 0; row < events.length; row++) {
    if (events.kind[row] !== MAP) continue;
    const claimed = claim[row] as number;
    const cpu = events.cpu[row] as number;
    const open = claimed === UNCLAIMED ? lastOfCpu.get(cpu) : byClaim.get(claimed);
    if (open !== undefined && (claimed !== UNCLAIMED || continues(events, endedBy, open, row))) {
      open.push(row);
      continue;
    }
    const group = [row];
    groups.push(group);
    if (claimed === UNCLAIMED) lastOfCpu.set(cpu, group);
    else byClaim.set(claimed, group);
  }
  return groups;
}

/** Without a dma event: does this `map` line go on with the request that the CPU mapped last? */
function continues(events: TraceEvents, endedBy: Int32Array, group: readonly number[], row: number): boolean {
  const last = group[group.length - 1] as number;
  if (pageOf(events, last) + pagesOf(events, last) !== pageOf(events, row)) return false;
  if (endedBy[last] !== endedBy[row]) return false;
  return endedBy[row] !== UNCLAIMED || (events.time[row] as number) - (events.time[last] as number) <= CHUNK_GAP_NS;
}

/** Writes the columns. */
class HistoryBuilder {
  readonly #events: TraceEvents;
  readonly #join: DeviceJoin;
  readonly #live: LiveRanges;
  readonly #addresses: number[] = [];
  readonly #bytes: number[] = [];

  constructor(events: TraceEvents, join: DeviceJoin, live: LiveRanges) {
    this.#events = events;
    this.#join = join;
    this.#live = live;
  }

  build(groups: readonly (readonly number[])[]): RequestHistory {
    // A request counts from its last chunk on: only then can the driver use it.
    const ordered = groups.toSorted((a, b) => (a.at(-1) as number) - (b.at(-1) as number));
    const { cpu, line, device } = this.#events;
    const length = ordered.length;
    const columns = emptyColumns(length);
    const ends = new Int32Array(length);
    ordered.forEach((rows, request) => {
      const first = rows[0] as number;
      const claim = this.#join.claim[first] as number;
      const end = this.#endOf(rows);
      ends[request] = end;
      columns.cpu[request] = cpu[first] as number;
      columns.unmapCpu[request] = end === UNCLAIMED ? NEVER : (cpu[end] as number);
      columns.device[request] = claim === UNCLAIMED ? UNKNOWN_DEVICE : (device[claim] as number);
      columns.access[request] = this.#accessOf(claim);
      columns.line[request] = line[first] as number;
      columns.pages[request] = rows.reduce((sum, row) => sum + pagesOf(this.#events, row), 0);
      columns.elementFirst[request] = this.#addresses.length;
      this.#addElements(rows, claim);
      columns.elementCount[request] = this.#addresses.length - (columns.elementFirst[request] as number);
    });
    return {
      length,
      ...columns,
      elementAddress: Float64Array.from(this.#addresses),
      elementBytes: Float64Array.from(this.#bytes),
      operations: this.#operations(ordered, ends),
      counts: this.#counts(columns),
    };
  }

  /** The `unmap` row after which nothing of the request is left, or UNCLAIMED. */
  #endOf(rows: readonly number[]): number {
    let end = 0;
    for (const row of rows) {
      const ended = this.#live.endedBy[row] as number;
      if (ended === UNCLAIMED) return UNCLAIMED;
      end = Math.max(end, ended);
    }
    return end;
  }

  #accessOf(claim: number): number {
    switch (claim === UNCLAIMED ? BIDIRECTIONAL : this.#events.direction[claim]) {
      case TO_DEVICE:
        return DEVICE_READS;
      case FROM_DEVICE:
        return DEVICE_WRITES;
      default:
        return DEVICE_READS_AND_WRITES;
    }
  }

  /** The pieces of memory: the chunks, cut where a dma event's list says that an element begins. */
  #addElements(rows: readonly number[], claim: number): void {
    const { elements, lists } = this.#events;
    const list = claim === UNCLAIMED ? EMPTY_LIST : (this.#events.list[claim] as number);
    const listed = lists.elementCount[list] as number;
    let next = lists.elementFirst[list] as number;
    const end = next + listed;
    for (const row of rows) {
      let at = byteAddress(this.#events.physicalLow[row] as number, this.#events.physicalHigh[row] as number);
      const chunkEnd = at + (this.#events.bytes[row] as number);
      for (; next < end; next++) {
        const begin = byteAddress(elements.low[next] as number, elements.high[next] as number);
        if (begin < at || begin >= chunkEnd) break;
        // The first element of a chunk may begin inside its first page; later ones end the one before.
        if (begin - at >= TRACE_PAGE_BYTES) this.#addElement(at, begin - at);
        at = begin;
      }
      this.#addElement(at, chunkEnd - at);
    }
    if (listed === 0 && claim !== UNCLAIMED && rows.length === 1) this.#trim(claim);
  }

  #addElement(address: number, bytes: number): void {
    this.#addresses.push(address);
    this.#bytes.push(bytes);
  }

  /** A mapping of one piece: its dma event says where inside the pages it lies. */
  #trim(claim: number): void {
    const { iovaLow, bytes } = this.#events;
    const last = this.#addresses.length - 1;
    const offset = (iovaLow[claim] as number) & (TRACE_PAGE_BYTES - 1);
    const size = bytes[claim] as number;
    if (offset + size > (this.#bytes[last] as number)) return;
    this.#addresses[last] = (this.#addresses[last] as number) + offset;
    this.#bytes[last] = size;
  }

  #operations(ordered: readonly (readonly number[])[], ends: Int32Array): Int32Array {
    const operations: { readonly row: number; readonly operation: number }[] = [];
    ordered.forEach((rows, request) => {
      operations.push({ row: rows.at(-1) as number, operation: request + 1 });
      const end = ends[request] as number;
      if (end !== UNCLAIMED) operations.push({ row: end, operation: -(request + 1) });
    });
    operations.sort((a, b) => a.row - b.row);
    return Int32Array.from(operations, ({ operation }) => operation);
  }

  #counts(columns: ReturnType<typeof emptyColumns>): RequestCounts {
    const { kind, length } = this.#events;
    const lines = (wanted: number): number =>
      kind.subarray(0, length).reduce((sum, k) => sum + (k === wanted ? 1 : 0), 0);
    const requests = (holds: (request: number) => boolean): number =>
      columns.cpu.reduce((sum, _, request) => sum + (holds(request) ? 1 : 0), 0);
    return {
      mapLines: lines(MAP),
      unmapLines: lines(UNMAP),
      namedRequests: requests((r) => columns.device[r] !== UNKNOWN_DEVICE),
      neverUnmapped: requests((r) => columns.unmapCpu[r] === NEVER),
      crossCpuUnmaps: requests((r) => columns.unmapCpu[r] !== NEVER && columns.unmapCpu[r] !== columns.cpu[r]),
      unmapsOfUnknown: this.#live.unmapsOfUnknown,
      partialUnmaps: this.#live.partialUnmaps,
      ambiguousUnmaps: this.#live.ambiguousUnmaps,
      failedMaps: this.#join.failedMaps,
      untranslated: this.#join.untranslated,
    };
  }
}

function emptyColumns(length: number) {
  return {
    cpu: new Int32Array(length),
    unmapCpu: new Int32Array(length),
    device: new Int32Array(length),
    access: new Uint8Array(length),
    line: new Int32Array(length),
    pages: new Float64Array(length),
    elementFirst: new Int32Array(length),
    elementCount: new Int32Array(length),
  };
}

function byteAddress(low: number, high: number): number {
  return pageNumber(low, high) * TRACE_PAGE_BYTES + (low & (TRACE_PAGE_BYTES - 1));
}
