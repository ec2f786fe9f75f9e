/** The conformance suite over all boards on machines of this process. The matrix is printed at the end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { levelsOf } from "../../machines/board.ts";
import { BOARD_KINDS } from "../../machines/boards.ts";
import { isStarted, testMatrix } from "./matrix.model.ts";
import { cellsOf } from "./matrix.ts";
import { CHOICES } from "./setting.ts";
import { BOARD_CASES } from "./suite.ts";

const counts = testMatrix(
  BOARD_KINDS.filter((kind) => !isStarted(kind)),
  {},
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

test("every case runs on some board, but for those that need what no board has", () => {
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
