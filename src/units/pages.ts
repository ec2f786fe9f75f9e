/**
 * Page arithmetic on 64-bit addresses that are held as two unsigned 32-bit words, without a bigint. All functions are exact
 * for IO page shifts 12 .. 34 and for addresses up to 2^64 − 1.
 */
import { HIGH_WORD, LOW_WORD } from "./words64.ts";

const WORD = 2 ** 32;
/** 2^0 .. 2^34. Looked up, since `**` with an exponent that is not constant costs a call of 30 ns. */
const POWER = Float64Array.from({ length: 35 }, (_, exponent) => 2 ** exponent);

/** The number of the page that contains an address: below 2^52. */
export function pageNumber(high: number, low: number, pageShift: number): number {
  return pageShift < 32 ? high * POWER[32 - pageShift]! + (low >>> pageShift) : high >>> (pageShift - 32);
}

/** Bytes from the start of the page to the address: below 2^pageShift. */
export function offsetInPage(high: number, low: number, pageShift: number): number {
  // ~(-1 << shift) rather than (1 << shift) - 1: at shift 31 the latter leaves the signed 32-bit range.
  return pageShift < 32 ? low & ~(-1 << pageShift) : (high & ~(-1 << (pageShift - 32))) * WORD + low;
}

/** Number of pages that `bytes` (1 .. 2^53 − 1) bytes cover, from `offset` (below `pageSize`) in the first page on. */
export function pagesCovering(offset: number, bytes: number, pageSize: number): number {
  const end = offset + bytes;
  if (end <= Number.MAX_SAFE_INTEGER) return Math.ceil(end / pageSize);
  // The sum would be rounded.
  const rest = bytes % pageSize;
  return (bytes - rest) / pageSize + Math.ceil((offset + rest) / pageSize);
}

/** The smallest multiple of `unit` that is at least `value`. */
export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

/** Stores the address of `offset` bytes into page `page` as element `at` of a 64-bit column. */
export function storeAddress(words: Uint32Array, at: number, page: number, offset: number, pageShift: number): void {
  if (pageShift < 32) {
    storeNarrowAddress(words, at, page, offset, pageShift);
  } else {
    words[2 * at + LOW_WORD] = offset;
    words[2 * at + HIGH_WORD] = page * POWER[pageShift - 32]! + Math.floor(offset / WORD);
  }
}

/** As `storeAddress`, only for page shifts below 32. Short enough to be inlined. */
export function storeNarrowAddress(
  words: Uint32Array,
  at: number,
  page: number,
  offset: number,
  pageShift: number,
): void {
  // The page number may have 52 bits: the shift works modulo 2^32, and the array stores the result as unsigned.
  words[2 * at + LOW_WORD] = (page << pageShift) | offset;
  words[2 * at + HIGH_WORD] = page / POWER[32 - pageShift]!;
}
