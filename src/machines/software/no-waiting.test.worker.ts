/**
 * A thread that may not sleep, as a browser's main thread: Atomics.wait throws there, and here from before the library is
 * loaded. It invalidates, and posts the answer.
 */
import { parentPort, workerData } from "node:worker_threads";
import type { SoftwareMachineHandle } from "./machine.ts";

Atomics.wait = () => {
  throw new TypeError("Atomics.wait cannot be called in this context");
};
const { SoftwareMachine } = await import("./machine.ts");
const { INVALIDATE_ALL, INVALIDATE_RESULT } = await import("../../platforms/linear/registers.ts");
const machine = SoftwareMachine.attach(workerData as SoftwareMachineHandle);
machine.registers.write32(INVALIDATE_ALL, 1);
parentPort?.postMessage(machine.registers.read32(INVALIDATE_RESULT));
