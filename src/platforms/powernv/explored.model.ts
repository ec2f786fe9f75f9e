/** What explorations of the powernv platform start from: the modules of an explored copy, and a bridge with a table, seen by each thread. */

import { exploredCopy, type Plant } from "../../../explorer/load.ts";
import type { SoftwareMachine } from "../../machines/software/machine.ts";
import type { TableGroup } from "./group.ts";
import type { Phb } from "./phb.ts";
import type { PowernvTable, PowernvTableOptions } from "./table.ts";

export interface ExploredLibrary {
  readonly machine: typeof import("../../machines/software/machine.ts");
  readonly phb: typeof import("./phb.ts");
  readonly table: typeof import("./table.ts");
  readonly group: typeof import("./group.ts");
  readonly eeh: typeof import("./eeh.ts");
}

export async function exploredLibrary(plants: readonly Plant[] = []): Promise<ExploredLibrary> {
  const copy = exploredCopy(plants);
  return {
    machine: await copy.load("machines/software/machine.js"),
    phb: await copy.load("platforms/powernv/phb.js"),
    table: await copy.load("platforms/powernv/table.js"),
    group: await copy.load("platforms/powernv/group.js"),
    eeh: await copy.load("platforms/powernv/eeh.js"),
  };
}

export interface ExploredShape extends Omit<PowernvTableOptions, "window" | "table"> {
  /** Threads with views; the last one's is for reclaiming and checking. The machine has room for one more. */
  readonly threads: number;
  /** Pages of the bridge's region before the RTT. */
  readonly pages: number;
  readonly partitions: number;
  /** How many of the threads have a view of the table; default all. */
  readonly views?: number;
}

/** Views, one of each for every thread. */
export interface ExploredScene {
  readonly machines: readonly SoftwareMachine[];
  readonly phbs: readonly Phb[];
  readonly tables: readonly PowernvTable[];
}

/** The RTT is the second 128 KiB; the pages lie right before it, full of ones: no level may show what was there. */
export function exploredScene(library: ExploredLibrary, shape: ExploredShape): ExploredScene {
  const { threads, pages, partitions, views = threads, ...window } = shape;
  const region = { address: 2 ** 17 - pages * 4096, bytes: 2 ** 17 + pages * 4096 };
  const first = library.machine.SoftwareMachine.create({
    memoryBytes: 2 ** 18,
    iommu: "phb4",
    devices: ["device0", "device1"],
    partitions,
    windows: 2,
    threads: threads + 1,
    iotlb: { entries: 1, ways: 1 },
    faultRecords: 1,
  });
  first.memory.write(region.address, new Uint8Array(pages * 4096).fill(0xff));
  const machines = [first];
  while (machines.length < threads) machines.push(library.machine.SoftwareMachine.attach(first.handle));
  const devices = ["device0", "device1"].map((name, i) => ({ name, requesterId: 8 * i }));
  const creator = library.phb.Phb.create(first, { devices, region, partitions, tables: 1 });
  const phbs = [creator, ...machines.slice(1).map((view) => library.phb.Phb.attach(view, creator.handle))];
  const made = library.table.PowernvTable.create(creator, { ...window, window: 0, table: { pools: 1 } });
  const tables = [made, ...phbs.slice(1, views).map((view) => library.table.PowernvTable.attach(view, made.handle))];
  return { machines, phbs, tables };
}

/** Recovers everything of a dead thread, unless the recovery of a reclaimer has gone on with it. */
export function reclaimThread({ crew }: Phb, thread: number): void {
  if (crew.threadsInUse().includes(thread)) crew.reclaim(thread, "everything");
}

/** A group for the PE, as each thread sees it, with the table set. */
export function exploredGroup(
  { group }: ExploredLibrary,
  { phbs, tables }: ExploredScene,
  partition: number,
): TableGroup[] {
  const made = group.TableGroup.create(phbs[0] as Phb, partition);
  if (made.setWindow(tables[0] as PowernvTable) !== undefined) throw new Error("the window can't be set");
  return phbs.map((phb) => group.TableGroup.of(phb, partition));
}
