/** A bar that is cut off, in a process of its own that takes its standard error for a terminal. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const TERMINAL = new URL("./terminal.js", import.meta.url).href;
const SHOW_CURSOR = "\u001b[?25h";
const HIDE_CURSOR = "\u001b[?25l";

/** Shows a bar, says so, and then does `then`. */
function start(then: string, term = "xterm", afterMs = 0): { child: ChildProcess; errors: () => string } {
  const code = `
    Object.defineProperty(process.stderr, "isTTY", { value: true });
    delete process.env.NO_COLOR;
    delete process.env.FORCE_COLOR;
    const { processTerminal } = await import(${JSON.stringify(TERMINAL)});
    const bar = processTerminal().progress("working", ${afterMs});
    bar.at(0.5);
    process.stdout.write("shown\\n");
    ${then}`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", code], {
    cwd: fileURLToPath(new URL(".", import.meta.url)),
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, TERM: term },
  });
  let errors = "";
  child.stderr?.on("data", (data) => {
    errors += String(data);
  });
  return { child, errors: () => errors };
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  test(`${signal} while a bar is shown gives the cursor back, and ends the process by that signal`, async () => {
    const { child, errors } = start("setTimeout(() => {}, 60_000);");
    await once(child.stdout as NonNullable<typeof child.stdout>, "data");
    child.kill(signal);
    const [code, by] = (await once(child, "close")) as [number | null, string | null];
    assert.deepEqual([code, by], [null, signal]);
    assert.ok(errors().includes(HIDE_CURSOR), errors());
    assert.ok(errors().lastIndexOf(SHOW_CURSOR) > errors().lastIndexOf(HIDE_CURSOR), "the cursor stays hidden");
  });
}

test("a process that ends while a bar is shown gives the cursor back; a bar that was stopped leaves no listener", async () => {
  const ended = start("process.exit(0);");
  await once(ended.child, "close");
  assert.ok(ended.errors().lastIndexOf(SHOW_CURSOR) > ended.errors().lastIndexOf(HIDE_CURSOR));
  const stopped = start(
    'bar.stop(); for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) if (process.listenerCount(name) !== 0) process.exit(7);',
  );
  const [code] = (await once(stopped.child, "close")) as [number | null];
  assert.equal(code, 0);
});

test("work that is over in a moment shows no bar", async () => {
  const { child, errors } = start("bar.stop(); process.exit(0);", "xterm", 60_000);
  await once(child, "close");
  assert.equal(errors(), "");
});

test("TERM=dumb: no cursor or erase sequence is written, and no colour (review of 2026-11-30, B9)", async () => {
  const { child, errors } = start(
    'process.stderr.write(processTerminal().paintError("red", "plain")); process.exit(0);',
    "dumb",
  );
  await once(child, "close");
  assert.equal(errors(), "plain");
});
