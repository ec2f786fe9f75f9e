/**
 * `iova replay TRACE`: what drivers asked of a kernel, replayed on worker threads through mapSg and unmapSg, on this project's
 * table and on its rivals.
 *
 *     $ iova replay nvme-io-612
 *     $ iova replay trace.txt --workers 4 --entries 4096 --table single-lock,pooled --pools 8
 *     $ iova replay trace.txt --cache none --lazy --seconds 10 --json result.json
 *
 * The text below is the manual; `--help` prints it.
 */

import { availableParallelism } from "node:os";
import { BOARD_KINDS } from "../machines/boards.ts";
import type { RowResult } from "../replay/result.ts";
import {
  MAX_WORKERS,
  type NamedSetup,
  prepareReplay,
  type ReplayOptions,
  type ReplayResult,
  runReplay,
} from "../replay/runner.ts";
import { TABLE_NAMES, type TableName } from "../replay/tables.ts";
import type { ReplayHost } from "../replay/threads.ts";
import { type RequestHistory, requestsOf } from "../trace/requests.ts";
import { counted } from "../units/counts.ts";
import { IovaError } from "../units/errors.ts";
import { MAX_ENTRIES } from "../units/numbers.ts";
import { reflowed, wrapped } from "./columns.ts";
import { integer, listOf, oneOf, seconds } from "./options.ts";
import { jsonOption, STANDARD_OUTPUT, writeJson } from "./output-file.ts";
import { replayJson } from "./replay-json.ts";
import { closingSentences, rowTable, setupLines } from "./replay-report.ts";
import { tracePath } from "./shipped.ts";
import type { Paint, Terminal } from "./terminal.ts";
import { readTraceFile } from "./trace-file.ts";
import { summarize, type TraceSummary } from "./trace-summary.ts";
import { Command, Option } from "./vendor.ts";

const DEFAULT_SECONDS = 3;
const DEFAULT_PLATFORM = "linear-tce";
const PLATFORM_NAMES = BOARD_KINDS.map((kind) => kind.name);

const MANUAL = `
TRACE is ftrace text (tracefs' trace, trace-cmd report, perf script), plain, gz or zst, or an archive of iova capture, with iommu
events; dma events, where there are any, name devices and scatterlists; - is standard input. nvme-io-612
is a trace that comes with this package. Each worker plays the history of its CPUs, over and over. A request is one mapping, through mapSg, and
its end, through unmapSg. Rows run in turns of a tenth of a second.

Numbers may end in k, M or G (1024, 1024 k, 1024 M) or be hexadecimal; times in ms, s or m.

Examples:
  $ iova replay nvme-io-612
  $ iova replay trace.txt --workers 4 --entries 64k --pools 8
  $ iova replay trace.txt --cache none --lazy --seconds 10 --json result.json
  $ iova replay trace.txt --platform linear-iopte --page-shift 13
  $ zcat trace.gz | iova replay - --json | jq '.rows[].requestsPerSecond'

Exit codes:
  0 fine
  1 a translation was wrong, or entries were lost
  2 wrong use or bad input
  3 the command itself failed

Record a trace:
  # trace-cmd record -e iommu -e dma sleep 10 && trace-cmd report > trace.txt`;

interface ReplayFlags {
  readonly workers?: number;
  readonly table: readonly TableName[];
  readonly pools?: number;
  readonly entries?: number;
  readonly platform?: string;
  readonly pageShift?: number;
  readonly cache?: "none" | "fifo";
  readonly lazy?: true;
  readonly seconds: number;
  readonly json?: string;
}

/** The verb; `finish` takes the exit code. */
export function replayCommand(terminal: Terminal, host: ReplayHost, finish: (code: number) => void): Command {
  return new Command("replay")
    .summary("replay a trace's mappings on worker threads, and compare tables")
    .description("Replays the mappings of a recorded trace on worker threads, on this table and on its rivals.")
    .argument(
      "<TRACE>",
      "trace file: ftrace text, plain, gz or zst, or an archive of iova capture; - is standard input",
    )
    .addOption(
      flag(
        "-w, --workers <N>",
        "worker threads (default: one per core, at most one per CPU of the trace, at least 2)",
        integer(1, MAX_WORKERS),
      ),
    )
    .addOption(
      flag("-t, --table <LIST>", `tables to compare: ${TABLE_NAMES.join(",")}`, listOf(TABLE_NAMES)).default(
        TABLE_NAMES,
        "all",
      ),
    )
    .addOption(flag("--pools <N>", "pools of the pooled table (default: 16, fewer in small tables)", integer(1, 1024)))
    .addOption(flag("--entries <N>", "entries of the table (default: a window of 4 GiB)", integer(1, MAX_ENTRIES)))
    .addOption(
      flag(
        "-p, --platform <NAME>",
        `platform, on the software machine; \`iova platforms\` lists them (default: ${DEFAULT_PLATFORM})`,
        oneOf(PLATFORM_NAMES),
      ),
    )
    .addOption(
      flag("--page-shift <N>", "log2 of the IO page size in bytes (default: the platform's usual)", integer(12, 34)),
    )
    .addOption(
      flag(
        "--cache <KIND>",
        "cache of the pooled table: none or fifo (default: a row for each)",
        oneOf(["none", "fifo"]),
      ),
    )
    .addOption(new Option("--strict", "invalidate before an unmap returns (default)").conflicts("lazy"))
    .addOption(
      new Option("--lazy", "pooled tables invalidate later, many ranges at once; single-lock stays strict").conflicts(
        "strict",
      ),
    )
    .addOption(flag("-s, --seconds <TIME>", "how long each row is measured", seconds(3600)).default(DEFAULT_SECONDS))
    .addOption(jsonOption())
    .addHelpText("after", () => reflowed(MANUAL, terminal.width))
    .action(async (trace: string, flags: ReplayFlags) => finish(await replay(tracePath(trace), flags, terminal, host)));
}

