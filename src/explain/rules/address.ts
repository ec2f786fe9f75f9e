/** Rules that need the address alone. */
import type { FaultFact, HostFact } from "../../log/facts.ts";
import type { Group } from "../groups.ts";
import { hex } from "../statement.ts";
import { candidate, excluded, follows, type Rule } from "./rule.ts";

const FOUR_GIB = 1n << 32n;
/** A dump of registers that belongs to a fault stands so near. */
const NEAR_LINES = 20;

/** The fault that a group of them began with, if it has an address. */
export function faultOf({ first }: Group): (FaultFact & { readonly iova: bigint }) | undefined {
  return first.kind === "fault" && first.iova !== undefined
    ? (first as FaultFact & { readonly iova: bigint })
    : undefined;
}

const NULL_ADDRESS: Rule = {
  name: "null-address",
  title: "A DMA to an address below 4 KiB is mostly an address that was never set.",
  kinds: ["dma-fault"],
  needs: "a fault with an address below 4096",
  concludes: "null-address",
  safety: "strong",
  excludedBy: "a guest whose memory begins at 0 (vfio-pci), a virtual IOMMU, or a map of that address",
  example: "DMAR: [DMA Write] Request device [00:14.0] fault addr 0 [fault reason 05] PTE Write access is not set",
  apply(group, evidence) {
    const fault = faultOf(group);
    // Old MediaTek drivers print flags in the low bits of an address.
    if (fault === undefined || fault.iova >= 4096n) return [];
    const text = "The address is below 4 KiB; the kernel hands out no such address to a driver.";
    const handedOut = evidence.handedOut(fault);
    if (handedOut !== undefined || fault.family === "qemu") {
      const why = "A guest or a user-space driver may have memory at such an address: it need not be an unset pointer.";
      return [candidate("null-address", "hint", text, fault), follows(why, handedOut ?? fault)];
    }
    if (fault.family === "mediatek") return [candidate("null-address", "hint", text, fault)];
    return [candidate("null-address", "strong", text, fault)];
  },
};

/**
 * Patterns of memory that was freed, never set, or marked: allocators and drivers write them on purpose. `dead` alone is no such pattern: the kernel hands out
 * addresses like 0xdeadf000.
 */
const POISON = /^0x(?:dead(?:beef|dead|c0de|babe|0{8})|6b6b6b6b|5a5a5a5a|a5a5a5a5|cccccccc|baadf00d|fefefefe|abababab)/;

const GARBAGE: Rule = {
  name: "garbage-address",
  title: "The address is no address that a kernel hands out: ones, poison, or a pointer of the kernel.",
  kinds: ["dma-fault"],
  needs: "an address of which most high bits are ones, or with a pattern that marks freed memory",
  concludes: "garbage-address, or truncated-address where the ones end at bit 31, 39 or 47",
  safety: "strong",
  excludedBy: "a live mapping that equals the address in its remaining bits (then it was truncated)",
  example: "amdgpu 0000:05:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x0010 address=0xfffffff0c0 flags=0x0020]",
  apply(group) {
    const fault = faultOf(group);
    if (fault === undefined) return [];
    const text = hex(fault.iova);
    if (POISON.test(text)) {
      return [candidate("garbage-address", "strong", `${text} is a pattern that marks freed or unset memory.`, fault)];
    }
    if (/^0xffff[89a-f][0-9a-f]{11}$/.test(text) && !isSpecialOfAmd(fault)) {
      const pointer = `${text} has the form of a pointer of the kernel, not of an address for devices.`;
      return [
        candidate("garbage-address", "strong", pointer, fault),
        candidate("truncated-address", "hint", pointer, fault),
      ];
    }
    return onesOf(fault);
  },
};

/** AMD's range of interrupts and messages begins at 0xfdf8000000; its address may be printed with all bits above set. */
function isSpecialOfAmd({ family, iova }: FaultFact & { readonly iova: bigint }): boolean {
  return family === "amd" && iova >> 27n === 0xffff_fffd_f800_0000n >> 27n;
}

/** Addresses above 4 GiB whose bits from 16 on are all ones, or ones with a hole of zeros. */
function onesOf(fault: FaultFact & { readonly iova: bigint }): ReturnType<Rule["apply"]> {
  const bits = (fault.iova >> 16n).toString(2);
  if (fault.iova >= FOUR_GIB && /^1+$/.test(bits)) {
    const ones = "The address is all ones except for its last digits: an invalid pointer, or a negative number.";
    return [
      candidate("garbage-address", "hint", ones, fault),
      candidate("truncated-address", "hint", "When a longer address is cut, ones up to some bit may be left.", fault),
    ];
  }
  if (/^1{8,}0{8,}1{8,}/.test(bits)) {
    const hole = "The address has a hole of zeros in its ones: bits were lost on the way.";
    return [
      candidate("truncated-address", "hint", hole, fault),
      candidate("garbage-address", "hint", "It may as well be no address at all.", fault),
      candidate("beyond-mask", "hint", "No device and no IOMMU supports an address with this many bits.", fault),
    ];
  }
  return fault.cause === "address-size" ? beyondTable(fault) : [];
}

function beyondTable(fault: FaultFact): ReturnType<Rule["apply"]> {
  return [
    follows("The address has more bits than the IOMMU translates.", fault),
    candidate("garbage-address", "hint", "No mapping can have such an address.", fault),
    candidate("physical-address", "hint", "A physical address may have this many bits.", fault),
  ];
}

