import assert from "node:assert/strict";
import { test } from "node:test";
import { phasesOf } from "./suite.ts";

const FAST = ["src/a.test.js", "src/replay/runner.test.js"];
const SLOW = ["src/b.slow.test.js", "src/kills.slow.test.js"];
const EXHAUSTIVE = ["src/c.exhaustive.test.js", "src/kills.exhaustive.test.js"];

function phasesWith(option: string | undefined) {
  return phasesOf([...FAST, ...SLOW, ...EXHAUSTIVE], option, () => true);
}

function filesWith(option?: string): string[] {
  return phasesWith(option).flatMap(({ processes }) => processes.flat());
}

test("npm test runs the fast and the slow files, test:exhaustive the others: no file is in both, and none is left out", () => {
  assert.deepEqual(filesWith(), [...FAST, ...SLOW]);
  assert.deepEqual(filesWith("--exhaustive"), EXHAUSTIVE);
  assert.deepEqual(filesWith("--fast"), FAST);
});

test("tests with racing threads run last, one by one", () => {
  for (const [option, file] of [
    [undefined, "src/kills.slow.test.js"],
    ["--exhaustive", "src/kills.exhaustive.test.js"],
  ] as const) {
    const last = phasesWith(option).at(-1);
    assert.deepEqual([last?.processes, last?.atOnce], [[[file]], 1]);
  }
});

test("fast files of one folder share a process, except those that need their own; slow files never share", () => {
  const files = ["bench/a", "scripts/a", "scripts/b", "src/dma/a", "src/dma/b/c", "src/dma/spawns", "src/log/a"];
  const slow = ["src/dma/a.slow", "src/dma/b.slow"];
  const [fast, others] = phasesOf(
    [...files, ...slow].map((file) => `${file}.test.js`),
    undefined,
    (file) => !file.includes("spawns"),
  ).map(({ processes }) => processes.map((group) => group.join(" ").replaceAll(".test.js", "")));
  assert.deepEqual(fast, ["scripts/a scripts/b", "src/dma/a src/dma/b/c", "bench/a", "src/dma/spawns", "src/log/a"]);
  assert.deepEqual(others, slow);
});
