/** Reports of the kernel's checkers about a driver, and freezes that they can't explain. */
import type { MisuseFact } from "../../log/facts.ts";
import { candidate, follows, type Rule } from "./rule.ts";

const WORDS: Readonly<Record<MisuseFact["because"], string>> = {
  direction: "The buffer was unmapped or synchronised with another direction than it was mapped with.",
  size: "The buffer was unmapped with another size than it was mapped with.",
  "not-allocated": "The check knows no mapping at the address that was unmapped or freed.",
  leak: "The driver let its device go with mappings that it had not ended.",
  overlap: "A cache line is mapped more than once at a time.",
  "bad-memory": "The driver mapped memory that can't be used for DMA (stack, kernel text, vmalloc).",
  "unchecked-error": "The driver did not check whether the mapping failed.",
  sync: "The driver synchronised something that is not mapped, or more than is mapped.",
  segment: "A segment of the scatterlist breaks the device's limits.",
  other: "The lines do not name a rule that is known here.",
};

const MISUSE: Rule = {
  name: "checker-says",
  title: "DMA-API debug names the wrong use itself.",
  kinds: ["dma-api-misuse"],
  needs: "its message",
  concludes: "the verdict of that name",
  safety: "certain",
  excludedBy: "nothing; overlaps can be legitimate",
  example: "DMA-API: exceeded 7 overlapping mappings of cacheline 0x0000000012345678",
  apply({ first }) {
    if (first.kind !== "misuse") return [];
    if (first.because === "other") return [candidate("other", "hint", ruleOf(first), first)];
    if (first.because !== "overlap") return [candidate(first.because, "certain", WORDS[first.because], first)];
    const rival =
      "Drivers that map one buffer several times on purpose (RDMA, io_uring) get the same message; it is no proof of a bug.";
    return [candidate("overlap", "certain", WORDS.overlap, first), follows(rival, first)];
  },
};

/** Rules that have no verdict of their own, by a message or the function that warns. */
const OTHERS: readonly (readonly [pattern: RegExp, text: string])[] = [
  [/touching an active|assert_idle/, "A processor wrote to memory while it was mapped for the device."],
  [
    /with wrong function/,
    "Memory was unmapped with another function than goes with the one that mapped it (single, page, sg, coherent).",
  ],
  [/different CPU address/, "Coherent memory was freed with another address than it was allocated with."],
  [
    /drivers\/iommu\S*\s.*unmap/,
    "The IOMMU code warns while it unmaps: the range that the driver unmaps may not be mapped.",
  ],
  [/drivers\/iommu\S*\s.*map/, "The IOMMU code warns while it maps: something may be mapped there already."],
];

function ruleOf(fact: MisuseFact): string {
  return OTHERS.find(([pattern]) => pattern.test(fact.text))?.[1] ?? WORDS.other;
}

const FROZEN: Rule = {
  name: "freeze",
  title: "A freeze by EEH says that the bridge cut a device off, not why.",
  kinds: ["frozen"],
  needs: "`EEH: Frozen …`",
  concludes: "dma-error when the log itself ties it to DMA or to a bypass that was switched off; else nothing",
  safety: "strong",
  excludedBy: "PCIe errors or a lost link just before",
  example: "PowerNV: IOMMU bypass window disabled.\nEEH: Frozen PHB#2-PE#fd detected",
  apply({ first }, evidence) {
    const text = "The bridge cut the device off after an error, which need not be a DMA.";
    const off = evidence.events.find(({ event }) => event === "translation-off");
    if (first.kind === "frozen" && first.dma === true) {
      return [
        candidate("dma-error", "strong", "The log names a refused DMA beside the freeze.", first),
        candidate("other", "hint", "Other errors have the same effect.", first),
      ];
    }
    if (off === undefined)
      return [
        follows(text, first),
        candidate("other", "hint", "Errors of the link and of accesses to registers have the same effect.", first),
      ];
    return [
      follows(text, first),
      candidate(
        "dma-error",
        "hint",
        "The bypass was switched off before: the physical addresses that the device used until then are refused since.",
        off,
        first,
      ),
    ];
  },
};

const SLOW: Rule = {
  name: "time-in-iommu-code",
  title: "A stack of the IOMMU code in a lock-up shows where time went, not why.",
  kinds: ["slow"],
  needs: "a soft lock-up, hung task or stall with such a stack",
  concludes: "nothing: it needs a profile or a trace",
  safety: "certain",
  excludedBy: "nothing",
  example: "watchdog: BUG: soft lockup - CPU#58 stuck for 23s! [ksoftirqd/58:302]\n alloc_iova+0xf2/0x140",
  apply({ first }) {
    if (first.kind !== "slow") return [];
    return [
      follows(
        `The stack of the processor shows ${first.where}, a function that manages IO addresses or invalidations. One stack does not tell why.`,
        first,
      ),
    ];
  },
};

export const MISUSES: readonly Rule[] = [MISUSE, FROZEN, SLOW];
