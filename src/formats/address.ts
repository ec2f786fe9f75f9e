/**
 * Pages and addresses without bigint: a 64-bit address as two 32-bit halves, and the byte order of big-endian entries.
 * Page shifts are 12 .. 34, both below and above 32; JavaScript's shifts work modulo 32, which every function here handles.
 */
const TWO_TO_32 = 2 ** 32;

/** Bits 32 .. 63 of the address of `page`, as a signed word. `page` is an integer from 0 to 2^52 − 1. */
export function addressHigh(page: number, pageShift: number): number {
  if (pageShift >= 32) return page << (pageShift - 32);
  const low = page >>> (32 - pageShift);
  // Most pages are below 2^32 and stay integers; the division is for the others.
  return page >>> 0 === page ? low : low | ((page / TWO_TO_32) << pageShift);
}

/** Bits 0 .. 31 of the address of `page`, as a signed word. */
export function addressLow(page: number, pageShift: number): number {
  return pageShift >= 32 ? 0 : page << pageShift;
}

/** 2^(32 − shift), by page shift. Looked up: a power costs more than the rest of a decoding. */
const PAGES_IN_HIGH: Float64Array = Float64Array.from({ length: 32 }, (_, shift) => 2 ** (32 - shift));

/** The page at the address whose halves are `high` and `low` (signed or not); bits below the page are dropped. */
export function pageAt(high: number, low: number, pageShift: number): number {
  if (pageShift >= 32) return (high >>> 0) >>> (pageShift - 32);
  return (high >>> 0) * (PAGES_IN_HIGH[pageShift] as number) + (low >>> pageShift);
}

/** The word with its four bytes reversed, as a signed word. */
export function swapBytes(word: number): number {
  const halvesSwapped = (word << 16) | (word >>> 16);
  return ((halvesSwapped & 0x00ff00ff) << 8) | ((halvesSwapped >>> 8) & 0x00ff00ff);
}

/** True if the `count` pages from `page` on are integers from 0 to `largest`. False for NaN. */
export function pagesFit(page: number, count: number, largest: number): boolean {
  const isPage = page >>> 0 === page || (page >= 0 && Math.floor(page) === page);
  return isPage && page + count - 1 <= largest;
}
