/** Blocks, programs, transcripts and shown output are read by the rules that CONTRIBUTING.md gives. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { blocksOf, docstringBlocks } from "./blocks.ts";
import { programsOf } from "./programs.ts";
import { differenceOf } from "./shown.ts";
import { commandsOf } from "./transcripts.ts";

const fence = (info: string, ...lines: string[]) => [`\`\`\`${info}`, ...lines, "```", ""].join("\n");

test("a block has the language, options and flags of its fence, and the line at which it begins", () => {
  const text = `# Page\n\n${fence('console exhaustive not-run="needs root"', "$ true")}\n${fence("js name=a.mjs", "1;", "2;")}`;
  const [first, second, ...others] = blocksOf("page.md", text);
  assert.deepEqual(first, {
    path: "page.md",
    line: 3,
    language: "console",
    code: "$ true\n",
    name: undefined,
    from: undefined,
    notRun: "needs root",
    flags: new Set(["exhaustive"]),
  });
  assert.deepEqual([second?.line, second?.name, second?.code], [7, "a.mjs", "1;\n2;\n"]);
  assert.deepEqual(others, []);
});

test("a fence that is not understood is an error that names its line", () => {
  for (const [info, message] of [
    ["", /^page\.md:1 begins a code block: language "" is unknown; expected ts, js, console/],
    ["python", /language "python" is unknown/],
    ["ts runs", /"runs" is unknown/],
    ["ts continued=2", /"continued=2" is unknown/],
    ["ts name", /"name" is unknown/],
    ["ts output", /"output" has no meaning for ts/],
    ["text not-run=x", /"not-run=x" has no meaning for text/],
  ] as const) {
    assert.throws(() => blocksOf("page.md", fence(info, "x")), { message }, info);
  }
  assert.throws(() => blocksOf("page.md", "```ts\nx"), { message: "page.md:1 opens a code block that does not end" });
});

test("docstrings have blocks, at their lines of the source; other comments and code have none", () => {
  const source = [
    "const fences = `",
    "```ts",
    "```",
    "`;",
    "/**",
    " * Says x.",
    " * @example",
    " * ```ts",
    ' * console.log("x");',
    " * ```",
    " */",
    "// ```ts",
    "export function x() {}",
  ];
  const found = docstringBlocks("x.ts", source.join("\n"));
  assert.deepEqual(
    found.map(({ line, code }) => [line, code]),
    [[8, 'console.log("x");\n']],
  );
});

test("a program goes on in later blocks, each with its own output; blocks that are not run are left out", () => {
  const page = [
    fence("js", "let a = 1;"),
    fence("text output", "1"),
    fence("text", "prose"),
    fence("js continued", "a++;"),
    fence("text output measured", "2"),
    fence("js name=worker.mjs", "a;"),
    fence('ts not-run="needs a kernel"', "b;"),
    fence("text output", "b"),
  ];
  const programs = programsOf(blocksOf("page.md", page.join("")));
  assert.deepEqual(
    programs.map(({ where, file, isRun, parts }) => [
      where,
      file,
      isRun,
      ...parts.map((part) => [part.block.line, part.output?.line]),
    ]),
    [
      ["page.md:1", "line-1.mjs", true, [1, 4], [10, 13]],
      ["page.md:16", "worker.mjs", false, [16, undefined]],
    ],
  );
  for (const bad of ["js continued", "text output"]) {
    assert.throws(() => programsOf(blocksOf("page.md", fence(bad, "x"))), /^Error: page\.md:1 /);
  }
});

test("a transcript has commands, over several lines too, and what each prints", () => {
  const [block] = blocksOf("page.md", fence("console", "$ a \\", "  --b", "one", "$ c", "$ d", "two"));
  assert.deepEqual(block && commandsOf(block), [
    { command: "a \\\n  --b", shown: "one\n" },
    { command: "c", shown: "" },
    { command: "d", shown: "two\n" },
  ]);
  for (const [bad] of [["text first"], [""]]) {
    assert.throws(
      () => commandsOf(blocksOf("page.md", fence("console", bad ?? ""))[0]!),
      /expected "\$ COMMAND" first/,
    );
  }
});

test("shown output equals the printed output line by line, except for lines and ends of lines marked as left out", () => {
  const printed = "one [1]\ntwo\nthree\nfour\n";
  for (const shown of ["one [1]\ntwo\nthree\nfour\n", "…\nfour\n", "one …\ntwo\n…\n", "one [1]\n…\nfour\n", "…\n"]) {
    assert.equal(differenceOf(shown, printed, false), undefined, shown);
  }
  for (const [shown, difference] of [
    ["one [1]\nthree\n…\n", "not printed at its place: three"],
    ["one [1]\ntwo\nthree\n", "more is printed than is shown"],
    ["one [1]\ntwo\nthree\n…\nfour\n", "not printed at its place: four"],
    ["one [2]\n…\n", "not printed at its place: one [2]"],
    ["", "more is printed than is shown"],
    ["one 1\n…\n", "not printed at its place: one 1"],
  ] as const) {
    assert.equal(differenceOf(shown, printed, false), `${difference}\nprinted was:\n${printed}`, shown);
  }
});

test("measured output is compared without its numbers, their units, widths and line breaks, and with its words", () => {
  const printed = "pooled   1.20M  2.57    0%\nserved 2.57 times in 12 µs,\n  of 12,753 and 5.4kb\nnvme0 0x10\n";
  for (const shown of [
    "pooled 467k 1.00 12.5%\nserved 11 times in 3.4 ms, of\n  7 and 12kb\nnvme0 0x10\n",
    "pooled …\nserved 1 times …\nnvme0 0x10\n",
    "…\nnvme0 0x10\n",
    "pooled 467k 1.00 12.5%\n…\n",
  ]) {
    assert.equal(differenceOf(shown, printed, true), undefined, shown);
  }
  for (const shown of [
    "pooled 467k 1.00 12.5%\nserves 11 times in 3.4 ms, of\n  7 and 12kb\nnvme0 0x10\n",
    "pooled 467k 1.00 12.5%\nserved 11 times in 3.4 ms, of\n  7 and 12kb\nnvme1 0x10\n",
    "pooled 467k 1.00 12.5%\nserved 11 times in 3.4 ms, of\n  7 and 12kb\n",
    "pooled 1.00 12.5%\n…\n",
    "pooled 467k 1.00 12.5% served 11 times in 3.4 ms, of 7 and 12kb\nnvme0 0x10\n",
  ]) {
    assert.match(differenceOf(shown, printed, true) ?? "", /\nprinted was:\npooled/, shown);
  }
});
