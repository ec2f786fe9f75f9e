/** The conformance suite over the boards whose machines are started, like a QEMU. The others are in matrix.test.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BOARD_KINDS } from "../../machines/boards.ts";
import { isStarted, testMatrix } from "./matrix.model.ts";

testMatrix(BOARD_KINDS.filter(isStarted), {});

test("every platform on a machine that is started is also a board of the software machine", () => {
  const names = BOARD_KINDS.map(({ name }) => name);
  const alone = names.filter((name) => name.includes("@") && !names.includes(name.replace(/@.*/, "")));
  assert.deepEqual(alone, []);
});
