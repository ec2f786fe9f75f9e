/**
 * EEH of powernv. A DMA that the bridge refuses freezes the device's PE: its DMA is dropped and its registers read all ones until the PE is
 * reset. This module reports each freeze once, with its first fault, and resets PEs.
 *
 * The word *reported* of a PE says that its current freeze was reported. It is set under the bridge's lock, together with the read of the
 * PE's state, and cleared by the reset under the same lock. If it were set after the unlock, a reset in between would leave it set, and the
 * next freeze would never be reported. If the reporting thread dies, its freeze is not reported; `frozenPartitions` still lists it.
 */
import { load, store } from "../../shared/memory.ts";
import type { Failure } from "../../units/failure.ts";
import { type EehReport, type FrozenPartition, takeFreezes } from "../eeh.ts";
import { GROUP, groupAt } from "./layout.ts";
import type { Phb } from "./phb.ts";

/** The machine's faults, and the frozen PEs that were not reported before. */
export function takeEehReport(phb: Phb): EehReport {
  return takeFreezes({
    machine: phb.machine,
    takeFrozen: () => phb.locked("looking for frozen PEs", () => takeUnreported(phb)),
    settle: () => phb.registers.sync(),
  });
}

/** The PEs that are frozen now. */
export function frozenPartitions(phb: Phb): readonly number[] {
  return phb.locked("looking for frozen PEs", () => frozenNow(phb));
}

/**
 * Resets a PE: kills its translations, then enables its registers and DMA. "platform-busy", and the PE stays frozen, while an earlier DMA
 * has not ended: it could freeze the PE again.
 */
export function resetPartition(phb: Phb, partition: number): Failure | undefined {
  return phb.locked("resetting a PE", () => {
    phb.registers.killPartition(partition);
    const failure = phb.registers.sync();
    if (failure !== undefined) return failure;
    // Before the thaw: if this thread dies in between, the freeze is reported twice rather than never.
    store(phb.state.words, reportedAt(phb, partition), 0);
    phb.registers.thaw(partition);
    return undefined;
  });
}

/** Bridge's lock held. The frozen PEs that were not reported, with their devices. Marks them as reported. */
function takeUnreported(phb: Phb): readonly FrozenPartition[] {
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
