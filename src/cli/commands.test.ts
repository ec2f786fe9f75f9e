import assert from "node:assert/strict";
import { test } from "node:test";
import { commandLines } from "./commands.ts";

test("a command is broken at its semicolons, as many parts in a line as fit", () => {
  assert.deepEqual(commandLines("cd /tmp; echo 1 > one; echo 2 > two; cat three", 25), [
    "cd /tmp; echo 1 > one",
    "echo 2 > two; cat three",
  ]);
});

test("a command is not broken in quotes or in a loop", () => {
  const loop = 'for d in /sys/*; do echo "$d"; done';
  assert.deepEqual(commandLines(`lspci; ${loop}; echo 'a; b'`, 10), ["lspci", loop, "echo 'a; b'"]);
});
