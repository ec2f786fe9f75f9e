/**
 * What explored code is running under: the execution that orders its accesses, or none (set-up and checks, which access memory
 * directly), and the storage in which its memory is made. One at a time: explored code reaches it through memory.ts.
 */
import type { Execution } from "./execution.ts";
import { Storage } from "./storage.ts";

/** Set while threads run; undefined: accesses are direct. */
export let execution: Execution | undefined;
/** Where new memory and views belong. */
export let storage: Storage = new Storage();

/** Accesses are ordered by `by`, or direct. */
export function orderBy(by: Execution | undefined): void {
  execution = by;
}

/** What is made from now on belongs to a storage of its own. Returns it. */
export function startStorage(): Storage {
  storage = new Storage();
  return storage;
}
