/** What users install: the package as npm packs it. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { tmpdir } from "node:os";
import { join, posix, sep } from "node:path";
import { after, test } from "node:test";
import ts from "typescript";
import { run, runNpm, runTool } from "./tool.ts";

const folder = mkdtempSync(join(tmpdir(), "iova-package-"));
after(() => rmSync(folder, { recursive: true }));

const packed = runNpm(["pack", "--ignore-scripts", "--json", "--loglevel=error", "--pack-destination", folder]);
assert.equal(packed.status, 0, packed.said);
const tarball = join(folder, JSON.parse(packed.output)[0].filename);
/** As a user's project has it, alone: no other package lies beside it. */
const installed = join(folder, "node_modules", "iova");
mkdirSync(installed, { recursive: true });
assert.equal(run("tar", ["-xzf", tarball, "-C", installed, "--strip-components=1"]).status, 0);
const files = readdirSync(installed, { recursive: true, encoding: "utf8" }).map((path) => path.split(sep).join("/"));
const manifest = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));

test("publint finds nothing to mend", () => {
  const { status, said } = runTool("publint", ["run", tarball, "--strict"]);
  assert.equal(status, 0, said);
});

test("every entry has its types where ES modules look for them", () => {
  const { status, said } = runTool("@arethetypeswrong/cli", [tarball, "--profile", "esm-only", "--no-color"]);
  assert.equal(status, 0, said);
});

test("the library entry, and what a program gets that only maps, stay small", () => {
  const { status, said } = runTool("size-limit", []);
  assert.equal(status, 0, said);
});

test("nothing else need be installed", () => {
  for (const field of ["dependencies", "peerDependencies", "optionalDependencies", "bundledDependencies"]) {
    assert.deepEqual(manifest[field] ?? {}, {}, field);
  }
});

test("the package holds entries, command, licences and documents, and neither tests nor benchmarks", () => {
  for (const path of [...entries(), "LICENSE", "README.md", "CHANGELOG.md", "build/THIRD-PARTY-LICENSES.txt"]) {
    assert.ok(files.includes(path), `${path} is packed`);
  }
  assert.deepEqual(
    files.filter((path) => /\.(test|model)\.|^build\/(?!src|THIRD)|tsbuildinfo|^(src|scripts|bench)\//.test(path)),
    [],
  );
});

test("all code in the package is reached from its entries, and imports only the package and Node", () => {
  const seen = new Set<string>();
  for (const path of entries()) if (/\.[jt]s$/.test(path)) reach(path, seen);
  // A module of types alone is reached by its declarations, or holds no code: its users' declarations need not name it.
  const isReached = (path: string) => seen.has(path) || seen.has(path.replace(/\.js$/, ".d.ts")) || !hasCode(path);
  assert.deepEqual(
    files.filter((path) => path.endsWith(".js") && !isReached(path)),
    [],
  );
});

test("a program that does not import the debug mode does not load it", () => {
  for (const [name, target] of Object.entries<{ readonly default?: string }>(manifest.exports)) {
    if (name === "./debug" || target.default === undefined) continue;
    const seen = new Set<string>();
    reach(posix.normalize(target.default), seen);
    assert.deepEqual(
      [...seen].filter((path) => /\/debug(?:\.js$|\/)/.test(path)),
      [],
      name,
    );
  }
});

test("the entries load, and the command starts, with nothing else installed", () => {
  const names = Object.keys(manifest.exports).map((path) => posix.join("iova", path));
  const modules = names.filter((name) => !name.endsWith(".json"));
  assert.ok(modules.length >= 5);
  const user = join(folder, "user.mjs");
  writeFileSync(user, modules.map((name) => `import ${JSON.stringify(name)};\n`).join(""));
  const loaded = run(process.execPath, [user], folder);
  assert.equal(loaded.status, 0, loaded.said);
  const helped = run(process.execPath, [join(installed, manifest.bin.iova), "--help"], folder);
  assert.equal(helped.status, 0, helped.said);
  assert.match(helped.output, /replay/);
});

/** The files that users name, directly or by `import "iova/…"`. */
function entries(): string[] {
  const targets = Object.values<string | Record<string, string>>(manifest.exports);
  const paths = [
    manifest.bin.iova,
    ...targets.flatMap((target) => (typeof target === "string" ? target : Object.values(target))),
  ];
  return paths.map((path) => posix.normalize(path));
}

function hasCode(path: string): boolean {
  const { statements } = ts.createSourceFile(path, readFileSync(join(installed, path), "utf8"), ts.ScriptTarget.Latest);
  return statements.some(
    (node) =>
      !(
        ts.isExportDeclaration(node) &&
        node.exportClause !== undefined &&
        ts.isNamedExports(node.exportClause) &&
        node.exportClause.elements.length === 0 &&
        node.moduleSpecifier === undefined
      ),
  );
}

/** Follows imports and workers from `path` on; adds all files to `seen`. */
function reach(path: string, seen: Set<string>): void {
  if (seen.has(path)) return;
  assert.ok(files.includes(path), `${path} is imported, but not packed`);
  seen.add(path);
  const text = readFileSync(join(installed, path), "utf8");
  const imported = ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }) => fileName);
  const workers = [...text.matchAll(/new URL\(\s*"([^"]+\.js)",\s*import\.meta\.url/g)].map(([, url]) => url ?? "");
  for (const name of [...imported, ...workers]) {
    if (name.startsWith(".")) reach(fileOf(posix.join(posix.dirname(path), name), path), seen);
    // CommonJS inside of the bundle names Node's modules without `node:`.
    else assert.ok(path.endsWith("/vendor.js") ? isBuiltin(name) : name.startsWith("node:"), `${path} imports ${name}`);
  }
}

/** Declarations name each other as their sources do. */
function fileOf(module: string, importer: string): string {
  return importer.endsWith(".d.ts") ? module.replace(/(\.d)?\.[jt]s$/, ".d.ts") : module;
}
