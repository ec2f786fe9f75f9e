import assert from "node:assert/strict";
import { test } from "node:test";
import { type Choices, pairCount, pairwise } from "./pairwise.ts";

/** By hand and slowly: the pairs of all combinations that no row has. */
function pairsNotMet(choices: Choices, rows: readonly Readonly<Record<string, unknown>>[]): string[] {
  const names = Object.keys(choices);
  const missing: string[] = [];
  for (const a of names) {
    for (const b of names) {
      if (a === b) continue;
      for (const valueA of choices[a] ?? []) {
        for (const valueB of choices[b] ?? []) {
          if (!rows.some((row) => row[a] === valueA && row[b] === valueB))
            missing.push(`${a}=${valueA} ${b}=${valueB}`);
        }
      }
    }
  }
  return missing;
}

const CASES: readonly Choices[] = [
  { a: [1, 2], b: [1, 2], c: [1, 2] },
  { a: [1, 2, 3, 4, 5], b: ["x"], c: [true, false] },
  { a: [1], b: [2] },
  { a: [1, 2, 3], b: [1, 2, 3], c: [1, 2, 3], d: [1, 2, 3] },
  {
    pools: [1, 2, 16],
    entries: [64, 2048],
    cache: ["none", "fifo"],
    mode: ["strict", "lazy"],
    limits: [1, 2, 3, 4, 5],
  },
];

test("every two values of two options meet in a row, and every row has a value of each option", () => {
  for (const choices of CASES) {
    const rows = pairwise(choices);
    assert.deepEqual(pairsNotMet(choices, rows), []);
    for (const row of rows) {
      assert.deepEqual(Object.keys(row), Object.keys(choices));
      for (const [name, value] of Object.entries(row)) assert.ok(choices[name]?.includes(value), `${name} is ${value}`);
    }
  }
});

test("one row fewer, and pairs are missing: each row is there for a pair that no other has", () => {
  const [choices] = CASES.slice(-1) as [Choices];
  const rows = pairwise(choices);
  assert.notDeepEqual(pairsNotMet(choices, rows.slice(0, -1)), []);
});

test("pairs are counted, and their rows are far fewer than all combinations", () => {
  assert.equal(pairCount({ a: [1, 2], b: [1, 2, 3] }), 6);
  assert.equal(pairCount({ a: [1, 2], b: [1, 2], c: [1, 2] }), 12);
  const choices = Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`option${i}`, [1, 2, 3]]));
  const rows = pairwise(choices);
  assert.ok(rows.length >= 9 && rows.length <= 25, `${rows.length} rows`);
  assert.deepEqual(pairsNotMet(choices, rows), []);
});

test("with one option there is a row, and the same options give the same rows", () => {
  assert.deepEqual(pairwise({ only: [7] }), [{ only: 7 }]);
  assert.deepEqual(pairwise(CASES[3] as Choices), pairwise(CASES[3] as Choices));
});
