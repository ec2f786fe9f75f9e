/** The place of the address: the interrupt range, another device's BAR, memory, a framebuffer, a reserved region. */
import type { FaultFact, HostFact } from "../../log/facts.ts";
import type { Evidence } from "../evidence.ts";
import { faultOf } from "./address.ts";
import { type Conclusion, candidate, excluded, type Rule } from "./rule.ts";

/** Message-signalled interrupts of x86 are writes to this range (Intel SDM, "Message Address Register Format"). */
const X86_INTERRUPTS = { first: 0xfee00000n, end: 0xfef00000n };
/** The GICv3 ITS's register GITS_TRANSLATER lies at 0x10040 from its start (Arm IHI 0069). */
const TRANSLATER = 0x10040n;
/** AMD's IOMMU reserves addresses from here for interrupts and other messages of HyperTransport. */
const HYPERTRANSPORT = 0xfd_f800_0000n;

const MSI: Rule = {
  name: "msi-doorbell",
  title: "A write to the doorbell of message-signalled interrupts is an interrupt, not data.",
  kinds: ["dma-fault"],
  needs: "a write to 0xfee00000 … 0xfeefffff (x86), to an ITS at 0x10040, or (SMMU) to offset 0x040 of a page",
  concludes: "msi-doorbell",
  safety: "certain",
  excludedBy: "a map event with that page for data; without a known ITS the rule is only strong",
  example:
    "arm-smmu-v3 arm-smmu-v3.2.auto: event 0x10 received:\narm-smmu-v3 arm-smmu-v3.2.auto: 0x00007d1200000010\narm-smmu-v3 arm-smmu-v3.2.auto: 0x000012000000007c\narm-smmu-v3 arm-smmu-v3.2.auto: 0x00000000fffef040\narm-smmu-v3 arm-smmu-v3.2.auto: 0x00000000fffef000",
  apply(group, evidence) {
    const fault = faultOf(group);
    if (fault === undefined || fault.access === "read" || fault.access === "execute") return [];
    if (isX86(fault)) return onX86(fault);
    if (fault.family !== "smmu" && fault.family !== "smmu-v3") return [];
    const its = evidence.about("its").find(({ first }) => fault.iova === first + TRANSLATER);
    if (its !== undefined) {
      return [
        candidate(
          "msi-doorbell",
          "certain",
          "The address is the one at which the interrupt controller (ITS) takes interrupts.",
          fault,
          its,
        ),
      ];
    }
    if ((fault.iova & 0xfffn) !== 0x40n) return [];
    const text =
      "The write goes to offset 0x040 of a page: Arm's interrupt controller (ITS) takes interrupts at that offset.";
    return [
      candidate("msi-doorbell", "strong", text, fault),
      candidate("not-mapped", "hint", "Data may lie at that offset by chance.", fault),
    ];
  },
};

function isX86(fault: FaultFact): boolean {
  return fault.family === "intel" || fault.family === "amd";
}

function onX86(fault: FaultFact & { readonly iova: bigint }): Conclusion[] {
  if (fault.iova >= X86_INTERRUPTS.first && fault.iova < X86_INTERRUPTS.end && fault.access === "write") {
    return [
      candidate(
        "msi-doorbell",
        "certain",
        "The address is in the range of interrupts of x86 (0xfee00000 to 0xfeefffff).",
        fault,
      ),
    ];
  }
  if (
    fault.cause === "interrupt-range" ||
    (fault.family === "amd" && fault.iova >= HYPERTRANSPORT && fault.iova < 1n << 40n)
  ) {
    const text = "The address is in the range that AMD reserves for interrupts and messages (from 0xfdf8000000 on).";
    return [
      candidate("msi-doorbell", "strong", text, fault),
      candidate("garbage-address", "hint", "An invalid pointer may lie there, too.", fault),
    ];
  }
  return [];
}

const PEER: Rule = {
  name: "peer-bar",
  title: "The address lies in another device's BAR: a peer-to-peer access that is not mapped.",
  kinds: ["dma-fault"],
  needs: "BARs, from boot lines or `lspci -v`",
  concludes: "peer-bar",
  safety: "certain",
  excludedBy: "a device of a guest, whose addresses are its own",
  example:
    "pci 0000:03:00.0: BAR 0 [mem 0xd0000000-0xdfffffff 64bit pref]\nDMAR: [DMA Write] Request device [02:00.0] fault addr d0400000 [fault reason 05] PTE Write access is not set",
  apply(group, evidence) {
    const fault = faultOf(group);
    if (fault === undefined) return [];
    const bar = evidence
      .about("bar")
      // A BAR at 0 has no address yet: firmware or the kernel assigns one later.
      .find((one) => one.first > 0n && contains(one, fault.iova) && one.device !== fault.device);
    if (bar === undefined) return [];
    const text = `The address lies in a BAR (registers or memory) of ${bar.device}.`;
    if (evidence.handedOut(fault) !== undefined) return [candidate("peer-bar", "hint", text, fault, bar)];
    return [candidate("peer-bar", "certain", text, fault, bar)];
  },
};

