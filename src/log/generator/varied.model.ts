/**
 * Messages of every shape: the shape's example, with other devices, addresses and sizes in it. A new shape is varied as soon as it stands in its
 * family. Radix and meaning of a number are decided here, from its unit and from how the example writes it, and not from the shape's own
 * definition: a shape that reads a number in a wrong radix is caught.
 */

import { factsOf } from "../facts-of.model.ts";
import { FAMILIES } from "../families/index.ts";
import type { Field, Shape } from "../shape.ts";
import type { Random } from "./random.model.ts";

/** The contents of one printed message. */
export interface Event {
  readonly bus: number;
  readonly slot: number;
  readonly fn: number;
  /** On a page; a number below 4 GiB that no rule takes for a special one. */
  readonly iova: bigint;
  readonly streamId: number;
  readonly pasid: number;
  readonly domain: number;
  readonly bytes: number;
  readonly count: number;
  readonly isWrite: boolean;
  /** The entry is present and forbids the access; else there is no entry. */
  readonly isPermission: boolean;
  /** Texts that all lines of one message share, by unit: the IOMMU's name. */
  readonly names: Map<string, string>;
}

/** A property of a fact, and the value that it must have. */
export interface Planted {
  readonly property: string;
  readonly value: string | bigint | number;
}

/** `number` tells the events of one log apart. */
export function eventOf(number: number, random: Random): Event {
  return {
    bus: number * 16 + random(16),
    slot: random(32),
    fn: random(8),
    iova: BigInt(0x1000_0000 * number + random(0xf000) * 0x1000),
    streamId: 0x100 * number + random(0x100),
    pasid: 1 + random(0xffff),
    domain: 1 + random(0xfff),
    bytes: 0x1000 * (1 + random(0x3ff)),
    count: 2 + random(500),
    isWrite: random(2) === 0,
    isPermission: random(3) === 0,
    names: new Map(),
  };
}

const hex = (value: bigint | number, digits = 1): string => value.toString(16).padStart(digits, "0");

export function nameOf({ bus, slot, fn }: Event, segment = "0000"): string {
  return `${segment}:${hex(bus, 2)}:${hex(slot, 2)}.${fn}`;
}

const requesterId = ({ bus, slot, fn }: Event): number => (bus << 8) | (slot << 3) | fn;

interface Meaning {
  readonly unit: RegExp;
  /** The number to print. */
  readonly number: (event: Event) => bigint | number;
  /** The expected fact; absent: the message states nothing that can be compared. */
  readonly planted?: (event: Event) => Planted;
  /** How a number without `0x` is read; `padded`: hexadecimal when it has two digits (`01:00.0`), else decimal. */
  readonly radix: 10 | 16 | "padded";
}

const iova = (event: Event): Planted => ({ property: "iova", value: event.iova });
const device = (event: Event): Planted => ({ property: "device", value: nameOf(event) });
const streamId = (event: Event): Planted => ({ property: "streamId", value: BigInt(event.streamId) });

/** Units whose numbers may be any. Others have a meaning each (codes, flags, levels) and stay as in the example. */
const MEANINGS: readonly Meaning[] = [
  { unit: /^IO address(?:$|,| of )/, number: (event) => event.iova, planted: iova, radix: 16 },
  { unit: /^IO address >> 12$|^page of the guest/, number: ({ iova }) => iova >> 12n, planted: iova, radix: 16 },
  { unit: /^(?:bits 15:0 )?stream id/, number: (event) => event.streamId, planted: streamId, radix: 10 },
  { unit: /^(?:endpoint: a )?requester id/, number: requesterId, planted: device, radix: 10 },
  { unit: /^bus$/, number: ({ bus }) => bus, planted: device, radix: "padded" },
  { unit: /^slot$/, number: ({ slot }) => slot, planted: device, radix: "padded" },
  { unit: /^function$/, number: ({ fn }) => fn, planted: device, radix: "padded" },
  { unit: /^slot << 3 \| function$/, number: ({ slot, fn }) => (slot << 3) | fn, planted: device, radix: 10 },
  {
    unit: /^PASID|^substream id/,
    number: ({ pasid }) => pasid,
    planted: ({ pasid }) => ({ property: "pasid", value: BigInt(pasid) }),
    radix: 16,
  },
  {
    unit: /^domain$/,
    number: ({ domain }) => domain,
    planted: ({ domain }) => ({ property: "domain", value: BigInt(domain) }),
    radix: 16,
  },
  {
    unit: /^bytes of locked memory$/,
    number: ({ bytes }) => bytes,
    planted: ({ bytes }) => ({ property: "limit", value: BigInt(bytes) }),
    radix: 10,
  },
  {
    unit: /^bytes(?: or mappings)?$/,
    number: ({ bytes }) => bytes,
    planted: ({ bytes }) => ({ property: "bytes", value: BigInt(bytes) }),
    radix: 10,
  },
  {
    unit: /^messages$/,
    number: ({ count }) => count,
    planted: ({ count }) => ({ property: "count", value: count }),
    radix: 10,
  },
];

