/**
 * VFIO and iommufd: a map that the kernel refused, as the kernel, QEMU and other VMMs print it. The error's name is the message; which limit it
 * means follows from its number.
 */
import { type Family, type Field, given, HEX_ADDRESS, type Shape, TEXT, type Values } from "../shape.ts";
import { ERROR_TEXT, errnoOf, refuse } from "./refusals.ts";
import { ASSIGNMENT_SHAPES } from "./vfio-assignment.ts";

const ERROR: Field = { radix: "text", unit: "error of the C library" };
const NUMBER: Field = { radix: "text", unit: "error number" };
const SIZE: Field = { radix: "c", unit: "bytes" };
const HOST_ADDRESS: Field = { radix: "hex", unit: "address in the process" };

const MEMLOCK: Shape = {
  name: "vfio-memlock",
  example: "vfio_pin_pages_remote: RLIMIT_MEMLOCK (65536) exceeded",
  kernels: "all: until 4.x without, later with the task",
  pattern:
    /(?:vfio\w*:\s+)?(?:Task\s+(?<task>[^\n(]{1,32})\s+\(\d+\)\s+)?RLIMIT_MEMLOCK\s+\((?<limit>\d+)\)\s+exceeded/,
  fields: { task: TEXT, limit: { radix: "decimal", unit: "bytes of locked memory" } },
  read(values, found, sink) {
    refuse({ by: "vfio", because: "memlock-limit", ...given({ limit: values.number("limit") }) }, found, sink);
  },
};

const PIN: Shape = {
  name: "vfio-pin-pages",
  example: "gvt: vgpu 1: vfio_pin_pages failed for gfn 0x1d7b8a, ret -12",
  kernels: "mediated devices",
  pattern: /vfio_pin_pages\s+failed\s+for\s+(?:gfn|iova)\s+(?<gfn>0x[0-9a-f]+),\s+ret\s+(?<errno>-?\d+)/,
  fields: { gfn: { radix: "hex", unit: "page of the guest, 4 KiB" }, errno: NUMBER },
  read(values, found, sink) {
    const gfn = values.number("gfn");
    const iova = gfn === undefined ? undefined : gfn << 12n;
    refuse({ by: "vfio", ...given({ iova, errno: errnoOf(values.text("errno")) }) }, found, sink);
  },
};

const IOCTL: Shape = {
  name: "vfio-map-ioctl",
  example: "qemu-system-x86_64: VFIO_MAP_DMA failed: Cannot allocate memory",
  kernels: "QEMU 2.x on; IOMMU_IOAS_MAP with iommufd",
  pattern: new RegExp(
    String.raw`(?<what>VFIO_MAP_DMA|IOMMU_IOAS_MAP|VFIO_DMA_MAP)(?:\s+failed)?:\s+(?:(?<error>${ERROR_TEXT})|(?<errno>-?\d+))`,
    "i",
  ),
  fields: { what: TEXT, error: ERROR, errno: NUMBER },
  read(values, found, sink) {
    const by = /IOAS/i.test(values.text("what") ?? "") ? "iommufd" : "vfio";
    refuse({ by, ...given({ errno: errnoOf(values.text("errno") ?? values.text("error")) }) }, found, sink);
  },
};

const CALL: Shape = {
  name: "vfio-map-call",
  example:
    "qemu-system-x86_64: vfio_dma_map(0x55d1c2b4f2a0, 0xfd000000, 0x1000000, 0x7f3bd0000000) = -14 (Bad address)",
  kernels: "QEMU 1.x on; vfio_container_dma_map since 8.2",
  pattern:
    /\b(?:vfio_(?:container_|legacy_)?dma_map|iommufd_(?:backend_map_dma|cdev_map)|vhost_vdpa_dma_map)\s*\(\s*(?<container>0x[0-9a-f]+|\S{1,40}),\s+(?<iova>0x[0-9a-f]+),\s+(?<size>0x[0-9a-f]+),\s+(?<host>0x[0-9a-f]+)[^)\n]{0,40}\)\s*=\s*(?<errno>-?\d+)/,
  fields: { container: TEXT, iova: HEX_ADDRESS, size: SIZE, host: HOST_ADDRESS, errno: NUMBER },
  read(values, found, sink) {
    refuse({ by: "qemu", ...rangeOf(values) }, found, sink);
  },
};

function rangeOf(values: Values): { iova?: bigint; bytes?: bigint; errno?: string } {
  return given({
    iova: values.number("iova"),
    bytes: values.number("size"),
    errno: errnoOf(values.text("errno")),
  });
}

const QEMU_STORAGE: Shape = {
  name: "vfio-qemu-storage",
  example: "qemu-system-aarch64: qemu_vfio_dma_map(0xfffda1ffd000, 8589934592) failed: ",
  kernels: "QEMU: its own NVMe driver; the first number is a host address, no IO address",
  pattern: /qemu_vfio_dma_map\(\s*(?<host>0x[0-9a-f]+),\s+(?<size>(?:0x)?[0-9a-f]+)\)\s+failed/,
  fields: { host: HOST_ADDRESS, size: SIZE },
  read(values, found, sink) {
    refuse({ by: "qemu", ...given({ bytes: values.number("size") }) }, found, sink);
  },
};

const RUST_VMM: Shape = {
  name: "vfio-rust-vmm",
  example: "cloud-hypervisor: VfioDmaMap(IommuDmaMap(Error(17)))",
  kernels: "rust-vmm: Cloud Hypervisor and others",
  pattern: /\b(?:IommuDmaMap|IommufdIoasMap)\s*\(\s*(?:Error\(\s*(?<errno>\d+)|(?:Os\s*\{\s*code:\s*(?<code>\d+)))/,
  fields: { errno: NUMBER, code: NUMBER },
  read(values, found, sink) {
    const errno = errnoOf(values.text("errno") ?? values.text("code"));
    refuse({ by: "rust-vmm", ...given({ errno }) }, found, sink);
  },
};

export const VFIO: Family = {
  name: "vfio",
  about: "VFIO and iommufd: maps that were refused, devices that can't be assigned",
  hint: /vfio|VFIO|iommufd|IOMMU_IOAS|MEMLOCK|IommuDmaMap|IommufdIoasMap|iommu_group|not\s+viable|1:1\s+IOMMU|RMRR|interrupt\s+remapping/i,
  shapes: [MEMLOCK, PIN, QEMU_STORAGE, IOCTL, CALL, RUST_VMM, ...ASSIGNMENT_SHAPES],
};
