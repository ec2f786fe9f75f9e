/**
 * What the threads of a bridge share beside the memory and the generic tables: which groups and tables there are, and which table is
 * whose window. One SharedBuffer, in the bridge's handle.
 *
 *     header | lock | groups | tables
 *
 * All but `owned`, `seen`, and `held` of who closes, are written under the lock. Who invalidates reads a table's links
 * without it (ops.ts and table.ts say why that is enough). The windows that groups name are the truth: links, and the bridge's TVEs,
 * follow from them, and are made from them anew when a thread has died with the lock (Phb, `#recover`).
 */
import { createShared, load, peek, poke, type SharedBuffer, type SharedWords, wordsOf } from "../../shared/memory.ts";
import { FormatError } from "../../units/errors.ts";

/** "PHB4" in ASCII. */
const MAGIC = 0x50484234;
const LAYOUT_VERSION = 3;

const HEADER = { magic: 0, version: 1, partitions: 2, tables: 3, words: 32 } as const;
/** Where the lock lies. */
export const LOCK_AT: number = HEADER.words;
const GROUPS_AT = LOCK_AT + 32;
/** The longest list of groups: as many as a TCE_KILL can name and the software machine can have. */
export const MAX_PARTITIONS = 256;
/** Groups whose links stand in one word. */
export const LINKS_PER_WORD = 32;

/** Words of one group. */
export const GROUP = {
  /** NO_GROUP, DYNAMIC or LEGACY. */
  kind: 0,
  /** Of each window: NO_WINDOW, BYPASS, or a table's index + 1. */
  windows: 1,
  /** 0, or OWNED: handed to user space; with BYPASS_WAS_ON when bypass comes back with it. */
  owned: 3,
  /** 1: it was found frozen, and that has been reported. */
  reported: 4,
  words: 8,
} as const;
export const NO_GROUP = 0;
/** Windows are created, set and unset. */
export const DYNAMIC = 1;
/** One window, made with the group, for good. */
export const LEGACY = 2;
export const OWNED = 1;
export const BYPASS_WAS_ON = 2;
export const NO_WINDOW = 0;
export const BYPASS = -1;

/** Of `seen`. */
export const NEVER_SEEN = 0;
export const SEEN = 1;
export const WITHDRAWN = -1;
/** Of `held`. */
export const RELEASED = 0;
export const HELD_BY_NONE = -1;

/** Words of one table. */
export const TABLE = {
  /** Even: free. Odd: there. Counts on with every table that has this record. */
  generation: 0,
  /** Which window of a group it can be: 0 or 1. */
  window: 1,
  pageShift: 2,
  entries: 3,
  levels: 4,
  levelBits: 5,
  /** Physical address / 4096 of the first level. */
  rootPage: 6,
  /** RELEASED. Else who created it has not: the number of that thread + 1, or HELD_BY_NONE when the thread has gone since. */
  held: 7,
  /**
   * 0, or the number + 1 in the table of the thread that it was handed over to; the same, negative, while a thread claims its entries or
   * gives them back: then some of them may be others'.
   */
  owned: 8,
  /** NEVER_SEEN, SEEN once another view than its creator's has been attached, WITHDRAWN when its creator died before. */
  seen: 9,
  /** One more than the number of the generic table among the structures of the crew; 0: it has none. */
  structure: 10,
  /** A bit for each group that has it as a window. */
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

/** Throws FormatError for a buffer that is not of this version, or cut. */
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

/** Is there a table of this index? */
export function isTable(state: PhbState, table: number): boolean {
  return (load(state.words, tableAt(state, table) + TABLE.generation) & 1) === 1;
}

/** The words of links that are in use. */
export function linkWords(state: PhbState): number {
  return Math.ceil(state.partitions / LINKS_PER_WORD);
}

function wordsFor({ partitions, tables }: PhbSizes): number {
  return GROUPS_AT + partitions * GROUP.words + tables * TABLE.words;
}

function viewOf(buffer: SharedBuffer, words: SharedWords, sizes: PhbSizes): PhbState {
  return { ...sizes, buffer, words, groupsAt: GROUPS_AT, tablesAt: GROUPS_AT + sizes.partitions * GROUP.words };
}
