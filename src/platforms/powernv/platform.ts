/**
 * The powernv platform for common use: one bridge, its devices in one PE, one table in its first window. `phb` and `group` give access to
 * the rest: more groups, second windows, shared tables, bypass, ownership.
 *
 *     const platform = PowernvPlatform.create(machine, { phb: { region, devices }, table: { pageShift: 16, … } });
 *     worker.postMessage(platform.handle);                  // there: PowernvPlatform.attach(machine, handle)
 *     platform.generic.allocate(1);
 */

import type { DeviceWindow } from "../../dma/device-window.ts";
import type { Machine } from "../../machine/contract.ts";
import { checkHandle } from "../../table/handle.ts";
import { IovaError } from "../../units/errors.ts";
import type { Failure } from "../../units/failure.ts";
import { checkKeys } from "../../units/keys.ts";
import type { EehReport } from "../eeh.ts";
import { TablePlatform } from "../platform.ts";
import { frozenPartitions, resetPartition, takeEehReport } from "./eeh.ts";
import { TableGroup } from "./group.ts";
import { Phb, type PhbHandle, type PhbOptions } from "./phb.ts";
import { SECOND_WINDOW_BASE } from "./registers.ts";
import { PowernvTable, type PowernvTableHandle, type PowernvTableOptions } from "./table.ts";

/** The initial PE of all devices. */
const DEFAULT_PARTITION = 1;

/** Options of `PowernvPlatform.create`. */
export interface PowernvPlatformOptions {
  /** Options of the bridge. */
  readonly phb: PhbOptions;
  /** Options of the table. Default of `window`: 0. */
  readonly table: Omit<PowernvTableOptions, "window"> & {
    /** Which of the group's two windows the table has. Default: 0. */
    readonly window?: 0 | 1;
  };
}

/** Handle of a powernv platform, structured-cloneable: post it to another thread and call `PowernvPlatform.attach` there. */
export interface PowernvPlatformHandle {
  /** @internal */
  readonly phb: PhbHandle;
  /** @internal */
  readonly table: PowernvTableHandle;
}

/**
 * Platform of a powernv machine (IODA2): one bridge, all devices in PE 1, and one TCE table of 1 to 5 levels. `generic` is the table to map
 * in. `Phb`, `TableGroup` and `PowernvTable` serve bridges with several PEs and tables.
 *
 * One object is one thread's view: post the machine's handle and this one's, and `attach` in each other thread. A refused DMA freezes the
 * device's PE until `reset` or `resetPartition`.
 *
 * @example
 * ```ts
 * import { DEVICE_READS, DmaDevice, orThrow } from "iova";
 * import { PowernvPlatform, SoftwareMachine } from "iova/platform";
 *
 * const machine = SoftwareMachine.create({ memoryBytes: 2 ** 24, iommu: "phb4", partitions: 4, windows: 2, devices: ["nic0"] });
 * const platform = PowernvPlatform.create(machine, {
 *   phb: { region: { address: 2 ** 23, bytes: 2 ** 23 }, devices: [{ name: "nic0", requesterId: 0 }] },
 *   table: { pageShift: 16, windowBytes: 2n ** 31n, levels: 2 },
 * });
 * const nic = machine.device("nic0");
 * const { iova } = orThrow(new DmaDevice(platform.generic).map(0x1_0000n, 4096, DEVICE_READS));
 * console.log(nic.dmaWrite(iova, Uint8Array.of(1))); // mapped for reading only: refused, and the PE is frozen
 * const { faults, events } = platform.takeEehReport();
 * console.log(faults[0]?.reason, "froze", events[0]?.devices);
 * console.log(platform.reset() ?? "reset", nic.dmaRead(iova, new Uint8Array(16)));
 * machine.close();
 * ```
 * ```text output
 * false
 * write-refused froze [ 'nic0' ]
 * reset true
 * ```
 */
export class PowernvPlatform extends TablePlatform {
  /** The bridge. */
  readonly phb: Phb;
  /** The table of the platform's window. */
  readonly table: PowernvTable;
  /** The table group of all devices of the bridge. */
  readonly group: TableGroup;

  private constructor(phb: Phb, table: PowernvTable, group: TableGroup) {
    super(phb.machine, table.generic);
    this.phb = phb;
    this.table = table;
    this.group = group;
  }

  /** Programs the bridge, binds all devices to PE 1, and attaches this thread. Throws as `Phb.create` and `PowernvTable.create`. */
  static create(machine: Machine, options: PowernvPlatformOptions): PowernvPlatform {
    checkKeys("a powernv platform", options, { phb: "object", table: "object" });
    const phb = Phb.create(machine, options.phb);
    const group = TableGroup.create(phb, DEFAULT_PARTITION);
    const table = group.createTable({ window: 0, ...options.table });
    const failure = group.setWindow(table);
    if (failure !== undefined) throw new IovaError(failure, `the platform's window: ${failure}`);
    for (const { name } of options.phb.devices) phb.bindDevice(name, DEFAULT_PARTITION);
    return new PowernvPlatform(phb, table, group);
  }

  /**
   * Attaches the calling thread, with this thread's view of the machine. Throws FormatError for a foreign handle, and IovaError "table-gone"
   * if the table was freed.
   */
  static attach(machine: Machine, handle: PowernvPlatformHandle): PowernvPlatform {
    checkHandle("a powernv platform", handle, { phb: "object", table: "object" });
    const phb = Phb.attach(machine, handle.phb);
    let isAttached = false;
    try {
      const table = PowernvTable.attach(phb, handle.table);
      isAttached = true;
      return new PowernvPlatform(phb, table, TableGroup.of(phb, DEFAULT_PARTITION));
    } finally {
      if (!isAttached) phb.close();
    }
  }

  get handle(): PowernvPlatformHandle {
    return { phb: this.phb.handle, table: this.table.handle };
  }

  /** The table's window, and while bypass is open a direct window with all memory at bus address 2^59. */
  override get windows(): readonly DeviceWindow[] {
    if (!this.group.hasBypass) return super.windows;
    return [
      ...super.windows,
      { kind: "direct", base: SECOND_WINDOW_BASE, address: 0, bytes: this.phb.machine.memory.bytes },
    ];
  }

  /** Takes the recorded faults, and reports the PEs that they have frozen. Each freeze is reported once, to one thread. */
  takeEehReport(): EehReport {
    return takeEehReport(this.phb);
  }

  /** Resets a PE, which ends its freeze. "platform-busy": a DMA of the PE did not end in time; the call can be repeated. */
  resetPartition(partition: number): Failure | undefined {
    return resetPartition(this.phb, partition);
  }

  /** Resets every frozen PE and invalidates all translations. Returns a failure if one of these fails; the call can be repeated. */
  override reset(): Failure | undefined {
    let failure: Failure | undefined;
    for (const partition of frozenPartitions(this.phb)) failure = this.resetPartition(partition) ?? failure;
    return super.reset() ?? failure;
  }

  /** Closes this thread's views; if one throws, the others are closed nevertheless. A second call does nothing. */
  override close(): void {
    try {
      this.table.close();
    } finally {
      this.phb.close();
    }
  }
}
