/** Checks of the sources and the lockfiles by tools. (The build itself checks all types.) */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, posix } from "node:path";
import { test } from "node:test";
import { ROOT } from "./root.ts";
import { runTool, type ToolResult } from "./tool.ts";

interface LockedPackage {
  readonly resolved?: string;
  readonly dependencies?: object;
  readonly optionalDependencies?: object;
  readonly devDependencies?: object;
}
/** The packages of a lockfile by path; "" is the folder's own. */
type Lockfile = ReadonlyMap<string, LockedPackage>;

const lockfiles: readonly Lockfile[] = ["package-lock.json", "scripts/runtimes/package-lock.json"].map(
  (path) => new Map(Object.entries(JSON.parse(readFileSync(join(ROOT, path), "utf8")).packages)),
);

test("the library part compiles without Node's types", () => {
  const { status, output, said } = runTool("typescript", ["-p", "tsconfig.library.json", "--listFiles"], "tsc");
  assert.equal(status, 0, said);
  for (const path of ["/src/index.ts", "/src/debug.ts", "/src/platform.ts", "/src/testing/index.ts"]) {
    assert.ok(output.includes(path), `${path} is compiled`);
  }
  assert.doesNotMatch(output, /@types\/node/);
});

test("a planted use of Node in the library part is found", () => {
  const folder = mkdtempSync(join(tmpdir(), "iova-library-"));
  const config = { extends: join(ROOT, "tsconfig.library.json"), include: ["*.ts"], compilerOptions: { rootDir: "." } };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  writeFileSync(
    join(folder, "module.ts"),
    'import { join } from "node:path";\nexport const path: string = join("a", "b");\n',
  );
  writeFileSync(join(folder, "global.ts"), "export const size: number = Buffer.alloc(process.pid).length;\n");
  writeFileSync(join(folder, "fine.ts"), "export const size: number = new Uint8Array(8).length;\n");
  const { status, said } = runTool("typescript", ["-p", folder], "tsc");
  rmSync(folder, { recursive: true });
  assert.notEqual(status, 0);
  for (const found of [/module\.ts.*node:path/, /global\.ts.*'Buffer'/, /global\.ts.*'process'/])
    assert.match(said, found);
  assert.doesNotMatch(said, /fine\.ts/);
});

test("biome reports no fault of format or style", () => {
  assertWell(runTool("@biomejs/biome", ["check", "--error-on-warnings"]));
});

test("knip finds no unused file, export or package, and none that is missing", () => {
  assertWell(runTool("knip", ["--no-progress"], "knip"));
});

test("the lockfiles name no registry hosts", () => {
  const hosts = lockfiles.flatMap((locked) => [...locked].filter(([, fields]) => fields.resolved !== undefined));
  assert.deepEqual(
    hosts.map(([path]) => path),
    [],
  );
});

test("the lockfiles have all platforms' packages, so that npm ci works on each", () => {
  const missing = lockfiles.flatMap((locked) =>
    [...locked].flatMap(([path, fields]) => {
      const wanted = { ...fields.dependencies, ...fields.optionalDependencies, ...fields.devDependencies };
      return Object.keys(wanted)
        .filter((name) => !isLocked(locked, path, name))
        .map((name) => `${path} needs ${name}`);
    }),
  );
  assert.deepEqual(missing, []);
  for (const locked of lockfiles) assert.ok(!isLocked(locked, "", "no-such-package"));
});

/** True if the package at `path` finds a package `name`: in its own node_modules, or in one further out. */
function isLocked(locked: Lockfile, path: string, name: string): boolean {
  if (locked.has(posix.join(path, "node_modules", name))) return true;
  if (path === "") return false;
  const outer = path.lastIndexOf("/node_modules/");
  return isLocked(locked, outer < 0 ? "" : path.slice(0, outer), name);
}

function assertWell({ status, said }: ToolResult): void {
  assert.equal(status, 0, `\n${said}`);
}
