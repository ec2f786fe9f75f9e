/**
 * Findings in words: sentences that need no knowledge of the field. The first sentence that uses a word of the field explains it.
 */
import type { Finding, Kind, LineRef } from "./contract.ts";
import { UNDECIDED } from "./contract.ts";

/** What each verdict means, as the end of a sentence: "most likely: …". */
const MEANINGS: Readonly<Record<Kind, Readonly<Record<string, string>>>> = {
  "dma-fault": {
    "not-mapped": "the address was not mapped for the device",
    "use-after-unmap": "the address had been mapped, and was unmapped before the device was done with it",
    permission: "the address is mapped, but not for this direction",
    "past-end": "the device went past the end of a buffer",
    "before-start": "the device began before the start of a buffer",
    "beyond-mask": "the address has more bits than the device can put on the bus",
    "truncated-address": "bits of a valid address were lost on the way to the device",
    "wrong-device": "the address belongs to another device's buffer",
    "physical-address": "the device was given a physical address in place of a mapped one",
    "null-address": "the device was never given an address: a register or pointer is still 0",
    "garbage-address": "the device uses a value that is no address",
    "msi-doorbell":
      "the device sent an interrupt (a write to the interrupt controller) to an address that is not mapped for it",
    "peer-bar": "the device talks directly to another device, and that path is not mapped",
    handover: "the firmware or an earlier kernel left the device running, and it goes on with its own addresses",
    "mapped-but-faulted": "the address is mapped, and the IOMMU refused all the same: not a bug of the device's driver",
  },
  "no-table": {
    handover: "the firmware or an earlier kernel left the device running",
    alias: "a listed device makes requests in the name of this one, which is no device of its own",
    "not-attached": "no driver has attached the device to the IOMMU",
    shutdown: "the device was taken from the IOMMU while it still worked",
  },
  "table-error": {
    "reserved-bits": "an entry of the IOMMU's tables has bits set that must be zero",
    "hardware-error": "the IOMMU met an error while it read its tables",
    "illegal-command": "the IOMMU refused a command of its driver",
  },
  interrupt: {
    blocked: "the interrupt has no valid entry in the table of interrupts",
    "not-remapped": "the interrupt has the format of machines without interrupt remapping",
  },
  "invalidation-timeout": {
    "device-gone": "a device is not there any more",
    "device-silent": "a device is there and does not confirm",
    "iommu-silent": "the IOMMU itself takes no commands",
  },
  "conflicting-entry": {
    "same-page": "the same page is mapped a second time, or its entry was not cleared",
    identity: "a fixed one-to-one mapping, as for memory that the firmware reserves, is already there",
    "two-owners": "two owners use the same address for different memory",
  },
  "map-refused": {
    "memlock-limit": "the process may not lock so much memory",
    "mapping-limit": "the container has its most mappings",
    overlap: "the range is mapped already",
    "cannot-pin": "the memory can't be pinned",
    "beyond-aperture": "the address has more bits than the IOMMU translates",
    "reserved-hole": "the range touches a reserved region",
    misaligned: "the address or size is not a multiple of the IOMMU's page",
    "stale-mapping": "an earlier unmap did not take the range away",
  },
  "assignment-refused": {
    "group-not-viable": "another device of its group still has a driver of the kernel",
    "reserved-region": "the firmware needs a fixed mapping for the device",
    "no-iommu": "no IOMMU is switched on",
    "no-physical-addresses": "the program may not see physical addresses",
  },
  "bounce-refused": {
    "too-large": "the request is longer than the longest bounce buffer",
    "no-pool": "there is no pool of bounce buffers",
    "pool-full": "all bounce buffers are in use",
    fragmented: "bounce buffers are free, but not enough side by side",
  },
  exhausted: {
    full: "all addresses are in use",
    fragmented: "addresses are free, but not enough side by side",
    "allocator-state": "the allocator does not find addresses that are free",
    "table-too-small": "the table is smaller than what the device asks for",
  },
  "dma-api-misuse": {
    direction: "a buffer was used in another direction than it was mapped for",
    size: "a buffer was unmapped with another size than it was mapped with",
    "not-allocated": "something was unmapped or freed that is not mapped",
    leak: "mappings were not ended",
    overlap: "memory is mapped more than once at a time",
    "bad-memory": "memory was mapped that can't be used for DMA",
    "unchecked-error": "it was not checked whether a mapping failed",
    sync: "something was synchronised that is not mapped so",
    segment: "a segment breaks the device's limits",
    other: "a rule of the DMA API was broken",
  },
  frozen: {
    "dma-error": "a DMA of the device was refused",
    other: "an error other than a DMA",
  },
  leak: {
    growing: "mappings are made and not ended",
    "at-exit": "the driver left with mappings that it had not ended",
  },
  slow: {
    "slow-invalidation": "invalidations take long",
    "lock-contention": "processors wait for each other's lock",
    "uncached-size": "requests are too long for the allocator's caches",
  },
};

