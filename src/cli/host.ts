/** The surroundings of a replay, in Node: worker threads, time, CPU time. */
import { availableParallelism } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import type { ReplayHost, ReplayThread } from "../replay/threads.ts";
import type { WorkerJob, WorkerReport } from "../replay/worker.ts";

const WORKER = new URL("../replay/replay.worker.js", import.meta.url);

/** `file`: what the threads run; tests put something else in its place. */
export function nodeHost(file: URL = WORKER): ReplayHost {
  return {
    startThread: (job) => startThread(file, job),
    sleep: (milliseconds) => sleep(milliseconds),
    within: async (milliseconds, promise, error) => {
      const late = new AbortController();
      const timeOut = sleep(milliseconds, undefined, { signal: late.signal }).then(() => {
        throw error();
      });
      try {
        return await Promise.race([promise, timeOut]);
      } finally {
        late.abort();
        // The sleep that is no longer wanted ends with an AbortError.
        timeOut.catch(() => {});
      }
    },
    cpuMicroseconds: () => {
      const { user, system } = process.cpuUsage();
      return user + system;
    },
    cores: availableParallelism(),
  };
}

function startThread(file: URL, job: WorkerJob): ReplayThread {
  const worker = new Worker(file, { workerData: job });
  return {
    onReport: (handler) => worker.on("message", (report) => handler(report as WorkerReport)),
    onEnd: (handler) => {
      worker.on("error", (error) => handler(error, 1));
      worker.on("messageerror", (error) => handler(error, 1));
      worker.on("exit", (exitCode) => handler(undefined, exitCode));
    },
    terminate: async () => {
      await worker.terminate();
    },
  };
}
