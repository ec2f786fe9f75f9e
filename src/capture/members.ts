/**
 * Members of an archive beside the trace and the kernel's log: files of the machine that say which devices, groups, reserved regions and
 * boot parameters it has. Each is the output of a shell command, so that the script for other machines gathers the same.
 */

export interface Member {
  /** Name in the archive. */
  readonly name: string;
  /** Prints it; `$recorder` is the folder of the instance that records. */
  readonly command: string;
}

const GROUPS = "/sys/kernel/iommu_groups/*";
const PCI = "/sys/bus/pci/devices/*";

export const TRACE_MEMBER = "trace.txt";
export const LOG_MEMBER = "dmesg.txt";
/** How it was recorded. */
export const ABOUT_MEMBER = "capture.txt";

export const MEMBERS: readonly Member[] = [
  { name: "version.txt", command: "cat /proc/version" },
  { name: "cmdline.txt", command: "cat /proc/cmdline" },
  { name: "groups.txt", command: `ls -d ${GROUPS}/devices/*; grep -H . ${GROUPS}/type ${GROUPS}/reserved_regions` },
  {
    name: "lspci.txt",
    command: `lspci -D -nnkvv || grep -H . ${PCI}/vendor ${PCI}/device ${PCI}/class ${PCI}/resource`,
  },
  { name: "masks.txt", command: `grep -H . ${PCI}/dma_mask_bits` },
  { name: "iomem.txt", command: "cat /proc/iomem" },
  // Events kept and lost.
  { name: "stats.txt", command: 'grep -H . "$recorder"/per_cpu/cpu*/stats' },
];
