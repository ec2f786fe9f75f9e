/** The result of a replay as plain data, for print and JSON. Names contain the units. */
import { type Failure, failureOf } from "../units/failure.ts";
import type { TableCounters, TableSetup } from "./tables.ts";
import type { WorkerReport } from "./worker.ts";

/** Result of one row: one table, over all its slices. */
export interface RowResult {
  readonly name: string;
  readonly setup: TableSetup;
  /** Pools that the table really has. */
  readonly pools: number;
  /** Time in which its workers ran: in each slice, until the last of them had stopped. */
  readonly seconds: number;
  /** Requests mapped and unmapped again. */
  readonly requests: number;
  /** Sum of the workers' rates, each over its own running time. */
  readonly requestsPerSecond: number;
  /** Average number of threads on a CPU at the same time, including helper threads of the process. */
  readonly threadsRunning: number;
  readonly lockAcquisitions: number;
  readonly lockContended: number;
  readonly lockContendedPercent: number;
  /** Mean over contended acquisitions. */
  readonly lockMeanWaitMicroseconds: number;
  readonly searches: number;
  readonly searchSteps: number;
  readonly searchStepsPerRequest: number;
  /** Invalidations of the IOTLB: of a range, or of all of it. */
  readonly iotlbFlushes: number;
  /** Calls to the hypervisor, if the platform has one. */
  readonly hypercalls: number;
  /** mapSg and unmapSg calls that failed. */
  readonly failures: number;
  readonly failuresByReason: Readonly<Partial<Record<Failure, number>>>;
  /** The longest free run at the end of the measurement, before the mappings were unmapped. */
  readonly largestHoleEntries: number;
  readonly translationsChecked: number;
  readonly translationsWrong: number;
  /** Description of the first wrong page, or "". */
  readonly firstWrong: string;
  /** Entries still taken after everything was unmapped and drained: lost entries, unless a flush failed. */
  readonly entriesLost: number;
}

/** Sums of one row at one moment. */
export interface RowTotals {
  /** By worker. */
  readonly completed: readonly number[];
  readonly failures: readonly number[];
  readonly checked: number;
  readonly wrong: number;
  readonly firstWrong: string;
  readonly counters: TableCounters;
  readonly iotlbFlushes: number;
  readonly hypercalls: number;
}

export function sumReports(
  reports: readonly WorkerReport[],
): Omit<RowTotals, "counters" | "iotlbFlushes" | "hypercalls"> {
  const sum = (of: (report: WorkerReport) => number): number =>
    reports.reduce((total, report) => total + of(report), 0);
  return {
    completed: reports.map((report) => report.completed),
    failures: (reports[0] as WorkerReport).failures.map((_, code) => sum((report) => report.failures[code] as number)),
    checked: sum((report) => report.checked),
    wrong: sum((report) => report.wrong),
    firstWrong: reports.find((report) => report.firstWrong !== "")?.firstWrong ?? "",
  };
}

/** The difference of a row's totals at two times. The caller supplies times and names. */
export interface RowFrame {
  readonly name: string;
  readonly setup: TableSetup;
  readonly pools: number;
  readonly seconds: number;
  /** Running time by worker. */
  readonly workerSeconds: readonly number[];
  readonly cpuSeconds: number;
  readonly entriesLost: number;
}

export function rowResult(frame: RowFrame, before: RowTotals, after: RowTotals): RowResult {
  const { cpuSeconds, workerSeconds, ...named } = frame;
  const grown = (of: (counters: TableCounters) => number): number => of(after.counters) - of(before.counters);
  const completed = after.completed.map((requests, worker) => requests - (before.completed[worker] as number));
  const requests = completed.reduce((a, b) => a + b, 0);
  const lockAcquisitions = grown((counters) => counters.lockAcquisitions);
  const lockContended = grown((counters) => counters.lockContended);
  const searchSteps = grown((counters) => counters.searchSteps);
  // Failures and wrong translations of the warm-up are included, so that all are seen.
  const failuresByReason: Partial<Record<Failure, number>> = {};
  after.failures.forEach((failures, code) => {
    if (failures > 0) failuresByReason[failureOf(-code)] = failures;
  });
  return {
    ...named,
    requests,
    requestsPerSecond: completed.reduce((sum, done, worker) => sum + ratio(done, workerSeconds[worker] as number), 0),
    threadsRunning: ratio(cpuSeconds, frame.seconds),
    lockAcquisitions,
    lockContended,
    lockContendedPercent: 100 * ratio(lockContended, lockAcquisitions),
    lockMeanWaitMicroseconds: ratio(
      grown((counters) => counters.lockWaitMicroseconds),
      lockContended,
    ),
    searches: grown((counters) => counters.searches),
    searchSteps,
    searchStepsPerRequest: ratio(searchSteps, requests),
    iotlbFlushes: after.iotlbFlushes - before.iotlbFlushes,
    hypercalls: after.hypercalls - before.hypercalls,
    failures: after.failures.reduce((a, b) => a + b, 0),
    failuresByReason,
    largestHoleEntries: after.counters.largestHoleEntries,
    translationsChecked: after.checked,
    translationsWrong: after.wrong,
    firstWrong: after.firstWrong,
  };
}

function ratio(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}
