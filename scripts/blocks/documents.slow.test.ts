/** Every program and every transcript of the documents, and every example of a docstring, runs and prints what is shown. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { documentFiles, sourceFiles } from "../document-files.ts";
import { type Block, blocksOf, docstringBlocks } from "./blocks.ts";
import { Playground, prepare, runProgram } from "./playground.ts";
import { linesMissingInFile, programsOf, unusedFiles } from "./programs.ts";
import { runTranscript } from "./transcripts.ts";

/** Blocks that do not run here, with the reason. */
const NOT_RUN: readonly string[] = [
  "README.md: sh: a path of your own",
  "docs/capture.md: console: needs root and a fault",
  "docs/decisions/broken-in-between.md: sh: is a part of the exhaustive tests",
  "docs/guides/debugging-dma.md: console: needs root and a fault",
  "docs/guides/drivers-and-vmms.md: js: vite reads it",
  "docs/performance.md: sh: measures for five minutes, beside another clone",
];

const documents = [
  ...[...documentFiles()].map(([path, text]) => ({ path, blocks: blocksOf(path, text) })),
  ...[...sourceFiles()].map(([path, text]) => ({ path, blocks: docstringBlocks(path, text) })),
];
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

test("each named file of a document is used there", () => {
  assert.deepEqual(
    documents.flatMap((document) => unusedFiles(document.blocks)),
    [],
  );
});

test("only these blocks are not run, each for its reason", () => {
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

test("planted faults in programs and transcripts are found", () => {
  const fence = (info: string, ...lines: string[]) => [`\`\`\`${info}`, ...lines, "```", ""].join("\n");
  const page = [
    fence("js", 'import { DEVICE_READS } from "iova";', "console.log(DEVICE_READS);", "DEVICE_READS.gone;"),
    fence("text output", "2"),
    fence("js", "throw new Error('planted');"),
    fence("ts", 'const two: string = "2";', "console.log(two);"),
    fence("js continued", "console.log(3);"),
    fence("text output", "4"),
    fence("js name=unused.mjs"),
    fence("console", "$ cd /; pwd", "/", "$ echo two; false", "two", "$ pwd", "three"),
    fence("console", "$ exit 1", "$ echo one", "one"),
    fence("sh", "false", "true"),
  ];
  const bad = blocksOf("bad.md", page.join(""));
  const [first, second, third] = programsOf(bad);
  assert.deepEqual(prepare(playground, programsOf(bad)), ["bad.md:4 Property 'gone' does not exist on type '1'."]);
  assert.throws(
    () => runProgram(playground, first!),
    /^Error: bad\.md:6 shows another output: .*: 2\nprinted was:\n1\n$/,
  );
  assert.throws(() => runProgram(playground, second!), /^Error: bad\.md:9 ends with exit code 1:\n[\s\S]*planted/);
  assert.throws(() => runProgram(playground, third!), /^Error: bad\.md:12 shows another output: more is printed/);
  assert.deepEqual(unusedFiles(bad), ["bad.md:22 has the file unused.mjs, which no other block uses"]);
  const errors = bad.slice(-3).map((block) => {
    try {
      return runTranscript(playground, block);
    } catch (error) {
      return (error as Error).message;
    }
  });
  assert.deepEqual(errors, [
    "bad.md:24 $ pwd\nnot printed at its place: three\nprinted was:\n/\n",
    "bad.md:32 $ echo one\nnot printed at its place: one\nprinted was:\nnothing: the shell has ended\n",
    "bad.md:37 ends with exit code 1:\n",
  ]);
});

function isTranscriptToRun({ language, notRun, flags }: Block): boolean {
  return language === "console" && notRun === undefined && !flags.has("exhaustive");
}
