import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { BOARD_KINDS } from "../src/machines/boards.ts";

function run(example: string, ...args: string[]): { readonly output: string; readonly said: string } {
  const path = fileURLToPath(new URL(`./${example}.js`, import.meta.url));
  const { stdout, stderr } = spawnSync(process.execPath, [path, ...args], { encoding: "utf8" });
  return { output: stdout, said: stderr };
}

for (const { name } of BOARD_KINDS) {
  test(`the drivers of the examples run on ${name}`, () => {
    const nic = run("nic", "--platform", name, "--frames", "100");
    assert.match(
      nic.output,
      new RegExp(`^${name}: 100 frames came back, 0 of them wrong; 0 errors,\n0 faults;`),
      nic.said,
    );
    const nvme = run("nvme", "--platform", name, "--commands", "20");
    assert.match(
      nvme.output,
      new RegExp(`^${name}: 20 times written and read back, 0 times wrong;\n0 faults;`),
      nvme.said,
    );
  });
}

test("an example for a platform that there is not says which there are", () => {
  assert.match(run("nic", "--platform", "vax").said, /platform is vax; expected one of linear-tce/);
});
