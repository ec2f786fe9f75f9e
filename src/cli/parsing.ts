/**
 * How all verbs read their arguments: text goes through the terminal and is as wide as it is, an error is one line with what was
 * probably meant, and an option stands once.
 */
import type { Terminal } from "./terminal.ts";
import type { Command } from "./vendor.ts";

/** Sets up one command: the program itself, or a verb. */
export function prepare(command: Command, terminal: Terminal): void {
  command.exitOverride().configureOutput({
    writeOut: (text) => terminal.out(text),
    writeErr: (text) => terminal.error(text),
    getOutHelpWidth: () => terminal.width,
    getErrHelpWidth: () => terminal.width,
    outputError: (text, write) => write(`${terminal.paintError("red", "iova:")} ${errorLine(text, command)}\n`),
  });
  // What an option means without its value stands in its description; commander would add `(preset: "-")`.
  const help = command.createHelp();
  command.configureHelp({
    optionDescription: (option) => help.optionDescription(option).replace(/ \(preset: [^)]*\)$/, ""),
  });
  refuseRepeated(command);
}

/** commander's message in one line, with a suggestion and where to read on. */
function errorLine(text: string, command: Command): string {
  const [, message = "", similar] = /^(?:error: )?([\s\S]*?)\s*(?:\n\(Did you mean (.*)\?\))?\s*$/.exec(text) ?? [];
  const meant = beginnings(message, command) ?? similar;
  const names = [command.parent?.name(), command.name()].filter((name) => name !== undefined).join(" ");
  return `${message}${meant === undefined ? "" : ` (did you mean ${meant}?)`} (see: ${names} --help)`;
}

/** commander suggests what differs by a few letters; this, what begins as the word does: --sec for --seconds. */
function beginnings(message: string, command: Command): string | undefined {
  const word = /^unknown (?:option|command) '([^'=]+)/.exec(message)?.[1] ?? "";
  if (!/^(--)?\w/.test(word)) return undefined;
  const known = word.startsWith("-")
    ? command.options.flatMap(({ long }) => (typeof long === "string" ? [long] : []))
    : command.commands.map((verb) => verb.name());
  const meant = known.filter((name) => name.startsWith(word));
  return meant.length === 0 ? undefined : meant.join(" or ");
}

/** Two values for one option: the first would be lost without a word. Options that gather values are variadic. */
function refuseRepeated(command: Command): void {
  for (const option of command.options.filter(({ variadic }) => !variadic)) {
    let given = 0;
    command.on(`option:${option.name()}`, () => {
      given++;
      if (given > 1) command.error(`error: option '${option.flags}' is given twice; expected it once`);
    });
  }
}
