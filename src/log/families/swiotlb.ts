/** swiotlb: the kernel's bounce buffers. A refusal names the size of the request; since 4.20 also the pool's size and what of it is used. */
import { deviceName } from "../pci.ts";
import { DEVICE, type Family, type Field, given, type Shape, TEXT } from "../shape.ts";

const BYTES: Field = { radix: "decimal", unit: "bytes" };
const SLOTS: Field = { radix: "decimal", unit: "slots of 2 KiB" };
/** `bnxt_en 0000:31:00.0: ` */
const REQUESTER = String.raw`(?:(?:(?<driver>[\w.-]{1,64})\s+)?(?<device>[\w.:@-]{1,64}):\s+)?`;

const FULL: Shape = {
  name: "swiotlb-full",
  example: "bnxt_en 0000:31:00.0: swiotlb buffer is full (sz: 524288 bytes), total 32768 (slots), used 4 (slots)",
  kernels: "Linux 4.5 on; the slots since 5.0",
  pattern: new RegExp(
    String.raw`${REQUESTER}swiotlb\s+buffer\s+is\s+full\s+\(sz:\s+(?<bytes>\d+)\s+bytes\)(?:,\s+total\s+(?<total>\d+)\s+\(slots\),\s+used\s+(?<used>\d+)\s+\(slots\))?`,
  ),
  fields: { driver: TEXT, device: DEVICE, bytes: BYTES, total: SLOTS, used: SLOTS },
  read(values, found, sink) {
    sink.add({
      kind: "bounce-refused",
      ...found.base,
      ...given({
        driver: values.text("driver"),
        device: deviceName(values.text("device")),
        bytes: values.number("bytes"),
        totalSlots: values.small("total"),
        usedSlots: values.small("used"),
      }),
    });
  },
};

const OUT_OF_SPACE: Shape = {
  name: "swiotlb-out-of-space",
  example: "DMA: Out of SW-IOMMU space for 65536 bytes at device 0000:00:1f.2",
  kernels: "until 4.19",
  pattern: /Out\s+of\s+SW-IOMMU\s+space\s+for\s+(?<bytes>\d+)\s+bytes(?:\s+at\s+device\s+(?<device>[\w.:@-]{1,64}))?/,
  fields: { bytes: BYTES, device: DEVICE },
  read(values, found, sink) {
    sink.add({
      kind: "bounce-refused",
      ...found.base,
      ...given({ device: deviceName(values.text("device")), bytes: values.number("bytes") }),
    });
  },
};

const COHERENT: Shape = {
  name: "swiotlb-coherent",
  example: "swiotlb: coherent allocation failed for device 0000:03:00.0 size=2097152",
  kernels: "4.x",
  pattern: /swiotlb:\s+coherent\s+allocation\s+failed\s+for\s+device\s+(?<device>[\w.:@-]{1,64})\s+size=(?<bytes>\d+)/,
  fields: { device: DEVICE, bytes: BYTES },
  read(values, found, sink) {
    sink.add({
      kind: "bounce-refused",
      ...found.base,
      ...given({ device: deviceName(values.text("device")), bytes: values.number("bytes") }),
    });
  },
};

const NO_POOL: Shape = {
  name: "swiotlb-no-pool",
  example: "Can not allocate SWIOTLB buffer earlier and can't now provide you with the DMA bounce buffer",
  kernels: "all: the pool was not made at boot",
  pattern: /Can\s?not\s+allocate\s+SWIOTLB\s+buffer\s+earlier/,
  fields: {},
  read(_values, found, sink) {
    sink.add({ kind: "bounce-refused", ...found.base, totalSlots: 0 });
  },
};

const OVERFLOW: Shape = {
  name: "swiotlb-overflow",
  example: "xhci_hcd 0000:02:00.0: swiotlb addr 0x00000001f8e5c000+4096 overflow (mask ffffffff, bus limit 0).",
  kernels: "Linux 5.3 on: the bounce buffer itself lies beyond the device's reach",
  pattern: new RegExp(
    String.raw`${REQUESTER}swiotlb\s+addr\s+0x[0-9a-f]+\+(?<bytes>\d+)\s+overflow\s+\(mask\s+(?<mask>[0-9a-f]+),\s+bus\s+limit\s+[0-9a-f]+\)`,
  ),
  fields: { driver: TEXT, device: DEVICE, bytes: BYTES, mask: { radix: "hex", unit: "DMA mask" } },
  read(values, found, sink) {
    sink.add({
      kind: "bounce-refused",
      ...found.base,
      ...given({
        driver: values.text("driver"),
        device: deviceName(values.text("device")),
        bytes: values.number("bytes"),
      }),
    });
  },
};

export const SWIOTLB: Family = {
  name: "swiotlb",
  about: "swiotlb: bounce buffers that were refused",
  hint: /swiotlb|SWIOTLB|SW-IOMMU/,
  shapes: [FULL, OUT_OF_SPACE, COHERENT, NO_POOL, OVERFLOW],
};
