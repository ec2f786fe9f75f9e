/** Runs test files in one process, one after the other, and sorts the events of node:test by file. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "node:test";
import { emptyReport, fail, type Report, type TestError } from "./report.ts";
import { END_OF_FILE } from "./shared-process.ts";

/** The result of a process. */
interface Outcome {
  /** Reports of the files, in order, up to the one in which the process ended. */
  readonly reports: Report[];
  /** The failure of the process as a whole. The reports may then lack tests that did not run to their end. */
  readonly trouble: TestError | string | undefined;
}

/** Node's event of a finished test: the fields that we use. */
interface Finished {
  readonly name: string;
  readonly nesting: number;
  readonly skip?: string | boolean | undefined;
  readonly todo?: string | boolean | undefined;
  readonly details: { readonly duration_ms: number; readonly type?: string | undefined; readonly error?: TestError };
}

/** The name of a test file in reports: that of its source. */
export function nameOf(file: string): string {
  return file.replace(/\.js$/, ".ts");
}

/**
 * @param root - the folder of the files
 * @param files - JavaScript files, at least one: their paths from `root`
 * @param limitMs - a process that takes longer is ended
 */
export async function runFiles(root: string, files: readonly string[], limitMs: number): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), "iova-test-"));
  const entry = join(folder, "files.mjs");
  const module = JSON.stringify(new URL("./shared-process.js", import.meta.url).href);
  const paths = JSON.stringify(files.map((file) => join(root, file)));
  writeFileSync(entry, `import { runInTurn } from ${module};\nawait runInTurn(${paths});\n`);
  const sorter = new Sorter(entry, files.map(nameOf));
  for await (const { type, data } of run({ files: [entry], concurrency: 1, timeout: limitMs })) {
    if (type === "test:start") sorter.start(data.nesting, data.name);
    else if (type === "test:pass" || type === "test:fail") sorter.end(data as Finished);
    else if (type === "test:stdout" || type === "test:stderr") sorter.say(data.message);
    // Node's diagnostics of the whole run have no file. They are dropped, since the reports have their own counts.
    else if (type === "test:diagnostic" && data.file !== undefined) sorter.say(`${data.message}\n`);
  }
  rmSync(folder, { recursive: true });
  return sorter.outcome();
}

/** Sorts tests to files: those of a file end with a test that `runInTurn` adds. */
class Sorter {
  readonly #entry: string;
  readonly #reports: readonly Report[];
  /** The names of the tests that have started and not ended, from the outermost. */
  readonly #path: string[] = [];
  /** Number of files that have ended. */
  #ended = 0;
  #trouble: TestError | string | undefined;
  #began = performance.now();

  constructor(entry: string, names: readonly string[]) {
    this.#entry = entry;
    this.#reports = names.map(emptyReport);
  }

  start(nesting: number, name: string): void {
    this.#path.splice(nesting, this.#path.length, name);
  }

  say(text: string): void {
    this.#report.said.push(text);
  }

  end(test: Finished): void {
    const { error } = test.details;
    // If its entry file fails, Node reports that as a test.
    if (test.name === this.#entry) this.#trouble = error;
    else if (test.name === END_OF_FILE) this.#endFile(error);
    else addTest(this.#report, [...this.#path.slice(0, test.nesting), test.name].join(" › "), test);
  }

  outcome(): Outcome {
    const isShort = this.#ended < this.#reports.length;
    const trouble = this.#trouble ?? (isShort ? "its tests did not come to their end" : undefined);
    return { reports: this.#reports.slice(0, this.#ended + 1), trouble };
  }

  /** The report of the running file, or of the last one after its end. */
  get #report(): Report {
    return this.#reports[Math.min(this.#ended, this.#reports.length - 1)] as Report;
  }

  #endFile(error: TestError | undefined): void {
    const report = this.#report;
    if (error?.failureType === "testCodeFailure") fail(report, "(the file)", error);
    else if (error !== undefined) this.#trouble ??= error;
    if (report.passed.length + report.failed.length + report.skipped.length === 0) {
      fail(report, "(the file)", "the file holds no test");
    }
    const now = performance.now();
    report.milliseconds = now - this.#began;
    this.#began = now;
    this.#ended++;
  }
}

/** @param name - with the names of the tests and groups around it */
function addTest(report: Report, name: string, test: Finished): void {
  const { details, skip, todo } = test;
  const outcome = { name, milliseconds: details.duration_ms };
  const { error } = details;
  const onlyInside = error?.failureType === "subtestsFailed";
  if (error !== undefined && !(onlyInside && details.type === "suite")) {
    report.failed.push({ ...outcome, error: onlyInside ? undefined : error });
  } else if (error !== undefined || details.type === "suite") {
    // A suite that only groups is no test.
  } else if (skip !== undefined || todo !== undefined) {
    const reason = [skip, todo].find((text) => typeof text === "string") ?? "no reason given";
    report.skipped.push({ ...outcome, reason: String(reason) });
  } else {
    report.passed.push(outcome);
  }
}
