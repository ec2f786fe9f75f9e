/**
 * The hypervisor's shared state: which windows there are, and which threads are in the middle of a call that uses one. The tables
 * themselves are in a part of memory that guests are not given.
 *
 * A call marks its thread as being in a window, then looks whether the window is open; whoever removes a window marks it as
 * closing, then looks whether a thread is in it. All four are atomic, so one of the two sees the other: no call writes into a table
 * whose memory has been given to somebody else.
 *
 * A thread that is killed in a call leaves its mark: removing that window then answers busy, until `forget`. One killed while it
 * creates or removes a window leaves the slot as it was then: taken, until the partition is reset; at worst the memory of its table is
 * lost.
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
/** 128 bytes, so that what different threads write lies on different lines. */
const LINE_WORDS = 32;

/** Words of the header. */
export const HEADER = {
  magic: 0,
  /** Pages of 4 KiB that the guest has now: memory can be added and taken away. */
  memoryPages: 1,
} as const;

/** Words of one window slot. All but `state` are stored by who has claimed the slot; the store of SLOT_OPEN makes them visible. */
export const SLOT = {
  state: 0,
  isDefault: 1,
  pageShift: 2,
  entries: 3,
  /** Address of the table, in pages of 4 KiB. */
  tablePage: 4,
  /** Bus address of entry 0 in pages of 4 KiB: bits 0 .. 31, and 32 .. 51. */
  baseLow: 5,
  baseHigh: 6,
  words: 32,
} as const;

export const SLOT_FREE = 0;
/** Being made or taken apart. */
export const SLOT_CLAIMED = 1;
export const SLOT_OPEN = 2;
/** Being removed: no call enters it any more. */
export const SLOT_CLOSING = 3;

/** What a thread is in, when it is in no window. Else the slot's number + 1. */
export const NOWHERE = 0;

export interface StateGeometry {
  readonly partitions: number;
  /** Slots of each partition. */
  readonly windows: number;
  readonly threads: number;
}

/** No windows; before it is shared, so plain stores do. */
export function createState(geometry: StateGeometry, memoryPages: number): SharedBuffer {
  const state = createShared(wordsNeeded(geometry) * 4);
  const words = wordsOf(state);
  poke(words, HEADER.magic, MAGIC);
  poke(words, HEADER.memoryPages, memoryPages);
  return state;
}

/** The words of a state of this geometry. Throws FormatError when it is none. */
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

/** Where a window slot's words begin. `slot` counts through all partitions. */
export function slotAt(slot: number): number {
  return LINE_WORDS + slot * SLOT.words;
}

/** The word that says where a thread is. */
export function whereaboutsAt(geometry: StateGeometry, thread: number): number {
  return LINE_WORDS + geometry.partitions * geometry.windows * SLOT.words + thread * LINE_WORDS;
}

/** Where a thread counts its calls: on the same line, since it alone writes both. */
export function callsAt(geometry: StateGeometry, thread: number): number {
  return whereaboutsAt(geometry, thread) + 2;
}

/** The word that is 1 while a partition's reset is active. */
export function inResetAt(geometry: StateGeometry, partition: number): number {
  return whereaboutsAt(geometry, geometry.threads) + partition;
}
