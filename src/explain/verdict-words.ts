/**
 * Each verdict in words that need no knowledge of the field: what it means, as the end of a sentence ("most likely: …"), and what to do next when it
 * is the cause, as an order ("do next: …").
 */
import type { Kind } from "./contract.ts";

export interface VerdictWords {
  readonly meaning: string;
  readonly next: string;
}

const LEFT_RUNNING =
  "find out what the firmware or the earlier kernel left running; a driver must stop it, or the firmware must declare the region that it uses";

const TELL_MAINTAINERS = "try a newer kernel, then report it to the maintainers of the IOMMU's driver with these lines";

export const VERDICT_WORDS: Readonly<Record<Kind, Readonly<Record<string, VerdictWords>>>> = {
  "dma-fault": {
    "not-mapped": {
      meaning: "the address was not mapped for the device (a mapping is missing, or the address is wrong)",
      next: "find the code that gives the device this address, and check that it has mapped the buffer before, for this device (dma_map_…, dma_alloc_…)",
    },
    "use-after-unmap": {
      meaning: "the address had been mapped, and was unmapped before the device was done with it",
      next: "make the driver stop the device, or wait until it is done, before it unmaps or frees the buffer",
    },
    permission: {
      meaning: "the address is mapped, but not for this kind of access",
      next: "compare the direction that the driver maps the buffer with to what the device does (DMA_TO_DEVICE: it reads; DMA_FROM_DEVICE: it writes)",
    },
    "past-end": {
      meaning: "the device went past the end of a buffer",
      next: "compare the length that the driver gives to the device with the length that it maps",
    },
    "before-start": {
      meaning: "the device began before the start of a buffer",
      next: "check what the driver adds to or takes from the mapped address before it gives it to the device",
    },
    "beyond-mask": {
      meaning: "the address has more bits than the device can put on the bus",
      next: "compare the mask that the driver sets (dma_set_mask) with the address bits that the device has",
    },
    "truncated-address": {
      meaning: "the device got a part of a valid address: some of its bits were lost",
      next: "follow the address from the map call to the device's register: a variable or field of 32 bits cuts it",
    },
    "wrong-device": {
      meaning: "the address belongs to another device's buffer",
      next: "check which device the driver maps the buffer for: it must be the one that uses it",
    },
    "physical-address": {
      meaning: "the device was given a physical address in place of a mapped one",
      next: "find out where the device's address comes from: it must be the result of a map call (dma_map_…, dma_alloc_…), not of virt_to_phys or a similar conversion",
    },
    "null-address": {
      meaning: "the device was never given an address: a register or pointer is still 0",
      next: "check that the driver writes all addresses to the device's registers and descriptors before it starts the device",
    },
    "garbage-address": {
      meaning: "the device uses a value that is no address",
      next: "find out where the device reads its addresses from: memory that was freed or never set, or a wrong register",
    },
    "msi-doorbell": {
      meaning: "the write is an interrupt of the device, sent to an address that is not mapped for it",
      next: "look at how the device's interrupts (MSI) are set up, not at its buffers",
    },
    "peer-bar": {
      meaning: "the device talks directly to another device, and that path is not mapped",
      next: "check that the driver maps the other device's memory (dma_map_resource, P2PDMA)",
    },
    handover: {
      meaning: "the firmware or an earlier kernel left the device running, and it goes on with its own addresses",
      next: LEFT_RUNNING,
    },
    "mapped-but-faulted": {
      meaning: "the address is mapped, and the IOMMU refused all the same: not a bug of the device's driver",
      next: TELL_MAINTAINERS,
    },
  },
  "no-table": {
    handover: { meaning: "the firmware or an earlier kernel left the device running", next: LEFT_RUNNING },
    alias: {
      meaning: "the request carries an id that no device has: another device, or a bridge, sends under that id",
      next: "try a newer kernel; if it stays, report the device that sends (lspci -nn) and the id, so that the kernel learns of it (a DMA alias quirk)",
    },
    "not-attached": {
      meaning: "the kernel has set up no translation for the device",
      next: "find out why: no driver of the kernel or vfio-pci drives the device, or its id is missing in the firmware's tables or the device tree",
    },
    shutdown: {
      meaning: "the device still worked after its translation had been taken away",
      next: "make the device's driver stop the device when it is removed or the machine is shut down",
    },
  },
  "table-error": {
    "reserved-bits": {
      meaning: "an entry of the IOMMU's tables has bits set that must be zero",
      next: TELL_MAINTAINERS,
    },
    "hardware-error": {
      meaning: "the IOMMU met an error while it read its tables",
      next: "test the machine's memory and update its firmware, then report it to the maintainers of the IOMMU's driver",
    },
    "illegal-command": { meaning: "the IOMMU refused a command of its driver", next: TELL_MAINTAINERS },
  },
  interrupt: {
    blocked: {
      meaning: "the interrupt has no valid entry in the table of interrupts",
      next: "check whether the device was reset, or its interrupts were freed, while it could still send one",
    },
    "not-remapped": {
      meaning: "the interrupt has the format of machines without interrupt remapping",
      next: "find out why the kernel did not set up this interrupt: firmware or a guest did, or it was not set up again after a reset or resume",
    },
  },
  "invalidation-timeout": {
    "device-gone": {
      meaning: "a device is not there any more",
      next: "find out why the device left the bus: its link, its power, a hot removal",
    },
    "device-silent": {
      meaning: "a device is there and does not answer",
      next: "check whether the device was reset, asleep or crashed when its memory was unmapped",
    },
    "iommu-silent": {
      meaning: "the IOMMU itself does not answer",
      next: "check the IOMMU's clock and power (suspend), and whether firmware or an earlier kernel had set it up",
    },
  },
  "conflicting-entry": {
    "same-page": {
      meaning: "the same page is mapped a second time, or its entry was not cleared",
      next: "find the code that maps the page twice, or that unmaps less than it mapped",
    },
    identity: {
      meaning: "a fixed one-to-one mapping, as for memory that the firmware reserves, is already there",
      next: "compare the address with the reserved regions of the device's group: it should not have been handed out",
    },
    "two-owners": {
      meaning: "two owners use the same address for different memory",
      next: "find the owner of the old mapping: it gave the address back without unmapping it, or never owned it",
    },
  },
  "map-refused": {
    "memlock-limit": {
      meaning: "the process may not lock so much memory (locked: kept at its place, so that a device can use it)",
      next: "raise the limit to more than the guest's or program's memory: ulimit -l, LimitMEMLOCK= of systemd, hard_limit of libvirt",
    },
    "mapping-limit": {
      meaning: "the program has as many mappings as it may have at a time",
      next: "map fewer and longer pieces (huge pages), or raise dma_entry_limit of the module vfio_iommu_type1",
    },
    overlap: {
      meaning: "the range overlaps one that is mapped already",
      next: "unmap the old range first, and check that the unmap took all of its bytes",
    },
    "cannot-pin": {
      meaning: "the memory can't be pinned (kept at its place, so that a device can use it)",
      next: "find out what memory it is: a device's registers, a file or memory that is not there yet can't always be mapped",
    },
    "beyond-aperture": {
      meaning: "the address has more bits than the IOMMU translates",
      next: "use lower addresses: a guest with fewer address bits, a smaller DMA mask in a driver",
    },
    "reserved-hole": {
      meaning: "the range touches a region that is reserved",
      next: "leave out the reserved regions of the device's group",
    },
    misaligned: {
      meaning: "the address or size is not a multiple of the IOMMU's page",
      next: "map whole pages of the IOMMU",
    },
    "stale-mapping": {
      meaning: "an earlier unmap did not take the range away",
      next: "check what each unmap returns: it must be all bytes of the range",
    },
  },
  "assignment-refused": {
    "group-not-viable": {
      meaning: "another device of the same group is still driven by the kernel",
      next: "bind all devices of the group to vfio-pci, or to no driver",
    },
    "reserved-region": {
      meaning: "the firmware needs a fixed mapping for the device",
      next: "look for a firmware setting or update that gives up the region; else this device can't be assigned on this machine",
    },
    "no-iommu": {
      meaning: "no IOMMU is switched on",
      next: "switch it on in the firmware's setup (VT-d, AMD-Vi), on Intel also with intel_iommu=on",
    },
    "no-physical-addresses": {
      meaning: "the program may not see physical addresses",
      next: "use vfio-pci and mapped addresses (DPDK: --iova-mode=va), or run the program with CAP_SYS_ADMIN",
    },
  },
  "bounce-refused": {
    "too-large": {
      meaning: "the request is longer than a bounce buffer can be",
      next: "make the driver ask for shorter pieces (dma_max_mapping_size says how long); a larger pool does not help",
    },
    "no-pool": {
      meaning: "there is no pool of bounce buffers",
      next: "find out why the device can't reach its memory (its DMA mask); if it needs bounce buffers, boot with a pool (swiotlb=SLOTS)",
    },
    "pool-full": {
      meaning: "all bounce buffers are in use",
      next: "look whether the use only rises (mappings that are never ended) or has peaks; for peaks a larger pool helps (swiotlb=SLOTS)",
    },
    fragmented: {
      meaning: "bounce buffers are free, but not enough side by side",
      next: "make the driver ask for shorter pieces; a larger pool helps little",
    },
  },
  exhausted: {
    full: {
      meaning: "all addresses are in use",
      next: "find out what holds them (a driver that never unmaps?), or let the device use more address bits",
    },
    fragmented: {
      meaning: "addresses are free, but not enough side by side",
      next: "map shorter pieces, or let the device use more address bits",
    },
    "allocator-state": {
      meaning: "the allocator does not find addresses that are free",
      next: "report it to the maintainers of the IOMMU code, with the recording",
    },
    "table-too-small": {
      meaning: "the table is smaller than what the device asks for",
      next: "let the device use a larger window, or more address bits",
    },
  },
  "dma-api-misuse": {
    direction: {
      meaning: "a buffer was used in another direction than it was mapped for",
      next: "use the same direction in the map, sync and unmap calls of the buffer",
    },
    size: {
      meaning: "a buffer was unmapped with another size than it was mapped with",
      next: "unmap with the size that was mapped",
    },
    "not-allocated": {
      meaning: "something was unmapped or freed that is not mapped",
      next: "find the caller in the stack below the message: it unmaps twice, or an address that no map call gave",
    },
    leak: {
      meaning: "the driver left with mappings that it had not ended",
      next: "find the map call of the entry that the message shows, and end it before the driver lets the device go",
    },
    overlap: {
      meaning: "memory is mapped more than once at a time",
      next: "find the two map calls: on purpose (RDMA, io_uring) it may be harmless; else one of them is too many",
    },
    "bad-memory": {
      meaning: "memory was mapped that can't be used for DMA",
      next: "take the buffer from kmalloc or the DMA API",
    },
    "unchecked-error": {
      meaning: "it was not checked whether a mapping failed",
      next: "call dma_mapping_error after each map call, and handle the failure",
    },
    sync: {
      meaning: "a buffer was synchronised that is not mapped so",
      next: "synchronise only what is mapped, with its size and direction",
    },
    segment: {
      meaning: "a segment breaks the device's limits",
      next: "set the device's limits in the driver (dma_set_max_seg_size, dma_set_seg_boundary), or build shorter segments",
    },
    other: {
      meaning: "another rule of the DMA API was broken",
      next: "read the message and the stack below it: they name the rule and the caller",
    },
  },
  frozen: {
    "dma-error": {
      meaning: "a DMA of the device was refused",
      next: "find the address in the lines of the freeze, and the driver that gave it to the device",
    },
    other: {
      meaning: "the error was another one than a DMA",
      next: "read the lines of the freeze: they print the error registers of the bridge and of the device",
    },
  },
  leak: {
    growing: {
      meaning: "the number of mappings grows: some are made and never ended",
      next: "compare the driver's map and unmap calls for the sizes below",
    },
    "at-exit": {
      meaning: "the driver left with mappings that it had not ended",
      next: "end all mappings in the driver before it lets the device go",
    },
  },
  slow: {
    "slow-invalidation": {
      meaning: "the IOMMU takes long to forget old translations (an invalidation)",
      next: "measure one invalidation: microseconds are normal, milliseconds are not",
    },
    "lock-contention": {
      meaning: "processors wait for each other's lock",
      next: "find the lock in a profile of all processors",
    },
    "uncached-size": {
      meaning: "requests are too long for the allocator's caches",
      next: "make the driver map shorter pieces, or keep its long ones mapped",
    },
  },
};
