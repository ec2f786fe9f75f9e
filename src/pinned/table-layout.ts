/**
 * Layout of the shared state of a pinned table: one buffer of 32-bit words.
 *
 *   header | locks | threads' operations | entries
 *
 * An entry has two *values*, each a region, a user page and an access, and a word that selects the current one. An operation writes the other
 * value, exchanges the platform's entry, and changes the word: user address, region and access change at once.
 */
import { LOCK_WORDS } from "../shared/lock.ts";
import { createShared, isShared, peek, poke, type SharedBuffer, type SharedWords, wordsOf } from "../shared/memory.ts";
import { FormatError, shown } from "../units/errors.ts";

/** "PINT" in ASCII. */
const MAGIC = 0x50494e54;
/** Version of this layout. Raised with every change that another version could misread. */
const VERSION = 1;

const HEADER = { magic: 0, version: 1, entries: 2, threads: 3, owner: 4 } as const;
const LOCKS_AT = 32;
/** Locks of a table. Block b of entries has lock b % LOCKS. */
export const LOCKS = 64;
/** log2 of the entries of a block. */
export const BLOCK_SHIFT = 3;
const OPERATIONS_AT: number = LOCKS_AT + LOCKS * LOCK_WORDS;

/** Words of one thread's operation. Only the thread and its recovery write them. */
export const OPERATION = {
  /** A step of pinned-table.ts; 0: no operation. */
  step: 0,
  first: 1,
  count: 2,
  /** Entries below this one have their other value, and its mapping is counted. */
  prepared: 3,
  /** First entry of the run whose mappings are being counted. */
  runFirst: 4,
  /** The mappings of the other values of entries below this one are lowered. */
  lowered: 5,
  /** The run being lowered: the region + 1 (0: no run), the thread's part of its count before, the number of entries, the end of the run. */
  lowerRegion: 6,
  lowerBefore: 7,
  lowerCount: 8,
  lowerEnd: 9,

  words: 32,
} as const;

export const ENTRY = {
  /** Index of the current value: 0 or 1. */
  current: 0,
  /** PENDING | index of the value that is current after the exchange; 0: the entry was never changed. */
  pending: 1,
  values: 2,

  words: 8,
} as const;
export const PENDING = 2;

/** One value of an entry. */
export const VALUE = {
  /** The region + 1 (0: empty), and from bit 28 on the access. */
  region: 0,
  /** The user page: bits 0 .. 31, and 32 .. 51. */
  pageLow: 1,
  pageHigh: 2,

  words: 3,
} as const;
export const ACCESS_SHIFT = 28;
export const REGION_MASK: number = 2 ** ACCESS_SHIFT - 1;

/** The words of one table. */
export interface PinnedTableState {
  readonly buffer: SharedBuffer;
  readonly words: SharedWords;
  readonly entries: number;
  readonly threads: number;
  readonly owner: number;
  readonly entriesAt: number;
}

function wordCount(entries: number, threads: number): number {
  return OPERATIONS_AT + threads * OPERATION.words + entries * ENTRY.words;
}

/** New state: all entries are empty. */
export function createTableState(entries: number, threads: number, owner: number): PinnedTableState {
  const buffer = createShared(4 * wordCount(entries, threads));
  const words = wordsOf(buffer);
  poke(words, HEADER.magic, MAGIC);
  poke(words, HEADER.version, VERSION);
  poke(words, HEADER.entries, entries);
  poke(words, HEADER.threads, threads);
  poke(words, HEADER.owner, owner);
  return { buffer, words, entries, threads, owner, entriesAt: OPERATIONS_AT + threads * OPERATION.words };
}

/** Opens a posted state. Throws FormatError for a foreign one or another version. */
export function openTableState(buffer: SharedBuffer): PinnedTableState {
  if (!isShared(buffer) || buffer.byteLength < 4 * OPERATIONS_AT) {
    throw new FormatError(`the state of a pinned table is ${shown(buffer)}; expected shared memory that holds one`);
  }
  const words = wordsOf(buffer, 0, Math.floor(buffer.byteLength / 4));
  const version = peek(words, HEADER.version);
  if (peek(words, HEADER.magic) !== MAGIC || version !== VERSION) {
    throw new FormatError(`the shared memory is not that of a pinned table of version ${VERSION}`);
  }
  const [entries, threads, owner] = [HEADER.entries, HEADER.threads, HEADER.owner].map((at) => peek(words, at)) as [
    number,
    number,
    number,
  ];
  if (buffer.byteLength !== 4 * wordCount(entries, threads)) {
    throw new FormatError(
      `the pinned table's buffer is ${buffer.byteLength} bytes long; its header says ${4 * wordCount(entries, threads)}`,
    );
  }
  return { buffer, words, entries, threads, owner, entriesAt: OPERATIONS_AT + threads * OPERATION.words };
}

export function lockAt(lock: number): number {
  return LOCKS_AT + lock * LOCK_WORDS;
}
export function operationAt(thread: number): number {
  return OPERATIONS_AT + thread * OPERATION.words;
}
export function entryAt(state: PinnedTableState, entry: number): number {
  return state.entriesAt + entry * ENTRY.words;
}
/** Index of value `which` (0 or 1) of an entry. */
export function valueAt(state: PinnedTableState, entry: number, which: number): number {
  return entryAt(state, entry) + ENTRY.values + which * VALUE.words;
}
