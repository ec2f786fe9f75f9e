import assert from "node:assert/strict";
import { test } from "node:test";
import { factsOf, linesOf } from "../facts-of.model.ts";

/** The only fact of a text, with the lines and the text of its first `count` lines taken for granted. */
function only(text: string, count = 1): object {
  const facts = factsOf(text);
  assert.equal(facts.length, 1, text);
  const { lines, text: first, ...rest } = facts[0] ?? { lines: [], text: "" };
  assert.deepEqual(lines, linesOf(...[1, 2, 3, 4].slice(0, count)));
  assert.equal(first, text.split("\n")[0]?.trim());
  return rest;
}

const REFUSED = { kind: "map-refused" } as const;

test("locked memory: the kernel, the driver and QEMU print one refusal", () => {
  const text = `vfio_pin_page_external: Task qemu-system-x86 (575712) RLIMIT_MEMLOCK (1048576) exceeded
gvt: vgpu 1: vfio_pin_pages failed for gfn 0x1d7b8a, ret -12
qemu-system-x86_64: VFIO_MAP_DMA failed: Cannot allocate memory`;
  assert.deepEqual(only(text, 3), {
    ...REFUSED,
    shape: "vfio-memlock",
    by: "vfio",
    because: "memlock-limit",
    limit: 1048576n,
    iova: 0x1d7b8a000n,
    errno: "ENOMEM",
  });
  assert.deepEqual(only("vfio_pin_pages_remote: RLIMIT_MEMLOCK (65536) exceeded"), {
    ...REFUSED,
    shape: "vfio-memlock",
    by: "vfio",
    because: "memlock-limit",
    limit: 65536n,
  });
});

test("QEMU: the ioctl and the call are one refusal, and the second pair is another", () => {
  const pair = (iova: string): string => `qemu-system-x86_64: VFIO_MAP_DMA failed: Bad address
qemu-system-x86_64: vfio_container_dma_map(0x55d1c2b4f2a0, ${iova}, 0x1000000, 0x7f3bd0000000) = -14 (Bad address)`;
  const facts = factsOf(`${pair("0xfd000000")}\n${pair("0xfe000000")}`);
  const common = {
    ...REFUSED,
    shape: "vfio-map-ioctl",
    text: "qemu-system-x86_64: VFIO_MAP_DMA failed: Bad address",
    by: "vfio",
    errno: "EFAULT",
    bytes: 0x1000000n,
  };
  assert.deepEqual(facts, [
    { ...common, lines: linesOf(1, 2), iova: 0xfd000000n },
    { ...common, lines: linesOf(3, 4), iova: 0xfe000000n },
  ]);
});

test("QEMU's own NVMe driver prints a host address, which is no IO address", () => {
  const text =
    "qemu-system-aarch64: qemu_vfio_dma_map(0xfffda1ffd000, 8589934592) failed: VFIO_MAP_DMA failed: Cannot allocate memory";
  assert.deepEqual(only(text), {
    ...REFUSED,
    shape: "vfio-qemu-storage",
    by: "qemu",
    bytes: 8589934592n,
    errno: "ENOMEM",
  });
});

test("iommufd, rust-vmm, SPDK, DPDK and Open vSwitch", () => {
  assert.deepEqual(only("qemu-system-x86_64: IOMMU_IOAS_MAP failed: Bad address"), {
    ...REFUSED,
    shape: "vfio-map-ioctl",
    by: "iommufd",
    errno: "EFAULT",
  });
  assert.deepEqual(only("cloud-hypervisor: VfioDmaMap(IommuDmaMap(Error(17)))"), {
    ...REFUSED,
    shape: "vfio-rust-vmm",
    by: "rust-vmm",
    errno: "EEXIST",
  });
  assert.deepEqual(only("memory.c: 801:_vfio_iommu_map_dma: *ERROR*: Cannot set up DMA mapping, error 28"), {
    ...REFUSED,
    shape: "dpdk-map",
    by: "spdk",
    errno: "ENOSPC",
  });
  const eal = `EAL:   cannot set up DMA remapping, error 22 (Invalid argument)
EAL: Couldn't map new region for DMA`;
  assert.deepEqual(only(eal, 2), { ...REFUSED, shape: "dpdk-map", by: "dpdk", errno: "EINVAL" });
});

