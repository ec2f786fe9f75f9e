/**
 * The tables that a replay can compare, with one interface: create, attach in each worker, read counters. A rival is added by one entry
 * here.
 */
import type { Board } from "../machines/board.ts";
import { type SingleLockHandle, SingleLockTable } from "../rivals/single-lock.ts";
import type { MappingTable } from "../table/contract.ts";
import type { TableOptions } from "../table/iommu-table.ts";
import { InvalidArgumentError } from "../units/errors.ts";

export type TableName = "single-lock" | "pooled";
export const TABLE_NAMES: readonly TableName[] = ["single-lock", "pooled"];

/** One row of the comparison: which table, and how it is set up. */
export interface TableSetup {
  readonly table: TableName;
  /** Options of pooled tables. */
  readonly cache: "none" | "fifo";
  readonly invalidate: "strict" | "lazy";
  /** Pools, or the table's own default. */
  readonly pools?: number;
}

/** Counters of every table: sums since its creation, except the hole. */
export interface TableCounters {
  readonly lockAcquisitions: number;
  readonly lockContended: number;
  readonly lockWaitMicroseconds: number;
  /** Allocations that searched a bitmap; caches answered the others. */
  readonly searches: number;
  /** Steps of searches: bits (single-lock), words and bounds (pooled). */
  readonly searchSteps: number;
  /** The longest free run now, in entries. */
  readonly largestHoleEntries: number;
  /** Entries that can't be allocated now. */
  readonly takenEntries: number;
}

/** The table of a row in the thread that made its board. */
export interface CreatedTable {
  /** The handle that a worker needs besides the board's; undefined if the table is the board's own. */
  readonly handle: SingleLockHandle | undefined;
  readonly pools: number;
  counters(): TableCounters;
}

/** Options of the board's own table for a row. A rival uses the same board: its ops write the same entries. */
export function tableOptionsOf({ cache, invalidate, pools }: TableSetup): TableOptions {
  return { cache, invalidate, ...(pools === undefined ? {} : { pools }) };
}

/** Makes the table of a row on its board. */
export function createTable(setup: TableSetup, board: Board): CreatedTable {
  if (setup.table === "pooled") return pooledOf(board);
  const table = SingleLockTable.create(board.table.window, board.table.ops);
  return {
    handle: table.handle,
    pools: 1,
    counters: () => {
      const { taken, largestHole, ...counters } = table.statistics();
      return { ...counters, largestHoleEntries: largestHole, takenEntries: taken };
    },
  };
}

function pooledOf({ table }: Board): CreatedTable {
  // Entries that the platform has reserved stay taken.
  const reserved = table.statistics().taken;
  return {
    handle: undefined,
    pools: table.statistics().pools.length,
    counters: () => {
      const { taken, largestHole, ...counters } = table.statistics();
      return { ...counters, largestHoleEntries: largestHole, takenEntries: taken - reserved };
    },
  };
}

/** A worker's view of a row's table. Closing the board releases the worker's holdings in it. */
export function attachTable(name: TableName, handle: SingleLockHandle | undefined, board: Board): MappingTable {
  if (name === "pooled") return board.table;
  if (name === "single-lock") return SingleLockTable.attach(handle as SingleLockHandle, board.table.ops);
  throw new InvalidArgumentError("table", name, `one of ${TABLE_NAMES.join(", ")}`);
}
