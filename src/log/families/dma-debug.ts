/**
 * DMA-API debug: the kernel's own check of how drivers use the DMA API. A message comes with a WARNING, before or after it: both are one
 * fact. The device named owns the mapping; what else is wrong, the code that used it may be another's.
 */
import type { MisuseFact } from "../facts.ts";
import { deviceName } from "../pci.ts";
import {
  DEVICE,
  type Family,
  type Field,
  type Found,
  given,
  HEX_ADDRESS,
  type Shape,
  type Sink,
  TEXT,
  type Values,
} from "../shape.ts";

type Misuse = MisuseFact["because"];

/** The beginning of each message, and what it finds. Blanks stand for any white space. */
const MESSAGES: readonly (readonly [text: string, because: Misuse])[] = [
  ["device driver has pending DMA allocations while released from device", "leak"],
  ["device driver tries to free DMA memory it has not allocated", "not-allocated"],
  ["device driver tries to free an invalid DMA memory address", "not-allocated"],
  ["device driver frees DMA memory with different size", "size"],
  ["device driver frees DMA memory with wrong function", "other"],
  ["device driver frees DMA memory with different CPU address", "other"],
  ["device driver frees DMA sg list with different entry count", "size"],
  ["device driver frees DMA memory with different direction", "direction"],
  ["device driver failed to check map error", "unchecked-error"],
  ["device driver maps memory from", "bad-memory"],
  ["rejecting DMA map of vmalloc memory", "bad-memory"],
  ["device driver tries to sync DMA memory it has not allocated", "sync"],
  ["device driver syncs DMA memory outside allocated range", "sync"],
  ["device driver syncs DMA memory with different direction", "sync"],
  ["device driver syncs device read-only DMA memory for cpu", "sync"],
  ["device driver syncs device write-only DMA memory to device", "sync"],
  ["device driver syncs DMA sg list with different entry count", "sync"],
  ["mapping sg segment longer than device claims to support", "segment"],
  ["mapping sg segment across boundary", "segment"],
  ["cpu touching an active dma mapped cacheline", "other"],
  ["cacheline tracking EEXIST, overlapping mappings aren't supported", "overlap"],
];
const TEXTS = MESSAGES.map(([text]) => text.replaceAll(" ", String.raw`\s+`)).join("|");

function becauseOf(text: string): Misuse {
  const plain = text.replace(/\s+/g, " ");
  return MESSAGES.find(([beginning]) => plain.startsWith(beginning))?.[1] ?? "other";
}

/** Names of buses: one is printed in place of the driver's name when the device has no driver. */
const BUSES = new Set(["pci", "platform", "usb", "i2c", "i3c", "spi", "virtio", "amba", "acpi", "auxiliary"]);

function driverOf(name: string | undefined): string | undefined {
  return name === undefined || BUSES.has(name) ? undefined : name;
}

/** Facts that have their message, and facts that have their WARNING. */
const WITH_MESSAGE = new WeakSet<MisuseFact>();
const WITH_WARNING = new WeakSet<MisuseFact>();
const KEY = "dma-debug";

function openFact(sink: Sink): MisuseFact | undefined {
  const fact = sink.open(KEY);
  return fact?.kind === "misuse" ? fact : undefined;
}

const DETAIL: Field = { radix: "c", unit: "bytes or mappings" };
/** One `[name=value]` or `[name value]` behind a message, in any order. */
const detail = (name: string, group: string, value: string): string =>
  String.raw`(?:(?=(?:\s{0,9}\[[^\]]{1,80}\]){0,6}?\s{0,9}\[\s*${name}\s*=\s*(?<${group}>${value}))|)`;
const DETAILS =
  detail(String.raw`device\s+address`, "address", "0x[0-9a-f]+") +
  detail("(?:map\\s+)?size", "size", "\\d+") +
  detail("count", "count", "\\d+") +
  String.raw`(?:\s{0,9}\[[^\]]{1,80}\]){0,7}`;

