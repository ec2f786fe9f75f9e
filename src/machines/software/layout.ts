/**
 * Layout of a software machine's shared state. (Its physical memory has buffers of its own.) Every object of this folder is one thread's view
 * of this buffer.
 *
 *   header | clocks | in-flight bits | devices | partitions with their windows | the IOMMU's own words | threads | IOTLB ways |
 *   round-robin cursors | fault rings
 *
 * A *partition* is a set of devices that share windows and are frozen together (PowerPC's partitionable endpoint). A *window* is a range of
 * bus addresses with the table that translates it. All registers and hypercalls of an IOMMU change these structures, and a DMA uses nothing
 * else.
 *
 * Different threads write different lines of 128 bytes, because adjacent cache lines are fetched in pairs.
 */
import { peek, type SharedWords } from "../../shared/memory.ts";
import { FormatError } from "../../units/errors.ts";

/** 128 bytes in words. */
const LINE_WORDS = 32;

/** "IOMM" in ASCII. */
export const MAGIC = 0x494f4d4d;
/** Version of this layout. Raised with every change that another version could misread. */
export const LAYOUT_VERSION = 6;

/** Words of the header. They never change after creation. */
export const HEADER = {
  magic: 0,
  version: 1,
  /** Number of thread slots. */
  threads: 2,
  iotlbSets: 3,
  iotlbWays: 4,
  replacement: 5,
  faultRecords: 6,
  busyMilliseconds: 7,
  devices: 8,
  /** The end of physical memory, in units of 4096 bytes. */
  memoryPages: 9,
  partitions: 10,
  windows: 11,
  /** Index of the IOMMU's model in IOMMU_MODELS, and the number of its words. */
  model: 12,
  modelWords: 13,
} as const;

/** Words of one device. A platform writes its partition, and drivers write its registers. */
export const DEVICE = { partition: 0, registers: 16, words: 32 } as const;
/** Registers of a device, 32 bits each. */
export const DEVICE_REGISTERS = 16;

/** Words of one partition, before those of its windows. */
export const PARTITION = {
  /** 1: frozen. Every DMA of its devices is dropped. */
  frozen: 0,
  /** 1: a fault of one of its devices freezes it. */
  freezesOnFault: 1,
  words: 32,
} as const;

/**
 * Words of one window. One thread stores all except `control` plainly while the window is closed. The store of `control` pairs with its
 * load at each DMA: a DMA that sees the window open sees the other words.
 */
export const WINDOW = {
  /** 0: closed. Else WINDOW_OPEN, possibly WINDOW_DIRECT, and the format code from bit FORMAT_SHIFT on. */
  control: 0,
  entries: 1,
  pageShift: 2,
  /** 1: a flat table. With more levels, each level has 2^levelBits entries. */
  levels: 3,
  levelBits: 4,
  tableLow: 5,
  tableHigh: 6,
  baseLow: 7,
  baseHigh: 8,
  /** Physical address of the window's dirty bitmap, bit e of which is set when a device writes through entry e; 0: writes are not recorded. */
  dirtyLow: 9,
  dirtyHigh: 10,
  words: 32,
} as const;
export const WINDOW_OPEN = 1;
/** A window without a table: bus address − base = physical address. */
export const WINDOW_DIRECT = 2;
export const WINDOW_FORMAT_SHIFT = 8;
export const WINDOW_FORMAT_MASK = 0xff;

/** Words that order events of several threads, on the second and third line. */
export const CLOCKS = {
  /** Stamps faults, so that the records of several threads can be sorted. */
  fault: 32,
  /** Stamps uses of IOTLB ways: least-recently-used. */
  use: 64,
  /** State of the random replacement. */
  random: 65,
} as const;

const IN_FLIGHT_AT = 3 * LINE_WORDS;
/** Threads per word of in-flight bits. */
export const THREADS_PER_WORD = 32;

/** Words of one thread's slot. Only its thread writes them, except `state`, `waited` and `faultsTaken`. */
export const THREAD = {
  /** Odd while a DMA of this thread is in flight. */
  sequence: 1,
  /** 1 while another thread sleeps until this thread's DMA has ended. */
  waited: 2,
  /** Faults recorded since creation, and faults taken; the ring holds the difference. */
  faultsRecorded: 3,
  faultsTaken: 4,
  /** Stored at each invalidation: orders this thread's earlier stores before its later loads. */
  doorbell: 5,
  /** Counters: COUNTER_WORDS (two) each. */
  walks: 8,
  hits: 10,
  invalidations: 12,
  faults: 14,
  faultsLost: 16,
  fillsRefused: 18,
  /** Dropped DMAs of frozen partitions. */
  dropped: 20,
  words: 32,
} as const;

/** Words of one IOTLB way. */
export const WAY = {
  /** Low 11 bits: the writing thread's slot + 1, or 0. Higher bits: number of fills. */
  version: 0,
  /** Entry + 1; 0: empty. */
  tag: 1,
  /** Physical page, bits 0 .. 31. */
  pageLow: 2,
  /** Physical page, bits 32 .. 51; access in bits 24 and 25. */
  pageHighAndAccess: 3,
  /** Time of the last use, by CLOCKS.use. */
  used: 4,
  /** Number of the entry's window. */
  window: 5,
  /** Context of a streamed translation. */
  context: 6,
  words: 8,
} as const;

