/** The means of this machine for a recording, and whether they suffice. */
import { IovaError } from "../units/errors.ts";
import type { HostFiles } from "./host-files.ts";
import { BUFFER_KIB, TRACEFS_PLACES } from "./plan.ts";

export interface Machine {
  /** Where tracefs is mounted. */
  readonly tracefs: string;
  /** As `uname -r` prints it. */
  readonly release: string;
  readonly cpus: number;
  /** Memory that can be had, in KiB. */
  readonly availableKib: number;
  readonly hasDmaEvents: boolean;
  /** True if a device is behind an IOMMU. */
  readonly hasGroups: boolean;
}

/** Below this, a recording holds a moment only. */
const LEAST_BUFFER_KIB = 256;
/** The capability's bit, capabilities(7). */
const CAP_SYS_ADMIN = 21n;

/** Looks at the machine. Throws IovaError, one line with what to do, when nothing can be recorded here. */
export function lookAt(files: HostFiles, user: number | undefined): Machine {
  if (user !== 0)
    throw unable("recording needs root; run: sudo iova capture (in a clone: sudo node bin/iova.js capture)");
  const tracefs = TRACEFS_PLACES.find((place) => files.exists(`${place}/instances`));
  if (tracefs === undefined) {
    if (!canMount(files)) {
      throw unable(
        `there is no tracefs at ${TRACEFS_PLACES[0]}, and this process may not mount it (no CAP_SYS_ADMIN, as in most containers); run it on ` +
          "the host itself: iova capture --dry-run prints a script that needs no Node",
      );
    }
    throw unable(
      `there is no tracefs at ${TRACEFS_PLACES[0]}; run: mount -t tracefs nodev ${TRACEFS_PLACES[0]} ` +
        "(when that fails, the kernel is built without CONFIG_FTRACE)",
    );
  }
  if (textOf(files, "/sys/kernel/security/lockdown").includes("[confidentiality]")) {
    throw unable("the kernel is locked down (confidentiality), which forbids tracing; boot with: lockdown=integrity");
  }
  const [hasIommuEvents, hasDmaEvents] = ["iommu", "dma"].map((system) => files.exists(`${tracefs}/events/${system}`));
  if (hasIommuEvents !== true && hasDmaEvents !== true) {
    throw unable(
      `${tracefs}/events has neither iommu nor dma: the kernel is built without CONFIG_IOMMU_API or CONFIG_EVENT_TRACING; ` +
        "boot a kernel of a distribution",
    );
  }
  return {
    tracefs,
    release: textOf(files, "/proc/sys/kernel/osrelease").trim(),
    cpus: cpusIn(textOf(files, "/sys/devices/system/cpu/online")),
    availableKib: Number(/^MemAvailable:\s*(\d+) kB/m.exec(textOf(files, "/proc/meminfo"))?.[1] ?? Number.NaN),
    hasDmaEvents: hasDmaEvents === true,
    hasGroups: files.list("/sys/kernel/iommu_groups").length > 0,
  };
}

/** True if the process has CAP_SYS_ADMIN, or the kernel does not say. */
function canMount(files: HostFiles): boolean {
  const effective = /^CapEff:\s*([\da-f]+)/m.exec(textOf(files, "/proc/self/status"))?.[1];
  return effective === undefined || ((BigInt(`0x${effective}`) >> CAP_SYS_ADMIN) & 1n) === 1n;
}

/**
 * Size of each CPU's buffer, in KiB: what is asked for, else what a quarter of the available memory allows. Throws IovaError when more is asked
 * for than half of it.
 */
export function bufferKibFor({ cpus, availableKib }: Machine, asked: number | undefined): number {
  // A kernel that does not tell is taken at the user's word.
  const available = Number.isNaN(availableKib) ? Number.POSITIVE_INFINITY : availableKib;
  if (asked === undefined) {
    return Math.max(LEAST_BUFFER_KIB, Math.min(BUFFER_KIB, Math.floor(available / 4 / cpus)));
  }
  const most = Math.floor(available / 2 / cpus);
  if (asked <= most) return asked;
  throw unable(
    `--buffer: ${asked} KiB for each of ${cpus} CPUs are more than half of the ${Math.floor(available / 1024)} MiB of memory that can be had; ` +
      `expected at most ${most}k`,
  );
}

/** The kernel's name of a device; throws IovaError when the machine has no such device. */
export function deviceNamed(files: HostFiles, option: string, name: string): string {
  const candidates = /^[\da-f]{2}:[\da-f]{2}\.[0-7]$/i.test(name) ? [`0000:${name.toLowerCase()}`] : [name];
  const names = files.list("/sys/bus").flatMap((bus) => files.list(`/sys/bus/${bus}/devices`));
  const found = candidates.find((candidate) => names.includes(candidate));
  if (found !== undefined) return found;
  throw unable(
    `${option}: this machine has no device ${name}; expected a name as in /sys/bus/*/devices, such as 0000:01:00.0`,
  );
}

function unable(message: string): IovaError {
  return new IovaError("capture-impossible", message);
}

/** Empty when there is no such file. */
function textOf(files: HostFiles, path: string): string {
  return files.exists(path) ? files.read(path) : "";
}

/** `0-3,8` → 5; at least 1. */
function cpusIn(list: string): number {
  let cpus = 0;
  for (const [, first, last] of list.matchAll(/(\d+)(?:-(\d+))?/g)) cpus += Number(last ?? first) - Number(first) + 1;
  return Math.max(1, cpus);
}
