/**
 * EEH, enhanced error handling: a DMA that the bridge refuses freezes the device's PE. Its DMA is dropped, its registers read all ones,
 * until the PE is reset. Here freezes are found, told once, with the fault that began them, and ended.
 *
 * Who tells of a freeze is agreed by a word of the PE, under the bridge's lock like the look at the PE and its reset: *reported* is of the
 * freeze that was seen. Were it set after the lock is given back, a reset in between would leave it set for the next freeze, of which
 * nobody would ever tell. A freeze is told of once; not at all if the thread that was to tell dies: then `frozenPartitions` shows it.
 */
import { load, store } from "../../shared/memory.ts";
import type { Failure } from "../../units/failure.ts";
import { type EehReport, type FrozenPartition, takeFreezes } from "../eeh.ts";
import { GROUP, groupAt } from "./layout.ts";
import type { Phb } from "./phb.ts";

/** The machine's faults, and the PEs that are frozen and were not told of before. */
export function takeEehReport(phb: Phb): EehReport {
  return takeFreezes({
    machine: phb.machine,
    takeFrozen: () => phb.locked("looking for frozen PEs", () => untold(phb)),
    settle: () => phb.registers.sync(),
  });
}

/** PEs that are cut off now. */
export function frozenPartitions(phb: Phb): readonly number[] {
  return phb.locked("looking for frozen PEs", () => frozenNow(phb));
}

/**
 * Ends a freeze: the IOTLB forgets the PE's translations, then registers and DMA work again. "platform-busy", and the PE stays
 * frozen, while a DMA of before has not ended: it could freeze the PE again.
 */
export function resetPartition(phb: Phb, partition: number): Failure | undefined {
  return phb.locked("resetting a PE", () => {
    phb.registers.killPartition(partition);
    const failure = phb.registers.sync();
    if (failure !== undefined) return failure;
    // Before the thaw: a thread that dies in between leaves a freeze that is told of again, and none that never is.
    store(phb.state.words, reportedAt(phb, partition), 0);
    phb.registers.thaw(partition);
    return undefined;
  });
}

/** Bridge's lock held. PEs that are frozen and were not told of, with their devices. From now on they are told of. */
function untold(phb: Phb): readonly FrozenPartition[] {
  const found = frozenNow(phb).filter((partition) => load(phb.state.words, reportedAt(phb, partition)) === 0);
  for (const partition of found) store(phb.state.words, reportedAt(phb, partition), 1);
  return found.map((partition) => ({ partition, devices: phb.devicesIn(partition) }));
}

/** Bridge's lock held. */
function frozenNow(phb: Phb): readonly number[] {
  const partitions = Array.from({ length: phb.state.partitions }, (_, partition) => partition);
  return partitions.filter((partition) => phb.registers.isFrozen(partition));
}

function reportedAt(phb: Phb, partition: number): number {
  return groupAt(phb.state, partition) + GROUP.reported;
}
