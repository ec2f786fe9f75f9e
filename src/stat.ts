/**
 * `iova/stat` is for tools that measure the mappings of devices in a recorded trace: sizes, lifetimes, rates, live bytes and holes. It is the
 * measurement behind the command `iova stat`. The text of a trace goes in, the answer of `--json` comes out. It opens no file and prints
 * nothing, so it also runs in a page. docs/stat.md describes the numbers.
 *
 * ```ts
 * import { statisticsOfText } from "iova/stat";
 *
 * export function peakBytes(trace: string): Map<string, number> {
 *   return new Map(statisticsOfText(trace).devices.map(({ device, live }) => [device, live.peakBytes]));
 * }
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
 * Measures a trace: text of ftrace, as tracefs, `trace-cmd report` or `perf script` print it. A text without events gives an answer without
 * devices; `trace.lineClasses` has the kinds of lines that it has instead.
 *
 * @param text - the trace, unpacked
 * @param file - name of the trace, for the answer
 * @throws FormatError when a line is longer than 1 MiB: then the text is no trace
 *
 * @example
 * ```ts
 * import { statisticsOfText } from "iova/stat";
 *
 * const text = `# tracer: nop
 *   nvme-1 [000] ..... 10.000000: map: IOMMU: iova=0x00000000ffff0000 - 0x00000000ffff2000 paddr=0x0000000001230000 size=8192
 *   nvme-1 [000] ..... 10.000250: unmap: IOMMU: iova=0x00000000ffff0000 - 0x00000000ffff2000 size=8192 unmapped_size=8192
 * `;
 * const [device] = statisticsOfText(text).devices;
 * console.log(device?.maps, device?.bytes, device?.lifetimes?.p50Microseconds);
 * ```
 * ```text output
 * 1 8192 250
 * ```
 */
export function statisticsOfText(text: string, file = "trace"): StatAnswer {
  const trace = parseTrace(new TextEncoder().encode(text));
  const { version, ...numbers } = statisticsOf(trace);
  return { version, trace: readingOf(file, trace), ...numbers };
}
