/** Every program and every transcript of the documents runs, and prints what the document shows. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { documentFiles } from "../document-files.ts";
import { type Block, blocksOf } from "./blocks.ts";
import { Playground, prepare, runProgram } from "./playground.ts";
import { linesMissingInFile, programsOf } from "./programs.ts";
import { runTranscript } from "./transcripts.ts";

/** What does not run here, and why. */
const NOT_RUN: readonly string[] = [
  "README.md: console: clones, and takes 40 s; the tests of `npm start` are scripts/ready.slow.test.ts",
  "README.md: console: is the exhaustive tests themselves",
  "docs/capture.md: console: needs root and a fault",
  "docs/decisions/broken-in-between.md: sh: is a part of the exhaustive tests",
  "docs/guides/debugging-dma.md: console: needs root and a fault",
  "docs/performance.md: sh: measures for five minutes, beside another clone",
];

const documents = [...documentFiles()].map(([path, text]) => ({ path, blocks: blocksOf(path, text) }));
const blocks = documents.flatMap((document) => document.blocks);
const playground = new Playground();
after(() => playground.remove());
const programs = programsOf(blocks);

test("the programs of all documents compile as a user's, with strict checks", () => {
  assert.ok(programs.length > 0);
  assert.deepEqual(prepare(playground, programs), []);
});

test("a document shows lines of a file unchanged", () => {
  assert.deepEqual(blocks.flatMap(linesMissingInFile), []);
});

test("no block is left out but these few, each with its reason", () => {
  const notRun = blocks.filter((block) => block.notRun !== undefined);
  assert.deepEqual(notRun.map(({ path, language, notRun }) => `${path}: ${language}: ${notRun}`).sort(), NOT_RUN);
});

for (const { path, blocks } of documents) {
  const own = programs.filter(({ parts, isRun }) => isRun && parts[0]?.block.path === path);
  const transcripts = blocks.filter(isTranscriptToRun);
  if (own.length + transcripts.length === 0) continue;
  test(`${path}: ${own.length} programs and ${transcripts.length} transcripts print what is shown`, () => {
    // In the order of the page: a program may write what a later command reads.
    const runs = [
      ...own.map((program) => ({ line: program.parts[0]!.block.line, run: () => runProgram(playground, program) })),
      ...transcripts.map((block) => ({ line: block.line, run: () => runTranscript(playground, block) })),
    ];
    for (const { run } of runs.sort((a, b) => a.line - b.line)) run();
  });
}

function isTranscriptToRun({ language, notRun, flags }: Block): boolean {
  return language === "console" && notRun === undefined && !flags.has("exhaustive");
}
