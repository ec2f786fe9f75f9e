/**
 * No array without a bound is spread into a call: a call takes some 125,000 arguments at most, and beyond that it throws RangeError. A
 * recovery of 150,000 ranges once did that, and left its lock held (review of 2026-11-30, "a bug found on the way").
 */
import ts from "typescript";
import { type Finding, findingAt, isTest, parse, type Tree, walk } from "./tree.ts";

/** Functions of the language that take any number of arguments. */
const VARIADIC = /\.(push|unshift|splice|concat|max|min|hypot|fromCharCode|fromCodePoint|assign|apply)$/;
/** Methods that cut an array to a length that their arguments state. */
const CUT = /^(slice|subarray|splice)$/;
/** Folders that are not checked: their lists are bounded by windows of lines. */
const BOUNDED_FOLDERS = /^src\/(log|explain)\//;

/** Calls such as `lines.push(...found)` and `Math.max(...widths)`. Array literals, and what is cut to a stated length, are let pass. */
export function unboundedSpread(tree: Tree): Finding[] {
  const findings: Finding[] = [];
  for (const file of parse(tree)) {
    if (!file.fileName.startsWith("src/") || isTest(file.fileName) || BOUNDED_FOLDERS.test(file.fileName)) continue;
    walk(file, (node) => {
      if (!ts.isCallExpression(node) || !VARIADIC.test(node.expression.getText(file))) return;
      if (node.arguments.some(isUnbounded)) {
        findings.push(
          findingAt(file, node, "an array without a bound is spread into a call: use a loop (units/lists.ts)"),
        );
      }
    });
  }
  return findings;
}

function isUnbounded(argument: ts.Expression): boolean {
  if (!ts.isSpreadElement(argument)) return false;
  const { expression } = argument;
  if (ts.isArrayLiteralExpression(expression)) return expression.elements.some(isUnbounded);
  const isCut = ts.isCallExpression(expression) && ts.isPropertyAccessExpression(expression.expression);
  return !(isCut && CUT.test(expression.expression.name.text) && expression.arguments.length === 2);
}
