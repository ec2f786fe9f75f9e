/**
 * IOPTE: the entry of a sun4u IOMMU's table (its TSB).
 *
 * 8 bytes, big-endian (UltraSPARC-IIi user's manual, "TTE format" of the IOMMU):
 *
 *     bit 63      VALID: the device may read
 *     bit 61      64K: the page has 64 KiB; else 8 KiB
 *     bit 60      STREAM: through the streaming buffer
 *     bits 58–47  context, for flushes of the streaming buffer; 0 means none
 *     bits 46–13  physical address: mask 0x00007fffffffe000
 *     bit 4       CACHE: memory that CPUs cache, as all that a driver maps
 *     bit 1       WRITE: the device may write too
 *
 * The empty entry is all zeros, which is not VALID: the device's access is refused. Or, with a dummy page, it is VALID and leads
 * there, with CACHE and WRITE and neither STREAM nor context: a stray access causes no harm and no fault.
 */
import type { EntryValue } from "../table/contract.ts";
import { checkInteger, InvalidArgumentError } from "../units/errors.ts";
import { checkKeys } from "../units/keys.ts";
import { DEVICE_WRITES, type EntryAccess } from "../units/numbers.ts";
import { addressHigh, addressLow, pageAt, pagesFit, swapBytes } from "./address.ts";
import type { EntryFormat } from "./contract.ts";

// In bits 63..32.
const VALID = 1 << 31;
const SIZE_64K = 1 << 29;
const STREAM = 1 << 28;
const CONTEXT_SHIFT = 15;
const ADDRESS_HIGH = 0x7fff;
// In bits 31..0.
const ADDRESS_LOW = 0xffffe000;
const CACHE = 0x10;
const WRITE = 2;

const SHIFT_8K = 13;
const SHIFT_64K = 16;
/** Addresses end at bit 46. */
const ADDRESS_BITS = 47;
const LARGEST_8K_PAGE = 2 ** (ADDRESS_BITS - SHIFT_8K) - 1;
const LARGEST_64K_PAGE = 2 ** (ADDRESS_BITS - SHIFT_64K) - 1;

/** Options of `createSun4uIopte`. */
export interface Sun4uIopteOptions {
  /** Context of the streaming cache, by which its lines are flushed: 0 .. 4095. Default 0, which is no context. */
  readonly context?: number;
  /** True if devices access the pages through the streaming cache. Default false. */
  readonly streaming?: boolean;
  /** Page to which empty entries lead. Default: empty entries are invalid, and an access through one is refused. */
  readonly dummyPage?: Sun4uDummyPage;
}

/** An unused page of memory, the target of all empty entries. */
export interface Sun4uDummyPage {
  /** Physical address divided by the page size: 0 to the largest page of `sun4uIopte`. */
  readonly page: number;
  /** The table's page shift: 13 or 16. */
  readonly pageShift: number;
}

/**
 * Makes a format of IOPTEs that carry this context and streaming bit (UltraSPARC-IIi user's manual, "TTE format" of the IOMMU). With a dummy
 * page the format has that page's size only, and `encode` refuses the dummy page.
 *
 * Throws InvalidArgumentError for a context beyond 12 bits, or a dummy page that no entry can hold.
 */
