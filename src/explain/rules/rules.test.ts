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

test("a broken rule of the DMA API without a verdict of its own is described in words", () => {
  const sentenceOf = (text: string): string | undefined =>
    explainerOf([{ file: "log", text }]).explain().findings[0]?.candidates[0]?.because[0]?.text;
  const message = (text: string): string => `[    1.000000] mlx4_core 0000:00:07.0: DMA-API: ${text}\n`;
  assert.equal(
    sentenceOf(message("cpu touching an active dma mapped cacheline [cln=0x000000001f405880]")),
    "A processor wrote to memory while it was mapped for the device.",
  );
  assert.match(
    sentenceOf(message("device driver frees DMA memory with wrong function [device address=0x1000]")) ?? "",
    /another function/,
  );
  assert.match(sentenceOf(message("device driver does what a later kernel checks")) ?? "", /do not name a rule/);
});
