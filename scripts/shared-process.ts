/**
 * Test files that run in one process, one after the other. A process costs up to a second before its first test begins: to start, to load
 * the modules and to compile them. Files of one folder load mostly the same modules.
 *
 * The runner (scripts/runner.ts) writes a small module that calls `runInTurn`, and has node:test run that module.
 */
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { isDeepStrictEqual } from "node:util";

/** The name of a test that stands after those of each file, so that the runner knows whose tests they were. */
export const END_OF_FILE = "the end of the file";

/** Runs the tests of `files` (absolute paths) in this process. */
export async function runInTurn(files: readonly string[]): Promise<void> {
  for (const file of files) {
    const before = processState();
    try {
      await import(pathToFileURL(file).href);
    } catch (error) {
      test("(the file)", () => {
        throw error;
      });
    }
    // Tests run in the order of their definition: this one when those of the file have ended.
    await test(END_OF_FILE, () => {
      if (files.length > 1) assertUnchanged(before, processState());
    });
    // Lets node:test write its report of this file before the next one prints.
    await setImmediate();
  }
}

/** State of the process that a file must not change: tests of other files run after it in the same process. */
function processState(): Record<string, unknown> {
  return {
    "the working directory": process.cwd(),
    "the environment": { ...process.env },
    "the global names": Object.getOwnPropertyNames(globalThis).sort(),
  };
}

function assertUnchanged(before: Record<string, unknown>, after: Record<string, unknown>): void {
  const changed = Object.keys(before).filter((what) => !isDeepStrictEqual(before[what], after[what]));
  if (changed.length > 0) throw new Error(`the tests of this file have changed ${changed.join(", ")}`);
}
