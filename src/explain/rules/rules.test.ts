import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { VERDICTS } from "../contract.ts";
import { explainerOf } from "../texts.ts";
import { RULES } from "./index.ts";
import type { Conclusion, Rule } from "./rule.ts";

function conclusionsOfExample(rule: Rule): Conclusion[] {
  return explainerOf([{ file: "example", text: rule.example }]).conclusions([rule]);
}

describe("the rules", () => {
  test("have names of their own", () => {
    assert.equal(new Set(RULES.map(({ name }) => name)).size, RULES.length);
  });

  for (const rule of RULES) {
    test(`${rule.name} applies to its example`, () => {
      assert.notDeepEqual(conclusionsOfExample(rule), []);
    });

    test(`${rule.name} names verdicts of its kinds, and shows lines for each sentence`, () => {
      for (const one of conclusionsOfExample(rule)) {
        const verdicts = rule.kinds.flatMap((kind) => VERDICTS[kind]);
        if (one.says === "candidate" || one.says === "excluded") assert.ok(verdicts.includes(one.verdict), one.verdict);
        assert.notDeepEqual(one.because.proof, []);
        assert.match(one.because.text, /^[A-Za-z0-9].*[.,]$/);
      }
    });
  }
});
