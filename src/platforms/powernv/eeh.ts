/**
 * EEH, enhanced error handling: a DMA that the bridge refuses freezes the device's PE. Its DMA is dropped, its registers read all ones,
 * until the PE is reset. Here freezes are found, told once, with the fault that began them, and ended.
 */
import type { Fault } from "../../machine/contract.ts";
import { compareExchange, store } from "../../shared/memory.ts";
import type { Failure } from "../../units/failure.ts";
import { GROUP, groupAt } from "./layout.ts";
import type { Phb } from "./phb.ts";

/** A PE was found frozen. */
export interface EehEvent {
  readonly partition: number;
  /** Names of the devices in it. */
  readonly devices: readonly string[];
  /** The first refused DMA of one of them, unless somebody else has taken it from the machine, or the machine keeps none. */
  readonly firstFault: Fault | undefined;
}

export interface EehReport {
  /** All faults that were recorded, oldest first. */
  readonly faults: readonly Fault[];
  /** PEs that are frozen and were not reported before, by number. */
  readonly events: readonly EehEvent[];
}

/**
 * Takes the machine's faults and looks at every PE. Faults first: the freeze of a fault that was recorded is there to be seen. A
 * freeze may be seen before its fault is recorded: then, once the DMAs in flight have passed, the faults are taken again.
 */
export function takeEehReport(phb: Phb): EehReport {
  const faults = [...phb.machine.faults()];
  const frozen = frozenPartitions(phb).filter((partition) => tryReport(phb, partition));
  const firstOf = (devices: readonly string[]): Fault | undefined =>
    faults.find(({ device }) => devices.includes(device));
  const found = frozen.map((partition) => ({ partition, devices: phb.devicesIn(partition) }));
  if (found.some(({ devices }) => firstOf(devices) === undefined)) {
    phb.registers.sync();
    faults.push(...phb.machine.faults());
  }
  return { faults, events: found.map((event) => ({ ...event, firstFault: firstOf(event.devices) })) };
}

/** PEs that are cut off now. */
export function frozenPartitions(phb: Phb): readonly number[] {
  return phb.locked("looking for frozen PEs", () =>
    Array.from({ length: phb.state.partitions }, (_, partition) => partition).filter((partition) =>
      phb.registers.isFrozen(partition),
    ),
  );
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

/** Of several threads that find the same freeze, one tells of it. */
function tryReport(phb: Phb, partition: number): boolean {
  return compareExchange(phb.state.words, groupAt(phb.state, partition) + GROUP.reported, 0, 1) === 0;
}
