/** Exported names use the field's terms, spelt out: readers who know IOMMUs find them, others can look them up. */
import ts from "typescript";
import { type Finding, findingAt, isTest, parse, type Tree, walk } from "./tree.ts";

/** Words that exported names must not contain, with their replacements. */
const INSTEAD: Readonly<Record<string, string>> = {
  addr: "address",
  arr: "array, or what is in it",
  buf: "buffer",
  cb: "callback",
  cfg: "options",
  cnt: "count",
  ctx: "context",
  cur: "current",
  demap: "invalidate",
  dev: "device",
  elem: "element",
  fn: "function, or what it does",
  helper: "what it does",
  helpers: "what they do",
  idx: "index",
  impl: "what it is",
  len: "length",
  mem: "memory",
  mgr: "what it manages",
  misc: "what it is",
  msg: "message",
  nr: "count",
  npages: "pages",
  num: "count",
  obj: "what it is",
  opts: "options",
  pfn: "page",
  phys: "physical",
  pos: "position",
  prev: "previous",
  pte: "entry, IOPTE or TCE",
  ptr: "pointer, or what it points to",
  ret: "result",
  stats: "statistics",
  str: "text",
  sz: "size",
  tbl: "table",
  tlb: "IOTLB",
  tmp: "what it is",
  util: "what it does",
  utils: "what they do",
  val: "value",
  virt: "virtual",
};

/** Exported names, and public members of exported classes and interfaces, with a word that has a better one. */
export function exportedNames(tree: Tree): Finding[] {
  const findings: Finding[] = [];
  for (const file of parse(tree)) {
    if (!file.fileName.startsWith("src/") || isTest(file.fileName)) continue;
    for (const name of namesExportedBy(file)) {
      for (const word of wordsOf(name.text)) {
        const instead = Object.hasOwn(INSTEAD, word) ? INSTEAD[word] : undefined;
        if (instead !== undefined) findings.push(findingAt(file, name, `${name.text}: not "${word}" but ${instead}`));
      }
    }
  }
  return findings;
}

/** `IOTLBSize` is iotlb, size; `PAGE_SHIFT2` is page, shift. */
function wordsOf(name: string): string[] {
  return name
    .replace(/([a-z])([A-Z])/g, "$1 $2")
    .replace(/([A-Z])([A-Z][a-z])/g, "$1 $2")
    .split(/[^A-Za-z]+/)
    .map((word) => word.toLowerCase());
}

function namesExportedBy(file: ts.SourceFile): ts.Identifier[] {
  const names: ts.Identifier[] = [];
  for (const statement of file.statements) {
    if (ts.isExportDeclaration(statement)) {
      const { exportClause } = statement;
      if (exportClause !== undefined && ts.isNamedExports(exportClause)) {
        for (const { name } of exportClause.elements) if (ts.isIdentifier(name)) names.push(name);
      }
    } else if (isExported(statement)) {
      names.push(...declaredNames(statement));
    }
  }
  return names;
}

function isExported(statement: ts.Statement): boolean {
  const modifiers = ts.canHaveModifiers(statement) ? ts.getModifiers(statement) : undefined;
  return modifiers?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword) ?? false;
}

/** The names that an exported statement declares, with those of public members. */
function declaredNames(statement: ts.Statement): ts.Identifier[] {
  const names: ts.Identifier[] = [];
  const add = (name: ts.Node | undefined) => {
    if (name !== undefined && ts.isIdentifier(name)) names.push(name);
  };
  if (ts.isVariableStatement(statement)) {
    for (const { name } of statement.declarationList.declarations) add(name);
  } else if (ts.isFunctionDeclaration(statement)) {
    add(statement.name);
  } else if (ts.isClassDeclaration(statement)) {
    add(statement.name);
    for (const member of statement.members) add(member.name);
  } else if (ts.isInterfaceDeclaration(statement) || ts.isTypeAliasDeclaration(statement)) {
    add(statement.name);
    walk(statement, (node) => {
      if (ts.isTypeElement(node)) add(node.name);
    });
  }
  return names;
}
