/** Reserves a whole table, so that no thread maps in it, before it is handed over, freed or removed. */
import type { PooledAllocator } from "../allocator/pooled-allocator.ts";
import type { Failure } from "../units/failure.ts";
import type { EntryRange } from "../units/numbers.ts";
import { gapsBetween, mergeRanges } from "../units/ranges.ts";

/**
 * Reserves every entry except the ranges in `known`, which are reserved already. Returns the reserved ranges for `unreserveAll`. On failure
 * nothing is reserved; "in-use" if an entry is allocated.
 */
export function reserveRest(allocator: PooledAllocator, known: readonly EntryRange[]): readonly EntryRange[] | Failure {
  const taken: EntryRange[] = [];
  for (const gap of gapsBetween(mergeRanges(known), allocator.entries)) {
    const refused = allocator.reserve(gap);
    if (refused !== undefined) {
      unreserveAll(allocator, taken);
      return refused;
    }
    taken.push(gap);
  }
  return taken;
}

/**
 * Returns ranges to their pools. If a dead thread holds a pool's lock, the range waits in this thread's queue or is quarantined; no range
 * is lost.
 */
export function unreserveAll(allocator: PooledAllocator, ranges: readonly EntryRange[]): void {
  for (const range of ranges) allocator.unreserve(range);
}
