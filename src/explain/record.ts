/**
 * The commands that decide between what is left of a finding: few, ready to paste, most useful first, fitted to the kernel that the log names.
 * What a command decides stands behind it as a comment of the shell.
 */
import type { Decision } from "./decide.ts";
import type { Evidence } from "./evidence.ts";
import type { Group } from "./groups.ts";
import { hex } from "./statement.ts";

/** `dma:*` events came with Linux 6.12. */
const DMA_EVENTS = [6, 12] as const;
/** `iommu.strict=` works on x86 from 5.15 on. */
const COMMON_STRICT = [5, 15] as const;
/** A stack is recorded for unmaps that begin at most so far before the address. */
const LONGEST_MAPPING = 2n ** 21n;

/** What the commands need to know. */
interface Subject {
  readonly group: Group;
  readonly decision: Decision;
  readonly evidence: Evidence;
  readonly kernel: readonly [major: number, minor: number] | undefined;
  /** PCI device, or undefined when the lines name none. */
  readonly device: string | undefined;
}

export function commandsFor(group: Group, decision: Decision, evidence: Evidence): readonly string[] {
  const [kernel] = evidence.about("kernel");
  const version = /^(\d+)\.(\d+)/.exec(kernel?.version ?? "");
  const subject: Subject = {
    group,
    decision,
    evidence,
    kernel: version === null ? undefined : [Number(version[1]), Number(version[2])],
    device: group.facts.find(({ device }) => device !== undefined)?.device,
  };
  return COMMANDS[group.kind](subject).filter((command) => command !== "");
}

function command(text: string, decides: string): string {
  return `${text}   # ${decides}`;
}

/** True when the log names a kernel, and it is older. */
function isBefore({ kernel }: Subject, [major, minor]: readonly [number, number]): boolean {
  return kernel !== undefined && (kernel[0] < major || (kernel[0] === major && kernel[1] < minor));
}

function live(subject: Subject, decides: string): string {
  const dma = isBefore(subject, DMA_EVENTS) ? "" : "echo 1 > events/dma/enable; ";
  return command(
    `cd /sys/kernel/tracing; echo 65536 > buffer_size_kb; echo 1 > events/iommu/enable; ${dma}echo 1 > events/printk/console/enable; sleep 60; cat trace > /tmp/trace.txt; dmesg > /tmp/dmesg.txt`,
    decides,
  );
}

function fromBoot(subject: Subject, decides: string): string {
  const events = isBefore(subject, DMA_EVENTS) ? "iommu:*" : "iommu:*,dma:*";
  return command(`boot with: trace_event=${events} trace_buf_size=64M ${strict(subject)}`, decides);
}

function strict(subject: Subject): string {
  const iommus = subject.evidence.about("iommu").map(({ iommu }) => iommu);
  const families = subject.group.facts.map((fact) => (fact.kind === "fault" ? fact.family : ""));
  const has = (name: string): boolean => iommus.includes(name) || families.includes(name);
  if (isBefore(subject, COMMON_STRICT) && has("intel")) return "intel_iommu=strict";
  if (isBefore(subject, COMMON_STRICT) && has("amd")) return "amd_iommu=fullflush";
  return "iommu.strict=1";
}

function stacks(subject: Subject): string {
  const [address] = subject.group.addresses;
  if (address === undefined || address < 4096n) return "";
  const from = address > LONGEST_MAPPING ? address - LONGEST_MAPPING : 0n;
  return command(
    `echo 'stacktrace if iova <= ${hex(address)} && iova > ${hex(from)}' > /sys/kernel/tracing/events/iommu/unmap/trigger`,
    "who unmapped it",
  );
}

function device({ device: name }: Subject): string {
  return name === undefined ? "" : command(`lspci -nnvvv -s ${name}`, "what the device is, its driver, its BARs");
}

const GROUPS = 'lspci -nnk -D; for d in /sys/kernel/iommu_groups/*/devices/*; do echo "$d"; done';

