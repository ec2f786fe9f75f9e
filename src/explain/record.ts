/**
 * The commands that decide between what is left of a finding: few, ready to paste, most useful first, fitted to the kernel that the log names.
 * A comment of the shell behind a command says what it decides.
 */
import type { Decision } from "./decide.ts";
import type { Evidence } from "./evidence.ts";
import type { Group } from "./groups.ts";
import { hex } from "./statement.ts";

/** `dma:*` events came with Linux 6.12. */
const DMA_EVENTS: Version = [6, 12];
/** `iommu.strict=` works on x86 from 5.15 on; `intel_iommu=strict` and `amd_iommu=fullflush` do before, and still. */
const COMMON_STRICT: Version = [5, 15];
/** tracefs has a place of its own from 4.1 on. */
const OWN_TRACEFS: Version = [4, 1];
/** VT-d's messages say which kernel printed them: `[DMA Read NO_PASID]` from 5.14 on, `DMAR:[DMA Read]` in two lines until 4.1. */
const PASID_IN_BRACKETS: Version = [5, 14];
const ONE_LINE_FAULTS: Version = [4, 2];
/** A stack is recorded for unmaps that begin at most so far before the address. */
const LONGEST_MAPPING = 2n ** 21n;
/** Seconds after the boot in which a fault is too early for a recording that a user starts. */
const BOOT_SECONDS = 30;

/** Where tracefs is mounted. */
export const TRACING = "/sys/kernel/tracing";

type Version = readonly [major: number, minor: number];

/** Parameters of the commands. */
interface Subject {
  readonly group: Group;
  readonly decision: Decision;
  readonly evidence: Evidence;
  /** The kernel that the log names, or one that is surely newer. */
  readonly kernel: { readonly version: Version; readonly isExact: boolean } | undefined;
  /** PCI device, or undefined when the lines name none. */
  readonly device: string | undefined;
}

export function commandsFor(group: Group, decision: Decision, evidence: Evidence): readonly string[] {
  const subject: Subject = {
    group,
    decision,
    evidence,
    kernel: kernelOf(group, evidence),
    device: group.facts.find(({ device }) => device !== undefined)?.device,
  };
  return COMMANDS[group.kind](subject).filter((command) => command !== "");
}

function kernelOf(group: Group, evidence: Evidence): Subject["kernel"] {
  const [kernel] = evidence.about("kernel");
  const version = /^(\d+)\.(\d+)/.exec(kernel?.version ?? "");
  if (version !== null) return { version: [Number(version[1]), Number(version[2])], isExact: true };
  const { first } = group;
  if (first.kind !== "fault" || first.family !== "intel" || /VT-D/.test(first.text)) return undefined;
  if (/DMAR:\[DMA (?:Read|Write)\]/.test(first.text)) return { version: ONE_LINE_FAULTS, isExact: false };
  return /\[DMA (?:Read|Write)\]/.test(first.text) ? { version: PASID_IN_BRACKETS, isExact: false } : undefined;
}

function command(text: string, decides: string): string {
  return `${text}   # ${decides}`;
}

/** True if the kernel is older; undefined if the log does not say. */
function isBefore({ kernel }: Subject, [major, minor]: Version): boolean | undefined {
  if (kernel === undefined) return undefined;
  const isOlder = kernel.version[0] < major || (kernel.version[0] === major && kernel.version[1] < minor);
  if (kernel.isExact) return isOlder;
  return isOlder || (kernel.version[0] === major && kernel.version[1] === minor) ? true : undefined;
}

function tracing(subject: Subject): string {
  return isBefore(subject, OWN_TRACEFS) === true ||
    (subject.kernel?.isExact === false && subject.kernel.version === ONE_LINE_FAULTS)
    ? "/sys/kernel/debug/tracing"
    : TRACING;
}

/** Records for a minute, saves, and puts the settings back. */
function live(subject: Subject, decides: string): string {
  const trigger = "events/iommu/unmap/trigger";
  const stack = stackTrigger(subject);
  const steps = [
    `cd ${tracing(subject)}`,
    "echo 65536 > buffer_size_kb",
    ...(stack === undefined ? [] : [`echo '${stack}' > ${trigger}`]),
    "echo 1 > events/iommu/enable",
    ...(isBefore(subject, DMA_EVENTS) === true ? [] : ["echo 1 > events/dma/enable"]),
    "echo 1 > events/printk/console/enable",
    "sleep 60",
    "cat trace > /tmp/trace.txt",
    "dmesg > /tmp/dmesg.txt",
    "echo 0 > events/enable",
    ...(stack === undefined ? [] : [`echo '!stacktrace' > ${trigger}`]),
    "echo 1408 > buffer_size_kb",
  ];
  return command(
    steps.join("; "),
    `as root, while it happens again (60 s): ${decides} Then: iova explain /tmp/trace.txt --dmesg /tmp/dmesg.txt`,
  );
}

