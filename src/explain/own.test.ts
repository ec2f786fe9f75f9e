import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { explainTexts } from "./texts.ts";
import { objections, type Truth } from "./truth.model.ts";

/** A file of cases each: a line `=== what it is`, a line with the truth, then the log. Written for this test; no public reports. */
const folder = fileURLToPath(new URL("../../../src/explain/fixtures/own/", import.meta.url));

for (const file of readdirSync(folder)) {
  describe(`a log of ${file} has exactly the conclusions that its lines support`, () => {
    for (const part of readFileSync(`${folder}${file}`, "utf8").split(/^=== /m).slice(1)) {
      const [name = "", truth = "", ...log] = part.split("\n");
      test(name, () => {
        const answer = explainTexts([{ file: "log.txt", text: log.join("\n") }]);
        assert.deepEqual(objections({ unread: 0, ...(JSON.parse(truth) as Truth) }, answer), []);
      });
    }
  });
}
