/**
 * How all verbs read their arguments: text goes through the terminal and is wrapped at its width, an error is one line with what was
 * probably meant, and an option stands once.
 */
import { STANDARD_OUTPUT, writesFile } from "./output-file.ts";
import { similar } from "./suggest.ts";
import type { Terminal } from "./terminal.ts";
import type { Command } from "./vendor.ts";

/** Sets up one command: the program itself, or a verb. */
export function prepare(command: Command, terminal: Terminal): void {
  command
    .exitOverride()
    .showSuggestionAfterError(false)
    .configureOutput({
      writeOut: (text) => terminal.out(text),
      writeErr: (text) => terminal.error(text),
      getOutHelpWidth: () => terminal.width,
      getErrHelpWidth: () => terminal.width,
      outputError: (text, write) => write(`${terminal.paintError("red", "iova:")} ${errorLine(text, command)}\n`),
    });
  // The description says what an option without its value means; commander would add `(preset: "-")`.
  const help = command.createHelp();
  command.configureHelp({
    optionDescription: (option) => help.optionDescription(option).replace(/ \(preset: [^)]*\)$/, ""),
  });
  refuseRepeated(command);
  for (const option of command.options.filter(writesFile)) {
    command.on(`option:${option.name()}`, (path: string | null) => {
      if (path !== null && path !== STANDARD_OUTPUT) terminal.outliveReader();
    });
  }
}

/** commander's message in one line, with what was probably meant and where to read on. */
function errorLine(text: string, command: Command): string {
  const message = text.replace(/^error: /, "").trim();
  const names = [command.parent?.name(), command.name()].filter((name) => name !== undefined).join(" ");
  return `${message}${suggestion(message, command)} (see: ${names} --help)`;
}

function suggestion(message: string, command: Command): string {
  const word = /^unknown (?:option|command) '([^'=]+)/.exec(message)?.[1];
  if (word === undefined) return "";
  const known = word.startsWith("-")
    ? [...command.options.map(({ long }) => long ?? ""), "--help"]
    : command.commands.map((verb) => verb.name());
  const meant = similar(word, known);
  return meant.length === 0 ? "" : ` (did you mean ${meant.join(" or ")}?)`;
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
