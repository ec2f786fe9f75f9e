/**
 * The worker threads of one row, for the runner: waits until all of them have reported a state, and fails if one dies, throws or does not
 * report in time.
 */
import { IovaError } from "../units/errors.ts";
import type { WorkerJob, WorkerReport } from "./worker.ts";

/** One worker thread, as the host starts it. Calls of the handlers come from the runner's own event loop. */
export interface ReplayThread {
  onReport(handler: (report: WorkerReport) => void): void;
  /** The thread has ended: by an error that it did not catch, or by itself, with this exit code. */
  onEnd(handler: (error: Error | undefined, exitCode: number) => void): void;
  /** Ends the thread. Resolves when it no longer runs. */
  terminate(): Promise<void>;
}

/** The host environment of a replay: threads, time, cores. */
export interface ReplayHost {
  startThread(job: WorkerJob): ReplayThread;
  /** Resolves after this number of milliseconds. */
  sleep(milliseconds: number): Promise<void>;
  /** Rejects with `error` if the promise takes longer. */
  within<T>(milliseconds: number, promise: Promise<T>, error: () => Error): Promise<T>;
  /** CPU time that this process, with all its threads, has used so far, in microseconds. */
  cpuMicroseconds(): number;
  readonly cores: number;
}

/** If no missing worker reports anything for this time, the row fails. Waits for locks and DMAs end after at most 2 s. */
const SILENT_MS = 15_000;
/** Threads that start at once, per core: a thread's start takes a core for a tenth of a second, so more would only be silent for longer. */
const STARTING_PER_CORE = 2;

/** The action that a worker has completed when it reports a state, for messages. */
const DONE_WHEN: Readonly<Record<WorkerReport["state"], string>> = {
  ready: "started",
  slice: "ended its slice",
  done: "given back what it held",
};

/** Workers that play one row together. */
export class WorkerGroup {
  /** Last report of each worker. */
  readonly reports: WorkerReport[];
  readonly #row: string;
  readonly #host: ReplayHost;
  readonly #jobs: readonly WorkerJob[];
  /** The threads that have been started. */
  readonly #threads: ReplayThread[] = [];
  readonly #ended: boolean[];
  #waiting: WorkerReport["state"] = "ready";
  #missing: Set<number>;
  /** Called after a new report, or the end of a worker. */
  #wake: () => void = () => {};
  #failure: Error | undefined = undefined;

  constructor(row: string, host: ReplayHost, jobs: readonly WorkerJob[]) {
    this.#row = row;
    this.#host = host;
    this.#jobs = jobs;
    this.reports = new Array<WorkerReport>(jobs.length);
    this.#ended = jobs.map(() => false);
    this.#missing = new Set(jobs.keys());
    for (let i = 0; i < STARTING_PER_CORE * host.cores; i++) this.#startNext();
  }

  /**
   * Resolves when every worker has reported `state` since the last call. Rejects if a worker has ended before, or none reports any more.
   */
  async all(state: WorkerReport["state"]): Promise<void> {
    this.#waiting = state;
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#missing.size === 0) break;
      const news = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      await this.#host.within(SILENT_MS, news, () => this.#silent());
    }
    this.#missing = new Set(this.#jobs.keys());
  }

  /** Ends every thread that still runs. */
  async terminate(): Promise<void> {
    await Promise.all(this.#threads.map((thread, worker) => (this.#ended[worker] ? undefined : thread.terminate())));
  }

  #startNext(): void {
    const worker = this.#threads.length;
    const job = this.#jobs[worker];
    if (job === undefined) return;
    const thread = this.#host.startThread(job);
    this.#threads.push(thread);
    thread.onReport((report) => this.#reported(worker, report));
    thread.onEnd((error, exitCode) => this.#over(worker, error, exitCode));
  }

  #reported(worker: number, report: WorkerReport): void {
    this.reports[worker] = report;
    if (report.state === "ready" && this.#failure === undefined) this.#startNext();
    if (report.state !== this.#waiting) return;
    this.#missing.delete(worker);
    this.#wake();
  }

  #over(worker: number, error: Error | undefined, exitCode: number): void {
    this.#ended[worker] = true;
    if (error === undefined && this.reports[worker]?.state === "done") return;
    const why = error === undefined ? `ended by itself, with exit code ${exitCode}` : `died: ${error.message}`;
    this.#failure ??= new IovaError("worker-died", `${this.#row}: worker ${worker} ${why}`);
    this.#wake();
  }

  #silent(): Error {
    const all = this.#jobs.length;
    const some = [...this.#missing].slice(0, 4).join(", ");
    const which = this.#missing.size > 4 ? `${some} and others` : some;
    return new IovaError(
      "worker-silent",
      `${this.#row}: ${this.#missing.size} of ${all} workers (${which}) had not ${DONE_WHEN[this.#waiting]} when nothing had been ` +
        `heard of any for ${SILENT_MS / 1000} s: they hang, or this machine has too much else to do for ${all} threads`,
    );
  }
}
