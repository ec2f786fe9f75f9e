/**
 * A newcomer's first command, run on a small clone with a fake npm that makes links instead of downloading.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { ROOT } from "./root.ts";

const NPM = `
import { appendFileSync, cpSync, existsSync, rmSync } from "node:fs";
appendFileSync("npm.log", process.argv.slice(2).join(" ") + "\\n");
if (existsSync("offline")) { console.error("npm: no network"); process.exit(7); }
rmSync("node_modules", { recursive: true, force: true });
cpSync("packages", "node_modules", { recursive: true, verbatimSymlinks: true });
`;
const FILES = {
  "package.json": '{ "type": "module" }',
  "package-lock.json": "{}",
  "tsconfig.json": `{
    "compilerOptions": {
      "target": "ES2023", "module": "NodeNext", "types": [], "rootDir": ".", "outDir": "build", "strict": true, "skipLibCheck": true,
      "incremental": true, "tsBuildInfoFile": "build/.tsbuildinfo", "sourceMap": true, "declaration": true
    },
    "include": ["src"]
  }`,
  "npm.js": NPM,
  "src/number.ts": "export const number: number = 1;\n",
  "src/cli/vendor.ts": 'export { tiny } from "tiny";\n',
  "packages/tiny/package.json":
    '{ "name": "tiny", "version": "1.2.3", "license": "MIT", "type": "module", "types": "x.d.ts", "main": "x.js" }',
  "packages/tiny/x.js": 'export const tiny = "from the package";\n',
  "packages/tiny/x.d.ts": "export declare const tiny: string;\n",
  "packages/tiny/LICENSE.txt": "Do as you like.\n",
};
const clone = mkdtempSync(join(tmpdir(), "iova-ready-"));
const READY = [join(ROOT, "scripts", "ready.js"), clone];
const env = { ...process.env, npm_execpath: join(clone, "npm.js") };

before(() => {
  for (const [path, text] of Object.entries(FILES)) write(path, text);
  for (const name of ["typescript", "esbuild"]) {
    symlinkSync(join(ROOT, "node_modules", name), join(clone, "packages", name), "junction");
  }
});
after(() => rmSync(clone, { recursive: true }));

test("two commands at once in a bare clone install and build it once", async () => {
  const ended = await Promise.all([startReady(), startReady()]);
  assert.deepEqual(ended, [0, 0]);
  assert.match(read("npm.log"), /^ci --include=dev [^\n]*\n$/);
  assert.match(read("build/src/number.js"), /number = 1/);
  assert.ok(!existsSync(join(clone, "build/.lock")));
});

test("third-party code of the command line is bundled, with its licence beside it", () => {
  assert.match(read("build/src/cli/vendor.js"), /from the package/);
  assert.match(read("dist/THIRD-PARTY-LICENSES.txt"), /tiny 1\.2\.3 \(MIT\)\s+Do as you like\./);
});

test("when all is up to date, nothing is printed, installed or written", () => {
  const stamp = () => statSync(join(clone, "build/.built")).mtimeMs;
  const [log, built] = [read("npm.log"), stamp()];
  assert.deepEqual(runReady(), { status: 0, said: "" });
  assert.deepEqual([read("npm.log"), stamp()], [log, built]);
});

test("a type error is printed and ends with exit code 2, also in the next run", () => {
  write("src/number.test.ts", "export const wrong: number = 'text';\n");
  for (const run of [1, 2]) {
    const { status, said } = runReady();
    assert.equal(status, 2, `run ${run}`);
    assert.match(said, /src\/number\.test\.ts\S*1.*error TS2322/);
    assert.match(said, /iova: the build failed: the type errors above/);
  }
});

test("a changed source is built again; outputs of a deleted source are removed", () => {
  rmSync(join(clone, "src/number.test.ts"));
  write("src/number.ts", "export const number: number = 2;\n");
  assert.equal(runReady().status, 0);
  assert.match(read("build/src/number.js"), /number = 2/);
  for (const ending of [".js", ".js.map", ".d.ts"]) {
    assert.ok(!existsSync(join(clone, `build/src/number.test${ending}`)), ending);
  }
});

test("an output that was lost is built again", () => {
  rmSync(join(clone, "build/src/number.js"));
  assert.equal(runReady().status, 0);
  assert.match(read("build/src/number.js"), /number = 2/);
});

test("a changed lockfile is installed again, also if a dead process has left its lock", () => {
  write("package-lock.json", '{ "changed": true }');
  write("build/.lock", String(spawnSync(process.execPath, ["--version"]).pid));
  assert.equal(runReady().status, 0);
  assert.equal(read("npm.log").trim().split("\n").length, 2);
  assert.equal(runReady().said, "");
});

test("a failed installation ends with exit code 2 and the command that was tried; the next run tries again", () => {
  write("package-lock.json", '{ "changed": "again" }');
  write("offline", "");
  for (const tries of [3, 4]) {
    const { status, said } = runReady();
    assert.equal(status, 2);
    assert.match(said, /npm: no network\niova: the installation failed: npm ci ended with 7/);
    assert.equal(read("npm.log").trim().split("\n").length, tries);
  }
  rmSync(join(clone, "offline"));
});

test("a clone without its lockfile, and a Node that is too old, are named", () => {
  rmSync(join(clone, "package-lock.json"));
  assert.match(runReady().said, /package-lock\.json is missing/);
  const older = "Object.defineProperty(process, 'versions', { value: { node: '20.18.3' } })";
  const { status, said } = runReady(["--import", `data:text/javascript,${encodeURIComponent(older)}`]);
  assert.equal(status, 2);
  assert.match(said, /needs Node 20\.19 or later; this is Node 20\.18\.3/);
});

function write(path: string, text: string): void {
  mkdirSync(dirname(join(clone, path)), { recursive: true });
  writeFileSync(join(clone, path), text);
}

function read(path: string): string {
  return readFileSync(join(clone, path), "utf8");
}

function runReady(options: readonly string[] = []): { status: number | null; said: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [...options, ...READY], { env, encoding: "utf8" });
  return { status, said: stdout + stderr };
}

function startReady(): Promise<number | null> {
  return new Promise((resolve) => spawn(process.execPath, READY, { env, stdio: "ignore" }).on("exit", resolve));
}
