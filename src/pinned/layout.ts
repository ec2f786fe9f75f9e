/**
 * Layout of the shared state of a pinned memory: one buffer of 32-bit words.
 *
 *   header | lock | journal | owners | charges | regions | users | threads | cells | column bitmap | column | pin counts
 *
 * The *column* has a pair of words for each page of each region: its physical page and its dirty bit. A region has a run of it. The slots of
 * regions, charges and users are authoritative. The charged pages of an owner and the bitmap of the column are computed from them, again after
 * each death of a thread that held the lock.
 */
import { LOCK_WORDS } from "../shared/lock.ts";
import { createShared, isShared, peek, poke, type SharedBuffer, type SharedWords, wordsOf } from "../shared/memory.ts";
import { FormatError, shown } from "../units/errors.ts";
import { roundUp } from "../units/pages.ts";

/** "PINM" in ASCII. */
const MAGIC = 0x50494e4d;
/** Version of this layout. Raised with every change that another version could misread. */
const VERSION = 2;
/** Words of a cache line of 128 bytes. */
const LINE = 32;

const HEADER = {
  magic: 0,
  version: 1,
  regions: 2,
  columnPages: 3,
  physicalPages: 4,
  owners: 5,
  charges: 6,
  threads: 7,
};
/** One lock for all changes but the counts of mappings and the dirty bits. A line of its own. */
export const LOCK_AT = 32;
/** The journal of the pin counts, and the bounds of searches: written by the lock's holder. */
export const JOURNAL = {
  /** The page of the region, counted from its start, whose pin count is being changed. */
  index: 64,
  /** The pin count that a recovery gives to that page: of an even index, of an odd one. Two, so that the old pair stays whole. */
  counts: 65,
  /** Slots of regions from here on are free. Only grows. */
  regionsEnd: 67,
  /** Further users have slots below this. Only grows. */
  usersEnd: 68,
  /** Where the search for a free slot of a region begins. */
  regionHint: 69,
  /** Where the search for a free slot of a charge begins. */
  chargeHint: 70,
  /** Numbers of users that were given out. Any thread adds to it. */
  userNumbers: 71,
} as const;
const OWNERS_AT = 96;

export const OWNER = {
  /** 0 free, 1 live, 2 ending. */
  state: 0,
  /** Limit of charged pages. */
  limit: 1,
  /** Charged pages: the sum over its regions and charges. */
  charged: 2,
  /** Number of owners that have had the slot: part of the owner's number. */
  generation: 3,

  words: 4,
} as const;
export const OWNER_FREE = 0;
export const OWNER_LIVE = 1;
export const OWNER_ENDING = 2;

/** Pages charged without a region: the owner + 1 (0: a free slot), the pages, the user. */
export const CHARGE = { owner: 0, pages: 1, user: 2, words: 4 } as const;

export const REGION = {
  /** FREE … UNPINNING. The other words change only while it is not LIVE. */
  state: 0,
  owner: 1,
  /** The first user page: bits 0 .. 31, and 32 .. 51. */
  firstLow: 2,
  firstHigh: 3,
  pages: 4,
  /** The first pair of the column. */
  column: 5,
  /** log2 of the bytes of the smallest page that backs it. */
  shift: 6,
  /** KIND_… */
  kind: 7,
  /** Device memory: the first physical page, bits 0 .. 31, and 32 .. 51. */
  deviceLow: 8,
  deviceHigh: 9,

  words: 16,
} as const;

/** May overlap others; not found by lookups; its users keep it beyond the end of its owner. */
export const KIND_SHARED = 0;
/** No part of it may be in another such region of its owner; found by lookups. */
export const KIND_EXCLUSIVE = 1;
/** As exclusive; neither pinned nor charged, and without a column. */
export const KIND_DEVICE = 2;
/** May overlap others; not found by lookups; a charge without a region covers it. */
export const KIND_COVERED = 3;

/** True if lookups find regions of this kind. */
export function isFound(kind: number): boolean {
  return kind === KIND_EXCLUSIVE || kind === KIND_DEVICE;
}
/** True if the pages of regions of this kind are charged. */
export function isCharged(kind: number): boolean {
  return kind === KIND_SHARED || kind === KIND_EXCLUSIVE;
}

export const FREE = 0;
/** The holder of the lock charges and pins it. */
export const MAKING = 1;
export const LIVE = 2;
/** The holder of the lock checks for live mappings. Mappers that read this state give up. */
export const RELEASING = 3;
/** The holder of the lock unpins it. */
export const UNPINNING = 4;

/**
 * A user of a region: the region + 1 (0: a free slot), and the user's number. A region's first user has the slot with the region's number.
 * Further users have the slots after those of the regions.
 */
export const USER = { region: 0, user: 1, words: 2 } as const;

/** Words of one thread. Only the thread and its recovery write them. */
export const THREAD = {
  /** The owner that the thread belongs to, + 1; 0: it has joined none. Changed under the lock. */
  owner: 0,
  /** The unsettled change of a cell: the region + 1 (0: no change), the old value of the cell, and the addition. */
  handRegion: 1,
  handBefore: 2,
  handCount: 3,
  /** Regions found by earlier lookups, by user page: each lookup tries one first. */
  hints: 32,

  words: 96,
} as const;

