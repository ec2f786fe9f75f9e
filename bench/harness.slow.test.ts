/** Tests of playing and judging cells. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { CASES } from "./cases/index.ts";
import type { Cell } from "./cell.ts";
import { checked, InvalidResult, type Measured, playAll, QUIET } from "./harness.ts";
import { FULL, QUICK } from "./scale.ts";
import { missedBy, STANDING_TARGETS, TARGETS, type Target } from "./targets.ts";

const measured = (hash: number | undefined): Measured => ({
  values: { ns: 1 },
  cpuNanoseconds: 1,
  queuedShare: 0,
  hash,
  openingHash: undefined,
});
const cell = CASES[0]?.cells(QUICK, 1)[0] as Cell;

test("repetitions with different digests are an InvalidResult", () => {
  assert.throws(
    () => checked({ cell, measured: [measured(1), measured(1), measured(2)] }),
    (error: Error) =>
      error instanceof InvalidResult && /single: pooled, 50 %.*00000001, 00000001, 00000002/.test(error.message),
  );
  checked({ cell, measured: [measured(1), measured(1)] });
  checked({ cell, measured: [measured(undefined), measured(undefined)] });
});

test("a player that fails ends the run with the cell's name, also if the other player waits for it", async () => {
  const threads = CASES.find(({ name }) => name === "threads")?.cells(QUICK, 1) ?? [];
  const two = threads.find(({ row, at }) => row === "pooled" && at === "2 threads, own pools") as Cell;
  // Pools of half the size: the fill does not fit, and thread 0 notices when thread 1 has not begun.
  const broken: Cell = { ...two, work: { ...two.work, entries: 1024, arena: 2048 } };
  const options = { repetitions: 1, seed: 1, reuseThreads: true, progress: () => {} };
  await assert.rejects(
    playAll([broken], options),
    /threads: pooled, 2 threads, own pools: no space for page \d+ of 2048/,
  );
});

test("a run that fails ends all its threads, also idle ones, so that the process exits", () => {
  const threads = CASES.find(({ name }) => name === "threads")?.cells(QUICK, 1) ?? [];
  const fine = threads.filter(({ threads: players }) => players === 2).slice(0, 4);
  const broken: Cell = { ...cell, at: "broken", work: { ...cell.work, entries: 1024, arena: 2048 } };
  const script = join(mkdtempSync(join(tmpdir(), "iova-harness-")), "run.mjs");
  writeFileSync(
    script,
    `import { playAll } from ${JSON.stringify(new URL("./harness.js", import.meta.url).href)};
     const progress = (done, all, { at }) => console.log(at);
     const options = { repetitions: 1, seed: 1, reuseThreads: true, progress };
     await playAll(${JSON.stringify([...fine, broken])}, options).catch((error) => console.log(error.message));`,
  );
  const { status, stdout } = spawnSync(process.execPath, [script], { encoding: "utf8", timeout: 60_000 });
  rmSync(dirname(script), { recursive: true });
  const said = stdout.trim().split("\n");
  assert.ok(said.indexOf("broken") > 0, "the cell that fails has to come after one of two threads");
  assert.match(said.at(-1) ?? "", /no space/);
  assert.equal(status, 0, "it did not end within a minute");
});

test("every target uses cells and metrics of a full run", () => {
  const cells = new Set(
    CASES.flatMap((benchCase) =>
      benchCase
        .cells(FULL, 1)
        .flatMap(({ row, at }) =>
          ["ns", "rate", QUIET, ...benchCase.metrics.map(({ key }) => key)].map(
            (key) => `${benchCase.name}: ${row}, ${at}, ${key}`,
          ),
        ),
    ),
  );
  for (const target of [...TARGETS, ...STANDING_TARGETS]) {
    const asked: string[] = [];
    const ask = (by: "lookup" | "timesBase") => (benchCase: string, row: string, at: string, metric: string) => {
      assert.ok(cells.has(`${benchCase}: ${row}, ${at}, ${metric}`), `${target.what}: ${row}, ${at}, ${metric}`);
      asked.push(by);
      return 1;
    };
    assert.notEqual(target.measured({ lookup: ask("lookup"), timesBase: ask("timesBase") }), undefined, target.what);
    assert.equal(asked.includes("timesBase"), target.base !== undefined, target.what);
    assert.ok(asked.length > 0, target.what);
  }
});

test("a target is missed by its share of the bound, in its direction", () => {
  const bound = (sense: Target["sense"]): Target => ({ ...(TARGETS[0] as Target), sense, bound: 10 });
  assert.equal(missedBy(bound("at most"), 10), 0);
  assert.equal(missedBy(bound("at most"), 15), 0.5);
  assert.equal(missedBy(bound("at least"), 15), 0);
  assert.equal(missedBy(bound("at least"), 9), 0.09999999999999998);
});

test("cells of a case have distinct names", () => {
  for (const scale of [FULL, QUICK]) {
    for (const benchCase of CASES) {
      const names = benchCase.cells(scale, 1).map(({ row, at }) => `${row}, ${at}`);
      assert.equal(new Set(names).size, names.length, benchCase.name);
    }
  }
});