test("devices that can't be assigned", () => {
  const group = `2022-11-25T01:10:52.810Z|00093|dpdk|ERR|EAL: 0000:01:00.1 VFIO group is not viable! Not all devices in IOMMU group bound to VFIO or unbound`;
  const [viable] = factsOf(group);
  assert.deepEqual(viable, {
    kind: "assignment-refused",
    shape: "vfio-not-viable",
    lines: linesOf(1),
    text: group.slice(group.indexOf("EAL")),
    time: Date.parse("2022-11-25T01:10:52.810Z") / 1000,
    clock: "wall",
    because: "group-not-viable",
    device: "0000:01:00.1",
  });
  const qemu = `qemu-system-x86_64: -device vfio-pci,host=01:00.0: vfio 0000:01:00.0: group 1 is not viable
Please ensure all devices within the iommu_group are bound to their vfio bus driver.`;
  assert.deepEqual(only(qemu, 2), {
    kind: "assignment-refused",
    shape: "vfio-not-viable",
    because: "group-not-viable",
    device: "0000:01:00.0",
  });
  const reserved = {
    "Firmware has requested this device have a 1:1 IOMMU mapping, rejecting configuring the device without a 1:1 mapping. Contact your platform vendor.":
      "vfio-1-1-mapping",
    "Device is ineligible for IOMMU domain attach due to platform RMRR requirement.  Contact your platform vendor.":
      "vfio-rmrr",
  };
  for (const [message, shape] of Object.entries(reserved)) {
    assert.deepEqual(only(`vfio-pci 0000:03:00.0: ${message}`), {
      kind: "assignment-refused",
      shape,
      because: "reserved-region",
      device: "0000:03:00.0",
    });
  }
  assert.deepEqual(only("vfio 0000:02:00.0: no iommu_group found: No such file or directory"), {
    kind: "assignment-refused",
    shape: "vfio-no-group",
    because: "no-iommu",
    device: "0000:02:00.0",
  });
  const physical = `EAL: FATAL: Cannot use IOVA as 'PA' since physical addresses are not available
EAL: Cannot use IOVA as 'PA' since physical addresses are not available`;
  assert.deepEqual(only(physical, 2), {
    kind: "assignment-refused",
    shape: "dpdk-iova-as-pa",
    because: "no-physical-addresses",
  });
  const unsafe = "vfio_iommu_type1_attach_group: No interrupt remapping support.  Use the module param";
  assert.deepEqual(only(unsafe), { kind: "assignment-refused", shape: "vfio-unsafe-interrupts" });
});

test("the kernel's IOMMU code refuses: a table too narrow, an address not aligned, a mask too small", () => {
  assert.deepEqual(only("sun50i-iommu 30f0000.iommu: attempt to map address beyond 4GB"), {
    ...REFUSED,
    shape: "sun50i-beyond-4g",
    iommu: "30f0000.iommu",
    by: "sun50i",
    because: "beyond-aperture",
    limit: 32n,
  });
  assert.deepEqual(only("iommu: unaligned: iova 0x1234 pa 0x0000000080000000 size 0x1000 min_pagesz 0x1000"), {
    ...REFUSED,
    shape: "iommu-unaligned",
    by: "iommu",
    because: "misaligned",
    errno: "EINVAL",
    iova: 0x1234n,
    bytes: 0x1000n,
    limit: 0x1000n,
  });
  assert.deepEqual(only("Cannot accommodate DMA translation for IOMMU page tables"), {
    ...REFUSED,
    shape: "io-pgtable-reach",
    by: "io-pgtable",
  });
  assert.deepEqual(only("nvme 0000:01:00.0: overflow 0x00000001ffffe000+4096 of DMA mask ffffffff bus limit 0"), {
    ...REFUSED,
    shape: "dma-direct-overflow",
    by: "dma-direct",
    because: "beyond-aperture",
    device: "0000:01:00.0",
    iova: 0x1ffffe000n,
    bytes: 4096n,
    limit: 32n,
  });
});

test("swiotlb: new and old words", () => {
  const refused = (shape: string, rest: object): object => ({ kind: "bounce-refused", shape, ...rest });
  assert.deepEqual(
    only("bnxt_en 0000:31:00.0: swiotlb buffer is full (sz: 256 bytes), total 0 (slots), used 0 (slots)"),
    refused("swiotlb-full", {
      driver: "bnxt_en",
      device: "0000:31:00.0",
      bytes: 256n,
      totalSlots: 0,
      usedSlots: 0,
    }),
  );
  assert.deepEqual(
    only("swiotlb buffer is full (sz: 524288 bytes), total 32768 (slots), used 4 (slots)"),
    refused("swiotlb-full", { bytes: 524288n, totalSlots: 32768, usedSlots: 4 }),
  );
  assert.deepEqual(
    only("ata1 0000:00:1f.2: swiotlb buffer is full (sz: 16384 bytes)"),
    refused("swiotlb-full", { driver: "ata1", device: "0000:00:1f.2", bytes: 16384n }),
  );
  assert.deepEqual(
    only("DMA: Out of SW-IOMMU space for 65536 bytes at device 0000:00:1f.2"),
    refused("swiotlb-out-of-space", { device: "0000:00:1f.2", bytes: 65536n }),
  );
  assert.deepEqual(
    only("swiotlb: coherent allocation failed for device 0000:03:00.0 size=2097152"),
    refused("swiotlb-coherent", { device: "0000:03:00.0", bytes: 2097152n }),
  );
  assert.deepEqual(
    only("Can not allocate SWIOTLB buffer earlier and can't now provide you with the DMA bounce buffer"),
    refused("swiotlb-no-pool", { totalSlots: 0 }),
  );
  assert.deepEqual(
    only("xhci_hcd 0000:02:00.0: swiotlb addr 0x00000001f8e5c000+4096 overflow (mask ffffffff, bus limit 0)."),
    refused("swiotlb-overflow", { driver: "xhci_hcd", device: "0000:02:00.0", bytes: 4096n }),
  );
});
