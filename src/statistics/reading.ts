/** The reading of a trace, as numbers for programs. */
import type { LineTally, Trace } from "../trace/events.ts";
import type { LineClassReading, TraceReading } from "./contract.ts";

export function readingOf(file: string, trace: Trace): TraceReading {
  const { events, classes } = trace;
  return {
    file,
    textBytes: trace.bytes,
    lines: trace.lines,
    events: events.length,
    cpus: new Set(events.cpu.subarray(0, events.length)).size,
    machineCpus: trace.headerCpus,
    devices: trace.devices,
    entriesInBuffer: trace.entriesInBuffer,
    entriesWritten: trace.entriesWritten,
    entriesRead: trace.entriesRead,
    lostEvents: trace.lostEvents,
    cutLastLine: trace.cutLastLine,
    malformedReason: trace.malformedReason,
    lineClasses: {
      events: tally(classes.events),
      otherEvents: tally(classes.otherEvents),
      malformed: tally(classes.malformed),
      lost: tally(classes.lost),
      stacks: tally(classes.stacks),
      comments: tally(classes.comments),
      blank: tally(classes.blank),
      foreign: tally(classes.foreign),
    },
  };
}

function tally({ count, firstLine, firstText }: LineTally): LineClassReading {
  return { count, firstLine, firstText };
}
