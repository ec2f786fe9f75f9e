/**
 * Errors of standard output. A closed pipe is not an error: the reader has all that it wanted. Anything else, a
 * full disk for one, ends the command with one line on standard error and exit code 3: exit code 1 would claim bad news about
 * what was looked at.
 */
import { messageOfSystem } from "./system-errors.ts";

const FAILED = 3;

/** Watches the process's own output streams, once. `label` opens the line on standard error. */
export function watchOutputs(label: () => string): { readonly outliveReader: () => void } {
  let endsWithReader = true;
  // A message that can't be shown changes nothing about the result: the exit code still tells it.
  process.stderr.on("error", () => {});
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") {
      if (endsWithReader) process.exit(0);
      return;
    }
    process.stderr.write(`${label()} standard output: ${messageOfSystem(error)}\n`);
    process.exit(FAILED);
  });
  return {
    outliveReader: () => {
      endsWithReader = false;
    },
  };
}
