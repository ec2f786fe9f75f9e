/** What the tests of the powernv platform start from: a machine of devices "nic" and "disk", and its bridge. */

import { requesterIdOf } from "../../machines/software/iommus/phb4.ts";
import { SoftwareMachine, type SoftwareMachineOptions } from "../../machines/software/machine.ts";
import type { PhysicalRange } from "../../memory/physical-pages.ts";
import type { IommuTable } from "../../table/iommu-table.ts";
import { iovaOf } from "../../table/iommu-table.ts";
import { Phb, type PhbDevice, type PhbOptions } from "./phb.ts";

export const MEMORY_BYTES: number = 2 ** 22;
/** The upper half of memory: tables. */
export const REGION: PhysicalRange = { address: 2 ** 21, bytes: 2 ** 21 };
export const DEVICES: readonly [PhbDevice, PhbDevice] = [
  { name: "nic", requesterId: requesterIdOf(0) },
  { name: "disk", requesterId: requesterIdOf(1) },
];

export function machineWith(options: Partial<SoftwareMachineOptions> = {}): SoftwareMachine {
  const devices = DEVICES.map(({ name }) => name);
  return SoftwareMachine.create({
    memoryBytes: MEMORY_BYTES,
    iommu: "phb4",
    devices,
    partitions: 4,
    windows: 2,
    threads: 4,
    busyMilliseconds: 5,
    ...options,
  });
}

export function phbOn(machine: SoftwareMachine, options: Partial<PhbOptions> = {}): Phb {
  return Phb.create(machine, { devices: DEVICES, region: REGION, threads: 4, ...options });
}

/** Another thread's view, on a view of the machine of its own. */
export function anotherPhb(phb: Phb): Phb {
  return Phb.attach(SoftwareMachine.attach(machineOf(phb).handle), phb.handle);
}

export function machineOf(phb: Phb): SoftwareMachine {
  return phb.machine as SoftwareMachine;
}

/** Maps `count` pages in one piece; the first entry. Throws when the table refuses. */
export function mapPages(generic: IommuTable, page: number, count = 1): number {
  const entry = generic.allocate(count);
  const failure = entry < 0 ? `${entry}` : generic.set(entry, count, page, 3);
  if (failure !== undefined) throw new Error(`map: ${failure}`);
  generic.publish();
  generic.commit(entry, count);
  return entry;
}

/** The byte that a device reads at an entry's beginning; undefined: refused. */
export function readAt(
  machine: SoftwareMachine,
  device: string,
  generic: IommuTable,
  entry: number,
): number | undefined {
  return readByte(machine, device, iovaOf(generic.window, entry));
}

export function readByte(machine: SoftwareMachine, device: string, iova: bigint): number | undefined {
  const byte = new Uint8Array(1);
  return machine.device(device).dmaRead(iova, byte) ? byte[0] : undefined;
}
