import assert from "node:assert/strict";
import { test } from "node:test";
import { similar } from "./suggest.ts";

const KNOWN = ["--seconds", "--pools", "--platform", "--page-shift", "--json"];

for (const [word, meant] of [
  ["--sec", ["--seconds"]],
  ["--p", ["--pools", "--platform", "--page-shift"]],
  ["--secnods", ["--seconds"]],
  ["--second", ["--seconds"]],
  ["--jsno", ["--json"]],
  ["--plattform", ["--platform"]],
  ["--poools", ["--pools"]],
  ["--nosj", []],
  ["--verbose", []],
  ["--", []],
  ["", []],
] as const) {
  test(`'${word}' was meant to be ${meant.join(" or ") || "none of the known words"}`, () => {
    assert.deepEqual(similar(word, KNOWN), meant);
  });
}
