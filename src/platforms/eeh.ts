/**
 * EEH (enhanced error handling) reporting shared by powernv and pseries. A refused DMA freezes the device's PE (partitionable endpoint):
 * its DMA is dropped and its registers read all ones until the PE is reset. Each platform detects and ends freezes in its own way.
 */

import type { Fault, Machine } from "../machine/contract.ts";
import type { Failure } from "../units/failure.ts";
import { append } from "../units/lists.ts";

/** A PE, and the names of the devices in it. */
export interface FrozenPartition {
  /** The PE. powernv: the bridge's PE number. pseries: the PE address that firmware calls use. */
  readonly partition: number;
  /** Names of the devices in the PE. */
  readonly devices: readonly string[];
}

/**
 * A PE that was found frozen (LoPAPR, "EEH"): its devices' DMA is dropped and their registers read all ones, until the platform's `reset`.
 */
export interface EehEvent extends FrozenPartition {
  /** The first recorded fault of these devices. Undefined if another thread took it from the machine, or the machine records no faults. */
  readonly firstFault: Fault | undefined;
}

/** Faults and newly frozen PEs, as `takeFreezes` of the EEH platforms returns them. */
export interface EehReport {
  /** All faults that were recorded, oldest first. */
  readonly faults: readonly Fault[];
  /** PEs that are frozen and were not reported before. */
  readonly events: readonly EehEvent[];
  /** Failure to read the state of the PEs. `events` is empty then, and the next report tries again. Absent: the state was read. */
  readonly failure?: Failure;
}

export interface FreezeSource {
  readonly machine: Machine;
  /** Frozen PEs that were not reported before, or why their state could not be read. */
  takeFrozen(): readonly FrozenPartition[] | Failure;
  /** Waits for DMAs in flight, as far as the platform can. */
  settle(): void;
}

/**
 * Takes the machine's faults, then reads the PEs. In this order, because the freeze precedes the record of its fault. If a freeze has no
 * fault yet, this waits for DMAs in flight and takes the faults again.
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
