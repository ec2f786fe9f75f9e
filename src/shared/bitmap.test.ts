/** The word-parallel bitmap against entry-by-entry definitions. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  clearBefore,
  clearBits,
  clearFrom,
  countTaken,
  countTakenRelaxed,
  findRun,
  isTaken,
  isTakenRelaxed,
  longestRun,
  NOT_FOUND,
  setBits,
} from "./bitmap.ts";
import { createShared, poke, type SharedWords, wordsOf } from "./memory.ts";

const WORDS = 6;
const ENTRIES = 32 * WORDS;

const bitmapOf = (contents: readonly number[]): SharedWords => {
  const words = wordsOf(createShared(4 * (WORDS + 2)));
  for (const [i, word] of contents.entries()) poke(words, 1 + i, word);
  return words;
};
const bitsOf = (contents: readonly number[]): boolean[] =>
  Array.from({ length: ENTRIES }, (_, e) => (((contents[e >>> 5] as number) >>> (e & 31)) & 1) === 1);

/** Words as fragmented tables have them: empty, full, and random. */
const word = fc.oneof(
  fc.constant(0),
  fc.constant(-1),
  fc.integer(),
  fc.integer().map((x) => x & (x >>> 3)),
);
const contents = fc.array(word, { minLength: WORDS, maxLength: WORDS });
const bounds = fc
  .tuple(fc.nat(ENTRIES - 1), fc.nat(ENTRIES - 1))
  .map(([a, b]) => [Math.min(a, b), Math.max(a, b) + 1] as const);

test("findRun finds the lowest start of a free run, exactly as a look at every entry does", () => {
  fc.assert(
    fc.property(contents, fc.nat(ENTRIES - 1), fc.integer({ min: 1, max: 100 }), (words, from, count) => {
      const bits = bitsOf(words);
      const startEnd = ENTRIES - count + 1;
      if (from >= startEnd) return;
      let expected = NOT_FOUND;
      for (let start = startEnd - 1; start >= from; start--) {
        if (!bits.slice(start, start + count).includes(true)) expected = start;
      }
      assert.equal(findRun(bitmapOf(words), 1, from, startEnd, count), expected);
    }),
    { numRuns: 3000 },
  );
});

test("setBits and clearBits change the bits of the range and no others", () => {
  fc.assert(
    fc.property(contents, bounds, fc.boolean(), (words, [first, end], taking) => {
      const bitmap = bitmapOf(words);
      if (taking) setBits(bitmap, 1, first, end);
      else clearBits(bitmap, 1, first, end);
      const expected = bitsOf(words).fill(taking, first, end);
      assert.deepEqual(
        Array.from({ length: ENTRIES }, (_, e) => isTaken(bitmap, 1, e)),
        expected,
      );
      assert.deepEqual(
        Array.from({ length: ENTRIES }, (_, e) => isTakenRelaxed(bitmap, 1, e)),
        expected,
      );
    }),
    { numRuns: 1000 },
  );
});

test("counts and the longest run are those of a look at every entry", () => {
  fc.assert(
    fc.property(contents, bounds, (words, [first, end]) => {
      const bitmap = bitmapOf(words);
      const bits = bitsOf(words).slice(first, end);
      const taken = bits.filter(Boolean).length;
      assert.equal(countTaken(bitmap, 1, first, end), taken);
      assert.equal(countTakenRelaxed(bitmap, 1, first, end), taken);
      const runs = bits
        .map((bit) => (bit ? " " : "."))
        .join("")
        .split(" ")
        .map((run) => run.length);
      assert.equal(longestRun(bitmap, 1, first, end), Math.max(...runs));
    }),
    { numRuns: 1000 },
  );
});

test("the clear entries around an entry are those that a walk from it finds", () => {
  fc.assert(
    fc.property(contents, bounds, fc.nat(ENTRIES), (words, [floor, ceiling], entry) => {
      const bitmap = bitmapOf(words);
      const bits = bitsOf(words);
      let low = entry;
      while (low > floor && !bits[low - 1]) low--;
      let high = entry;
      while (high < ceiling && !bits[high]) high++;
      if (entry > floor) assert.equal(clearBefore(bitmap, 1, entry, floor), entry - low);
      if (entry < ceiling) assert.equal(clearFrom(bitmap, 1, entry, ceiling), high - entry);
    }),
    { numRuns: 2000 },
  );
});
