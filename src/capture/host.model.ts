/** A machine in memory: files, and a tracefs whose instances come and go as in Linux. Any step can be made to fail. */
import type { HostFiles, OpenFile } from "./host-files.ts";

const TRACEFS = "/sys/kernel/tracing";
const INSTANCES = `${TRACEFS}/instances`;
/** Files of a new instance. */
const IN_INSTANCE: Readonly<Record<string, string>> = {
  tracing_on: "1",
  buffer_size_kb: "1408",
  trace:
    "# entries-in-buffer/entries-written: 2/5   #P:2\n task-1 [000] .....     7.172004: map: IOMMU: iova=0x1000 - 0x2000\n",
  trace_pipe: "",
  "options/stacktrace": "0",
  "events/enable": "0",
  "events/iommu/enable": "0",
  "events/iommu/io_page_fault/enable": "0",
  "events/dma/enable": "0",
  "events/dma/filter": "none",
  "events/dma/dma_unmap_page/trigger": "",
  "events/printk/console/enable": "0",
};
const MACHINE: Readonly<Record<string, string>> = {
  [`${INSTANCES}/.`]: "",
  [`${TRACEFS}/events/iommu/map`]: "",
  [`${TRACEFS}/events/dma/dma_map_page`]: "",
  "/proc/meminfo": "MemTotal: 4194304 kB\nMemAvailable:    2097152 kB\n",
  "/proc/sys/kernel/osrelease": "6.12.107\n",
  "/sys/devices/system/cpu/online": "0-1\n",
  "/sys/kernel/iommu_groups/0/type": "DMA\n",
  "/sys/bus/pci/devices/0000:01:00.0": "",
  "/dev/kmsg": "6,1,100,-;Linux version 6.12.107\n",
};

export class ModelHost implements HostFiles {
  readonly files: Map<string, string> = new Map(Object.entries(MACHINE));
  /** Every write, `PATH=VALUE`. */
  readonly written: string[] = [];
  /** Steps so far: calls that can fail. */
  steps = 0;
  /** The step that fails, counted from 1. */
  failAt = 0;
  /** Records that come to the kernel's log after its first reading. */
  news: string[] = [];
  /** Events that come to the fault watch. */
  faults: string[] = [];
  #openFiles: string[] = [];

  /** False: a kernel before 6.12. */
  set hasDmaEvents(has: false) {
    this.#hasDma = has;
    this.files.delete(`${TRACEFS}/events/dma/dma_map_page`);
  }
  #hasDma = true;

  exists(path: string): boolean {
    return [...this.files.keys()].some((file) => file === path || file.startsWith(`${path}/`));
  }
  read(path: string): string {
    const text = this.files.get(path);
    if (text === undefined) throw systemError("ENOENT");
    return text;
  }
  write(path: string, text: string): void {
    this.#step();
    if (!this.files.has(path)) throw systemError("ENOENT");
    this.written.push(`${path.replace(`${INSTANCES}/`, "")}=${text}`);
    if (path !== "/dev/kmsg") this.files.set(path, text);
  }
  list(path: string): string[] {
    const below = [...this.files.keys()].filter((file) => file.startsWith(`${path}/`));
    return [...new Set(below.map((file) => file.slice(path.length + 1).split("/")[0] as string))].sort();
  }
  makeFolder(path: string): void {
    this.#step();
    for (const [name, text] of Object.entries(IN_INSTANCE))
      if (this.#hasDma || !name.includes("/dma/")) this.files.set(`${path}/${name}`, text);
  }
  removeFolder(path: string): void {
    if (this.#openFiles.some((file) => file.startsWith(`${path}/`))) throw systemError("EBUSY");
    for (const file of [...this.files.keys()]) if (file.startsWith(`${path}/`)) this.files.delete(file);
  }
  open(path: string): OpenFile {
    this.#step();
    const isLog = path === "/dev/kmsg";
    const texts = isLog || path.endsWith("/trace") ? [this.read(path)] : [];
    const later = isLog ? this.news : path.includes("iova-faults/") ? this.faults : [];
    let isFresh = true;
    this.#openFiles.push(path);
    return {
      read: (bytes) => {
        this.#step();
        const text = texts.shift();
        if (text !== undefined) return new TextEncoder().encodeInto(text, bytes).written;
        if (isLog && isFresh) {
          isFresh = false;
          return 0;
        }
        return new TextEncoder().encodeInto(later.shift() ?? "", bytes).written;
      },
      close: () => {
        this.#openFiles = this.#openFiles.filter((file) => file !== path);
      },
    };
  }
  run(command: string): string {
    return command.includes("/proc/cmdline") ? "intel_iommu=on\n" : "";
  }

  #step(): void {
    this.steps++;
    if (this.steps === this.failAt) throw systemError("EIO");
  }
}

export function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: made up`), { code, syscall: "write" });
}
