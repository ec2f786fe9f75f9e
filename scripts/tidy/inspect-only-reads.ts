/**
 * Code that inspects an allocator only reads. Reports, leaks and snapshots are taken while other threads work, without their locks; a store
 * from there would race with the owner of the word.
 */
import ts from "typescript";
import { type Finding, findingAt, isTest, parse, type Tree, walk } from "./tree.ts";

const FOLDER = "src/allocator/inspect/";
/** The functions of src/shared/memory.ts that may be used there. */
const READS: ReadonlySet<string> = new Set(["glance", "glanceHalf", "load", "SharedHalves", "SharedWords"]);

/** Imports from src/shared/memory.ts that are not reads. */
export function inspectOnlyReads(tree: Tree): Finding[] {
  const findings: Finding[] = [];
  for (const file of parse(tree)) {
    if (!file.fileName.startsWith(FOLDER) || isTest(file.fileName)) continue;
    walk(file, (node) => {
      if (!ts.isImportDeclaration(node) || !node.moduleSpecifier.getText(file).includes("shared/memory.ts")) return;
      const bindings = node.importClause?.namedBindings;
      const names = bindings !== undefined && ts.isNamedImports(bindings) ? bindings.elements : undefined;
      const writes = names === undefined || names.some(({ name }) => !READS.has(name.text));
      if (writes) findings.push(findingAt(file, node, `${FOLDER} only reads: ${[...READS].join(", ")}`));
    });
  }
  return findings;
}
