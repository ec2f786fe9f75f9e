// A driver in user space: memory of its own, known by virtual addresses, given to a device by calls like VFIO's MAP_DMA. The kernel and the
// device are stand-ins of a few lines; with VFIO the two calls are ioctls, and ADDRESS is where the buffer lies.
import {
  DEVICE_WRITES,
  DmaDevice,
  DmaPool,
  type EntryAccess,
  type Failure,
  IommuTable,
  orThrow,
  ScatterList,
} from "iova";
import { type EntryValue, PhysicalMemory, PhysicalPages, type TableOps } from "iova/platform";

const PAGE = 4096;
const ADDRESS = 0x7f12_3400_0000; // virtual address of the driver's buffer
const BYTES = 2 ** 20;
const WINDOW = { base: 0x10_0000n, pageShift: 12, entries: 256 };

/** The kernel's mappings: bus page → virtual page and access. */
const kernel = new Map<number, { page: number; access: number }>();
let calls = 0;

/** One call for each range, as in VFIO. */
class VfioOps implements TableOps {
  set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    calls++; // VFIO_IOMMU_MAP_DMA { iova, vaddr, size, flags }
    for (let i = 0; i < count; i++) kernel.set(first + i, { page: page + i, access });
    return undefined;
  }
  clear(first: number, count: number): void {
    calls++; // VFIO_IOMMU_UNMAP_DMA { iova, size }: the kernel invalidates the IOTLB too
    for (let i = 0; i < count; i++) kernel.delete(first + i);
  }
  get(entry: number, into: EntryValue): void {
    const { page, access } = kernel.get(entry) ?? { page: 0, access: 0 };
    into.page = page;
    into.access = access as EntryValue["access"];
  }
  exchange(): Failure {
    return "platform-refused";
  }
  publish(): undefined {}
  invalidate(): undefined {}
  invalidateAll(): undefined {}
}

const memory = PhysicalMemory.of([{ address: ADDRESS, buffer: new SharedArrayBuffer(BYTES) }]);
const pages = PhysicalPages.create({ address: ADDRESS + BYTES / 2, bytes: BYTES / 2 }); // the second half: rings and descriptors
const table = IommuTable.create(WINDOW, new VfioOps(), { threads: 1 });
const device = new DmaDevice(table, { mask: 0xffff_ffffn, maxSegmentBytes: 2 ** 20 }, { memory, coherentPages: pages });

/** The device: writes bytes at a bus address. */
function deviceWrites(iova: bigint, bytes: Uint8Array): void {
  const entry = kernel.get(Number((iova - WINDOW.base) / BigInt(PAGE)));
  if (entry === undefined || (entry.access & DEVICE_WRITES) === 0) throw new Error("the device was refused");
  memory.write(entry.page * PAGE + Number(iova % BigInt(PAGE)), bytes);
}

const ring = orThrow(device.allocateCoherent(2 * PAGE), "the ring");
const descriptors = new DmaPool(device, memory, { blockBytes: 64 });
const first = orThrow(descriptors.allocate(), "a descriptor");
const second = orThrow(descriptors.allocate(), "a descriptor");
console.log(`ring at bus address 0x${ring.iova.toString(16)}, virtual 0x${ring.address.toString(16)}`);
console.log(`descriptors of 64 bytes at 0x${first.iova.toString(16)} and 0x${second.iova.toString(16)}`);

// Three separate buffers become one segment for the device, with one call each.
const buffers = ScatterList.from([
  { address: BigInt(ADDRESS), bytes: 16 * PAGE },
  { address: BigInt(ADDRESS + 20 * PAGE), bytes: 8 * PAGE },
  { address: BigInt(ADDRESS + 40 * PAGE), bytes: 100 },
]);
const before = calls;
orThrow(device.mapSg(buffers, DEVICE_WRITES) ?? buffers, "the buffers");
console.log(
  `${buffers.length} buffers in ${buffers.segments} segment of ${buffers.segmentBytes[0]} bytes, by ${calls - before} calls`,
);

deviceWrites(buffers.iovas[0] as bigint, new TextEncoder().encode("from the device"));
const seen = new Uint8Array(15);
memory.read(ADDRESS, seen);
console.log(new TextDecoder().decode(seen));

device.unmapSg(buffers);
descriptors.free(first);
descriptors.free(second);
descriptors.destroy();
device.freeCoherent(ring);
console.log(`left in the kernel: ${kernel.size} pages; pages taken: ${pages.takenPages}`);
