/**
 * Reads a trace file: ftrace text, plain, gz or zst, or an archive of `iova capture` that holds it, in pieces, so that a file may be larger than
 * memory for its text. Whatever is wrong with the file is an error that says what, where, and what was expected.
 */

import { PlainText } from "../log/plain-text.ts";
import type { Trace } from "../trace/events.ts";
import { TraceParser } from "../trace/parser.ts";
import { counted } from "../units/counts.ts";
import { FormatError } from "../units/errors.ts";
import { type InputProgress, readPieces, STANDARD_INPUT } from "./input.ts";
import { listed } from "./numbers.ts";
import { filesOf } from "./tar-reader.ts";

const EXPECTED =
  "expected ftrace text, plain, gz or zst, with lines like " +
  "`task-1 [000] ..... 7.172004: map: IOMMU: iova=0x… - 0x… paddr=0x… size=4096`";

/** One file while it is read: the input itself, or one of an archive. */
interface Reading {
  readonly file: string;
  readonly parser: TraceParser;
  readonly text: PlainText;
}

/**
 * Reads the trace in file `path`, or on standard input for `-`. The answer has at least one event of ours.
 * @throws IovaError (`trace-file`) when the file can't be opened or read, FormatError when it holds no trace, or is an archive of several
 */
export async function readTraceFile(path: string, progress: InputProgress = () => {}): Promise<Trace> {
  const name = path === STANDARD_INPUT ? "standard input" : path;
  const readings: Reading[] = [];
  let packed = false;
  let length = 0;
  const pieces = readPieces(path, {
    what: "a trace file",
    code: "trace-file",
    progress,
    sofar: () => sofar(readings.at(-1)),
    onPacked: () => {
      packed = true;
    },
    onLength: (bytes) => {
      length = bytes;
    },
  });
  for await (const { file, bytes } of filesOf(name, pieces)) {
    if (readings.at(-1)?.file !== file) {
      readings.at(-1)?.text.finish();
      readings.push(begin(file, file === name ? length : 0));
    }
    write(readings.at(-1) as Reading, bytes);
  }
  readings.at(-1)?.text.finish();
  const [only = begin(name, 0)] = readings;
  return only.file === name ? checked(name, only.parser.finish(), packed) : ofArchive(name, readings);
}

function begin(file: string, expectedBytes: number): Reading {
  const parser = new TraceParser();
  parser.expectedBytes = expectedBytes;
  return { file, parser, text: new PlainText(file, (bytes) => parser.write(bytes)) };
}

function write({ file, text }: Reading, bytes: Uint8Array): void {
  try {
    text.write(bytes);
  } catch (error) {
    if (!(error instanceof FormatError) || error.message.startsWith(file)) throw error;
    throw new FormatError(`${file}: ${error.message}`);
  }
}

/** The only trace among the files of an archive. */
function ofArchive(name: string, readings: readonly Reading[]): Trace {
  const traces = readings.filter(({ parser }) => parser.eventCount > 0);
  const [only, ...others] = traces;
  const shown = (some: readonly Reading[]): string => listed(some.map(({ file }) => file.slice(name.length + 1)));
  if (only === undefined)
    throw new FormatError(`${name}: no file of the archive (${shown(readings)}) holds a trace; ${EXPECTED}`);
  if (others.length > 0) {
    throw new FormatError(
      `${name}: the archive holds ${traces.length} traces: ${shown(traces)}; unpack it and name one of them`,
    );
  }
  return only.parser.finish();
}

function sofar(reading: Reading | undefined): string {
  const { lineCount = 0, eventCount = 0 } = reading?.parser ?? {};
  return ` (read before: ${counted(lineCount, "whole line")} of its text, ${counted(eventCount, "event")})`;
}

/** A file without any event of ours is no trace of ours: say what it is instead. */
function checked(path: string, trace: Trace, packed: boolean): Trace {
  const { classes, events, lines } = trace;
  if (events.length > 0) return trace;
  if (trace.bytes === 0) throw new FormatError(`${path} is empty${packed ? " once unpacked" : ""}; ${EXPECTED}`);
  const { malformed, otherEvents, foreign } = classes;
  if (malformed.count > 0) {
    throw new FormatError(
      `${path}, line ${malformed.firstLine}: ${trace.malformedReason}: \`${malformed.firstText}\`; ` +
        `${lines === 1 ? "it is the only line" : `no other of its ${lines} lines is an iommu or dma event`}; ${EXPECTED}`,
    );
  }
  if (otherEvents.count > 0) {
    throw new FormatError(
      `${path} has ${counted(otherEvents.count, "event")}, but no iommu or dma event; the first, in line ${otherEvents.firstLine}, is ` +
        `\`${otherEvents.firstText}\`; record with: trace-cmd record -e iommu -e dma`,
    );
  }
  if (foreign.count > 0) {
    throw new FormatError(
      `${path} holds no trace: ${lines === 1 ? "its only line is no event" : `none of its ${lines} lines is an event`}; line ${foreign.firstLine} is \`${foreign.firstText}\`; ${EXPECTED}`,
    );
  }
  throw new FormatError(
    `${path} holds no events, but ${counted(lines, "line")} of a trace's head and comments; was tracing on? ` +
      "Record with: trace-cmd record -e iommu -e dma",
  );
}
