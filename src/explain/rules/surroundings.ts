/** The surroundings of a fault in the log: a reset or crash before it, the requester's role, and what a burst has in common. */

import type { EventFact, FaultFact } from "../../log/facts.ts";
import { counted } from "../../units/counts.ts";
import type { Located } from "../evidence.ts";
import { LOST_OF_FINDING } from "../losses.ts";
import { isLossOfDevice } from "./interrupts.ts";
import { consequence, follows, type Rule } from "./rule.ts";

/** Names of the events, for a sentence. */
const WORDS: Readonly<Record<EventFact["event"], string>> = {
  reset: "was reset",
  timeout: "stopped answering",
  "firmware-crash": "had a crash of its firmware",
  "driver-error": "reported an error",
  suspend: "was suspended",
  resume: "was resumed",
  "link-down": "lost its link",
  "link-up": "got its link back",
  aer: "reported a PCIe error",
  power: "changed its power state",
  unbind: "was shut down or unbound",
  bind: "was bound",
  removed: "was removed",
  shutdown: "was shut down",
  "translation-off": "had its translation, or the bypass of it, switched off",
  "process-killed": "lost its process",
  "guest-reset": "saw its guest reset",
};

/** Events of the machine that concern every device. */
const OF_MACHINE: readonly EventFact["event"][] = ["suspend", "resume", "shutdown", "translation-off"];
const FAULT_SECONDS = 1;
/** An invalidation waits longer before it is given up. */
const TIMEOUT_SECONDS = 5;

const BEFORE: Rule = {
  name: "event-before",
  title: "A crash, reset, time-out or change of power of the same device just before the fault is its cause.",
  kinds: ["dma-fault", "no-table", "table-error", "interrupt", "invalidation-timeout", "frozen"],
  needs:
    "a line of the same device at most 1 s before; of the device, or of a port that lost one, 5 s before a time-out of an invalidation",
  concludes: "`consequenceOf`: look at the earlier event first",
  safety: "strong",
  excludedBy: "an earlier fault of the device before that event",
  example:
    "[  100.000000] ath10k_pci 0000:03:00.0: firmware crashed! (guid 7d4c7c5d)\n[  100.200000] ath10k_pci 0000:03:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000d address=0xcff49550 flags=0x0000]",
  apply({ kind, first }, evidence) {
    const seconds = kind === "invalidation-timeout" ? TIMEOUT_SECONDS : FAULT_SECONDS;
    const [event] = evidence
      .eventsBefore(first, seconds)
      .filter((one) => (isOfMachine(one) || evidence.areOneDevice(one, first)) && one.event !== "link-up");
    if (event !== undefined) return [consequence(sentenceOf(event, first), event)];
    const lost = evidence.eventsBefore(first, seconds).find((one) => isLossOfDevice(one, first, evidence));
    if (kind === "invalidation-timeout" && lost !== undefined)
      return [consequence(sentenceOf(lost, first, lost.device ?? "A device"), lost)];
    const [later] = evidence.eventsAfter(first, FAULT_SECONDS).filter((one) => evidence.areOneDevice(one, first));
    if (later === undefined) return [];
    return [follows(`The device ${WORDS[later.event]} only after the fault: that may be a consequence of it.`, later)];
  },
};

function isOfMachine(event: EventFact): boolean {
  return event.device === undefined && OF_MACHINE.includes(event.event);
}

function sentenceOf(event: EventFact, fact: Located, device = "The device"): string {
  const who = isOfMachine(event) ? "The machine" : device;
  const between =
    event.time !== undefined && fact.time !== undefined && event.clock === fact.clock ? fact.time - event.time : 0;
  const when =
    between > 0.0005
      ? `${between < 1 ? `${Math.round(between * 1000)} ms` : `${between.toFixed(1)} s`} before`
      : "just before";
  return `${who} ${WORDS[event.event]} ${when}.`;
}

/** Names of drivers whose device makes DMA for others. */
const FOR_OTHERS: readonly (readonly [pattern: RegExp, what: string])[] = [
  [/^(?:xhci|ehci|ohci|uhci|dwc)/, "a USB host controller: the transfer belongs to a USB device and its driver"],
  [/^(?:snd_hda|sof)/, "a sound controller: the buffer belongs to the sound driver above it"],
  [/^(?:pcieport|shpchp)/, "a bridge: it passes on requests of the devices behind it"],
  [/^(?:host1x|ahci|firewire_ohci)/, "a host controller: the transfer belongs to what is attached to it"],
];

