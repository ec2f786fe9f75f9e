/**
 * The layout of the allocator's shared buffer. All state is in that buffer; the objects of this folder are views of it.
 *
 *   header | pools (256 B each) | threads (40 KiB each) | bounds | bitmap (n/8 B) | ledger (2n B)
 *
 * What one thread or one lock writes often has cache lines of its own: 128 bytes, because neighbouring lines are fetched in pairs.
 */
import { FormatError } from "../units/errors.ts";

/** 128 bytes in words. */
const LINE_WORDS = 32;

/** "IOVA" in ASCII. */
export const MAGIC = 0x494f5641;
/** Version of this layout. Raised with every change that another version could misread. */
export const LAYOUT_VERSION = 4;

/** Words of the header. The first line never changes after creation. */
export const HEADER = {
  magic: 0,
  version: 1,
  entries: 2,
  /** Small pools. */
  pools: 3,
  /** 1 when the last quarter is a large pool. */
  largePool: 4,
  threads: 5,
  /** 1: FIFO cache. */
  cache: 6,
  /** 1: freed ranges wait for a flush. */
  lazy: 7,
  /** 1: only the thread that allocated may free. */
  ownerOnly: 8,
  /** How many entries one thread may hold in its cache. */
  cacheLimit: 9,
  /** Bytes of the whole buffer. Low and high word. */
  bytes: 10,

  /**
   * Counts how often a thread has given back its holdings because another thread asked; the asking thread sleeps on this word. It has a
   * line of its own.
   */
  drained: 32,

  /** IOTLB flushes begun, and the highest number that has completed. A line of its own. */
  flushesStarted: 64,
  flushesCompleted: 65,

  words: 96,
} as const;

/** Words of one pool. The first line belongs to the lock's holder; the second never changes after creation. */
export const POOL = {
  lock: 0,
  hint: 8,
  /** No free run in the pool is longer than this. A relaxed hint: a request skips a full pool without taking its lock. */
  longest: 9,
  /** Bitmap words and bounds looked at by searches. A counter. */
  searchSteps: 10,
  /** Searches: a counter. */
  searches: 12,
  /** 0 while every bound and `longest` are at their maximum: then a free has nothing to raise. */
  lowered: 14,
  /** Entries at the pool's beginning that belong to a range that begins in an earlier pool. */
  overhang: 15,
  /** Counters of the straight paths, each of which takes the lock once. */
  allocationsAtOnce: 16,
  freesAtOnce: 18,

  first: 32,
  end: 33,
  /** Where its bounds begin, in words of the buffer. */
  boundsAt: 34,

  words: 64,
} as const;

/** The longest range that the cache holds, in entries: one FIFO for each length up to it. */
export const CACHED_LENGTHS = 16;
/** Ranges that one FIFO holds. A power of two. */
export const FIFO_RANGES = 256;
/** Freed ranges of a thread that wait for a flush outside of the cache. A power of two. */
export const QUEUE_RANGES = 512;

/** Words of one thread's area: 40 KiB. Only its thread writes it; recovery does when the thread is dead. */
export const THREAD = {
  /**
   * 1: another thread finds no space, and asks this thread to give back its holdings. Other threads write it, so it has a line of its own.
   */
  drainAsked: 0,

  /** The queue of freed ranges that wait for a flush: free-running positions. */
  queueHead: 32,
  queueTail: 33,
  /** Entries in that queue. */
  queuedEntries: 34,
  /** Entries whose invalidation failed: they stay out of use until a flush succeeds. */
  quarantinedEntries: 35,

  // Counters.
  /** Ranges put into the FIFOs, counted in steps of 65,536; the FIFOs' positions hold the remainder. */
  cachePuts: 36,
  /** Ranges that went from the FIFOs back to the pools. */
  evictions: 38,
  failures: 40,
  flushes: 42,
  drains: 44,
  recoveries: 46,

  /** Per length: free-running positions of its FIFO, the head in the high half, the tail in the low one. */
  fifos: 64,
  /** Per length and position: the range's first entry. */
  starts: 96,
  /** Per length and position: flushes started when it was freed. */
  stamps: 4192,
  /** Per position: first, count, stamp. */
  queue: 8288,

  words: 10240,
} as const;

