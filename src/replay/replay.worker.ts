/** A worker thread of `iova replay` in Node. */
import { parentPort, workerData } from "node:worker_threads";
import { runWorker, type WorkerJob } from "./worker.ts";

runWorker(workerData as WorkerJob, (report) => parentPort?.postMessage(report));
