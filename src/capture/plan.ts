/**
 * Settings of a capture, as a list: the same list is carried out on this machine, and printed as a shell script for another one.
 *
 * All of it is inside tracefs instances of our own, which have buffers, events and options of their own: the machine's own tracing is not
 * touched, and removing an instance undoes everything in it.
 */

/** Where tracefs is mounted, newest place first. */
export const TRACEFS_PLACES: readonly string[] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
/** The instance that records. */
export const RECORDER = "iova";
/** The instance that shows `io_page_fault` events and nothing else: reading it takes nothing away from the recording. */
export const FAULT_WATCH = "iova-faults";
/** Marks the start in the kernel log and, as a `console` event, in the trace: so the offset of their clocks is known. */
export const START_MARK: string = "iova capture: recording starts";
/** Size of each CPU's buffer, in KiB, where there is memory for it. */
export const BUFFER_KIB: number = 2 ** 14;

/** The request. */
export interface CaptureWishes {
  /** Size of the buffer of each CPU, in KiB. */
  readonly bufferKib: number;
  /** `dma:*` events of this device alone, as the kernel names it. */
  readonly device?: string;
  /** Stacks of the unmaps of this device. */
  readonly stacks?: string;
}

/** One file of an instance, and what is written to it. */
export interface Setting {
  /** Below the instance's folder. */
  readonly path: string;
  readonly value: string;
  /** Left out where the kernel has no such file. */
  readonly isOptional: boolean;
  /** Left out where the kernel has this file, below the instance's folder. */
  readonly unless?: string;
}

export interface Plan {
  readonly recorder: readonly Setting[];
  readonly faultWatch: readonly Setting[];
}

/** Enough for one page fault of each CPU: the instance is read twenty times a second. */
const FAULT_WATCH_KIB = 16;

/** Events that end a mapping, through all kernels since `dma:*` came with Linux 6.12. */
const ENDINGS = [
  "dma_unmap_page",
  "dma_unmap_phys",
  "dma_unmap_resource",
  "dma_unmap_sg",
  "dma_free",
  "dma_free_pages",
  "dma_free_sgt",
];

/** In the order in which they are written. */
export function planOf({ bufferKib, device, stacks }: CaptureWishes): Plan {
  return {
    recorder: [
      must("tracing_on", "0"),
      must("buffer_size_kb", String(bufferKib)),
      ...(device === undefined ? [] : [where("events/dma/filter", filterOf(device))]),
      ...(stacks === undefined ? [] : stacksOf(stacks)),
      where("events/iommu/enable", "1"),
      where("events/dma/enable", "1"),
      // Invalidations of VT-d. Other drivers have no events of theirs.
      where("events/intel_iommu/enable", "1"),
      where("events/swiotlb/enable", "1"),
      where("events/printk/console/enable", "1"),
      must("tracing_on", "1"),
    ],
    faultWatch: [must("buffer_size_kb", String(FAULT_WATCH_KIB)), where("events/iommu/io_page_fault/enable", "1")],
  };
}

/**
 * `iommu:unmap` does not name a device, `dma:*` events do. Kernels without these get stacks of all events: a trigger that prints stacks writes
 * them to the machine's own buffer before Linux 5.18.
 */
function stacksOf(device: string): Setting[] {
  return [
    ...ENDINGS.map((event) => where(`events/dma/${event}/trigger`, `stacktrace if ${filterOf(device)}`)),
    { path: "options/stacktrace", value: "1", isOptional: false, unless: "events/dma" },
  ];
}

function filterOf(device: string): string {
  return `device == "${device}"`;
}

function must(path: string, value: string): Setting {
  return { path, value, isOptional: false };
}

function where(path: string, value: string): Setting {
  return { path, value, isOptional: true };
}
