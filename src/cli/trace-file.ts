/**
 * Reads a trace file: ftrace text, plain, gz or zstd, in pieces, so that a file may be larger than memory for its text. Whatever is wrong with
 * the file is an error that says what, where, and what was expected.
 */

import { printable } from "../trace/bytes.ts";
import type { Trace } from "../trace/events.ts";
import { TraceParser } from "../trace/parser.ts";
import { FormatError } from "../units/errors.ts";
import { plural } from "../units/plural.ts";
import { type InputProgress, readPieces } from "./input.ts";

const EXPECTED =
  "expected ftrace text, plain, gz or zstd, with lines like " +
  "`task-1 [000] ..... 7.172004: map: IOMMU: iova=0x… - 0x… paddr=0x… size=4096`";

/**
 * Reads the trace in file `path`, or on standard input for `-`. The answer has at least one event of ours.
 * @throws IovaError (`trace-file`) when the file can't be opened or read, FormatError when it holds no trace
 */
export async function readTraceFile(path: string, progress: InputProgress = () => {}): Promise<Trace> {
  const parser = new TraceParser();
  const onLength = (bytes: number): void => {
    parser.expectedBytes = bytes;
  };
  const input = { what: "a trace file", code: "trace-file", progress, sofar: () => sofar(parser), onLength };
  const name = path === "-" ? "standard input" : path;
  let packed = false;
  const pieces = readPieces(path, { ...input, onPacked: () => (packed = true) });
  if ((await parse(name, parser, pieces)) === 0 && !packed) throw new FormatError(`${name} is empty; ${EXPECTED}`);
  return checked(name, parser.finish(), packed);
}

function sofar(parser: TraceParser): string {
  return ` (read before: ${plural(parser.lineCount, "whole line")} of its text, ${plural(parser.eventCount, "event")})`;
}

async function parse(path: string, parser: TraceParser, pieces: AsyncIterable<Uint8Array>): Promise<number> {
  let offset = 0;
  for await (const piece of pieces) {
    const zero = parser.eventCount === 0 ? piece.indexOf(0) : -1;
    let failure: unknown;
    try {
      parser.write(piece);
    } catch (error) {
      failure = error;
    }
    // Text has no zero bytes. Without an event around this is some other file; else it is damage, which the lines show.
    if (zero >= 0 && parser.eventCount === 0) throw binary(path, piece, offset, zero);
    if (failure instanceof FormatError) throw new FormatError(`${path}: ${failure.message}`);
    if (failure !== undefined) throw failure;
    offset += piece.length;
  }
  return offset;
}

function binary(path: string, piece: Uint8Array, offset: number, zero: number): FormatError {
  const head = offset === 0 ? ` (it begins with \`${printable(piece, 0, Math.min(piece.length, 8), 40)}\`)` : "";
  return new FormatError(`${path} is binary: byte ${offset + zero} of its text is 0${head}; ${EXPECTED}`);
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
      `${path} has ${plural(otherEvents.count, "event")}, but no iommu or dma event; the first, in line ${otherEvents.firstLine}, is ` +
        `\`${otherEvents.firstText}\`; record with: trace-cmd record -e iommu -e dma`,
    );
  }
  if (foreign.count > 0) {
    throw new FormatError(
      `${path} holds no trace: ${lines === 1 ? "its only line is no event" : `none of its ${lines} lines is an event`}; line ${foreign.firstLine} is \`${foreign.firstText}\`; ${EXPECTED}`,
    );
  }
  throw new FormatError(
    `${path} holds no events, but ${plural(lines, "line")} of a trace's head and comments; was tracing on? ` +
      "Record with: trace-cmd record -e iommu -e dma",
  );
}
