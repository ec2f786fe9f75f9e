/**
 * EEH, enhanced error handling, as both PowerPC platforms tell of it: a refused DMA freezes the device's PE (partitionable endpoint).
 * Its DMA is dropped, its registers read all ones, until the PE is reset. How a freeze is found, and ended, is the platform's.
 */

import type { Fault, Machine } from "../machine/contract.ts";
import type { Failure } from "../units/failure.ts";
import { append } from "../units/lists.ts";

/** A PE, and the names of the devices in it. */
export interface FrozenPartition {
  /** As its platform counts them: powernv by the bridge's PE numbers; pseries by the address that firmware calls name it by. */
  readonly partition: number;
  readonly devices: readonly string[];
}

/** A PE was found frozen. */
export interface EehEvent extends FrozenPartition {
  /** The first refused DMA of one of them, unless somebody else has taken it from the machine, or the machine keeps none. */
  readonly firstFault: Fault | undefined;
}

export interface EehReport {
  /** All faults that were recorded, oldest first. */
  readonly faults: readonly Fault[];
  /** PEs that are frozen and were not reported before. */
  readonly events: readonly EehEvent[];
  /** Why the platform could not look at its PEs: then there are no events, and the next report looks again. */
  readonly failure?: Failure;
}

export interface FreezeSource {
  readonly machine: Machine;
  /** PEs that are frozen and were not told of before, or why nobody can say. */
  takeFrozen(): readonly FrozenPartition[] | Failure;
  /** The DMAs that were in flight end, as far as the platform can bring that about. */
  settle(): void;
}

/**
 * Takes the machine's faults and looks at the PEs. Faults first: the freeze of a fault that was recorded is there to be seen. A freeze
 * may be seen before its fault is recorded: then, once the DMAs in flight have passed, the faults are taken again.
 */
export function takeFreezes(source: FreezeSource): EehReport {
  const faults = [...source.machine.faults()];
  const found = source.takeFrozen();
  if (typeof found === "string") return { faults, events: [], failure: found };
  const firstOf = (devices: readonly string[]): Fault | undefined =>
    faults.find(({ device }) => devices.includes(device));
  if (found.some(({ devices }) => firstOf(devices) === undefined)) {
    source.settle();
    append(faults, source.machine.faults());
  }
  return { faults, events: found.map((frozen) => ({ ...frozen, firstFault: firstOf(frozen.devices) })) };
}
