/**
 * The current execution, which orders accesses of explored code (undefined in set-up and checks, which access memory directly),
 * and the current storage, in which new memory is made. There is one of each at a time: explored code reaches them through memory.ts.
 */
import type { Execution } from "./execution.ts";
import { Storage } from "./storage.ts";

/** Set while threads run; undefined: accesses are direct. */
export let execution: Execution | undefined;
/** Where new memory and views belong. */
export let storage: Storage = new Storage();

/** Sets the execution that orders accesses; undefined: accesses are direct. */
export function orderBy(by: Execution | undefined): void {
  execution = by;
}

/** Starts a new storage for memory that is made from now on, and returns it. */
export function startStorage(): Storage {
  storage = new Storage();
  return storage;
}
