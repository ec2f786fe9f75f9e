/** Runs the driver examples as a user does. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

export interface Ran {
  readonly status: number | null;
  readonly output: string;
  readonly said: string;
}

export function run(example: string, ...args: string[]): Ran {
  const path = fileURLToPath(new URL(`./${example}.js`, import.meta.url));
  const { status, stdout, stderr } = spawnSync(process.execPath, [path, ...args], { encoding: "utf8" });
  return { status, output: stdout, said: stderr };
}

/** Asserts that both drivers finish their work on the platform, without a mistake, a fault or a leaked entry. */
export function assertBothRun(platform: string, frames: number, commands: number): void {
  const ends = "\n0 faults; (unknown|\\d+) invalidations, 0 entries still taken\n$";
  const nic = run("nic", "--platform", platform, "--frames", `${frames}`);
  assert.match(
    nic.output,
    new RegExp(`^${platform}: ${frames} frames came back, 0 of them wrong; 0 errors,${ends}`),
    nic.said,
  );
  const nvme = run("nvme", "--platform", platform, "--commands", `${commands}`);
  assert.match(
    nvme.output,
    new RegExp(`^${platform}: ${commands} times written and read back, 0 times wrong;${ends}`),
    nvme.said,
  );
  assert.deepEqual([nic.status, nvme.status], [0, 0]);
}
