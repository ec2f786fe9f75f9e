/** Starts and stops wild devices (wild-device.test.worker.ts) for tests. */
import { Worker } from "node:worker_threads";
import type { WildDeviceData } from "./wild-device.test.worker.ts";

const STOP = 0;
const GRANTED = 1;
const SECRETS = 2;
const THREAD = 3;

export class WildDevice {
  readonly #report: Int32Array;
  readonly #worker: Worker;
  readonly #exit: Promise<number>;

  /** @param settings see WildDeviceData */
  constructor(settings: Omit<WildDeviceData, "report">) {
    const report = new SharedArrayBuffer(16);
    this.#report = new Int32Array(report);
    Atomics.store(this.#report, THREAD, -1);
    const workerData: WildDeviceData = { ...settings, report };
    this.#worker = new Worker(new URL("./wild-device.test.worker.js", import.meta.url), { workerData });
    this.#exit = new Promise((resolve, reject) => {
      this.#worker.once("exit", resolve);
      this.#worker.once("error", reject);
    });
  }

  /** DMAs that the IOMMU granted so far. */
  get granted(): number {
    return Atomics.load(this.#report, GRANTED);
  }
  get secretsSeen(): number {
    return Atomics.load(this.#report, SECRETS);
  }
  /** Its thread on the machine. */
  get thread(): number {
    return Atomics.load(this.#report, THREAD);
  }

  /** Resolves once it has been granted so many DMAs; rejects when its thread ends before. */
  async untilGranted(count: number): Promise<void> {
    while (this.granted < count) {
      const ended = await Promise.race([
        this.#exit.then(() => true),
        new Promise((next) => setTimeout(next, 1, false)),
      ]);
      if (ended === true) throw new Error(`the device ended after ${this.granted} DMAs`);
    }
  }

  /** Lets it end its DMA and leave. */
  async stop(): Promise<void> {
    Atomics.store(this.#report, STOP, 1);
    await this.#exit;
  }

  /** Ends its thread, wherever it is. */
  async kill(): Promise<void> {
    await this.#worker.terminate();
    await this.#exit;
  }
}
