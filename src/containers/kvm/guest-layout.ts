/**
 * Layout of the shared state of a guest's tables: one buffer of 32-bit words.
 *
 *   header, lock of changes | locks of entries | threads' operations | tables | memory slots | TCEs
 *
 * The TCEs of all tables are one column, of two words each: so threads need no further buffer for a new table, and a VMM can read the TCEs. The
 * entries of a table are locked in blocks.
 */
import { LOCK_WORDS } from "../../shared/lock.ts";
import {
  createShared,
  isShared,
  peek,
  poke,
  type SharedBuffer,
  type SharedWords,
  wordsOf,
} from "../../shared/memory.ts";
import { FormatError, shown } from "../../units/errors.ts";

/** "KVMT" in ASCII. */
const MAGIC = 0x4b564d54;
/** Version of this layout. Raised with every change that another version could misread. */
const VERSION = 2;

/** Words of the header. Constant. */
const HEADER = { magic: 0, version: 1, owner: 2, tables: 3, memorySlots: 4, entries: 5, threads: 6, locks: 7 } as const;
/** The lock of changes: of tables, attachments and memory slots. */
export const CHANGES_LOCK_AT = 64;
const LOCKS_AT = 96;
const MOST_LOCKS = 64;
/** log2 of the entries of a block. A block has one lock. */
export const BLOCK_SHIFT = 6;
/** Most hardware tables that are attached to one guest table. */
export const MOST_HARDWARE = 8;

/** Words of one thread's change of entries. Only the thread and its recovery write them. */
export const OPERATION = {
  /** A step of guest-changes.ts; 0: no change. */
  step: 0,
  table: 1,
  first: 2,
  count: 3,
  /** The TCE that is put. */
  high: 4,
  low: 5,
  /** The user page of the guest's page: bits 0 .. 31, and 32 .. 51. */
  userLow: 6,
  userHigh: 7,
  /** Attached tables below this index have the new entry. */
  done: 8,
  /** Old value of the entry in each attached table: two words each, OLD. */
  old: 16,

  words: 32,
} as const;
/** Words of an old value: the user page's bits 0 .. 31; its bits 32 .. 51, and from bit 28 on the access (0: it was empty). */
export const OLD = { low: 0, high: 1, words: 2 } as const;
export const OLD_ACCESS_SHIFT = 28;

export const TABLE = {
  /** State (FREE … REMOVING) in the low two bits, above them a generation. */
  state: 0,
  liobn: 1,
  pageShift: 2,
  /** Bus address of entry 0 in pages of 4 KiB: bits 0 .. 31, and 32 .. 51. */
  baseLow: 3,
  baseHigh: 4,
  /** Entries. */
  size: 5,
  /** Index of entry 0 in the column of TCEs. */
  first: 6,
  /** User number of the table's charge. */
  user: 7,
  /** Tag of the thread that makes or removes the table (lock.ts): if it dies, its recovery continues. */
  changedBy: 8,
  /** Attached hardware tables: HARDWARE words each. */
  hardware: 16,

  words: 64,
} as const;

export const FREE = 0;
export const MAKING = 1;
export const LIVE = 2;
export const REMOVING = 3;
export const STATE_MASK = 3;
export const GENERATION_UNIT = 4;

/** An attachment of a hardware table. */
export const HARDWARE = {
  /** Structure number of the pinned table in its crew, + 1; such numbers are not used twice. 0: no table is attached. */
  structure: 0,
  /** 0, or the tag of the thread that detaches it (lock.ts): no change maps in it any more, and if the thread dies, its recovery continues. */
  detachedBy: 1,

  words: 4,
} as const;

/** Words of a memory slot. */
export const MEMORY = {
  /** 0: unused, else the number of the change that set the slot. */
  state: 0,
  /** The first guest page: bits 0 .. 31, and 32 .. 51. */
  guestLow: 1,
  guestHigh: 2,
  /** Pages of 4 KiB. */
  pages: 3,
  /** The first user page. */
  userLow: 4,
  userHigh: 5,
  /** Number of the last change. */
  changes: 6,

  words: 8,
} as const;

/** Sizes of a guest's tables. Constant. */
export interface GuestGeometry {
  /** The process of the VMM. */
  readonly owner: number;
  readonly tables: number;
  readonly memorySlots: number;
  /** TCEs of all tables together. */
  readonly entries: number;
  readonly threads: number;
}

