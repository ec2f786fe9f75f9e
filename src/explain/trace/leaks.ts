/**
 * Leaks: mappings that are never taken away. Rings are live at the end of every trace, so what is live proves nothing: a leak shows by growth, that
 * is, some mappings of each period stay while their equals are taken away; or by mappings that outlive their device's driver.
 */

import { REMOVE_DEVICE } from "../../trace/events.ts";
import type { Finding, Statement } from "../contract.ts";
import type { TraceAnalysis } from "./analysis.ts";
import { NO_ROW } from "./lives.ts";
import { UNKNOWN_OWNER } from "./owners.ts";
import { type MappingRequest, requestsIn } from "./requests.ts";

/** A class of mappings is looked at in so many periods of equal counts; the last one is too young to tell. */
const PERIODS = 4;
/** Fewer mappings tell nothing about growth. */
const FEWEST_MAPPINGS = 32;
const FEWEST_LEFT = 6;
/** In each period that is looked at, so many stay. */
const FEWEST_LEFT_A_PERIOD = 2;
/** What is not taken away at all is a buffer for good, no leak: so much of each period is. */
const LEAST_TAKEN_AWAY = 0.3;
/** A driver may take its last mappings away a little after the event that removes its device. */
const REMOVAL_SECONDS = 1;

export function leaksIn(analysis: TraceAnalysis): Finding[] {
  const requests = requestsIn(analysis);
  const removed = leaksAtExit(analysis, requests);
  return removed.length > 0 ? removed : growingLeaks(analysis, requests);
}

function growingLeaks(analysis: TraceAnalysis, requests: readonly MappingRequest[]): Finding[] {
  const classes = new Map<string, MappingRequest[]>();
  for (const request of requests) {
    if (request.owner === UNKNOWN_OWNER) continue;
    const key = `${request.owner} ${request.direction}`;
    const known = classes.get(key);
    if (known === undefined) classes.set(key, [request]);
    else known.push(request);
  }
  const left = new Map<number, MappingRequest[]>();
  for (const all of classes.values()) {
    const owner = all[0]?.owner ?? UNKNOWN_OWNER;
    if (grows(all)) left.set(owner, [...(left.get(owner) ?? []), ...all.filter(({ unmapRow }) => unmapRow === NO_ROW)]);
  }
  return [...left].map(([owner, live]) => growing(analysis, owner, live, requests));
}

/** In each period some stay and many are taken away. A ring keeps its newest, an idle ring all that it ever had. */
function grows(requests: readonly MappingRequest[]): boolean {
  if (requests.length < FEWEST_MAPPINGS) return false;
  const length = Math.floor(requests.length / PERIODS);
  let left = 0;
  for (let period = 0; period < PERIODS - 1; period++) {
    const part = requests.slice(period * length, (period + 1) * length);
    const live = part.filter(({ unmapRow }) => unmapRow === NO_ROW).length;
    if (live < FEWEST_LEFT_A_PERIOD || live > part.length * (1 - LEAST_TAKEN_AWAY)) return false;
    left += live;
  }
  return left >= FEWEST_LEFT;
}

function growing(
  analysis: TraceAnalysis,
  owner: number,
  live: readonly MappingRequest[],
  requests: readonly MappingRequest[],
): Finding {
  const count = requests.filter((request) => request.owner === owner).length;
  const bytes = live.reduce((sum, request) => sum + request.bytes, 0);
  const name = analysis.history.owners.nameOf(owner) ?? "?";
  const proof = live.slice(0, 8).map(({ row }) => analysis.lineOf(row));
  const text =
    `${live.length} of ${count} mappings of ${name} (${bytes} bytes) are live at the end of the trace, and some of each period are: ` +
    "their number grows.";
  return {
    ...shared(analysis, owner, live),
    verdict: "growing",
    certainty: "strong",
    follows: [{ text, proof }, ...lossText(analysis), ...sizesText(analysis, live)],
    candidates: [
      { verdict: "growing", weight: "strong", because: [{ text, proof }] },
      { verdict: "at-exit", weight: "hint", because: [{ text: "The driver may take them away when it ends.", proof }] },
    ],
    record: [
      `iova stat TRACE --device ${name.split(",")[0]}   # which sizes grow`,
      `echo ${name.split(",")[0]} > /sys/bus/pci/devices/${name.split(",")[0]}/driver/unbind; cat /sys/kernel/tracing/trace > trace-at-exit.txt   # does the driver take them away when it ends? The device is gone until it is bound again`,
    ],
  };
}

