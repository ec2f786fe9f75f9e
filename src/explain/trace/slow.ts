/**
 * Slow invalidation. Between an `unmap` line and the dma event behind it, the kernel makes the IOMMU forget the address (strict mode) and gives the
 * address back: microseconds. Where most of a device's unmaps take a millisecond or longer, the trace shows it; an event of the invalidation
 * itself (`qi_submit`) tells whether the time passes before or after it was handed to the IOMMU.
 *
 * A `dma_unmap_sg` stands before its `unmap` line, so its end is not recorded: such unmaps are not measured.
 */

import {
  DMA_UNMAP,
  DMA_UNMAP_RESOURCE,
  INVALIDATION,
  type TraceEvents,
  UNKNOWN_DEVICE,
  UNMAP,
} from "../../trace/events.ts";
import { pageOf, pagesOf } from "../../trace/join.ts";
import { grouped } from "../../units/counts.ts";
import type { Finding, Statement } from "../contract.ts";
import { slowCommands, TRACING } from "../record.ts";
import type { TraceAnalysis } from "./analysis.ts";

/** From here on an unmap is slow: usual are microseconds, in emulators some tens of them. */
const SLOW_NANOSECONDS = 1e6;
/** A task may be put aside between the two lines of an unmap: single long times mean nothing, most of many do. */
const FEWEST_SLOW = 8;
const LEAST_SHARE = 0.5;
/** The invalidation has the blame when so much of the time passes after it was handed over. */
const TELLING_SHARE = 0.8;

/** An unmap and its end. */
interface Measured {
  readonly unmapRow: number;
  readonly endRow: number;
  readonly nanoseconds: number;
  /** The part after the last event of the invalidation; undefined when no such event stands between the two lines. */
  readonly sinceInvalidation: number | undefined;
}

/** The unfinished unmap of one CPU. */
interface Open {
  unmapRow: number;
  invalidationRow: number;
}

const NONE = -1;

export function slowIn(analysis: TraceAnalysis, invalidation: string | undefined): Finding[] {
  // Times of a clock that counts have no unit.
  if (analysis.trace.clockCounts) return [];
  return [...slowUnmapsByDevice(analysis.trace.events)]
    .filter(([, { all, slow }]) => slow.length >= FEWEST_SLOW && slow.length >= all * LEAST_SHARE)
    .map(([device, { all, slow }]) => slowFinding(analysis, device, all, slow, invalidation));
}

interface UnmapsOfDevice {
  all: number;
  readonly slow: Measured[];
}

function slowUnmapsByDevice(events: TraceEvents): Map<number, UnmapsOfDevice> {
  const open = new Map<number, Open>();
  const byDevice = new Map<number, UnmapsOfDevice>();
  for (let row = 0; row < events.length; row++) {
    const cpu = events.cpu[row] as number;
    const kind = events.kind[row];
    if (kind === UNMAP) {
      open.set(cpu, { unmapRow: row, invalidationRow: NONE });
      continue;
    }
    const begun = open.get(cpu);
    if (begun === undefined) continue;
    if (kind === INVALIDATION) {
      begun.invalidationRow = row;
      continue;
    }
    // Anything else than its end: the CPU does something else in between.
    open.delete(cpu);
    if ((kind === DMA_UNMAP || kind === DMA_UNMAP_RESOURCE) && ends(events, begun.unmapRow, row)) {
      note(byDevice, events, begun, row);
    }
  }
  return byDevice;
}

/** True if the dma event belongs to the unmap, and to the same task. */
function ends(events: TraceEvents, unmapRow: number, row: number): boolean {
  const first = pageOf(events, unmapRow);
  const page = pageOf(events, row);
  return page >= first && page < first + pagesOf(events, unmapRow) && events.task[row] === events.task[unmapRow];
}

function note(
  byDevice: Map<number, UnmapsOfDevice>,
  events: TraceEvents,
  { unmapRow, invalidationRow }: Open,
  row: number,
): void {
  const device = events.device[row] as number;
  let known = byDevice.get(device);
  if (known === undefined) {
    known = { all: 0, slow: [] };
    byDevice.set(device, known);
  }
  known.all++;
  const since = (from: number): number => (events.time[row] as number) - (events.time[from] as number);
  const nanoseconds = since(unmapRow);
  if (nanoseconds < SLOW_NANOSECONDS) return;
  const sinceInvalidation = invalidationRow === NONE ? undefined : since(invalidationRow);
  known.slow.push({ unmapRow, endRow: row, nanoseconds, sinceInvalidation });
}

function slowFinding(
  analysis: TraceAnalysis,
  device: number,
  all: number,
  slow: readonly Measured[],
  invalidation: string | undefined,
): Finding {
  const name = device === UNKNOWN_DEVICE ? undefined : analysis.trace.devices[device];
  const proof = slow
    .slice(0, 16)
    .flatMap(({ unmapRow, endRow }) => [analysis.lineOf(unmapRow), analysis.lineOf(endRow)]);
  const times = slow.map(({ nanoseconds }) => nanoseconds).sort((a, b) => a - b);
  const median = times[times.length >> 1] as number;
  const measured: Statement = {
    text:
      `${grouped(slow.length)} of ${grouped(all)} unmaps${name === undefined ? "" : ` of ${name}`} took a millisecond or longer, in the middle ` +
      `${milliseconds(median)}, from the unmap line to the event that ends the unmap. Microseconds are usual.`,
    proof: proof.slice(0, 6),
  };
  const told = slow.filter(({ sinceInvalidation }) => sinceInvalidation !== undefined);
  const after = told.filter(
    ({ nanoseconds, sinceInvalidation = 0 }) => sinceInvalidation >= nanoseconds * TELLING_SHARE,
  );
  const isAfter = told.length >= slow.length * LEAST_SHARE && after.length >= told.length * LEAST_SHARE;
  const isStrict = invalidation === "strict" && told.length === 0;
  const reason = isAfter
    ? "The time passes after the invalidation was handed to the IOMMU (the events between the two lines): the kernel waits for the IOMMU."
    : isStrict
      ? "The log says that each unmap invalidates at once (strict mode): in between the kernel waits for the IOMMU."
      : "In between the kernel may wait for the IOMMU to forget the address.";
  const lock = "A processor that waits for a lock of the allocator or of the IOMMU's queue loses its time there, too.";
  const isStrong = (isAfter || isStrict) && !analysis.isLossy;
  const candidate = (verdict: string, weight: "strong" | "hint", text: string) => ({
    verdict,
    weight,
    because: [{ text, proof: proof.slice(0, 4) }],
  });
  return {
    kind: "slow",
    verdict: isStrong ? "slow-invalidation" : "undecided",
    certainty: isStrong ? "strong" : "undecided",
    ...(name === undefined ? {} : { device: name }),
    count: slow.length,
    firstTime: analysis.secondsOf(slow[0]?.unmapRow ?? 0),
    clock: "trace",
    lastTime: analysis.secondsOf(slow.at(-1)?.unmapRow ?? 0),
    follows: [measured],
    candidates: [
      candidate("slow-invalidation", isStrong ? "strong" : "hint", reason),
      candidate("lock-contention", "hint", lock),
    ],
    excluded: [],
    proof: proof.slice(0, 32),
    record: slowCommands(TRACING),
  };
}

function milliseconds(nanoseconds: number): string {
  return `${(nanoseconds / 1e6).toFixed(1)} ms`;
}
