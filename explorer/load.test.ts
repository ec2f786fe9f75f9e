import assert from "node:assert/strict";
import { test } from "node:test";
import * as real from "../src/shared/memory.ts";
import { IovaError } from "../src/units/errors.ts";
import { exploredCopy } from "./load.ts";
import * as replacement from "./memory.ts";

type Lock = typeof import("../src/shared/lock.ts");
type Bitmap = typeof import("../src/shared/bitmap.ts");
type CrewModule = typeof import("../src/crew/crew.ts");

test("the replacement exports exactly what memory.ts exports", () => {
  assert.deepEqual(Object.keys(replacement).sort(), Object.keys(real).sort());
});

test("a copy of a module accesses memory through the replacement, and leaves the real one alone", async () => {
  const bitmap = await exploredCopy().load<Bitmap>("shared/bitmap.js");
  const words = replacement.wordsOf(replacement.createShared(64));
  bitmap.setBits(words, 2, 5, 9);
  assert.equal(replacement.peek(words, 2), 0b1_1110_0000);
  assert.throws(() => bitmap.isTaken(words, 2, 32 * 20), /peek at index 22 of 16/);
  assert.notEqual(bitmap, await import("../src/shared/bitmap.ts"));
});

test("modules without state are the same in all copies: errors are of the same class", async () => {
  const { createCrewState } = await exploredCopy().load<CrewModule>("crew/crew.js");
  assert.throws(() => createCrewState({ threads: 0 }), IovaError);
});

test("each copy has the bugs that are planted in it, and no other", async () => {
  const from = "return thread + 1;";
  const planted = await exploredCopy([{ module: "shared/lock.js", from, to: "return thread + 2;" }]).load<Lock>(
    "shared/lock.js",
  );
  const sound = await exploredCopy().load<Lock>("shared/lock.js");
  assert.equal(planted.tagOf(1), 3);
  assert.equal(sound.tagOf(1), 2);
});

test("a bug that can't be planted as stated is an error", () => {
  const plant = (from: string) => () => exploredCopy([{ module: "shared/lock.js", from, to: "" }]);
  assert.throws(
    plant("no such text"),
    /shared\/lock.js holds the text to replace 0 times; expected once:\nno such text/,
  );
  assert.throws(plant("compareExchange"), /\d\d? times; expected once/);
});
