/** Requesters without a table, and entries that the IOMMU can't use. */
import type { FaultFact } from "../../log/facts.ts";
import type { Evidence } from "../evidence.ts";
import { type Conclusion, candidate, follows, type Rule } from "./rule.ts";

const NO_TABLE: Rule = {
  name: "no-table",
  title: "The IOMMU has no table for the requester: this is not a missing mapping.",
  kinds: ["no-table"],
  needs: "VT-d reasons 1 to 3, an AMD device entry without V and TV, C_BAD_STREAMID, a blocked stream id",
  concludes: "not-attached or alias, until the list of devices tells",
  safety: "certain",
  excludedBy: "nothing",
  example:
    "DMAR: [DMA Read] Request device [00:12.4] fault addr b7fff000 [fault reason 02] Present bit in context entry is clear",
  apply({ first }) {
    if (first.kind !== "fault") return [];
    const text =
      "The IOMMU has no table for this requester and refuses all its addresses: no single mapping is missing.";
    return [follows(text, first)];
  },
};

const ALIAS: Rule = {
  name: "unknown-function",
  title: "A requester that is not among the machine's devices, but shares bus and slot with one, is an alias of it.",
  kinds: ["no-table"],
  needs: "a list of the machine's devices (boot lines, lspci) without the requester",
  concludes: "alias (a phantom function, a bridge's id)",
  safety: "strong",
  excludedBy: "a list that is cut before the requester; a line that names a driver, a group or a BAR of it",
  example:
    "pci 0000:0a:00.0: [1b4b:9172] type 00 class 0x010601\npci 0000:0b:00.0: [8086:1533] type 00 class 0x020000\nDMAR: [DMA Write] Request device [0a:00.1] fault addr fff00000 [fault reason 02] Present bit in context entry is clear",
  apply({ first }, evidence) {
    if (first.kind !== "fault" || first.device === undefined) return [];
    const devices = evidence.about("device");
    if (devices.length < 2 || devices.some(({ device }) => device === first.device)) return [];
    // Lines about the device itself: the list is cut.
    if (first.driver !== undefined || evidence.isNamed(first.device)) return [];
    const slot = first.device.slice(0, -2);
    const owner = devices.find(({ device }) => device.slice(0, -2) === slot);
    if (owner === undefined) return [];
    const text = `${first.device} is not among the machine's devices; ${owner.device} has the same bus and slot, and may send under that id.`;
    return [
      candidate("alias", "strong", text, first, owner),
      candidate("not-attached", "hint", "The list of devices may be cut.", owner),
    ];
  },
};

const USER_SPACE: Rule = {
  name: "uio-driver",
  title: "A UIO driver does not attach its device to a table.",
  kinds: ["no-table"],
  needs: "a line that names uio_pci_generic, igb_uio or another UIO driver for the device",
  concludes: "not-attached",
  safety: "certain",
  excludedBy: "nothing",
  example:
    "igb_uio 0000:02:00.0: uio device registered with irq 11\nDMAR: [DMA Read] Request device [02:00.0] fault addr a0c58000 [fault reason 02] Present bit in context entry is clear",
  apply({ first }, evidence) {
    const line = evidence.about("driver").find((one) => one.device === first.device && /uio/.test(one.driver));
    if (line === undefined) return [];
    return [
      candidate(
        "not-attached",
        "certain",
        `The driver ${line.driver} sets up no translation for its device; vfio-pci does.`,
        line,
        first,
      ),
    ];
  },
};

const SHUTDOWN: Rule = {
  name: "after-removal",
  title: "After the device was taken from its group, or translation was switched off, its requests find no table.",
  kinds: ["no-table"],
  needs: "`Removing from iommu group`, `disabling translation` or a restart line before the fault",
  concludes: "shutdown",
  safety: "certain",
  excludedBy: "a later line that adds the device to a group",
  example:
    "[  900.000000] pci 0000:00:12.0: Removing from iommu group 3\n[  900.100000] DMAR: [DMA Write] Request device [00:12.0] fault addr b7fff000 [fault reason 02] Present bit in context entry is clear",
  apply({ first }, evidence) {
    const [event] = evidence
      .eventsBefore(first, 60)
      .filter(
        (one) =>
          (one.event === "removed" && evidence.areOneDevice(one, first)) ||
          one.event === "translation-off" ||
          one.event === "shutdown",
      );
    if (event === undefined) return [];
    return [
      candidate(
        "shutdown",
        "certain",
        "The translation was taken away before, and the device went on with DMA.",
        event,
        first,
      ),
    ];
  },
};

