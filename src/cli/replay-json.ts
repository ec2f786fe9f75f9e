/** The same numbers as the report's, for programs; units stand in the keys. */
import { PAGES_CHECKED } from "../replay/check.ts";
import { SAMPLE_EVERY } from "../replay/player.ts";
import type { ReplayResult } from "../replay/runner.ts";
import { readingOf } from "../statistics/reading.ts";
import type { Trace } from "../trace/events.ts";
import type { RequestHistory } from "../trace/requests.ts";
import { baseline } from "./replay-report.ts";

/** Raised when keys change their meaning or go away. */
const VERSION = 1;

/** The object that `--json` writes. */
export function replayJson(
  file: string,
  trace: Trace,
  history: RequestHistory,
  result: ReplayResult,
  cores: number,
): object {
  const base = baseline(result.rows);
  const { plan, kind, pageShift, entries } = result.prepared;
  return {
    version: VERSION,
    trace: readingOf(file, trace),
    requests: { requests: history.length, pieces: history.elementAddress.length, ...history.counts },
    replay: {
      workers: plan.workers.map(({ cpus, requests, peakEntries }) => ({ cpus, requests, peakEntries })),
      cores,
      pageBytes: 2 ** pageShift,
      entries: entries,
      platform: kind.name,
      entryFormat: kind.format,
      peakEntries: plan.peakEntries,
      crossCpuUnmaps: plan.crossCpuUnmaps,
      crossWorkerUnmaps: plan.crossWorkerUnmaps,
      checkedOneMappingIn: SAMPLE_EVERY,
      checkedPagesPerMapping: PAGES_CHECKED,
    },
    rows: result.rows.map(({ name, setup, ...numbers }) => ({
      name,
      table: setup.table,
      cache: setup.cache,
      invalidate: setup.invalidate,
      ...numbers,
      comparedWith: base.name,
      ratio: base.requestsPerSecond === 0 ? null : numbers.requestsPerSecond / base.requestsPerSecond,
    })),
  };
}
