/** Reports of the IOMMU itself: no entry, an entry that forbids the access, or a code that means either. */
import type { FaultFact } from "../../log/facts.ts";
import { candidate, excluded, follows, type Rule, rareCandidate } from "./rule.ts";

const ABSENT: Rule = {
  name: "reported-absent",
  title: "The IOMMU found no valid entry for the address.",
  kinds: ["dma-fault"],
  needs: "a code that means just that: AMD flags without PR, an SMMU translation fault, an entry printed as 0",
  concludes: "not mapped at that moment: never, not yet, or not any more; `permission` is excluded",
  safety: "certain",
  excludedBy: "AMD kernels that print domain 0 for every device (about 4.18 to 5.3)",
  example: "nvme 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000b address=0xb6674000 flags=0x0000]",
  apply({ facts }) {
    const fact = facts.find((one): one is FaultFact => one.kind === "fault" && isAbsent(one));
    if (fact === undefined || facts.some((one) => one.kind === "fault" && one.dump === "present")) return [];
    const text = "The IOMMU found no valid entry for the address: it was not mapped at that moment.";
    return [
      follows(text, fact),
      excluded("permission", "A valid entry that forbids the access is reported with another code.", fact),
    ];
  },
};

function isAbsent(fact: FaultFact): boolean {
  return fact.cause === "absent" || fact.dump === "absent";
}

const PERMISSION: Rule = {
  name: "reported-permission",
  title: "The address is mapped, and its entry forbids the access.",
  kinds: ["dma-fault"],
  needs: "a code that means just that: AMD flags 0x50 and 0x70, an SMMU permission fault, a dump of the entry",
  concludes: "permission",
  safety: "certain",
  excludedBy: "AMD with domain 0: there the device's entry speaks, or the kernel prints 0 for every device",
  example:
    "ath10k_pci 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000d address=0xcff49550 flags=0x0070]",
  apply({ facts }) {
    const fact = facts.find(
      (one): one is FaultFact => one.kind === "fault" && (one.cause === "permission" || one.dump === "no-permission"),
    );
    if (fact === undefined) return [];
    if (fact.family === "amd" && (fact.domain ?? 1n) === 0n) {
      const text =
        "The flags say that an entry is there and forbids the access. With domain 0 that may be the entry of the device itself, not of the address.";
      return [
        follows(text, fact),
        candidate("physical-address", "hint", "Domain 0 often means that the device has no mappings of its own.", fact),
      ];
    }
    const forbidden =
      fact.access === "read" ? "not readable" : fact.access === "write" ? "not writable" : "not allowed";
    return [candidate("permission", "certain", `The address is mapped and ${forbidden} for the device.`, fact)];
  },
};

const UNTOLD: Rule = {
  name: "absent-or-permission",
  title: "VT-d's reasons 5 and 6 do not tell an absent entry from a forbidden access.",
  kinds: ["dma-fault"],
  needs: "fault reason 5 or 6 (0x71, 0x72 in scalable mode) without a dump of the entry",
  concludes: "nothing: only a dump of the tables or a trace tells",
  safety: "certain",
  excludedBy: "a dump of the page table beside the fault (Linux 5.16 on)",
  example:
    "DMAR: [DMA Write] Request device [00:12.0] fault addr b7fff000 [fault reason 05] PTE Write access is not set",
  apply({ first }, evidence) {
    if (first.kind !== "fault" || first.cause !== "absent-or-permission" || first.dump !== undefined) return [];
    // A recording that shows the life of the address says more than the code.
    const shown = evidence.answerTo(first)?.conclusions ?? [];
    if (shown.some((one) => one.says === "candidate" && one.weight !== "hint")) return [];
    const text =
      "The IOMMU's code has two meanings: the address is not mapped, or it is mapped and the mapping forbids this access.";
    const rare = `The mapping may allow ${first.access === "write" ? "reads" : first.access === "read" ? "writes" : "other accesses"} only.`;
    return [
      follows(text, first),
      candidate("not-mapped", "hint", "Most faults with this code are of addresses that are not mapped.", first),
      rareCandidate("permission", rare, first),
    ];
  },
};

