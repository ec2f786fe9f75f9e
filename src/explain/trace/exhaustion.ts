/**
 * Mappings that failed: what was asked for, what was free below the device's mask, and the largest hole. A trace does not name the mask: a line
 * of the log may; else it is taken to be the smallest one that holds all addresses that the device ever got.
 */

import type { LineRef } from "../../log/facts.ts";
import {
  DMA_ALLOC,
  DMA_ALLOC_ERROR,
  DMA_MAP,
  DMA_MAP_RESOURCE,
  DMA_MAP_SG,
  DMA_MAP_SG_ERROR,
  type TraceEvents,
  UNKNOWN_DEVICE,
} from "../../trace/events.ts";
import type { Candidate, Finding, Statement } from "../contract.ts";
import type { Evidence } from "../evidence.ts";
import { amount } from "../statement.ts";
import type { TraceAnalysis } from "./analysis.ts";
import { NO_ROW } from "./lives.ts";

const PAGE_BYTES = 4096;
const MOST_ROWS = 64;

/** No IOMMU translates more bits; of a wider mask the limit is the table's, which no line tells. */
const MOST_BITS = 48;

export function exhaustionIn(analysis: TraceAnalysis, evidence: Evidence): Finding[] {
  const { events } = analysis.trace;
  const byDevice = new Map<number, number[]>();
  for (let row = 0; row < events.length; row++) {
    if (!isFailedMap(events, row)) continue;
    const device = events.device[row] as number;
    const rows = byDevice.get(device);
    if (rows === undefined) byDevice.set(device, [row]);
    else rows.push(row);
  }
  return [...byDevice].map(([device, rows]) => exhausted(analysis, device, rows, evidence));
}

/** A request of the DMA API that got no address. */
export function isFailedMap(events: TraceEvents, row: number): boolean {
  switch (events.kind[row]) {
    case DMA_MAP:
    case DMA_MAP_RESOURCE:
    case DMA_MAP_SG:
    case DMA_ALLOC:
      return events.iovaLow[row] === -1 && events.iovaHigh[row] === -1;
    case DMA_MAP_SG_ERROR:
    case DMA_ALLOC_ERROR:
      return true;
    default:
      return false;
  }
}

/** Free pages in reach of the device when a request failed. */
interface Space {
  /** Lines that name the mask; empty: the limit is a guess. */
  readonly maskLines: readonly LineRef[];
  readonly limitPages: number;
  readonly freePages: number;
  readonly largestHolePages: number;
}

function exhausted(analysis: TraceAnalysis, device: number, rows: readonly number[], evidence: Evidence): Finding {
  const row = rows[0] as number;
  const { events, devices } = analysis.trace;
  const name = device === UNKNOWN_DEVICE ? undefined : devices[device];
  const lines = rows.slice(0, MOST_ROWS).map((one) => analysis.lineOf(one));
  const bytes = events.bytes[row] as number;
  const space = spaceAt(analysis, device, row, evidence.maskOf(name));
  const asked: Statement = {
    text: `${rows.length} ${rows.length === 1 ? "request" : "requests"} failed${name === undefined ? "" : ` for ${name}`}; ${rows.length === 1 ? "it" : "the first"} asked for ${bytes === 0 ? "an unknown number of bytes" : amount(bytes)}.`,
    proof: lines.slice(0, 6),
  };
  const candidates = space === undefined ? [] : [candidateOf(space, bytes, lines.slice(0, 2))];
  const leads = space !== undefined && bytes > 0 && analysis.completeFrom(device) !== NO_ROW && !analysis.isLossy;
  const others = ["full", "fragmented"].filter((verdict) => verdict !== candidates[0]?.verdict);
  return {
    kind: "exhausted",
    verdict: leads ? (candidates[0]?.verdict ?? "undecided") : "undecided",
    certainty: leads ? "strong" : "undecided",
    ...(name === undefined ? {} : { device: name }),
    count: rows.length,
    firstTime: analysis.secondsOf(row),
    lastTime: analysis.secondsOf(rows.at(-1) ?? row),
    clock: "trace",
    follows: [asked, ...(space === undefined ? [] : [spaceText(space, lines.slice(0, 1))])],
    candidates: [...candidates, ...others.map((verdict): Candidate => ({ verdict, weight: "hint", because: [] }))],
    excluded: [],
    proof: lines.slice(0, 32),
    record: [
      "grep -H . /sys/bus/pci/devices/*/{dma_mask_bits,consistent_dma_mask_bits}   # how many bits each device can address",
      "boot with: trace_event=iommu:*,dma:*,printk:console trace_buf_size=64M   # all mappings from the boot on: what fills the space",
    ],
  };
}

function candidateOf(space: Space, bytes: number, proof: Statement["proof"]): Candidate {
  const pages = Math.ceil(bytes / PAGE_BYTES);
  const hole = space.largestHolePages * PAGE_BYTES;
  if (space.freePages < pages) {
    return { verdict: "full", weight: "strong", because: [{ text: "Less was free than was asked for.", proof }] };
  }
  if (space.largestHolePages < pages) {
    return {
      verdict: "fragmented",
      weight: "strong",
      because: [{ text: `Enough was free, but the largest hole had ${amount(hole)}.`, proof }],
    };
  }
  const text = `A hole of ${amount(hole)} was free: the allocator's caches, its alignment, its search or a lack of memory would explain it.`;
  return { verdict: "allocator-state", weight: "strong", because: [{ text, proof }] };
}

function spaceText(
  { limitPages, freePages, largestHolePages, maskLines }: Space,
  proof: Statement["proof"],
): Statement {
  const bits = Math.log2(limitPages * PAGE_BYTES);
  return {
    text:
      `${maskLines.length > 0 ? `The device's mask has ${bits} bits.` : `All addresses that the device got have at most ${bits} bits; no line names its mask.`} ` +
      `Of these addresses ${amount(freePages * PAGE_BYTES)} were free, as far as the recording ` +
      `shows; the largest hole had ${amount(largestHolePages * PAGE_BYTES)}.`,
    proof: [...maskLines, ...proof],
  };
}

/** Undefined where the trace shows no mapping of the device. */
function spaceAt(
  analysis: TraceAnalysis,
  device: number,
  row: number,
  mask: ReturnType<Evidence["maskOf"]>,
): Space | undefined {
  const { lives } = analysis;
  const live: { first: number; end: number }[] = [];
  let top = 0;
  for (let life = 0; life < lives.length; life++) {
    if (!analysis.isOf(life, [device])) continue;
    top = Math.max(top, lives.end[life] as number);
    const unmapRow = lives.unmapRow[life] as number;
    const isLive = (lives.mapRow[life] as number) < row && (unmapRow === NO_ROW || unmapRow > row);
    if (isLive) live.push({ first: lives.first[life] as number, end: lives.end[life] as number });
  }
  if (top === 0) return undefined;
  const isNamed = mask !== undefined && mask.bits <= MOST_BITS && 2 ** mask.bits >= top * PAGE_BYTES;
  const limitPages = isNamed ? 2 ** mask.bits / PAGE_BYTES : 2 ** Math.ceil(Math.log2(top));
  live.sort((a, b) => a.first - b.first);
  // Page 0 is never given out.
  let at = 1;
  let freePages = 0;
  let largestHolePages = 0;
  for (const { first, end } of [...live, { first: limitPages, end: limitPages }]) {
    if (first > at) {
      freePages += first - at;
      largestHolePages = Math.max(largestHolePages, first - at);
    }
    at = Math.max(at, end);
  }
  return { limitPages, freePages, largestHolePages, maskLines: isNamed ? mask.lines : [] };
}
