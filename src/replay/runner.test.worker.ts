/** Worker threads that go wrong in the way that MISBEHAVE says: for tests of the runner. */
import { parentPort, workerData } from "node:worker_threads";
import { SoftwareDevice } from "../machines/software/device.ts";
import { LinearOps } from "../platforms/linear/ops.ts";
import { runWorker, type WorkerJob } from "./worker.ts";

const job = workerData as WorkerJob;
const second = job.worker === 1;
const { set } = LinearOps.prototype;
let maps = 0;

switch (process.env["MISBEHAVE"]) {
  case "wrong page":
    LinearOps.prototype.set = function (first, count, page, access) {
      return set.call(this, first, count, page + 1, access);
    };
    break;
  case "no invalidation":
    LinearOps.prototype.invalidate = () => undefined;
    LinearOps.prototype.invalidateAll = () => undefined;
    break;
  case "refused":
    LinearOps.prototype.set = function (first, count, page, access) {
      return ++maps % 100 === 0 ? "platform-refused" : set.call(this, first, count, page, access);
    };
    break;
  case "throw":
    if (second) {
      SoftwareDevice.prototype.dmaRead = () => {
        throw new Error("planted");
      };
    }
    break;
  case "exit":
    if (second) process.exit(7);
    break;
  case "silent":
    if (second) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    break;
}

runWorker(job, (report) => parentPort?.postMessage(report));
