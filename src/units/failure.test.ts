import assert from "node:assert/strict";
import { test } from "node:test";
import type { Errno } from "./errno.ts";
import { type Failure, failureCode, isFailure, orThrow } from "./failure.ts";

test("isFailure tells names and codes of failures from entries, mappings, and what is undefined", () => {
  for (const failure of ["table-full", "out-of-memory", -1, -10]) assert.equal(isFailure(failure), true, `${failure}`);
  for (const result of [0, 7, -11, -0.5, "", "full", undefined, null, {}]) assert.equal(isFailure(result), false);
});

test("orThrow returns a result unchanged, and throws a failure as an IovaError with its name as code", () => {
  const mapping = { iova: 5n };
  assert.equal(orThrow(mapping as typeof mapping | Failure), mapping);
  assert.equal(orThrow(12), 12);
  assert.equal(orThrow(undefined), undefined);
  assert.throws(() => orThrow(failureCode("mask-too-low"), "the map of 4 pages"), {
    name: "IovaError",
    code: "mask-too-low",
    message: "the map of 4 pages failed: mask-too-low",
  });
  assert.throws(() => orThrow("ENOMEM" as Errno | number, "the region"), {
    code: "ENOMEM",
    message: "the region failed: ENOMEM",
  });
  assert.throws(() => orThrow("in-use" as Failure | undefined), { code: "in-use", message: "the call failed: in-use" });
});