const COMMANDS: Readonly<Record<Group["kind"], (subject: Subject) => readonly string[]>> = {
  "dma-fault": (subject) => {
    const leads = subject.decision.candidates[0]?.verdict;
    const trace = live(subject, "was the address mapped, for which device, and when was it unmapped?");
    const boot = fromBoot(
      subject,
      "the same for buffers that live since boot; strict mode makes a late DMA fault at once",
    );
    if (leads === "handover") {
      const firmware =
        "dmesg | grep -iE 'efifb|simplefb|framebuffer|BIOS-e820|RMRR'; grep . /sys/kernel/iommu_groups/*/reserved_regions";
      return [command(firmware, "does the address lie in a region of the firmware?"), boot];
    }
    if (subject.evidence.answerTo(subject.group.first) !== undefined) {
      return [
        stacks(subject),
        fromBoot(
          subject,
          "does it move? Strict invalidation makes a late DMA fault at once, and the recording begins before the first mapping",
        ),
      ];
    }
    if (leads === "peer-bar" || leads === "physical-address") {
      return [command("cat /proc/iomem; lspci -vv", "what lies at the address physically (as root)"), trace];
    }
    return [trace, boot, stacks(subject)];
  },
  "no-table": (subject) => [
    command(GROUPS, `is ${subject.device ?? "the requester"} a device at all, and in which group?`),
    command(
      "dmesg | grep -iE 'iommu group|efifb|simplefb|RMRR|kexec'",
      "who was attached, and what the firmware left running",
    ),
  ],
  "table-error": (subject) => [
    command(
      "grep -H . /sys/kernel/debug/iommu/intel/*/domain_translation_struct",
      "what the table holds at that address (VT-d, Linux 6.7 on)",
    ),
    fromBoot(subject, "who wrote the entry"),
  ],
  interrupt: (subject) => [
    command(
      "cat /proc/interrupts; echo 1 > /sys/kernel/tracing/events/irq_vectors/enable",
      "which interrupt it was, and who set it up",
    ),
    device(subject),
  ],
  "invalidation-timeout": (subject) => [
    command("dmesg | grep -iE 'AER|pciehp|link|D3cold|reset'", "did a device go away just before?"),
    subject.device === undefined
      ? command(
          "lspci -vvv | grep -E '^[0-9a-f]|ATSCtl|LnkSta:'",
          "which devices have an IOTLB of their own, and do they answer?",
        )
      : device(subject),
  ],
  "conflicting-entry": (subject) => [
    command("grep . /sys/kernel/iommu_groups/*/reserved_regions", "is the address in a reserved region?"),
    live(subject, "who maps the address twice"),
  ],
  "map-refused": () => [
    command(
      "ulimit -l; grep -i lck /proc/$(pgrep -o qemu)/status; dmesg | grep -i memlock",
      "the limit of locked memory, and its use",
    ),
    command("cat /sys/module/vfio_iommu_type1/parameters/dma_entry_limit", "the most mappings of a container"),
    command("grep . /sys/kernel/iommu_groups/*/reserved_regions", "holes in the address space"),
  ],
  "assignment-refused": () => [
    command(GROUPS, "what else is in the group"),
    command(
      "grep . /sys/kernel/iommu_groups/*/reserved_regions; dmesg | grep -iE 'RMRR|IVMD'",
      "regions that the firmware asks for",
    ),
  ],
  "bounce-refused": () => [
    command(
      "grep . /sys/kernel/debug/swiotlb/io_tlb_*",
      "the pool's size and use; twice, some minutes apart, shows a leak",
    ),
    command(
      "echo 1 > /sys/kernel/tracing/events/swiotlb/enable; sleep 60; cat /sys/kernel/tracing/trace",
      "who uses it, and with which sizes",
    ),
  ],
  exhausted: (subject) => [
    live(subject, "what is mapped, by which device, and the largest hole: iova stat /tmp/trace.txt"),
    command("dmesg | grep -iE 'iommu|table|window'", "the table's size"),
  ],
  "dma-api-misuse": () => [
    command(
      "boot with: dma_debug_entries=131072, on a kernel with CONFIG_DMA_API_DEBUG",
      "the whole message, with sizes and a stack",
    ),
    command("cat /sys/kernel/debug/dma-api/dump", "what the driver has mapped; twice shows growth"),
  ],
  frozen: () => [
    command(
      "dmesg | grep -iE 'EEH|AER|PHB|IOMMU'",
      "the lines of the freeze itself, with the bridge's error registers",
    ),
    command("grep . /sys/bus/pci/devices/*/eeh_pe_state", "which devices are still cut off"),
  ],
  leak: (subject) => [
    fromBoot(subject, "the same device from its first mapping on: who maps and does not unmap"),
    command("cat /sys/kernel/debug/dma-api/dump", "what is mapped, with CONFIG_DMA_API_DEBUG; twice shows growth"),
  ],
  slow: () => [
    command("perf record -a -g -- sleep 10; perf report --no-children", "where the time goes"),
    command(
      "cd /sys/kernel/tracing; echo '*iotlb_sync* *flush_iotlb* alloc_iova*' > set_graph_function; echo function_graph > current_tracer; sleep 5; cat trace > /tmp/graph.txt; echo nop > current_tracer",
      "the time of one invalidation: microseconds are normal, milliseconds are not",
    ),
  ],
};
