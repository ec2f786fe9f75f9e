/** What tests and the drivers of a board that they run on threads (board-driver.test.worker.ts) tell each other. */
import type { BoardHandle } from "./board.ts";

/** Words of the report. */
export const REPORT = {
  mapped: 0,
  wrong: 1,
  failures: 2,
  machineThread: 3,
  tableThread: 4,
  secrets: 5,
  stop: 6,
} as const;

export interface BoardDriverData {
  readonly handle: BoardHandle;
  readonly report: SharedArrayBuffer;
  /** 0: until `stop`, or the end of this thread. */
  readonly rounds: number;
  /** The pages [firstPage, firstPage + pages) are this driver's; with no pages it is a wild device. */
  readonly firstPage: number;
  readonly pages: number;
  /** Pages that one mapping has at most. */
  readonly longest: number;
  /** Written to a page that is unmapped; nothing that is as large may be seen. 0: pages keep their tag. */
  readonly secret: number;
}
