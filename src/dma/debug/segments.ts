/** Segments of a mapped list, and the boundaries that a device's segments may not cross. */
import { HIGH_WORD, LOW_WORD } from "../../units/words64.ts";
import type { ScatterList } from "../scatter-list.ts";

const WORD = 2 ** 32;

/**
 * Does a segment have bytes on both sides of a multiple of `boundaryMask` + 1 (a power of two)? By words: no address becomes a
 * bigint.
 */
export function segmentCrosses(list: ScatterList, segment: number, boundaryMask: bigint): boolean {
  const words = list.mapping.iovaWords;
  const low = words[2 * segment + LOW_WORD]!;
  const bytes = list.segmentBytes[segment]!;
  const lowBoundary = Number(boundaryMask & 0xffff_ffffn) + 1;
  if (boundaryMask < BigInt(WORD)) return (low % lowBoundary) + bytes > lowBoundary;
  // The boundary lies at a multiple of 4 GiB: the segment reaches the next one, and that is such a multiple.
  const highBoundary = Number(boundaryMask >> 32n) + 1;
  return low + bytes > WORD && (words[2 * segment + HIGH_WORD]! + 1) % highBoundary === 0;
}
