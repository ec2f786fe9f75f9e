/**
 * docs/explain.md, made from the code: the rules of `iova explain`, each with its example, and the message shapes that it reads. Run it after a
 * change of either: `node build/scripts/explain-page.js` writes the page; a test holds the page against the code.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Kind, VERDICTS } from "../src/explain/contract.ts";
import { RULES } from "../src/explain/rules/index.ts";
import type { Rule } from "../src/explain/rules/rule.ts";
import { meaningOf, nextStepOf } from "../src/explain/words.ts";
import { FAMILIES } from "../src/log/families/index.ts";
import { ROOT } from "./root.ts";

export const EXPLAIN_PAGE = "docs/explain.md";

const OPENING = `# How \`iova explain\` reasons

<!-- Made by scripts/explain-page.ts from the code; change the rules and shapes there. -->

A log's lines become *facts*, facts of one requester and one class of reason become a *group*, rules draw *conclusions* from a group and from what
else the input says, and a decision makes one *finding* of them:

- One **certain** conclusion decides. It follows from the lines that are shown.
- Else one **strong** conclusion leads, and its rivals are named.
- Else the finding is **undecided**: the candidates are ranked, and the commands that decide are printed.

An excluded verdict is never named as a candidate. \`iova explain --json\` prints the whole answer; its types are exported from \`iova/explain\`, and
[explain.schema.json](explain.schema.json) describes it for other languages. With a trace, proofs from the life of the mapping take the place of the
hints of a log.
`;

/** The whole page. */
export function explainPage(): string {
  return [OPENING, verdicts(), rules(), shapes()].join("\n");
}

function verdicts(): string {
  const rows = Object.entries(VERDICTS).flatMap(([kind, names]) =>
    names.map(
      (verdict, at) =>
        `| ${at === 0 ? `\`${kind}\`` : ""} | \`${verdict}\` | ${meaningOf(kind as Kind, verdict)} | ${nextStepOf(kind as Kind, verdict)} |`,
    ),
  );
  return `## Kinds of findings, and their verdicts\n\n| kind | verdict | meaning | what to do next |\n| --- | --- | --- | --- |\n${rows.join("\n")}\n`;
}

function rules(): string {
  return `## Rules\n\n${RULES.map(ruleSection).join("\n")}`;
}

function ruleSection(rule: Rule): string {
  const kinds = rule.kinds.map((kind) => `\`${kind}\``).join(", ");
  return [
    `### ${rule.name}`,
    "",
    rule.title,
    "",
    `- **For** ${kinds}`,
    `- **Needs** ${rule.needs}`,
    `- **Concludes** ${rule.concludes} (${rule.safety})`,
    `- **Excluded by** ${rule.excludedBy}`,
    "",
    "```text",
    rule.example,
    "```",
    "",
  ].join("\n");
}

function shapes(): string {
  const families = FAMILIES.map(({ name, about, shapes: all }) => {
    const rows = all.map((shape) => `| \`${shape.name}\` | ${cell(shape.kernels)} | ${cell(fieldsOf(shape.fields))} |`);
    return `### ${name}\n\n${about[0]?.toUpperCase()}${about.slice(1)}.\n\n| shape | printed by | fields |\n| --- | --- | --- |\n${rows.join("\n")}\n`;
  });
  return `## Messages that are read\n\n${families.join("\n")}`;
}

function fieldsOf(fields: Readonly<Record<string, { readonly radix: string; readonly unit: string }>>): string {
  return Object.entries(fields)
    .map(([name, { radix, unit }]) => `${name} (${radix === "text" ? unit : `${radix}: ${unit}`})`)
    .join(", ");
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("\n", " ");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(join(ROOT, EXPLAIN_PAGE), explainPage());
