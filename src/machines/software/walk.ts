/**
 * The IOMMU's walk: reads the entry of a page from the table in memory and decodes it as the platform's hardware does.
 *
 * The decoders are written from the layouts and share no code with src/formats, so that a mistake in one shows as a difference. They work
 * on bytes in memory order, while the encoders work on words.
 */
import type { Regions, RegionView } from "../../memory/regions.ts";
import { load, type SharedWords } from "../../shared/memory.ts";
import { InvariantError } from "../../units/errors.ts";
import { STREAMED, type Translation } from "./iotlb.ts";

/** Results of a walk. */
export const WALKED = 0;
export const NOT_MAPPED = 1;
/** Reserved bits are not zero, or the entry is of another page size. */
export const BAD_ENTRY = 2;

/** Decodes one entry of 8 bytes: `first` has bytes 0 .. 3 (byte 0 lowest), `second` bytes 4 .. 7. */
export interface EntryDecoder {
  /** Index of the valid word, which is read before and after the other: 0 or 1. */
  readonly validWord: 0 | 1;
  /** log2 of the hardware's page sizes in bytes. */
  readonly pageShifts: readonly number[];
  /** True if an empty entry may be valid and lead to a dummy page. */
  readonly hasDummies: boolean;
  /** True if tables can have several levels. Inner entries then are like entries of 4 KiB pages with both permissions. */
  readonly hasLevels: boolean;
  /** Words of one entry, if more than the 2 that are decoded. */
  readonly entryWords?: number;
  decode(first: number, second: number, pageShift: number, into: Translation): number;
}

/** The byte at offset `index` of a word in memory. */
function byte(word: number, index: number): number {
  return (word >>> (8 * index)) & 0xff;
}

/** Bytes 0 .. 3 as a big-endian number. */
function bigEndian(word: number): number {
  return byte(word, 0) * 0x1000000 + byte(word, 1) * 0x10000 + byte(word, 2) * 0x100 + byte(word, 3);
}

/** The page at address high · 2^32 + low, where low is a multiple of 4096; -1 if it is not page-aligned. */
function alignedPage(high: number, low: number, pageShift: number): number {
  const pages4K = high * 2 ** 20 + low / 4096;
  const page = pages4K / 2 ** (pageShift - 12);
  return Number.isInteger(page) ? page : -1;
}

/** PowerPC TCE: byte 7 has READ in bit 0 and WRITE in bit 1; bits 2 .. 11 of the entry are no address bits. */
const tce: EntryDecoder = {
  validWord: 1,
  pageShifts: Array.from({ length: 23 }, (_, i) => 12 + i),
  hasDummies: false,
  hasLevels: true,
  decode(first, second, pageShift, into) {
    const permissions = byte(second, 3);
    if ((permissions & 3) === 0) return NOT_MAPPED;
    if ((permissions & 0xfc) !== 0 || (byte(second, 2) & 0x0f) !== 0) return BAD_ENTRY;
    into.page = alignedPage(bigEndian(first), bigEndian(second) - permissions, pageShift);
    into.access = permissions;
    return into.page < 0 ? BAD_ENTRY : WALKED;
  },
};

/** SPARC IOPTE: byte 0 begins with VALID, x, 64K, STREAM; the address has bits 46 .. 13; byte 7 has CACHE 0x10, WRITE 2. */
const iopte: EntryDecoder = {
  validWord: 0,
  pageShifts: [13, 16],
  hasDummies: true,
  hasLevels: false,
  decode(first, second, pageShift, into) {
    if (byte(first, 0) < 0x80) return NOT_MAPPED;
    const is64K = (byte(first, 0) & 0x20) !== 0;
    if (is64K !== (pageShift === 16)) return BAD_ENTRY;
    // Bit 47 is the lowest of the context: the high half keeps 15 bits.
    const high = (byte(first, 2) & 0x7f) * 0x100 + byte(first, 3);
    const low = bigEndian(second);
    into.page = alignedPage(high, low - (low % 0x2000), pageShift);
    into.access = (byte(second, 3) & 2) === 0 ? 1 : 3;
    if ((byte(first, 0) & 0x10) !== 0) {
      into.access += STREAMED;
      // Bits 58 .. 47: 3 of byte 0, byte 1, the highest of byte 2.
      into.context = (byte(first, 0) & 7) * 0x200 + byte(first, 1) * 2 + (byte(first, 2) >>> 7);
    }
    return into.page < 0 ? BAD_ENTRY : WALKED;
  },
};

/** The sun4v hypervisor's entry: byte 7 has READ in bit 0, WRITE in bit 1, RELAXED in bit 2; the address has bits 55 .. 13. */
const sun4vTte: EntryDecoder = {
  validWord: 1,
  pageShifts: [13],
  hasLevels: false,
  hasDummies: false,
  decode(first, second, pageShift, into) {
    const attributes = byte(second, 3);
    if ((attributes & 3) === 0) return NOT_MAPPED;
    if ((attributes & 0xf8) !== 0 || (byte(second, 2) & 0x1f) !== 0 || byte(first, 0) !== 0) return BAD_ENTRY;
    into.page = alignedPage(bigEndian(first), bigEndian(second) - attributes, pageShift);
    into.access = attributes & 3;
    return into.page < 0 ? BAD_ENTRY : WALKED;
  },
};

