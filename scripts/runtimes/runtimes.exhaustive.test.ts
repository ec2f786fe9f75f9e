/** The package, installed from its tarball, in the runtimes that people have: Node 20, the newest Node with long-term support, Bun and Deno. */
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, posix } from "node:path";
import { after, test } from "node:test";
import { ROOT } from "../root.ts";
import { run } from "../tool.ts";
import { installPackage, needRuntimes, type Runtime, runBy, runtimes } from "./installed.ts";

const USER = join(ROOT, "scripts", "runtimes", "user");
const IOVA = "node_modules/iova/bin/iova.js";
const LOG = "node_modules/iova/traces/wifi-crash.log";

const missing = needRuntimes();
const folder = mkdtempSync(join(tmpdir(), "iova-runtimes-"));
after(() => rmSync(folder, { recursive: true }));
installPackage(folder);
for (const name of readdirSync(USER)) cpSync(join(USER, name), join(folder, name));
cpSync(join(folder, "node_modules", "iova", "examples"), join(folder, "examples"), { recursive: true });

const manifest = JSON.parse(readFileSync(join(folder, "node_modules", "iova", "package.json"), "utf8"));
const entries = Object.keys(manifest.exports).map((path) => posix.join("iova", path));
const modules = entries.filter((name) => !name.endsWith(".json"));

/** Output of the script. It must end with this exit code. */
function printedBy(runtime: Runtime, args: readonly string[], code = 0): string {
  const { status, output, said } = runBy(runtime, args, folder);
  assert.equal(status, code, `${args.join(" ")}: ${said}`);
  return output;
}

/** The exports of every entry, as the build for tests has them: a line an entry, as scripts/runtimes/user/entries.mjs prints them. */
async function expectedExports(): Promise<string> {
  const lines = modules.map(async (name) => {
    const path = name === "iova" ? "index" : posix.relative("iova", name);
    const module = await import(join(ROOT, "build", "src", `${path}.js`)).catch(
      () => import(join(ROOT, "build", "src", path, "index.js")),
    );
    return `${name} ${Object.keys(module).sort().join(" ")}\n`;
  });
  return (await Promise.all(lines)).join("");
}

for (const runtime of missing === undefined ? runtimes() : []) {
  const { name } = runtime;

  test(`${name} loads every entry, with all of its exports`, async () => {
    assert.equal(printedBy(runtime, ["entries.mjs", ...modules]), await expectedExports());
  });

  test(`${name}: threads map in one table, one is killed, and all of its ranges are recovered`, () => {
    assert.equal(
      printedBy(runtime, ["threads.mjs"]),
      "ranges of the killed thread that came back: at least 50\nentries taken: 0\n",
    );
  });

  test(`${name} runs the command: explain, platforms, and a replay by two threads`, () => {
    const expected = run(process.execPath, [join(ROOT, "bin", "iova.js"), "explain", LOG], folder).output;
    assert.match(expected, /^Device 0000:03:00\.0 \(ath10k_pci\) tried to write to address 0xcece9e40/);
    assert.equal(printedBy(runtime, [IOVA, "explain", LOG], 1), expected);
    assert.equal(printedBy(runtime, [IOVA, "version"]), `${manifest.version}\n`);
    assert.match(printedBy(runtime, [IOVA, "platforms"]), /pseries/);
    assert.match(
      printedBy(runtime, [IOVA, "replay", "nvme-io-612", "--seconds", "0.2", "--workers", "2"]),
      /translations that a device's DMA checked were right/,
    );
  });

  if (runtime.runsTypeScript) {
    test(`${name} runs the examples of the package`, () => {
      assert.match(printedBy(runtime, ["examples/viommu.ts"]), /, 0 of them wrong;/);
      assert.match(printedBy(runtime, ["examples/user-driver.ts"]), /./);
    });
  }

  // They reclaim at a worker's exit, which Deno tells of too early.
  if (runtime.runsTypeScript && name !== "Deno") {
    test(`${name} runs the examples of the package that kill a worker`, () => {
      assert.match(printedBy(runtime, ["examples/workers.ts"]), /came back: true\nentries taken: 0/);
      assert.match(printedBy(runtime, ["examples/vmm.ts"]), /the process has ended: 0 pages pinned/);
    });
  }
}

for (const runtime of missing === undefined ? runtimes().filter(({ name }) => name !== "Deno") : []) {
  test(`${runtime.name}: a CommonJS program requires every entry`, async () => {
    assert.equal(printedBy(runtime, ["required.cjs", ...modules]), await expectedExports());
  });
}

test("the runtimes are installed", (t) => {
  if (missing !== undefined) t.skip(missing);
});
