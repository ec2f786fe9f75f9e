/** Devices of the machine, from boot lines, `lspci` and drivers: groups, BARs, drivers, other names, registers. */
import { PCI_DEVICE, pciName } from "../pci.ts";
import type { Field, Shape, Values } from "../shape.ts";
import { HEX, host, NAME, PCI, range } from "./host-shape.ts";

const BITS: Field = { radix: "decimal", unit: "address bits" };

/** The line says that a mask could not be set, or means the mask of coherent memory. */
const NO_MASK = /\b(?:fail|unable|can(?:not|'t)|no\b|not\b|coherent|consistent|overflow|error)/i;

function maskOf(values: Values): { about: "mask"; device: string; bits: number } | undefined {
  const device = pciName(values.text("device"));
  const mask = values.number("mask");
  const bits =
    values.small("bits") ??
    values.small("width") ??
    (mask === undefined || mask === 0n ? undefined : mask.toString(2).length);
  return device === undefined || bits === undefined || bits > 64 ? undefined : { about: "mask", device, bits };
}

export const DEVICES: readonly Shape[] = [
  host(
    {
      name: "mask-bits",
      example: "/sys/bus/pci/devices/0000:01:00.0/dma_mask_bits:32",
      kernels: "`grep -H . /sys/bus/pci/devices/*/dma_mask_bits`",
      pattern: new RegExp(String.raw`devices\/(?<device>${PCI_DEVICE})\/dma_mask_bits:(?<bits>\d{1,2})\b`, "i"),
      fields: { device: PCI, bits: BITS },
    },
    maskOf,
  ),
  {
    name: "mask-of-driver",
    example: "rtw_pci 0000:01:00.0: using a 32-bit DMA mask",
    kernels: "drivers: `DMA mask 0xffffffff`, `dma_mask: 32 bits`; not those that say that it failed",
    pattern: new RegExp(
      String.raw`(?:^|\n)[ \t]{0,32}(?:(?<driver>[a-z][\w-]{1,30})\s+)?(?<device>${PCI_DEVICE}):\s(?<before>[^\n]*?)\b(?:(?<bits>\d{2})[- ]?bits?\s+DMA[ _]mask|(?:DMA|dma)[ _]mask\s{0,8}(?:(?:is|to|of|set\s+to)\s{0,8})?(?:[:=]\s{0,8})?(?:(?<mask>0x[0-9a-f]+)|(?<width>\d{2})[- ]?bits?)\b)`,
    ),
    fields: {
      driver: NAME,
      device: PCI,
      before: NAME,
      bits: BITS,
      mask: { radix: "hex", unit: "DMA mask" },
      width: BITS,
    },
    read(values, found, sink) {
      const device = pciName(values.text("device"));
      const driver = values.text("driver");
      if (device !== undefined && driver !== undefined)
        sink.add({ kind: "host", ...found.base, about: "driver", device, driver });
      const mask = NO_MASK.test(values.text("before") ?? "") ? undefined : maskOf(values);
      if (mask !== undefined) sink.add({ kind: "host", ...found.base, lines: [...found.base.lines], ...mask });
    },
  },
  host(
    {
      name: "group",
      example: "pci 0000:00:02.0: Adding to iommu group 0",
      kernels: "5.3 on",
      pattern: new RegExp(String.raw`(?<device>${PCI_DEVICE}):\s+Adding\s+to\s+iommu\s+group\s+(?<group>\d+)`, "i"),
      fields: { device: PCI, group: { radix: "decimal", unit: "group" } },
    },
    (values) => {
      const device = pciName(values.text("device"));
      return device === undefined ? undefined : { about: "group", device, group: values.small("group") ?? 0 };
    },
  ),
  host(
    {
      name: "group-link",
      example: "/sys/kernel/iommu_groups/12/devices/0000:01:00.0",
      kernels: "a listing of /sys/kernel/iommu_groups",
      pattern: new RegExp(String.raw`iommu_groups\/(?<group>\d+)\/devices\/(?<device>${PCI_DEVICE})`, "i"),
      fields: { device: PCI, group: { radix: "decimal", unit: "group" } },
    },
    (values) => {
      const device = pciName(values.text("device"));
      return device === undefined ? undefined : { about: "group", device, group: values.small("group") ?? 0 };
    },
  ),
  host(
    {
      name: "bar",
      example: "pci 0000:01:00.0: BAR 0 [mem 0xe0000000-0xefffffff 64bit pref]",
      kernels: "all: `reg 0x10: [mem …]` until 6.7",
      pattern: new RegExp(
        String.raw`pci\s+(?<device>${PCI_DEVICE}):\s+(?:reg\s+0x[0-9a-f]+|BAR\s+\d+):?\s+(?:assigned\s+)?\[mem\s+(?<first>0x[0-9a-f]+)-(?<last>0x[0-9a-f]+)`,
        "i",
      ),
      fields: { device: PCI, first: HEX, last: HEX },
    },
    (values) => {
      const region = range(values);
      const device = pciName(values.text("device"));
      return region === undefined || device === undefined ? undefined : { about: "bar", device, ...region };
    },
  ),
  host(
    {
      name: "pci-device",
      example: "pci 0000:01:00.0: [144d:a808] type 00 class 0x010802",
      kernels: "all",
      pattern: new RegExp(String.raw`pci\s+(?<device>${PCI_DEVICE}):\s+\[[0-9a-f]{4}:[0-9a-f]{4}\]\s+type`, "i"),
      fields: { device: PCI },
    },
    (values) => {
      const device = pciName(values.text("device"));
      return device === undefined ? undefined : { about: "device", device };
    },
  ),
  {
    name: "lspci-device",
    example:
      "01:00.0 Non-Volatile memory controller [0108]: Samsung Electronics Co Ltd NVMe SSD Controller SM981 [144d:a808]",
    kernels: "lspci, lspci -nnk",
    pattern:
      /(?:^|\n)[ \t]*(?<device>(?:[0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])\s+(?<name>[A-Z0-9][^\n:[\]]+(?:\[[0-9a-f]{4}\])?:\s[^\n]+)/,
    fields: { device: PCI, name: NAME },
    read(values, found, sink) {
      const device = pciName(values.text("device"));
      const name = values.text("name");
      if (device === undefined || name === undefined) return;
      sink.add({ kind: "host", ...found.base, about: "device", device, name }, "lspci");
    },
  },
  {
    name: "lspci-region",
    example: "Region 0: Memory at e0000000 (64-bit, prefetchable) [size=256M]",
    kernels: "lspci -v, lspci -vv",
    pattern:
      /(?:Region\s+\d+:\s+)?Memory\s+at\s+(?<first>[0-9a-f]{6,16})\s+\([^)\n]*\)[^\n]*\[size=(?<size>\d+)(?<unit>[KMGT]?)\]/,
    fields: { first: HEX, size: { radix: "decimal", unit: "unit" }, unit: NAME },
    read(values, found, sink) {
      const before = sink.open("lspci");
      const first = values.number("first");
      const size = values.number("size");
      if (before?.kind !== "host" || before.about !== "device" || first === undefined || size === undefined) return;
      sink.extend(before, found);
      const unit = 1024n ** BigInt("KMGT".indexOf(values.text("unit") || "?") + 1);
      sink.add({ kind: "host", ...found.base, about: "bar", device: before.device, first, end: first + size * unit });
    },
  },
  {
    name: "lspci-driver",
    example: "Kernel driver in use: nvme",
    kernels: "lspci -k",
    pattern: /Kernel\s+driver\s+in\s+use:\s+(?<driver>\S+)/,
    fields: { driver: NAME },
    read(values, found, sink) {
      const before = sink.open("lspci");
      if (before?.kind !== "host" || before.about !== "device") return;
      sink.extend(before, found);
      sink.add({
        kind: "host",
        ...found.base,
        about: "driver",
        device: before.device,
        driver: values.text("driver") ?? "",
      });
    },
  },
  host(
    {
      name: "driver-line",
      example: "nvme 0000:01:00.0: platform quirk: setting simple suspend",
      kernels: "all: the device's name stands after its driver's",
      pattern:
        /(?:^|\n)[ \t]*(?<driver>(?!pci\b|pcieport\b|platform\b|iommu\b)[a-z][\w-]{1,30})\s+(?<device>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])(?=[:\s])/,
      fields: { driver: NAME, device: PCI },
    },
    (values) => {
      const device = pciName(values.text("device"));
      return device === undefined ? undefined : { about: "driver", device, driver: values.text("driver") ?? "" };
    },
  ),
  host(
    {
      name: "name-of-device",
      example: "nvme nvme0: pci function 0000:01:00.0",
      kernels: "nvme; network drivers: `renamed from`, `eth0: … at`",
      pattern: new RegExp(
        String.raw`\bnvme\s+(?<name>nvme\d+):\s+pci\s+function\s+(?<device>${PCI_DEVICE})|(?<netDevice>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])\s+(?<netName>\w+):\s+(?:renamed\s+from|NIC\s+Link|link\s+up)`,
        "i",
      ),
      fields: { name: NAME, device: PCI, netDevice: PCI, netName: NAME },
    },
    (values) => {
      const device = pciName(values.text("device") ?? values.text("netDevice"));
      const name = values.text("name") ?? values.text("netName");
      return device === undefined || name === undefined ? undefined : { about: "name", name, device };
    },
  ),
  {
    name: "register-dump",
    example: "host_regs: 00000050: 032db000 00000001 00000000 00000000",
    kernels: "drivers that dump registers as words",
    pattern:
      /(?:^|\n)(?<label>[\w .-]{0,40}?):?[ \t]*(?:0x)?[0-9a-f]{1,8}:\s+(?<words>(?:(?:0x)?[0-9a-f]{8}(?:\s(?!\n)|(?=\n|$))){2,8})/,
    fields: { label: NAME, words: { radix: "text", unit: "words of 32 bits, hexadecimal" } },
    read(values, found, sink) {
      const words = (values.text("words") ?? "")
        .split(/\s+/)
        .map((word) => Number.parseInt(word.replace(/^0x/, ""), 16));
      sink.add({ kind: "host", ...found.base, about: "registers", words });
    },
  },
];