const HIGH: Rule = {
  name: "above-4-gib",
  title: "The kernel hands out addresses below 4 GiB first, so one above is rarely a mapping of it.",
  kinds: ["dma-fault"],
  needs: "an address from 4 GiB on, no user-space driver or guest",
  concludes: "physical-address",
  safety: "hint",
  excludedBy: "a map event with that address; a 32-bit space that is full; `iommu.forcedac=1`",
  example:
    "arm-smmu 15000000.iommu: Unhandled context fault: fsr=0x402, iova=0x1032db3e0, fsynr=0x130000, cbfrsynra=0x300, cb=4",
  apply(group, evidence) {
    const fault = faultOf(group);
    if (fault === undefined || fault.iova < FOUR_GIB || fault.iova >= 1n << 47n) return [];
    if (evidence.handedOut(fault) !== undefined || evidence.mapsHigh()) return [];
    const text =
      "The address lies above 4 GiB, as physical addresses often do; the kernel hands out mapped addresses below 4 GiB first.";
    return [candidate("physical-address", "hint", text, fault)];
  },
};

const MASK: Rule = {
  name: "wider-than-the-mask",
  title: "The DMA API gives a device no address that is wider than the mask that its driver sets.",
  kinds: ["dma-fault"],
  needs: "a line that names the mask of the fault's device, an address above it, no user-space driver or guest",
  concludes: "beyond-mask",
  safety: "hint",
  excludedBy: "a driver that sets a wider mask later; a map event with that address",
  example:
    "rtw_pci 0000:01:00.0: using a 32-bit DMA mask\nDMAR: [DMA Write NO_PASID] Request device [01:00.0] fault addr 0x2345678000 [fault reason 0x05] PTE Write access is not set",
  apply(group, evidence) {
    const fault = faultOf(group);
    const mask = evidence.maskOf(fault?.device);
    if (fault === undefined || mask === undefined || fault.iova < 1n << BigInt(mask.bits)) return [];
    if (evidence.handedOut(fault) !== undefined) return [];
    const text = `The address has more bits than the device's mask, ${mask.bits}: the DMA API gave the device no such address.`;
    return [candidate("beyond-mask", "hint", text, mask, fault)];
  },
};

const REGISTER: Rule = {
  name: "address-in-registers",
  title: "The device's registers hold the page of the fault: the driver programmed it.",
  kinds: ["dma-fault"],
  needs: "a dump of the device's registers within 20 lines of the fault that holds the address's page as two words",
  concludes: "physical-address when the address is above 4 GiB",
  safety: "strong",
  excludedBy: "a map event with that address",
  example:
    "arm-smmu 15000000.iommu: Unhandled context fault: fsr=0x402, iova=0x1032db3e0, fsynr=0x130000, cbfrsynra=0x300, cb=4\nhost_regs: 00000050: 032db000 00000001 00000000 00000000",
  apply(group, evidence) {
    const fault = faultOf(group);
    if (fault === undefined) return [];
    const page = fault.iova & ~0xfffn;
    const dump = evidence.about("registers").find((one) => holds(one.words, page) && isNear(one, group.facts));
    if (dump === undefined) return [];
    const text = "The device's registers hold the page of the address: the driver gave it to the device.";
    if (fault.iova < FOUR_GIB) return [follows(text, dump)];
    return [
      candidate("physical-address", "strong", text, dump, fault),
      excluded("garbage-address", "The driver gave this address to the device.", dump),
      excluded("truncated-address", "The driver gave the whole address to the device.", dump),
    ];
  },
};

/** Registers change: those printed long before or after say nothing of the fault. */
function isNear(dump: HostFact, facts: Group["facts"]): boolean {
  const at = dump.lines[0];
  return facts.some(({ lines }) =>
    lines.some(({ file, line }) => file === at?.file && Math.abs(line - at.line) <= NEAR_LINES),
  );
}

function holds(words: readonly number[], page: bigint): boolean {
  const low = Number(page & 0xffffffffn);
  const high = Number(page >> 32n);
  return words.some(
    (word, at) => (word & ~0xfff) >>> 0 === low && low !== 0 && (words[at + 1] === high || words[at - 1] === high),
  );
}

const GUEST: Rule = {
  name: "guest-address",
  title: "A device of vfio-pci uses addresses of its guest or of its user-space driver.",
  kinds: ["dma-fault"],
  needs: "a line that names vfio-pci, UIO or a VMM for the device",
  concludes: "addresses are not the kernel's; after a reset of the guest the device was not reset",
  safety: "hint",
  excludedBy: "a later line that binds the kernel's driver",
  example:
    "vfio-pci 0000:01:00.0: enabling device (0000 -> 0003)\nDMAR: [DMA Read] Request device [01:00.0] fault addr 2affde000 [fault reason 06] PTE Read access is not set",
  apply({ first }, evidence) {
    const handedOut = first.kind === "fault" ? evidence.handedOut(first) : undefined;
    if (handedOut === undefined) return [];
    const text = "A guest or a user-space driver drives the device: the address is one of theirs, not of the kernel.";
    return [
      follows(text, handedOut),
      candidate(
        "not-mapped",
        "hint",
        "Memory of the guest may not be mapped for the device, or the device was not reset when its guest was.",
        handedOut,
      ),
      excluded("handover", "A driver of user space drives the device.", handedOut),
    ];
  },
};

export const ADDRESS: readonly Rule[] = [NULL_ADDRESS, GARBAGE, HIGH, MASK, REGISTER, GUEST];