const MESSAGE: Shape = {
  name: "dma-debug-message",
  example:
    "DMA-API: platform ixp4xx_crypto.0: device driver tries to free DMA memory it has not allocated [device address=0x0000000000000000] [size=24 bytes]",
  kernels: "Linux 2.6.30 on; the device stands before `DMA-API:` until 4.20",
  pattern: new RegExp(
    String.raw`(?:(?<oldDriver>[\w.-]{1,64})\s+(?<oldDevice>[\w.:-]{1,64}):\s+)?DMA-API:\s+(?:(?<driver>[\w.-]{1,64})\s+(?<device>[\w.:@-]{1,64}):\s+)?` +
      String.raw`(?<text>(?:${TEXTS})(?:\s+(?:stack|vmalloc|kernel\s+text(?:\s+or\s+rodata)?|highmem))?|device\s+driver\s+[^\n[]{1,80})${DETAILS}`,
  ),
  fields: {
    oldDriver: TEXT,
    oldDevice: DEVICE,
    driver: TEXT,
    device: DEVICE,
    text: TEXT,
    address: HEX_ADDRESS,
    size: DETAIL,
    count: DETAIL,
  },
  read(values, found, sink) {
    const because = becauseOf(values.text("text") ?? "");
    const fields = { ...requester(values), ...mapping(values) };
    const open = openFact(sink);
    if (open !== undefined && !WITH_MESSAGE.has(open)) {
      Object.assign(open, fields, { because });
      WITH_MESSAGE.add(open);
      sink.extend(open, found);
      return;
    }
    const fact: MisuseFact = { kind: "misuse", ...found.base, because, ...fields };
    WITH_MESSAGE.add(fact);
    sink.add(fact, KEY);
  },
};

/** Printed whether the check is on or not, so `DMA-API:` does not stand before it. */
const VMALLOC: Shape = {
  name: "dma-map-of-vmalloc",
  example: "ehci-pci 0000:00:1d.0: rejecting DMA map of vmalloc memory",
  kernels: "Linux 5.4 on",
  pattern: /(?:(?<driver>[\w.-]{1,64})\s+(?<device>[\w.:@-]{1,64}):\s+)?rejecting\s+DMA\s+map\s+of\s+vmalloc\s+memory/,
  fields: { driver: TEXT, device: DEVICE },
  read(values, found, sink) {
    sink.add({ kind: "misuse", ...found.base, because: "bad-memory", ...requester(values) });
  },
};

function requester(values: Values): { device?: string; driver?: string } {
  const device = values.text("device") ?? values.text("oldDevice");
  return given({ device: deviceName(device), driver: driverOf(values.text("driver") ?? values.text("oldDriver")) });
}

function mapping(values: Values): { iova?: bigint; bytes?: bigint; count?: number } {
  return given({ iova: values.number("address"), bytes: values.number("size"), count: values.small("count") });
}

const LEAKED_ENTRY: Shape = {
  name: "dma-debug-leaked-entry",
  example:
    "One of leaked entries details: [device address=0x000000007a6d0000] [size=4096 bytes] [mapped with DMA_FROM_DEVICE] [mapped as single]",
  kernels: "all: after the message of pending allocations",
  pattern: new RegExp(String.raw`One\s+of\s+leaked\s+entries\s+details:\s*${DETAILS}`),
  fields: { address: HEX_ADDRESS, size: DETAIL, count: DETAIL },
  read(values, found, sink) {
    const fact = openFact(sink);
    if (fact === undefined || fact.because !== "leak") {
      sink.add({ kind: "misuse", ...found.base, because: "leak", ...mapping(values) });
      return;
    }
    Object.assign(fact, mapping(values));
    sink.extend(fact, found);
  },
};

