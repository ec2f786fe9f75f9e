/** The commands of documents that take long, and those whose output no document shows, run to their end. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { documentFiles } from "../document-files.ts";
import { blocksOf } from "./blocks.ts";
import { Playground } from "./playground.ts";
import { runTranscript } from "./transcripts.ts";

const playground = new Playground();
after(() => playground.remove());

const blocks = [...documentFiles()]
  .flatMap(([path, text]) => blocksOf(path, text))
  .filter(({ language, flags, notRun }) => (language === "sh" || flags.has("exhaustive")) && notRun === undefined);

test("documents have commands of this kind", () => {
  assert.notEqual(blocks.length, 0);
});

for (const block of blocks) {
  test(`${block.path}:${block.line} runs`, () => runTranscript(playground, block));
}