/** Units that name a device or an IOMMU. */
const NAMES_DEVICE = /^(?:PCI )?device$/;
const PCI = /^(?<segment>[0-9a-f]{4}:)?(?<mark>0x)?[0-9a-f]{2}:(?:0x)?[0-9a-f]{2}\.[0-7]$/;

interface Replacement {
  readonly text: string;
  readonly planted?: Planted | undefined;
}

/** The device's name in full; one that is no PCI device keeps its name. */
function deviceOf(printed: string, event: Event): string {
  const pci = PCI.exec(printed)?.groups;
  return pci === undefined ? printed : nameOf(event, pci["segment"]?.slice(0, 4));
}

/** Writes a device as the example writes its own. */
function deviceLike(printed: string, event: Event): string {
  const pci = PCI.exec(printed)?.groups;
  if (pci === undefined) return printed;
  const name = nameOf(event, pci["segment"]?.slice(0, 4));
  const short = pci["segment"] === undefined ? name.slice(5) : name;
  return pci["mark"] === undefined ? short : `0x${short.replace(":", ":0x")}`;
}

function replacementOf({ unit, radix }: Field, printed: string, event: Event): Replacement | undefined {
  if (NAMES_DEVICE.test(unit)) {
    return { text: deviceLike(printed, event), planted: { property: "device", value: deviceOf(printed, event) } };
  }
  if (unit === "IOMMU") {
    const text = event.names.get(unit) ?? printed;
    event.names.set(unit, text);
    return { text };
  }
  const meaning = radix === "text" ? undefined : MEANINGS.find((one) => one.unit.test(unit));
  // All ones in place of a PASID stand for none.
  if (meaning === undefined || /^f{8}$/.test(printed)) return undefined;
  return { text: numberLike(printed, meaning, event), planted: meaning.planted?.(event) };
}

/** Writes a number as the example writes its own: with `0x` or without, and with as many leading zeros. */
function numberLike(printed: string, { number, radix }: Meaning, event: Event): string {
  const digits = printed.replace(/^0x/, "");
  const isHex =
    printed.startsWith("0x") || radix === 16 || (radix === "padded" && digits.length === 2) || /[a-f]/.test(digits);
  const isPadded = digits.startsWith("0") && digits.length > 1;
  const text = number(event).toString(isHex ? 16 : 10);
  return (printed.startsWith("0x") ? "0x" : "") + (isPadded ? text.padStart(digits.length, "0") : text);
}

interface Varied {
  readonly text: string;
  readonly planted: readonly Planted[];
}

/** The text of a message with the event's values in place of its own. */
function vary({ pattern, fields }: Shape, text: string, event: Event): Varied {
  const match = new RegExp(pattern.source, `${pattern.flags}d`).exec(text);
  const indices = match?.indices?.groups ?? {};
  const planted: Planted[] = [];
  let varied = text;
  const places = Object.entries(indices).flatMap(([name, range]) => (range === undefined ? [] : [{ name, range }]));
  for (const { name, range } of places.sort((a, b) => b.range[0] - a.range[0])) {
    const field = fields[name];
    const replacement = field === undefined ? undefined : replacementOf(field, text.slice(...range), event);
    if (replacement === undefined) continue;
    varied = varied.slice(0, range[0]) + replacement.text + varied.slice(range[1]);
    if (replacement.planted !== undefined) planted.push(replacement.planted);
  }
  return { text: varied, planted };
}

/** The event of texts that are only tried, not printed. */
const FIRST: Event = {
  bus: 0x1a,
  slot: 3,
  fn: 1,
  iova: 0x1234_5000n,
  streamId: 0x123,
  pasid: 0x15,
  domain: 0x16,
  bytes: 0x17000,
  count: 18,
  isWrite: false,
  isPermission: false,
  names: new Map(),
};

/** A kind of message: what one printing of it looks like, and what it says. */
export interface Kind {
  readonly name: string;
  readonly family: string;
  readonly print: (event: Event) => { readonly lines: readonly string[]; readonly planted: readonly Planted[] };
}

/** Texts of shapes, to be varied, one behind the other. */
function kindOf(family: string, parts: readonly { readonly shape: Shape; readonly text: string }[]): Kind {
  return {
    name: parts.map(({ shape }) => shape.name).join(" + "),
    family,
    print(event) {
      const varied = parts.map(({ shape, text }) => vary(shape, text, event));
      return {
        lines: varied.flatMap(({ text }) => text.split("\n")),
        planted: varied.flatMap(({ planted }) => planted),
      };
    },
  };
}

const ALL: readonly { readonly family: string; readonly shape: Shape }[] = FAMILIES.flatMap((family) =>
  family.shapes.map((shape) => ({ family: family.name, shape })),
);