const REQUESTER: Rule = {
  name: "requester-only",
  title: "The device that a fault names made the request; the driver at fault may be another one's.",
  kinds: ["dma-fault", "no-table"],
  needs: "a requester that is a bridge, a host controller, 00:00.0, or a client of a memory controller",
  concludes: "the name is of the requester, not of the culprit",
  safety: "certain",
  excludedBy: "nothing",
  example: "xhci_hcd 0000:00:14.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000d address=0xcff49550 flags=0x0000]",
  apply({ first }, evidence) {
    if (first.kind !== "fault") return [];
    if (first.client !== undefined) {
      const text = `The requester is ${first.client}, a client of the memory controller: look for the device and the driver that it belongs to.`;
      return [follows(text, first)];
    }
    if (first.device === undefined) return [];
    const drivers = [...(first.driver === undefined ? [] : [first.driver]), ...evidence.driversOf(first.device)];
    const role = FOR_OTHERS.find(([pattern]) => drivers.some((driver) => pattern.test(driver)))?.[1];
    if (role !== undefined) return [follows(`The requester is ${role}.`, first)];
    if (!first.device.endsWith(":00:00.0")) return [];
    return [
      follows(
        "The request carries the id of the host bridge (00:00.0): that stands for a device behind it, or for a part of the processor.",
        first,
      ),
    ];
  },
};

/** A display reads its memory once a frame: 50 to 240 times a second. */
const FRAME_SECONDS = [1 / 250, 1 / 45] as const;

const PATTERN: Rule = {
  name: "burst-pattern",
  title: "The addresses of a burst tell which object the device was using.",
  kinds: ["dma-fault", "no-table"],
  needs: "at least three faults of one device with exact addresses, or with times",
  concludes:
    "a ring, table or small pieces (up to 32 bytes apart), one buffer (by cache lines), a display (once a frame)",
  safety: "hint",
  excludedBy: "page-aligned addresses of VT-d: they say nothing below 4 KiB",
  example:
    "[    1.000000] nvme 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000b address=0xb6674000 flags=0x0000]\n[    1.000100] nvme 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000b address=0xb6674040 flags=0x0000]\n[    1.000200] nvme 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000b address=0xb6674080 flags=0x0000]",
  apply({ facts, addresses }) {
    const faults = facts.filter((fact): fact is FaultFact => fact.kind === "fault");
    const [first] = faults;
    if (first === undefined || faults.length < 3) return [];
    if (addresses.length === 1) return oneAddress(faults);
    const strides = new Set(addresses.slice(1).map((address, at) => address - (addresses[at] ?? 0n)));
    const [stride] = strides;
    if (strides.size !== 1 || stride === undefined || first.granule !== 1) return [];
    const bytes = stride < 0n ? -stride : stride;
    const what =
      bytes >= 64n && bytes <= 256n
        ? "one buffer, read or written from its start on"
        : bytes <= 32n
          ? "entries of a ring or table, or one transfer in small pieces"
          : undefined;
    return what === undefined
      ? []
      : [
          follows(
            `The addresses are ${counted(bytes, "byte")} apart: ${what}. It is one bug, not ${faults.length}.`,
            ...faults.slice(0, 3),
          ),
        ];
  },
};

function oneAddress(faults: readonly FaultFact[]): ReturnType<Rule["apply"]> {
  const times = faults.flatMap(({ time }) => (time === undefined ? [] : [time]));
  const gaps = times.slice(1).map((time, at) => time - (times[at] ?? 0));
  const proof = faults.slice(0, 3);
  const isFrame = gaps.length >= 2 && gaps.every((gap) => gap >= FRAME_SECONDS[0] && gap <= FRAME_SECONDS[1]);
  if (isFrame) return [follows("The same address once a frame: a display reads its picture there.", ...proof)];
  return [
    follows(
      "Every fault has the same address: the device uses one object again and again, such as a ring or a table.",
      ...proof,
    ),
  ];
}

const LOST: Rule = {
  name: "lost-messages",
  title: "Where faults or messages were lost, a finding is only what was printed of it.",
  kinds: ["dma-fault", "no-table", "table-error", "interrupt"],
  needs: "an overflow of the IOMMU's record, suppressed callbacks, dropped or missed messages",
  concludes: "nothing of the cause: counts are too low, and the first fault printed may not be the first",
  safety: "certain",
  excludedBy: "nothing",
  example:
    "DMAR: DRHD: handling fault status reg 3\nDMAR: [DMA Write] Request device [00:12.0] fault addr b7fff000 [fault reason 05] PTE Write access is not set",
  apply(_group, evidence) {
    const lines = evidence.losses.ofLog;
    if (lines.length === 0) return [];
    return [follows(LOST_OF_FINDING, { lines })];
  },
};

export const SURROUNDINGS: readonly Rule[] = [BEFORE, REQUESTER, PATTERN, LOST];
