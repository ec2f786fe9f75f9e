/** Mappings, assignments, bounce buffers and addresses that were refused: no DMA happened at all. */
import type { MapRefusedFact } from "../../log/facts.ts";
import { grouped } from "../../units/counts.ts";
import { conflictOf } from "../groups.ts";
import { amount, hex } from "../statement.ts";
import { type Conclusion, candidate, follows, type Rule } from "./rule.ts";

/** The software's own statements, by verdict. */
const SAID: Readonly<Record<string, string>> = {
  "memlock-limit": "The limit of locked memory (RLIMIT_MEMLOCK) was met.",
  "mapping-limit": "A container of VFIO has a limit of mappings (65,535 by default).",
  overlap: "The range overlaps a mapping that is there already.",
  "cannot-pin": "The message says so: it is no ordinary memory of the process.",
  "beyond-aperture": "The address lies beyond what the IOMMU can translate.",
  "reserved-hole": "The range touches a reserved region.",
  misaligned: "The address or the size is not a multiple of the IOMMU's page.",
  "stale-mapping": "The message says that an earlier mapping is still there.",
};

const SAID_SO: Rule = {
  name: "refusal-says-why",
  title: "The message of the refusal itself names the limit that was met.",
  kinds: ["map-refused"],
  needs: "a message with the reason: RLIMIT_MEMLOCK, the width of the IOMMU, …",
  concludes: "the verdict of that name",
  safety: "certain",
  excludedBy: "nothing",
  example: "vfio_pin_pages_remote: RLIMIT_MEMLOCK (65536) exceeded",
  apply({ facts }) {
    const fact = facts.find((one): one is MapRefusedFact => one.kind === "map-refused" && one.because !== undefined);
    if (fact?.because === undefined) return [];
    const limit =
      fact.limit === undefined
        ? ""
        : ` The limit is ${fact.because === "beyond-aperture" ? `${fact.limit} bits` : amount(fact.limit)}.`;
    return [candidate(fact.because, "certain", `${SAID[fact.because] ?? ""}${limit}`, fact)];
  },
};

const ERRNO: Rule = {
  name: "refusal-errno",
  title: "For VFIO and iommufd the error number is the message.",
  kinds: ["map-refused"],
  needs: "a refused map with an error number",
  concludes:
    "ENOSPC: mapping-limit. EEXIST: overlap. ENOMEM: memlock-limit, rarely memory for tables. EFAULT: cannot-pin. EINVAL: misaligned, beyond-aperture or reserved-hole",
  safety: "strong",
  excludedBy: "a kernel line of the same moment with the reason",
  example: "qemu-system-x86_64: VFIO_MAP_DMA failed: No space left on device",
  apply({ facts }) {
    const fact = facts.find((one): one is MapRefusedFact => one.kind === "map-refused" && one.errno !== undefined);
    if (fact === undefined || facts.some((one) => one.kind === "map-refused" && one.because !== undefined)) return [];
    return byErrno(fact);
  },
};

const INVALID = "Invalid argument (EINVAL) has three meanings; this is one of them.";

function byErrno(fact: MapRefusedFact): Conclusion[] {
  switch (fact.errno) {
    case "ENOSPC":
      return [
        candidate(
          "mapping-limit",
          "certain",
          `No space left on device (ENOSPC) has one meaning here: the limit of mappings. ${SAID["mapping-limit"]}`,
          fact,
        ),
      ];
    case "EEXIST":
      return [
        candidate(
          "overlap",
          "certain",
          "File exists (EEXIST) has one meaning here: the range overlaps a mapping that is there already.",
          fact,
        ),
        follows(
          "If an unmap before it took 0 bytes, the device still uses the old memory, and no fault will ever say so.",
          fact,
        ),
      ];
    case "ENOMEM":
      return [
        candidate(
          "memlock-limit",
          "strong",
          "Cannot allocate memory (ENOMEM) is here the limit of locked memory in nearly all cases; a line of the kernel's log names it then.",
          fact,
        ),
        candidate("cannot-pin", "hint", "Rarely, memory for the IOMMU's own tables has run out.", fact),
      ];
    case "EFAULT":
      return [
        candidate(
          "cannot-pin",
          "strong",
          "Bad address (EFAULT): the memory is not there, or is of a kind that can't be pinned (a device's BAR, a file on DAX, memory that is still being migrated).",
          fact,
        ),
        candidate(
          "stale-mapping",
          "hint",
          "The range may belong to a mapping whose memory the program has freed.",
          fact,
        ),
      ];
    case "EINVAL":
      return [
        candidate("misaligned", "hint", INVALID, fact),
        candidate("beyond-aperture", "hint", INVALID, fact),
        candidate("reserved-hole", "hint", INVALID, fact),
      ];
    default:
      return [];
  }
}

const ASSIGNMENT: Rule = {
  name: "assignment-refused",
  title: "The message of the refusal says why the device can't be assigned.",
  kinds: ["assignment-refused"],
  needs: "the message",
  concludes: "group-not-viable, reserved-region, no-iommu or no-physical-addresses",
  safety: "certain",
  excludedBy: "nothing",
  example: "EAL: 0000:01:00.1 VFIO group is not viable! Not all devices in IOMMU group bound to VFIO or unbound",
  apply({ first }) {
    if (first.kind !== "assignment-refused" || first.because === undefined) return [];
    const words = {
      "group-not-viable":
        "A group is given away as a whole, and this one still has a device with a driver of the kernel.",
      "reserved-region":
        "The firmware asks for a region with fixed addresses (RMRR, IVMD) for this device, and a guest's addresses are others.",
      "no-iommu": "The message says that there is no IOMMU, or none that is on.",
      "no-physical-addresses":
        "The program asks for physical addresses; the kernel shows them only to programs with CAP_SYS_ADMIN.",
    };
    return [candidate(first.because, "certain", words[first.because], first)];
  },
};

