import assert from "node:assert/strict";
import { test } from "node:test";
import { lowWordOf, numberOf, wideOf } from "./wide-words.ts";

const NUMBERS = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 2 ** 32, 2 ** 32 + 5, 0x1fe00000210, 2 ** 53 - 1];

test("a whole number becomes the bigint that it is, and back, or its low word", () => {
  for (const number of NUMBERS) {
    assert.equal(wideOf(number), BigInt(number));
    assert.equal(numberOf(BigInt(number)), number);
    assert.equal(lowWordOf(BigInt(number)), number % 2 ** 32);
  }
  assert.equal(lowWordOf(2n ** 64n - 1n), 0xffffffff);
});
