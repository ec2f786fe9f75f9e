import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { explainTexts } from "./texts.ts";
import { objections, type Truth } from "./truth.model.ts";

/** Pieces of public reports, names taken out, each with what is known of it. */
const folder = fileURLToPath(new URL("../../../src/explain/fixtures/reports/", import.meta.url));

describe("a piece of a public report has exactly the conclusions that its lines support", () => {
  for (const name of readdirSync(folder)) {
    test(name, () => {
      const text = readFileSync(join(folder, name, "log.txt"), "utf8");
      const truth = JSON.parse(readFileSync(join(folder, name, "truth.json"), "utf8")) as Truth;
      assert.deepEqual(objections(truth, explainTexts([{ file: "log.txt", text }])), []);
    });
  }
});
