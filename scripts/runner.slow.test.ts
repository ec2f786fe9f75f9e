/** What the runner prints and returns, over small test files of its own. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

const RUNNER = JSON.stringify(new URL("./runner.js", import.meta.url).href);
const SUITE = JSON.stringify(new URL("./suite.js", import.meta.url).href);

interface Outcome {
  readonly status: number | null;
  readonly lines: readonly string[];
  readonly complaint: string;
}

const folder = mkdtempSync(join(tmpdir(), "iova-runner-"));
writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
after(() => rmSync(folder, { recursive: true }));

test("tests are counted one by one, groups are not, and the last line says so", () => {
  const { status, lines } = run({
    "groups.test.js": `
      describe("a group", () => { it("one", () => {}); it("two", () => {}); });
      test("a parent", async (t) => { await t.test("a child", () => {}); });`,
    "single.test.js": 'test("single", () => console.log("seed 17"));',
  });
  assert.equal(status, 0);
  assert.equal(lines.at(-1), "5 passed, 0 failed");
  assert.ok(lines.includes("    │ seed 17"), "what a test prints is shown");
  assert.match(lines.join("\n"), /✔ groups\.test\.ts {2}4 passed/);
});

test("a failing test is shown whole, with the names around it, and the run fails", () => {
  const { status, lines } = run({
    "bad.test.js": `
      describe("a group", () => { it("adds up", () => assert.equal(1 + 1, 3, "two is not three")); it("is well", () => {}); });`,
  });
  assert.equal(status, 1);
  assert.equal(lines.at(-1), "1 passed, 1 failed");
  const text = lines.join("\n");
  assert.match(text, /✖ a group › adds up/);
  assert.match(text, /two is not three[\s\S]*at [^\n]*bad\.test\.js:3:\d+[\s\S]*expected: 3/);
  assert.doesNotMatch(text, /node:internal/);
  assert.match(text, /Failed:\n {2}bad\.test\.ts: a group › adds up/);
});

test("a file that breaks at load, ends its process, or hangs has failed", () => {
  const { status, lines } = run({
    "load.test.js": 'test("never seen", () => {}); throw new Error("at load");',
    "exit.test.js": 'test("leaves", () => process.exit(3));',
    "kill.test.js": 'test("dies", () => process.kill(process.pid, "SIGKILL"));',
    "hang.test.js": 'test("hangs", () => new Promise(() => setInterval(() => {}, 1000)));',
  });
  assert.equal(status, 1);
  assert.match(lines.at(-1) ?? "", /^\d passed, 4 failed$/);
  const text = lines.join("\n");
  for (const said of [/at load/, /exit code 3/, /ended by SIGKILL/, /timed out after/]) assert.match(text, said);
});

test("a file without tests has failed, and so has a run of no file", () => {
  const empty = run({ "empty.test.js": "" });
  assert.deepEqual([empty.status, empty.lines.at(-1)], [1, "0 passed, 1 failed"]);
  assert.match(empty.lines.join("\n"), /the file holds no test/);
  const none = run({});
  assert.deepEqual([none.status, none.lines.at(-1)], [1, "0 passed, 0 failed"]);
});

test("skipped tests are counted and named; where skips are not allowed they have failed", () => {
  const files = { "skips.test.js": 'test("one", () => {}); test("two", (t) => t.skip("no such machine"));' };
  const allowed = run(files);
  assert.deepEqual([allowed.status, allowed.lines.at(-1)], [0, "1 passed, 0 failed, 1 skipped"]);
  assert.ok(allowed.lines.includes("    skipped: two: no such machine"));
  const strict = run(files, true);
  assert.deepEqual([strict.status, strict.lines.at(-1)], [1, "1 passed, 1 failed"]);
});

test("a filter that matches nothing and an unknown option are named", () => {
  const filtered = npmTest(["no-such-file"]);
  assert.match(filtered.complaint, /no test file matches no-such-file/);
  assert.deepEqual([filtered.status, filtered.lines.at(-1)], [1, "0 passed, 0 failed"]);
  const unknown = npmTest(["--quick"]);
  assert.match(unknown.complaint, /unknown option --quick/);
  assert.deepEqual([unknown.status, unknown.lines.at(-1)], [2, "0 passed, 1 failed"]);
  const both = npmTest(["--fast", "--exhaustive"]);
  assert.match(both.complaint, /--fast and --exhaustive together/);
  assert.deepEqual([both.status, both.lines.at(-1)], [2, "0 passed, 1 failed"]);
});

/** Runs test files of the given texts; the hanging one is ended after 15 seconds: a busy machine needs several for each of the others. */
function run(texts: Record<string, string>, skipsFail = false): Outcome {
  const files = Object.entries(texts).map(([name, text]) => {
    const file = join(folder, name);
    writeFileSync(file, `import test, { describe, it } from "node:test";\nimport assert from "node:assert";${text}\n`);
    return file;
  });
  const phase = { files, atOnce: 2, limitMinutes: 0.25, announce: false };
  return spawned(
    `import { runTests } from ${RUNNER};
     process.exitCode = await runTests(${JSON.stringify(folder)}, [${JSON.stringify(phase)}], { skipsFail: ${skipsFail} });`,
  );
}

function npmTest(args: readonly string[]): Outcome {
  return spawned(`import { main } from ${SUITE}; process.exitCode = await main(${JSON.stringify(args)});`);
}

/** From a file, since `--eval` would be handed on to the processes of the test files. */
function spawned(code: string): Outcome {
  const file = join(folder, "driver.js");
  writeFileSync(file, code);
  // Node refuses to run tests inside of tests: the sign of the outer run must go.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const { status, stdout, stderr } = spawnSync(process.execPath, [file], { env, encoding: "utf8" });
  return { status, lines: stdout.trimEnd().split("\n"), complaint: stderr };
}