/** Entries that one bound covers, and their log2. */
export const BLOCK_SHIFT = 10;
export const BLOCK_ENTRIES: number = 1 << BLOCK_SHIFT;
/** Log2 of the blocks that one bound of the second level covers. */
export const GROUP_SHIFT = 5;

/** Where the area of a thread begins, in words. */
export function areaOf(threadsAt: number, thread: number): number {
  return threadsAt + thread * THREAD.words;
}

/** The geometry of one buffer: sizes and places. */
export interface Layout {
  readonly entries: number;
  readonly pools: number;
  readonly largePool: boolean;
  readonly threads: number;
  /** [first, end) of each pool, small ones first, the large one last. */
  readonly poolEnds: readonly number[];
  readonly poolsAt: number;
  readonly threadsAt: number;
  readonly boundsAt: number;
  readonly bitmapAt: number;
  /** Byte offset of the ledger. */
  readonly ledgerAt: number;
  readonly bytes: number;
}

/** Options that decide a layout; already checked (options.ts). */
export interface Geometry {
  readonly entries: number;
  readonly pools: number;
  readonly largePool: boolean;
  readonly threads: number;
}

/** Computes the places; memory = header + 256 B a pool + 40 KiB a thread + bounds + n/8 + 2n bytes. */
export function layoutOf(geometry: Geometry): Layout {
  const { entries, pools, largePool, threads } = geometry;
  const poolEnds = splitPools(entries, pools, largePool);
  const poolsAt = HEADER.words;
  const threadsAt = poolsAt + poolEnds.length * POOL.words;
  const boundsAt = threadsAt + threads * THREAD.words;
  const bitmapAt = boundsAt + poolEnds.reduce((words, end, i) => words + boundWords(end - (poolEnds[i - 1] ?? 0)), 0);
  const ledgerAt = 4 * (bitmapAt + wholeLines(Math.ceil(entries / 32)));
  const bytes = ledgerAt + 4 * Math.ceil(entries / 2);
  return { ...geometry, poolEnds, poolsAt, threadsAt, boundsAt, bitmapAt, ledgerAt, bytes };
}

const wholeLines = (words: number): number => Math.ceil(words / LINE_WORDS) * LINE_WORDS;

/** Blocks of a pool: its bounds of the first level. */
export function blocksOf(entries: number): number {
  return Math.ceil(entries / BLOCK_ENTRIES);
}

/** A pool's bounds, of blocks and then of groups, stand on lines of their own: its lock guards them. */
export function boundWords(entries: number): number {
  const blocks = blocksOf(entries);
  return wholeLines(blocks + Math.ceil(blocks / (1 << GROUP_SHIFT)));
}

/**
 * Ends of the pools. Neighbours share a bound, so no entry can fall between two; bounds are multiples of 32, so no bitmap
 * word is guarded by two locks.
 */
export function splitPools(entries: number, pools: number, largePool: boolean): number[] {
  const small = largePool ? Math.floor((entries * 3) / 4 / 32) * 32 : entries;
  const ends = Array.from({ length: pools }, (_, i) =>
    i === pools - 1 ? small : Math.floor((small * (i + 1)) / pools / 32) * 32,
  );
  return largePool ? [...ends, entries] : ends;
}

/** Throws unless these words are the header of a buffer of this version. `found` reads a header word. */
export function checkHeader(found: (at: number) => number, bytes: number): void {
  if (bytes < HEADER.words * 4 || found(HEADER.magic) !== MAGIC) {
    throw new FormatError("the handle is no iova table: its first word is not the mark of one");
  }
  const version = found(HEADER.version);
  if (version !== LAYOUT_VERSION) {
    throw new FormatError(`the table's layout has version ${version}; this library reads version ${LAYOUT_VERSION}`);
  }
  const stated = (found(HEADER.bytes + 1) >>> 0) * 2 ** 32 + (found(HEADER.bytes) >>> 0);
  if (stated !== bytes) {
    throw new FormatError(`the table's buffer is ${bytes} bytes long; its header says ${stated}`);
  }
}
