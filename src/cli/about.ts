/** `iova version` and `iova help [VERB]`: the same as `--version` and `--help`, for those who expect verbs. */
import { readFileSync } from "node:fs";
import type { Terminal } from "./terminal.ts";
import { Command } from "./vendor.ts";

export function versionCommand(terminal: Terminal): Command {
  return new Command("version")
    .summary("print the version")
    .description("Prints the version of this package.")
    .action(() => {
      terminal.out(`${version()}\n`);
    });
}

/** Verbs are looked up in `program`, which takes this command too. */
export function helpCommand(program: Command): Command {
  return new Command("help")
    .summary("show the help of a verb")
    .description("Shows the verbs, or the options of one of them.")
    .argument("[VERB]", "one verb, in detail")
    .action((verb: string | undefined) => {
      if (verb === undefined) program.help();
      const found = program.commands.find((command) => command.name() === verb);
      if (found === undefined) program.error(`error: unknown command '${verb}'`);
      found.help();
    });
}

export function version(): string {
  const file = new URL("../../../package.json", import.meta.url);
  const { version } = JSON.parse(readFileSync(file, "utf8")) as { version: string };
  return version;
}
