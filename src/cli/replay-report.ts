/** A replay's result for people: the set-up, a table as wide as the screen, and what it means in plain words. */
import { PAGES_CHECKED } from "../replay/check.ts";
import type { ReplayPlan } from "../replay/plan.ts";
import { SAMPLE_EVERY } from "../replay/player.ts";
import type { RowResult } from "../replay/result.ts";
import type { PreparedReplay, ReplayResult } from "../replay/runner.ts";
import { counted, grouped } from "../units/counts.ts";
import { fitted } from "./columns.ts";
import { binarySize, compact, compactly, duration, listed, percent } from "./numbers.ts";

const HEAD = "table req/s ratio locks contended wait steps flush fail hole checked wrong".split(" ");
/** Columns that a narrow screen leaves out, the first of these first. */
const LEAST_FIRST = ["steps", "hole", "flush", "checked", "wait", "locks"];
/** Meanings of the columns. */
const MEANINGS: readonly (readonly [column: string, meaning: string])[] = [
  ["locks", "acquisitions"],
  ["contended", "acquisitions that found the lock taken"],
  ["wait", "mean time of these"],
  ["steps", "bits (single-lock) or words looked at per request"],
  ["flush", "IOTLB invalidations"],
  ["hole", "the longest free run at the end, in entries"],
];

/** The row that the others are compared with: the single lock's, or the first. */
export function baseline(rows: readonly RowResult[]): RowResult {
  return rows.find((row) => row.setup.table === "single-lock") ?? (rows[0] as RowResult);
}

/** How the replay is set up. */
export function setupLines({ plan, kind, entries, pageShift, options }: PreparedReplay, cores: number): string[] {
  const cpus = plan.workers.map((worker) => listed(worker.cpus.map(String))).join("; ");
  const again = plan.workers.length > plan.cpus.length ? ", each as a device of its own" : "";
  const lazy = options.rows.some(({ setup }) => setup.invalidate === "lazy") ? "; pooled tables invalidate lazily" : "";
  const lines = [
    `${counted(plan.workers.length, "worker thread")} on ${counted(cores, "core")} play the CPUs of the trace ` +
      `(${cpus})${again}, over and over`,
    `${kind.name}: a table of ${counted(entries, "entry", "entries")} of ${binarySize(2 ** pageShift)} (${kind.format}) per row; ` +
      `at most ${grouped(plan.peakEntries)} live at once; 1 mapping in ${SAMPLE_EVERY} checked by DMA${lazy}`,
  ];
  if (plan.crossCpuUnmaps > 0) lines.push(crossCpu(plan));
  return lines;
}

function crossCpu(plan: ReplayPlan): string {
  const other = plan.crossWorkerUnmaps > 0 ? ` (${grouped(plan.crossWorkerUnmaps)} of another worker)` : "";
  const were = plan.crossCpuUnmaps === 1 ? "was" : "were";
  return (
    `${counted(plan.crossCpuUnmaps, "request")} ${were} mapped on one CPU and unmapped on another${other}: here the worker that ` +
    "mapped a request also unmaps it, at its position in the trace"
  );
}

/** The table, head first, and what its columns mean. Columns that do not fit are left out, and the legend says which. */
export function rowTable(
  rows: readonly RowResult[],
  width: number,
): { readonly lines: readonly string[]; readonly legend: string } {
  const base = baseline(rows);
  const table = [HEAD, ...rows.map((row) => cells(row, base))];
  const leastFirst = LEAST_FIRST.map((name) => HEAD.indexOf(name));
  const { lines, dropped } = fitted(table, width, leastFirst);
  const names = dropped.map((column) => HEAD[column] as string);
  const meanings = MEANINGS.filter(([name]) => !names.includes(name)).map(([name, meaning]) => `${name}: ${meaning}`);
  if (names.length > 0) meanings.push(`left out of ${width} columns, but in --json: ${listed(names)}`);
  return { lines, legend: meanings.join("; ") };
}

function cells(row: RowResult, base: RowResult): string[] {
  return [
    row.name,
    compact(row.requestsPerSecond),
    base.requestsPerSecond === 0 ? "-" : (row.requestsPerSecond / base.requestsPerSecond).toFixed(2),
    compact(row.lockAcquisitions),
    `${compact(row.lockContended)} ${percent(row.lockContendedPercent).padStart(5)}`,
    row.lockContended === 0 ? "-" : duration(row.lockMeanWaitMicroseconds),
    row.searchStepsPerRequest.toFixed(1),
    compact(row.iotlbFlushes),
    compact(row.failures),
    compact(row.largestHoleEntries),
    compact(row.translationsChecked),
    compact(row.translationsWrong),
  ];
}

