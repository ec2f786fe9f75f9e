/**
 * The conformance suite over all boards on machines of this process, in every cell, and one setting in each; matrix.exhaustive.test.ts has
 * all settings. The matrix is printed at the end.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type BoardKind, levelsOf } from "../../machines/board.ts";
import { BOARD_KINDS } from "../../machines/boards.ts";
import { isStarted, testMatrix } from "./matrix.model.ts";
import { cellsOf, fewCellsOf, matrixText } from "./matrix.ts";
import { CHOICES } from "./setting.ts";
import { BOARD_CASES } from "./suite.ts";

const counts = testMatrix(
  BOARD_KINDS.filter((kind) => !isStarted(kind)),
  { cells: fewCellsOf },
);

test("on every kind of board every two values of two options meet, and every cell runs every behaviour that it can", () => {
  for (const kind of BOARD_KINDS) {
    const cells = cellsOf(kind);
    const settings = cells.flatMap((cell) => cell.settings);
    const names = Object.keys(CHOICES) as (keyof typeof CHOICES)[];
    for (const a of names)
      for (const b of names)
        for (const valueA of CHOICES[a])
          for (const valueB of a === b ? [] : CHOICES[b]) {
            const met = settings.some((setting) => setting[a] === valueA && setting[b] === valueB);
            assert.ok(met, `${kind.name}: ${a} ${valueA} with ${b} ${valueB}`);
          }
    const wanted = kind.pageShifts.reduce((sum, pageShift) => sum + levelsOf(kind, pageShift).length, 0);
    assert.equal(cells.length, wanted);
    for (const { settings } of cells) assert.ok(settings.length > 0);
  }
});

test("the printed matrix adds up: behaviours to cells, cells and what was left out to all that could have run", () => {
  const lines = matrixText(counts).split("\n");
  const numbers = (line: string | undefined): number[] =>
    [...(line ?? "").matchAll(/ (\d+|-)(?= |$)/g)].map(([, text]) => Number(text) || 0);
  const perSetting = numbers(lines.find((line) => line.includes("cases for each setting")));
  assert.equal(perSetting.at(-1), BOARD_CASES.length);
  assert.equal(
    perSetting.slice(0, -1).reduce((a, b) => a + b),
    BOARD_CASES.length,
  );
  const rows = lines.filter((line) =>
    BOARD_KINDS.some(({ name }) => line.startsWith(`  ${name} `) && / [KMG]iB /.test(line)),
  );
  assert.ok(rows.length >= BOARD_KINDS.length);
  for (const row of rows) {
    const [, , ...found] = numbers(row.replace(/ \d+ [KMG]iB( … \d+ [KMG]iB)?/, ""));
    assert.equal(
      found.slice(0, -1).reduce((a, b) => a + b),
      found.at(-1),
      row,
    );
  }
  const left = lines
    .slice(lines.findIndex((line) => line.startsWith("Left out")) + 1)
    .map((line) => /^ +(\d+) /.exec(line)?.[1]);
  const [, ran, could, leftOut] = (/^(\d+) of (\d+) cases ran, (\d+) were left out/.exec(lines.at(-1) ?? "") ?? []).map(
    Number,
  );
  assert.equal(
    ran,
    counts.reduce((sum, { cases }) => sum + cases.length, 0),
  );
  assert.equal(could, (ran ?? 0) + (leftOut ?? 0));
  assert.equal(
    left.reduce((sum, count) => sum + Number(count ?? 0), 0),
    leftOut,
  );
});

test("where fewer settings run than all pairs need, the printed matrix says how many pairs met", () => {
  const [kind] = BOARD_KINDS as readonly [BoardKind];
  const few = fewCellsOf(kind).map((cell) => ({ cell, cases: [] }));
  const text = matrixText(few);
  assert.match(text, /^Full: .* can show, in one mode or the other\.$/m);
  assert.match(
    text,
    new RegExp(`^On ${kind.name} 41 of 188 pairs of two values meet, in ${few.length} settings\\.$`, "m"),
  );
  assert.doesNotMatch(text, /all 188 pairs/);
});

test("every case runs on some board, except cases whose needs no board meets", () => {
  const ran = new Set(counts.flatMap(({ cases }) => cases.map(({ sentence }) => sentence)));
  const lacking = BOARD_KINDS.every(({ hasIotlb }) => hasIotlb) ? ["no IOTLB"] : [];
  const never = BOARD_CASES.filter(
    ({ name, needs = [] }) => !ran.has(name) && !needs.some((need) => lacking.includes(need)),
  );
  assert.deepEqual(
    never.map(({ name }) => name),
    [],
  );
});
