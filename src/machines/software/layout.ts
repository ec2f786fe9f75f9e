/**
 * Where the state of a software machine lies in its shared buffer (its physical memory is another). Every object of this
 * folder is a view of that buffer, one per thread.
 *
 *   header | IOMMU registers | clocks | in-flight bits | threads | IOTLB ways | round-robin cursors | fault rings
 *
 * What different threads write lies on different lines of 128 bytes, because neighbouring lines are fetched in pairs.
 */
import { peek, type SharedWords } from "../../shared/memory.ts";
import { FormatError } from "../../units/errors.ts";

/** 128 bytes in words. */
const LINE_WORDS = 32;

/** "IOMM" in ASCII. */
export const MAGIC = 0x494f4d4d;
/** Version of this layout. Raised with every change that another version could misread. */
export const LAYOUT_VERSION = 1;

/** Words of the header: never changed after creation. */
export const HEADER = {
  magic: 0,
  version: 1,
  /** Thread slots. */
  threads: 2,
  iotlbSets: 3,
  iotlbWays: 4,
  replacement: 5,
  faultRecords: 6,
  busyMilliseconds: 7,
  devices: 8,
  /** Size of the physical memory, in units of 4096 bytes. */
  memoryPages: 9,
} as const;

/** Words of the IOMMU's registers, on the second line. Poked while translation is off, by one thread. */
export const IOMMU = {
  control: 32,
  entries: 33,
  pageShift: 34,
  tableLow: 35,
  tableHigh: 36,
  windowLow: 37,
  windowHigh: 38,
} as const;

/** Words that order events among threads, on the third and fourth line. */
export const CLOCKS = {
  /** Stamps faults, so that the records of several threads can be put in order. */
  fault: 64,
  /** Stamps uses of IOTLB ways: least-recently-used. */
  use: 96,
  /** State of the random replacement. */
  random: 97,
} as const;

const IN_FLIGHT_AT = 4 * LINE_WORDS;
/** Threads per word of in-flight bits. */
export const THREADS_PER_WORD = 32;

/** Words of one thread's slot. Its thread alone writes them, but for `state`, `waited` and `faultsTaken`. */
export const THREAD = {
  /** SLOT_FREE or SLOT_LIVE. */
  state: 0,
  /** Odd while a DMA of this thread is in flight. */
  sequence: 1,
  /** 1 while another thread sleeps until this one's DMA has passed. */
  waited: 2,
  /** Faults recorded since creation, and taken: the ring holds those between. */
  faultsRecorded: 3,
  faultsTaken: 4,
  /** Last invalidation: storing it orders this thread's earlier stores before what follows. */
  doorbell: 5,
  /** Counters: COUNTER_WORDS (two) each. */
  walks: 8,
  hits: 10,
  invalidations: 12,
  faults: 14,
  faultsLost: 16,
  fillsRefused: 18,
  words: 32,
} as const;

/** Words of one IOTLB way. */
export const WAY = {
  /** Low 11 bits: who is writing the way (slot + 1), 0 when nobody is. Above: counts fills. */
  version: 0,
  /** Entry + 1; 0: empty. */
  tag: 1,
  /** Physical page, bits 0 .. 31. */
  pageLow: 2,
  /** Physical page, bits 32 .. 51; access in bits 24 and 25. */
  pageHighAndAccess: 3,
  /** When it was last used, by CLOCKS.use. */
  used: 4,
  words: 8,
} as const;

/** Words of one recorded fault. */
export const FAULT = { stamp: 0, device: 1, iovaLow: 2, iovaHigh: 3, access: 4, reason: 5, words: 8 } as const;

/** Sizes that the layout follows from. */
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
  /** Size of the physical memory, in units of 4096 bytes. */
  readonly memoryPages: number;
}

/** A geometry with where each part begins, in words. */
export interface Layout extends Geometry {
  readonly inFlightAt: number;
  readonly inFlightWords: number;
  readonly threadsAt: number;
  readonly waysAt: number;
  readonly cursorsAt: number;
  readonly faultsAt: number;
  /** Of the whole buffer. */
  readonly words: number;
}

export function layoutOf(geometry: Geometry): Layout {
  const inFlightWords = Math.ceil(geometry.threads / THREADS_PER_WORD);
  const threadsAt = toLine(IN_FLIGHT_AT + inFlightWords);
  const waysAt = threadsAt + geometry.threads * THREAD.words;
  const cursorsAt = waysAt + geometry.iotlbSets * geometry.iotlbWays * WAY.words;
  const faultsAt = toLine(cursorsAt + geometry.iotlbSets);
  const words = faultsAt + geometry.threads * geometry.faultRecords * FAULT.words;
  return { ...geometry, inFlightAt: IN_FLIGHT_AT, inFlightWords, threadsAt, waysAt, cursorsAt, faultsAt, words };
}

function toLine(words: number): number {
  return Math.ceil(words / LINE_WORDS) * LINE_WORDS;
}

/** Reads the header of a buffer of `words` words. Throws FormatError when it is no machine of this version, or cut. */
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
  });
  if (layout.words !== words) {
    throw new FormatError(`the machine's state has ${words} words; its header asks for ${layout.words}`);
  }
  return layout;
}
