/** Small programs over shared memory whose schedules are known, to test the explorer with. */
import assert from "node:assert/strict";
import type { SharedWords } from "../src/shared/memory.ts";
import { type Exploration, explore, type Report } from "./explore.ts";
import {
  add,
  compareExchange,
  createShared,
  exchange,
  load,
  notify,
  peek,
  poke,
  store,
  waitWhile,
  wordsOf,
} from "./memory.ts";

/** 64 words of zeros. */
export const words = (): SharedWords => wordsOf(createShared(256));

/** A futex lock of the simplest kind: 0 free, 1 taken, 2 taken and perhaps waited for. */
export function take(at: SharedWords, word: number): void {
  if (compareExchange(at, word, 0, 1) === 0) return;
  while (exchange(at, word, 2) !== 0) waitWhile(at, word, 2, Number.POSITIVE_INFINITY);
}

export function give(at: SharedWords, word: number): void {
  if (exchange(at, word, 0) === 2) notify(at, word, 1);
}

/** Adds 1 to word 1 under the lock of word 0. */
export function increment(at: SharedWords): void {
  take(at, 0);
  poke(at, 1, peek(at, 1) + 1);
  give(at, 0);
}

/** A thread that adds to word 0 several times: each access meets those of every other thread. */
export const adds =
  (count: number) =>
  (at: SharedWords): void => {
    for (let i = 0; i < count; i++) add(at, 0, 1);
  };

/** A seeded generator: `random(below)` is an integer from 0 to below − 1. */
export function randomNumbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return Math.floor(((state >>> 8) / 2 ** 24) * below);
  };
}

/** A thread of `length` random accesses of words 0 to 2; it returns their results. */
export function randomThread(random: (below: number) => number, length: number): (at: SharedWords) => string {
  const accesses = Array.from({ length }, () => {
    const word = random(3);
    const value = random(3);
    return [
      (at: SharedWords) => load(at, word),
      (at: SharedWords) => store(at, word, value),
      (at: SharedWords) => add(at, word, 1),
      (at: SharedWords) => compareExchange(at, word, value, 7),
    ][random(4)] as (at: SharedWords) => number | undefined;
  });
  return (at) => accesses.map((access) => access(at)).join(" ");
}

/** Asserts that the exploration was complete and found no failure. */
export function assertGood(report: Report): void {
  const { first } = report;
  assert.equal(first, undefined, first && `${first.kind}: ${first.message}\n${first.trace}`);
  assert.equal(report.complete, true);
}

/** All end states of an exploration: results of the threads, the dead, and the first words of memory. */
export function endsOf(exploration: Exploration<SharedWords>): string[] {
  const ends = new Set<string>();
  const report = explore({
    ...exploration,
    check: (at, { threads, dead }) => {
      const results = threads.map(({ state, value }) => `${state} ${value}`).join(", ");
      ends.add(`${results}; dead ${dead}; ${Array.from({ length: 8 }, (_, word) => load(at, word)).join(" ")}`);
    },
  });
  assertGood(report);
  return [...ends].sort();
}
