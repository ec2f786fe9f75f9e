/**
 * What `npm test` runs, and in which order: first the fast tests side by side, then the slow ones (*.slow.test.ts). `npm run test:exhaustive`
 * runs the rest (*.exhaustive.test.ts): explorations in full depth, a thousand kills, large inputs, whole machines. Of slow and exhaustive tests
 * those that try threads against each other come last, one by one, so that they have the machine to themselves; the others run side by side.
 * The last line printed is `N passed, N failed`.
 *
 *   node scripts/test.js [--fast | --exhaustive] [FILTER ...]
 *
 * --fast leaves out the slow tests. With FILTERs, only test files run whose path contains one of them.
 * Exit code: 0 all passed, 1 a test failed (with CI=true a skipped one too) or none ran, 2 wrong use or no build.
 */
import { readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, sep } from "node:path";
import { ROOT } from "./root.ts";
import { type Phase, runTests } from "./runner.ts";

/** A test file that takes longer hangs, even on a slow machine. */
const LIMIT_MINUTES = { fast: 5, slow: 30 };
const OPTIONS = ["--fast", "--exhaustive"];

/** Tests in which threads race, wait for each other, or are killed: a busy machine would show them other orders, and fewer. */
const OF_THREADS =
  /(^|\/)(guest|invalidation|kills|platform|pooled-allocator|process|reclaim|replay|stress|threads)\.(slow|exhaustive)\.test\.js$|replay\/runner\./;

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
  const build = join(ROOT, "build");
  const phases = phasesOf(testFiles(build, filters), options[0]);
  if (phases.every((phase) => phase.files.length === 0)) {
    const kind = options[0] === undefined ? "" : ` with ${options[0]}`;
    console.error(`iova: no test file matches ${filters.join(" ") || "build/**/*.test.js"}${kind}`);
  }
  return await runTests(build, phases, { skipsFail: process.env["CI"] === "true" });
}

/** What runs after what, of these files. @param option - `--fast`, `--exhaustive` or none */
export function phasesOf(files: readonly string[], option: string | undefined): Phase[] {
  const isExhaustive = (file: string) => file.endsWith(".exhaustive.test.js");
  const isSlow = (file: string) => file.endsWith(".slow.test.js");
  const fast = option === "--exhaustive" ? [] : files.filter((file) => !isSlow(file) && !isExhaustive(file));
  const long = option === "--fast" ? [] : files.filter(option === "--exhaustive" ? isExhaustive : isSlow);
  const ofThreads = long.filter((file) => OF_THREADS.test(file));
  const others = long.filter((file) => !OF_THREADS.test(file));
  return [
    { files: fast, atOnce: availableParallelism(), limitMinutes: LIMIT_MINUTES.fast, announce: false },
    { files: others, atOnce: availableParallelism(), limitMinutes: LIMIT_MINUTES.slow, announce: true },
    { files: ofThreads, atOnce: 1, limitMinutes: LIMIT_MINUTES.slow, announce: true },
  ];
}

/** The compiled test files whose path contains one of `filters` (all, without filters). */
function testFiles(build: string, filters: readonly string[]): string[] {
  const wanted = filters.map((filter) => filter.replace(/^(\.\/)?(build\/)?/, "").replace(/\.ts$/, ".js"));
  return readdirSync(build, { recursive: true, encoding: "utf8" })
    .map((path) => path.split(sep).join("/"))
    .filter((path) => path.endsWith(".test.js"))
    .filter((path) => wanted.length === 0 || wanted.some((filter) => path.includes(filter)))
    .sort()
    .map((path) => join(build, path));
}
