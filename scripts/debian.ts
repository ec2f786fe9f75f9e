/** Programs of Debian packages for tests, installed if possible. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isExecutable } from "../src/machines/qemu/programs.ts";

/** The machine on which a program is needed. */
export interface Host {
  readonly isDebian: boolean;
  readonly isRoot: boolean;
}

/** Earlier results by program: a failed installation is not tried again by further tests. */
const answers = new Map<string, string | undefined>();

/**
 * Makes `program` (a path, or a name on PATH) available, as root on Debian by installing `packageName`. Returns undefined, or the reason
 * why the program is missing, for a skip.
 */
export function needProgram(program: string, packageName: string, host: Host = thisHost()): string | undefined {
  if (isExecutable(program)) return undefined;
  if (!answers.has(program)) answers.set(program, install(program, packageName, host));
  return answers.get(program);
}

/** Where packages are unpacked that are not installed; later runs find them there. */
const UNPACKED = join(tmpdir(), "iova-debian");

/**
 * The folder with the files of the package that `metapackage` depends on and whose name begins with `prefix`, such as Debian's newest kernel:
 * downloaded and unpacked, not installed. When it can't be had, the answer is the reason, for a test to skip with.
 */
export function needUnpacked(
  metapackage: string,
  prefix: string,
  host: Host = thisHost(),
): { readonly folder: string } | { readonly missing: string } {
  if (!host.isDebian) return { missing: `this is no Debian to download ${metapackage} from` };
  let name = dependencyOf(metapackage, prefix);
  if (name === undefined && host.isRoot) {
    const failed = aptGet(["update"]);
    if (failed !== undefined) return { missing: `apt-get update failed: ${failed}` };
    name = dependencyOf(metapackage, prefix);
  }
  if (name === undefined) return { missing: `apt-cache knows no package ${metapackage}` };
  const folder = join(UNPACKED, name);
  return existsSync(folder) ? { folder } : unpack(name, folder);
}

function dependencyOf(metapackage: string, prefix: string): string | undefined {
  const { stdout } = spawnSync("apt-cache", ["depends", metapackage], { encoding: "utf8" });
  return [...(stdout ?? "").matchAll(/Depends: (\S+)/g)]
    .map(([, name]) => name)
    .find((name) => name?.startsWith(prefix));
}

/** Under another name first: a folder that is there is whole. */
function unpack(name: string, folder: string): { readonly folder: string } | { readonly missing: string } {
  console.log(`downloading the Debian package ${name} …`);
  mkdirSync(UNPACKED, { recursive: true });
  const work = mkdtempSync(join(UNPACKED, "work-"));
  try {
    const script = 'apt-get -qq download "$1" && mkdir files && dpkg-deb -x *.deb files';
    const { status, stderr } = spawnSync("/bin/sh", ["-c", script, "sh", name], { cwd: work, encoding: "utf8" });
    if (status !== 0)
      return { missing: `package ${name} can't be had: ${stderr.trim().split("\n").slice(-3).join("; ")}` };
    // Another test may have been faster; its folder serves as well.
    if (!existsSync(folder)) renameSync(join(work, "files"), folder);
    return { folder };
  } finally {
    rmSync(work, { recursive: true });
  }
}

function thisHost(): Host {
  return { isDebian: existsSync("/etc/debian_version"), isRoot: process.getuid?.() === 0 };
}

function install(program: string, packageName: string, { isDebian, isRoot }: Host): string | undefined {
  if (!isDebian) return `${program} is missing, and this is no Debian to install it on`;
  if (!isRoot) return `${program} is missing; run: sudo apt-get install ${packageName}`;
  console.log(`installing the Debian package ${packageName} …`);
  for (const args of [["update"], ["install", "--yes", "--no-install-recommends", packageName]]) {
    const failed = aptGet(args);
    if (failed !== undefined) return `${program} is missing, and apt-get ${args[0]} failed: ${failed}`;
  }
  return isExecutable(program) ? undefined : `package ${packageName} has no ${program}`;
}

/**
 * Undefined, or the end of what a failing apt-get said. Waits for another one: for those of tests beside this one by a lock of our own,
 * since apt-get itself waits for dpkg's lock, but not for that of its lists.
 */
function aptGet(args: readonly string[]): string | undefined {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const lock = ["--timeout", "600", join(tmpdir(), "iova-apt-get.lock")];
  const options = ["-qq", "-o", "DPkg::Lock::Timeout=300"];
  const { status, stderr, error } = spawnSync("/usr/bin/flock", [...lock, "apt-get", ...options, ...args], {
    env,
    encoding: "utf8",
  });
  if (status === 0) return undefined;
  return error?.message ?? stderr.trim().split("\n").slice(-3).join("; ");
}
