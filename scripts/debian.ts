/** What tests need beyond npm: programs of Debian packages, installed where that is possible. */
import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync } from "node:fs";

/**
 * Makes `program` (an absolute path) available, as root on Debian by installing `packageName`. Undefined when it is there,
 * else why not: a reason to skip.
 */
export function needProgram(program: string, packageName: string): string | undefined {
  if (isExecutable(program)) return undefined;
  if (!existsSync("/etc/debian_version")) return `${program} is missing, and this is no Debian to install it on`;
  if (process.getuid?.() !== 0) return `${program} is missing; run: sudo apt-get install ${packageName}`;
  console.log(`installing the Debian package ${packageName} …`);
  for (const args of [["update"], ["install", "--yes", "--no-install-recommends", packageName]]) {
    const failed = aptGet(args);
    if (failed !== undefined) return `${program} is missing, and apt-get ${args[0]} failed: ${failed}`;
  }
  return isExecutable(program) ? undefined : `package ${packageName} has no ${program}`;
}

/** Undefined, or the end of what a failing apt-get said. Waits for another one that holds the lock. */
function aptGet(args: readonly string[]): string | undefined {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const options = ["-qq", "-o", "DPkg::Lock::Timeout=300"];
  const { status, stderr, error } = spawnSync("apt-get", [...options, ...args], { env, encoding: "utf8" });
  if (status === 0) return undefined;
  return error?.message ?? stderr.trim().split("\n").slice(-3).join("; ");
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
