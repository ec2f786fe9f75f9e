/** The documents are true of the code: links, paths, names and commands exist. `blocks/` runs their programs and transcripts. */
import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { blocksOf } from "./blocks/blocks.ts";
import { documentFiles } from "./document-files.ts";
import { brokenLinks, type Finding, missingPaths, type Repository, unknownCommands } from "./documents.ts";
import { ROOT } from "./root.ts";
import { run } from "./tool.ts";

/** The verbs: src/cli/main.ts imports the command of each from a file of its name. */
const VERBS = [...readText("src/cli/main.ts").matchAll(/^import \{ \w+Command \} from "\.\/([\w-]+)\.ts";$/gm)].map(
  ([, verb = ""]) => verb,
);
const README = readText("README.md");
const README_BLOCKS = blocksOf("README.md", README);

const repository: Repository = {
  documents: documentFiles(),
  read: (path) => {
    const found = statSync(join(ROOT, path), { throwIfNoEntry: false });
    if (found === undefined) return undefined;
    return found.isDirectory() ? "" : readText(path);
  },
  scripts: Object.keys(JSON.parse(readText("package.json")).scripts),
  help: new Map([
    ...[...VERBS, "help", "version"].map(
      (verb) => [verb, run(process.execPath, [join(ROOT, "bin/iova.js"), verb, "--help"]).output] as const,
    ),
    ["bench", run(process.execPath, [join(ROOT, "build/bench/main.js"), "--help"]).output],
  ]),
};

test("the documents that a newcomer reads are there", () => {
  for (const path of ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/callbacks.md"]) {
    assert.ok(repository.documents.has(path), path);
  }
});

test("README has at most 120 lines, and its program at most 20, without a cast", () => {
  assert.ok(readText("README.md").trimEnd().split("\n").length <= 120);
  const program = README_BLOCKS.find(({ language }) => language === "ts")?.code.trimEnd() ?? "";
  assert.notEqual(program, "");
  assert.ok(program.split("\n").length <= 20, program);
  assert.doesNotMatch(program, / as [A-Za-z]|\w!|: any\b/);
});

test("a document shows the columns that the replay prints", () => {
  assert.ok(VERBS.length >= 4, VERBS.join(", "));
  assert.match(repository.help.get("replay") ?? "", /--workers/);
  const head = /const HEAD = "([^"]+)"/.exec(readText("src/cli/replay-report.ts"))?.[1];
  const shown = [...repository.documents.values()].flatMap((text) => text.split("\n"));
  assert.ok(
    shown.some((line) => line.trim().split(/\s+/).join(" ") === head),
    `a transcript has the columns ${head}`,
  );
});

test("every link in a document leads somewhere, and names what is there", () => {
  assertNone(brokenLinks(repository));
});

test("every path of the repository that a document names is there", () => {
  assertNone(missingPaths(repository));
});

test("every command that a document names can be run", () => {
  assertNone(unknownCommands(repository));
});

test("ARCHITECTURE.md has every folder of src, in the order of imports", () => {
  const order = [
    ...(/ORDER[^=]*= \[([^\]]+)\]/.exec(readText("scripts/tidy/import-order.ts"))?.[1] ?? "").matchAll(/"(\w+)"/g),
  ];
  const folders = order.map(([, folder = ""]) => folder).filter((folder) => repository.read(`src/${folder}`) === "");
  const rows = [...readText("ARCHITECTURE.md").matchAll(/^\| `src\/(\w+)` \|/gm)].map(([, folder]) => folder);
  assert.deepEqual(rows, folders);
});

test("ARCHITECTURE.md gives the sizes that the layout has", async () => {
  const { HEADER, POOL, THREAD, BLOCK_ENTRIES } = await import("../src/allocator/layout.ts");
  const text = readText("ARCHITECTURE.md");
  const sizes = [
    `${HEADER.words * 4} B `,
    `${POOL.words * 4} B each`,
    `${(THREAD.words * 4) / 1024} KiB each`,
    `4 B per ${BLOCK_ENTRIES}`,
    // A pool's constants are on its second line.
    `${POOL.first * 4} bytes`,
  ];
  for (const size of sizes) assert.ok(text.includes(size), size);
});

test("planted faults in a document are found", () => {
  const bad = [
    "# A heading: one",
    "[a](no-such.md) [b](there.md) [c](#a-heading-one) [d](there.md#nothing) [e](https://example.org/x)",
    "[`there`](src/code.ts) [`gone.there`](src/code.ts) [`code.ts`](src/code.ts)",
    "`src/code.ts` `src/gone.ts` `src/*.ts` `build/src/code.js` `build/src/gone.js` `examples/NAME.ts`",
    "`npm start` `npm run gone` `npm start -- --workers 2 --gone` `iova replay x --gone` `iova gone x` `iova VERB`",
    "`npm run -s bench -- --quick` `npm run bench -- --quic`",
    "```sh",
    "$ npm run built && node bin/iova.js replay --workers 1",
    "```",
    "```text",
    "src/gone.ts npm run gone [f](gone.md)",
    "```",
  ].join("\n");
  const files: Record<string, string> = {
    "there.md": "# Something",
    "src/code.ts": "export const there = 1;",
    "bin/iova.js": "",
  };
  const tree: Repository = {
    documents: new Map([["bad.md", bad]]),
    read: (path) => (path === "bad.md" ? bad : files[path]),
    scripts: ["start", "test", "bench"],
    help: new Map([
      ["replay", "--workers <N>"],
      ["bench", "--quick"],
    ]),
  };
  assert.deepEqual(say(brokenLinks(tree)), [
    "bad.md:2 links to no-such.md: there is no no-such.md",
    "bad.md:2 links to there.md#nothing: no heading makes #nothing",
    "bad.md:3 calls src/code.ts by the name gone, which does not occur there",
  ]);
  assert.deepEqual(say(missingPaths(tree)), [
    "bad.md:4 names src/gone.ts, which is not there",
    "bad.md:4 names build/src/gone.js, which is not there",
  ]);
  assert.deepEqual(say(unknownCommands(tree)), [
    "bad.md:5 package.json has no script gone",
    "bad.md:5 replay has no option --gone",
    "bad.md:5 replay has no option --gone",
    "bad.md:5 the command line has no verb gone",
    "bad.md:6 bench has no option --quic",
    "bad.md:8 package.json has no script built",
  ]);
});

function readText(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

function assertNone(findings: readonly Finding[]): void {
  assert.deepEqual(say(findings), []);
}

function say(findings: readonly Finding[]): string[] {
  return findings.map(({ where, what }) => `${where} ${what}`);
}
