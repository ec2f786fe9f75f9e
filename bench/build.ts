/**
 * A build whose cells are played: this one, or the *base*, that of another clone, which this one is compared with. A build's cells are
 * played by its own drivers in its own worker threads; this harness decides when they play, and evaluates the times.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { CASES } from "./cases/index.ts";
import type { BenchCase, Cell } from "./cell.ts";
import { FULL, QUICK, type Scale } from "./scale.ts";

export interface Build {
  readonly cases: readonly BenchCase[];
  /** URL of the module that has its pooled allocator, as `Work.build` has it. */
  readonly url: string;
  readonly full: Scale;
  readonly quick: Scale;
  /** The file of its worker threads. */
  readonly worker: URL;
  /** The commit, as git describes it, with the form if it is not that of users; undefined without git. */
  readonly commit: string | undefined;
}

/**
 * Which code of a clone is played: the package's modules as users get them, bundled; or as the compiler writes them, a file a module. Clones of
 * before 2026-12-01 have no bundle: theirs are always played unbundled.
 */
export type Form = "bundled" | "unbundled";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

export const THIS_BUILD: Build = {
  cases: CASES,
  url: moduleOf(ROOT, "bundled"),
  full: FULL,
  quick: QUICK,
  worker: workerOf(ROOT, "bundled"),
  commit: commitOf(ROOT, "bundled"),
};

/** This build, in another form. */
export function inForm(form: Form): Build {
  return { ...THIS_BUILD, url: moduleOf(ROOT, form), worker: workerOf(ROOT, form), commit: commitOf(ROOT, form) };
}

/** The build in another clone of this project. Throws if that clone has no build. */
export async function openBuild(clone: string, form: Form): Promise<Build> {
  const bench = join(resolve(clone), "build", "bench");
  const url = (file: string) => pathToFileURL(join(bench, file));
  if (!existsSync(url("cases/index.js"))) {
    throw new Error(
      `no ${join(bench, "cases", "index.js")}: expected a clone in which npm ci and npm run build were run`,
    );
  }
  const [{ CASES: cases }, { FULL: full, QUICK: quick }] = await Promise.all([
    import(url("cases/index.js").href),
    import(url("scale.js").href),
  ]);
  return {
    cases,
    url: moduleOf(clone, form),
    full,
    quick,
    worker: workerOf(clone, form),
    commit: commitOf(clone, form),
  };
}

/** The file of a clone's worker threads. */
function workerOf(clone: string, form: Form): URL {
  return pathToFileURL(fileIn(clone, form, "build/bench/bundled/iova-cell.worker.js", "build/bench/cell.worker.js"));
}

/** URL of the module that has a clone's pooled allocator. */
function moduleOf(clone: string, form: Form): string {
  return pathToFileURL(fileIn(clone, form, "dist/iova.js", "build/src/allocator/pooled-allocator.js")).href;
}

function fileIn(clone: string, form: Form, bundled: string, unbundled: string): string {
  const path = join(resolve(clone), bundled);
  return form === "bundled" && existsSync(path) ? path : join(resolve(clone), unbundled);
}

/** The build's case of this name. Throws if it has no such case. */
export function caseOf({ cases }: Build, name: string): BenchCase {
  const found = cases.find((benchCase) => benchCase.name === name);
  if (found === undefined) throw new Error(`no case ${name}; there are ${cases.map((one) => one.name).join(", ")}`);
  return found;
}

/** The base of a run: the build that this one is compared with. */
export interface Base {
  readonly build: Build;
  /**
   * The counterparts of this build's cells: the base's cell of the same name and the same work, played by the base's code; or, if the
   * base lacks the cell, our cell over the base's allocator, if our driver supports that.
   */
  readonly twins: ReadonlyMap<Cell, Twin>;
}

export interface Twin {
  readonly cell: Cell;
  readonly player: "base" | "this build";
}

/** Cells that do other work in the base, and those that it lacks and that need more than its allocator, have no twin. */
export function baseFor(cells: readonly Cell[], build: Build, quick: boolean, seed: number): Base {
  const cases = build.cases.filter(({ name }) => cells.some((cell) => cell.case === name));
  const theirs = new Map(
    cases.flatMap((one) => one.cells(quick ? build.quick : build.full, seed)).map((cell) => [nameOf(cell), cell]),
  );
  const twinOf = (cell: Cell): Twin | undefined => {
    const same = theirs.get(nameOf(cell));
    if (same !== undefined) return isDeepStrictEqual(same, cell) ? { cell: same, player: "base" } : undefined;
    const played = { ...cell, work: { ...cell.work, build: build.url } };
    return cell.playsAnyBuild ? { cell: played, player: "this build" } : undefined;
  };
  const pairs = cells.map((cell) => [cell, twinOf(cell)] as const);
  return { build, twins: new Map(pairs.filter((pair): pair is [Cell, Twin] => pair[1] !== undefined)) };
}

/** The cell's name in messages. */
export function nameOf(cell: Cell): string {
  return `${cell.case}: ${cell.row}, ${cell.at}`;
}

function commitOf(clone: string, form: Form): string | undefined {
  const { status, stdout } = spawnSync("git", ["-C", clone, "describe", "--always", "--dirty"], { encoding: "utf8" });
  return status === 0 ? `${stdout.trim()}${form === "unbundled" ? ", unbundled" : ""}` : undefined;
}
