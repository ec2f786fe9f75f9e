import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { integer, seconds } from "./options.ts";

function readOrRefuse(read: (text: string) => number, text: string): number | string {
  try {
    return read(text);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

describe("whole numbers", () => {
  const read = integer(1, 2 ** 31 - 1);
  for (const [text, value] of [
    ["1", 1],
    ["007", 7],
    ["4096", 4096],
    ["64k", 65536],
    ["64K", 65536],
    ["1M", 1048576],
    ["1G", 1073741824],
    ["0x1000", 4096],
    ["0XfF", 255],
  ] as const) {
    test(`${text} is ${value}`, () => assert.equal(read(text), value));
  }
  for (const text of [
    "",
    "0",
    "2G",
    "1m",
    "1.5k",
    "1e3",
    "1_000",
    "0x",
    "0xg",
    "-1",
    " 1",
    "1 k",
    "k",
    "999999999999999G",
  ]) {
    test(`'${text}' is refused, and the message gives examples`, () => {
      assert.equal(
        readOrRefuse(read, text),
        `Found '${text}'; expected a whole number from 1 to 2147483647, such as 4096, 64k, 1M or 0x1000.`,
      );
    });
  }
  test("where only small numbers are expected, the examples of large ones are left out", () => {
    assert.equal(readOrRefuse(integer(1, 64), "1k"), "Found '1k'; expected a whole number from 1 to 64.");
    assert.equal(integer(1, 64)("0x10"), 16);
  });
});

describe("times", () => {
  const read = seconds(3600);
  for (const [text, value] of [
    ["3", 3],
    ["0.5", 0.5],
    ["200ms", 0.2],
    ["500us", 0.0005],
    ["5s", 5],
    ["1.5s", 1.5],
    ["2m", 120],
    ["1h", 3600],
  ] as const) {
    test(`${text} is ${value} seconds`, () => assert.ok(Math.abs(read(text) - value) < 1e-12));
  }
  for (const text of ["", "0", "0ms", "61m", "1e3", ".5", "5.", "5 s", "-1s", "2min", "s"]) {
    test(`'${text}' is refused, and the message gives examples`, () => {
      assert.equal(
        readOrRefuse(read, text),
        `Found '${text}'; expected a time above 0 and up to 3600 seconds, such as 0.5, 200ms, 5s or 2m.`,
      );
    });
  }
});
