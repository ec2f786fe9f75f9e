/** The platform of docs/writing-a-platform.md passes both suites. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type BoardKind, boardConformance, cellsOf, type FormatOracle, formatConformance } from "iova/testing";
import { acmeBoard, acmeEntry } from "./own-platform.ts";

const oracle: FormatOracle = {
  byteOrder: "little",
  entryBits: (page, access, pageShift) => (page << pageShift) | BigInt(access),
  examples: [
    { pageShift: 12, page: 0x12345, access: 1, bytes: [0x01, 0x50, 0x34, 0x12, 0, 0, 0, 0] },
    { pageShift: 16, page: 0x1_2345, access: 3, bytes: [0x03, 0, 0x45, 0x23, 0x01, 0, 0, 0] },
    { pageShift: 12, page: 2 ** 36 - 1, access: 2, bytes: [0x02, 0xf0, 0xff, 0xff, 0xff, 0xff, 0, 0] },
  ],
  rounds: 2000,
};

for (const { name, run } of formatConformance(acmeEntry, oracle)) test(name, run);

for (const { pageShift, settings } of cellsOf(acmeBoard)) {
  test(`acme, page shift ${pageShift}: every case of the suite, in ${settings.length} settings`, () => {
    for (const setting of settings) for (const { run } of boardConformance(acmeBoard, setting)) run();
  });
}

test("the suite finds an Acme platform that does not invalidate", () => {
  const forgetful: BoardKind = {
    ...acmeBoard,
    create: (options) => {
      const board = acmeBoard.create(options);
      board.table.ops.invalidate = () => undefined;
      return board;
    },
  };
  const setting = cellsOf(acmeBoard)
    .flatMap(({ settings }) => settings)
    .find(({ invalidate }) => invalidate === "strict");
  assert.ok(setting !== undefined);
  assert.throws(() => {
    for (const { run } of boardConformance(forgetful, setting)) run();
  }, /after unmap, at page 0 of 4, the device still reads memory/);
});

test("Acme: bad windows and entries are refused with the numbers found and expected", () => {
  assert.throws(
    () => acmeBoard.create({ memoryBytes: 2 ** 20, pageShift: 13 }),
    /page shift of acme is 13; expected one of 12, 16/,
  );
  const board = acmeBoard.create({ memoryBytes: 2 ** 20, entries: 64 });
  assert.throws(() => board.table.ops.clear(63, 2), /entries is "\[63, 65\)"; expected some in \[0, 64\)/);
});
