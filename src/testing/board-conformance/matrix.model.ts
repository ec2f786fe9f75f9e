/** Runs the matrix: a test for each cell, and the printed table at the end. */
import assert from "node:assert/strict";
import { after, type TestContext, test } from "node:test";
import type { BoardKind } from "../../machines/board.ts";
import { type CellCount, cellsOf, type MatrixCell, matrixText } from "./matrix.ts";
import { sizeText } from "./setting.ts";
import { type BoardConformanceOptions, boardConformance } from "./suite.ts";

/** True if the machine is a process to start, such as a QEMU, and so too slow for a fast test. The name of its board has an "@". */
export function isStarted({ name }: BoardKind): boolean {
  return name.includes("@");
}

export interface MatrixOptions extends BoardConformanceOptions {
  /** Returns true if the kind's machine is available; otherwise it skips the test with a reason. Default: true. */
  readonly isThere?: (t: TestContext, kind: BoardKind) => boolean;
  /** Cells of a kind to run. Default `cellsOf`. */
  readonly cells?: (kind: BoardKind) => readonly MatrixCell[];
}

/** Defines a test for each cell of each kind. The result has the cases that ran, once the tests are done. */
export function testMatrix(kinds: readonly BoardKind[], options: MatrixOptions): readonly CellCount[] {
  const { cells = cellsOf, ...others } = options;
  const counts: CellCount[] = [];
  for (const kind of kinds) for (const cell of cells(kind)) testCell(cell, others, counts);
  after(() => {
    if (counts.length > 0) console.log(matrixText(counts));
  });
  return counts;
}

function testCell(cell: MatrixCell, { isThere, ...options }: Omit<MatrixOptions, "cells">, counts: CellCount[]): void {
  const { kind, levels, pageShift, settings } = cell;
  const size = `pages of ${sizeText(pageShift)}${kind.levels.length > 1 ? `, ${levels} levels` : ""}`;
  test(`${kind.name}, ${size}: every behaviour, in ${settings.length} settings`, (t) => {
    if (isThere?.(t, kind) === false) return;
    // One board for a setting: each case finds it as the ones before have left it.
    const cases = settings.flatMap((setting) => boardConformance(kind, setting, { ...options, shareBoard: true }));
    const failed: string[] = [];
    for (const { name, run } of cases) {
      try {
        run();
      } catch (error) {
        failed.push(`${name}:\n  ${(error as Error).stack}`);
      }
    }
    counts.push({ cell, cases });
    const shown = failed.slice(0, 10).join("\n");
    assert.equal(failed.length, 0, `${failed.length} of ${cases.length} cases failed:\n${shown}`);
  });
}
