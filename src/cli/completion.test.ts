/** The script for bash, in bash. Those for zsh and fish: completion.slow.test.ts. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, test } from "node:test";
import { BOARD_KINDS } from "../machines/boards.ts";
import { main } from "./main.ts";
import { RecordingTerminal } from "./terminal.model.ts";

async function script(shell: string): Promise<string> {
  const terminal = new RecordingTerminal();
  assert.equal(await main(["completion", shell], terminal), 0);
  return terminal.output;
}

const isThere = spawnSync("bash", ["-c", "true"]).status === 0;
const options = { skip: isThere ? false : "there is no bash here" };

/** Bash's completions of the last of `words`, cut as bash cuts them. */
async function offered(...words: string[]): Promise<string[]> {
  const ask = `${await script("bash")}
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _iova; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { status, stdout, stderr } = spawnSync("bash", ["--norc", "-c", ask, "bash", ...words], { encoding: "utf8" });
  assert.deepEqual([status, stderr], [0, ""]);
  return stdout.split("\n").filter((line) => line !== "");
}

describe("iova completion bash", options, () => {
  test("is a script that bash can parse", async () => {
    const { status, stderr } = spawnSync("bash", ["-n"], { input: await script("bash"), encoding: "utf8" });
    assert.deepEqual([status, stderr], [0, ""]);
  });

  const platforms = BOARD_KINDS.map(({ name }) => name);
  for (const [words, answer] of [
    [["re"], ["replay"]],
    [["--v"], ["--version"]],
    [
      ["replay", "--p"],
      ["--pools", "--platform", "--page-shift"],
    ],
    [["replay", "trace.txt", "--sec"], ["--seconds"]],
    [["replay", "--platform", ""], platforms],
    [
      ["replay", "-p", "sun4v"],
      ["sun4v", "sun4v-atu"],
    ],
    [["replay", "--platform", "=", "pse"], ["pseries"]],
    [["replay", "--platform", "="], platforms],
    [["replay", "--table", "single-lock,po"], ["single-lock,pooled"]],
    [["replay", "--seconds", ""], []],
    [["replay", "--json", import.meta.dirname.slice(0, -1)], [import.meta.dirname]],
    [["platforms", ""], platforms],
    [["help", "pla"], ["platforms"]],
    [
      ["completion", ""],
      ["bash", "zsh", "fish"],
    ],
    [["version", ""], []],
    [["bogus", "x"], []],
  ] as const) {
    const typed = ["iova", ...words].join(" ").replace(import.meta.dirname.slice(0, -1), "FOLDER");
    test(`'${typed}' is completed to ${answer.join(" or ").replace(import.meta.dirname, "FOLDER") || "nothing"}`, async () => {
      assert.deepEqual(await offered("iova", ...words), answer);
    });
  }

  test("every verb and option of the help is offered", async () => {
    const help = async (...argv: string[]): Promise<string> => {
      const terminal = new RecordingTerminal();
      await main([...argv, "--help"], terminal);
      return terminal.output;
    };
    const verbs = [...(await help()).matchAll(/^ {2}(\w+)(?= .* {2})/gm)].map(([, verb = ""]) => verb);
    assert.ok(verbs.length >= 5, verbs.join());
    assert.deepEqual((await offered("iova", "")).slice(0, verbs.length), verbs);
    for (const verb of verbs) {
      const shown = [...(await help(verb)).matchAll(/^ {2}(?:-\w, )?(--[\w-]+)/gm)].map(([, option]) => option);
      assert.deepEqual(await offered("iova", verb, "--"), shown, verb);
    }
  });
});
