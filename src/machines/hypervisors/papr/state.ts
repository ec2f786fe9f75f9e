/**
 * The hypervisor's shared state: the windows, and the window that each thread's current call uses. The tables lie in memory that guests
 * can't access.
 *
 * A call stores the window in its thread's word, then checks that the window is open. A removal marks the window as closing, then checks
 * the threads' words. All four accesses are atomic, so at least one side sees the other's store: no call writes to a table whose memory has
 * been freed.
 *
 * A thread that is killed in a call leaves its word set, and a slot that it has claimed. Until `Windows.recover`, removing that window answers
 * busy, and the slot stays claimed. A slot is claimed in the thread's name by the same compare-and-swap that takes it.
 */
import {
  createShared,
  isShared,
  peek,
  poke,
  type SharedBuffer,
  type SharedWords,
  wordsOf,
} from "../../../shared/memory.ts";
import { FormatError } from "../../../units/errors.ts";

/** "PAPR" in ASCII. */
const MAGIC = 0x50415052;
/** 128 bytes, so that different threads write different cache lines. */
const LINE_WORDS = 32;

/** Words of the header. */
export const HEADER = {
  magic: 0,
  /** The guest's current memory in pages of 4 KiB. */
  memoryPages: 1,
} as const;

/**
 * Words of one window slot. The thread that has claimed the slot stores all words except `state`; the store of SLOT_OPEN makes them
 * visible.
 */
export const SLOT = {
  state: 0,
  isDefault: 1,
  pageShift: 2,
  entries: 3,
  /** Address of the table, in pages of 4 KiB; 0: the slot has none. */
  tablePage: 4,
  /** Bus address of entry 0 in pages of 4 KiB: bits 0 .. 31, and 32 .. 51. */
  baseLow: 5,
  baseHigh: 6,
  words: 32,
} as const;

export const SLOT_FREE = 0;
/** Being created or removed, by the thread whose number + 1 stands above the state. */
const SLOT_CLAIMED = 1;
const THREAD_SHIFT = 2;
export const SLOT_OPEN = 2;
/** Being removed: new calls do not enter it. */
export const SLOT_CLOSING = 3;

/** The state of a slot that this thread has claimed. */
export function claimedBy(thread: number): number {
  return ((thread + 1) << THREAD_SHIFT) | SLOT_CLAIMED;
}

/** A thread's word outside of a window; in a window, the slot's number + 1. */
export const NOWHERE = 0;

export interface StateGeometry {
  readonly partitions: number;
  /** Window slots of each partition. */
  readonly windows: number;
  readonly threads: number;
}

/** Creates a state without windows. Plain stores suffice before it is shared. */
export function createState(geometry: StateGeometry, memoryPages: number): SharedBuffer {
  const state = createShared(wordsNeeded(geometry) * 4);
  const words = wordsOf(state);
  poke(words, HEADER.magic, MAGIC);
  poke(words, HEADER.memoryPages, memoryPages);
  return state;
}

/** The words of a state with this geometry. Throws FormatError for another buffer. */
export function attachState(state: SharedBuffer, geometry: StateGeometry): SharedWords {
  const words = isShared(state) && state.byteLength === wordsNeeded(geometry) * 4 ? wordsOf(state) : undefined;
  if (words === undefined || peek(words, HEADER.magic) !== MAGIC) {
    throw new FormatError("the handle's state is not that of a PAPR hypervisor");
  }
  return words;
}

function wordsNeeded(geometry: StateGeometry): number {
  return inResetAt(geometry, geometry.partitions);
}

/** Index of a window slot's first word. `slot` counts over all partitions. */
export function slotAt(slot: number): number {
  return LINE_WORDS + slot * SLOT.words;
}

/** Index of the word with a thread's window. */
export function whereaboutsAt(geometry: StateGeometry, thread: number): number {
  return LINE_WORDS + geometry.partitions * geometry.windows * SLOT.words + thread * LINE_WORDS;
}

/** Index of a thread's call counter: on the same cache line, since only that thread writes both. */
export function callsAt(geometry: StateGeometry, thread: number): number {
  return whereaboutsAt(geometry, thread) + 2;
}

/** Index of the word that is 1 during a partition's reset. */
export function inResetAt(geometry: StateGeometry, partition: number): number {
  return whereaboutsAt(geometry, geometry.threads) + partition;
}
