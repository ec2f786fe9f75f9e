/**
 * The code blocks of a document: the text between two fences, with the language, options and flags of the first fence.
 *
 *   ```js                       a program
 *   ```js name=worker.mjs       a program in a file of this name; run only if its output stands below it
 *   ```js continued             goes on in the program of the block above
 *   ```ts from=examples/nic.ts  lines of this file, unchanged; the whole file is a program
 *   ```text output              what the program above prints
 *   ```console                  commands after `$ `, and what they print
 *   ```sh                       commands whose output is not shown
 *   ```text                     anything else; text, html and json are not run
 *
 * `measured`: numbers vary from run to run, and are not compared. `exhaustive`: takes long, and runs in the exhaustive tests.
 * `not-run="reason"`: cannot run in the tests. CONTRIBUTING.md explains the rules to authors.
 */

export interface Block {
  /** The document, from the root of the clone. */
  readonly path: string;
  /** Line of the opening fence, from 1. */
  readonly line: number;
  readonly language: Language;
  readonly code: string;
  /** File in the document's folder in which the program is kept. */
  readonly name: string | undefined;
  /** File of the clone that has these lines. */
  readonly from: string | undefined;
  /** Why it cannot run in the tests. */
  readonly notRun: string | undefined;
  readonly flags: ReadonlySet<Flag>;
}

const LANGUAGES = ["ts", "js", "console", "sh", "text", "html", "json"] as const;
type Language = (typeof LANGUAGES)[number];

const FLAGS = ["continued", "output", "measured", "exhaustive"] as const;
type Flag = (typeof FLAGS)[number];

/** Languages in which each flag and each option has a meaning. */
const MEANT_FOR: Readonly<Record<Flag | "name" | "from" | "not-run", readonly Language[]>> = {
  continued: ["ts", "js"],
  output: ["text"],
  measured: ["text", "console"],
  exhaustive: ["console", "sh"],
  name: ["ts", "js", "html", "json"],
  from: ["ts", "js"],
  "not-run": ["ts", "js", "console", "sh"],
};

/** The code blocks of a Markdown text. Throws an error that names the line, when a fence is not understood. */
export function blocksOf(path: string, text: string): Block[] {
  const blocks: Block[] = [];
  const lines = text.split("\n");
  for (let at = 0; at < lines.length; at++) {
    const fence = /^( *)```(.*)$/.exec(lines[at] ?? "");
    if (fence === null) continue;
    const [, indent = "", info = ""] = fence;
    const end = lines.findIndex((line, index) => index > at && line === `${indent}\`\`\``);
    if (end < 0) throw new Error(`${path}:${at + 1} opens a code block that does not end`);
    const code = lines.slice(at + 1, end).map((line) => `${line.slice(indent.length)}\n`);
    blocks.push(blockOf(path, at + 1, info, code.join("")));
    at = end;
  }
  return blocks;
}

/** The code blocks in the docstrings of a TypeScript source; other comments are left out. */
export function docstringBlocks(path: string, source: string): Block[] {
  let isInside = false;
  const lines = source.split("\n").map((line) => {
    if (/^\s*\/\*\*(?!.*\*\/)/.test(line)) isInside = true;
    else if (/\*\//.test(line)) isInside = false;
    return isInside ? (/^\s*\* ?(.*)$/.exec(line)?.[1] ?? "") : "";
  });
  return blocksOf(path, lines.join("\n"));
}

function blockOf(path: string, line: number, info: string, code: string): Block {
  const complain = (what: string): never => {
    throw new Error(`${path}:${line} begins a code block: ${what}`);
  };
  const [, language = "", rest = ""] = /^(\S*)\s*(.*)$/.exec(info) ?? [];
  if (!isOneOf(LANGUAGES, language))
    return complain(`language "${language}" is unknown; expected ${LANGUAGES.join(", ")}`);
  const flags = new Set<Flag>();
  const options = new Map<string, string>();
  for (const [word, key = "", quoted, plain] of rest.matchAll(/([\w-]+)=(?:"([^"]*)"|(\S+))|\S+/g)) {
    const name = key === "" ? word : key;
    if (!(name in MEANT_FOR) || isOneOf(FLAGS, name) !== (key === "")) complain(`"${word}" is unknown`);
    if (!MEANT_FOR[name as Flag].includes(language)) complain(`"${word}" has no meaning for ${language}`);
    if (isOneOf(FLAGS, name)) flags.add(name);
    else options.set(name, quoted ?? plain ?? "");
  }
  const [name, from, notRun] = ["name", "from", "not-run"].map((option) => options.get(option));
  return { path, line, language, code, name, from, notRun, flags };
}

function isOneOf<Name extends string>(names: readonly Name[], name: string): name is Name {
  return (names as readonly string[]).includes(name);
}