function flag(flags: string, description: string, parse: (text: string) => unknown): Option {
  return new Option(flags, description).argParser(parse);
}

async function replay(file: string, flags: ReplayFlags, terminal: Terminal, host: ReplayHost): Promise<number> {
  const isReport = flags.json !== STANDARD_OUTPUT;
  const reading = terminal.progress(`reading ${file === "-" ? "standard input" : file}`);
  const trace = await readTraceFile(file, (bytes, total) => reading.at(total === 0 ? 0 : bytes / total)).finally(
    reading.stop,
  );
  const history = requestsOf(trace);
  checkReplayable(file, history);
  const prepared = prepareReplay(history, optionsFrom(flags, history));
  const say = isReport ? (line: string) => sayWrapped(line, terminal) : () => {};
  sayWhatWasRead(summarize(file, trace, history), terminal.paint, say);
  for (const line of setupLines(prepared, host.cores)) say(line);
  const playing = terminal.progress("replaying");
  const result = await runReplay(prepared, host, playing.at).finally(playing.stop);
  if (isReport) sayWhatWasFound(result, host.cores, terminal, say);
  // Last: when the file can't be written, the report is there all the same.
  if (flags.json !== undefined) writeJson(flags.json, replayJson(file, trace, history, result, host.cores), terminal);
  return result.rows.some(isBadNews) ? 1 : 0;
}

function sayWrapped(line: string, terminal: Terminal): void {
  for (const part of wrapped(line, terminal.width, "  ")) terminal.out(`${part}\n`);
}

function sayWhatWasRead(summary: TraceSummary, paint: Paint, say: (line: string) => void): void {
  const [headline = "", ...others] = summary.lines;
  say(paint("bold", headline));
  for (const line of others) say(line);
  for (const warning of summary.warnings) say(`${paint("yellow", "note:")} ${warning}`);
}

function sayWhatWasFound(result: ReplayResult, cores: number, terminal: Terminal, say: (line: string) => void): void {
  const { lines, legend } = rowTable(result.rows, terminal.width);
  const [head = "", ...rows] = lines;
  terminal.out(`\n${terminal.paint("bold", head)}\n${rows.join("\n")}\n`);
  for (const line of wrapped(legend, terminal.width)) terminal.out(`${terminal.paint("dim", line)}\n`);
  terminal.out("\n");
  for (const sentence of closingSentences(result, cores)) {
    say(sentence.startsWith("WRONG") ? terminal.paint("red", sentence) : sentence);
  }
}

/** A range that could not be invalidated stays out of use on purpose; without failures, nothing may be missing. */
function isBadNews(row: RowResult): boolean {
  return row.translationsWrong > 0 || (row.entriesLost > 0 && row.failures === 0);
}

function optionsFrom(flags: ReplayFlags, history: RequestHistory): ReplayOptions {
  const cpus = new Set(history.cpu).size;
  // A trace of one CPU is played by every worker; of several, more workers than CPUs would repeat some of them.
  const workers =
    flags.workers ?? Math.max(2, Math.min(availableParallelism(), cpus === 1 ? MAX_WORKERS : cpus, MAX_WORKERS));
  return {
    workers,
    platform: flags.platform ?? DEFAULT_PLATFORM,
    rows: rowsOf(flags),
    seconds: flags.seconds,
    ...(flags.pageShift === undefined ? {} : { pageShift: flags.pageShift }),
    ...(flags.entries === undefined ? {} : { entries: flags.entries }),
  };
}

function rowsOf({ platform, table, cache, lazy, pools }: ReplayFlags): NamedSetup[] {
  const invalidate = lazy ? "lazy" : "strict";
  // Without --platform, rows bear the table's name alone.
  const on = platform === undefined ? "" : `${platform}/`;
  return table.flatMap((name): NamedSetup[] => {
    if (name === "single-lock")
      return [{ name: `${on}${name}`, setup: { table: name, cache: "none", invalidate: "strict" } }];
    const caches = cache === undefined ? (["none", "fifo"] as const) : ([cache] as const);
    return caches.map((kind) => ({
      name: `${on}${name}${kind === "fifo" ? "+cache" : ""}`,
      setup: { table: name, cache: kind, invalidate, ...(pools === undefined ? {} : { pools }) },
    }));
  });
}

/** Without a map line there is nothing to replay: say what the trace has instead. */
function checkReplayable(file: string, history: RequestHistory): void {
  if (history.length > 0) return;
  const { unmapLines, untranslated } = history.counts;
  const has = untranslated > 0 ? counted(untranslated, "dma mapping") : counted(unmapLines, "unmap line");
  throw new IovaError(
    "nothing-to-replay",
    `${file} has no iommu map line (${has}): nothing to replay; record with: trace-cmd record -e iommu -e dma`,
  );
}