/** The verdict as the end of a sentence. */
export function meaningOf(kind: Kind, verdict: string): string {
  if (verdict === UNDECIDED) return "these lines do not decide the cause";
  return MEANINGS[kind][verdict] ?? verdict;
}

/** One whole sentence that says what happened. */
export function headlineOf(finding: Finding): string {
  const who = nameOf(finding);
  switch (finding.kind) {
    case "dma-fault":
      return `${who} tried to ${verbOf(finding)}, and the IOMMU refused it.`;
    case "no-table":
      return `${who} tried to ${verbOf(finding)}, and the IOMMU has no table for it.`;
    case "table-error":
      return `The IOMMU could not use its own table for ${lower(who)}.`;
    case "interrupt":
      return `${who} sent an interrupt that was refused; its memory accesses are not concerned.`;
    case "invalidation-timeout":
      return `The IOMMU waited in vain for a confirmation that old translations are forgotten${finding.device === undefined ? "" : ` (${finding.device})`}.`;
    case "conflicting-entry":
      return `A page was mapped at ${finding.iova ?? "an address"} where another mapping already was.`;
    case "map-refused":
      return `A mapping for a guest or a user-space driver was refused${finding.iova === undefined ? "" : ` (address ${finding.iova})`}.`;
    case "assignment-refused":
      return `${finding.device ?? "A device"} could not be given to a guest or a user-space driver.`;
    case "bounce-refused":
      return `${who} needed a bounce buffer (memory that it can reach, to copy through) and got none.`;
    case "exhausted":
      return `No IO addresses were left for a request of ${lower(who)}.`;
    case "dma-api-misuse":
      return `The kernel's own check found that the driver of ${lower(who)} uses the DMA API wrongly.`;
    case "frozen":
      return `${who} was cut off from the bus after an error (EEH).`;
    case "leak":
      return `The driver of ${lower(who)} maps memory and does not unmap it.`;
    case "slow":
      return "A processor spent seconds in the code that hands out or forgets IO addresses.";
  }
}

/** The device with its driver, at the beginning of a sentence. */
function nameOf({ device, driver, streamId }: Finding): string {
  if (device !== undefined) return driver === undefined ? `Device ${device}` : `Device ${device} (${driver})`;
  return streamId === undefined ? "A device that the lines do not name" : `The device of stream ${streamId}`;
}

function lower(text: string): string {
  return text.startsWith("Device ")
    ? text.slice("Device ".length)
    : `${text.slice(0, 1).toLowerCase()}${text.slice(1)}`;
}

function verbOf({ access, iova, granule }: Finding): string {
  const place = iova === undefined ? "memory" : granule === 4096 ? `page ${iova}` : `address ${iova}`;
  const verbs = { read: `read ${place}`, write: `write to ${place}`, execute: `execute at ${place}` };
  return access === undefined ? `access ${place}` : verbs[access];
}

/** `line 12`, `lines 12, 14 and 15`; with the files' names where there are several inputs: `trace.txt 15, 19; dmesg.txt 400`. */
export function linesOf(proof: readonly LineRef[], files: number, most = 3): string {
  const shown = [...new Map(proof.map((line) => [`${line.file}:${line.line}`, line])).values()].slice(0, most);
  if (shown.length === 0) return "";
  if (files > 1) {
    const names = [...new Set(shown.map(({ file }) => file))];
    const numbersIn = (name: string): string =>
      shown.flatMap(({ file, line }) => (file === name ? [line] : [])).join(", ");
    return names.map((name) => `${shortName(name)} ${numbersIn(name)}`).join("; ");
  }
  const numbers = shown.map(({ line }) => String(line));
  return numbers.length === 1 ? `line ${numbers[0]}` : `lines ${numbers.slice(0, -1).join(", ")} and ${numbers.at(-1)}`;
}

/** The last part of a path. */
function shortName(file: string): string {
  return file.split("/").at(-1) ?? file;
}
