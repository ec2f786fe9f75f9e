/** Input and findings of the tidy rules. Rules are functions of a tree of sources, so that a test can plant violations. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, sep } from "node:path";
import ts from "typescript";

/** Texts by path; paths are relative to the clone, with slashes. */
export type Tree = ReadonlyMap<string, string>;

/** A violation of a rule. */
export interface Finding {
  readonly path: string;
  /** From 1 on. */
  readonly line: number;
  readonly message: string;
}

const FOLDERS = ["src", "explorer", "bench", "examples", "scripts", "bin"];

export function readTree(root: string): Tree {
  const tree = new Map<string, string>();
  for (const folder of FOLDERS.filter((name) => existsSync(join(root, name)))) {
    for (const entry of readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })) {
      if (!/\.(ts|js)$/.test(entry)) continue;
      tree.set([folder, ...entry.split(sep)].join("/"), readFileSync(join(root, folder, entry), "utf8"));
    }
  }
  return tree;
}

/** True for tests, their workers and models, which are beside their subject: most rules do not apply to them. */
export function isTest(path: string): boolean {
  return /\.(test|model|test\.worker)\.ts$/.test(path);
}

/** Cache of parsed trees, since each rule reads the whole clone. */
const parsed = new WeakMap<Tree, readonly ts.SourceFile[]>();

/** The files of a tree as syntax. */
export function parse(tree: Tree): readonly ts.SourceFile[] {
  const known = parsed.get(tree);
  if (known !== undefined) return known;
  const files = [...tree].map(([path, text]) => ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true));
  parsed.set(tree, files);
  return files;
}

export function findingAt(file: ts.SourceFile, node: ts.Node, message: string): Finding {
  const { line } = file.getLineAndCharacterOfPosition(node.getStart(file));
  return { path: file.fileName, line: line + 1, message };
}

/** Calls `visit` with `node` and all nodes inside it. */
export function walk(node: ts.Node, visit: (node: ts.Node) => void): void {
  visit(node);
  ts.forEachChild(node, (child) => walk(child, visit));
}