/**
 * LDC map entry, 16 bytes: byte 7 ends in the size code, byte 6 has COPY_R in bit 1 and COPY_W in bit 2 (the other permissions,
 * byte 6 bit 0 and byte 7 bits 7 .. 4, are not of a copy); the address has bits 59 .. 13.
 */
const ldcMapEntry: EntryDecoder = {
  validWord: 1,
  pageShifts: [13, 16, 19, 22, 25, 28, 31, 34],
  hasLevels: false,
  hasDummies: false,
  entryWords: 4,
  decode(first, second, pageShift, into) {
    const low = bigEndian(second) % 0x2000;
    if ((low & 0x7f0) === 0) return NOT_MAPPED;
    if (13 + 3 * (low % 16) !== pageShift || low >= 0x800 || byte(first, 0) > 0x0f) return BAD_ENTRY;
    into.page = alignedPage(bigEndian(first), bigEndian(second) - low, pageShift);
    into.access = Math.floor(low / 0x200);
    return into.page < 0 ? BAD_ENTRY : WALKED;
  },
};

/** The decoders by format code; code 0 is invalid. */
export const DECODERS: readonly (EntryDecoder | undefined)[] = [undefined, tce, iopte, sun4vTte, ldcMapEntry];

/**
 * Reads the entry whose first word is word `at` of a region of memory, and decodes it. Only between `begin` and `end` of a DMA.
 *
 * Hardware reads the 8 bytes at once. Here the valid word is read before and after the other, and both must agree. That is
 * enough because an emptied entry is set again only after its invalidation, which waits for this DMA: during one DMA an entry
 * goes from one page to empty, or from empty to one page and to empty, and no further.
 *
 * If the empty entry is valid too, it has the words E and e, the page's entry has P and p, and E may equal P. The writer stores E e → 0 e →
 * 0 p → P p → 0 p → 0 e → E e, so a walk may read E, p and again E, from both ends of that sequence. So the other word is read again too:
 * in the last state it stays e. The result is always E e or P p, as with the hardware's single load.
 */
function walk(memory: SharedWords, at: number, decoder: EntryDecoder, pageShift: number, into: Translation): number {
  const validAt = at + decoder.validWord;
  const otherAt = at + 1 - decoder.validWord;
  for (;;) {
    const valid = load(memory, validAt);
    const other = load(memory, otherAt);
    if (load(memory, validAt) !== valid) continue;
    if (decoder.hasDummies && load(memory, otherAt) !== other) continue;
    return decoder.validWord === 0
      ? decoder.decode(valid, other, pageShift, into)
      : decoder.decode(other, valid, pageShift, into);
  }
}

/** Results of `locate` that are not an entry's address. */
const NO_LEVEL = -1;
export const BAD_LEVEL = -2;
const INNER_PAGE_SHIFT = 12;
const READ_AND_WRITE = 3;
const ENTRY_BYTES = 8;

/** As `walk`, for the entry at a physical address, a multiple of 8 in memory. An entry lies in one region. */
export function walkAt(
  memory: Regions,
  address: number,
  decoder: EntryDecoder,
  pageShift: number,
  into: Translation,
): number {
  const region = memory.find(address) as RegionView;
  return walk(region.words, (address - region.address) / 4, decoder, pageShift, into);
}

/**
 * The physical address of an entry in a table of `levels` levels with 2^levelBits entries each, that begins at `table`. NO_LEVEL: an inner
 * entry is empty. BAD_LEVEL: an inner entry is invalid, or leads out of memory. Only between `begin` and `end` of a DMA. An inner entry is
 * stored once, before the entries below it, and does not change, so a load of it can't be torn.
 */
export function locate(
  memory: Regions,
  table: number,
  entry: number,
  levels: number,
  levelBits: number,
  decoder: EntryDecoder,
  scratch: Translation,
): number {
  const perLevel = 2 ** levelBits;
  let at = table;
  for (let level = levels - 1; level > 0; level--) {
    const index = Math.floor(entry / perLevel ** level) % perLevel;
    const walked = walkAt(memory, at + ENTRY_BYTES * index, decoder, INNER_PAGE_SHIFT, scratch);
    if (walked !== WALKED) return walked === NOT_MAPPED ? NO_LEVEL : BAD_LEVEL;
    at = scratch.page * 4096;
    if (scratch.access !== READ_AND_WRITE || !memory.hasAll(at, ENTRY_BYTES * perLevel)) return BAD_LEVEL;
  }
  return levels === 1 ? at + 4 * (decoder.entryWords ?? 2) * entry : at + ENTRY_BYTES * (entry % perLevel);
}

/** The decoder of an open window's format code. */
export function decoderOf(code: number): EntryDecoder {
  const decoder = DECODERS[code];
  if (decoder === undefined) throw new InvariantError(`format code ${code} of an open window`);
  return decoder;
}