const PRESENT: Rule = {
  name: "entry-present",
  title: "The entry is there and allows the access, and yet the IOMMU refused.",
  kinds: ["dma-fault"],
  needs: "a dump that shows a valid entry with the right access",
  concludes: "mapped-but-faulted: a stale IOTLB, an erratum, a table that the hardware does not see",
  safety: "strong",
  excludedBy: "a map between the fault and the printing of the entry",
  example:
    "rk_iommu fe043e00.iommu: Page fault at 0x00000000ff801000 of type read\nrk_iommu fe043e00.iommu: iova = 0x00000000ff801000: dte_index: 0x3fe pte_index: 0x1 page_offset: 0x0\nrk_iommu fe043e00.iommu: mmu_dte_addr: 0x000000010189a000 dte@0x000000010189aff8: 0x1722101 valid: 1 pte@0x0000000101722004: 0x2c01107 valid: 1 page@0x0000000102c01000 flags: 0x106",
  apply({ facts }) {
    const fact = facts.find((one) => one.kind === "fault" && one.dump === "present");
    if (fact === undefined) return [];
    const text = "The entry that was printed is valid and allows the access.";
    const rival = "The entry was printed after the fault: it may have been written in between.";
    return [
      candidate("mapped-but-faulted", "strong", text, fact),
      candidate("not-mapped", "hint", rival, fact),
      excluded("permission", "The entry allows the access.", fact),
    ];
  },
};

const PASSED_THROUGH: Rule = {
  name: "pass-through-entry",
  title: "The device's entry is pass-through: its addresses are not translated.",
  kinds: ["dma-fault", "no-table", "table-error"],
  needs: "a dump of the context or PASID entry",
  concludes: "`not-mapped` is excluded",
  safety: "certain",
  excludedBy: "a PASID or second table beside the one that was printed",
  example:
    "DMAR: [DMA Read NO_PASID] Request device [03:00.0] fault addr 0x100000 [fault reason 0x71] SM: …\nDMAR: Dump dmar2 table entries for IOVA 0x100000\nDMAR: pasid table entry[0]: 0x0000000000000109",
  apply({ facts }) {
    const fact = facts.find(
      (one) => one.kind === "fault" && (one.dump === "pass-through" || one.cause === "passed-through"),
    );
    if (fact === undefined) return [];
    return [
      excluded("not-mapped", "The IOMMU passes the device's addresses through: it looks up no mapping for them.", fact),
    ];
  },
};

const SOFTWARE_TABLE: Rule = {
  name: "software-table",
  title: "The driver's own walk of the tables shows what is mapped when the message is printed.",
  kinds: ["dma-fault"],
  needs: "`soft iova-to-phys` beside the fault (Qualcomm; Linux 6.11 on)",
  concludes: "0: not mapped; another value: mapped when printed",
  safety: "strong",
  excludedBy: "a map or unmap between the fault and the message",
  example:
    "arm-smmu 5040000.iommu: Unhandled context fault: fsr=0x402, iova=0x5c0ec600, fsynr=0x220000, cbfrsynra=0x1900, cb=1\narm-smmu 5040000.iommu: soft iova-to-phys=0x0000000000000000",
  apply({ facts }) {
    const fact = facts.find(
      (one): one is FaultFact => one.kind === "fault" && one.values?.["softPhysical"] !== undefined,
    );
    if (fact === undefined) return [];
    if (fact.values?.["softPhysical"] === 0n) {
      return [
        follows("The driver's own table has no entry for the address either, when the message is printed.", fact),
      ];
    }
    return [candidate("mapped-but-faulted", "strong", "The driver's own table has an entry for the address.", fact)];
  },
};

export const REPORTED: readonly Rule[] = [ABSENT, PERMISSION, UNTOLD, PRESENT, PASSED_THROUGH, SOFTWARE_TABLE];
