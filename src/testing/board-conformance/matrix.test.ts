/** The conformance suite over all boards, one setting a cell: a first look. matrix.slow.test.ts runs all settings. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { BoardKind } from "../../machines/board.ts";
import { BOARD_KINDS } from "../../machines/boards.ts";
import { testMatrix } from "./matrix.model.ts";
import { fewCellsOf, matrixText } from "./matrix.ts";

testMatrix(BOARD_KINDS, { cells: fewCellsOf, prints: false });

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
