/** Tests of the comparison with a base: which cells are compared. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type Build, baseFor, inForm, nameOf, openBuild, THIS_BUILD } from "./build.ts";
import { single } from "./cases/single.ts";
import { CROWD, threads } from "./cases/threads.ts";
import type { BenchCase, Cell } from "./cell.ts";
import { QUICK } from "./scale.ts";

const cells = [...single.cells(QUICK, 1), ...threads.cells(QUICK, 1).filter((cell) => !cell.playsAnyBuild)];

function buildOf(...cases: readonly BenchCase[]): Build {
  return { ...THIS_BUILD, cases };
}

function altered(cell: Cell, change: (cell: Cell) => Cell): BenchCase {
  const same = (one: Cell) => nameOf(one) === nameOf(cell);
  return { ...single, cells: (scale, seed) => single.cells(scale, seed).map((one) => (same(one) ? change(one) : one)) };
}

test("a cell is compared with the base's cell of the same name", () => {
  const { twins } = baseFor(cells, buildOf(single), true, 1);
  assert.deepEqual([...twins.keys()].map(nameOf), single.cells(QUICK, 1).map(nameOf));
  for (const [own, twin] of twins) assert.deepEqual(twin, { cell: own, player: "base" });
});

test("a cell that the base lacks, or that does other work there, is not compared", () => {
  const cell = cells[0] as Cell;
  const expected = single.cells(QUICK, 1).slice(1).map(nameOf);
  const renamed = altered(cell, (one) => ({ ...one, row: "of another name" }));
  const longer = altered(cell, (one) => ({ ...one, work: { ...one.work, operations: one.work.operations + 1 } }));
  for (const benchCase of [renamed, longer]) {
    assert.deepEqual([...baseFor(cells, buildOf(benchCase), true, 1).twins.keys()].map(nameOf), expected);
  }
});

test("where the base lacks a cell, our driver plays the base's allocator, if it can", () => {
  const crowd = threads.cells(QUICK, 1).find(({ at }) => at === CROWD) as Cell;
  const base = { ...buildOf(single), url: "file:///elsewhere/dist/iova.js" };
  const { work } = crowd;
  assert.deepEqual(baseFor([crowd], base, true, 1).twins.get(crowd), {
    cell: { ...crowd, work: { ...work, build: "file:///elsewhere/dist/iova.js" } },
    player: "this build",
  });
});

test("the base's cells are made at the scale and with the seed of this run", () => {
  for (const seed of [1, 2]) {
    const own = single.cells(QUICK, seed);
    assert.equal(baseFor(own, buildOf(single), true, seed).twins.size, own.length);
    assert.equal(baseFor(own, buildOf(single), true, seed + 1).twins.size, 0);
    assert.equal(baseFor(own, buildOf(single), false, seed).twins.size, 0);
  }
});

test("the bundle that users get is measured, or the build that the compiler writes", async () => {
  const root = fileURLToPath(new URL("../..", import.meta.url));
  const opened = [await openBuild(root, "bundled"), await openBuild(root, "unbundled")];
  for (const builds of [opened, [THIS_BUILD, inForm("unbundled")]]) {
    assert.deepEqual(
      builds.map(({ worker, url }) => [fileURLToPath(worker), fileURLToPath(url)]),
      [
        [join(root, "build/bench/bundled/iova-cell.worker.js"), join(root, "dist/iova.js")],
        [join(root, "build/bench/cell.worker.js"), join(root, "build/src/allocator/pooled-allocator.js")],
      ],
    );
  }
});
