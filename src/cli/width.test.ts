import assert from "node:assert/strict";
import { test } from "node:test";
import { widthOf } from "./width.ts";

test("a line is as wide as the terminal, from 40 to 120 columns", () => {
  for (const [columns, width] of [
    [80, 80],
    [132, 120],
    [97, 97],
    [10, 40],
    [0, 80],
    [undefined, 80],
  ] as const) {
    assert.equal(widthOf({ isTTY: true, ...(columns === undefined ? {} : { columns }) }, undefined), width);
  }
});

test("without a terminal a line has 100 columns", () => {
  assert.equal(widthOf({}, undefined), 100);
  assert.equal(widthOf({ isTTY: false, columns: 80 }, ""), 100);
});

test("COLUMNS comes first, if it is a positive whole number", () => {
  assert.equal(widthOf({ isTTY: true, columns: 100 }, "80"), 80);
  assert.equal(widthOf({}, "72"), 72);
  assert.equal(widthOf({}, "1"), 40);
  for (const nonsense of ["wide", "-5", "0", "1e2", "80.5"]) assert.equal(widthOf({}, nonsense), 100);
});
