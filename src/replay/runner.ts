/**
 * Runs a replay: a row for each table, with its own board, table and worker threads, so that the engine compiles each row's calls for one
 * table. Rows run in turns of a time slice, in a rotating order, so that other load on the machine affects all rows alike. The first slice
 * of each row is not counted, because the engine compiles then.
 */

import type { Board, BoardKind } from "../machines/board.ts";
import { boardNamed } from "../machines/boards.ts";
import { createShared, notify, type SharedBuffer, type SharedWords, store, wordsOf } from "../shared/memory.ts";
import type { RequestHistory } from "../trace/requests.ts";
import { checkInteger, InvalidArgumentError } from "../units/errors.ts";
import { largest as biggest } from "../units/lists.ts";
import { MAX_ENTRIES } from "../units/numbers.ts";
import { arenaLimit, checkTables, layoutMemory, type MemoryLayout } from "./memory.ts";
import { planReplay, type ReplayPlan } from "./plan.ts";
import { type RowResult, type RowTotals, rowResult, sumReports } from "./result.ts";
import { type CreatedTable, createTable, type TableSetup, tableOptionsOf } from "./tables.ts";
import { type ReplayHost, WorkerGroup } from "./threads.ts";
import { BEGUN, CONTROL_BYTES, OVER, STOPPED } from "./worker.ts";

/** Length of a time slice. */
const SLICE_SECONDS = 0.1;
/** A row that is measured for less has no longer a first slice than that. */
const WARM_UP_SECONDS = 0.4;
/** Memory for one worker's buffers; only touched pages cost anything. */
const ARENA_BYTES = 2 ** 28;
export const MAX_WORKERS = 64;
/** The window of 32-bit devices, with which the recordings were made. */
const USUAL_WINDOW_BYTES = 2 ** 32;

export interface ReplayOptions {
  readonly workers: number;
  /** Name of the board: a platform on its machine. */
  readonly platform: string;
  /** log2 of the IO page size in bytes. Default: the platform's usual one. */
  readonly pageShift?: number;
  /** Entries of the table. Default: 4 GiB of pages, or four times what is live at once if that is more; at most the platform's. */
  readonly entries?: number;
  readonly rows: readonly NamedSetup[];
  /** Measured time of each row. */
  readonly seconds: number;
}

export interface NamedSetup {
  readonly name: string;
  readonly setup: TableSetup;
}

export interface ReplayResult {
  readonly rows: readonly RowResult[];
  readonly prepared: PreparedReplay;
}

/** One row while it runs. */
interface Row {
  readonly name: string;
  readonly setup: TableSetup;
  readonly board: Board;
  readonly table: CreatedTable;
  readonly control: SharedWords;
  readonly workers: WorkerGroup;
  before: RowTotals;
  seconds: number;
  readonly workerSeconds: number[];
  cpuSeconds: number;
}

/** A replay whose options have been checked. */
export interface PreparedReplay {
  readonly plan: ReplayPlan;
  readonly kind: BoardKind;
  readonly pageShift: number;
  readonly entries: number;
  readonly layout: MemoryLayout;
  readonly options: ReplayOptions;
}

/**
 * Checks the options against the history and deals it to the workers.
 * @throws InvalidArgumentError that names the option, what was found and what is expected
 */
