/**
 * Fast path of a request without constraints, in one straight piece that V8 inlines into its caller's loop: the thread's cache, or its own pool
 * in a table without caches. Each method either does all of its work or changes nothing; the general path, which has checks, errors, waiting
 * and other pools, comes after it. One table has one kind of front, so its calls stay monomorphic.
 *
 * Slots are those of the ledger, of this thread, without the length.
 */
import { NOT_FOUND } from "../shared/bitmap.ts";

export interface Front {
  /** Takes `count` entries, and records them as `slot`. Returns the first entry, or NOT_FOUND: the general path must do it. */
  allocateAtOnce(count: number, slot: number): number;
  /** Gives [first, first + count) back, which the ledger has as `slot`. False: the general path must do it. */
  freeAtOnce(first: number, count: number, slot: number): boolean;
}

/**
 * The front of lazy tables. It leaves every request to the general path: a freed range waits for a flush, and a cached range may still
 * wait.
 */
export const NO_FRONT: Front = { allocateAtOnce: () => NOT_FOUND, freeAtOnce: () => false };
