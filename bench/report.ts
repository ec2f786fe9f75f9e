/** A run as tables: for a terminal, or as the Markdown of a page in docs/runs. */
import { ALONE, OWN_POOLS } from "./cases/threads.ts";
import type { BenchCase, Metric } from "./cell.ts";
import { hashText } from "./harness.ts";
import type { Circumstances, Summary } from "./summary.ts";
import { missedBy, type Run, STANDING_TARGETS, TARGET_BASE, TARGETS, type Target } from "./targets.ts";

interface Table {
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** A section of the report. */
interface Section {
  readonly heading: string;
  readonly text: string;
  readonly tables: readonly Table[];
}

/** From this share of time in the run queue on, processor time is printed beside wall time. */
const DISTURBED = 0.03;

const TARGETS_TEXT =
  "Medians of this run. × is a ratio of two of its times (of one thread: of quiet slices) or, if marked, of two rates; a ratio to " +
  `${TARGET_BASE} is judged where that commit is the run's base.`;

const BASE_TEXT =
  "The base's cell of the same name was played just before or just after each cell. A multiple is the median over the " +
  "repetitions, with the least and the most in brackets; below 1 is faster than the base. Times of one thread are compared by their quiet " +
  "slices (the 15 % quantile).";

const PAGE_TEXT = "Printed by `npm run -s bench -- --markdown`; how to read it: [performance](../performance.md).";

/** The report as a page in Markdown. */
export function toMarkdown(summary: Summary, of: Circumstances, cases: readonly BenchCase[]): string {
  const sections = sectionsOf(summary, of, cases, false).map(({ heading, text, tables }) =>
    [`## ${heading}`, text, ...tables.map(markdownTable)].join("\n\n"),
  );
  return [`# Run of ${of.date}`, PAGE_TEXT, ...sections].join("\n\n");
}

/** The report for a terminal, with the digests of all answers. */
export function toText(summary: Summary, of: Circumstances, cases: readonly BenchCase[]): string {
  return sectionsOf(summary, of, cases, true)
    .map(({ heading, text, tables }) => [`== ${heading}`, wrapped(text), ...tables.map(textTable)].join("\n\n"))
    .join("\n\n");
}

function sectionsOf(
  summary: Summary,
  of: Circumstances,
  cases: readonly BenchCase[],
  digests: boolean,
): readonly Section[] {
  const played = cases.filter((benchCase) => summary.results.some(({ cell }) => cell.case === benchCase.name));
  const run: Section = { heading: "This run", text: describe(summary, of), tables: [] };
  // The bounds hold at the full scale only.
  const targets = of.quick ? [] : targetSection(summary, of);
  return [run, ...targets, ...played.map((benchCase) => caseSection(summary, benchCase, digests))];
}

function describe(summary: Summary, of: Circumstances): string {
  const queued = (100 * summary.queuedShare()).toFixed(1);
  return [
    `Commit ${of.commit ?? "unknown"}${of.base === undefined ? "" : `; base: commit ${of.base.commit ?? "unknown"}`}.`,
    `${of.date}, Node ${of.node} (V8 ${of.v8}), ${of.processors} processors "${of.processor}", load ${of.loadAverage.toFixed(1)}.`,
    `One compareExchange of a shared word that no other thread uses takes ${of.compareExchangeNanoseconds.toFixed(1)} ns here.`,
    `Seed ${of.seed}, ${of.repetitions} repetitions of ${summary.results.length} cells, each repetition in an order of its`,
    "own, each cell in its own worker threads.",
    "A time is the median over the repetitions of the median slice, with the least and the most repetition in brackets;",
    `it includes the driver ("nothing" is the driver alone). Threads stood in the run queue for ${queued} % of their time;`,
    `for cells with more than ${100 * DISTURBED} %, "cpu" gives the processor time of an operation.`,
    ...secondProcessor(summary),
    ...(of.base === undefined ? [] : [BASE_TEXT]),
    ...(of.quick ? ["This is the quick scale: it shows that everything works; its times are meaningless."] : []),
  ].join("\n");
}

/** The driver's threads share nothing: two of them are twice as fast as one if each has a processor. */
function secondProcessor(summary: Summary): string[] {
  const rate = (at: string) => summary.lookup("threads", DRIVER, at, "rate");
  const [alone, both] = [rate(ALONE), rate(OWN_POOLS)];
  if (alone === undefined || both === undefined) return [];
  const times = (both / alone).toFixed(2);
  return [`Two threads of the driver alone were ${times} times as fast as one: no pair of threads here can do better.`];
}

/** Targets that the played cases measure. */
function targetSection(summary: Summary, of: Circumstances): Section[] {
  const run: Run = {
    lookup: (...name) => summary.lookup(...name),
    timesBase: (...name) => summary.timesBase(...name)?.median,
  };
  const rowsOfGroup = (targets: readonly Target[]) =>
    targets.flatMap((target) => {
      const judged = target.base === undefined || of.base?.commit?.startsWith(target.base) === true;
      const measured = judged ? target.measured(run) : undefined;
      return measured === undefined ? [] : [targetRow(target, measured)];
    });
  const head = ["what", "target", "stretch", "measured", "verdict"];
  const tables = [
    { title: "", head, rows: rowsOfGroup(TARGETS) },
    { title: "Set before, and standing", head, rows: rowsOfGroup(STANDING_TARGETS) },
  ].filter(({ rows }) => rows.length > 0);
  return tables.length === 0 ? [] : [{ heading: "Targets", text: TARGETS_TEXT, tables }];
}

function targetRow(target: Target, measured: number): readonly string[] {
  const { what, bound, stretch, digits, unit } = target;
  const found = withUnit(numberText(measured, digits), unit);
  return [
    what,
    boundText(target, bound),
    stretch === undefined ? "" : boundText(target, stretch),
    found,
    verdict(target, measured),
  ];
}

function boundText({ sense, unit }: Target, bound: number): string {
  return `${sense === "at most" ? "≤" : "≥"} ${withUnit(String(bound), unit)}`;
}

function verdict(target: Target, measured: number): string {
  const missed = missedBy(target, measured);
  if (missed > 0) return `missed by ${(100 * missed).toFixed(missed < 0.1 ? 1 : 0)} %`;
  const { sense, stretch } = target;
  return stretch !== undefined && missedBy({ sense, bound: stretch }, measured) === 0 ? "met, the stretch too" : "met";
}

function withUnit(text: string, unit: string): string {
  return unit === "" ? `${text} ×` : `${text} ${unit}`;
}

function caseSection(summary: Summary, benchCase: BenchCase, digests: boolean): Section {
  const tables = benchCase.metrics.flatMap((metric) => [
    metricTable(summary, benchCase, metric),
    ...(isTime(metric) ? [baseTable(summary, benchCase, metric)] : []),
  ]);
  const ratios = ratioTable(summary, benchCase);
  if (ratios !== undefined) tables.splice(1, 0, ratios);
  if (digests) tables.push(digestTable(summary, benchCase));
  return { heading: benchCase.name, text: benchCase.about, tables: tables.filter(({ rows }) => rows.length > 0) };
}

function metricTable(summary: Summary, benchCase: BenchCase, metric: Metric): Table {
  const isMain = metric.key === "ns";
  return pivot(summary, benchCase, titleOf(benchCase, metric), (row, at) => {
    const spread = summary.spread(benchCase.name, row, at, metric.key);
    if (spread === undefined) return "";
    const { digits } = metric;
    const notes: string[] = [];
    if (spread.least < spread.most)
      notes.push(`${numberText(spread.least, digits)}–${numberText(spread.most, digits)}`);
    if (isMain && summary.queued(benchCase.name, row, at) > DISTURBED) {
      notes.push(`cpu ${numberText(summary.cpu(benchCase.name, row, at) ?? Number.NaN, digits)}`);
    }
    return `${numberText(spread.median, digits)}${notes.length > 0 ? ` (${notes.join("; ")})` : ""}`;
  });
}

function titleOf(benchCase: BenchCase, metric: Metric): string {
  return metric.key === "ns" ? `ns per ${benchCase.operation}` : metric.title;
}

function isTime({ title }: Metric): boolean {
  return /\b(ns|ms)\b|µs/.test(title);
}

/** A time as multiples of the base's. */
function baseTable(summary: Summary, benchCase: BenchCase, metric: Metric): Table {
  return pivot(summary, benchCase, `${titleOf(benchCase, metric)}, as multiples of the base's`, (row, at) => {
    const spread = summary.timesBase(benchCase.name, row, at, metric.key);
    if (spread === undefined) return "";
    const range = spread.least < spread.most ? ` (${spread.least.toFixed(2)}–${spread.most.toFixed(2)})` : "";
    return `${spread.median.toFixed(2)}${range}`;
  });
}

/** Subjects that the others are compared with: the floor, and the table of before 2015. */
const STANDARDS = ["free list", "single lock"] as const;
const DRIVER = "nothing";

/** The main metric as multiples of the standards'. */
function ratioTable(summary: Summary, benchCase: BenchCase): Table | undefined {
  const metric = benchCase.metrics[0]?.key ?? "";
  const standards = STANDARDS.filter((row) => rowsOf(summary, benchCase).includes(row));
  if (standards.length === 0) return undefined;
  const table = pivot(summary, benchCase, `as multiples of: ${standards.join(" / ")}`, (row, at) => {
    const own = summary.lookup(benchCase.name, row, at, metric);
    if (own === undefined || row === DRIVER || (standards as readonly string[]).includes(row)) return "";
    const ratios = standards.map(
      (standard) => own / (summary.lookup(benchCase.name, standard, at, metric) ?? Number.NaN),
    );
    return ratios.every(Number.isNaN) ? "" : ratios.map((ratio) => ratioText(ratio)).join(" / ");
  });
  return { ...table, rows: table.rows.filter((row) => row.slice(1).some((text) => text !== "")) };
}

function digestTable(summary: Summary, benchCase: BenchCase): Table {
  return pivot(summary, benchCase, "digests of the answers", (row, at) => {
    const result = summary.result(benchCase.name, row, at);
    return result === undefined ? "" : hashText(result.measured[0]?.hash);
  });
}

/** A row for each row of the case, a column for each column; rows and columns without any text are left out. */
function pivot(
  summary: Summary,
  benchCase: BenchCase,
  title: string,
  text: (row: string, at: string) => string,
): Table {
  const columns = columnsOf(summary, benchCase);
  const rows = rowsOf(summary, benchCase)
    .map((row) => [row, ...columns.map((at) => text(row, at))])
    .filter((cells) => cells.slice(1).some((cell) => cell !== ""));
  return { title, head: ["", ...columns], rows };
}

function rowsOf(summary: Summary, benchCase: BenchCase): string[] {
  return distinct(summary, benchCase, ({ row }) => row);
}

function columnsOf(summary: Summary, benchCase: BenchCase): string[] {
  return distinct(summary, benchCase, ({ at }) => at);
}

function distinct(
  summary: Summary,
  benchCase: BenchCase,
  of: (cell: { readonly row: string; readonly at: string }) => string,
): string[] {
  return [...new Set(summary.results.filter(({ cell }) => cell.case === benchCase.name).map(({ cell }) => of(cell)))];
}

function numberText(value: number, digits: number): string {
  if (Number.isNaN(value)) return "?";
  const shown = Math.abs(value) >= 1000 ? 0 : Math.abs(value) >= 100 ? Math.min(digits, 1) : digits;
  return value.toLocaleString("en-US", { minimumFractionDigits: shown, maximumFractionDigits: shown });
}

function ratioText(value: number): string {
  if (Number.isNaN(value)) return "?";
  return value >= 100 ? value.toFixed(0) : value >= 0.1 ? value.toPrecision(2) : value.toPrecision(1);
}

// Layout.

/** Lines of at most 120 characters. */
function wrapped(text: string): string {
  return text
    .replace(/\s+/g, " ")
    .replace(/(.{1,119})(?: |$)/g, "$1\n")
    .trimEnd();
}

function markdownTable({ title, head, rows }: Table): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const rule = `| --- ${"| ---: ".repeat(head.length - 1)}|`;
  return [...(title === "" ? [] : [`${title}:`, ""]), line(head), rule, ...rows.map(line)].join("\n");
}

function textTable({ title, head, rows }: Table): string {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((cells) => (cells[column] ?? "").length)));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join("  ")
      .trimEnd();
  return [...(title === "" ? [] : [title]), ...all.map(line)].join("\n");
}
