/** Tests of needProgram: a program is found, installed by a fake apt-get, or missing with a reason for a skip. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { needProgram } from "./debian.ts";

const SUITE = JSON.stringify(new URL("./suite.js", import.meta.url).href);
const ROOT_ON_DEBIAN = { isDebian: true, isRoot: true };

const folder = mkdtempSync(join(tmpdir(), "iova-debian-"));
const log = join(folder, "log");
const path = process.env["PATH"] ?? "";
after(() => {
  process.env["PATH"] = path;
  rmSync(folder, { recursive: true });
});
// Hides the programs of this machine.
process.env["PATH"] = folder;

/** A fake apt-get that records its commands and then runs this shell script. */
function withAptGet(script: string): void {
  rmSync(log, { force: true });
  writeFileSync(join(folder, "apt-get"), `#!/bin/sh\necho "$4" >> ${log}\n${script}\n`, { mode: 0o755 });
}

function asked(): string[] {
  return existsSync(log) ? readFileSync(log, "utf8").trim().split("\n") : [];
}

test("an existing program, by its path or on PATH, is not installed", () => {
  withAptGet("exit 1");
  assert.equal(needProgram("/bin/sh", "dash", ROOT_ON_DEBIAN), undefined);
  assert.equal(needProgram("apt-get", "apt", ROOT_ON_DEBIAN), undefined);
  assert.deepEqual(asked(), []);
});

test("if nothing can be installed, the reason says so, or names the command to type", () => {
  withAptGet("exit 1");
  const nowhere = needProgram("qemu-a", "qemu", { isDebian: false, isRoot: true });
  assert.equal(nowhere, "qemu-a is missing, and this is no Debian to install it on");
  const user = needProgram("qemu-b", "qemu", { isDebian: true, isRoot: false });
  assert.equal(user, "qemu-b is missing; run: sudo apt-get install qemu");
  assert.deepEqual(asked(), []);
});

test("a failed installation is tried once; its reason ends with apt-get's last lines", () => {
  withAptGet('echo "E: no network" >&2; exit 100');
  const reason = "qemu-c is missing, and apt-get update failed: E: no network";
  assert.equal(needProgram("qemu-c", "qemu", ROOT_ON_DEBIAN), reason);
  assert.equal(needProgram("qemu-c", "qemu", ROOT_ON_DEBIAN), reason);
  assert.deepEqual(asked(), ["update"]);
  rmSync(join(folder, "apt-get"));
  assert.match(needProgram("qemu-d", "qemu", ROOT_ON_DEBIAN) ?? "", /apt-get update failed: .*apt-get/);
});

test("a program is installed by apt-get; a package without the program is a reason", () => {
  withAptGet(`[ $4 = update ] || { echo '#!/bin/sh' > ${folder}/qemu-e; /bin/chmod 755 ${folder}/qemu-e; }`);
  assert.equal(needProgram("qemu-e", "qemu", ROOT_ON_DEBIAN), undefined);
  assert.deepEqual(asked(), ["update", "install"]);
  assert.equal(needProgram("qemu-f", "qemu", ROOT_ON_DEBIAN), "package qemu has no qemu-f");
});

test("without QEMU its tests are skipped with a reason; with CI=true they fail", () => {
  withAptGet('echo "E: no network" >&2; exit 100');
  const missing = /powernv@qemu, pages of 4 KiB.*qemu-system-ppc64 is missing/s;
  const skipped = suite("false");
  assert.match(skipped.output, missing);
  assert.match(skipped.output, /\n[1-9]\d* passed, 0 failed, [1-9]\d* skipped\n$/);
  assert.equal(skipped.status, 0);
  const failed = suite("true");
  assert.match(failed.output, missing);
  assert.match(failed.output, /and CI=true allows no skips[\s\S]*\n[1-9]\d* passed, [1-9]\d* failed\n$/);
  assert.equal(failed.status, 1);
});

/** The tests of the boards on QEMU, run where only this test's apt-get is on PATH. */
function suite(ci: string): { readonly status: number | null; readonly output: string } {
  const file = join(folder, "suite.mjs");
  writeFileSync(
    file,
    `import { main } from ${SUITE}; process.exitCode = await main(["--exhaustive", "started-machines"]);`,
  );
  // Node refuses to run tests inside of tests: the variable of the outer run is removed.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const { status, stdout } = spawnSync(process.execPath, [file], { env: { ...env, CI: ci }, encoding: "utf8" });
  return { status, output: stdout };
}
