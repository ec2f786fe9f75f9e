/** The benchmarks at the quick scale: their results are checked, their times are not. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { CASES } from "./cases/index.ts";
import { metricOf, type Work } from "./cell.ts";
import { STANDING_TARGETS, TARGETS } from "./targets.ts";

const MAIN = fileURLToPath(new URL("./main.js", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "iova-bench-"));
after(() => rmSync(folder, { recursive: true }));

interface JsonCell {
  readonly case: string;
  readonly row: string;
  readonly at: string;
  readonly work: Work;
  readonly digest: string;
  readonly openingDigest: string;
  readonly repetitions: readonly { readonly values: Record<string, number>; readonly cpuNanoseconds: number }[];
}

function bench(...args: string[]): { readonly status: number | null; readonly output: string; readonly said: string } {
  // Less than the limit of a test file, so that its output so far is shown.
  const options = { encoding: "utf8", timeout: 240_000 } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], options);
  return { status, output: stdout, said: stderr };
}

const file = join(folder, "quick.json");
// With two repetitions, bench itself fails if their digests differ.
const quick = bench("--quick", "--repetitions", "2", "--json", file);
assert.equal(quick.status, 0, quick.said);
const cells: readonly JsonCell[] = JSON.parse(readFileSync(file, "utf8")).cells;

function cellsOf(name: string): readonly JsonCell[] {
  return cells.filter((cell) => cell.case === name);
}

function digests(benchCase: string, row: string, which: "digest" | "openingDigest"): readonly string[] {
  const found = cellsOf(benchCase).filter((cell) => cell.row === row);
  assert.ok(found.length > 0, `${benchCase} has a row ${row}`);
  return found.map((cell) => cell[which]);
}

test("every case is played, and every metric is a number of 0 or more", () => {
  for (const { name, metrics } of CASES) {
    assert.ok(cellsOf(name).length > 0, name);
    assert.match(quick.output, new RegExp(`^== ${name}$`, "m"));
    for (const { row, at, repetitions } of cellsOf(name)) {
      assert.equal(repetitions.length, 2);
      for (const { values } of repetitions) {
        assert.ok((values["ns"] ?? 0) > 0 && (values["rate"] ?? 0) > 0, `${name}: ${row}, ${at}`);
        for (const [key, value] of Object.entries(values))
          assert.ok(value >= 0, `${name}: ${row}, ${at}: ${key} ${value}`);
      }
    }
    for (const { key } of metrics) {
      const having = cellsOf(name).filter(({ repetitions }) =>
        repetitions.every(({ values }) => metricOf(values, key) !== undefined),
      );
      assert.ok(having.length > 0, `${name}: some row has ${key}`);
    }
  }
});

test("a pool without a cache allocates the same entries as the single lock's next fit", () => {
  for (const name of ["mix", "peers"]) {
    assert.deepEqual(digests(name, "pooled", "openingDigest"), digests(name, "single lock", "openingDigest"), name);
  }
});

test("the cache is used: the entries differ from those of a run without it", () => {
  for (const name of ["single", "mix", "peers"]) {
    const cached = digests(name, "cached", "digest");
    for (const [i, digest] of digests(name, "pooled", "digest").entries()) assert.notEqual(cached[i], digest, name);
  }
});

test("the debug mode, on or off, changes no bus address", () => {
  for (const row of ["off", "on, owners only", "on"]) {
    assert.deepEqual(digests("debug", row, "openingDigest"), digests("debug", "undecorated", "openingDigest"), row);
  }
});

test("another seed gives another digest", () => {
  const other = join(folder, "other.json");
  assert.equal(bench("--quick", "--case", "peers", "--seed", "2", "--json", other).status, 0);
  const found: readonly JsonCell[] = JSON.parse(readFileSync(other, "utf8")).cells;
  assert.deepEqual(
    found.map(({ row }) => row),
    cellsOf("peers").map(({ row }) => row),
  );
  for (const { row, digest } of found) {
    if (row !== "nothing") assert.notEqual(digest, digests("peers", row, "digest")[0], row);
  }
});

test("--markdown prints a table for every case, and says that quick times are meaningless", () => {
  const { status, output } = bench("--quick", "--markdown", "--case", "traces", "--case", "failing");
  assert.equal(status, 0);
  assert.match(output, /^## failing$[\s\S]*^\| pooled, after a free \| [\d.,]+ \| [\d.,]+ \|[\s\S]*^## traces$/m);
  assert.match(output, /its times are meaningless/);
});

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

test("--base plays the cells that both builds have, and prints our times as multiples of the base's", () => {
  const json = join(folder, "base.json");
  const cell = ["--cell", "single: pooled, 50 %", "--cell", "threads: cached, 2 threads, one pool"];
  const { status, output, said } = bench("--quick", "--repetitions", "2", "--base", ROOT, ...cell, "--json", json);
  assert.equal(status, 0, said);
  const multiple = String.raw`\d+\.\d\d \(\d+\.\d\d–\d+\.\d\d\)`;
  assert.match(output, new RegExp(`as multiples of the base's\n +50 %\npooled +${multiple}$`, "m"));
  assert.match(output, new RegExp(`as multiples of the base's\n +2 threads, one pool\ncached +${multiple}$`, "m"));
  const played = JSON.parse(readFileSync(json, "utf8")).cells;
  assert.deepEqual(
    played.map(({ case: name, row, at, repetitions, base }: JsonCell & { base: unknown[] }) =>
      [name, row, at, repetitions.length, base.length].join(", "),
    ),
    ["single, pooled, 50 %, 2, 2", "threads, cached, 2 threads, one pool, 2, 2"],
  );
});

/** The newest page of docs/runs whose name is a date. */
function newestRun(): { readonly name: string; readonly page: string } {
  const runs = readdirSync(join(ROOT, "docs/runs")).filter((name) => /^\d{4}-\d\d-\d\d\.md$/.test(name));
  const name = runs.sort().at(-1) ?? "";
  return { name, page: readFileSync(join(ROOT, "docs/runs", name), "utf8") };
}

