import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { VERDICTS } from "../src/explain/contract.ts";
import { EXPLAIN_PAGE, explainPage } from "./explain-page.ts";
import { ROOT } from "./root.ts";

test("docs/explain.md lists the rules and shapes of the code: `node build/scripts/explain-page.js` writes it again", () => {
  assert.equal(readFileSync(join(ROOT, EXPLAIN_PAGE), "utf8"), explainPage());
});

test("docs/explain.schema.json names the kinds and verdicts of the code", () => {
  const schema = JSON.parse(readFileSync(join(ROOT, "docs/explain.schema.json"), "utf8")) as {
    $defs: { finding: { properties: { kind: { enum: string[] }; verdict: { enum: string[] } } } };
  };
  const { kind, verdict } = schema.$defs.finding.properties;
  assert.deepEqual(kind.enum, Object.keys(VERDICTS));
  assert.deepEqual(verdict.enum, [...new Set([...Object.values(VERDICTS).flat(), "undecided"])]);
});