export function createSun4uIopte(options: Sun4uIopteOptions = {}): EntryFormat {
  checkKeys("a sun4u format", options, { context: "any", streaming: "boolean", dummyPage: "object" });
  const context = options.context ?? 0;
  checkInteger("context of sun4u-iopte", context, 0, 0xfff);
  const attributes = VALID | (options.streaming ? STREAM : 0) | (context << CONTEXT_SHIFT);
  const { dummyPage } = options;
  const empty = dummyPage === undefined ? NOTHING : dummyEntry(dummyPage);
  const notToMap = dummyPage === undefined ? NO_PAGE : dummyPage.page;
  return {
    name: "sun4u-iopte",
    pageShifts: dummyPage === undefined ? [SHIFT_8K, SHIFT_64K] : [dummyPage.pageShift],
    grants: { 1: 1, 2: 3, 3: 3 },
    // VALID is in byte 0.
    validWord: 0,
    empty,
    emptyIsValid: dummyPage !== undefined,
    largestPage(pageShift: number): number {
      return pageShift === SHIFT_64K ? LARGEST_64K_PAGE : LARGEST_8K_PAGE;
    },
    encode(page: number, count: number, access: EntryAccess, pageShift: number, into: Uint32Array): boolean {
      const large = pageShift === SHIFT_64K;
      if (!pagesFit(page, count, large ? LARGEST_64K_PAGE : LARGEST_8K_PAGE)) return false;
      if (notToMap >= page && notToMap < page + count) return false;
      const high = attributes | (large ? SIZE_64K : 0);
      const low = (access & DEVICE_WRITES) === 0 ? CACHE : CACHE | WRITE;
      for (let i = 0; i < count; i++) {
        into[2 * i] = swapBytes(high | addressHigh(page + i, pageShift));
        into[2 * i + 1] = swapBytes(low | addressLow(page + i, pageShift));
      }
      return true;
    },
    decode: dummyPage === undefined ? decode : decodeBeside(dummyPage.page),
  };
}

/** Result of `streamingOf` for an entry that bypasses the streaming buffer. */
export const NOT_STREAMED = -1;
/** Bit in a result of `streamingOf`: the device may write. */
export const STREAM_WRITTEN = 0x1000;
/** Mask of the context in a result of `streamingOf`; context 0: none. */
export const STREAM_CONTEXT = 0xfff;
const STREAMED: number = VALID | STREAM;

/** The streaming attribute of an entry with these words: its context and possibly STREAM_WRITTEN, or NOT_STREAMED. */
export function streamingOf(first: number, second: number): number {
  const high = swapBytes(first);
  if ((high & STREAMED) !== STREAMED) return NOT_STREAMED;
  const written = (swapBytes(second) & WRITE) === 0 ? 0 : STREAM_WRITTEN;
  return ((high >>> CONTEXT_SHIFT) & STREAM_CONTEXT) | written;
}

const NOTHING: readonly [number, number] = [0, 0];
/** Dummy page of a format without one. */
const NO_PAGE = -1;

function dummyEntry({ page, pageShift }: Sun4uDummyPage): readonly [number, number] {
  if (pageShift !== SHIFT_8K && pageShift !== SHIFT_64K) {
    throw new InvalidArgumentError("page shift of the dummy page", pageShift, `${SHIFT_8K} or ${SHIFT_64K}`);
  }
  checkInteger("dummy page", page, 0, pageShift === SHIFT_64K ? LARGEST_64K_PAGE : LARGEST_8K_PAGE);
  const words = new Uint32Array(2);
  createSun4uIopte().encode(page, 1, DEVICE_WRITES, pageShift, words);
  return [words[0] as number, words[1] as number];
}

/** A decoder for which an entry that leads to the dummy page is empty, with any attributes. */
function decodeBeside(dummyPage: number): EntryFormat["decode"] {
  return (from, at, pageShift, into) => {
    decode(from, at, pageShift, into);
    if (into.page !== dummyPage) return;
    into.page = 0;
    into.access = 0;
  };
}

function decode(from: Uint32Array, at: number, pageShift: number, into: EntryValue): void {
  const high = swapBytes(from[at] as number);
  const low = swapBytes(from[at + 1] as number);
  if ((high & VALID) === 0) {
    into.page = 0;
    into.access = 0;
    return;
  }
  into.page = pageAt(high & ADDRESS_HIGH, low & ADDRESS_LOW, pageShift);
  into.access = (low & WRITE) === 0 ? 1 : 3;
}

/**
 * IOPTEs for pages of 8 KiB and 64 KiB, physical addresses below 2^47, without a context, around the streaming cache. Write access includes
 * read access.
 */
export const sun4uIopte: EntryFormat = createSun4uIopte();