/** The result in sentences. */
export function closingSentences(result: ReplayResult, cores: number): string[] {
  const { rows } = result;
  const base = baseline(rows);
  return [
    ...rows.filter((row) => row !== base).map((row) => comparison(row, base)),
    ...poolSentences(rows),
    ...hypercallSentences(result),
    ...failureSentences(rows),
    ...translationSentences(rows),
    threadsSentence(result, cores),
  ];
}

function comparison(row: RowResult, base: RowResult): string {
  const ratio = row.requestsPerSecond / base.requestsPerSecond;
  const speed =
    ratio >= 1 ? `${ratio.toFixed(2)} times the requests of` : `only ${ratio.toFixed(2)} times the requests of`;
  const found = (of: RowResult): string =>
    `${percent(of.lockContendedPercent)} of ${compactly(of.lockAcquisitions, "lock acquisition")}`;
  const own = row.lockAcquisitions === 0 ? "no lock was taken" : `${found(row)} found the lock taken`;
  return `${row.name} served ${speed} ${base.name}: ${own}, against ${found(base)}.`;
}

function poolSentences(rows: readonly RowResult[]): string[] {
  const fewer = rows.filter((row) => row.pools < (row.setup.pools ?? 0));
  return fewer.map((row) => `${row.name} has ${counted(row.pools, "pool")}: ${row.setup.pools} do not fit this table.`);
}

function failureSentences(rows: readonly RowResult[]): string[] {
  const failed = rows.filter((row) => row.failures > 0);
  const sentences = failed.map((row) => {
    const reasons = Object.entries(row.failuresByReason).map(([reason, count]) => `${grouped(count)} ${reason}`);
    return `${row.name}: ${counted(row.failures, "call")} failed (${listed(reasons)}).`;
  });
  const lost = rows.filter((row) => row.entriesLost > 0);
  for (const row of lost) {
    sentences.push(`${row.name}: ${counted(row.entriesLost, "entry", "entries")} still taken after all was unmapped.`);
  }
  return sentences;
}

function translationSentences(rows: readonly RowResult[]): string[] {
  const checked = rows.reduce((sum, row) => sum + row.translationsChecked, 0);
  const wrong = rows.filter((row) => row.translationsWrong > 0);
  if (wrong.length === 0) {
    return [
      `All ${grouped(checked)} translations that a device's DMA checked were right (up to ${PAGES_CHECKED} pages of each ` +
        "sampled mapping, written and read as its access allows).",
    ];
  }
  return wrong.map(
    (row) =>
      `WRONG: ${row.name} translated ${grouped(row.translationsWrong)} of ${grouped(row.translationsChecked)} checked pages ` +
      `wrongly; the first: ${row.firstWrong}.`,
  );
}

/** Below this average, workers hardly ran in parallel. */
const LITTLE_OVERLAP = 1.2;

/** Hypercalls per request, on platforms with a hypervisor. */
function hypercallSentences({ rows, prepared }: ReplayResult): string[] {
  if (prepared.kind.entriesPerHypercall === 0) return [];
  const calls = rows.map((row) => `${(row.hypercalls / Math.max(1, row.requests)).toFixed(2)} (${row.name})`);
  return [
    `Hypercalls per request, its mapping and its end: ${listed(calls)}; one call takes up to ` +
      `${grouped(prepared.kind.entriesPerHypercall)} entries.`,
  ];
}

function threadsSentence({ rows, prepared: { plan } }: ReplayResult, cores: number): string {
  const running = rows.map((row) => `${row.threadsRunning.toFixed(1)} (${row.name})`);
  const busy = plan.workers.length > 1 && rows.every((row) => row.threadsRunning < LITTLE_OVERLAP);
  const little = busy ? " That is too little overlap for locks to be contended: rerun on an idle machine." : "";
  return (
    `Of ${counted(plan.workers.length, "worker thread")} on ${counted(cores, "core")}, on average ${listed(running)} ran in ` +
    `parallel.${little} Times and lock waits are of JavaScript threads on this machine, not of a kernel.`
  );
}
