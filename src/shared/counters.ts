/**
 * 64-bit counters in two words. One thread (or the holder of one lock) writes a counter; every thread may read it. A reader that reads
 * during a carry may be wrong by 2^32; that is acceptable for statistics.
 */

import { glance, peek, poke, type SharedWords } from "./memory.ts";

/** Words that a counter takes. */
export const COUNTER_WORDS = 2;

/** Adds `amount` (0 .. 2^31 − 1). Integer arithmetic only: the sum is kept as a signed word, the sign change is the carry. */
export function count(words: SharedWords, at: number, amount: number): void {
  const before = peek(words, at);
  const after = (before + amount) | 0;
  poke(words, at, after);
  if (before < 0 && after >= 0) poke(words, at + 1, peek(words, at + 1) + 1);
}

/** Adds one: the short form for hot paths. */
export function increment(words: SharedWords, at: number): void {
  const after = (peek(words, at) + 1) | 0;
  poke(words, at, after);
  if (after === 0) poke(words, at + 1, peek(words, at + 1) + 1);
}

/** The counter's value, exact up to 2^53. */
export function counted(words: SharedWords, at: number): number {
  return (glance(words, at + 1) >>> 0) * 2 ** 32 + (glance(words, at) >>> 0);
}
