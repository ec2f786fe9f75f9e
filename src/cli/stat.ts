/**
 * `iova stat TRACE`: what a recording holds, device by device.
 *
 *     $ iova stat nvme-io-612
 *     $ iova stat trace.txt --device 01:00.0 --csv devices.csv
 *
 * The text below is the manual; `--help` prints it.
 */
import type { DeviceStatistics, StatAnswer, TraceStatistics } from "../statistics/contract.ts";
import { readingOf } from "../statistics/reading.ts";
import { statisticsOf } from "../statistics/statistics.ts";
import { IovaError } from "../units/errors.ts";
import { reflowed, wrapped } from "./columns.ts";
import { csvOption, jsonOption, STANDARD_OUTPUT, writeCsv, writeJson } from "./output-file.ts";
import { tracePath } from "./shipped.ts";
import { printStatistics } from "./stat-report.ts";
import type { Terminal } from "./terminal.ts";
import { readTraceFile } from "./trace-file.ts";
import { readingWarnings, traceHeadline } from "./trace-summary.ts";
import { Command } from "./vendor.ts";

const MANUAL = `
TRACE is ftrace text (tracefs' trace, trace-cmd report, perf script), plain, gz or zst, or an archive of iova capture; - is standard input. nvme-io-612 is a trace that comes with this package. All numbers are measured from the recording.
A mapping is one request of the DMA API, or one map line where no dma event tells. Live is what was mapped and not yet unmapped; lifetimes are those of mappings whose map and unmap are recorded. The chart shows the most live and the smallest largest hole of each part of the recording, for the most active device or the one of --device.

Examples:
  $ iova stat nvme-io-612
  $ iova stat trace.txt --device 0000:01:00.0
  $ iova stat trace.txt --csv devices.csv
  $ zcat trace.gz | iova stat - --json | jq -r '.devices[0].overTime[] | [.startSeconds, .liveBytes, .largestHoleBytes] | @csv'

Exit codes:
  0 fine
  2 wrong use or bad input
  3 the command itself failed`;

interface StatFlags {
  readonly device?: string;
  readonly json?: string;
  readonly csv?: string;
}

/** The verb; `finish` takes the exit code. */
export function statCommand(terminal: Terminal, finish: (code: number) => void): Command {
  return new Command("stat")
    .summary("measure what a trace holds: sizes, lifetimes, what was live, holes")
    .description("Measures what a recorded trace holds, device by device: sizes, lifetimes, what was live, holes.")
    .argument(
      "<TRACE>",
      "trace file: ftrace text, plain, gz or zst, or an archive of iova capture; - is standard input",
    )
    .option("-d, --device <DEVICE>", "only this device: 0000:01:00.0, 01:00.0, as printed, or unknown")
    .addOption(jsonOption())
    .addOption(csvOption())
    .addHelpText("after", () => reflowed(MANUAL, terminal.width))
    .action(async (trace: string, flags: StatFlags) => {
      await stat(tracePath(trace), flags, terminal);
      finish(0);
    });
}

async function stat(file: string, flags: StatFlags, terminal: Terminal): Promise<void> {
  if (flags.json === STANDARD_OUTPUT && flags.csv === STANDARD_OUTPUT) {
    throw new IovaError("two-outputs", "--json and --csv both go to standard output; expected a file for one of them");
  }
  const reading = terminal.progress(`reading ${file === "-" ? "standard input" : file}`);
  const trace = await readTraceFile(file, (bytes, total) => reading.at(total === 0 ? 0 : bytes / total)).finally(
    reading.stop,
  );
  const whole = statisticsOf(trace);
  const statistics = flags.device === undefined ? whole : ofDevice(whole, flags.device, file);
  if (flags.json !== STANDARD_OUTPUT && flags.csv !== STANDARD_OUTPUT) {
    const headline = `${traceHeadline(file, trace)}; all numbers are measured from the recording`;
    for (const line of wrapped(headline, terminal.width, "  ")) terminal.out(`${line}\n`);
    for (const warning of readingWarnings(trace)) {
      for (const line of wrapped(`note: ${warning}`, terminal.width, "  ")) terminal.out(`${line}\n`);
    }
    printStatistics(statistics, terminal);
  }
  // Last: when a file can't be written, the report is there all the same.
  if (flags.csv !== undefined) writeCsv(flags.csv, csvRows(statistics), terminal);
  if (flags.json !== undefined) {
    const { version, ...numbers } = statistics;
    const answer: StatAnswer = { version, trace: readingOf(file, trace), ...numbers };
    writeJson(flags.json, answer, terminal);
  }
}

function ofDevice(statistics: TraceStatistics, name: string, file: string): TraceStatistics {
  const bare = (device: string): string => device.replace(/^0000:/, "");
  const devices = statistics.devices.filter(
    ({ device }) => device === name || device.split(", ").some((one) => bare(one) === bare(name)),
  );
  if (devices.length > 0) return { ...statistics, devices };
  const known = statistics.devices.map(({ device }) => device).join("; ");
  throw new IovaError("no-device", `${file}: nothing is mapped for '${name}'; expected one of: ${known}`);
}

const CSV_COLUMNS: readonly (readonly [name: string, of: (device: DeviceStatistics) => string | number | undefined])[] =
  [
    ["device", ({ device }) => device],
    ["maps", ({ maps }) => maps],
    ["unmaps", ({ unmaps }) => unmaps],
    ["neverUnmapped", ({ neverUnmapped }) => neverUnmapped],
    ["failures", ({ failures }) => failures],
    ["mapLines", ({ mapLines }) => mapLines],
    ["unmapLines", ({ unmapLines }) => unmapLines],
    ["olderRanges", ({ olderRanges }) => olderRanges],
    ["olderBytes", ({ olderBytes }) => olderBytes],
    ["bytes", ({ bytes }) => bytes],
    ["pages", ({ pages }) => pages],
    ["lifetimesKnown", ({ lifetimes }) => lifetimes?.known ?? 0],
    ["p50Microseconds", ({ lifetimes }) => lifetimes?.p50Microseconds],
    ["p90Microseconds", ({ lifetimes }) => lifetimes?.p90Microseconds],
    ["p99Microseconds", ({ lifetimes }) => lifetimes?.p99Microseconds],
    ["maxMicroseconds", ({ lifetimes }) => lifetimes?.maxMicroseconds],
    ["peakLiveBytes", ({ live }) => live.peakBytes],
    ["peakLiveMappings", ({ live }) => live.peakMappings],
    ["meanLiveBytes", ({ live }) => live.meanBytes],
    ["meanLiveMappings", ({ live }) => live.meanMappings],
    ["mapsPerSecond", ({ mapsPerSecond }) => mapsPerSecond?.mean],
    ["peakMapsPerSecond", ({ mapsPerSecond }) => mapsPerSecond?.peak],
    ["holeLimitBytes", ({ hole }) => hole?.limitBytes],
    ["leastLargestHoleBytes", ({ hole }) => hole?.leastBytes],
    ["endLargestHoleBytes", ({ hole }) => hole?.atEndBytes],
  ];

/** An unknown value is an empty cell. */
function csvRows({ devices }: TraceStatistics): (string | number)[][] {
  return [CSV_COLUMNS.map(([name]) => name), ...devices.map((device) => CSV_COLUMNS.map(([, of]) => of(device) ?? ""))];
}
