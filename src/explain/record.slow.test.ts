/** The commands that findings recommend, over all logs of the tests. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { explainTexts } from "./texts.ts";

const REPORTS = fileURLToPath(new URL("../../../src/explain/fixtures/reports/", import.meta.url));
const OWN = fileURLToPath(new URL("../../../src/explain/fixtures/own/", import.meta.url));

test("each command of each log of the tests is one that bash can read", () => {
  const logs = [
    ...readdirSync(REPORTS).map((name) => readFileSync(join(REPORTS, name, "log.txt"), "utf8")),
    ...readdirSync(OWN).flatMap((name) => readFileSync(join(OWN, name), "utf8").split(/^=== /m)),
  ];
  const commands = new Set(
    logs.flatMap((text) => explainTexts([{ file: "log", text }]).findings.flatMap(({ record }) => record)),
  );
  const script = [...commands].filter((command) => !command.startsWith("boot with:")).join("\n");
  assert.ok(commands.size > 20, String(commands.size));
  const { status, stderr } = spawnSync("bash", ["-n"], { input: script, encoding: "utf8" });
  assert.equal(status, 0, stderr);
});
