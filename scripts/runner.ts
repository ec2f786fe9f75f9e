/**
 * Runs test files, one or several in a process, and prints a line for each file, failures in full, and the output of the
 * tests.
 */
import { dirname } from "node:path";
import { nameOf, runFiles } from "./process-run.ts";
import { countsLine, emptyReport, fail, failSkipped, type Report, reportText, summaryText } from "./report.ts";

/** Processes that run in parallel, with the files of each. */
export interface Phase {
  /** For each process the test files that it runs, one after the other: paths from the root of the run, with slashes. */
  readonly processes: readonly (readonly string[])[];
  /** Number of processes that run in parallel. */
  readonly atOnce: number;
  /** A process that takes longer is ended, and has failed. */
  readonly limitMinutes: number;
  /** True: a line is printed when a file begins. */
  readonly announce: boolean;
}

/**
 * Runs `phases` one after the other; `root` is the folder of the test files. The last line printed is
 * `N passed, N failed`, with `, N skipped` when some were. Returns the exit code: 1 when a test failed, when none ran, or,
 * with `skipsFail`, when one was skipped.
 */
export async function runTests(
  root: string,
  phases: readonly Phase[],
  options: { readonly skipsFail: boolean },
): Promise<number> {
  // Children inherit it: stacks then name the TypeScript lines.
  process.env["NODE_OPTIONS"] = `${process.env["NODE_OPTIONS"] ?? ""} --enable-source-maps`.trim();
  const reports: Report[] = [];
  for (const phase of phases) reports.push(...(await runPhase(root, phase, options.skipsFail)));
  const count = (field: "passed" | "failed" | "skipped") =>
    reports.reduce((total, report) => total + report[field].length, 0);
  console.log(summaryText(reports));
  console.log(countsLine(count("passed"), count("failed"), count("skipped")));
  return count("failed") > 0 || count("passed") === 0 ? 1 : 0;
}

async function runPhase(root: string, phase: Phase, skipsFail: boolean): Promise<Report[]> {
  const waiting = [...phase.processes];
  const reports: Report[] = [];
  const oneByOne = async () => {
    for (let files = waiting.shift(); files !== undefined; files = waiting.shift()) {
      if (phase.announce) for (const file of files) console.log(`▸ ${nameOf(file)}`);
      for (const report of await runProcess(root, files, phase.limitMinutes * 60_000)) {
        if (skipsFail) failSkipped(report);
        console.log(reportText(report));
        reports.push(report);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(phase.atOnce, phase.processes.length) }, oneByOne));
  return reports;
}

/** Runs `files` in one process and, if that process breaks, each in its own process, to name the file that breaks it. */
async function runProcess(root: string, files: readonly string[], limitMs: number): Promise<Report[]> {
  const { reports, trouble } = await runFiles(root, files, limitMs);
  if (trouble === undefined) return reports;
  const last = reports.at(-1);
  if (files.length === 1 && last !== undefined) {
    // A test that failed has said what ended the process.
    if (last.failed.length === 0) fail(last, "(the file)", trouble);
    return reports;
  }
  const alone: Report[] = [];
  for (const file of files) alone.push(...(await runProcess(root, [file], limitMs)));
  if (alone.every(({ failed }) => failed.length === 0)) {
    const together = emptyReport(`${dirname(files[0] ?? "")}: ${files.length} files in one process`);
    fail(together, "(the process; each of the files passes in one of its own)", trouble);
    alone.push(together);
  }
  return alone;
}
