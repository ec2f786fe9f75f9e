/** The scripts for zsh and fish, in these shells; fish is asked what it would offer for a line. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { needProgram } from "../../scripts/debian.ts";
import { main } from "./main.ts";
import { RecordingTerminal } from "./terminal.model.ts";

const folder = mkdtempSync(join(tmpdir(), "iova-completion-"));
after(() => rmSync(folder, { recursive: true }));

async function writeScript(shell: string): Promise<string> {
  const terminal = new RecordingTerminal();
  assert.equal(await main(["completion", shell], terminal), 0);
  const path = join(folder, shell);
  writeFileSync(path, terminal.output);
  return path;
}

function run(command: string, args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: "utf8",
    cwd: folder,
    timeout: 60_000,
  });
  assert.deepEqual([error, status, stderr], [undefined, 0, ""]);
  return stdout;
}

/** The completions, sorted. */
const CASES: readonly (readonly [line: string, answer: readonly string[]])[] = [
  ["iova plat", ["platforms"]],
  ["iova replay --pl", ["--platform"]],
  ["iova replay --platform sun", ["sun4u", "sun4v", "sun4v-atu"]],
  ["iova replay --table p", ["pooled"]],
  ["iova replay --cache ", ["fifo", "none"]],
  ["iova replay tra", ["trace.txt"]],
  ["iova replay --json tra", ["trace.txt"]],
  ["iova platforms p", ["powernv", "pseries"]],
  ["iova completion ", ["bash", "fish", "zsh"]],
  ["iova help rep", ["replay"]],
];

describe("iova completion fish", { skip: needProgram("fish", "fish") ?? false }, () => {
  let script = "";
  before(async () => {
    script = await writeScript("fish");
    writeFileSync(join(folder, "trace.txt"), "");
  });
  test("is a script that fish can parse", () => assert.equal(run("fish", ["-n", script]), ""));
  for (const [line, answer] of CASES) {
    test(`'${line}' is completed to ${answer.join(" or ")}`, () => {
      const offered = run("fish", ["--no-config", "-c", `source ${script}; complete -C '${line}'`]);
      const words = offered.split("\n").map((candidate) => candidate.split("\t")[0] ?? "");
      assert.deepEqual(words.filter((word) => word !== "").toSorted(), answer);
    });
  }
});

describe("iova completion zsh", { skip: needProgram("zsh", "zsh") ?? false }, () => {
  let script = "";
  before(async () => {
    script = await writeScript("zsh");
  });
  test("is a script that zsh can parse", () => assert.equal(run("zsh", ["-n", script]), ""));
  test("sourced after compinit, it completes iova; so does a file _iova in a folder of fpath", () => {
    const init = "autoload -U compinit && compinit -D -u";
    assert.equal(run("zsh", ["-f", "-c", `${init}; source ${script}; print $_comps[iova]`]), "_iova\n");
    copyFileSync(script, join(folder, "_iova"));
    assert.equal(run("zsh", ["-f", "-c", `fpath=(${folder} $fpath); ${init}; print $_comps[iova]`]), "_iova\n");
  });
});