export function prepareReplay(history: RequestHistory, options: ReplayOptions): PreparedReplay {
  checkInteger("workers", options.workers, 1, MAX_WORKERS);
  const kind = boardNamed(options.platform);
  const pageShift = options.pageShift ?? (kind.pageShifts[0] as number);
  if (!kind.pageShifts.includes(pageShift)) {
    throw new InvalidArgumentError(
      "page shift",
      pageShift,
      `one that ${kind.name} has: ${kind.pageShifts.toSorted((a, b) => a - b).join(", ")}`,
    );
  }
  checkCrew(kind, options.workers);
  const largest = kind.largestTable(pageShift);
  if (options.entries !== undefined) {
    checkInteger(`entries of ${kind.name}`, options.entries, 1, Math.min(largest, MAX_ENTRIES));
  }
  if (!(options.seconds > 0 && options.seconds <= 3600)) {
    throw new InvalidArgumentError("seconds", options.seconds, "a number above 0 and up to 3600");
  }
  const { workers } = options;
  const usual = Math.min(largest, Math.max(1, Math.floor(USUAL_WINDOW_BYTES / 2 ** pageShift)));
  const smallest = { kind, pageShift, entries: options.entries ?? usual };
  const plan = planReplay(history, { workers, pageShift, arenaBytes: arenaLimit(smallest, workers, ARENA_BYTES) });
  const entries = options.entries ?? Math.min(largest, Math.max(usual, 4 * plan.peakEntries));
  checkRoom(plan, entries);
  const size = { kind, pageShift, entries };
  checkTables(size, options.rows.length);
  const arenas = plan.workers.map((worker) => worker.arenaBytes);
  // Checked again, because the table may have grown.
  arenaLimit(size, workers, biggest(arenas));
  return { plan, kind, pageShift, entries, layout: layoutMemory(size, arenas), options };
}

/** A thread for each worker and one that watches, and a device for each worker. */
function checkCrew(kind: BoardKind, workers: number): void {
  const { maxThreads = workers + 1, deviceNames } = kind;
  if (workers + 1 > maxThreads) {
    const expected = `at most ${maxThreads}: one for each worker, and the replay's own`;
    throw new InvalidArgumentError(`threads of the replay on ${kind.name}`, workers + 1, expected);
  }
  if (deviceNames === undefined || workers <= deviceNames.length) return;
  const expected = `at most ${deviceNames.length}: each plays a device, which are ${deviceNames.join(", ")}`;
  throw new InvalidArgumentError(`workers of the replay on ${kind.name}`, workers, expected);
}

function checkRoom(plan: ReplayPlan, entries: number): void {
  for (const worker of plan.workers) {
    if (worker.longestEntries <= entries) continue;
    const need = `${worker.longestEntries} for the request of line ${worker.longestLine} alone`;
    throw new InvalidArgumentError(
      "entries",
      entries,
      `at least ${need}, and ${plan.peakEntries} for all that is live at once`,
    );
  }
  if (plan.peakEntries <= entries) return;
  const each = plan.workers.map((worker) => worker.peakEntries).join(" + ");
  const workers = plan.workers.length === 1 ? "1 worker" : `${plan.workers.length} workers`;
  throw new InvalidArgumentError(
    "entries",
    entries,
    `at least ${plan.peakEntries}, the most that are live at once on ${workers} (${each})`,
  );
}

/** Runs a prepared replay. `progress` is called with the part that is done, 0 .. 1. */
export async function runReplay(
  prepared: PreparedReplay,
  host: ReplayHost,
  progress: (done: number) => void = () => {},
): Promise<ReplayResult> {
  const { options } = prepared;
  const rows: Row[] = [];
  try {
    for (const named of options.rows) {
      const row = startRow(named, prepared, host);
      rows.push(row);
      // One row after the other: hundreds of threads that start together would all take long to report.
      await row.workers.all("ready");
    }
    for (const row of rows) {
      await runSlice(row, 1, Math.min(WARM_UP_SECONDS, options.seconds), host);
      row.before = totalsOf(row);
      row.seconds = row.cpuSeconds = 0;
      row.workerSeconds.fill(0);
    }
    await runSlices(rows, options.seconds, host, progress);
    const after = rows.map(totalsOf);
    const results: RowResult[] = [];
    for (const [i, row] of rows.entries()) {
      const { name, setup, seconds, workerSeconds, cpuSeconds, table } = row;
      const entriesLost = await stopRow(row);
      const frame = { name, setup, pools: table.pools, seconds, workerSeconds, cpuSeconds, entriesLost };
      results.push(rowResult(frame, row.before, after[i] as RowTotals));
    }
    return { rows: results, prepared };
  } finally {
    await Promise.all(rows.map((row) => row.workers.terminate()));
  }
}

