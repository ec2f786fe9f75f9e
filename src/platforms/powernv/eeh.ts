/**
 * EEH, enhanced error handling: a DMA that the bridge refuses freezes the device's PE. Its DMA is dropped, its registers read all ones,
 * until the PE is reset. Here freezes are found, told once, with the fault that began them, and ended.
 */
import { load, store } from "../../shared/memory.ts";
import type { Failure } from "../../units/failure.ts";
import { type EehReport, takeFreezes } from "../eeh.ts";
import { GROUP, groupAt } from "./layout.ts";
import type { Phb } from "./phb.ts";

/** The machine's faults, and the PEs that are frozen and were not told of before. */
export function takeEehReport(phb: Phb): EehReport {
  return takeFreezes({
    machine: phb.machine,
    takeFrozen: () => takeUntold(phb).map((partition) => ({ partition, devices: phb.devicesIn(partition) })),
    settle: () => phb.registers.sync(),
  });
}

/** PEs that are cut off now. */
export function frozenPartitions(phb: Phb): readonly number[] {
  return phb.locked("looking for frozen PEs", () => frozenLocked(phb));
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
    store(phb.state.words, groupAt(phb.state, partition) + GROUP.reported, 0);
    phb.registers.thaw(partition);
    return undefined;
  });
}

/**
 * Of several threads that find the same freeze, one tells of it. Found and noted under one lock: noted after a reset, it would hide the
 * next freeze.
 */
function takeUntold(phb: Phb): readonly number[] {
  const { words } = phb.state;
  const reportedAt = (partition: number): number => groupAt(phb.state, partition) + GROUP.reported;
  return phb.locked("taking frozen PEs", () => {
    const untold = frozenLocked(phb).filter((partition) => load(words, reportedAt(partition)) === 0);
    for (const partition of untold) store(words, reportedAt(partition), 1);
    return untold;
  });
}

/** Bridge's lock held. */
function frozenLocked(phb: Phb): readonly number[] {
  const partitions = Array.from({ length: phb.state.partitions }, (_, partition) => partition);
  return partitions.filter((partition) => phb.registers.isFrozen(partition));
}
