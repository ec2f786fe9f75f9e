/** The conformance suite over all boards on machines of this process, in every cell and setting. The matrix is printed at the end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BOARD_KINDS } from "../../machines/boards.ts";
import { isStarted, testMatrix } from "./matrix.model.ts";
import { BOARD_CASES } from "./suite.ts";

const counts = testMatrix(
  BOARD_KINDS.filter((kind) => !isStarted(kind)),
  {},
);

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
