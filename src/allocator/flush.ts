/**
 * Flush epochs: when may a lazily freed range be handed out again?
 *
 * Two numbers for the whole table: flushes started, and the highest number completed. A thread that frees lazily clears the
 * entries, makes that visible, and then reads S = flushes started. Every flush numbered S + 1 or higher began after the
 * clearing, so once one of those has completed, the IOTLB can't know the old entries any more. A flush in progress at
 * that time does not count: it may have passed the entry's set before the clearing.
 *
 * No thread waits for the flush of another: a thread that needs a flush does it. So a thread that dies in the middle of a flush leaves only
 * a number that never completes, and any later flush replaces it.
 *
 * Pairing: `add` of a number is before that flush's invalidation; the load of S is after the clearing. If S + 1 completes, its
 * `add` came after our load, so its invalidation came after our clearing. All are atomic, hence in one order.
 *
 * Why not one pair per pool: docs/decisions/flush-epochs.md.
 */

import { add, compareExchange, load, type SharedWords } from "../shared/memory.ts";
import type { Failure } from "../units/failure.ts";
import { HEADER } from "./layout.ts";

/** Invalidates the whole IOTLB for an allocator with lazy invalidation. A table passes its ops. */
export interface Invalidator {
  /**
   * Invalidates the whole IOTLB of the table. After it has returned undefined, no DMA uses entries that were cleared
   * before the call.
   */
  invalidateAll(): Failure | undefined;
}

/** The stamp of a range whose entries have just been cleared. */
export function flushesStarted(words: SharedWords): number {
  return load(words, HEADER.flushesStarted);
}

/** A stamp that counts as already flushed. */
export function alreadyFlushed(words: SharedWords): number {
  return (load(words, HEADER.flushesCompleted) - 1) | 0;
}

/** True if a flush has completed that began after the stamp was taken. Numbers wrap; their difference does not matter until 2^31. */
export function isFlushed(words: SharedWords, stamp: number): boolean {
  return ((load(words, HEADER.flushesCompleted) - stamp) | 0) > 0;
}

/**
 * Invalidates the whole IOTLB, outside of any lock. Returns undefined, or the failure of the invalidator; then no flush counts as
 * completed.
 */
export function flush(words: SharedWords, invalidator: Invalidator): Failure | undefined {
  const number = (add(words, HEADER.flushesStarted, 1) + 1) | 0;
  const failure = invalidator.invalidateAll();
  if (failure === undefined) raiseCompleted(words, number);
  return failure;
}

function raiseCompleted(words: SharedWords, number: number): void {
  for (;;) {
    const completed = load(words, HEADER.flushesCompleted);
    if (((number - completed) | 0) <= 0) return; // a later flush, which began after ours, has completed already
    if (compareExchange(words, HEADER.flushesCompleted, completed, number) === completed) return;
  }
}