/** Shapes whose example states nothing alone: they complete a message of another shape, which must stand before them. */
function leaderOf(family: string, shape: Shape): Shape | undefined {
  const candidates = [...ALL].sort((a, b) => Number(b.family === family) - Number(a.family === family));
  return candidates.find(({ shape: leader }) => {
    if (leader === shape) return false;
    const event = { ...FIRST, names: new Map<string, string>() };
    const text = [leader, shape].map((one) => vary(one, one.example, event).text).join("\n");
    const lines = leader.example.split("\n").length;
    return factsOf(text).some(({ lines: [first, ...rest] }) => first?.line === 1 && rest.at(-1)?.line === lines + 1);
  })?.shape;
}

function exampleOf({ family, shape }: (typeof ALL)[number]): Kind {
  const own = { shape, text: shape.example };
  const isWhole = factsOf(vary(shape, shape.example, { ...FIRST, names: new Map() }).text).length > 0;
  const leader = isWhole ? undefined : leaderOf(family, shape);
  return kindOf(family, leader === undefined ? [own] : [{ shape: leader, text: leader.example }, own]);
}

/** Other ways to print what a shape's example prints, as reports have them. */
const FORMS: readonly string[] = [
  "dmar: DMAR:[DMA Read] Request device [02:00.0] fault addr a0c58000 \nDMAR:[fault reason 02] Present bit in context entry is clear",
  "DMAR: [DMA Write] Request device [00:12.0] fault addr 0 [fault reason 05] PTE Write access is not set",
  "DMAR: [DMA Read NO_PASID] Request device [0x00:0x02.0] fault addr 0x70ad5000 [fault reason 0x07] Next page table ptr is invalid",
  "DMAR: [DMA Write NO_PASID] Request device [03:00.0] fault addr 0x100000 [fault reason 0x71] SM: Present bit in first-level paging entry is clear",
  "DMAR: [DMA Write PASID 0x5] Request device [0000:95:00.0] fault addr 0x100000 [fault reason 0x71] SM: Present bit in first-level paging entry is clear",
  "DMAR: [INTR-REMAP] Request device [42:00.2] fault index 0xa00 [fault reason 0x25] Blocked a compatibility format interrupt request",
  "AMD-Vi: Event logged [\nIO_PAGE_FAULT device=05:00.0 domain=0x0012 address=0x00000000ff6101b0 flags=0x0070]",
  "AMD-Vi: Event logged [IO_PAGE_FAULT device=0000:0a:00.0 domain=0x001d address=0x1234000 flags=0x0000]",
  "iommu ivhd0: AMD-Vi: Event logged [ILLEGAL_DEV_TABLE_ENTRY device=0000:0a:00.0 pasid=0x00000 address=0xfffffffdf8000000 flags=0x0080]\nAMD-Vi: DTE[0]: 6190000000000003\nAMD-Vi: DTE[1]: 0000100103fc0009",
  "AMD-Vi: Event logged [IOTLB_INV_TIMEOUT device=01:00.0 address=0x216d8e620]",
  "(XEN) [VT-D]DMAR:[DMA Write] Request device [0000:65:00.0] fault addr 1200000000, iommu reg = ffff82c000603000",
  "arm-smmu 15000000.iommu: Unhandled context fault: iova=0x1032db3e0, fsr=0x402, fsynr=0x130010, cb=4",
  "arm-smmu 15000000.iommu: Unhandled context fault: fsr=0x402, iova=0x1032db3e0, fsynr=0x130001, cbfrsynra=0x300, cb=4\narm-smmu 15000000.iommu: FSR    = 00000402 [Format=2 TF], SID=0x300\narm-smmu 15000000.iommu: FSYNR0 = 00130001 [S1CBNDX=19 PLVL=1]",
  "mtk-iommu 1401d000.m4u: fault type=0x5 iova=0xfec23000 pa=0x0 larb=0 port=2 layer=1 read",
  "exynos-sysmmu 14860000.sysmmu: 14830000.decon: PAGE FAULT occurred at 0x6715b3e0",
  "DMA-API: pci 0000:83:00.0: device driver has pending DMA allocations while released from device [count=21]\nOne of leaked entries details: [device address=0x00000000ffff0000] [size=4096 bytes] [mapped with DMA_FROM_DEVICE] [mapped as single]",
  "nvme 0000:01:00.0: swiotlb buffer is full (sz: 16384 bytes)",
  "pci 0000:03:00.0: iommu_alloc failed, tbl c00000000263c480 vaddr c000000133b00000 npages 10",
];

function formOf(text: string): Kind {
  const parts = text.split("\n").map((line) => {
    const shape = ALL.find(({ shape: one }) => one.pattern.test(line));
    if (shape === undefined) throw new Error(`No shape reads ${line}`);
    return { ...shape, text: line };
  });
  return kindOf(parts[0]?.family ?? "", parts);
}

/** Each shape's example, and other forms of some. */
export const VARIED: readonly Kind[] = [...ALL.map(exampleOf), ...FORMS.map(formOf)];
