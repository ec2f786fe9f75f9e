/** The results of a file's tests, and their text: a line for each file, failures in full, and all failures again at the end. */
import { inspect } from "node:util";

/** The tests of one file. */
export interface Report {
  readonly name: string;
  readonly passed: Outcome[];
  readonly failed: Failed[];
  readonly skipped: Skipped[];
  /** Output of the tests, in order. */
  readonly said: string[];
  milliseconds: number;
}
export interface Outcome {
  readonly name: string;
  readonly milliseconds: number;
}
export interface Failed extends Outcome {
  /** The failure; `undefined` if an inner test failed, which has its own entry. */
  readonly error: TestError | string | undefined;
}
export interface Skipped extends Outcome {
  readonly reason: string;
}

/** A failure as node reports it; the `cause` is what the test threw. */
export interface TestError extends Error {
  readonly failureType?: string;
  readonly exitCode?: number;
  readonly signal?: string;
}

/** Tests that take longer have their duration printed. */
const LONG_MS = 1000;
/** Limits for a failure that is printed again: lines of its message, and characters per line. */
const SHORT_LINES = 6;
const SHORT_COLUMNS = 160;

export function emptyReport(name: string): Report {
  return { name, passed: [], failed: [], skipped: [], said: [], milliseconds: 0 };
}

/** Adds a failure outside of the tests, such as that of the file as a whole. */
export function fail(report: Report, name: string, error: TestError | string): void {
  report.failed.push({ name, error, milliseconds: 0 });
}

/** Where nothing may be skipped, a skipped test is a failed one. */
export function failSkipped(report: Report): void {
  for (const test of report.skipped.splice(0)) {
    report.failed.push({ ...test, error: `skipped (${test.reason}), and CI=true allows no skips` });
  }
}

export function countsLine(passed: number, failed: number, skipped: number): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}

/** The file's line, its long and its skipped tests, what it printed, and its failures. */
export function reportText(report: Report): string {
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

/** The end of a run: failed tests with short reasons, and skipped tests. */
export function summaryText(reports: readonly Report[]): string {
  const list = (title: string, lines: readonly string[]) => (lines.length > 0 ? ["", title, ...lines] : []);
  const failed = reports.flatMap((report) =>
    report.failed.map(({ name, error }) => [`  ${report.name}: ${name}`, ...shortError(error)].join("\n      ")),
  );
  const skipped = reports.flatMap((report) => report.skipped.map(({ name }) => `  ${report.name}: ${name}`));
  return [...list("Failed:", failed), ...list("Skipped:", skipped), ""].join("\n");
}

function failureText({ name, error, milliseconds }: Failed): string {
  const title = `    ✖ ${name}  ${duration(milliseconds)}`;
  return error === undefined ? title : `${title}\n${indent(errorText(error), "        ")}`;
}

function errorText(error: TestError | string): string {
  const ended = endText(error);
  if (ended !== undefined) return ended;
  const cause = causeOf(error);
  const text = typeof cause === "string" ? cause : inspect(cause, { depth: 6 });
  // Node's own part of the stack says nothing about the test. The last line of a stack may open the error's fields.
  return text.replace(/\n +at [^\n]*\bnode:[^\n]*?( \{)?(?=\n|$)/g, "$1");
}

/** The first lines of the message, the first place in the stack that is not node's, and what an assertion compared. */
function shortError(error: Failed["error"]): string[] {
  if (error === undefined) return [];
  const ended = endText(error);
  if (ended !== undefined) return [ended];
  const cause = causeOf(error);
  if (!(cause instanceof Error)) return firstLines(typeof cause === "string" ? cause : inspect(cause));
  const place = cause.stack?.split("\n").find((line) => /^ +at /.test(line) && !line.includes("node:"));
  return [...firstLines(cause.message), ...(place === undefined ? [] : [place.trim()]), ...comparedLines(cause)];
}

/** The values that an assertion compared, unless its message shows them. */
function comparedLines(error: Error): string[] {
  if (!("generatedMessage" in error) || error.generatedMessage || !("actual" in error && "expected" in error))
    return [];
  const line = (value: unknown) => inspect(value, { breakLength: Number.POSITIVE_INFINITY });
  return [`actual: ${line(error.actual)}`, `expected: ${line(error.expected)}`].map(cut);
}

/** How the test's process ended, if that is the failure. */
function endText(error: TestError | string): string | undefined {
  if (typeof error === "string") return error;
  if (error.exitCode !== undefined && error.exitCode > 0) return `the process ended with exit code ${error.exitCode}`;
  return error.signal ? `the process was ended by ${error.signal}` : undefined;
}

function causeOf(error: TestError | string): unknown {
  return typeof error === "string" ? error : (error.cause ?? error);
}

/** The lines of a comparison that differ. */
function firstLines(text: string): string[] {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  const isCompared = lines.some((line) => line.startsWith("+ actual - expected"));
  const telling = isCompared ? lines.filter((line, i) => i === 0 || /^[+-] (?!actual )/.test(line)) : lines;
  return [...telling.slice(0, SHORT_LINES).map(cut), ...(telling.length > SHORT_LINES ? ["…"] : [])];
}

function cut(line: string): string {
  const whole = line.replaceAll("\n", " ");
  return whole.length > SHORT_COLUMNS ? `${whole.slice(0, SHORT_COLUMNS - 1)}…` : whole;
}

function indent(text: string, by: string): string {
  return text.replace(/^/gm, by);
}

function duration(milliseconds: number): string {
  return milliseconds < LONG_MS ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}
