/**
 * A device that does not care what it was given: it reads and writes all addresses of the window, all the time. It counts the
 * secrets that it gets to see.
 */
import { workerData } from "node:worker_threads";
import { SoftwareMachine, type SoftwareMachineHandle } from "./machine.ts";

export interface WildDeviceData {
  readonly handle: SoftwareMachineHandle;
  /** Words: stop, DMAs granted, secrets seen, this machine view's thread (all but the first written here). */
  readonly report: SharedArrayBuffer;
  readonly windowBase: bigint;
  readonly pageShift: number;
  readonly entries: number;
  /** Length of one DMA. */
  readonly bytes: number;
  /** No byte that the device may see is as large as this; above 255, nothing is secret. Every eighth byte is looked at. */
  readonly secret: number;
  /** What it writes to every fourth page, or 0: it only reads. */
  readonly mark: number;
}

const data = workerData as WildDeviceData;
const { windowBase, pageShift, entries, secret } = data;
const machine = SoftwareMachine.attach(data.handle);
const device = machine.device(machine.thread % data.handle.devices.length);
const report = new Int32Array(data.report);
const seen = new Uint8Array(data.bytes);
const mark = new Uint8Array(data.bytes).fill(data.mark);

/** A loop: between DMAs, time should not go into looking. */
function seesSecret(): boolean {
  for (let i = 0; i < seen.length; i += 8) if ((seen[i] as number) >= secret) return true;
  return false;
}

Atomics.store(report, 3, machine.thread);
for (let state = machine.thread; Atomics.load(report, 0) === 0; ) {
  state = (Math.imul(state, 0x19660d) + 0x3c6ef35f) | 0;
  const entry = (state >>> 8) % entries;
  const iova = windowBase + BigInt(entry << pageShift);
  if (data.mark !== 0 && entry % 4 === 0) {
    if (device.dmaWrite(iova, mark)) Atomics.add(report, 1, 1);
  } else if (device.dmaRead(iova, seen)) {
    Atomics.add(report, 1, 1);
    if (secret <= 255 && seesSecret()) Atomics.add(report, 2, 1);
  }
}
machine.close();
