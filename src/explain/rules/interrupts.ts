/** Interrupts that were refused, and invalidations without an answer: no fault of a mapping. */
import type { EventFact } from "../../log/facts.ts";
import type { Evidence, Located } from "../evidence.ts";
import { candidate, follows, type Rule } from "./rule.ts";

const INTERRUPT: Rule = {
  name: "interrupt-remapping",
  title: "Interrupt remapping refused an interrupt; no memory was accessed.",
  kinds: ["interrupt"],
  needs: "`INTR-REMAP`, or AMD flags with I",
  concludes:
    "not-remapped (the interrupt has the old format) or blocked (its entry is absent or forbids it), by the code",
  safety: "certain",
  excludedBy: "nothing",
  example:
    "DMAR: [INTR-REMAP] Request device [f0:1f.0] fault index 0x0 [fault reason 0x25] Blocked a compatibility format interrupt request",
  apply({ first }) {
    if (first.kind !== "interrupt") return [];
    const text = "An interrupt was refused, not an access to memory: it has nothing to do with mappings.";
    const verdict = first.verdict;
    if (verdict === undefined) return [follows(text, first)];
    const why =
      verdict === "not-remapped"
        ? "The interrupt is written in the old format, not as the kernel sets up interrupts when they are remapped."
        : "The interrupt's entry is absent, or does not allow this device.";
    return [follows(text, first), candidate(verdict, "certain", why, first)];
  },
};

/**
 * True if the event says that the fact's device may be lost. The event must be of the device itself or of a port above it: a link of another
 * device may be a network's cable. If the fact names no device, only a change of power counts.
 */
export function isLossOfDevice(event: EventFact, fact: Located, evidence: Evidence): boolean {
  if (!["link-down", "aer", "removed", "power"].includes(event.event)) return false;
  if (event.driver === "pcieport" || event.driver === "pciehp" || evidence.areOneDevice(event, fact)) return true;
  return fact.device === undefined && event.event === "power";
}

const GONE: Rule = {
  name: "device-gone",
  title: "An invalidation timed out because the device is not there any more.",
  kinds: ["invalidation-timeout"],
  needs:
    "registers or ids that read as all ones, or a lost link, a hot removal or a PCIe error of the device up to 5 s before",
  concludes: "device-gone",
  safety: "strong",
  excludedBy: "later lines of the device's driver that work",
  example:
    "[  100.000000] pcieport 0000:00:1c.0: pciehp: Slot(1): Link Down\n[  101.000000] DMAR: VT-d detected Invalidation Time-out Error: SID 100",
  apply({ first }, evidence) {
    if (first.kind !== "invalidation-timeout") return [];
    const rival = candidate("device-silent", "hint", "The device may be there and not answer.", first);
    if (first.gone === true) {
      return [
        candidate(
          "device-gone",
          "strong",
          "The device's id or registers read as all ones: it is not on the bus any more.",
          first,
        ),
        rival,
      ];
    }
    const lost = evidence.eventsBefore(first, 5).find((event) => isLossOfDevice(event, first, evidence));
    if (lost === undefined || first.silent === "iommu") return [];
    return [
      candidate("device-gone", "strong", "A link was lost, or a device removed, just before.", lost, first),
      rival,
    ];
  },
};

const SILENT: Rule = {
  name: "who-is-silent",
  title: "The command that was not answered shows who is silent: the IOMMU, or a device with a cache of its own.",
  kinds: ["invalidation-timeout"],
  needs: "the command queue's pointers, or an invalidation of a device's own IOTLB",
  concludes: "iommu-silent or device-silent",
  safety: "strong",
  excludedBy: "a lost link before",
  example: "arm-smmu-v3 arm-smmu-v3.0.auto: CMD_SYNC timeout at 0x00000146 [hwprod 0x00000146, hwcons 0x00000000]",
  apply({ first }) {
    if (first.kind !== "invalidation-timeout") return [];
    if (first.silent === "iommu") {
      const text =
        "Its commands are not carried out: its clock or power may be off, or an earlier kernel had set it up.";
      return [
        candidate("iommu-silent", "strong", text, first),
        candidate(
          "device-silent",
          "hint",
          "A device that never answers can block the IOMMU's queue of commands.",
          first,
        ),
      ];
    }
    if (first.silent !== "device") return [];
    return [
      candidate("device-silent", "hint", "The command was for a device with an IOTLB of its own.", first),
      candidate("device-gone", "hint", "A device that was removed confirms nothing.", first),
    ];
  },
};

const NO_FAULT: Rule = {
  name: "timeout-is-no-fault",
  title: "A time-out of an invalidation is not a fault of a DMA.",
  kinds: ["invalidation-timeout"],
  needs: "the message",
  concludes: "the address in it, if any, is the command's, not a DMA's",
  safety: "certain",
  excludedBy: "nothing",
  example: "AMD-Vi: Completion-Wait loop timed out",
  apply({ first }) {
    const text = "This is no refused access: an address in the message is the command's own.";
    return [follows(text, first)];
  },
};

export const INTERRUPTS: readonly Rule[] = [INTERRUPT, GONE, SILENT, NO_FAULT];
