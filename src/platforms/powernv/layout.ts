/**
 * The shared state of a bridge, besides memory and the generic tables: its groups, its tables, and which table is in which window. One
 * SharedBuffer, which is part of the bridge's handle.
 *
 *     header | lock | groups | tables
 *
 * All words are written under the lock, except `owned`, `seen`, and `held` in `close`. An invalidation reads a table's links without the
 * lock (ops.ts and table.ts say why that is enough). The groups' windows are authoritative: links and the bridge's TVEs are derived from
 * them, and rebuilt from them when a thread has died with the lock (Phb, `#recover`).
 */
import { createShared, load, peek, poke, type SharedBuffer, type SharedWords, wordsOf } from "../../shared/memory.ts";
import { FormatError } from "../../units/errors.ts";

/** "PHB4" in ASCII. */
const MAGIC = 0x50484234;
const LAYOUT_VERSION = 3;

const HEADER = { magic: 0, version: 1, partitions: 2, tables: 3, words: 32 } as const;
/** Word index of the lock. */
export const LOCK_AT: number = HEADER.words;
const GROUPS_AT = LOCK_AT + 32;
/** Most groups: as many PEs as the software machine can have. */
export const MAX_PARTITIONS = 256;
/** Links per word. */
export const LINKS_PER_WORD = 32;

/** Words of one group. */
export const GROUP = {
  /** NO_GROUP, DYNAMIC or LEGACY. */
  kind: 0,
  /** For each window: NO_WINDOW, BYPASS, or a table's index + 1. */
  windows: 1,
  /** 0, or OWNED: handed over to user space. With BYPASS_WAS_ON if `releaseOwnership` restores bypass. */
  owned: 3,
  /** 1: the current freeze of the PE has been reported. */
  reported: 4,
  words: 8,
} as const;
export const NO_GROUP = 0;
/** Tables are created for its windows, set and unset. */
export const DYNAMIC = 1;
/** One fixed table in window 0, created with the group. */
export const LEGACY = 2;
export const OWNED = 1;
export const BYPASS_WAS_ON = 2;
export const NO_WINDOW = 0;
export const BYPASS = -1;

/** Values of `seen`. */
export const NEVER_SEEN = 0;
export const SEEN = 1;
export const WITHDRAWN = -1;
/** Values of `held`. */
export const RELEASED = 0;
export const HELD_BY_NONE = -1;

/** Words of one table. */
export const TABLE = {
  /** Even: the record is free. Odd: it holds a table. Incremented at each change between the two. */
  generation: 0,
  /** The window of a group that the table is made for: 0 or 1. */
  window: 1,
  pageShift: 2,
  entries: 3,
  levels: 4,
  levelBits: 5,
  /** Physical address / 4096 of the first level. */
  rootPage: 6,
  /** RELEASED by the creator; else the creator's thread number + 1, or HELD_BY_NONE if that thread has gone. */
  held: 7,
  /**
   * 0, or 1 + the number of the thread that the table was handed over to. Negative while a thread claims the entries or gives them back:
   * some of them may belong to other threads then.
   */
  owned: 8,
  /** NEVER_SEEN; SEEN once a view other than the creator's was attached; WITHDRAWN if the creator died before that. */
  seen: 9,
  /** 1 + the index of the generic table among the crew's structures; 0: none. */
  structure: 10,
  /** A bit for each group with the table in a window. */
  links: 16,
  words: 32,
} as const;

export interface PhbSizes {
  readonly partitions: number;
  readonly tables: number;
}

/** An opened buffer. */
export interface PhbState extends PhbSizes {
  readonly buffer: SharedBuffer;
  readonly words: SharedWords;
  readonly groupsAt: number;
  readonly tablesAt: number;
}

export function createPhbState(sizes: PhbSizes): PhbState {
  const buffer = createShared(wordsFor(sizes) * 4);
  const words = wordsOf(buffer);
  poke(words, HEADER.magic, MAGIC);
  poke(words, HEADER.version, LAYOUT_VERSION);
  poke(words, HEADER.partitions, sizes.partitions);
  poke(words, HEADER.tables, sizes.tables);
  return viewOf(buffer, words, sizes);
}

/** Throws FormatError for a buffer of another version or length. */
export function openPhbState(buffer: SharedBuffer): PhbState {
  const words = wordsOf(buffer);
  if (buffer.byteLength < GROUPS_AT * 4 || peek(words, HEADER.magic) !== MAGIC) {
    throw new FormatError("the handle's state is not that of a bridge");
  }
  const version = peek(words, HEADER.version);
  if (version !== LAYOUT_VERSION) {
    throw new FormatError(`bridge of layout version ${version}; this library has version ${LAYOUT_VERSION}`);
  }
  const sizes = { partitions: peek(words, HEADER.partitions), tables: peek(words, HEADER.tables) };
  if (buffer.byteLength !== wordsFor(sizes) * 4) {
    throw new FormatError(
      `the bridge's state has ${buffer.byteLength} bytes; its header asks for ${wordsFor(sizes) * 4}`,
    );
  }
  return viewOf(buffer, words, sizes);
}

export function groupAt(state: PhbState, partition: number): number {
  return state.groupsAt + partition * GROUP.words;
}

export function tableAt(state: PhbState, table: number): number {
  return state.tablesAt + table * TABLE.words;
}

/** True if this record holds a table. */
export function isTable(state: PhbState, table: number): boolean {
  return (load(state.words, tableAt(state, table) + TABLE.generation) & 1) === 1;
}

/** Number of words with links. */
export function linkWords(state: PhbState): number {
  return Math.ceil(state.partitions / LINKS_PER_WORD);
}

function wordsFor({ partitions, tables }: PhbSizes): number {
  return GROUPS_AT + partitions * GROUP.words + tables * TABLE.words;
}

function viewOf(buffer: SharedBuffer, words: SharedWords, sizes: PhbSizes): PhbState {
  return { ...sizes, buffer, words, groupsAt: GROUPS_AT, tablesAt: GROUPS_AT + sizes.partitions * GROUP.words };
}
