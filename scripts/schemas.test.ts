/** The schemas of docs/ describe every field of the commands' JSON. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { explainTexts } from "../src/explain.ts";
import { statisticsOfText } from "../src/stat.ts";
import { violations } from "./json-schema.model.ts";
import { ROOT } from "./root.ts";

function schemaOf(verb: string): Record<string, unknown> {
  return JSON.parse(readFileSync(join(ROOT, `docs/${verb}.schema.json`), "utf8"));
}

function textOf(path: string): string {
  const bytes = readFileSync(join(ROOT, path));
  return (path.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("latin1");
}

const SHIPPED = ["traces", "traces/fixtures"].flatMap((folder) =>
  readdirSync(join(ROOT, folder))
    .filter((name) => /\.(txt|log|gz)$/.test(name))
    .map((name) => `${folder}/${name}`),
);
const OWN = readdirSync(join(ROOT, "src/explain/fixtures/own")).map((name) => `src/explain/fixtures/own/${name}`);

/** Traces with nulls in place of numbers: no event, one event, a clock without a unit, a request that failed. */
const ODD = {
  "no event": "",
  "one event": "a-1 [000] ..... 1.000000: map: IOMMU: iova=0x1000 - 0x2000 paddr=0x5000 size=4096\n",
  "a clock without a unit": [1, 2]
    .map((tick) => `a-1 [000] ..... ${tick}: map: IOMMU: iova=0x${tick}000 - 0x${tick + 1}000 paddr=0x5000 size=4096\n`)
    .join(""),
  "a failed request":
    "a-1 [000] ..... 1.0: dma_map_page: d0 dir=TO_DEVICE dma_addr=ffffffffffffffff size=4096 phys_addr=5000 attrs=\n",
};

describe("docs/stat.schema.json describes the output of `iova stat --json`", () => {
  const schema = schemaOf("stat");
  for (const path of SHIPPED.filter((name) => !/dmesg|\.log$/.test(name))) {
    test(`of ${path}`, () => assert.deepEqual(violations(schema, asWritten(statisticsOfText(textOf(path)))), []));
  }
  for (const [name, text] of Object.entries(ODD)) {
    test(`of a trace with ${name}`, () => assert.deepEqual(violations(schema, asWritten(statisticsOfText(text))), []));
  }
});

describe("docs/explain.schema.json describes the output of `iova explain --json`", () => {
  const schema = schemaOf("explain");
  for (const path of [...SHIPPED, ...OWN]) {
    test(`of ${path}`, () => {
      const answer = explainTexts([{ file: path, text: textOf(path) }]);
      assert.deepEqual(violations(schema, asWritten(answer)), []);
    });
  }
});

test("a field that is missing, of another type or not described violates a schema", () => {
  const schema = schemaOf("stat");
  const { version, seconds, ...answer } = statisticsOfText(ODD["one event"]);
  assert.deepEqual(violations(schema, asWritten({ ...answer, version: 2, seconds: "0", minutes: 0 })), [
    "$.version: is not 1",
    "$.seconds: is no number",
    "$: has minutes, which is not described",
  ]);
  assert.deepEqual(violations(schema, asWritten({ ...answer, version })), ["$: has no seconds"]);
  assert.equal(seconds, 0);
});

/** As a reader of the JSON gets it. */
function asWritten(answer: object): unknown {
  return JSON.parse(JSON.stringify(answer));
}
