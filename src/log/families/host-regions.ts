/** Ranges of addresses that boot lines and files of /sys and /proc name: reserved regions, memory, framebuffers, doorbells of interrupts. */
import { PCI_DEVICE, pciName } from "../pci.ts";
import type { Shape } from "../shape.ts";
import { HEX, host, NAME, PCI, range } from "./host-shape.ts";

export const REGIONS: readonly Shape[] = [
  host(
    {
      name: "rmrr",
      example: "DMAR: RMRR base: 0x000000ab000000 end: 0x000000af7fffff",
      kernels: "all",
      pattern: /RMRR\s+base:\s+(?<first>0x[0-9a-f]+)\s+end:\s+(?<last>0x[0-9a-f]+)/i,
      fields: { first: HEX, last: HEX },
    },
    (values) => {
      const region = range(values);
      return region && { about: "reserved", use: "RMRR", ...region };
    },
  ),
  host(
    {
      name: "identity-map",
      example: "DMAR: Setting identity map for device 0000:00:02.0 [0xab800000 - 0xaf9fffff]",
      kernels: "until 5.14",
      pattern: new RegExp(
        String.raw`identity\s+map\s+for\s+device\s+(?<device>${PCI_DEVICE})\s+\[(?:mem\s+)?(?<first>0x[0-9a-f]+)\s*-\s*(?<last>0x[0-9a-f]+)\]`,
        "i",
      ),
      fields: { device: PCI, first: HEX, last: HEX },
    },
    (values) => {
      const region = range(values);
      const device = pciName(values.text("device"));
      return region && { about: "reserved", use: "RMRR", ...region, ...(device === undefined ? {} : { device }) };
    },
  ),
  host(
    {
      name: "reserved-region",
      example: "0x00000000fee00000 0x00000000feefffff msi",
      kernels: "/sys/kernel/iommu_groups/*/reserved_regions",
      pattern:
        /(?<first>0x[0-9a-f]{8,16})\s+(?<last>0x[0-9a-f]{8,16})\s+(?<use>direct-relaxable|direct|reserved|msi)\b/,
      fields: { first: HEX, last: HEX, use: NAME },
    },
    (values) => {
      const region = range(values);
      return region && { about: "reserved", use: values.text("use") ?? "", ...region };
    },
  ),
  host(
    {
      name: "memory-map",
      example: "BIOS-e820: [mem 0x0000000000100000-0x0000000070ad4fff] usable",
      kernels: "all x86",
      pattern: /BIOS-e820:\s+\[mem\s+(?<first>0x[0-9a-f]+)-(?<last>0x[0-9a-f]+)\]\s+(?<use>[^\n]+)/,
      fields: { first: HEX, last: HEX, use: NAME },
    },
    (values) => {
      const region = range(values);
      return region && { about: "ram", use: values.text("use") ?? "", ...region };
    },
  ),
  host(
    {
      name: "iomem",
      example: "00100000-70ad4fff : System RAM",
      kernels: "/proc/iomem",
      pattern: /(?<first>[0-9a-f]{8,16})-(?<last>[0-9a-f]{8,16})\s+:\s+(?<use>System\s+RAM)/,
      fields: { first: HEX, last: HEX, use: NAME },
    },
    (values) => {
      const region = range(values);
      return region && region.end > 0n ? { about: "ram", use: "usable", ...region } : undefined;
    },
  ),
  host(
    {
      name: "framebuffer",
      example: "efifb: framebuffer at 0x9c000000, using 3072k, total 3072k",
      kernels: "all",
      pattern:
        /framebuffer\s+at\s+(?<first>0x[0-9a-f]+),\s+(?:using|mapped\s+to\s+0x[0-9a-f]+,\s+using)\s+(?<size>\d+)k/i,
      fields: { first: HEX, size: { radix: "decimal", unit: "KiB" } },
    },
    (values) => {
      const first = values.number("first");
      const size = values.number("size");
      return first === undefined || size === undefined
        ? undefined
        : { about: "framebuffer", first, end: first + size * 1024n };
    },
  ),
  host(
    {
      name: "its",
      example: "ITS [mem 0x08080000-0x0809ffff]",
      kernels: "Arm with GICv3",
      pattern: /\bITS\s+\[mem\s+(?<first>0x[0-9a-f]+)-(?<last>0x[0-9a-f]+)\]/,
      fields: { first: HEX, last: HEX },
    },
    (values) => {
      const region = range(values);
      return region && { about: "its", ...region };
    },
  ),
];
