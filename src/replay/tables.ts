/**
 * The tables that a replay can compare, behind one face: made once, attached by each worker, asked for their counters. A rival
 * is added by one entry here.
 */
import { type SingleLockHandle, SingleLockTable } from "../rivals/single-lock.ts";
import type { MappingTable, TableOps } from "../table/contract.ts";
import { IommuTable, type TableHandle } from "../table/iommu-table.ts";
import { InvalidArgumentError } from "../units/errors.ts";
import type { DmaWindow } from "../units/numbers.ts";

export type TableName = "single-lock" | "pooled";
export const TABLE_NAMES: readonly TableName[] = ["single-lock", "pooled"];

/** One row of the comparison: which table, and how it is set up. */
export interface TableSetup {
  readonly table: TableName;
  /** Of pooled tables. */
  readonly cache: "none" | "fifo";
  readonly invalidate: "strict" | "lazy";
  /** Pools, or the table's own default. */
  readonly pools?: number;
}

/** What every table counts. Sums since it was made, but for the hole. */
export interface TableCounters {
  readonly lockAcquisitions: number;
  readonly lockContended: number;
  readonly lockWaitMicroseconds: number;
  /** Allocations that searched a bitmap; caches answered the others. */
  readonly searches: number;
  /** Places that searches looked at: bits (single-lock), words and bounds (pooled). */
  readonly searchSteps: number;
  /** The longest free run now, in entries. */
  readonly largestHoleEntries: number;
  /** Entries that nobody can be given now. */
  readonly takenEntries: number;
}

/** Structured-cloneable. */
export type AnyTableHandle = TableHandle | SingleLockHandle;

/** A table in the thread that made it. */
export interface CreatedTable {
  readonly handle: AnyTableHandle;
  readonly pools: number;
  counters(): TableCounters;
  /** Gives back what this thread and its lazy queue hold. */
  close(): void;
}

/** Makes the table of a row. `threads`: how many may be attached at once, the creator included. */
export function createTable(setup: TableSetup, window: DmaWindow, ops: TableOps, threads: number): CreatedTable {
  return setup.table === "single-lock" ? createSingleLock(window, ops) : createPooled(setup, window, ops, threads);
}

function createSingleLock(window: DmaWindow, ops: TableOps): CreatedTable {
  const table = SingleLockTable.create(window, ops);
  return {
    handle: table.handle,
    pools: 1,
    counters: () => {
      const { taken, largestHole, ...counters } = table.statistics();
      return { ...counters, largestHoleEntries: largestHole, takenEntries: taken };
    },
    close: () => {},
  };
}

function createPooled(setup: TableSetup, window: DmaWindow, ops: TableOps, threads: number): CreatedTable {
  const { cache, invalidate, pools } = setup;
  const table = IommuTable.create(window, ops, {
    cache,
    invalidate,
    threads,
    ...(pools === undefined ? {} : { pools }),
  });
  return {
    handle: table.handle,
    pools: table.statistics().pools.length,
    counters: () => {
      const { taken, largestHole, ...counters } = table.statistics();
      return { ...counters, largestHoleEntries: largestHole, takenEntries: taken };
    },
    close: () => table.close(),
  };
}

/** A worker's view of a row's table, and how to give up what the worker holds in it. */
export function attachTable(
  name: TableName,
  handle: AnyTableHandle,
  ops: TableOps,
): { readonly table: MappingTable; close(): void } {
  if (name === "single-lock") {
    return { table: SingleLockTable.attach(handle as SingleLockHandle, ops), close: () => {} };
  }
  if (name !== "pooled") throw new InvalidArgumentError("table", name, `one of ${TABLE_NAMES.join(", ")}`);
  const table = IommuTable.attach(handle as TableHandle, ops);
  return { table, close: () => table.close() };
}
