/** A thread that makes or changes the dynamic window, and stops for good before one of its hypercalls, or after the last: then it is killed. */
import { parentPort, workerData } from "node:worker_threads";
import { Crew, type CrewSeat } from "../../crew/crew.ts";
import { PaprHypervisor, type PaprHypervisorHandle } from "../../machines/hypervisors/papr/hypervisor.ts";
import type { MemoryRange } from "./direct-memory.ts";
import { PseriesPlatform, type PseriesPlatformHandle } from "./platform.ts";

/** What the thread does. */
export interface DeathAction {
  /** In this order: a removal, a making, memory added, memory removed. */
  readonly removes?: boolean;
  readonly makes?: "direct" | "table";
  readonly adds?: MemoryRange;
  readonly takes?: MemoryRange;
}

export interface DeathWorkerData {
  readonly hypervisor: PaprHypervisorHandle;
  readonly platform: PseriesPlatformHandle;
  readonly seat: CrewSeat;
  readonly action: DeathAction;
  /** The hypercall before which it stops, counted from 0. */
  readonly call: number;
}

/** What it says before it stops: "call" before a hypercall, "done" when it has made fewer; or what has gone wrong. */
export type DeathMessage = "call" | "done" | { readonly answer: string };

const { hypervisor: handle, platform: platformHandle, seat, action, call } = workerData as DeathWorkerData;

function stop(message: DeathMessage): void {
  parentPort?.postMessage(message);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}

const hypervisor = PaprHypervisor.attach(handle, Crew.attach(seat));
let calls = -1;
const machine = new Proxy(hypervisor, {
  get: (target, key) => {
    if (key !== "hypercall") return Reflect.get(target, key, target);
    return (number: number, args: BigUint64Array): number => {
      if (calls >= 0 && calls++ === call) stop("call");
      return hypervisor.hypercall(number, args);
    };
  },
});
const platform = PseriesPlatform.attach(machine, platformHandle);
calls = 0;
const { removes = false, makes, adds, takes } = action;
const answers: unknown[] = [];
if (removes) answers.push(platform.removeDynamicWindow());
if (makes !== undefined) {
  const made = platform.makeDynamicWindow({ mask: 2n ** 64n - 1n, direct: makes === "direct" });
  if (typeof made === "string") answers.push(made);
}
if (adds !== undefined) answers.push(platform.addMemory(adds));
if (takes !== undefined) answers.push(platform.removeMemory(takes));
const failure = answers.find((answer) => answer !== undefined);
stop(failure === undefined ? "done" : { answer: String(failure) });
