/** One thread of the single-lock table's test: takes and frees ranges, and marks each entry it owns in a shadow map. */
import { parentPort, workerData } from "node:worker_threads";
import { UNCONSTRAINED } from "../allocator/constraints.ts";
import { exchange, type SharedBuffer, type SharedWords, wordsOf } from "../shared/memory.ts";
import { ShadowOps } from "./single-lock.model.ts";
import { type SingleLockHandle, SingleLockTable } from "./single-lock.ts";

interface Job {
  readonly handle: SingleLockHandle;
  /** A word for each entry: who owns it. */
  readonly shadow: SharedBuffer;
  readonly mark: number;
  readonly rounds: number;
}

const { handle, shadow, mark, rounds } = workerData as Job;
const table = SingleLockTable.attach(handle, new ShadowOps());
const owners: SharedWords = wordsOf(shadow);
let wrong = 0;
const claim = (first: number, count: number, from: number, to: number): void => {
  for (let entry = first; entry < first + count; entry++) if (exchange(owners, entry, to) !== from) wrong++;
};
const held: (readonly [first: number, count: number])[] = [];
for (let round = 0; round < rounds; round++) {
  const count = 1 + ((round * 7 + mark) % 13);
  const first = table.allocate(count, UNCONSTRAINED, -1);
  if (first >= 0) {
    claim(first, count, 0, mark);
    held.push([first, count]);
  }
  if (first >= 0 && held.length < 8) continue;
  const freed = held.shift();
  if (freed === undefined) continue;
  claim(freed[0], freed[1], mark, 0);
  table.unmap(freed[0], freed[1]);
}
for (const [first, count] of held) {
  claim(first, count, mark, 0);
  table.unmap(first, count);
}
parentPort?.postMessage(wrong);
