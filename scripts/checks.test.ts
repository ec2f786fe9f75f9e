/** The checks that tools make of the sources and of the lockfile. (The build itself is the check of all types.) */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ROOT } from "./root.ts";
import { runTool, type ToolResult } from "./tool.ts";

test("the library part compiles without Node's types", () => {
  const { status, output, said } = runTool("typescript", ["-p", "tsconfig.library.json", "--listFiles"], "tsc");
  assert.equal(status, 0, said);
  for (const path of ["/src/index.ts", "/src/platform.ts", "/src/testing/index.ts"]) {
    assert.ok(output.includes(path), `${path} is compiled`);
  }
  assert.doesNotMatch(output, /@types\/node/);
});

test("a use of Node in the library part would be found", () => {
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

test("biome has nothing to say of format and style", () => {
  assertWell(runTool("@biomejs/biome", ["check", "--error-on-warnings"]));
});

test("knip finds no unused file, export or package, and none that is missing", () => {
  assertWell(runTool("knip", ["--no-progress"], "knip"));
});

test("the lockfile names no registry hosts", () => {
  const lockfile = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8"));
  const packages: [string, Record<string, unknown>][] = Object.entries(lockfile.packages);
  assert.ok(packages.length > 1);
  assert.deepEqual(
    packages.filter(([, fields]) => fields["resolved"] !== undefined).map(([path]) => path),
    [],
  );
});

function assertWell({ status, said }: ToolResult): void {
  assert.equal(status, 0, `\n${said}`);
}