/** A request must fit into one segment of 128 slots of 2 KiB (mainline Linux: IO_TLB_SEGSIZE, IO_TLB_SIZE). */
const SEGMENT_BYTES = 128n * 2048n;

const BOUNCE: Rule = {
  name: "bounce-buffer",
  title: "swiotlb refuses a request that is longer than a segment, or because it has no pool or no free slots.",
  kinds: ["bounce-refused"],
  needs: "`swiotlb buffer is full` with its numbers",
  concludes: "too-large above 262,144 bytes; no-pool with 0 slots; pool-full from 95 % on; else fragmented",
  safety: "certain",
  excludedBy: "a vendor's kernel with longer segments",
  example: "nvme 0000:07:00.0: swiotlb buffer is full (sz: 524288 bytes), total 32768 (slots), used 4 (slots)",
  apply({ facts, first }) {
    if (first.kind !== "bounce-refused") return [];
    const { bytes, totalSlots, usedSlots } = first;
    const tooLarge = facts.some((one) => one.kind === "bounce-refused" && (one.bytes ?? 0n) > SEGMENT_BYTES);
    if (totalSlots === 0) return [candidate("no-pool", "certain", "The pool has 0 slots.", first)];
    const share = totalSlots === undefined || usedSlots === undefined ? undefined : usedSlots / totalSlots;
    if (tooLarge && (share === undefined || share < 0.95)) {
      const text = `The request has ${amount(bytes ?? 0n)}. A bounce buffer has at most 128 slots of 2 KiB (256 KiB), however large the pool is.`;
      return [candidate("too-large", "certain", text, first)];
    }
    if (share === undefined)
      return [
        candidate(
          "pool-full",
          "hint",
          "The line does not say how large the pool is, or how much of it is used.",
          first,
        ),
        candidate("fragmented", "hint", "Enough slots may be free, but not side by side.", first),
      ];
    const percent = `${grouped(usedSlots ?? 0)} of ${grouped(totalSlots ?? 0)} slots (2 KiB each) ${usedSlots === 1 ? "is" : "are"} used`;
    if (share >= 0.95) {
      const full = candidate("pool-full", tooLarge ? "hint" : "strong", `${percent}.`, first);
      const rival = tooLarge
        ? candidate(
            "too-large",
            "hint",
            `The request has ${amount(bytes ?? 0n)}; a bounce buffer has at most 256 KiB.`,
            first,
          )
        : candidate("fragmented", "hint", "A few slots are free, but not side by side.", first);
      return [full, rival, follows("If the number of used slots only rises, buffers are not given back.", first)];
    }
    return [
      candidate("fragmented", "strong", `The pool has room (${percent}), but no long enough run of slots.`, first),
      candidate("too-large", "hint", "The device's limits may leave fewer slots for it.", first),
    ];
  },
};

const EXHAUSTED: Rule = {
  name: "no-space",
  title: "A request of one page that fails finds the table full; a longer one may find it full or in pieces.",
  kinds: ["exhausted"],
  needs: "`iommu_alloc failed` with its pages",
  concludes: "full for one page; else full or fragmented",
  safety: "certain",
  excludedBy: "a largest hole that would have held the request: then it is the allocator's state",
  example: "iommu_alloc failed, tbl c00000000263c480 vaddr c000000133b00000 npages 1",
  apply({ facts, first }) {
    // A table of a fixed size is full then; an allocator with caches and a queue of freed ranges may still have some.
    const one = facts.find((fact) => fact.kind === "exhausted" && fact.pages === 1 && fact.table !== undefined);
    if (one !== undefined) return [candidate("full", "certain", "Even a request of one page failed.", one)];
    return [
      candidate("full", "hint", "Nothing in the line says how much was free.", first),
      candidate("fragmented", "hint", "A request of several pages needs them side by side.", first),
    ];
  },
};

const CONFLICT: Rule = {
  name: "entry-already-set",
  title: "An entry was written that was not empty: the old value tells the kind of conflict.",
  kinds: ["conflicting-entry"],
  needs: "`PTE … already set` with the old and the new entry",
  concludes: "same-page (both alike), identity (the old entry maps its own number), else two-owners",
  safety: "certain",
  excludedBy: "nothing; the cause does not follow",
  example: "DMAR: ERROR: DMA PTE for vPFN 0x428ec already set (to 3f6ec003 not 3f6ec003)",
  apply({ first }) {
    if (first.kind !== "conflict" || first.oldEntry === undefined) return [];
    const verdict = conflictOf(first);
    if (verdict === "identity") {
      const text = `The old entry ${hex(first.oldEntry)} maps the address to itself, as for a reserved region.`;
      return [candidate("identity", "certain", text, first)];
    }
    if (verdict === "same-page") {
      const text = "The old and the new entry are the same.";
      return [candidate("same-page", "certain", text, first)];
    }
    return [
      candidate("two-owners", "certain", "The old entry maps the address to another page than the new one.", first),
    ];
  },
};

export const REFUSALS: readonly Rule[] = [SAID_SO, ERRNO, ASSIGNMENT, BOUNCE, EXHAUSTED, CONFLICT];
