/**
 * A Linux guest for tests: a kernel of Debian's packages, an initial RAM disk with busybox, Node and this project, and QEMU with VT-d, a disk
 * behind it, and a device that makes faults when asked. Nothing is installed but QEMU and busybox.
 */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { needProgram, needUnpacked } from "./debian.ts";
import { Initramfs } from "./initramfs.ts";
import { ROOT } from "./root.ts";

/** Debian's kernel for virtual machines has NVMe, VT-d and ftrace built in: no module is needed. */
const KERNEL = "linux-image-cloud-amd64";
const QEMU = "qemu-system-x86_64";
const BUSYBOX = "/bin/busybox";
const OUTPUT_BYTES = 2 ** 26;

/**
 * Before the test's script: file systems, programs, and `fault`, which makes edu (QEMU's teaching device) read from an address that is not mapped.
 * Its registers: 0x80 source, 0x88 destination in its own memory, 0x90 bytes, 0x98 begin. After the script: results go to the second disk.
 */
const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin HOME=/tmp
mount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev; mount -t tracefs none /sys/kernel/tracing
ln -s /proc/self/fd /dev/fd
edu=/sys/bus/pci/devices/0000:00:04.0
printf '\\006' | dd of=$edu/config bs=1 seek=4 conv=notrunc 2>/dev/null
fault() {
  registers=$(head -n 1 $edu/resource | cut -d ' ' -f 1)
  devmem $((registers + 0x80)) 64 $1
  devmem $((registers + 0x88)) 64 0x40000
  devmem $((registers + 0x90)) 64 16
  devmem $((registers + 0x98)) 64 1
}
iova() { node /iova/bin/iova.js "$@"; }
mkdir /results
cd /results
. /test.sh
cd /
tar cf /dev/nvme1n1 results
sync
echo guest: the test is over
poweroff -f
`;

export interface GuestRun {
  /** The guest's console output. */
  readonly console: string;
  /** Files that the script left in its working folder, by name. */
  readonly folder: string;
}

/** Undefined if a guest can run here; else the reason for a skip. */
export function needGuest(): string | undefined {
  // The guest runs this machine's Node.
  if (process.arch !== "x64") return `the guest is for x86-64, this is ${process.arch}`;
  const kernel = needUnpacked(KERNEL, "linux-image-");
  return (
    needProgram(QEMU, "qemu-system-x86") ??
    needProgram(BUSYBOX, "busybox-static") ??
    ("missing" in kernel ? kernel.missing : undefined)
  );
}

export interface GuestJob {
  /** Shell commands, run as root. */
  readonly script: string;
  /** Further files, by their path in the guest. */
  readonly files: Readonly<Record<string, string>>;
  /** Further parameters of the kernel; those that switch the IOMMU on are always given. */
  readonly parameters: string;
  /** The guest is killed after this time. */
  readonly milliseconds: number;
}

/** Boots a guest, runs the script in it, and calls `look` with the results, which are removed afterwards. Call `needGuest` first. */
export async function withGuest(job: GuestJob, look: (run: GuestRun) => void | Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "iova-guest-"));
  try {
    writeInitramfs(join(folder, "initramfs"), job);
    for (const [disk, bytes] of [
      ["disk", 2 ** 24],
      ["results.tar", OUTPUT_BYTES],
    ] as const) {
      writeFileSync(join(folder, disk), "");
      truncateSync(join(folder, disk), bytes);
    }
    const console = await boot(folder, job);
    const { status, stderr } = spawnSync("tar", ["-xf", join(folder, "results.tar"), "-C", folder], {
      encoding: "utf8",
    });
    if (status !== 0) throw new Error(`the guest left no results (${stderr.trim()}); its console:\n${console}`);
    await look({ console, folder: join(folder, "results") });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function writeInitramfs(path: string, { script, files }: GuestJob): void {
  const disk = new Initramfs(path);
  for (const folder of ["/proc", "/sys", "/dev", "/tmp", "/bin"]) disk.folder(folder);
  disk.file("/init", INIT);
  disk.file("/test.sh", script);
  for (const [name, content] of Object.entries(files)) disk.file(name, content);
  disk.copy(BUSYBOX);
  disk.copy(process.execPath, "/usr/bin/node");
  for (const library of new Set([process.execPath, BUSYBOX].flatMap(librariesOf))) disk.copy(library);
  for (const file of ["package.json", "bin/iova.js"]) disk.copy(join(ROOT, file), `/iova/${file}`);
  for (const file of readdirSync(join(ROOT, "dist"))) {
    if (file.endsWith(".js")) disk.copy(join(ROOT, "dist", file), `/iova/dist/${file}`);
  }
  disk.end();
}

/** Shared libraries that a program is linked with. */
function librariesOf(program: string): string[] {
  const { stdout } = spawnSync("ldd", [program], { encoding: "utf8" });
  return [...stdout.matchAll(/(\/\S+) \(0x/g)].map(([, path]) => path as string);
}

/** Runs the guest until it switches itself off, or kills it after `milliseconds`, or with this process. Returns its console output. */
async function boot(folder: string, { parameters, milliseconds }: GuestJob): Promise<string> {
  const kernel = needUnpacked(KERNEL, "linux-image-");
  if ("missing" in kernel) throw new Error(kernel.missing);
  const images = join(kernel.folder, "boot");
  const image = readdirSync(images).find((name) => name.startsWith("vmlinuz-")) ?? "vmlinuz";
  const machine = `-nodefaults -display none -no-reboot -machine q35,accel=tcg,kernel-irqchip=split -cpu max -m 1G -smp 2 -serial stdio
    -device intel-iommu,intremap=on -device edu,dma_mask=0xffffffffffffffff,addr=04.0
    -drive if=none,id=disk,format=raw,file=${folder}/disk -device nvme,drive=disk,serial=1,addr=05.0
    -drive if=none,id=results,format=raw,file=${folder}/results.tar -device nvme,drive=results,serial=2,addr=06.0
    -kernel ${images}/${image} -initrd ${folder}/initramfs`;
  const append = `console=ttyS0 quiet panic=-1 intel_iommu=on iommu=nopt ${parameters}`;
  const args = ["--pdeathsig", "KILL", QEMU, ...machine.split(/\s+/), "-append", append];
  const qemu = spawn("setpriv", args, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [qemu.stdout, qemu.stderr])
    stream.on("data", (piece) => {
      output += String(piece);
    });
  const timer = setTimeout(() => {
    output += `\n(killed after ${milliseconds} ms)\n`;
    qemu.kill("SIGKILL");
  }, milliseconds);
  await new Promise((resolve, reject) => qemu.on("close", resolve).on("error", reject));
  clearTimeout(timer);
  return output;
}
