/**
 * `npm run bench`: measures the allocator, mapSg and recovery beside a floor, a table of before 2015 and packages of npm, all
 * in one interleaved run. `--help` lists the options; docs/performance.md explains the numbers.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { type Base, baseFor, type Form, inForm, nameOf, openBuild, THIS_BUILD } from "./build.ts";
import { CASES } from "./cases/index.ts";
import type { BenchCase, Cell } from "./cell.ts";
import { InvalidResult, playAll } from "./harness.ts";
import { toMarkdown, toText } from "./report.ts";
import { FULL, QUICK } from "./scale.ts";
import { circumstances, Summary, toJson } from "./summary.ts";

const HELP = `usage: npm run bench -- [options]        (or: node build/bench/main.js [options])

  --case NAME       only this case; may be given several times (--list names them)
  --cell TEXT       only cells whose name ("case: row, column") holds this; may be given several times
  --base DIR        compares with the build in another clone of this project: its cells of the same name and work are played
                    beside ours by its own code, and the report says how many times as long as the base's ours takes
  --unbundled       plays the modules as the compiler writes them, not the bundle that users get
  --base-unbundled  the same of the base
  --repetitions N   plays of each cell, 1 to 100; default 5, with --quick 1
  --seed N          of the order and of the work, 1 to 2147483647; default 1
  --quick           small tables and few operations, a few seconds in all: shows that it works, times mean nothing
  --json FILE       writes every number of every repetition to FILE as well
  --markdown        prints a page of docs/runs; its table of targets stands in docs/performance.md too
  --list            names the cases and their cells
  --help            this

examples:
  npm run -s bench -- --base ../iova-cafea23 --repetitions 3 --markdown > run.md
  npm run bench -- --case mix --case threads --repetitions 3 --json mix.json
  npm run bench -- --base ../iova-before --cell "single: pooled, 50 %" --cell "threads: pooled" --repetitions 9
  npm run bench -- --base . --base-unbundled --case single --case map-sg

A whole run takes five to ten minutes, with a base twice as long. Ratios within one run can be relied on; times depend on the machine, and on what else
runs on it. Exit code: 0 done, 1 a cell gave wrong or differing answers, 2 wrong use.
`;

/** A wrong option; the message is for the user. */
class WrongUse extends Error {}

interface Options {
  readonly cases: readonly BenchCase[];
  /** Parts of names; undefined: all cells. */
  readonly cells: readonly string[] | undefined;
  /** Folder of another clone. */
  readonly base: string | undefined;
  readonly form: Form;
  readonly baseForm: Form;
  readonly repetitions: number;
  readonly seed: number;
  readonly quick: boolean;
  readonly json: string | undefined;
  readonly markdown: boolean;
}

process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  try {
    const values = read(args);
    if (values.help === true) process.stdout.write(HELP);
    else if (values.list === true) process.stdout.write(list(optionsOf(values)));
    else await run(optionsOf(values));
    return 0;
  } catch (error) {
    if (!(error instanceof WrongUse || error instanceof InvalidResult)) throw error;
    console.error(`bench: ${error.message}`);
    return error instanceof WrongUse ? 2 : 1;
  }
}

function read(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        case: { type: "string", multiple: true },
        cell: { type: "string", multiple: true },
        base: { type: "string" },
        unbundled: { type: "boolean" },
        "base-unbundled": { type: "boolean" },
        repetitions: { type: "string" },
        seed: { type: "string" },
        quick: { type: "boolean" },
        json: { type: "string" },
        markdown: { type: "boolean" },
        list: { type: "boolean" },
        help: { type: "boolean" },
      },
    }).values;
  } catch (error) {
    throw new WrongUse(`${(error as Error).message} (--help lists the options)`);
  }
}

function optionsOf(values: ReturnType<typeof read>): Options {
  const quick = values.quick ?? false;
  return {
    cases: values.case === undefined ? CASES : casesNamed(values.case),
    cells: values.cell,
    base: values.base,
    form: values.unbundled === true ? "unbundled" : "bundled",
    baseForm: values["base-unbundled"] === true ? "unbundled" : "bundled",
    repetitions: integer("--repetitions", values.repetitions ?? (quick ? "1" : "5"), 1, 100),
    seed: integer("--seed", values.seed ?? "1", 1, 2 ** 31 - 1),
    quick,
    json: values.json,
    markdown: values.markdown ?? false,
  };
}

function casesNamed(names: readonly string[]): readonly BenchCase[] {
  const all = CASES.map(({ name }) => name);
  const unknown = names.find((name) => !all.includes(name));
  if (unknown !== undefined) throw new WrongUse(`--case ${unknown}: expected one of ${all.join(", ")}`);
  return CASES.filter(({ name }) => names.includes(name));
}

function integer(option: string, text: string, low: number, high: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= low && value <= high) return value;
  throw new WrongUse(`${option} ${text}: expected an integer from ${low} to ${high}`);
}

function cellsOf({ cases, cells: parts, quick, seed }: Options): readonly Cell[] {
  const all = cases.flatMap((benchCase) => benchCase.cells(quick ? QUICK : FULL, seed));
  if (parts === undefined) return all;
  const unknown = parts.find((part) => !all.some((cell) => nameOf(cell).includes(part)));
  if (unknown !== undefined) throw new WrongUse(`--cell ${unknown}: no cell's name contains that (--list names them)`);
  return all.filter((cell) => parts.some((part) => nameOf(cell).includes(part)));
}

async function baseOf(cells: readonly Cell[], { base, baseForm, quick, seed }: Options): Promise<Base | undefined> {
  if (base === undefined) return undefined;
  try {
    return baseFor(cells, await openBuild(base, baseForm), quick, seed);
  } catch (error) {
    throw new WrongUse(`--base ${base}: ${(error as Error).message}`);
  }
}

function list(options: Options): string {
  return options.cases
    .map((benchCase) => {
      const cells = cellsOf({ ...options, cases: [benchCase] });
      return `${benchCase.name}: ${benchCase.about}\n${cells.map((cell) => `  ${cell.at}: ${cell.row}\n`).join("")}`;
    })
    .join("\n");
}

async function run(options: Options): Promise<void> {
  const { cases, form, repetitions, seed, quick, json, markdown } = options;
  const build = form === "bundled" ? THIS_BUILD : inForm(form);
  const cells = cellsOf(options);
  const base = await baseOf(cells, options);
  const of = circumstances(options, build, base?.build);
  const summary = new Summary(
    await playAll(cells, { repetitions, seed, base, build, reuseThreads: quick, progress: showProgress }),
  );
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  if (json !== undefined) writeFileSync(json, toJson(summary, of));
  console.log(markdown ? toMarkdown(summary, of, cases) : toText(summary, of, cases));
}

/** On a terminal a line that changes; elsewhere a line for each tenth. */
function showProgress(done: number, all: number, cell: Cell): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${done} of ${all}: ${nameOf(cell)}`);
  else if (done % Math.ceil(all / 10) === 0) process.stderr.write(`bench: ${done} of ${all} cells\n`);
}
