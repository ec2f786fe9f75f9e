/**
 * Recovers a worker's thread when the worker has ended: what every program with workers that may be terminated, or may crash, has to do.
 *
 *     const seat = crew.addThread();
 *     const worker = new Worker(script, { workerData: { seat, handle: board.handle } });
 *     void reclaimOnExit(worker, crew, seat);
 *     // in the worker: attachBoard(handle, Crew.attach(seat))
 */
import type { Crew, CrewSeat, Reclaimed, ReclaimScope } from "./crew.ts";

/** What ends once, as a Worker of node:worker_threads or a ChildProcess of node:child_process does. */
export interface Ending {
  once(event: "exit", listener: () => void): unknown;
}

/**
 * Waits for the worker's exit, then recovers what it has left, in every structure that this thread is attached to (`Crew.reclaim`). Resolves
 * to what came back; to undefined when the worker had given its number back itself. Rejects with what `reclaim` throws: a later
 * `crew.reclaim(seat.thread, …)` repeats it. Call it right after the worker has been started: an exit that was before is not seen.
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
