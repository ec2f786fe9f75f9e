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
  /** The bridge. */
  readonly phb: PhbOptions;
  /** The table of the window. Default of `window`: 0. */
  readonly table: Omit<PowernvTableOptions, "window"> & {
    /** Which of the group's two windows the table has. Default: 0. */
    readonly window?: 0 | 1;
  };
}

/** Structured-cloneable. */
export interface PowernvPlatformHandle {
  /** @internal */
  readonly phb: PhbHandle;
  /** @internal */
  readonly table: PowernvTableHandle;
}

/**
 * One thread's view: post the machine's handle and this one's, and `attach` in each other thread. `generic` is the table to map in.
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

  /** Programs the bridge, and binds all devices. Throws as Phb.create and PowernvTable.create. */
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

  /** A view for the calling thread, on this thread's machine. Throws FormatError for a foreign handle. */
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

  /** The table, and all memory at 1 << 59 while bypass is on. */
  override get windows(): readonly DeviceWindow[] {
    if (!this.group.hasBypass) return super.windows;
    return [
      ...super.windows,
      { kind: "direct", base: SECOND_WINDOW_BASE, address: 0, bytes: this.phb.machine.memory.bytes },
    ];
  }

  /** Takes the faults, and the PEs that were frozen by them (eeh.ts). */
  takeEehReport(): EehReport {
    return takeEehReport(this.phb);
  }

  /** Resets a PE, which ends its freeze. */
  resetPartition(partition: number): Failure | undefined {
    return resetPartition(this.phb, partition);
  }

  /** Also resets every frozen PE. Returns a failure if a PE stays frozen. */
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
