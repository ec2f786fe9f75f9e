/** Maps that the IOMMU code of the kernel itself refuses: addresses that its table has no bits for, or that are not aligned. */
import { type Family, given, HEX_ADDRESS, type Shape, SPEAKER, SPEAKER_FIELD } from "../shape.ts";

const SIZE = { radix: "hex", unit: "bytes" } as const;
const PHYSICAL = { radix: "hex", unit: "physical address" } as const;

const SUN50I: Shape = {
  name: "sun50i-beyond-4g",
  example: "sun50i-iommu 30f0000.iommu: attempt to map address beyond 4GB",
  kernels:
    "Linux 6.8 on: memory above 4 GiB for a table of 32 bits. That a driver then fails with -12 is a consequence",
  pattern: new RegExp(String.raw`(?:${SPEAKER}\s+)?attempt\s+to\s+map\s+address\s+beyond\s+4GB`),
  fields: { iommu: SPEAKER_FIELD },
  read(values, found, sink) {
    sink.add({
      kind: "map-refused",
      ...found.base,
      ...given({ iommu: values.text("iommu") }),
      by: "sun50i",
      because: "beyond-aperture",
      limit: 32n,
    });
  },
};

const UNALIGNED: Shape = {
  name: "iommu-unaligned",
  example: "iommu: unaligned: iova 0x1234 pa 0x0000000080000000 size 0x1000 min_pagesz 0x1000",
  kernels: "all",
  pattern:
    /unaligned:\s+iova\s+(?<iova>0x[0-9a-f]+)(?:\s+pa\s+(?<physical>0x[0-9a-f]+))?\s+size\s+(?<size>0x[0-9a-f]+)\s+min_pagesz\s+(?<page>0x[0-9a-f]+)/,
  fields: { iova: HEX_ADDRESS, physical: PHYSICAL, size: SIZE, page: SIZE },
  read(values, found, sink) {
    sink.add({
      kind: "map-refused",
      ...found.base,
      by: "iommu",
      because: "misaligned",
      errno: "EINVAL",
      ...given({ iova: values.number("iova"), bytes: values.number("size"), limit: values.number("page") }),
    });
  },
};

const TABLE_PAGES: Shape = {
  name: "io-pgtable-reach",
  example: "Cannot accommodate DMA translation for IOMMU page tables",
  kernels: "all with io-pgtable: the table's pages lie where the walk of the IOMMU does not reach",
  pattern: /Cannot\s+accommodate\s+DMA\s+(?:offset|translation)\s+for\s+IOMMU\s+page\s+tables/,
  fields: {},
  read(_values, found, sink) {
    sink.add({ kind: "map-refused", ...found.base, by: "io-pgtable" });
  },
};

const MASK: Shape = {
  name: "dma-direct-overflow",
  example: "nvme 0000:01:00.0: overflow 0x00000001ffffe000+4096 of DMA mask ffffffff bus limit 0",
  kernels: "Linux 5.0 on: no IOMMU, and no bounce buffer. Newer: `DMA addr …+… overflow (mask …, bus limit …)`",
  pattern: new RegExp(
    String.raw`(?:${SPEAKER.replaceAll("iommu", "device")}\s+)?(?:DMA\s+addr|overflow)\s+(?<address>0x[0-9a-f]+)\+(?<bytes>\d+)\s+(?:of\s+DMA\s+|overflow\s+\()mask\s+(?<mask>[0-9a-f]+)`,
  ),
  fields: {
    device: { radix: "text", unit: "device" },
    address: HEX_ADDRESS,
    bytes: { radix: "decimal", unit: "bytes" },
    mask: { radix: "hex", unit: "DMA mask" },
  },
  read(values, found, sink) {
    sink.add({
      kind: "map-refused",
      ...found.base,
      by: "dma-direct",
      because: "beyond-aperture",
      ...given({
        device: values.text("device"),
        iova: values.number("address"),
        bytes: values.number("bytes"),
        limit: bitsOf(values.number("mask")),
      }),
    });
  },
};

function bitsOf(mask: bigint | undefined): bigint | undefined {
  return mask === undefined ? undefined : BigInt(mask.toString(2).length);
}

export const DRIVER_REFUSALS: Family = {
  name: "driver-refusals",
  about: "Maps that the kernel's IOMMU code refuses",
  hint: /beyond\s+4GB|unaligned:|accommodate\s+DMA|DMA\s+mask|DMA\s+addr/,
  shapes: [SUN50I, UNALIGNED, TABLE_PAGES, MASK],
};
