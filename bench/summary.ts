/** The results of a run, looked up by case, row, column and metric. */
import { cpus, loadavg } from "node:os";
import type { Build } from "./build.ts";
import { type Cell, metricOf } from "./cell.ts";
import { hashText, type Measured, QUIET, type Result } from "./harness.ts";
import { compareExchangeNanoseconds, median } from "./measure.ts";

/** A metric over all repetitions. */
export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

export class Summary {
  readonly results: readonly Result[];
  readonly #byName: ReadonlyMap<string, Result>;

  constructor(results: readonly Result[]) {
    this.results = results;
    this.#byName = new Map(results.map((result) => [keyOf(result.cell), result]));
  }

  result(benchCase: string, row: string, at: string): Result | undefined {
    return this.#byName.get(keyOf({ case: benchCase, row, at }));
  }

  spread(benchCase: string, row: string, at: string, metric: string): Spread | undefined {
    const result = this.result(benchCase, row, at);
    const values = result === undefined ? [] : valuesOf(result, metric);
    return values.length === 0 ? undefined : spreadOf(values);
  }

  /** The median; undefined if the run has no such cell, or the cell no such metric. */
  lookup(benchCase: string, row: string, at: string, metric: string): number | undefined {
    return this.spread(benchCase, row, at, metric)?.median;
  }

  /**
   * The value as a multiple of the base's, by repetition, in which both were played one after the other. Undefined without a base.
   * "ns" of one thread is that of its quiet slices, so that another process beside one of the two does not decide.
   */
  timesBase(benchCase: string, row: string, at: string, metric: string): Spread | undefined {
    const result = this.result(benchCase, row, at);
    const key = metric === "ns" && result?.cell.threads === 1 ? QUIET : metric;
    const ratios = (result?.base ?? []).map(
      ({ values }, i) =>
        (metricOf(result?.measured[i]?.values, key) ?? Number.NaN) / (metricOf(values, key) ?? Number.NaN),
    );
    return ratios.length === 0 || !ratios.every(Number.isFinite) ? undefined : spreadOf(ratios);
  }

  /** Processor time of one operation, in nanoseconds: the median. */
  cpu(benchCase: string, row: string, at: string): number | undefined {
    const result = this.result(benchCase, row, at);
    return result === undefined ? undefined : median(result.measured.map(({ cpuNanoseconds }) => cpuNanoseconds));
  }

  /** Share of its time that a thread stood in the run queue: the median, 0 .. 1. */
  queued(benchCase: string, row: string, at: string): number {
    const result = this.result(benchCase, row, at);
    return result === undefined ? 0 : median(result.measured.map(({ queuedShare }) => queuedShare));
  }

  /** The same over the whole run, as a mean. */
  queuedShare(): number {
    const shares = this.results.flatMap(({ measured }) => measured.map((one) => one.queuedShare));
    return shares.reduce((sum, share) => sum + share, 0) / Math.max(1, shares.length);
  }
}

/** Machine, builds, options and time of a run. */
export interface Circumstances {
  readonly date: string;
  readonly node: string;
  readonly v8: string;
  readonly processor: string;
  readonly processors: number;
  readonly loadAverage: number;
  /** Duration of one compareExchange of a shared word that no other thread uses. */
  readonly compareExchangeNanoseconds: number;
  readonly seed: number;
  readonly repetitions: number;
  readonly quick: boolean;
  /** Commits of the two builds; undefined without git. */
  readonly commit: string | undefined;
  readonly base?: { readonly commit: string | undefined };
}

export function circumstances(
  { seed, repetitions, quick }: Pick<Circumstances, "seed" | "repetitions" | "quick">,
  build: Build,
  base: Build | undefined,
): Circumstances {
  return {
    date: new Date().toISOString().slice(0, 10),
    node: process.versions.node,
    v8: process.versions.v8,
    processor: cpus()[0]?.model ?? "unknown",
    processors: cpus().length,
    loadAverage: loadavg()[0] ?? 0,
    compareExchangeNanoseconds: compareExchangeNanoseconds(),
    seed,
    repetitions,
    quick,
    commit: build.commit,
    ...(base && { base: { commit: base.commit } }),
  };
}

/** The whole run as JSON; the keys have the units. */
export function toJson(summary: Summary, of: Circumstances): string {
  const repetitions = (measured: readonly Measured[]) =>
    measured.map(({ values, cpuNanoseconds, queuedShare }) => ({ values, cpuNanoseconds, queuedShare }));
  const cells = summary.results.map(({ cell, measured, base }) => ({
    case: cell.case,
    row: cell.row,
    at: cell.at,
    threads: cell.threads,
    work: cell.work,
    digest: hashText(measured[0]?.hash),
    openingDigest: hashText(measured[0]?.openingHash),
    repetitions: repetitions(measured),
    ...(base && { base: repetitions(base) }),
  }));
  return `${JSON.stringify({ ...of, queuedShare: summary.queuedShare(), cells }, undefined, 1)}\n`;
}

function keyOf({ case: benchCase, row, at }: Pick<Cell, "case" | "row" | "at">): string {
  return JSON.stringify([benchCase, row, at]);
}

function valuesOf(result: Result, metric: string): number[] {
  return result.measured.map(({ values }) => metricOf(values, metric)).filter((value) => value !== undefined);
}

function spreadOf(values: readonly number[]): Spread {
  return { median: median(values), least: Math.min(...values), most: Math.max(...values) };
}
