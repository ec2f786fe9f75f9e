/** Tests of the runner's output and exit code, with small test files. */
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
  assert.ok(lines.includes("    │ seed 17"), "the output of a test is shown");
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

test("the list of failures at the end has for each the message, the place and the compared values in short", () => {
  const { lines } = run({
    "bad.test.js": `
      test("adds up", () => assert.equal(1 + 1, 3, "two is not three"));
      test("compares", () => assert.deepStrictEqual({ pages: 1, entries: 3 }, { pages: 2, entries: 3 }));
      test("is long", () => { throw new Error("line\\n".repeat(100)); });
      test("holds one", async (t) => { await t.test("that fails", () => { throw "a string"; }); });`,
  });
  const end = lines.slice(lines.indexOf("Failed:")).map((line) => line.replace(/ at .*(bad.test.js:\d+).*/, " at $1"));
  assert.deepEqual(end, [
    "Failed:",
    "  bad.test.ts: adds up",
    "      two is not three",
    "      at bad.test.js:3",
    "      actual: 2",
    "      expected: 3",
    "  bad.test.ts: compares",
    "      Expected values to be strictly deep-equal:",
    "      +   pages: 1",
    "      -   pages: 2",
    "      at bad.test.js:4",
    "  bad.test.ts: is long",
    ...Array(6).fill("      line"),
    "      …",
    "      at bad.test.js:5",
    "  bad.test.ts: holds one › that fails",
    "      a string",
    "  bad.test.ts: holds one",
    "",
    "0 passed, 5 failed",
  ]);
});

/** Files that break their process. */
const BAD_ENDS = {
  "load.test.js": 'test("never seen", () => {}); throw new Error("at load");',
  "exit.test.js": 'test("leaves", () => process.exit(3));',
  "code.test.js": 'test("sets a code", () => { process.exitCode = 4; });',
  "late.test.js": 'test("ends early", () => { setTimeout(() => { throw new Error("late") }); });',
  "kill.test.js": 'test("dies", () => process.kill(process.pid, "SIGKILL"));',
};
const FINE = { "fine.test.js": 'test("is well", () => {});', "last.test.js": 'test("is well too", () => {});' };

test("a file that breaks at load, or ends its process, has failed", () => {
  const { status, lines } = run(BAD_ENDS);
  assert.equal(status, 1);
  assert.match(lines.at(-1) ?? "", /^\d passed, 5 failed$/);
  const text = lines.join("\n");
  for (const said of [/at load/, /exit code 3/, /exit code 4/, /ended by SIGKILL/]) assert.match(text, said);
});

test("a file that hangs is ended at the limit, and has failed", () => {
  const text = 'test("hangs", () => new Promise(() => setInterval(() => {}, 1000)));';
  const { status, lines } = run({ "hang.test.js": text }, { limitMinutes: 0.05 });
  assert.deepEqual([status, lines.at(-1)], [1, "0 passed, 1 failed"]);
  assert.match(lines.join("\n"), /timed out after/);
});

test("files that share a process each have their own line, with what they printed and what failed in them", () => {
  const { status, lines } = run(
    {
      "a.test.js": 'console.log("a loads"); test("one", () => console.log("a runs"));',
      "b.test.js":
        'console.log("b loads"); test("two", () => { console.log("b runs"); throw new Error("two is bad"); });',
      "c.test.js":
        'console.log("c loads"); describe("three", () => { it("four", (t) => t.skip("no such machine")); });',
      "d.test.js": "",
    },
    { together: true },
  );
  const shown = lines.filter((line) => /^(\S| {4}[│s✖])/.test(line)).map((line) => line.replace(/ {2}[\d.]+ m?s$/, ""));
  assert.deepEqual(shown, [
    "✔ a.test.ts  1 passed",
    "    │ a loads",
    "    │ a runs",
    "✖ b.test.ts  0 passed, 1 failed",
    "    │ b loads",
    "    │ b runs",
    "    ✖ two",
    "○ c.test.ts  0 passed, 1 skipped",
    "    skipped: three › four: no such machine",
    "    │ c loads",
    "✖ d.test.ts  0 passed, 1 failed",
    "    ✖ (the file)",
    "Failed:",
    "Skipped:",
    "1 passed, 2 failed, 1 skipped",
  ]);
  assert.equal(status, 1);
});

