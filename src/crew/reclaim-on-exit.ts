/**
 * Recovers a worker's thread when the worker has ended: every program whose workers may be terminated, or may crash, has to do this.
 *
 *     const seat = crew.addThread();
 *     const worker = new Worker(script, { workerData: { seat, handle: board.handle } });
 *     void reclaimOnExit(worker, crew, seat);
 *     // in the worker: attachBoard(handle, Crew.attach(seat))
 */
import type { Crew, CrewSeat, Reclaimed, ReclaimScope } from "./crew.ts";

/** An object with an `exit` event: a Worker of node:worker_threads, a ChildProcess of node:child_process. */
export interface Ending {
  /** Calls the listener once, after the worker or process has ended. */
  once(event: "exit", listener: () => void): unknown;
}

/**
 * Waits for the worker's exit, then calls `Crew.reclaim`, which recovers the worker's thread in every structure that this thread is attached
 * to. Call this function right after starting the worker, because it can't see an earlier exit.
 *
 * Resolves to the result of `reclaim`, or to undefined if the worker had closed its membership itself. Rejects with the error of `reclaim`;
 * call `crew.reclaim(seat.thread, …)` later to repeat it. `scope`: default "everything".
 *
 * @example
 * ```js
 * import { Worker } from "node:worker_threads";
 * import { Crew, PooledAllocator, reclaimOnExit } from "iova";
 *
 * const crew = Crew.create();
 * const table = PooledAllocator.create({ entries: 1024, crew });
 * const seat = crew.addThread();
 * const program = `
 *   import { workerData } from "node:worker_threads";
 *   import { Crew, PooledAllocator } from "iova";
 *   const table = PooledAllocator.attach(workerData.handle, Crew.attach(workerData.seat));
 *   table.allocate(100);
 *   throw new Error("dies");`;
 * const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(program)}`), { workerData: { seat, handle: table.handle } });
 * worker.on("error", () => {});
 * await reclaimOnExit(worker, crew, seat);
 * console.log(table.statistics().taken);
 * ```
 * ```text output
 * 0
 * ```
 */
export function reclaimOnExit(
  worker: Ending,
  crew: Crew,
  seat: CrewSeat,
  scope: ReclaimScope = "everything",
): Promise<Reclaimed | undefined> {
  return new Promise((resolve, reject) => {
    worker.once("exit", () => {
      try {
        resolve(crew.holds(seat) ? crew.reclaim(seat.thread, scope) : undefined);
      } catch (error) {
        reject(error);
      }
    });
  });
}
