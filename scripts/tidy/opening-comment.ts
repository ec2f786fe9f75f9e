/** Each source file opens with a comment that says what it is for. Tests need none: they lie beside their subject. */
import type { Finding, Tree } from "./tree.ts";

/** Files whose first lines, after a `#!` line, are no comment of at least four words. */
export function openingComment(tree: Tree): Finding[] {
  const findings: Finding[] = [];
  for (const [path, text] of tree) {
    if (path.endsWith(".test.ts")) continue;
    const comment = /^(?:#![^\n]*\n)?\s*(\/\*[\s\S]*?\*\/|(?:\/\/[^\n]*\n)+)/.exec(text)?.[1] ?? "";
    const words = comment.match(/[A-Za-z`][\w`.'-]*/g)?.length ?? 0;
    if (words < 4) findings.push({ path, line: 1, message: "opens with no comment that says what the file is for" });
  }
  return findings;
}