/** Hints of a thread. */
export const HINTS = 64;
/** log2 of the user pages that share a hint: 2 MiB. */
export const HINT_SHIFT = 9;

/** The sizes of a pinned memory. */
export interface PinnedSizes {
  readonly regions: number;
  readonly columnPages: number;
  readonly physicalPages: number;
  readonly owners: number;
  readonly charges: number;
  readonly threads: number;
}

/** The words, and the index of the first word of each part. */
export interface PinnedState extends PinnedSizes {
  readonly buffer: SharedBuffer;
  readonly words: SharedWords;
  readonly ownersAt: number;
  readonly chargesAt: number;
  readonly regionsAt: number;
  readonly usersAt: number;
  /** Slots of users. */
  readonly users: number;
  readonly threadsAt: number;
  /** A thread's count of the live mappings of each region: `cellsStride` words a thread, one a region. */
  readonly cellsAt: number;
  readonly cellsStride: number;
  readonly bitmapAt: number;
  readonly columnAt: number;
  readonly pinsAt: number;
  readonly wordCount: number;
}

type Places = Omit<PinnedState, "buffer" | "words">;

function placesFor(sizes: PinnedSizes): Places {
  const { regions, columnPages, physicalPages, owners, charges, threads } = sizes;
  const users = 2 * regions;
  const chargesAt = OWNERS_AT + roundUp(owners * OWNER.words, LINE);
  const regionsAt = chargesAt + roundUp(charges * CHARGE.words, LINE);
  const usersAt = regionsAt + roundUp(regions * REGION.words, LINE);
  const threadsAt = usersAt + roundUp(users * USER.words, LINE);
  const cellsAt = threadsAt + threads * THREAD.words;
  const cellsStride = roundUp(regions, LINE);
  const bitmapAt = cellsAt + threads * cellsStride;
  const columnAt = bitmapAt + roundUp(Math.ceil(columnPages / 32), LINE);
  const pinsAt = columnAt + roundUp(2 * columnPages, LINE);
  const wordCount = pinsAt + physicalPages;
  const parts = { chargesAt, regionsAt, usersAt, users, threadsAt, cellsAt, cellsStride, bitmapAt, columnAt, pinsAt };
  return { ...sizes, ...parts, ownersAt: OWNERS_AT, wordCount };
}

/** New state: all slots are free. */
export function createPinnedState(sizes: PinnedSizes): PinnedState {
  const places = placesFor(sizes);
  const buffer = createShared(4 * places.wordCount);
  const words = wordsOf(buffer);
  poke(words, HEADER.magic, MAGIC);
  poke(words, HEADER.version, VERSION);
  for (const name of Object.keys(sizes) as (keyof PinnedSizes)[]) poke(words, HEADER[name], sizes[name]);
  if (LOCK_WORDS > LINE) throw new FormatError("a lock is longer than its line");
  return { ...places, buffer, words };
}

/** Opens a posted state. Throws FormatError for a foreign one or another version. */
export function openPinnedState(buffer: SharedBuffer): PinnedState {
  if (!isShared(buffer) || buffer.byteLength < 4 * OWNERS_AT) {
    throw new FormatError(`the state of a pinned memory is ${shown(buffer)}; expected shared memory that holds one`);
  }
  const words = wordsOf(buffer, 0, Math.floor(buffer.byteLength / 4));
  if (peek(words, HEADER.magic) !== MAGIC) {
    throw new FormatError(
      "the shared memory is not that of a pinned memory: its first word is not the magic number of one",
    );
  }
  const version = peek(words, HEADER.version);
  if (version !== VERSION) {
    throw new FormatError(`the pinned memory has version ${version}; this library reads version ${VERSION}`);
  }
  const places = placesFor({
    regions: peek(words, HEADER.regions),
    columnPages: peek(words, HEADER.columnPages),
    physicalPages: peek(words, HEADER.physicalPages),
    owners: peek(words, HEADER.owners),
    charges: peek(words, HEADER.charges),
    threads: peek(words, HEADER.threads),
  });
  if (buffer.byteLength !== 4 * places.wordCount) {
    throw new FormatError(
      `the pinned memory's buffer is ${buffer.byteLength} bytes long; its header says ${4 * places.wordCount}`,
    );
  }
  return { ...places, buffer, words };
}

/** Index of an owner's words. An owner's number is generation × slots + slot, so that the number of an ended owner is recognised. */
export function ownerAt(state: PinnedState, owner: number): number {
  return state.ownersAt + (owner % state.owners) * OWNER.words;
}
export function regionAt(state: PinnedState, region: number): number {
  return state.regionsAt + region * REGION.words;
}
export function threadAt(state: PinnedState, thread: number): number {
  return state.threadsAt + thread * THREAD.words;
}
export function cellAt(state: PinnedState, thread: number, region: number): number {
  return state.cellsAt + thread * state.cellsStride + region;
}
