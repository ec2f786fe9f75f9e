/** The taking of a whole table, so that no thread maps in it, before it is handed over, freed or removed. */
import type { PooledAllocator } from "../allocator/pooled-allocator.ts";
import type { Failure } from "../units/failure.ts";
import type { EntryRange } from "../units/numbers.ts";
import { gapsBetween, mergeRanges } from "../units/ranges.ts";

/**
 * Reserves every entry but those in `known`, ranges that are reserved already. What was reserved, for `unreserveAll`; or why it can't be
 * done, "in-use" when an entry is allocated: then nothing is reserved.
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

/** A range that can't be given back, since a dead thread holds its pool's lock, waits with this thread, or is quarantined: none is lost. */
export function unreserveAll(allocator: PooledAllocator, ranges: readonly EntryRange[]): void {
  for (const range of ranges) allocator.unreserve(range);
}
