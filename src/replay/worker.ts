/**
 * A worker thread's part of a replay, whatever kind of thread it is: attach to the row's board and table, then play while
 * told to. The runner and its workers meet in two shared words: the number of the slice that has begun, and of the last one that
 * is over. Numbers, since a worker that wakes up late must not miss a slice: it plays a batch and reports all the same.
 */
import { DmaDevice } from "../dma/device.ts";
import type { BoardHandle } from "../machines/board.ts";
import { attachBoard } from "../machines/boards.ts";
import type { SingleLockHandle } from "../rivals/single-lock.ts";
import { load, milliseconds, type SharedBuffer, type SharedWords, waitWhile, wordsOf } from "../shared/memory.ts";
import { TranslationChecker } from "./check.ts";
import type { WorkerPlan } from "./plan.ts";
import { Player } from "./player.ts";
import { attachTable, type TableName } from "./tables.ts";

/** The slice that has begun: 1, 2, …; 0 before the first, STOPPED in the end. */
export const BEGUN = 0;
/** The last slice that is over. On a line of its own: workers look at it all the time. */
export const OVER = 32;
export const CONTROL_BYTES = 256;
export const STOPPED = -1;

/** Number of operations that a worker plays between two reads of the control words: some 20 µs. */
const BATCH = 16;

/** All that a worker needs. Structured-cloneable. */
export interface WorkerJob {
  readonly worker: number;
  readonly table: TableName;
  readonly handle: SingleLockHandle | undefined;
  readonly board: BoardHandle;
  /** Physical address at which its part of memory begins. */
  readonly arenaAddress: number;
  readonly plan: WorkerPlan;
  readonly control: SharedBuffer;
}

/** Totals since the worker began; the time is the last slice's. */
export interface WorkerReport {
  /** ready: attached; slice: a slice is over, the worker waits; done: all is unmapped and given back. */
  readonly state: "ready" | "slice" | "done";
  readonly milliseconds: number;
  readonly completed: number;
  /** Index = −failure code. */
  readonly failures: readonly number[];
  readonly checked: number;
  readonly wrong: number;
  readonly firstWrong: string;
}

/** Runs until told to stop. `report` is called at each change of state. */
export function runWorker(job: WorkerJob, report: (report: WorkerReport) => void): void {
  const control: SharedWords = wordsOf(job.control);
  const board = attachBoard(job.board);
  const table = attachTable(job.table, job.handle, board);
  // Segments as long as a descriptor may be: what the kernel's device took as one piece stays one piece.
  const device = new DmaDevice(table, { maxSegmentBytes: 2 ** 32 - 1 });
  const checker = new TranslationChecker(
    board.machine.device(job.worker),
    board.machine.memory,
    table.window.pageShift,
    device,
  );
  const player = new Player(job.plan, job.arenaAddress, device, checker);
  const tell = (state: WorkerReport["state"], elapsed: number): void => {
    const { checked, wrong, firstWrong } = checker;
    const { completed, failures } = player;
    report({ state, milliseconds: elapsed, completed, failures: [...failures], checked, wrong, firstWrong });
  };
  tell("ready", 0);
  for (let played = 0; ; ) {
    const slice = load(control, BEGUN);
    if (slice === STOPPED) break;
    if (slice === played) {
      waitWhile(control, BEGUN, played, 1000);
      continue;
    }
    const began = milliseconds();
    do player.play(BATCH);
    while (load(control, OVER) < slice);
    played = slice;
    tell("slice", milliseconds() - began);
  }
  player.unmapAll();
  board.close();
  tell("done", 0);
}
