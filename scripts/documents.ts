/**
 * Checks of the documents against the repository: links have targets, paths and commands exist, and a link whose text is a
 * name in code leads to a file that has the name.
 */
import { posix } from "node:path";

/** The repository as documents see it. Paths are relative to its root, with `/`. */
export interface Repository {
  /** Texts of Markdown files, by path. */
  readonly documents: ReadonlyMap<string, string>;
  /** Text of a file; "" for a folder; undefined if the path does not exist. */
  read(path: string): string | undefined;
  /** Scripts of package.json. */
  readonly scripts: readonly string[];
  /** Help texts, by the verb of the command line or the npm script. */
  readonly help: ReadonlyMap<string, string>;
}

/** `where` is path and line. */
export interface Finding {
  readonly where: string;
  readonly what: string;
}

interface Line {
  readonly path: string;
  readonly number: number;
  readonly text: string;
  /** Language of the code block that the line is in; undefined outside of code blocks. */
  readonly code: string | undefined;
}

/** Links without a target, and links with a name in code as text whose file lacks the name. */
export function brokenLinks(repository: Repository): Finding[] {
  const lines = linesOf(repository).filter(({ code }) => code === undefined);
  return lines.flatMap((line) =>
    [...line.text.matchAll(/\[((?:[^\][]|\[[^\]]*\])+)\]\(([^)\s]+)\)/g)].flatMap(([, text = "", target = ""]) => {
      const objection = objectionToLink(repository, line.path, text, target);
      return objection === undefined ? [] : [findingAt(line, objection)];
    }),
  );
}

function objectionToLink(repository: Repository, from: string, text: string, target: string): string | undefined {
  if (/^[a-z]+:/.test(target)) return undefined;
  const [file = "", anchor] = target.split("#");
  const path = file === "" ? from : posix.join(posix.dirname(from), file);
  const found = repository.read(path);
  if (found === undefined) return `links to ${target}: there is no ${path}`;
  if (anchor !== undefined && !anchorsOf(found).includes(anchor))
    return `links to ${target}: no heading makes #${anchor}`;
  if (!path.endsWith(".ts")) return undefined;
  const missing = namesIn(text).find((name) => !new RegExp(`\\b${name}\\b`).test(found));
  return missing === undefined ? undefined : `calls ${path} by the name ${missing}, which does not occur there`;
}

/** Identifiers of a link's text when all of it is code: `IommuTable.unmap` has two. File names have none. */
function namesIn(text: string): string[] {
  const code = /^`([^`]+)`$/.exec(text)?.[1];
  if (code === undefined || /\.ts$|\//.test(code)) return [];
  return code.split(/[^A-Za-z0-9_]+/).filter((name) => /^[A-Za-z_]/.test(name));
}

/** Anchors of headings, as GitHub makes them. */
function anchorsOf(text: string): string[] {
  const headings = [...text.replace(/^```[\s\S]*?^```/gm, "").matchAll(/^#+ (.*)$/gm)].map(
    ([, heading = ""]) => heading,
  );
  return headings.map((heading) =>
    heading
      .trim()
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replace(/ /g, "-"),
  );
}

const FOLDERS = "src|explorer|docs|scripts|bench|examples|traces|bin|build";

/** Paths such as `src/x.ts` in code that do not exist. Paths with a `*` or a word in CAPITALS are patterns and are not checked. */
export function missingPaths(repository: Repository): Finding[] {
  return linesOf(repository).flatMap((line) =>
    codeIn(line).flatMap((code) =>
      [...code.matchAll(new RegExp(`(?<![\\w/.-])(?:\\.\\/)?((?:${FOLDERS})\\/[\\w./*{},-]*)`, "g"))]
        .map(([, path = ""]) => path.replace(/[.,]$/, ""))
        .filter((path) => !/\*|\{|\b[A-Z]{3,}\b/.test(path) && repository.read(sourceOf(path)) === undefined)
        .map((path) => findingAt(line, `names ${path}, which is not there`)),
    ),
  );
}

/** The source of a path below build/. */
function sourceOf(path: string): string {
  if (path.startsWith("build/reference/")) return "scripts/reference.ts";
  return path.startsWith("build/") ? path.slice("build/".length).replace(/\.js$/, ".ts") : path;
}

/** Commands that do not exist: npm scripts, verbs of the command line, and their options. */
export function unknownCommands(repository: Repository): Finding[] {
  return linesOf(repository).flatMap((line) =>
    codeIn(line).flatMap((code) =>
      code.split(/ && |; /).flatMap((command) => {
        const objection = objectionToCommand(repository, command.trim().replace(/^\$ /, ""));
        return objection === undefined ? [] : [findingAt(line, objection)];
      }),
    ),
  );
}

const OF_NPM = ["ci", "install", "pack", "start", "test", "run"];

function objectionToCommand({ scripts, help }: Repository, command: string): string | undefined {
  const [program, ...words] = command.split(/\s+/);
  if (program === "npm") return objectionToNpm(scripts, help, words);
  const args =
    program === "iova" ? words : program === "node" && words[0] === "bin/iova.js" ? words.slice(1) : undefined;
  const verb = args?.[0];
  if (args === undefined || verb === undefined || /^(-|[A-Z]+$)/.test(verb)) return undefined;
  return help.has(verb) ? unknownOption(help, verb, args.slice(1)) : `the command line has no verb ${verb}`;
}

function objectionToNpm(
  scripts: readonly string[],
  help: Repository["help"],
  words: readonly string[],
): string | undefined {
  const end = words.includes("--") ? words.indexOf("--") : words.length;
  const [verb = "", named = ""] = words.slice(0, end).filter((word) => !word.startsWith("-"));
  if (!OF_NPM.includes(verb)) return `npm has no ${verb}`;
  const script = verb === "run" ? named : verb;
  const isOurs = verb === "run" || verb === "start" || verb === "test";
  if (isOurs && !scripts.includes(script)) return `package.json has no script ${script}`;
  const helped = script === "start" ? "replay" : script;
  return help.has(helped) ? unknownOption(help, helped, words.slice(end)) : undefined;
}

function unknownOption(help: Repository["help"], verb: string, words: readonly string[]): string | undefined {
  const options: readonly string[] = help.get(verb)?.match(/--[a-z][\w-]*/g) ?? [];
  const unknown = words
    .map((word) => word.replace(/=.*/, ""))
    .find((word) => /^--[a-z]/.test(word) && !options.includes(word));
  return unknown === undefined ? undefined : `${verb} has no option ${unknown}`;
}

/** The code in a line: in a code block, the command (after `$ ` if there is output too); elsewhere, the texts between backticks. */
function codeIn({ text, code }: Line): string[] {
  if (code === "sh" || (code === "console" && text.startsWith("$ "))) return [text];
  return code === undefined ? [...text.matchAll(/`([^`]+)`/g)].map(([, inline = ""]) => inline) : [];
}

function linesOf({ documents }: Repository): Line[] {
  return [...documents].flatMap(([path, text]) => {
    let code: string | undefined;
    return text.split("\n").map((line, index) => {
      const fence = /^```(\w*)/.exec(line);
      if (fence !== null) code = code === undefined ? (fence[1] ?? "") : undefined;
      return { path, number: index + 1, text: line, code: fence === null ? code : "" };
    });
  });
}

function findingAt({ path, number }: Line, what: string): Finding {
  return { where: `${path}:${number}`, what };
}