/** Rows of the tables in the section Targets. */
function targetsIn(page: string): readonly string[] {
  const [, section = ""] = page.split(/^## Targets$/m);
  return section
    .replace(/^## [\s\S]*/m, "")
    .split("\n")
    .filter((line) => line.startsWith("|"));
}

test("the newest page of docs/runs has the tables of every case", () => {
  const { page } = newestRun();
  for (const { name } of CASES) assert.match(page, new RegExp(`^## ${name}$`, "m"));
});

test("docs/performance.md has all targets of the newest run, in at most 120 lines", () => {
  const page = readFileSync(join(ROOT, "docs/performance.md"), "utf8");
  assert.deepEqual(targetsIn(page), targetsIn(newestRun().page));
  for (const { what } of [...TARGETS, ...STANDING_TARGETS]) assert.ok(page.includes(`| ${what} |`), what);
  assert.ok(page.split("\n").length <= 121);
});

test("docs/runs/README.md names every page", () => {
  const readme = readFileSync(join(ROOT, "docs/runs/README.md"), "utf8");
  for (const name of readdirSync(join(ROOT, "docs/runs"))) {
    if (name !== "README.md") assert.ok(readme.includes(`](${name})`), name);
  }
});

test("--list and --help answer without playing anything", () => {
  const listed = bench("--list", "--case", "threads");
  assert.equal(listed.status, 0);
  assert.match(listed.output, /^threads: .*\n {2}1 thread: pooled\n/);
  assert.match(bench("--help").output, /--repetitions N/);
});

test("a wrong option ends with exit code 2 and a message with the value found and the values expected", () => {
  for (const [args, message] of [
    [["--case", "sigle"], /--case sigle: expected one of single, mix/],
    [["--repetitions", "0"], /--repetitions 0: expected an integer from 1 to 100/],
    [["--seed", "1e3"], /--seed 1e3: expected an integer from 1 to 2147483647/],
    [["--cell", "single: pooled, 51 %"], /--cell single: pooled, 51 %: no cell's name contains that/],
    [
      ["--base", "/nowhere"],
      /--base \/nowhere: no \/nowhere\/build\/bench\/cases\/index\.js: expected a clone in which/,
    ],
    [["--fast"], /--fast.*--help lists the options/],
  ] as const) {
    const { status, said } = bench(...args);
    assert.equal(status, 2, args.join(" "));
    assert.match(said, message);
  }
});
