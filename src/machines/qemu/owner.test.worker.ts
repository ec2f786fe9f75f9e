/**
 * A thread that creates a machine, or attaches to one, and then does as it is told: run as a worker, or as the main thread of a process
 * of its own (argument: the options as JSON).
 */
import { writeSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { QemuMachine, type QemuMachineHandle, type QemuMachineOptions } from "./machine.ts";
import { Qtest } from "./qtest.ts";

export interface OwnerTask {
  /** Create with these options, or attach. */
  readonly options?: QemuMachineOptions;
  readonly handle?: QemuMachineHandle;
  /** Afterwards: end without a close; wait for ever; hold the lock for ever; add one to the word at COUNTER, so many times. */
  readonly after: "end" | "wait" | "hold" | "add";
}

/** Physical address of the word that "add" counts in, and how often it does. */
export const COUNTER = 0x50_0000;
export const ADDITIONS = 300;

const isProcess = parentPort === null;
const task = (isProcess ? JSON.parse(process.argv[2] ?? "null") : workerData) as OwnerTask | null;
if (task !== null) run(task);

function run({ options, handle, after }: OwnerTask): void {
  const machine = handle === undefined ? QemuMachine.create("sun4u", options) : QemuMachine.attach(handle);
  say(machine.handle);
  if (after === "wait") setInterval(() => {}, 1000);
  if (after === "hold") {
    Qtest.attach(machine.handle.qemu).locked(() => {
      say("holding");
      for (;;);
    });
  }
  if (after === "add") {
    for (let i = 0; i < ADDITIONS; i++) increment(machine);
    machine.close();
    say("added");
  }
}

/** By compare-and-swap, which must never lose one. */
export function increment({ memory }: QemuMachine): void {
  for (;;) {
    const found = memory.load32(COUNTER);
    if (memory.compareExchange32(COUNTER, found, found + 1) === found) return;
  }
}

function say(what: unknown): void {
  if (isProcess) writeSync(1, "created\n");
  else parentPort?.postMessage(what);
}
