/**
 * Leaks: mappings that are never taken away. Rings are live at the end of every trace, so what is live proves nothing: a leak shows by growth, that
 * is, some mappings of each period stay while their equals are taken away; or by mappings that outlive their device's driver.
 */

import type { LineRef } from "../../log/facts.ts";
import { NO_DIRECTION, REMOVE_DEVICE, UNKNOWN_DIRECTION } from "../../trace/events.ts";
import { counted, grouped } from "../../units/counts.ts";
import type { Finding, Statement } from "../contract.ts";
import { amount } from "../statement.ts";
import type { TraceAnalysis } from "./analysis.ts";
import { NO_ROW } from "./lives.ts";
import { UNKNOWN_OWNER } from "./owners.ts";
import { type MappingRequests, requestsIn } from "./requests.ts";

/** Periods of equal counts in which a class of mappings is examined; mappings of the last one are too young to judge. */
const PERIODS = 4;
/** Fewer mappings tell nothing about growth. */
const FEWEST_MAPPINGS = 32;
const FEWEST_LEFT = 6;
/** Least number of mappings that stay, in each examined period. */
const FEWEST_LEFT_A_PERIOD = 2;
/** Least share of each period's mappings that is unmapped. Mappings that are never unmapped at all are permanent buffers, not leaks. */
const LEAST_TAKEN_AWAY = 0.3;
/** A driver may take its last mappings away a little after the event that removes its device. */
const REMOVAL_SECONDS = 1;
/** Values of a direction, with the unknown one. */
const DIRECTIONS = NO_DIRECTION - UNKNOWN_DIRECTION + 1;

export function leaksIn(analysis: TraceAnalysis): Finding[] {
  const requests = requestsIn(analysis);
  const removed = leaksAtExit(analysis, requests);
  return removed.length > 0 ? removed : growingLeaks(analysis, requests);
}

function growingLeaks(analysis: TraceAnalysis, requests: MappingRequests): Finding[] {
  const classes = new Map<number, number[]>();
  for (let request = 0; request < requests.length; request++) {
    const owner = requests.owner[request] as number;
    if (owner === UNKNOWN_OWNER) continue;
    const key = owner * DIRECTIONS + (requests.direction[request] as number) - UNKNOWN_DIRECTION;
    const known = classes.get(key);
    if (known === undefined) classes.set(key, [request]);
    else known.push(request);
  }
  const left = new Map<number, number[]>();
  for (const [key, all] of classes) {
    if (!grows(requests, all)) continue;
    const owner = Math.floor(key / DIRECTIONS);
    const live = all.filter((request) => requests.unmapRow[request] === NO_ROW);
    left.set(owner, [...(left.get(owner) ?? []), ...live]);
  }
  return [...left].map(([owner, live]) => growing(analysis, owner, live, requests));
}

/** In each period some stay and many are taken away. A ring keeps its newest, an idle ring all that it ever had. */
function grows({ unmapRow }: MappingRequests, some: readonly number[]): boolean {
  if (some.length < FEWEST_MAPPINGS) return false;
  const length = Math.floor(some.length / PERIODS);
  let left = 0;
  for (let period = 0; period < PERIODS - 1; period++) {
    const part = some.slice(period * length, (period + 1) * length);
    const live = part.filter((request) => unmapRow[request] === NO_ROW).length;
    if (live < FEWEST_LEFT_A_PERIOD || live > part.length * (1 - LEAST_TAKEN_AWAY)) return false;
    left += live;
  }
  return left >= FEWEST_LEFT;
}

function growing(analysis: TraceAnalysis, owner: number, live: readonly number[], requests: MappingRequests): Finding {
  const count = requests.owner.reduce((sum, one) => sum + (one === owner ? 1 : 0), 0);
  const bytes = live.reduce((sum, request) => sum + (requests.bytes[request] as number), 0);
  const name = analysis.history.owners.nameOf(owner) ?? "?";
  const proof = live.slice(0, 8).map((request) => lineOf(analysis, requests, request));
  const text =
    `${grouped(live.length)} of ${grouped(count)} mappings of ${name} are not ended when the recording ends (${amount(bytes)}); ` +
    "they were made all through the recording, so their number grows.";
  return {
    ...shared(analysis, owner, live, requests),
    verdict: "growing",
    certainty: "strong",
    follows: [{ text, proof }, ...lossText(analysis), ...sizesText(analysis, live, requests)],
    candidates: [
      {
        verdict: "growing",
        weight: "strong",
        because: [{ text: "Mappings of the same kind were made and ended in between.", proof }],
      },
      {
        verdict: "at-exit",
        weight: "hint",
        because: [{ text: "The driver may end them when it lets the device go.", proof }],
      },
    ],
    record: [
      `iova stat TRACE --device ${name.split(",")[0]}   # which sizes grow (TRACE: the file of the recording)`,
      `echo ${name.split(",")[0]} > /sys/bus/pci/devices/${name.split(",")[0]}/driver/unbind; cat /sys/kernel/tracing/trace > trace-at-exit.txt   # as root, while events are recorded: does the driver end them when it lets the device go? The device does not work until it is bound again`,
    ],
  };
}

