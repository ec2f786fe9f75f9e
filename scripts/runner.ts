/**
 * Runs test files, each in a process of its own, and prints a line for each file, failing tests whole, and what the tests
 * themselves have to say.
 */
import { relative, sep } from "node:path";
import { run } from "node:test";
import { inspect } from "node:util";

/** Test files that run together. */
export interface Phase {
  /** Absolute paths of JavaScript files. */
  readonly files: readonly string[];
  /** How many files run side by side. */
  readonly atOnce: number;
  /** A file that takes longer is ended, and has failed. */
  readonly limitMinutes: number;
  /** Say which file begins. */
  readonly announce: boolean;
}

interface Outcome {
  readonly name: string;
  readonly milliseconds: number;
}
interface Failed extends Outcome {
  /** What went wrong; `undefined` when it was a test inside, which says so itself. */
  readonly error: unknown;
}
interface Skipped extends Outcome {
  readonly reason: string;
}

/** What came of the tests of one file. */
interface Report {
  readonly name: string;
  readonly passed: Outcome[];
  readonly failed: Failed[];
  readonly skipped: Skipped[];
  /** What the tests printed, in order. */
  readonly said: string[];
  milliseconds: number;
}

/** What node says of a finished test; the fields that we use. */
interface Finished {
  readonly name: string;
  readonly nesting: number;
  readonly skip?: string | boolean | undefined;
  readonly todo?: string | boolean | undefined;
  readonly details: { readonly duration_ms: number; readonly type?: string | undefined; readonly error?: TestError };
}
interface TestError extends Error {
  readonly failureType?: string;
  readonly exitCode?: number;
  readonly signal?: string;
}

/** Tests that take longer have their duration printed. */
const LONG_MS = 1000;

/**
 * Runs `phases` one after the other; `root` is what printed paths are relative to. The last line printed is
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
  printAgain(reports);
  console.log(countsLine(count("passed"), count("failed"), count("skipped")));
  return count("failed") > 0 || count("passed") === 0 ? 1 : 0;
}

function countsLine(passed: number, failed: number, skipped: number): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}

async function runPhase(root: string, phase: Phase, skipsFail: boolean): Promise<Report[]> {
  const waiting = [...phase.files];
  const reports: Report[] = [];
  const oneByOne = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const name = relative(root, file).split(sep).join("/").replace(/\.js$/, ".ts");
      if (phase.announce) console.log(`▸ ${name}`);
      const report = await runFile(file, name, phase.limitMinutes * 60_000);
      if (skipsFail) failSkipped(report);
      console.log(reportText(report));
      reports.push(report);
    }
  };
  await Promise.all(Array.from({ length: Math.min(phase.atOnce, phase.files.length) }, oneByOne));
  return reports;
}

/** Runs one file in a process of its own. */
async function runFile(file: string, name: string, limitMs: number): Promise<Report> {
  const report: Report = { name, passed: [], failed: [], skipped: [], said: [], milliseconds: 0 };
  const path: string[] = [];
  const began = performance.now();
  for await (const { type, data } of run({ files: [file], concurrency: 1, timeout: limitMs })) {
    if (type === "test:start") path.splice(data.nesting, path.length, data.name);
    else if (type === "test:pass" || type === "test:fail") addTest(report, file, path, data as Finished);
    else if (type === "test:stdout" || type === "test:stderr") report.said.push(data.message);
    // What node says of the run as a whole bears no file; we count for ourselves.
    else if (type === "test:diagnostic" && data.file !== undefined) report.said.push(`${data.message}\n`);
  }
  report.milliseconds = performance.now() - began;
  return report;
}

function addTest(report: Report, file: string, path: readonly string[], test: Finished): void {
  const { name, details, skip, todo } = test;
  // Node reports a file as a test of its own when it holds none, or ended badly.
  const isFile = name === file;
  const names = [...path.slice(0, test.nesting), isFile ? "(the file)" : name];
  const outcome = { name: names.join(" › "), milliseconds: details.duration_ms };
  const { error } = details;
  const onlyInside = error?.failureType === "subtestsFailed";
  if (error !== undefined && !(onlyInside && details.type === "suite")) {
    report.failed.push({ ...outcome, error: onlyInside ? undefined : error });
  } else if (error !== undefined || details.type === "suite") {
    // A suite that only groups is no test.
  } else if (skip !== undefined || todo !== undefined) {
    const reason = [skip, todo].find((text) => typeof text === "string") ?? "no reason given";
    report.skipped.push({ ...outcome, reason: String(reason) });
  } else if (isFile) {
    report.failed.push({ ...outcome, error: "the file holds no test" });
  } else {
    report.passed.push(outcome);
  }
}

/** Where nothing may be skipped, a skipped test is a failed one. */
function failSkipped(report: Report): void {
  for (const test of report.skipped.splice(0)) {
    report.failed.push({ ...test, error: `skipped (${test.reason}), and CI=true allows no skips` });
  }
}

// Printing.

function reportText(report: Report): string {
  const { passed, failed, skipped } = report;
  const mark = failed.length > 0 ? "✖" : skipped.length > 0 ? "○" : "✔";
  const counts = countsLine(passed.length, failed.length, skipped.length).replace(", 0 failed", "");
  const lines = [`${mark} ${report.name}  ${counts}  ${duration(report.milliseconds)}`];
  for (const test of passed) {
    if (test.milliseconds >= LONG_MS) lines.push(`    ${duration(test.milliseconds)}  ${test.name}`);
  }
  for (const test of skipped) lines.push(`    skipped: ${test.name}: ${test.reason}`);
  const said = report.said.join("").trimEnd();
  if (said !== "") lines.push(indent(said, "    │ "));
  for (const test of failed) lines.push(failureText(test));
  return lines.join("\n");
}

/** Once more at the end, where it is seen: what failed and what was skipped. */
function printAgain(reports: readonly Report[]): void {
  const list = (title: string, field: "failed" | "skipped") => {
    const lines = reports.flatMap((report) => report[field].map((test) => `  ${report.name}: ${test.name}`));
    if (lines.length > 0) console.log(`\n${title}:\n${lines.join("\n")}`);
  };
  list("Failed", "failed");
  list("Skipped", "skipped");
  console.log("");
}

function failureText({ name, error, milliseconds }: Failed): string {
  const title = `    ✖ ${name}  ${duration(milliseconds)}`;
  if (error === undefined) return title;
  return `${title}\n${indent(typeof error === "string" ? error : errorText(error as TestError), "        ")}`;
}

function errorText(error: TestError): string {
  if (error.exitCode !== undefined && error.exitCode > 0) return `the process ended with exit code ${error.exitCode}`;
  if (error.signal) return `the process was ended by ${error.signal}`;
  const cause = error.cause ?? error;
  const text = typeof cause === "string" ? cause : inspect(cause, { depth: 6 });
  // Node's own part of the stack says nothing about the test. The last line of a stack may open the error's fields.
  return text.replace(/\n +at [^\n]*\bnode:[^\n]*?( \{)?(?=\n|$)/g, "$1");
}

function indent(text: string, by: string): string {
  return text.replace(/^/gm, by);
}

function duration(milliseconds: number): string {
  return milliseconds < LONG_MS ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}