for (const [name, text] of Object.entries(BAD_ENDS)) {
  test(`a file that ends a shared process is named, and the other files have their results: ${name}`, () => {
    const [fine, last] = Object.entries(FINE);
    const { status, lines } = run(Object.fromEntries([fine!, [name, text], last!]), { together: true });
    assert.equal(status, 1);
    assert.match(lines.at(-1) ?? "", /^[23] passed, 1 failed$/);
    const files = lines.filter((line) => /^[✔✖]/.test(line)).map((line) => line.replace(/\.ts.*/, ""));
    assert.deepEqual(files, ["✔ fine.test", `✖ ${name.replace(".js", "")}`, "✔ last.test"]);
  });
}

test("a process that breaks although each of its files passes alone has failed", () => {
  const first = 'test("leaves a name", () => { Array.leftBehind = true; });';
  const second = 'test("stumbles over it", () => { if (Array.leftBehind) process.exit(5); });';
  const { status, lines } = run({ "first.test.js": first, "second.test.js": second }, { together: true });
  assert.deepEqual([status, lines.at(-1)], [1, "2 passed, 1 failed"]);
  assert.match(
    lines.join("\n"),
    /2 files in one process.*\n.*each of the files passes.*\n +the process ended with exit code 5/,
  );
});

test("a file that leaves the process changed for the files after it has failed, and what it changed is named", () => {
  const changes = {
    "the working directory": "process.chdir('/')",
    "the environment": "process.env.IOVA_CHANGED = 'yes'",
    "the global names": "globalThis.changed = 1",
  };
  const texts = Object.values(changes).map((code, i) => [`file${i}.test.js`, `test("changes", () => { ${code}; });`]);
  const { status, lines } = run({ ...Object.fromEntries(texts), ...FINE }, { together: true });
  assert.deepEqual([status, lines.at(-1)], [1, "5 passed, 3 failed"]);
  const said = lines.slice(lines.indexOf("Failed:")).filter((line) => /^ {2}\S|have changed/.test(line));
  const expected = Object.keys(changes).flatMap((what, i) => [
    `  file${i}.test.ts: (the file)`,
    `      the tests of this file have changed ${what}`,
  ]);
  assert.deepEqual(said, expected);
});

test("a file without tests has failed, and so has a run of no file", () => {
  const empty = run({ "empty.test.js": "" });
  assert.deepEqual([empty.status, empty.lines.at(-1)], [1, "0 passed, 1 failed"]);
  assert.match(empty.lines.join("\n"), /the file holds no test/);
  const none = run({});
  assert.deepEqual([none.status, none.lines.at(-1)], [1, "0 passed, 0 failed"]);
});

test("skipped tests are counted and named; if skips are not allowed, they have failed", () => {
  const files = { "skips.test.js": 'test("one", () => {}); test("two", (t) => t.skip("no such machine"));' };
  const allowed = run(files);
  assert.deepEqual([allowed.status, allowed.lines.at(-1)], [0, "1 passed, 0 failed, 1 skipped"]);
  assert.ok(allowed.lines.includes("    skipped: two: no such machine"));
  const strict = run(files, { skipsFail: true });
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

/** Runs test files of the given texts, each in a process of its own unless they run `together`. */
function run(texts: Record<string, string>, { skipsFail = false, together = false, limitMinutes = 5 } = {}): Outcome {
  const files = Object.keys(texts);
  for (const [name, text] of Object.entries(texts)) {
    const imports = 'import test, { describe, it } from "node:test";\nimport assert from "node:assert";';
    writeFileSync(join(folder, name), `${imports}${text}\n`);
  }
  const processes = together ? [files] : files.map((file) => [file]);
  const phase = { processes, atOnce: 2, limitMinutes, announce: false };
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
  // Node refuses to run tests inside of tests: the variable of the outer run is removed.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const { status, stdout, stderr } = spawnSync(process.execPath, [file], { env, encoding: "utf8" });
  return { status, lines: stdout.trimEnd().split("\n"), complaint: stderr };
}
