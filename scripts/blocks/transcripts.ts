/** Transcripts of documents: each command is run in the document's folder, and must print the lines below it. */
import type { Block } from "./blocks.ts";
import type { Playground } from "./playground.ts";
import { differenceOf } from "./shown.ts";

/** Runs the commands of a block. Throws if an output is not the one shown (console), or if a command fails (sh). */
export function runTranscript(playground: Playground, block: Block): void {
  const where = `${block.path}:${block.line}`;
  if (block.language === "sh") {
    const { status, output } = playground.run(block.path, `set -e\n${block.code}`);
    if (status !== 0) throw new Error(`${where} ends with exit code ${status}:\n${output}`);
    return;
  }
  const commands = commandsOf(block);
  // One shell runs all commands, so that `cd` has a lasting effect.
  const script = commands.map(({ command }) => `${command}\nprintf '\\0'`).join("\n");
  const printed = playground.run(block.path, script).output.split("\0");
  for (const [index, { command, shown }] of commands.entries()) {
    const output = printed[index]?.replace(/([^\n])$/, "$1\n") ?? "nothing: the shell has ended\n";
    const difference = differenceOf(shown, output, block.flags.has("measured"));
    if (difference !== undefined) throw new Error(`${where} $ ${command}\n${difference}`);
  }
}

interface Command {
  readonly command: string;
  /** Its output, as the document shows it. */
  readonly shown: string;
}

/** The commands of a transcript. One that ends with a backslash goes on in the next line. */
export function commandsOf({ code, path, line }: Block): Command[] {
  const [before, ...parts] = code.split(/^\$ /m);
  if (before !== "" || parts.length === 0)
    throw new Error(`${path}:${line} is a transcript: expected "$ COMMAND" first`);
  return parts.map((part) => {
    const [command = ""] = /^(?:.*\\\n)*.*/.exec(part) ?? [];
    return { command, shown: part.slice(command.length + 1) };
  });
}
