/** Groups of devices for sPAPR containers: the contract between containers and platforms with table groups. */
import type { TableOps } from "../../table/contract.ts";
import type { Errno } from "../../units/errno.ts";
import type { DmaWindow } from "../../units/numbers.ts";

/** The shape of a window to create. */
export interface SpaprWindowShape {
  /** log2 of the IO page size in bytes. */
  readonly pageShift: number;
  /** Size in bytes: a power of two. */
  readonly windowBytes: bigint;
  /** Levels of its table, from 1 on. */
  readonly levels: number;
}

/** A platform's table for a window. Several groups may have it in the same window. */
export interface SpaprTable {
  /** The bus addresses of the table. */
  readonly window: DmaWindow;
  /** Structured-cloneable: post it to another thread, which attaches to the platform's table for ops of its own. */
  readonly handle: object;
  /** This thread's operations on the entries. Only the container changes entries. */
  readonly ops: TableOps;
  /** Returns the table to the platform. It is in no group. "EBUSY", "EAGAIN": as the platform answers; repeat the call. */
  release(): Errno | undefined;
}

/** The 32-bit window that a group has without a request. */
export interface DefaultWindow {
  /** Bus address of its first byte. */
  readonly base: bigint;
  /** Size in bytes. */
  readonly bytes: bigint;
}

/** Windows that are made at run time. Groups with the same object fit in one container: each accepts tables that were made for another. */
export interface WindowOps {
  /** Bytes of memory for a table of this shape. "EINVAL": the platform has no such window. */
  tableBytes(group: SpaprGroup, shape: SpaprWindowShape): number | Errno;
  /** An empty table for window 0 or 1. "EINVAL": the platform has no such window. "ENOMEM": it has no memory for the table. */
  createTable(group: SpaprGroup, window: 0 | 1, shape: SpaprWindowShape): SpaprTable | Errno;
  /** Sets the table's window of the group to the table. "EBUSY": the window is in use. "EAGAIN": the platform is busy. */
  setWindow(group: SpaprGroup, table: SpaprTable): Errno | undefined;
  /** Removes the table from its window: devices of the group can't reach it any more. "EAGAIN": the platform is busy. */
  unsetWindow(group: SpaprGroup, table: SpaprTable): Errno | undefined;
}

/** One thread's view of a group. */
export interface SpaprGroup {
  /** Number of the group, unique in a container. */
  readonly number: number;
  /** Operations on dynamic windows. Undefined: the group has fixed tables only. */
  readonly windowOps?: WindowOps;
  /** Most dynamic windows at a time; 0 for a group with fixed tables. */
  readonly dynamicWindows: number;
  /** IO page sizes of dynamic windows, as log2 of bytes. */
  readonly pageShifts: readonly number[];
  /** Most levels of a table. */
  readonly levels: number;
  /** The 32-bit window. Undefined: the group has none. */
  readonly defaultWindow?: DefaultWindow;
  /** The fixed tables of a group without dynamic windows; else []. */
  readonly fixedTables: readonly SpaprTable[];
  /** Takes the group from the kernel: its windows, or its fixed tables, are empty afterwards. "EBUSY": something of it is in use. "EAGAIN": the platform is busy. */
  takeOwnership(): Errno | undefined;
  /** Returns the group to the kernel, with the windows that it had before. "EAGAIN": the platform is busy; repeat the call. */
  releaseOwnership(): Errno | undefined;
}
