/**
 * A bitmap of entries: a set bit is a taken entry. The search works on whole words: the clear bits at a word's low end, runs
 * inside it, and the clear bits at its high end, which are carried into the next word. Callers hold the lock that
 * guards the words, so all accesses but the statistics' are plain.
 */

import { glance, peek, poke, type SharedWords } from "./memory.ts";

export const NOT_FOUND = -1;

const trailingZeros = (word: number): number => 31 - Math.clz32(word & -word);

/** Bits [from, to) of one word set; 0 <= from < to <= 32. */
const maskOf = (from: number, to: number): number => (to - from === 32 ? -1 : ((1 << (to - from)) - 1) << from);

/** True if the entry is taken. */
export function isTaken(words: SharedWords, bitmapAt: number, entry: number): boolean {
  return ((peek(words, bitmapAt + (entry >>> 5)) >>> (entry & 31)) & 1) === 1;
}

/** As `isTaken`, without the lock: for statistics. */
export function isTakenRelaxed(words: SharedWords, bitmapAt: number, entry: number): boolean {
  return ((glance(words, bitmapAt + (entry >>> 5)) >>> (entry & 31)) & 1) === 1;
}

/** Sets the bits [first, end). */
export function setBits(words: SharedWords, bitmapAt: number, first: number, end: number): void {
  const offset = first & 31;
  if (end - first < 32 - offset) {
    const at = bitmapAt + (first >>> 5);
    poke(words, at, peek(words, at) | (((1 << (end - first)) - 1) << offset));
  } else setMany(words, bitmapAt, first, end);
}

function setMany(words: SharedWords, bitmapAt: number, first: number, end: number): void {
  for (let entry = first; entry < end; ) {
    const next = Math.min(end, (entry | 31) + 1);
    const at = bitmapAt + (entry >>> 5);
    poke(words, at, peek(words, at) | maskOf(entry & 31, next - (entry & ~31)));
    entry = next;
  }
}

/** Clears the bits [first, end). */
export function clearBits(words: SharedWords, bitmapAt: number, first: number, end: number): void {
  const offset = first & 31;
  if (end - first < 32 - offset) {
    const at = bitmapAt + (first >>> 5);
    poke(words, at, peek(words, at) & ~(((1 << (end - first)) - 1) << offset));
  } else clearMany(words, bitmapAt, first, end);
}

function clearMany(words: SharedWords, bitmapAt: number, first: number, end: number): void {
  for (let entry = first; entry < end; ) {
    const next = Math.min(end, (entry | 31) + 1);
    const at = bitmapAt + (entry >>> 5);
    poke(words, at, peek(words, at) & ~maskOf(entry & 31, next - (entry & ~31)));
    entry = next;
  }
}

/** How many entries directly before `entry` are clear, down to `floor`. */
export function clearBefore(words: SharedWords, bitmapAt: number, entry: number, floor: number): number {
  let at = entry;
  while (at > floor) {
    const bits = at & 31 || 32; // of the word before `at`, those that count, moved to its high end
    const clear = Math.min(bits, Math.clz32(peek(words, bitmapAt + ((at - 1) >>> 5)) << (32 - bits)));
    at -= clear;
    if (clear < bits) break;
  }
  return entry - Math.max(at, floor);
}

/** How many entries from `entry` on are clear, up to `ceiling`. */
export function clearFrom(words: SharedWords, bitmapAt: number, entry: number, ceiling: number): number {
  let at = entry;
  while (at < ceiling) {
    const taken = peek(words, bitmapAt + (at >>> 5)) >>> (at & 31);
    if (taken !== 0) {
      at += trailingZeros(taken);
      break;
    }
    at = (at | 31) + 1;
  }
  return Math.min(at, ceiling) - entry;
}

/** As `clearBefore`, without the lock: for a look that is repeated under it. */
export function clearBeforeRelaxed(words: SharedWords, bitmapAt: number, entry: number, floor: number): number {
  let at = entry;
  while (at > floor) {
    const bits = at & 31 || 32;
    const clear = Math.min(bits, Math.clz32(glance(words, bitmapAt + ((at - 1) >>> 5)) << (32 - bits)));
    at -= clear;
    if (clear < bits) break;
  }
  return entry - Math.max(at, floor);
}

/** As `clearFrom`, without the lock: for a look that is repeated under it. */
export function clearFromRelaxed(words: SharedWords, bitmapAt: number, entry: number, ceiling: number): number {
  let at = entry;
  while (at < ceiling) {
    const taken = glance(words, bitmapAt + (at >>> 5)) >>> (at & 31);
    if (taken !== 0) {
      at += trailingZeros(taken);
      break;
    }
    at = (at | 31) + 1;
  }
  return Math.min(at, ceiling) - entry;
}

