import assert from "node:assert/strict";
import { test } from "node:test";
import { FAMILIES } from "./families/index.ts";
import { requiredWords } from "./required-words.ts";
import { WordSearch } from "./word-search.ts";

/** True if the words of a pattern occur in the text. */
function occurs(pattern: RegExp, text: string): boolean {
  const words = requiredWords(pattern) ?? [];
  let found = 0;
  new WordSearch(words.map((word) => ({ word, number: 1 }))).search(text, 0, text.length, () => found++);
  return found > 0;
}

test("each shape has words that its matches contain", () => {
  for (const { shapes } of FAMILIES) {
    for (const { name, pattern, example } of shapes) {
      assert.ok(requiredWords(pattern) !== undefined, `${name} has none: it would be tried on every text`);
      assert.ok(occurs(pattern, pattern.exec(example)?.[0] ?? ""), name);
    }
  }
});

test("a branch without words leaves the alternatives none", () => {
  assert.equal(requiredWords(/abc|\d*/), undefined);
  assert.equal(requiredWords(/(?:abc)?[^\n]*/), undefined);
  assert.equal(requiredWords(/(?=abc)\s+/), undefined);
});

test("optional and non-adjacent parts belong to no word", () => {
  assert.ok(occurs(/ab?cd/, "xcdx"));
  assert.ok(occurs(/a+\s+bcd/, "a bcd"));
  assert.ok(occurs(/[Rr]eset\b/, "a Reset."));
  assert.ok(!occurs(/[Rr]eset\b/, "a RESET."));
  assert.ok(occurs(/abc|d{3}/i, "xxDDD"));
});

test("words that overlap, and words inside words, are all found where they end", () => {
  const words = ["she", "he", "hers", "is"].map((text, number) => ({
    word: [...text].map((one) => new Set(one)),
    number,
  }));
  const found: number[] = [];
  new WordSearch(words).search("ushers", 0, 6, (number) => found.push(number));
  assert.deepEqual(found.sort(), [0, 1, 2]);
});

test("an automaton with too many states starts again, and finds the same words", () => {
  // 2 ** 14 states: which of the last 14 characters were an a.
  const any = new Set("ab");
  const word = [new Set("a"), ...Array.from({ length: 13 }, () => any)];
  const search = new WordSearch([{ word, number: 0 }]);
  let text = "";
  for (let at = 0, bits = 1; at < 40_000; at++) {
    bits = (Math.imul(bits, 1103515245) + 12345) >>> 0;
    text += (bits >>> 16) & 1 ? "a" : "b";
  }
  let found = 0;
  search.search(text, 0, text.length, () => found++);
  const expected = [...text.slice(0, -13)].filter((one) => one === "a").length;
  assert.equal(found, expected);
});
