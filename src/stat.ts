/**
 * The entry `iova/stat`: the measurement behind `iova stat`, as a library. The text of a trace in, the answer of `--json` out; it opens no file and
 * prints nothing, so it runs in a page as well.
 *
 * ```ts
 * import { statisticsOfText } from "iova/stat";
 * const { devices } = statisticsOfText(text);
 * ```
 *
 * @module
 */
import type { StatAnswer } from "./statistics/contract.ts";
import { readingOf } from "./statistics/reading.ts";
import { statisticsOf } from "./statistics/statistics.ts";
import { parseTrace } from "./trace/parser.ts";

/** Part of every runtime (WHATWG Encoding); the library is compiled without the types of any of them. */
declare class TextEncoder {
  encode(text: string): Uint8Array;
}

export type {
  DeviceStatistics,
  HoleNumbers,
  Lifetimes,
  LineClass,
  LineClassReading,
  LiveNumbers,
  MapRate,
  SizeClass,
  StatAnswer,
  TimePart,
  TraceReading,
  TraceStatistics,
} from "./statistics/contract.ts";

/**
 * Measures a trace: ftrace text, as tracefs, `trace-cmd report` or `perf script` print it. A text without events gives an answer without
 * devices; `trace.lineClasses` says what stands in it instead.
 *
 * @param file - the name that the answer has for the trace
 * @throws FormatError when a line is longer than 1 MiB: then the text is no trace
 */
export function statisticsOfText(text: string, file = "trace"): StatAnswer {
  const trace = parseTrace(new TextEncoder().encode(text));
  const { version, ...numbers } = statisticsOf(trace);
  return { version, trace: readingOf(file, trace), ...numbers };
}