/** How many of [first, end) are taken. */
export function countTaken(words: SharedWords, bitmapAt: number, first: number, end: number): number {
  let taken = 0;
  for (let entry = first; entry < end; ) {
    const next = Math.min(end, (entry | 31) + 1);
    taken += bitsIn(peek(words, bitmapAt + (entry >>> 5)) & maskOf(entry & 31, next - (entry & ~31)));
    entry = next;
  }
  return taken;
}

/** As `countTaken`, without the lock: for statistics. */
export function countTakenRelaxed(words: SharedWords, bitmapAt: number, first: number, end: number): number {
  let taken = 0;
  for (let entry = first; entry < end; ) {
    const next = Math.min(end, (entry | 31) + 1);
    taken += bitsIn(glance(words, bitmapAt + (entry >>> 5)) & maskOf(entry & 31, next - (entry & ~31)));
    entry = next;
  }
  return taken;
}

function bitsIn(word: number): number {
  const pairs = word - ((word >>> 1) & 0x55555555);
  const fours = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333);
  return Math.imul((fours + (fours >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

/**
 * The lowest start in [from, startEnd) of `count` clear bits, or NOT_FOUND.
 * The caller guarantees startEnd + count − 1 <= the end of what may be searched: then a run that starts in time also ends in time.
 */
export function findRun(words: SharedWords, bitmapAt: number, from: number, startEnd: number, count: number): number {
  return count <= 32
    ? findShortRun(words, bitmapAt, from, startEnd, count)
    : findLongRun(words, bitmapAt, from, startEnd, count);
}

/** The low clear bits of a word. */
const clearBelow = (taken: number): number => (taken === 0 ? 32 : trailingZeros(taken));

/**
 * Runs of up to 32, which may lie inside a word. Bit i of `starts` is set when bits [i, i + length) of `free` are, with the
 * length doubled in each step: all five steps for every count, since a branch for each costs more than an idle step.
 */
function findShortRun(words: SharedWords, bitmapAt: number, from: number, startEnd: number, count: number): number {
  const step1 = Math.min(1, count - 1);
  const step2 = Math.min(2, count - 1 - step1);
  const step4 = Math.min(4, count - 1 - step1 - step2);
  const step8 = Math.min(8, count - 1 - step1 - step2 - step4);
  const step16 = count - 1 - step1 - step2 - step4 - step8;
  let entry = from & ~31;
  let run = 0; // clear entries directly before `entry`
  let taken = peek(words, bitmapAt + (from >>> 5)) | ((1 << (from & 31)) - 1);
  for (;;) {
    if (run + clearBelow(taken) >= count) return before(entry - run, startEnd);
    const free = ~taken;
    let starts = free & (free >>> step1);
    starts &= starts >>> step2;
    starts &= starts >>> step4;
    starts &= starts >>> step8;
    starts &= starts >>> step16;
    if (starts !== 0) return before(entry + trailingZeros(starts), startEnd);
    run = Math.clz32(taken);
    entry += 32;
    if (entry - run >= startEnd) return NOT_FOUND;
    taken = peek(words, bitmapAt + (entry >>> 5));
  }
}

/** Runs of more than 32, which reach over the end of a word: only its low and high clear bits count. */
function findLongRun(words: SharedWords, bitmapAt: number, from: number, startEnd: number, count: number): number {
  let entry = from & ~31;
  let run = 0; // clear entries directly before `entry`
  let taken = peek(words, bitmapAt + (from >>> 5)) | ((1 << (from & 31)) - 1);
  for (;;) {
    if (run + clearBelow(taken) >= count) return before(entry - run, startEnd);
    run = taken === 0 ? run + 32 : Math.clz32(taken);
    entry += 32;
    if (entry - run >= startEnd) return NOT_FOUND;
    taken = peek(words, bitmapAt + (entry >>> 5));
  }
}

const before = (start: number, startEnd: number): number => (start < startEnd ? start : NOT_FOUND);

/** The longest run of clear bits in [first, end). For statistics: reads every word, and needs no lock. */
export function longestRun(words: SharedWords, bitmapAt: number, first: number, end: number): number {
  let longest = 0;
  let run = 0;
  for (let entry = first; entry < end; ) {
    const word = glance(words, bitmapAt + (entry >>> 5));
    if (word === 0 && (entry & 31) === 0 && entry + 32 <= end) {
      run += 32;
      entry += 32;
    } else {
      run = ((word >>> (entry & 31)) & 1) === 1 ? 0 : run + 1;
      entry += 1;
    }
    if (run > longest) longest = run;
  }
  return longest;
}
