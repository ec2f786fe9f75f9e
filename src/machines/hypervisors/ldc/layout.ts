/**
 * Layout of the shared state of an LDC hypervisor. (Each end's memory and translation unit is a separate software machine.)
 *
 *   injection | header | end 0 | end 1 | threads | slots of pages mapped in by end 0 | those of end 1
 */
import { peek, type SharedWords } from "../../../shared/memory.ts";
import { FormatError } from "../../../units/errors.ts";
import { CallInjection } from "../injection.ts";

/** Raised with every change that another version could misread. */
export const LAYOUT_VERSION = 2;
/** "LDCH" in ASCII. */
export const MAGIC = 0x4c444348;

/** Words of the header, which follows the injection. */
export const HEADER: Readonly<Record<"magic" | "version" | "threads" | "busyMilliseconds", number>> = {
  magic: CallInjection.words,
  version: CallInjection.words + 1,
  threads: CallInjection.words + 2,
  busyMilliseconds: CallInjection.words + 3,
};
const HEADER_WORDS = 32;

/** Words of one end. */
export const END = {
  /** This end's side of the link: see end.ts. */
  link: 0,
  /** Address of its map table in pages of 8 KiB; with 0 entries there is no map table. */
  tablePage: 1,
  tableEntries: 2,
  words: 32,
} as const;

/** Words of one thread, by its number in the crew. */
export const THREAD = {
  /** Two words, by importing end: 1 + the slot of the mapped-in page that the thread accesses; 0: none. */
  accessing: 1,
  words: 32,
} as const;

/** Most mapped-in pages of a thread, for each end. */
export const SLOTS_PER_THREAD = 8;

/** Words of one mapped-in page. */
export const SLOT = {
  /** A generation, and in the lowest two bits the slot's state. */
  state: 0,
  entry: 1,
  code: 2,
  pageLow: 3,
  pageHigh: 4,
  permissions: 5,
  words: 8,
} as const;

/** Offsets and sizes in words, for a hypervisor with `threads` threads. */
export interface Layout {
  readonly threads: number;
  readonly busyMilliseconds: number;
  readonly ends: readonly [number, number];
  readonly threadsAt: number;
  readonly slots: number;
  /** By importing end. */
  readonly slotsAt: readonly [number, number];
  readonly words: number;
}

export function layoutOf(threads: number, busyMilliseconds: number): Layout {
  const ends = [HEADER_WORDS, HEADER_WORDS + END.words] as const;
  const threadsAt = ends[1] + END.words;
  const slots = threads * SLOTS_PER_THREAD;
  const first = threadsAt + threads * THREAD.words;
  const second = first + slots * SLOT.words;
  const words = second + slots * SLOT.words;
  return { threads, busyMilliseconds, ends, threadsAt, slots, slotsAt: [first, second], words };
}

/** Throws FormatError unless these are all words of an LDC hypervisor of this version. */
export function readLayout(state: SharedWords, words: number): Layout {
  if (words < HEADER_WORDS || peek(state, HEADER.magic) !== MAGIC) {
    throw new FormatError("the handle is not that of an LDC hypervisor");
  }
  const version = peek(state, HEADER.version);
  if (version !== LAYOUT_VERSION) {
    throw new FormatError(`LDC hypervisor of version ${version}; this library has version ${LAYOUT_VERSION}`);
  }
  const layout = layoutOf(peek(state, HEADER.threads), peek(state, HEADER.busyMilliseconds));
  if (layout.words === words) return layout;
  throw new FormatError(`the hypervisor's state has ${words} words; its header asks for ${layout.words}`);
}
