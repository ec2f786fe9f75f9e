/**
 * docs/manual.md, made from the command line's own help: one section a verb. Run it after a change of a verb, its options or its manual:
 * `node build/scripts/manual-page.js` writes the page; a test holds the page against the code.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { main } from "../src/cli/main.ts";
import { RecordingTerminal } from "../src/cli/terminal.model.ts";
import { ROOT } from "./root.ts";

export const MANUAL_PAGE = "docs/manual.md";

/** Columns of the help. */
const WIDTH = 100;

const OPENING = `# Manual of the command line

<!-- Made by scripts/manual-page.ts from the help of each verb; change it there: src/cli. -->

\`iova VERB --help\` prints the same, set for the width of the terminal.
`;

/** The whole page. */
export async function manualPage(): Promise<string> {
  const help = await helpOf();
  const verbs = [...help.matchAll(/^ {2}([a-z]+) .*? {2,}(.*)$/gm)].map(([, verb = "", summary = ""]) => ({
    verb,
    summary,
  }));
  const index = verbs.map(({ verb, summary }) => `- [\`iova ${verb}\`](#iova-${verb}): ${summary}`).join("\n");
  const sections: string[] = [];
  for (const { verb } of verbs) sections.push(`## iova ${verb}\n\n${fenced(await helpOf(verb))}`);
  return `${[OPENING, `${index}\n`, ...sections].join("\n")}`;
}

async function helpOf(...verb: readonly string[]): Promise<string> {
  const terminal = new RecordingTerminal(WIDTH);
  const code = await main([...verb, "--help"], terminal);
  if (code !== 0) throw new Error(`iova ${verb.join(" ")} --help ended with exit code ${code}: ${terminal.errors}`);
  return terminal.output;
}

function fenced(text: string): string {
  return `\`\`\`text\n${text.trimEnd()}\n\`\`\`\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(join(ROOT, MANUAL_PAGE), await manualPage());