const RESUME: Rule = {
  name: "after-resume",
  title: "Right after a resume, a requester without a table was not set up again.",
  kinds: ["no-table"],
  needs: "`PM: suspend exit` at most 5 s before the fault",
  concludes: "not-attached",
  safety: "strong",
  excludedBy: "faults of the device before the suspend",
  example:
    "[  500.000000] PM: suspend exit\n[  500.200000] DMAR: [DMA Write] Request device [00:12.0] fault addr b7fff000 [fault reason 02] Present bit in context entry is clear",
  apply({ first }, evidence) {
    const event = evidence.eventsBefore(first, 5).find((one) => one.event === "resume");
    if (event === undefined) return [];
    return [
      candidate(
        "not-attached",
        "strong",
        "The machine had just resumed: the device's entry may not have been restored.",
        event,
        first,
      ),
      candidate("handover", "hint", "The firmware may have started the device during the resume.", event),
    ];
  },
};

/** VT-d reasons for malformed entries: 7 is also what a first-stage walk reports for an entry that it can't read. */
const TABLE_ERROR: Rule = {
  name: "malformed-entry",
  title: "The IOMMU read an entry with bits that must be zero, or met an error while reading.",
  kinds: ["table-error"],
  needs: "VT-d reasons 7 to 12, AMD flag RZ or an error event of its own, F_WALK_EABT and its kin",
  concludes: "reserved-bits, hardware-error or illegal-command, by the code",
  safety: "strong",
  excludedBy:
    "the first seconds of VT-d's 00:02.0, where the firmware's framebuffer gives the same codes; a text beside the code that says another thing",
  example:
    "DMAR: [DMA Read] Request device [00:02.0] fault addr 1a45aa9000 [fault reason 12] non-zero reserved fields in PTE",
  apply({ first }, evidence) {
    if (first.kind !== "fault") return [];
    if (first.cause === "no-table-or-error") return contradiction(first);
    if (first.values?.["isQueue"] !== undefined) return queueError(first);
    const text = first.reason?.text ?? first.text;
    if (/command/i.test(text) && /illegal/i.test(text)) {
      return [
        candidate("illegal-command", "strong", "The message itself says so.", first),
        candidate("hardware-error", "hint", "A broken command queue looks the same.", first),
      ];
    }
    if (/(?:hardware|_HW)[_ ]error|abort|\bEABT\b|external|fetch/i.test(text)) {
      return [
        candidate("hardware-error", "strong", "The code means an error on the way to memory.", first),
        candidate("reserved-bits", "hint", "A table at a wrong address looks the same.", first),
      ];
    }
    return reservedBits(first, evidence);
  },
};

/** VT-d specification, 11.4.9.9 "Invalidation Queue Error Record Register": 0 gives no information, 1 is an error while an entry was fetched. */
function queueError(fault: FaultFact): Conclusion[] {
  const refused = "The IOMMU refused an entry of its queue of commands.";
  const unread = "The IOMMU met an error while it read its queue of commands.";
  const code = Number(fault.reason?.code ?? 0);
  return [
    candidate("illegal-command", code > 1 ? "strong" : "hint", refused, fault),
    candidate("hardware-error", code === 1 ? "strong" : "hint", unread, fault),
  ];
}

function contradiction(fault: FaultFact): Conclusion[] {
  const text = `The code ${fault.reason?.code ?? ""} and the text beside it do not say the same: a table above the pages is missing or malformed, and which of both is open.`;
  return [
    follows(text, fault),
    candidate("reserved-bits", "hint", "The code or the text says so.", fault),
    candidate("hardware-error", "hint", "The code or the text may be read wrongly.", fault),
  ];
}

function reservedBits(fault: FaultFact, evidence: Evidence): Conclusion[] {
  if (fault.family === "sparc") return [];
  const early = fault.clock === "uptime" && (fault.time ?? 0) < 10 && fault.device?.endsWith(":00:02.0") === true;
  const text = "Software wrote the entry wrongly, or the hardware knows fewer bits than software thinks.";
  if (early && evidence.driversOf(fault.device).length === 0) return [candidate("reserved-bits", "hint", text, fault)];
  return [
    candidate("reserved-bits", "strong", text, fault),
    candidate("hardware-error", "hint", "Memory that was overwritten, or is broken, looks the same.", fault),
  ];
}

export const TABLES: readonly Rule[] = [NO_TABLE, ALIAS, USER_SPACE, SHUTDOWN, RESUME, TABLE_ERROR];
