/**
 * Cookies: the addresses by which one end of a channel uses memory of the other. A cookie is the bus address of LDC:
 *
 *     bits 63–60  size code of the page: 0–7 for 8K, 64K, 512K, 4M, 32M, 256M, 2G, 16G
 *     below       index of the map table's entry << (13 + 3 · code), and the offset in the page
 *
 * For the generic table this is a window with base code << 60 and the page size: `iovaOf` converts an entry to a cookie. (The allocator of
 * 2015 had a callback for this, cookie_to_index.)
 */
import { ldcMapEntry, ldcSizeCode } from "../../formats/ldc-map-entry.ts";
import { checkInteger } from "../../units/errors.ts";
import type { DmaWindow } from "../../units/numbers.ts";

const CODE_SHIFT = 60n;
/** Number of size codes. */
export const SIZE_CODES: number = ldcMapEntry.pageShifts.length;

/**
 * A cookie: exported bytes that the other end reaches at consecutive addresses (UltraSPARC Virtual Machine Specification, "LDC shared
 * memory").
 */
export interface LdcCookie {
  /** Cookie address of the first byte: size code of the page in bits 63–60, below it the entry's index and the offset in the page. */
  readonly address: bigint;
  /** Length in bytes. */
  readonly bytes: number;
}

/** log2 of the page size in bytes of a size code. */
export function pageShiftOf(code: number): number {
  return 13 + 3 * code;
}

/** Cookies of a map table with pages of one size, as a window of the generic table. Throws InvalidArgumentError. */
export function cookieWindow(pageShift: number, entries: number): DmaWindow {
  const base = BigInt(ldcSizeCode(pageShift)) << CODE_SHIFT;
  checkInteger("entries of the map table", entries, 1, 2 ** 31 - 1);
  return { base, pageShift, entries };
}

/** The size code of a cookie: 0 .. 15. Codes below SIZE_CODES are valid. */
export function sizeCodeOf(cookie: bigint): number {
  return Number(cookie >> CODE_SHIFT);
}

/** The index of a cookie's entry. Exact below 2^47. Computed the same way for invalid size codes. */
export function cookieIndex(cookie: bigint): number {
  const code = sizeCodeOf(cookie);
  return Number(BigInt.asUintN(60, cookie) >> BigInt(pageShiftOf(code)));
}

/** Number of pages that a cookie's bytes cover. */
export function cookiePages(cookie: LdcCookie): number {
  const pageBytes = 2 ** pageShiftOf(sizeCodeOf(cookie.address));
  const offset = Number(cookie.address & BigInt(pageBytes - 1));
  return Math.ceil((offset + cookie.bytes) / pageBytes);
}