/** Mappings that are live after the device was removed from its group. */
function leaksAtExit(analysis: TraceAnalysis, requests: readonly MappingRequest[]): Finding[] {
  const { events } = analysis.trace;
  const findings: Finding[] = [];
  for (let row = 0; row < events.length; row++) {
    if (events.kind[row] !== REMOVE_DEVICE) continue;
    const device = events.device[row] as number;
    const left = requests.filter(({ row: map, unmapRow, owner }) => {
      if (map > row || !analysis.history.owners.has(owner, device)) return false;
      return unmapRow === NO_ROW || analysis.secondsOf(unmapRow) > analysis.secondsOf(row) + REMOVAL_SECONDS;
    });
    const [first] = left;
    if (first !== undefined) findings.push(atExit(analysis, row, first.owner, left));
  }
  return findings;
}

function atExit(analysis: TraceAnalysis, row: number, owner: number, left: readonly MappingRequest[]): Finding {
  const proof = [analysis.lineOf(row), ...left.slice(0, 7).map((request) => analysis.lineOf(request.row))];
  const text = `${left.length} mappings of ${analysis.history.owners.nameOf(owner) ?? "?"} are live after the device has been removed.`;
  const isCertain = !analysis.isLossy && !analysis.history.owners.isTask(owner);
  const rival = { text: "The unmaps may stand among the events that were lost, or may be another task's.", proof };
  return {
    ...shared(analysis, owner, left),
    verdict: "at-exit",
    certainty: isCertain ? "certain" : "strong",
    follows: [{ text, proof }, ...lossText(analysis), ...sizesText(analysis, left)],
    candidates: isCertain
      ? []
      : [
          { verdict: "at-exit", weight: "strong", because: [{ text, proof }] },
          { verdict: "growing", weight: "hint", because: [rival] },
        ],
    record: isCertain
      ? []
      : [
          "cd /sys/kernel/tracing; echo 262144 > buffer_size_kb; echo 1 > events/iommu/enable; echo 1 > events/dma/enable   # the same with a buffer that loses no event",
        ],
  };
}

function shared(
  analysis: TraceAnalysis,
  owner: number,
  live: readonly MappingRequest[],
): Pick<Finding, "kind" | "count" | "excluded" | "proof"> & { device?: string } {
  const name = analysis.history.owners.nameOf(owner);
  return {
    kind: "leak",
    ...(name === undefined ? {} : { device: name }),
    count: live.length,
    excluded: [],
    proof: live.slice(0, 32).map(({ row }) => analysis.lineOf(row)),
  };
}

function lossText(analysis: TraceAnalysis): Statement[] {
  if (!analysis.isLossy) return [];
  return [
    {
      text: "Events of the recording were lost: some of these mappings may have been taken away.",
      proof: [analysis.lineOf(0)],
    },
  ];
}

/** Who made them, by size and caller. */
function sizesText(analysis: TraceAnalysis, live: readonly MappingRequest[]): Statement[] {
  const groups = new Map<string, MappingRequest[]>();
  for (const request of live) {
    const caller = callerOf(analysis, request.row);
    const key = `${request.bytes} bytes${caller === undefined ? "" : ` by ${caller}`}`;
    groups.set(key, [...(groups.get(key) ?? []), request]);
  }
  return [...groups]
    .sort(([, a], [, b]) => b.length - a.length)
    .slice(0, 4)
    .map(([key, requests]) => ({
      text: `${requests.length} of them have ${key}.`,
      proof: requests.slice(0, 4).map(({ row }) => analysis.lineOf(row)),
    }));
}

/** The first function of the stack that is not the DMA API's own; else the task, unless it was interrupted. */
function callerOf({ trace }: TraceAnalysis, row: number): string | undefined {
  const { events, stacks, tasks } = trace;
  const stack = stacks[events.stack[row] as number];
  const frame = stack?.find((name) => !/^_*(?:iommu|dma|arm|intel|amd|trace|ftrace)_/.test(name));
  if (frame !== undefined) return frame;
  return events.context[row] === 0 ? tasks[events.task[row] as number] : undefined;
}
