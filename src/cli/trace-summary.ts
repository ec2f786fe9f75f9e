/** Summary of a trace: events, CPUs, requests; and lines that are not events, unreadable lines and losses, with their places. */
import type { LineTally, Trace } from "../trace/events.ts";
import type { RequestHistory } from "../trace/requests.ts";
import { counted, grouped } from "../units/counts.ts";
import { listed } from "./numbers.ts";

/** Two or three lines about the trace, then one for each thing to know about it. */
export interface TraceSummary {
  readonly lines: readonly string[];
  /** Lost, cut and unreadable: what makes the replay less than what happened. */
  readonly warnings: readonly string[];
}

export function summarize(file: string, trace: Trace, history: RequestHistory): TraceSummary {
  return {
    lines: [traceHeadline(file, trace), requestLine(trace, history), ...remarks(trace, history)],
    warnings: [...readingWarnings(trace), ...unknownUnmaps(history)],
  };
}

/** Events, CPUs and time in a line. */
export function traceHeadline(file: string, trace: Trace): string {
  const { events } = trace;
  const cpus = new Set(events.cpu.subarray(0, events.length)).size;
  const machine = trace.headerCpus > cpus ? ` (of a machine with ${trace.headerCpus})` : "";
  const first = events.time[0] as number;
  const last = events.time[events.length - 1] as number;
  const span = trace.clockCounts
    ? "(timestamps are counts without a unit)"
    : `in ${((last - first) / 1e9).toFixed(3)} s`;
  return `${file === "-" ? "standard input" : file}: ${counted(events.length, "event")} on ${counted(cpus, "CPU")}${machine} ${span}`;
}

function requestLine(trace: Trace, history: RequestHistory): string {
  const { counts } = history;
  const pieces = counted(history.elementAddress.length, "piece");
  const devices = new Set(history.device.filter((device) => device >= 0)).size;
  const named = counts.namedRequests > 0 ? `, by ${counted(devices, "device")}` : ", no line names a device";
  const pages = history.pages.reduce((a, b) => a + b, 0) / Math.max(1, history.length);
  const mean = history.length === 0 ? "" : ` (${pages.toFixed(1)} pages of 4 KiB each on average)`;
  const unmapped = counts.neverUnmapped === 0 ? "" : `; ${grouped(counts.neverUnmapped)} never unmapped`;
  return `${counted(history.length, "request")} of ${pieces}${mean}${named}${unmapped}; ${counted(trace.lines, "line")} read`;
}

function remarks(trace: Trace, history: RequestHistory): string[] {
  const { classes } = trace;
  const { counts } = history;
  const lines: string[] = [];
  const rest = [
    part(classes.comments, "comment"),
    part(classes.blank, "blank line"),
    part(classes.stacks, "line of stack traces", "lines of stack traces"),
  ].filter((text) => text !== "");
  if (rest.length > 0) lines.push(`skipped lines: ${listed(rest)}`);
  if (classes.otherEvents.count > 0) {
    lines.push(
      `${counted(classes.otherEvents.count, "event")} of other kinds left out; the first, ${shown(classes.otherEvents)}`,
    );
  }
  if (counts.failedMaps > 0) {
    lines.push(`${counted(counts.failedMaps, "mapping")} failed in the recording: not replayed`);
  }
  if (counts.untranslated > 0) {
    lines.push(
      `${counted(counts.untranslated, "dma mapping")} without a map line: no IOMMU translates for that device, or the line is lost`,
    );
  }
  return lines;
}

/** Lost, cut and unreadable. */
export function readingWarnings(trace: Trace): string[] {
  const { classes, entriesInBuffer, entriesWritten, entriesRead } = trace;
  const lines: string[] = [];
  if (entriesWritten > entriesInBuffer) {
    lines.push(
      `the ring buffer overran: the header says that ${grouped(entriesInBuffer)} of ${grouped(entriesWritten)} events were ` +
        "kept; the oldest are lost",
    );
  }
  if (entriesRead < entriesInBuffer) {
    lines.push(
      `the header promises ${grouped(entriesInBuffer)} events, ${grouped(entriesRead)} are here: a part of the recording`,
    );
  }
  if (classes.lost.count > 0) {
    const events = trace.lostEvents > 0 ? counted(trace.lostEvents, "event") : "an unknown number of events";
    lines.push(`the kernel lost ${events} (line ${classes.lost.firstLine} says so first)`);
  }
  if (classes.malformed.count > 0) {
    lines.push(
      `${counted(classes.malformed.count, "event")} can't be read; the first, ${shown(classes.malformed)}: ${trace.malformedReason}`,
    );
  }
  if (classes.foreign.count > 0) {
    const are = classes.foreign.count === 1 ? "line is no event" : "lines are no events";
    lines.push(`${grouped(classes.foreign.count)} ${are}; the first, ${shown(classes.foreign)}`);
  }
  if (trace.cutLastLine) lines.push(`the file ends in the middle of line ${trace.lines}: that line is left out`);
  return lines;
}

function unknownUnmaps({ counts: { unmapsOfUnknown } }: RequestHistory): string[] {
  return unmapsOfUnknown === 0
    ? []
    : [`${counted(unmapsOfUnknown, "unmap line")} of what was mapped before the trace, or in lost events: left out`];
}

function part(tally: LineTally, singular: string, plural?: string): string {
  return tally.count === 0 ? "" : `${counted(tally.count, singular, plural)} (from line ${tally.firstLine})`;
}

function shown(tally: LineTally): string {
  return `line ${tally.firstLine}: \`${tally.firstText}\``;
}