const OVERLAP: Shape = {
  name: "dma-debug-overlap",
  example: "DMA-API: exceeded 7 overlapping mappings of cacheline 0x0000000005e373c0",
  kernels: "Linux 3.14 on; the number is that of a cache line, not an address",
  pattern:
    /DMA-API:\s+(?:(?<driver>[\w.-]{1,64})\s+(?<device>[\w.:@-]{1,64}):\s+)?exceeded\s+(?<count>\d+)\s+overlapping\s+mappings\s+of\s+(?:cacheline|pfn)\s+(?:0x)?(?<cacheline>[0-9a-f]+)/,
  fields: {
    driver: TEXT,
    device: DEVICE,
    count: { radix: "decimal", unit: "mappings" },
    cacheline: { radix: "hex", unit: "number of the cache line" },
  },
  read(values, found, sink) {
    const fact: MisuseFact = {
      kind: "misuse",
      ...found.base,
      because: "overlap",
      ...requester(values),
      ...given({ count: values.small("count") }),
    };
    WITH_MESSAGE.add(fact);
    sink.add(fact, KEY);
  },
};

/** The meaning of a WARNING without a message, by the function that warns. */
function becauseOfFunction(name: string): Misuse {
  if (/check_for_(?:stack|illegal_area)/.test(name)) return "bad-memory";
  if (/check_sync|debug_dma_sync/.test(name)) return "sync";
  if (/check_sg_segment/.test(name)) return "segment";
  if (/device_change/.test(name)) return "leak";
  return /add_dma_entry|overlap/.test(name) ? "overlap" : "other";
}

const WARNING: Shape = {
  name: "dma-debug-warning",
  example: "WARNING: CPU: 0 PID: 33720 at kernel/dma/debug.c:570 add_dma_entry+0x208/0x2c8",
  kernels: "all: beside the message; `lib/dma-debug.c` until 4.18",
  pattern:
    /WARNING:\s+(?:CPU:\s+\d+\s+PID:\s+\d+\s+)?at\s+(?:\/\S{1,80}\/)?(?:kernel\/dma\/debug|lib\/dma-debug)\.c:\d+(?:\s+(?:at\s+)?(?<function>\w+))?/,
  fields: { function: { radix: "text", unit: "function" } },
  read(values, found, sink) {
    const open = openFact(sink);
    if (open !== undefined && !WITH_WARNING.has(open)) {
      WITH_WARNING.add(open);
      sink.extend(open, found);
      return;
    }
    const because = becauseOfFunction(values.text("function") ?? "");
    const fact: MisuseFact = { kind: "misuse", ...found.base, because };
    WITH_WARNING.add(fact);
    sink.add(fact, KEY);
  },
};

const DISABLED: Shape = {
  name: "dma-debug-disabled",
  example: "DMA-API: debugging out of memory - disabling",
  kernels: "all: nothing is checked any more",
  pattern: /DMA-API:\s+(?:debugging\s+out\s+of\s+memory|cacheline\s+tracking\s+ENOMEM)/,
  fields: {},
  read(_values, found: Found, sink) {
    sink.add({ kind: "loss", what: "messages", ...found.base });
  },
};

const IOMMU_WARNING: Shape = {
  name: "iommu-warning",
  example: "WARNING: CPU: 3 PID: 1842 at drivers/iommu/dma-iommu.c:846 __iommu_dma_unmap+0x134/0x140",
  kernels: "all: an unmap of an unmapped address, a map over a live mapping",
  pattern:
    /WARNING:\s+(?:CPU:\s+\d+\s+PID:\s+\d+\s+)?at\s+(?:\/\S{1,80}\/)?drivers\/iommu\/[\w/.-]{1,60}\.c:\d+\s+(?:at\s+)?(?<function>\w*(?:unmap|iommu_map|map_pages|arm_lpae|arm_v7s|iommu_dma_)\w*)/,
  fields: { function: { radix: "text", unit: "function" } },
  read(_values, found, sink) {
    const fact: MisuseFact = { kind: "misuse", ...found.base, because: "other" };
    WITH_WARNING.add(fact);
    // A message of DMA-API debug right behind says more.
    sink.add(fact, openFact(sink) === undefined ? KEY : undefined);
  },
};

export const DMA_DEBUG: Family = {
  name: "dma-debug",
  about: "DMA-API debug, and WARNINGs of the IOMMU code",
  hint: /DMA-API|leaked\s+entries|WARNING|rejecting\s+DMA/,
  shapes: [MESSAGE, VMALLOC, OVERLAP, LEAKED_ENTRY, WARNING, DISABLED, IOMMU_WARNING],
};
