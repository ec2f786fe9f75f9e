import assert from "node:assert/strict";
import { test } from "node:test";
import { count, counted, increment } from "./counters.ts";
import { createShared, poke, wordsOf } from "./memory.ts";

test("a counter carries into its second word, from both of its forms", () => {
  const words = wordsOf(createShared(8));
  poke(words, 0, -1);
  increment(words, 0);
  assert.equal(counted(words, 0), 2 ** 32);
  poke(words, 0, -5);
  count(words, 0, 10);
  assert.equal(counted(words, 0), 2 ** 33 + 5);
  poke(words, 0, 2 ** 31 - 1);
  count(words, 0, 2);
  assert.equal(counted(words, 0), 2 ** 33 + 2 ** 31 + 1, "past the sign there is no carry");
});
