/** What an sPAPR container needs of a group of devices: the contract between containers and platforms with table groups. */
import type { TableOps } from "../../table/contract.ts";
import type { Errno } from "../../units/errno.ts";
import type { DmaWindow } from "../../units/numbers.ts";

/** The shape of a window to create. */
export interface SpaprWindowShape {
  /** log2 of the IO page size in bytes. */
  readonly pageShift: number;
  /** Size in bytes: a power of two. */
  readonly windowBytes: bigint;
  /** Levels of its table. */
  readonly levels: number;
}

/** A table for a window: it may be in the same window of several groups. */
export interface SpaprTable {
  /** The bus addresses of the table. */
  readonly window: DmaWindow;
  /** Structured-cloneable: another thread attaches to the platform's table with it, for ops of its own. */
  readonly handle: object;
  /** This thread's ops. Only the container changes entries. */
  readonly ops: TableOps;
  /** Gives the table back, once it is in no group. */
  release(): Errno | undefined;
}

/** The 32-bit window that a process gets without asking. */
export interface DefaultWindow {
  /** Bus address of its first byte. */
  readonly base: bigint;
  /** Size in bytes. */
  readonly bytes: bigint;
}

/** What can be asked of groups whose windows are made at run time. Groups of one container have the same object: their tables fit each other. */
export interface WindowOps {
  /** Bytes of memory for a table of this shape. "EINVAL": the platform has no such window. */
  tableBytes(group: SpaprGroup, shape: SpaprWindowShape): number | Errno;
  /** An empty table for a window: 0 or 1. "EINVAL": the platform has no such window. "ENOMEM": no memory. */
  createTable(group: SpaprGroup, window: 0 | 1, shape: SpaprWindowShape): SpaprTable | Errno;
  /** Sets a window of the group to the table. */
  setWindow(group: SpaprGroup, table: SpaprTable): Errno | undefined;
  /** Devices of the group can't reach the table any more. */
  unsetWindow(group: SpaprGroup, table: SpaprTable): Errno | undefined;
}

/** One thread's view of a group. */
export interface SpaprGroup {
  /** Tells groups apart. */
  readonly number: number;
  /** Undefined: the group has fixed tables only. */
  readonly windowOps?: WindowOps;
  /** Windows that it can have at a time: 0 for a group with fixed tables. */
  readonly dynamicWindows: number;
  /** IO page sizes as log2 of bytes. */
  readonly pageShifts: readonly number[];
  /** Most levels of a table. */
  readonly levels: number;
  /** Undefined: the group has no 32-bit window. */
  readonly defaultWindow?: DefaultWindow;
  /** The fixed tables of a group without dynamic windows. */
  readonly fixedTables: readonly SpaprTable[];
  /** Takes the group from the kernel: its windows are empty then, or its fixed tables are. "EBUSY": something of it is in use. */
  takeOwnership(): Errno | undefined;
  /** Gives the group back to the kernel, with the windows that it had. */
  releaseOwnership(): Errno | undefined;
}
