/**
 * `iova completion SHELL`: a script that makes the shell complete verbs, options, their words, and files.
 *
 *     $ source <(iova completion bash)
 *     $ iova completion zsh > "${fpath[1]}/_iova"
 *     $ iova completion fish > ~/.config/fish/completions/iova.fish
 *
 * It is made of the definitions that read the arguments, and so knows all of them.
 */
import { reflowed } from "./columns.ts";
import { bashScript } from "./completion-bash.ts";
import { fishScript } from "./completion-fish.ts";
import { grammarOf } from "./completion-grammar.ts";
import { zshScript } from "./completion-zsh.ts";
import { oneOf } from "./options.ts";
import type { Terminal } from "./terminal.ts";
import { Argument, Command } from "./vendor.ts";

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript } as const;
type Shell = keyof typeof SCRIPTS;
const SHELLS = Object.keys(SCRIPTS) as Shell[];

const MANUAL = `
Load it in this shell, or put the line into the shell's start file:
  $ source <(iova completion bash)      # ~/.bashrc
  $ source <(iova completion zsh)       # ~/.zshrc, after compinit
  $ iova completion fish | source       # ~/.config/fish/config.fish`;

/** The verb; it completes what `program` knows when it runs. */
export function completionCommand(program: Command, terminal: Terminal): Command {
  return new Command("completion")
    .summary("print a script that completes verbs and options in a shell")
    .description("Prints a script that makes a shell complete verbs, options, their words, and files.")
    .addArgument(new Argument("<SHELL>", SHELLS.join(", ")).argParser(oneOf(SHELLS)))
    .addHelpText("after", () => reflowed(MANUAL, terminal.width))
    .action((shell: Shell) => terminal.out(SCRIPTS[shell](grammarOf(program))));
}
