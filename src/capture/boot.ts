/** Recording from the boot on: for faults before a login is possible, and for buffers that live since their driver's probe. */

export interface BootFacts {
  /** As `uname -r` prints it; the newest kernels are assumed without. */
  readonly release?: string;
  /** Names of /sys/class/iommu: `dmar0`, `ivhd0`, `smmu3.0x…`. */
  readonly iommus: readonly string[];
}

/** `dma:*` events came with Linux 6.12. */
const DMA_EVENTS: readonly [number, number] = [6, 12];
/** `iommu.strict=` works on x86 from 5.15 on. */
const COMMON_STRICT: readonly [number, number] = [5, 15];

/** Kernel parameters, fitted to the kernel. */
function bootParameters({ release, iommus }: BootFacts): string {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(release ?? "") ?? [];
  const isBefore = ([a, b]: readonly [number, number]): boolean =>
    major !== undefined && (Number(major) < a || (Number(major) === a && Number(minor) < b));
  const events = ["iommu:*", ...(isBefore(DMA_EVENTS) ? [] : ["dma:*"]), "printk:console"];
  const isOld = isBefore(COMMON_STRICT);
  const has = (prefix: string): boolean => iommus.some((name) => name.startsWith(prefix));
  const strict =
    isOld && has("dmar") ? "intel_iommu=strict" : isOld && has("ivhd") ? "amd_iommu=fullflush" : "iommu.strict=1";
  return `trace_event=${events.join(",")} trace_buf_size=64M ${strict} log_buf_len=16M`;
}

/** Instructions for their use, ready to paste. */
export function bootAdvice(facts: BootFacts): string {
  return `# 1. Boot once with these kernel parameters (GRUB: press e, and append them to the line that begins with linux):
${bootParameters(facts)}

# 2. After the fault, as root:
echo 0 > /sys/kernel/tracing/tracing_on
cat /sys/kernel/tracing/trace > trace.txt; dmesg > dmesg.txt

# 3. Read them; the parameters are gone with the next boot:
iova explain trace.txt --dmesg dmesg.txt
`;
}