const FRAMEBUFFER: Rule = {
  name: "boot-framebuffer",
  title:
    "The address lies in the framebuffer of the boot or in memory that the firmware reserved: its owner goes on using it.",
  kinds: ["dma-fault", "no-table", "table-error"],
  needs: "`efifb: framebuffer at`, RMRR or IVMD lines",
  concludes: "handover",
  safety: "strong",
  excludedBy: "a map event with that address",
  example:
    "efifb: framebuffer at 0x9c000000, using 3072k, total 3072k\nDMAR: [DMA Read] Request device [00:02.0] PASID ffffffff fault addr 9c000000 [fault reason 06] PTE Read access is not set",
  apply(group, evidence) {
    const fault = faultOf(group);
    if (fault === undefined || evidence.handedOut(fault) !== undefined) return [];
    const frame = evidence.about("framebuffer").find((one) => contains(one, fault.iova));
    if (frame !== undefined) {
      return [
        candidate(
          "handover",
          "strong",
          "The address lies in the screen memory (framebuffer) that the firmware set up.",
          fault,
          frame,
        ),
        ...rival(fault),
      ];
    }
    const region = evidence
      .about("reserved")
      .find((one) => contains(one, fault.iova) && /RMRR|IVMD|direct/.test(one.use));
    if (region === undefined) return [];
    const text = `The address lies in a region that the firmware reserved (${region.use}).`;
    return [candidate("handover", "strong", text, fault, region), ...rival(fault)];
  },
};

function rival(fault: FaultFact): Conclusion[] {
  return [
    candidate("not-mapped", "hint", "The kernel may have handed out the same address to the device later.", fault),
  ];
}

const MEMORY: Rule = {
  name: "inside-memory",
  title: "The address lies in the machine's memory: it may be a physical address that was not mapped.",
  kinds: ["dma-fault"],
  needs: "the memory map (e820 lines or /proc/iomem) and no guest",
  concludes: "physical-address",
  safety: "hint",
  excludedBy: "a map event with that address; `iommu.forcedac=1`: then it is no more than a hint above 4 GiB",
  example:
    "BIOS-e820: [mem 0x0000000100000000-0x000000047fffffff] usable\nDMAR: [DMA Read] Request device [01:00.0] fault addr 23e000000 [fault reason 06] PTE Read access is not set",
  apply(group, evidence) {
    const fault = faultOf(group);
    if (fault === undefined || evidence.handedOut(fault) !== undefined) return [];
    const ram = evidence.about("ram").find((one) => contains(one, fault.iova) && /usable|System RAM/i.test(one.use));
    if (ram === undefined) return [];
    const text = "The machine has memory at this physical address.";
    const weight = fault.iova >= 1n << 32n && !evidence.mapsHigh() ? "strong" : "hint";
    return [candidate("physical-address", weight, text, fault, ram)];
  },
};

const ON_CHIP: Rule = {
  name: "handover-at-boot",
  title: "A fault in the first seconds, before a driver runs, is of a device that the firmware left running.",
  kinds: ["dma-fault", "no-table"],
  needs: "kernel time stamps; no line of the device's driver and no user space before the fault",
  concludes: "handover",
  safety: "hint",
  excludedBy: "a line of the device's driver before the fault",
  example:
    "[    1.203515] DMAR: [DMA Read] Request device [00:02.0] PASID ffffffff fault addr 9c000000 [fault reason 06] PTE Read access is not set",
  apply({ kind, first }, evidence) {
    if (first.kind !== "fault") return [];
    const isEarly = first.clock === "uptime" && (first.time ?? 0) < 10;
    if (!isEarly || evidence.handedOut(first) !== undefined) return [];
    if (first.driver !== undefined || hasDriverBefore(first, evidence)) {
      return [excluded("handover", "A driver of the kernel already drives the device.", first)];
    }
    if (evidence.about("userspace").some(({ time }) => time !== undefined && time < (first.time ?? 0))) return [];
    const text = "The fault comes in the first seconds after the boot, before a line of the device's driver.";
    return [candidate("handover", kind === "no-table" ? "strong" : "hint", text, first)];
  },
};

function hasDriverBefore(fault: FaultFact, evidence: Evidence): boolean {
  return evidence.about("driver").some((one) => one.device === fault.device && (one.time ?? 0) <= (fault.time ?? 0));
}

const KEXEC: Rule = {
  name: "previous-kernel",
  title: "In a kdump or kexec kernel, devices of the previous kernel may still do DMA.",
  kinds: ["dma-fault", "no-table", "table-error"],
  needs: "`elfcorehdr=` on the command line, or lines about tables of the previous kernel",
  concludes: "handover",
  safety: "strong",
  excludedBy: "a line of the device's driver in this kernel",
  example:
    "Command line: root=/dev/sda1 elfcorehdr=1874868K\n[    2.100000] DMAR: [DMA Write] Request device [03:00.0] fault addr 1f2000 [fault reason 02] Present bit in context entry is clear",
  apply({ first }, evidence) {
    const [kexec] = evidence.about("kexec");
    if (kexec === undefined || first.kind !== "fault") return [];
    if (hasDriverBefore(first, evidence)) return [];
    const text = "This kernel was started by another one (kexec, kdump), whose devices may still run.";
    return [
      candidate("handover", "strong", text, kexec, first),
      candidate("not-attached", "hint", "The device may also not be set up in this kernel.", first),
    ];
  },
};

function contains(range: Extract<HostFact, { first: bigint }>, address: bigint): boolean {
  return address >= range.first && address < range.end;
}

export const PLACES: readonly Rule[] = [MSI, PEER, FRAMEBUFFER, MEMORY, ON_CHIP, KEXEC];