function fromBoot(subject: Subject, decides: string): string {
  const events = `iommu:*${isBefore(subject, DMA_EVENTS) === true ? "" : ",dma:*"},printk:console`;
  return command(`boot with: trace_event=${events} trace_buf_size=64M ${strict(subject)}`, decides);
}

/** The parameter for strict invalidation. Where the kernel is unknown, the old name and the new one: one of them works. */
function strict(subject: Subject): string {
  const common = "iommu.strict=1";
  const own = hasIommu(subject, "intel") ? "intel_iommu=strict" : hasIommu(subject, "amd") ? "amd_iommu=fullflush" : "";
  const isOld = isBefore(subject, COMMON_STRICT);
  if (own === "" || isOld === false) return common;
  return isOld === true ? own : `${common} ${own}`;
}

function hasIommu({ evidence, group }: Subject, name: string): boolean {
  return (
    evidence.about("iommu").some(({ iommu }) => iommu === name) ||
    group.facts.some((fact) => fact.kind === "fault" && fact.family === name)
  );
}

/** A trigger that records the stack of each unmap of the address; undefined where no address is known. */
function stackTrigger({ group }: Subject): string | undefined {
  const [address] = group.addresses;
  if (address === undefined || address < 4096n) return undefined;
  const from = address > LONGEST_MAPPING ? address - LONGEST_MAPPING : 0n;
  return `stacktrace if iova <= ${hex(address)} && iova > ${hex(from)}`;
}

function stacks(subject: Subject): string {
  const stack = stackTrigger(subject);
  if (stack === undefined) return "";
  return command(
    `echo '${stack}' > ${tracing(subject)}/events/iommu/unmap/trigger`,
    "as root, before the next recording: the functions that unmap the address, if it is the same address again",
  );
}

function device({ device: name }: Subject): string {
  return name === undefined
    ? ""
    : command(`lspci -nnvvv -s ${name}`, "as root: what the device is, its driver, its registers (BARs)");
}

function faultCommands(subject: Subject): readonly string[] {
  const { group, decision, evidence } = subject;
  const { first } = group;
  const leads = decision.candidates[0]?.verdict;
  if (isXens(first)) {
    return [
      command(
        "xl debug-keys o; xl dmesg",
        "as root of the first domain: what the tables of Xen's IOMMU hold at the address",
      ),
    ];
  }
  if (leads === "handover") {
    const firmware =
      "dmesg | grep -iE 'efifb|simplefb|framebuffer|BIOS-e820|RMRR'; grep . /sys/kernel/iommu_groups/*/reserved_regions";
    return [command(firmware, "does the address lie in a region of the firmware?"), bootFirst(subject)];
  }
  if (evidence.answerTo(first) !== undefined) return [stacks(subject), bootFirst(subject)];
  const trace = live(subject, "was the address mapped, for which device, and who unmapped it, and when?");
  if (leads === "peer-bar" || leads === "physical-address") {
    return [command("cat /proc/iomem; lspci -vv", "as root: what has this address as a physical address?"), trace];
  }
  const isEarly = first.clock === "uptime" && (first.time ?? BOOT_SECONDS) < BOOT_SECONDS;
  if (isEarly) return [bootFirst(subject), trace];
  const boot =
    "the same from the boot on, for buffers that live since then; strict: an access that comes too late is refused at once";
  return [trace, fromBoot(subject, boot)];
}

/** The recording from the boot on, told whole: no other recording stands before it. */
function bootFirst(subject: Subject): string {
  return fromBoot(
    subject,
    `records all mappings from the boot on; strict: an access that comes too late is refused at once. Save ${tracing(subject)}/trace and dmesg then`,
  );
}

/** The hypervisor reports: what Linux records is not what its tables hold. */
function isXens({ text, iommu }: Group["first"]): boolean {
  return /\[VT-D\]|\(XEN\)/.test(text) || iommu?.startsWith("/") === true;
}

/** @param tracefs - the folder of the tracing files */
export function slowCommands(tracefs: string): readonly string[] {
  return [
    command(
      "perf record -a -g -- sleep 10; perf report --no-children",
      "as root, while it is slow: where the time goes",
    ),
    command(
      `cd ${tracefs}; echo '*iotlb_sync*' > set_graph_function; echo '*flush_iotlb*' >> set_graph_function; echo 'alloc_iova*' >> set_graph_function; ` +
        "echo function_graph > current_tracer; sleep 5; cat trace > /tmp/graph.txt; echo nop > current_tracer; echo > set_graph_function",
      "as root, while it is slow: the time of one invalidation; microseconds are normal, milliseconds are not",
    ),
  ];
}

