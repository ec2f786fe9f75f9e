/**
 * Pages and addresses without bigint: a 64-bit address as two 32-bit halves, and the byte order of big-endian entries.
 * Page shifts are 12 .. 34, so both sides of 32 occur; JavaScript's shifts count modulo 32, which every function here minds.
 */
import { InvalidArgumentError } from "../units/errors.ts";

const TWO_TO_32 = 2 ** 32;

/** Bits 32 .. 63 of the address of `page`, as a signed word. `page` is an integer from 0 to 2^52 − 1. */
export function addressHigh(page: number, pageShift: number): number {
  if (pageShift >= 32) return page << (pageShift - 32);
  const low = page >>> (32 - pageShift);
  // Most pages are below 2^32: the division is for the others.
  return page < TWO_TO_32 ? low : low | ((page / TWO_TO_32) << pageShift);
}

/** Bits 0 .. 31 of the address of `page`, as a signed word. */
export function addressLow(page: number, pageShift: number): number {
  return pageShift >= 32 ? 0 : page << pageShift;
}

/** The page at the address whose halves are `high` and `low` (signed or not); bits below the page are dropped. */
export function pageAt(high: number, low: number, pageShift: number): number {
  if (pageShift >= 32) return (high >>> 0) >>> (pageShift - 32);
  return (high >>> 0) * 2 ** (32 - pageShift) + (low >>> pageShift);
}

/** The word with its four bytes in the other order, as a signed word. */
export function swapBytes(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}

/** Throws unless `page` is an integer from 0 to `largest`. NaN is refused too. */
export function checkPage(format: string, page: number, largest: number): void {
  if (!(page >= 0 && page <= largest && Math.floor(page) === page)) {
    throw new InvalidArgumentError(`page for a ${format}`, page, `an integer from 0 to ${largest}`);
  }
}
