/**
 * The fault record: DMAs that the IOMMU refused, until a thread takes them. It is bounded: each thread that drives devices has its own ring
 * in shared memory. A fault that finds its ring full is counted and lost, as in hardware.
 *
 * One thread records in a ring; any thread takes. The record is stored before the count of recorded faults (pairs with the load of the
 * count in `take`). A compareExchange of the other count takes a fault, so that one of two takers gets it. A record is not overwritten
 * before it was taken. So a thread may be killed anywhere without leaving a partial fault.
 */
import type { Fault } from "../../machine/contract.ts";
import { count, counted } from "../../shared/counters.ts";
import { add, compareExchange, load, type SharedWords, store } from "../../shared/memory.ts";
import type { Access } from "../../units/numbers.ts";
import { CLOCKS, FAULT, type Layout, THREAD } from "./layout.ts";
import { slotAt } from "./threads.ts";

/** Why the software machine refuses a DMA. */
export const FAULT_REASONS = [
  /** CONTROL has not enabled translation. */
  "translation-off",
  "outside-window",
  /** The entry is empty. */
  "not-mapped",
  /** The entry is invalid in its format, or of another page size. */
  "bad-entry",
  "read-refused",
  "write-refused",
  /** The entry leads to an address beyond the end of memory. */
  "outside-memory",
  /** A dead or stopped thread holds the lock of the streaming cache. */
  "streaming-cache-busy",
  /** The entry leads to an address between two regions of memory. */
  "memory-hole",
] as const;
export type FaultReason = (typeof FAULT_REASONS)[number];

interface StampedFault extends Fault {
  readonly stamp: number;
}

/** One thread's view. Stateless. */
export class FaultRecord {
  readonly #state: SharedWords;
  readonly #layout: Layout;
  readonly #devices: readonly string[];
  readonly #thread: number;

  constructor(state: SharedWords, layout: Layout, devices: readonly string[], thread: number) {
    this.#state = state;
    this.#layout = layout;
    this.#devices = devices;
    this.#thread = thread;
  }

  /** Records a fault of a DMA of this thread. */
  record(device: number, iova: bigint, access: Access, reason: FaultReason): void {
    const state = this.#state;
    const slot = slotAt(this.#layout, this.#thread);
    count(state, slot + THREAD.faults, 1);
    const recorded = load(state, slot + THREAD.faultsRecorded);
    if (((recorded - load(state, slot + THREAD.faultsTaken)) | 0) >= this.#layout.faultRecords) {
      count(state, slot + THREAD.faultsLost, 1);
      return;
    }
    const at = this.#recordAt(this.#thread, recorded);
    store(state, at + FAULT.stamp, add(state, CLOCKS.fault, 1));
    store(state, at + FAULT.device, device);
    store(state, at + FAULT.iovaLow, Number(BigInt.asIntN(32, iova)));
    store(state, at + FAULT.iovaHigh, Number(BigInt.asIntN(32, iova >> 32n)));
    store(state, at + FAULT.access, access);
    store(state, at + FAULT.reason, FAULT_REASONS.indexOf(reason));
    store(state, slot + THREAD.faultsRecorded, recorded + 1);
  }

  /** Takes the recorded faults, oldest first. */
  take(): readonly Fault[] {
    const faults: StampedFault[] = [];
    for (let thread = 0; thread < this.#layout.threads; thread++) this.#takeFrom(thread, faults);
    // The clock wraps: compare by difference.
    faults.sort((a, b) => (a.stamp - b.stamp) | 0);
    return faults.map(({ device, iova, access, reason }) => ({ device, iova, access, reason }));
  }

  /** Number of faults lost because the record was full, since the machine was created. */
  lost(): number {
    let lost = 0;
    for (let thread = 0; thread < this.#layout.threads; thread++) {
      lost += counted(this.#state, slotAt(this.#layout, thread) + THREAD.faultsLost);
    }
    return lost;
  }

  #takeFrom(thread: number, faults: StampedFault[]): void {
    const slot = slotAt(this.#layout, thread);
    for (;;) {
      const taken = load(this.#state, slot + THREAD.faultsTaken);
      if (load(this.#state, slot + THREAD.faultsRecorded) === taken) return;
      const fault = this.#read(this.#recordAt(thread, taken));
      const next = (taken + 1) | 0;
      // If another thread was faster, the fault that was read may be a later one.
      if (compareExchange(this.#state, slot + THREAD.faultsTaken, taken, next) === taken) faults.push(fault);
    }
  }

  #read(at: number): StampedFault {
    const high = load(this.#state, at + FAULT.iovaHigh) >>> 0;
    const low = load(this.#state, at + FAULT.iovaLow) >>> 0;
    return {
      stamp: load(this.#state, at + FAULT.stamp),
      device: this.#devices[load(this.#state, at + FAULT.device)] ?? "",
      iova: (BigInt(high) << 32n) | BigInt(low),
      access: load(this.#state, at + FAULT.access) as Access,
      reason: FAULT_REASONS[load(this.#state, at + FAULT.reason)] ?? "",
    };
  }

  #recordAt(thread: number, index: number): number {
    // A power of two, so that ring positions stay consistent when the count wraps.
    const { faultsAt, faultRecords } = this.#layout;
    return faultsAt + (thread * faultRecords + (index & (faultRecords - 1))) * FAULT.words;
  }
}
