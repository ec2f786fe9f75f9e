import assert from "node:assert/strict";
import { test } from "node:test";
import { phasesOf } from "./suite.ts";

const FAST = ["src/a.test.js", "src/replay/runner.test.js"];
const SLOW = ["src/b.slow.test.js", "src/kills.slow.test.js"];
const EXHAUSTIVE = ["src/c.exhaustive.test.js", "src/kills.exhaustive.test.js"];

function filesWith(option?: string): string[] {
  return phasesOf([...FAST, ...SLOW, ...EXHAUSTIVE], option).flatMap(({ files }) => files);
}

test("npm test runs the fast and the slow files, test:exhaustive the others: no file is in both, and none is left out", () => {
  assert.deepEqual(filesWith(), [...FAST, ...SLOW]);
  assert.deepEqual(filesWith("--exhaustive"), EXHAUSTIVE);
  assert.deepEqual(filesWith("--fast"), FAST);
});

test("tests of threads against each other come last, one by one", () => {
  for (const [option, file] of [
    [undefined, "src/kills.slow.test.js"],
    ["--exhaustive", "src/kills.exhaustive.test.js"],
  ] as const) {
    const last = phasesOf([...FAST, ...SLOW, ...EXHAUSTIVE], option).at(-1);
    assert.deepEqual([last?.files, last?.atOnce], [[file], 1]);
  }
});
