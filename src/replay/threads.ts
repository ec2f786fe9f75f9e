/**
 * The threads of one row, seen from the runner: wait for all of them to say the same, and fail when one dies, throws or keeps
 * silent, whatever the others do. Nothing waits for ever.
 */
import { IovaError } from "../units/errors.ts";
import type { WorkerJob, WorkerReport } from "./worker.ts";

/** One worker thread, as the host starts it. Calls of the handlers come from the runner's own event loop. */
export interface ReplayThread {
  onReport(handler: (report: WorkerReport) => void): void;
  /** The thread has ended: by an error that it did not catch, or by itself, with this exit code. */
  onEnd(handler: (error: Error | undefined, exitCode: number) => void): void;
  /** Ends the thread wherever it is. Resolves when it no longer runs. */
  terminate(): Promise<void>;
}

/** What a replay needs of the world around it: threads, time, cores. */
export interface ReplayHost {
  startThread(job: WorkerJob): ReplayThread;
  /** Resolves after so many milliseconds. */
  sleep(milliseconds: number): Promise<void>;
  /** Rejects with `error` when the promise takes longer. */
  within<T>(milliseconds: number, promise: Promise<T>, error: () => Error): Promise<T>;
  /** CPU time that this process, with all its threads, has used so far, in microseconds. */
  cpuMicroseconds(): number;
  readonly cores: number;
}

/** A worker that says nothing for so long is given up. Waits for locks and DMAs end after 2 s at the latest. */
const SILENT_MS = 15_000;

/** Workers that play one row together. */
export class WorkerGroup {
  /** Last report of each worker. */
  readonly reports: WorkerReport[];
  readonly #row: string;
  readonly #host: ReplayHost;
  readonly #threads: readonly ReplayThread[];
  readonly #ended: boolean[];
  #waiting: WorkerReport["state"] = "ready";
  #missing: Set<number>;
  #resolve: () => void = () => {};
  #reject: (error: Error) => void = () => {};
  #failure: Error | undefined = undefined;

  constructor(row: string, host: ReplayHost, jobs: readonly WorkerJob[]) {
    this.#row = row;
    this.#host = host;
    this.reports = new Array<WorkerReport>(jobs.length);
    this.#ended = jobs.map(() => false);
    this.#missing = new Set(jobs.keys());
    this.#threads = jobs.map((job) => host.startThread(job));
    this.#threads.forEach((thread, worker) => {
      thread.onReport((report) => this.#reported(worker, report));
      thread.onEnd((error, exitCode) => this.#over(worker, error, exitCode));
    });
  }

  /** Resolves when every worker has reported `state` since the last call; rejects when one has ended before or is silent. */
  async all(state: WorkerReport["state"]): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    this.#waiting = state;
    const reached = new Promise<void>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    if (this.#missing.size === 0) this.#resolve();
    await this.#host.within(SILENT_MS, reached, () => {
      const silent = [...this.#missing].join(", ");
      return new IovaError(
        "worker-silent",
        `${this.#row}: worker ${silent} has not answered for ${SILENT_MS / 1000} s`,
      );
    });
    this.#missing = new Set(this.#threads.keys());
  }

  /** Ends every thread that still runs. */
  async terminate(): Promise<void> {
    await Promise.all(this.#threads.map((thread, worker) => (this.#ended[worker] ? undefined : thread.terminate())));
  }

  #reported(worker: number, report: WorkerReport): void {
    this.reports[worker] = report;
    if (report.state !== this.#waiting) return;
    this.#missing.delete(worker);
    if (this.#missing.size === 0) this.#resolve();
  }

  #over(worker: number, error: Error | undefined, exitCode: number): void {
    this.#ended[worker] = true;
    if (error === undefined && this.reports[worker]?.state === "done") return;
    const why = error === undefined ? `ended by itself, with exit code ${exitCode}` : `died: ${error.message}`;
    this.#failure ??= new IovaError("worker-died", `${this.#row}: worker ${worker} ${why}`);
    this.#reject(this.#failure);
  }
}