/** The words of a guest's tables. */
export interface GuestState extends GuestGeometry {
  readonly buffer: SharedBuffer;
  readonly words: SharedWords;
  readonly locks: number;
  readonly tablesAt: number;
  readonly memoryAt: number;
  readonly tcesAt: number;
}

function stateOf(buffer: SharedBuffer, words: SharedWords, geometry: GuestGeometry, locks: number): GuestState {
  const { tables, memorySlots, threads } = geometry;
  const tablesAt = LOCKS_AT + MOST_LOCKS * LOCK_WORDS + threads * OPERATION.words;
  const memoryAt = tablesAt + tables * TABLE.words;
  // Two words of a TCE lie at a multiple of 8 bytes: a VMM may read both as one.
  const tcesAt = Math.ceil((memoryAt + memorySlots * MEMORY.words) / 2) * 2;
  return { ...geometry, buffer, words, locks, tablesAt, memoryAt, tcesAt };
}

function bytesFor(geometry: GuestGeometry): number {
  const tables = LOCKS_AT + MOST_LOCKS * LOCK_WORDS + geometry.threads * OPERATION.words;
  const tces = tables + geometry.tables * TABLE.words + geometry.memorySlots * MEMORY.words;
  return 4 * (Math.ceil(tces / 2) * 2 + 2 * geometry.entries);
}

/** New state: no tables, no memory. */
export function createGuestState(geometry: GuestGeometry): GuestState {
  const buffer = createShared(bytesFor(geometry));
  const words = wordsOf(buffer);
  const locks = Math.min(MOST_LOCKS, Math.ceil(geometry.entries / 2 ** BLOCK_SHIFT));
  const { owner, tables, memorySlots, entries, threads } = geometry;
  const values = { magic: MAGIC, version: VERSION, owner, tables, memorySlots, entries, threads, locks };
  for (const [name, at] of Object.entries(HEADER)) poke(words, at, values[name as keyof typeof HEADER]);
  return stateOf(buffer, words, geometry, locks);
}

/** Opens a posted state. Throws FormatError for a foreign one or another version. */
export function openGuestState(buffer: SharedBuffer): GuestState {
  if (!isShared(buffer) || buffer.byteLength < 4 * LOCKS_AT) {
    throw new FormatError(`the state of a guest's tables is ${shown(buffer)}; expected shared memory that holds one`);
  }
  const words = wordsOf(buffer);
  if (peek(words, HEADER.magic) !== MAGIC || peek(words, HEADER.version) !== VERSION) {
    throw new FormatError(`the shared memory is not that of a guest's tables of version ${VERSION}`);
  }
  const geometry: GuestGeometry = {
    owner: peek(words, HEADER.owner),
    tables: peek(words, HEADER.tables),
    memorySlots: peek(words, HEADER.memorySlots),
    entries: peek(words, HEADER.entries),
    threads: peek(words, HEADER.threads),
  };
  if (buffer.byteLength !== bytesFor(geometry)) {
    const expected = `its header says ${bytesFor(geometry)}`;
    throw new FormatError(`the buffer of a guest's tables is ${buffer.byteLength} bytes long; ${expected}`);
  }
  return stateOf(buffer, words, geometry, peek(words, HEADER.locks));
}

/** Lock of a TCE, by its index in the column. */
export function lockOfEntry(state: GuestState, index: number): number {
  return ithLock((index >>> BLOCK_SHIFT) % state.locks);
}
export function ithLock(lock: number): number {
  return LOCKS_AT + lock * LOCK_WORDS;
}
export function operationAt(thread: number): number {
  return LOCKS_AT + MOST_LOCKS * LOCK_WORDS + thread * OPERATION.words;
}
export function tableAt(state: GuestState, table: number): number {
  return state.tablesAt + table * TABLE.words;
}
export function hardwareAt(state: GuestState, table: number, which: number): number {
  return tableAt(state, table) + TABLE.hardware + which * HARDWARE.words;
}
export function memoryAt(state: GuestState, slot: number): number {
  return state.memoryAt + slot * MEMORY.words;
}
/** Index of the first word of a TCE, by its index in the column. */
export function tceAt(state: GuestState, index: number): number {
  return state.tcesAt + 2 * index;
}
