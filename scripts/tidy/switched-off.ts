/** No test is switched off, or switches the others off. A test that can't run here says why at run time: `t.skip(reason)`. */
import ts from "typescript";
import { type Finding, findingAt, isTest, parse, type Tree, walk } from "./tree.ts";

const SWITCHES: readonly string[] = ["only", "skip", "todo"];
const RUNNERS: readonly string[] = ["test", "it", "describe", "suite"];

/** `test.only(…)`, `describe.skip(…)`, `{ todo: true }` and their variants. */
export function switchedOff(tree: Tree): Finding[] {
  const findings: Finding[] = [];
  for (const file of parse(tree)) {
    if (!isTest(file.fileName)) continue;
    walk(file, (node) => {
      if (!ts.isCallExpression(node)) return;
      const { expression } = node;
      if (ts.isPropertyAccessExpression(expression) && SWITCHES.includes(expression.name.text)) {
        const runner = expression.expression.getText(file);
        if (RUNNERS.includes(runner)) findings.push(findingAt(file, node, `${runner}.${expression.name.text}`));
      } else if (RUNNERS.includes(expression.getText(file).replace(/^.*\./, ""))) {
        findings.push(...constantSwitches(file, node));
      }
    });
  }
  return findings;
}

/** `{ skip: true }` and `{ skip: "why" }`; an expression may hold a reason found at run time. */
function constantSwitches(file: ts.SourceFile, call: ts.CallExpression): Finding[] {
  const options = call.arguments.find((argument) => ts.isObjectLiteralExpression(argument));
  const properties = options?.properties.filter((property) => ts.isPropertyAssignment(property)) ?? [];
  return properties
    .filter(({ name, initializer }) => SWITCHES.includes(name.getText(file)) && isConstant(initializer))
    .map((property) => findingAt(file, property, property.getText(file)));
}

function isConstant(value: ts.Expression): boolean {
  return value.kind === ts.SyntaxKind.TrueKeyword || ts.isStringLiteralLike(value);
}