const GROUPS = 'lspci -nnk -D; for d in /sys/kernel/iommu_groups/*/devices/*; do echo "$d"; done';

const COMMANDS: Readonly<Record<Group["kind"], (subject: Subject) => readonly string[]>> = {
  "dma-fault": faultCommands,
  "no-table": (subject) => [
    command(GROUPS, `is ${subject.device ?? "the requester"} a device at all, and in which group?`),
    command(
      "dmesg | grep -iE 'iommu group|efifb|simplefb|RMRR|IVMD|kexec'",
      "which devices have a group, and what the firmware left running",
    ),
  ],
  "table-error": (subject) => [
    ...(hasIommu(subject, "intel")
      ? [
          command(
            "grep -H . /sys/kernel/debug/iommu/intel/*/domain_translation_struct",
            "as root: what the table holds at that address (Linux 6.7 on, CONFIG_INTEL_IOMMU_DEBUGFS)",
          ),
        ]
      : []),
    command(
      "dmesg | grep -iE 'iommu|DMAR|AMD-Vi|IVRS|smmu'",
      "what the IOMMU can, how it was set up, and whether more of its messages stand before",
    ),
    command(GROUPS, "is the requester a device, and which driver has it?"),
  ],
  interrupt: (subject) => [
    command("cat /proc/interrupts", "which interrupt it was, and which driver it belongs to"),
    command(
      `cd ${tracing(subject)}; echo 1 > events/irq_vectors/enable; sleep 60; cat trace > /tmp/interrupts.txt; echo 0 > events/enable`,
      "as root, while it happens again: which interrupts are set up and freed, and when (x86)",
    ),
    device(subject),
  ],
  "invalidation-timeout": (subject) => [
    command("dmesg | grep -iE 'AER|pciehp|link|D3cold|reset'", "did a device go away just before?"),
    subject.device === undefined
      ? command(
          "lspci -vvv | grep -E '^[0-9a-f]|ATSCtl|LnkSta:'",
          "as root: which devices have a cache of translations of their own (ATSCtl: Enable+), and is their link up?",
        )
      : device(subject),
  ],
  "conflicting-entry": (subject) => [
    command("grep . /sys/kernel/iommu_groups/*/reserved_regions", "is the address in a reserved region?"),
    live(subject, "who maps the address twice?"),
  ],
  "map-refused": () => [
    command(
      "dmesg | grep -i memlock; grep -H VmLck /proc/[0-9]*/status | grep -v ' 0 kB'; ulimit -l",
      "was it the limit of locked memory; how much each process has locked; the limit of this shell in KiB",
    ),
    command(
      "cat /sys/module/vfio_iommu_type1/parameters/dma_entry_limit",
      "how many mappings a container of VFIO may have",
    ),
    command("grep . /sys/kernel/iommu_groups/*/reserved_regions", "addresses that can't be mapped"),
  ],
  "assignment-refused": () => [
    command(GROUPS, "what else is in the group, and with which driver"),
    command(
      "grep . /sys/kernel/iommu_groups/*/reserved_regions; dmesg | grep -iE 'RMRR|IVMD|DMAR|AMD-Vi'",
      "regions that the firmware asks for; is the IOMMU on?",
    ),
  ],
  "bounce-refused": (subject) => [
    command(
      "grep . /sys/kernel/debug/swiotlb/io_tlb_*",
      "as root: the pool's size and use, in slots of 2 KiB; twice, some minutes apart, shows a leak",
    ),
    command(
      `cd ${tracing(subject)}; echo 1 > events/swiotlb/enable; sleep 60; cat trace > /tmp/swiotlb.txt; echo 0 > events/enable`,
      "as root, while it happens again: which devices use the pool, and with which sizes",
    ),
  ],
  exhausted: (subject) => [
    live(subject, "what is mapped, by which device, and what is the largest hole (iova stat /tmp/trace.txt)?"),
    command("dmesg | grep -iE 'iommu|table|window'", "the size of the device's table"),
  ],
  "dma-api-misuse": () => [
    command(
      "boot with: dma_debug_entries=131072",
      "the whole message, with sizes and a stack (needs a kernel with CONFIG_DMA_API_DEBUG)",
    ),
    command("cat /sys/kernel/debug/dma-api/dump", "as root: what each driver has mapped; twice shows growth"),
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
  slow: (subject) => slowCommands(tracing(subject)),
};
