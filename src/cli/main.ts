/**
 * The command line: `iova VERB …`. One file a verb; this one finds the verb and turns what went wrong into a message and an
 * exit code: 0 fine, 1 the answer is bad news, 2 wrong use or bad input, 3 the command itself failed.
 */
import type { ReplayHost } from "../replay/threads.ts";
import { IovaError } from "../units/errors.ts";
import { helpCommand, version, versionCommand } from "./about.ts";
import { captureCommand } from "./capture.ts";
import { completionCommand } from "./completion.ts";
import { explainCommand } from "./explain.ts";
import { nodeHost } from "./host.ts";
import { prepare } from "./parsing.ts";
import { platformsCommand } from "./platforms.ts";
import { replayCommand } from "./replay.ts";
import { statCommand } from "./stat.ts";
import { messageOfSystem } from "./system-errors.ts";
import { processTerminal, type Terminal } from "./terminal.ts";
import { Command } from "./vendor.ts";

const WRONG_USE = 2;
const FAILED = 3;
/** Errors of ours that no other input would have avoided. */
const FAILURES_OF_THE_RUN = ["worker-died", "worker-silent", "invariant", "output-failed", "capture-failed"];

/** Runs one command. `argv`: the arguments, without node and script; the rest is for tests. Returns the exit code. */
export async function main(
  argv: readonly string[],
  terminal: Terminal = processTerminal(),
  host: ReplayHost = nodeHost(),
): Promise<number> {
  let code = 0;
  const program = new Command("iova")
    .description("Explains DMA problems from kernel logs and traces; records, measures and replays what an IOMMU does.")
    .version(version(), "-V, --version")
    .helpCommand(false);
  const finish = (result: number): void => {
    code = result;
  };
  const verbs = [
    explainCommand(terminal, finish),
    captureCommand(terminal),
    statCommand(terminal, finish),
    replayCommand(terminal, host, finish),
    platformsCommand(terminal, finish),
  ];
  const about = [completionCommand(program, terminal), versionCommand(terminal), helpCommand(program)];
  for (const verb of [...verbs, ...about]) program.addCommand(verb);
  for (const command of [program, ...program.commands]) prepare(command, terminal);
  try {
    await program.parseAsync([...argv], { from: "user" });
    return code;
  } catch (error) {
    return report(error, terminal);
  }
}

function report(error: unknown, terminal: Terminal): number {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  // commander has printed its own message already; its help and version are no errors.
  if (code.startsWith("commander.")) {
    return error instanceof Error && "exitCode" in error && error.exitCode === 0 ? 0 : WRONG_USE;
  }
  terminal.error(`${terminal.paintError("red", "iova:")} ${lineOf(error)}\n`);
  return error instanceof IovaError && !FAILURES_OF_THE_RUN.includes(code) ? WRONG_USE : FAILED;
}

/** One line. An error that nothing here throws on purpose is a bug: its line says where it came from. */
function lineOf(error: unknown): string {
  if (!(error instanceof Error)) return `a failure without a message: ${String(error)}`;
  const message = messageOfSystem(error);
  if (error instanceof IovaError) return message;
  if ("syscall" in error) return "path" in error ? `${String(error.path)}: ${message}` : message;
  const place = /^\s*at (.*)$/m.exec(error.stack ?? "")?.[1];
  return `${error.name}: ${message}${place === undefined ? "" : ` (at ${place})`}`;
}
