/** The victim of the recovery case: maps ranges that it keeps, then maps and unmaps others until it is ended. */
import { parentPort, workerData } from "node:worker_threads";
import { SoftwareMachine, type SoftwareMachineHandle } from "../../src/machines/software/machine.ts";
import { LinearPlatform, type LinearPlatformHandle } from "../../src/platforms/linear/platform.ts";
import { add, type SharedBuffer, wordsOf } from "../../src/shared/memory.ts";
import { DEVICE_READS } from "../../src/units/numbers.ts";
import { nextRandom } from "../churn.ts";
import { CASE_WORDS_AT } from "../player.ts";

export interface VictimData {
  readonly machine: SoftwareMachineHandle;
  readonly platform: LinearPlatformHandle;
  /** Number of ranges to keep; 0: enough to fill `percent` of the table. */
  readonly ranges: number;
  readonly percent: number;
  readonly seed: number;
  /** The victim counts its rounds in the case's first word. */
  readonly words: SharedBuffer;
}

const { machine: machineHandle, platform: platformHandle, ranges, percent, seed, words } = workerData as VictimData;
const machine = SoftwareMachine.attach(machineHandle);
const table = LinearPlatform.attach(machine, platformHandle).generic;
const limit = (table.window.entries * percent) / 100;
let random = seed;

function map(count: number): number {
  const first = table.allocate(count);
  if (first < 0) throw new Error(`the victim found no space: ${first}`);
  table.set(first, count, first, DEVICE_READS);
  table.publish();
  table.commit(first, count);
  return first;
}

function lengthOfNext(): number {
  random = nextRandom(random);
  return 1 + (random & 15);
}

let mapped = 0;
for (let range = 0; ranges > 0 ? range < ranges : mapped < limit; range++) {
  const count = lengthOfNext();
  map(count);
  mapped += count;
}
parentPort?.postMessage({ thread: table.thread });
for (;;) {
  const held: [number, number][] = [];
  for (let i = 0; i < 64; i++) {
    const count = lengthOfNext();
    held.push([map(count), count]);
  }
  for (const [first, count] of held) table.unmap(first, count);
  add(wordsOf(words), CASE_WORDS_AT, 1);
}
