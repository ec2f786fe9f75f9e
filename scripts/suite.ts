/**
 * The order of `npm test`: first the fast tests, the files of a folder in one process, then the slow ones
 * (*.slow.test.ts), each in a process of its own. `npm run test:exhaustive` runs the rest (*.exhaustive.test.ts): explorations in full depth,
 * a thousand kills, large inputs, whole machines. Processes run side by side, one for each core. Slow and exhaustive tests that try threads
 * against each other come last, one by one, so that they have the machine to themselves.
 * The last line printed is `N passed, N failed`.
 *
 *   node scripts/test.js [--fast | --exhaustive] [FILTER ...]
 *
 * --fast leaves out the slow tests. With FILTERs, only test files run whose path contains one of them.
 * Exit code: 0 all passed, 1 a test failed (with CI=true a skipped one too) or none ran, 2 wrong use or no build.
 */
import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, sep } from "node:path";
import { ROOT } from "./root.ts";
import { type Phase, runTests } from "./runner.ts";

const BUILD = join(ROOT, "build");

/** A test file that takes longer hangs, even on a slow machine. */
const LIMIT_MINUTES = { fast: 5, slow: 30 };
const OPTIONS = ["--fast", "--exhaustive"];

/** Tests in which threads race, wait for each other, or are killed. On a busy machine they would see fewer orders of their threads. */
const OF_THREADS =
  /(^|\/)(guest|invalidation|kills|platform|reclaim|stress|threads)\.(slow|exhaustive)\.test\.js$|replay\/runner\./;

/**
 * Signs in the text of a fast test file that it needs its own process: it starts programs or threads, touches the process or its
 * globals, or has hooks outside of any group, which would run around the tests of other files too. Reading the seed from the
 * environment is allowed.
 */
const NEEDS_OWN_PROCESS =
  /"node:(child_process|worker_threads)"|\bprocess\.(?!env\["SEED"\])|\bglobalThis\b|\bmock\b|^(before|beforeEach|afterEach)\(/m;

export async function main(args: readonly string[]): Promise<number> {
  const options = args.filter((arg) => arg.startsWith("-"));
  const unknown = options.find((option) => !OPTIONS.includes(option));
  if (unknown !== undefined || options.length > 1) {
    const found = unknown === undefined ? `${options.join(" and ")} together` : `unknown option ${unknown}`;
    console.error(`iova: ${found}; usage: node scripts/test.js [--fast | --exhaustive] [FILTER ...]`);
    console.log("0 passed, 1 failed");
    return 2;
  }
  const filters = args.filter((arg) => !arg.startsWith("-"));
  const phases = phasesOf(testFiles(filters), options[0]);
  if (phases.every((phase) => phase.processes.length === 0)) {
    const kind = options[0] === undefined ? "" : ` with ${options[0]}`;
    console.error(`iova: no test file matches ${filters.join(" ") || "build/**/*.test.js"}${kind}`);
  }
  return await runTests(BUILD, phases, { skipsFail: process.env["CI"] === "true" });
}

/**
 * The phases of a run, in order.
 *
 * @param files - paths from build
 * @param option - `--fast`, `--exhaustive` or none
 * @param shares - whether a fast file may run in one process with others
 */
export function phasesOf(
  files: readonly string[],
  option: string | undefined,
  shares: (file: string) => boolean = sharesProcess,
): Phase[] {
  const isExhaustive = (file: string) => file.endsWith(".exhaustive.test.js");
  const isSlow = (file: string) => file.endsWith(".slow.test.js");
  const fast = option === "--exhaustive" ? [] : files.filter((file) => !isSlow(file) && !isExhaustive(file));
  const long = option === "--fast" ? [] : files.filter(option === "--exhaustive" ? isExhaustive : isSlow);
  const ofThreads = long.filter((file) => OF_THREADS.test(file));
  const others = long.filter((file) => !OF_THREADS.test(file));
  const alone = (file: string) => [file];
  return [
    {
      processes: processesOf(fast, shares),
      atOnce: availableParallelism(),
      limitMinutes: LIMIT_MINUTES.fast,
      announce: false,
    },
    { processes: others.map(alone), atOnce: availableParallelism(), limitMinutes: LIMIT_MINUTES.slow, announce: true },
    { processes: ofThreads.map(alone), atOnce: 1, limitMinutes: LIMIT_MINUTES.slow, announce: true },
  ];
}

function sharesProcess(file: string): boolean {
  return !NEEDS_OWN_PROCESS.test(readFileSync(join(BUILD, file), "utf8"));
}

/** One process for each folder of src and each other folder, the largest first, then one for each file that does not share a process. */
function processesOf(files: readonly string[], shares: (file: string) => boolean): string[][] {
  const folders = new Map<string, string[]>();
  for (const file of files) {
    const folder = /^(src\/)?[^/]+\//.exec(file)?.[0] ?? "";
    const key = shares(file) ? folder : file;
    folders.set(key, [...(folders.get(key) ?? []), file]);
  }
  return [...folders.values()].sort((a, b) => b.length - a.length);
}

/** The compiled test files whose path contains one of `filters` (all, without filters): paths from build. */
function testFiles(filters: readonly string[]): string[] {
  const wanted = filters.map((filter) => filter.replace(/^(\.\/)?(build\/)?/, "").replace(/\.ts$/, ".js"));
  return readdirSync(BUILD, { recursive: true, encoding: "utf8" })
    .map((path) => path.split(sep).join("/"))
    .filter((path) => path.endsWith(".test.js"))
    .filter((path) => wanted.length === 0 || wanted.some((filter) => path.includes(filter)))
    .sort();
}
