/**
 * The order of the folders under src: each imports only from those before it, so that a reader can begin at the top and
 * knows everything that a file uses. The package has no dependencies: only the module that the build bundles imports
 * other packages.
 */
import { posix } from "node:path";
import ts from "typescript";
import { type Finding, findingAt, isTest, parse, type Tree, walk } from "./tree.ts";

/** Each folder imports only from those before it, and from itself. */
const ORDER: readonly string[] = [
  "units",
  "shared",
  "crew",
  "allocator",
  "machine",
  "table",
  "memory",
  "formats",
  "dma",
  "pinned",
  "platforms",
  "containers",
  "machines",
  "devices",
  "rivals",
  "log",
  "trace",
  "explain",
  "statistics",
  "capture",
  "replay",
  "page",
  "cli",
  "testing",
];
/** The only module that imports packages: the build puts their code in its place. */
const VENDOR = "src/cli/vendor.ts";

/** Imports against the order, of packages, of tests, and of files that are not there. */
export function importOrder(tree: Tree): Finding[] {
  const findings: Finding[] = [];
  for (const file of parse(tree)) {
    const path = file.fileName;
    if (!path.startsWith("src/") || isTest(path)) continue;
    const folder = folderOf(path);
    if (folder !== undefined && !ORDER.includes(folder)) {
      findings.push(findingAt(file, file, `folder src/${folder} has no place in the order of imports`));
    }
    for (const { node, module } of importsOf(file)) {
      const objection = objectionTo(tree, path, module);
      if (objection !== undefined) findings.push(findingAt(file, node, objection));
    }
  }
  return findings;
}

function objectionTo(tree: Tree, path: string, module: string): string | undefined {
  if (module.startsWith("node:")) return undefined;
  if (!module.startsWith(".")) {
    return path === VENDOR ? undefined : `imports the package ${module}: users don't have it; only ${VENDOR} may`;
  }
  const target = posix.join(posix.dirname(path), module);
  if (!tree.has(target)) return `imports ${target}, which is not there`;
  if (!target.startsWith("src/")) return `imports ${target}, which is not part of the package`;
  if (isTest(target) && folderOf(path) !== "testing") return `imports ${target}: only tests and src/testing may`;
  const [from, to] = [folderOf(path), folderOf(target)];
  // The files directly under src are the entries of the package: they gather from everywhere.
  if (from === undefined) return undefined;
  if (to === undefined) return `imports ${target}, which only gathers from the folders`;
  return ORDER.indexOf(to) > ORDER.indexOf(from) ? `src/${from} imports from src/${to}, which comes later` : undefined;
}

/** `units` of `src/units/numbers.ts`; undefined for files directly under src, and outside of it. */
function folderOf(path: string): string | undefined {
  return /^src\/([^/]+)\//.exec(path)?.[1];
}

/** All modules that a file names: imports, re-exports, imports at run time, and workers by URL (as their source). */
function importsOf(file: ts.SourceFile): { node: ts.Node; module: string }[] {
  const imports: { node: ts.Node; module: string }[] = [];
  walk(file, (node) => {
    if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier !== undefined) {
      imports.push({ node, module: (node.moduleSpecifier as ts.StringLiteral).text });
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [module] = node.arguments;
      if (module !== undefined && ts.isStringLiteralLike(module)) imports.push({ node, module: module.text });
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      imports.push({ node, module: (node.argument.literal as ts.StringLiteral).text });
    } else if (ts.isNewExpression(node) && node.expression.getText(file) === "URL") {
      const [module, base] = node.arguments ?? [];
      if (module === undefined || !ts.isStringLiteralLike(module) || base?.getText(file) !== "import.meta.url") return;
      if (module.text.endsWith(".js")) imports.push({ node, module: module.text.replace(/\.js$/, ".ts") });
    }
  });
  return imports;
}