/** Words of one recorded fault. */
export const FAULT = { stamp: 0, device: 1, iovaLow: 2, iovaHigh: 3, access: 4, reason: 5, words: 8 } as const;

/** The sizes that determine the layout. */
export interface Geometry {
  readonly threads: number;
  /** 0: no IOTLB. */
  readonly iotlbSets: number;
  readonly iotlbWays: number;
  /** Index in REPLACEMENTS. */
  readonly replacement: number;
  /** Capacity of each thread's fault ring: a power of two. */
  readonly faultRecords: number;
  readonly busyMilliseconds: number;
  readonly devices: number;
  /** The end of physical memory, in units of 4096 bytes. */
  readonly memoryPages: number;
  readonly partitions: number;
  /** Windows of each partition. */
  readonly windows: number;
  /** Index in IOMMU_MODELS. */
  readonly model: number;
  /** Words of the IOMMU's model. */
  readonly modelWords: number;
}

/** A geometry, with the offset of each part in words. */
export interface Layout extends Geometry {
  readonly inFlightAt: number;
  readonly inFlightWords: number;
  readonly devicesAt: number;
  readonly partitionsAt: number;
  /** Words of one partition with its windows. */
  readonly partitionWords: number;
  readonly modelAt: number;
  readonly threadsAt: number;
  readonly waysAt: number;
  readonly cursorsAt: number;
  readonly faultsAt: number;
  /** Words of the whole buffer. */
  readonly words: number;
}

export function layoutOf(geometry: Geometry): Layout {
  const inFlightWords = Math.ceil(geometry.threads / THREADS_PER_WORD);
  const devicesAt = toLine(IN_FLIGHT_AT + inFlightWords);
  const partitionsAt = devicesAt + geometry.devices * DEVICE.words;
  const partitionWords = PARTITION.words + geometry.windows * WINDOW.words;
  const modelAt = partitionsAt + geometry.partitions * partitionWords;
  const threadsAt = toLine(modelAt + geometry.modelWords);
  const waysAt = threadsAt + geometry.threads * THREAD.words;
  const cursorsAt = waysAt + geometry.iotlbSets * geometry.iotlbWays * WAY.words;
  const faultsAt = toLine(cursorsAt + geometry.iotlbSets);
  const words = faultsAt + geometry.threads * geometry.faultRecords * FAULT.words;
  const before = { inFlightAt: IN_FLIGHT_AT, inFlightWords, devicesAt, partitionsAt, partitionWords, modelAt };
  return { ...geometry, ...before, threadsAt, waysAt, cursorsAt, faultsAt, words };
}

/** Index of a device's first word. */
export function deviceAt(layout: Layout, device: number): number {
  return layout.devicesAt + device * DEVICE.words;
}

/** Index of a partition's first word. */
export function partitionAt(layout: Layout, partition: number): number {
  return layout.partitionsAt + partition * layout.partitionWords;
}

/** Index of the first word of a partition's window. */
export function windowAt(layout: Layout, partition: number, window: number): number {
  return partitionAt(layout, partition) + PARTITION.words + window * WINDOW.words;
}

/** The number of a partition's window among all windows, which the IOTLB's ways contain. */
export function windowNumber(layout: Layout, partition: number, window: number): number {
  return partition * layout.windows + window;
}

function toLine(words: number): number {
  return Math.ceil(words / LINE_WORDS) * LINE_WORDS;
}

/** Reads the header of a buffer of `words` words. Throws FormatError unless it is a whole machine of this version. */
export function readLayout(state: SharedWords, words: number): Layout {
  if (words < IN_FLIGHT_AT || peek(state, HEADER.magic) !== MAGIC) {
    throw new FormatError("the handle's state is not that of a software machine");
  }
  const version = peek(state, HEADER.version);
  if (version !== LAYOUT_VERSION) {
    throw new FormatError(`software machine of layout version ${version}; this library has version ${LAYOUT_VERSION}`);
  }
  const layout = layoutOf({
    threads: peek(state, HEADER.threads),
    iotlbSets: peek(state, HEADER.iotlbSets),
    iotlbWays: peek(state, HEADER.iotlbWays),
    replacement: peek(state, HEADER.replacement),
    faultRecords: peek(state, HEADER.faultRecords),
    busyMilliseconds: peek(state, HEADER.busyMilliseconds),
    devices: peek(state, HEADER.devices),
    memoryPages: peek(state, HEADER.memoryPages),
    partitions: peek(state, HEADER.partitions),
    windows: peek(state, HEADER.windows),
    model: peek(state, HEADER.model),
    modelWords: peek(state, HEADER.modelWords),
  });
  if (layout.words !== words) {
    throw new FormatError(`the machine's state has ${words} words; its header asks for ${layout.words}`);
  }
  return layout;
}
