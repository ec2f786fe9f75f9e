/** The conformance suite over the boards whose machines are started, like a QEMU. The others are in matrix.test.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BOARD_KINDS } from "../../machines/boards.ts";
import { QEMU_BOARDS } from "../../machines/qemu/boards.ts";
import { hasBoard } from "../../machines/qemu/install.model.ts";
import type { BoardName } from "../../machines/qemu/machine.ts";
import { isStarted, testMatrix } from "./matrix.model.ts";
import { cellsOf, fewCellsOf } from "./matrix.ts";

/** An access to a started machine takes 20 to 200 µs, all settings minutes: IOVA_ALL_STARTED=1 runs them. */
const cells = process.env["IOVA_ALL_STARTED"] === "1" ? cellsOf : fewCellsOf;

testMatrix(QEMU_BOARDS, { cells, isThere: (t, kind) => hasBoard(t, kind.name.replace("@qemu", "") as BoardName) });

test("every platform on a machine that is started is also a board of the software machine", () => {
  const names = BOARD_KINDS.map(({ name }) => name);
  assert.deepEqual(
    names.filter((name) => name.includes("@")),
    [],
  );
  for (const kind of QEMU_BOARDS) {
    assert.ok(isStarted(kind), kind.name);
    assert.ok(names.includes(kind.name.replace("@qemu", "")), kind.name);
  }
});
