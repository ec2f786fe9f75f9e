/**
 * The conformance suite over all boards on machines of this process. (Machines that are started, like a QEMU, are slower and have
 * their own file.) The matrix is printed at the end.
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { BOARD_KINDS } from "../../machines/boards.ts";
import { inMemoryCoherent } from "./coherent.model.ts";
import { type CellCount, cellsOf, matrixText } from "./matrix.ts";
import { CHOICES, sizeText } from "./setting.ts";
import { BOARD_CASES, boardConformance } from "./suite.ts";

const counts: CellCount[] = [];
after(() => console.log(matrixText(counts)));

for (const kind of BOARD_KINDS.filter(({ name }) => !name.includes("@"))) {
  for (const cell of cellsOf(kind)) {
    const { levels, pageShift, settings } = cell;
    const size = `pages of ${sizeText(pageShift)}${kind.levels.length > 1 ? `, ${levels} levels` : ""}`;
    test(`${kind.name}, ${size}: every behaviour, in ${settings.length} settings`, () => {
      const cases = settings.flatMap((setting) => boardConformance(kind, setting, { operations: inMemoryCoherent }));
      const failed: string[] = [];
      for (const { name, run } of cases) {
        try {
          run();
        } catch (error) {
          failed.push(`${name}:\n  ${(error as Error).stack}`);
        }
      }
      counts.push({ cell, cases });
      assert.equal(failed.length, 0, `${failed.length} of ${cases.length} cases failed:\n${failed.join("\n")}`);
    });
  }
}

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
    assert.equal(cells.length, kind.pageShifts.length * kind.levels.length);
    for (const { settings } of cells) assert.ok(settings.length > 0);
  }
});

test("every case runs on some board, but for those that need a machine without an IOTLB where all have one", () => {
  const ran = new Set(counts.flatMap(({ cases }) => cases.map(({ sentence }) => sentence)));
  const never = BOARD_CASES.filter(({ name }) => !ran.has(name));
  const wanted = BOARD_KINDS.every(({ hasIotlb }) => hasIotlb)
    ? never.filter(({ needs }) => !needs?.includes("no IOTLB"))
    : never;
  assert.deepEqual(
    wanted.map(({ name }) => name),
    [],
  );
});
