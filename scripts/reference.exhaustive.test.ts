/** The API reference is whole: every exported name has a comment, and every type that a signature names can be imported. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { reference } from "./reference.ts";

test("every name that an entry exports, and every member of it, has a comment; TypeDoc has no warning", async (t) => {
  const { names, undocumented, warnings } = await reference();
  t.diagnostic(`${names} names`);
  assert.ok(names > 1000, `${names} names`);
  assert.deepEqual({ undocumented, warnings }, { undocumented: [], warnings: [] });
});