function startRow({ name, setup }: NamedSetup, prepared: PreparedReplay, host: ReplayHost): Row {
  const { kind, pageShift, entries, layout, plan } = prepared;
  const board = kind.create({
    memoryBytes: layout.memoryBytes,
    pageShift,
    entries,
    ...(kind.deviceNames === undefined ? { devices: plan.workers.map((_, worker) => `device${worker}`) } : {}),
    threads: plan.workers.length + 1,
    table: tableOptionsOf(setup),
  });
  const table = createTable(setup, board);
  const control: SharedBuffer = createShared(CONTROL_BYTES);
  const jobs = plan.workers.map((part, worker) => ({
    worker,
    table: setup.table,
    handle: table.handle,
    board: board.handle,
    arenaAddress: layout.arenaAddresses[worker] as number,
    plan: part,
    control,
  }));
  const workers = new WorkerGroup(name, host, jobs);
  const nothing = { completed: [], failures: [], checked: 0, wrong: 0, firstWrong: "", iotlbFlushes: 0, hypercalls: 0 };
  const before = { ...nothing, counters: table.counters() };
  return {
    name,
    setup,
    board,
    table,
    control: wordsOf(control),
    workers,
    before,
    seconds: 0,
    workerSeconds: jobs.map(() => 0),
    cpuSeconds: 0,
  };
}

async function runSlices(
  rows: readonly Row[],
  seconds: number,
  host: ReplayHost,
  progress: (done: number) => void,
): Promise<void> {
  const rounds = Math.max(1, Math.round(seconds / SLICE_SECONDS));
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < rows.length; i++) {
      await runSlice(rows[(round + i) % rows.length] as Row, round + 2, seconds / rounds, host);
      progress((round * rows.length + i + 1) / (rounds * rows.length));
    }
  }
}

/** Lets a row's workers run for a slice. All are waiting again when it resolves. */
async function runSlice(row: Row, slice: number, seconds: number, host: ReplayHost): Promise<void> {
  const cpuBefore = host.cpuMicroseconds();
  store(row.control, BEGUN, slice);
  notify(row.control, BEGUN, row.workers.reports.length);
  const over = row.workers.all("slice");
  // A worker that dies ends the slice at once.
  await Promise.race([host.sleep(seconds * 1000), over]);
  store(row.control, OVER, slice);
  await over;
  row.cpuSeconds += (host.cpuMicroseconds() - cpuBefore) / 1e6;
  const ran = row.workers.reports.map((report) => report.milliseconds / 1000);
  row.seconds += biggest(ran);
  for (const [worker, seconds] of ran.entries()) (row.workerSeconds[worker] as number) += seconds;
}

function totalsOf(row: Row): RowTotals {
  return {
    ...sumReports(row.workers.reports),
    counters: row.table.counters(),
    iotlbFlushes: invalidationsOf(row.board),
    hypercalls: row.board.statistics().hypercalls,
  };
}

/** The invalidations of a board. The machines of replays count them. */
function invalidationsOf(board: Board): number {
  const { invalidations } = board.statistics();
  if (invalidations !== "unknown") return invalidations;
  throw new InvalidArgumentError("platform of the replay", board.kind.name, "one whose machine counts invalidations");
}

/** Unmaps and drains everything. Returns the number of entries that are still taken. */
async function stopRow(row: Row): Promise<number> {
  store(row.control, BEGUN, STOPPED);
  notify(row.control, BEGUN, row.workers.reports.length);
  await row.workers.all("done");
  // Empties the lazy queue of this thread.
  row.board.table.allocator.drain();
  const lost = row.table.counters().takenEntries;
  row.board.close();
  return lost;
}