/** Mappings that are live after the device was removed from its group. */
function leaksAtExit(analysis: TraceAnalysis, requests: MappingRequests): Finding[] {
  const { events } = analysis.trace;
  const { owners } = analysis.history;
  const findings: Finding[] = [];
  for (let row = 0; row < events.length; row++) {
    if (events.kind[row] !== REMOVE_DEVICE) continue;
    const device = events.device[row] as number;
    const gone = new Set([...analysis.owners].filter((owner) => owners.has(owner, device)));
    if (gone.size === 0) continue;
    const left = liveAfter(analysis, requests, row, gone);
    const [first] = left;
    if (first !== undefined) findings.push(atExit(analysis, row, requests.owner[first] as number, left, requests));
  }
  return findings;
}

/** Requests of the owners that were made before `row`, and were live a while after it. */
function liveAfter(
  analysis: TraceAnalysis,
  requests: MappingRequests,
  row: number,
  owners: ReadonlySet<number>,
): number[] {
  const latest = analysis.secondsOf(row) + REMOVAL_SECONDS;
  const left: number[] = [];
  for (let request = 0; request < requests.length && (requests.row[request] as number) <= row; request++) {
    if (!owners.has(requests.owner[request] as number)) continue;
    const unmapRow = requests.unmapRow[request] as number;
    if (unmapRow === NO_ROW || analysis.secondsOf(unmapRow) > latest) left.push(request);
  }
  return left;
}

function atExit(
  analysis: TraceAnalysis,
  row: number,
  owner: number,
  left: readonly number[],
  requests: MappingRequests,
): Finding {
  const proof = [analysis.lineOf(row), ...left.slice(0, 7).map((request) => lineOf(analysis, requests, request))];
  const name = analysis.history.owners.nameOf(owner) ?? "?";
  const count = counted(left.length, "mapping");
  const text = `${count} of ${name} ${left.length === 1 ? "is" : "are"} not ended after the device has been removed.`;
  const isCertain = !analysis.isLossy && !analysis.history.owners.isTask(owner);
  const rival = { text: "The unmaps may be among the events that were lost, or be made by another task.", proof };
  return {
    ...shared(analysis, owner, left, requests),
    verdict: "at-exit",
    certainty: isCertain ? "certain" : "strong",
    follows: [{ text, proof }, ...lossText(analysis), ...sizesText(analysis, left, requests)],
    candidates: isCertain
      ? []
      : [
          { verdict: "at-exit", weight: "strong", because: [{ text, proof }] },
          { verdict: "growing", weight: "hint", because: [rival] },
        ],
    record: isCertain
      ? []
      : [
          "cd /sys/kernel/tracing; echo 262144 > buffer_size_kb; echo 1 > events/iommu/enable; echo 1 > events/dma/enable   # as root: the same with a buffer that loses no event",
        ],
  };
}

function lineOf(analysis: TraceAnalysis, requests: MappingRequests, request: number): LineRef {
  return analysis.lineOf(requests.row[request] as number);
}

function shared(
  analysis: TraceAnalysis,
  owner: number,
  live: readonly number[],
  requests: MappingRequests,
): Pick<Finding, "kind" | "count" | "excluded" | "proof"> & { device?: string } {
  const name = analysis.history.owners.nameOf(owner);
  return {
    kind: "leak",
    ...(name === undefined ? {} : { device: name }),
    count: live.length,
    excluded: [],
    proof: live.slice(0, 32).map((request) => lineOf(analysis, requests, request)),
  };
}

function lossText(analysis: TraceAnalysis): Statement[] {
  if (!analysis.isLossy) return [];
  return [
    {
      text: "Events of the recording were lost: some of these mappings may have been ended.",
      proof: [analysis.lineOf(0)],
    },
  ];
}

/** Origins of leaks, by size and caller. */
function sizesText(analysis: TraceAnalysis, live: readonly number[], requests: MappingRequests): Statement[] {
  const groups = new Map<string, number[]>();
  for (const request of live) {
    const caller = callerOf(analysis, requests.row[request] as number);
    const key = `${amount(requests.bytes[request] as number)}${caller === undefined ? "" : `, made by ${caller}`}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [request]);
    else group.push(request);
  }
  return [...groups]
    .sort(([, a], [, b]) => b.length - a.length)
    .slice(0, 4)
    .map(([key, group]) => ({
      text: `${group.length === 1 ? "1 of them has" : `${grouped(group.length)} of them have`} ${key}.`,
      proof: group.slice(0, 4).map((request) => lineOf(analysis, requests, request)),
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
