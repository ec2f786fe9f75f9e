/**
 * The entries of the package without SharedArrayBuffer, as on a web page that is not cross-origin isolated: they load, and calls that
 * need such memory throw an error that says so. Origin: review of 2026-11-30, B1.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { ROOT } from "./root.ts";
import { run } from "./tool.ts";

const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
const targets = Object.entries<{ readonly default?: string }>(manifest.exports);
const entries = targets.flatMap(([name, { default: path }]) => (path === undefined ? [] : [{ name, path }]));

/** Globals that browsers hide from some pages, or that not every runtime has. */
const HIDDEN = ["SharedArrayBuffer", "Atomics", "WebAssembly", "navigator", "Worker"];

/** Output of a process that hides these globals, then runs `program` with `load(name)`, which imports an entry. */
function printedBy(program: string, hidden: readonly string[]): string {
  const paths = Object.fromEntries(entries.map(({ name, path }) => [name, pathToFileURL(join(ROOT, path)).href]));
  const text = `
    for (const name of ${JSON.stringify(hidden)}) delete globalThis[name];
    const load = (name) => import(${JSON.stringify(paths)}[name]);
    ${program}`;
  const { status, said, output } = run(process.execPath, ["--input-type=module", "--eval", text]);
  assert.equal(status, 0, said);
  return output;
}

test("these are all entries of the package", () => {
  assert.deepEqual(
    entries.map(({ name }) => name),
    [".", "./platform", "./containers", "./debug", "./devices", "./testing", "./explain", "./stat", "./qemu"],
  );
});

for (const { name } of entries) {
  test(`the entry ${name} loads without SharedArrayBuffer, Atomics and other globals that a runtime may lack`, () => {
    const program = `console.log(Object.keys(await load(${JSON.stringify(name)})).length);`;
    assert.ok(Number(printedBy(program, HIDDEN)) > 0);
  });
}

test("without SharedArrayBuffer an allocator, a table, and every board say so when they are made", () => {
  const program = `
    const { IommuTable, PooledAllocator } = await load(".");
    const { BOARD_KINDS } = await load("./platform");
    const ops = { set() {}, clear() {}, get() {}, exchange() {}, publish() {}, invalidate() {}, invalidateAll() {} };
    const makers = {
      allocator: () => PooledAllocator.create({ entries: 64 }),
      table: () => IommuTable.create({ base: 0n, pageShift: 12, entries: 64 }, ops),
    };
    for (const kind of BOARD_KINDS) makers[kind.name] = () => kind.create({ memoryBytes: 2 ** 24, entries: 1024 });
    const answers = {};
    for (const [name, make] of Object.entries(makers)) {
      try { make(); answers[name] = "made"; } catch (error) { answers[name] = error.constructor.name + " " + error.code; }
    }
    console.log(JSON.stringify(answers));`;
  const answers: Record<string, string> = JSON.parse(printedBy(program, ["SharedArrayBuffer"]));
  assert.ok(Object.keys(answers).length > 8);
  for (const [name, answer] of Object.entries(answers)) assert.equal(answer, "IovaError no-shared-memory", name);
});
