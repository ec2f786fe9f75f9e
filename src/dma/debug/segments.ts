/** Segments of a mapped list, and the boundaries that a device's segments may not cross. */
import { HIGH_WORD, LOW_WORD } from "../../units/words64.ts";
import type { ScatterList } from "../scatter-list.ts";

const WORD = 2 ** 32;

/**
 * True if a segment has bytes on both sides of a multiple of `boundaryMask` + 1 (a power of two). Works on 32-bit words, without bigints.
 */
export function segmentCrosses(list: ScatterList, segment: number, boundaryMask: bigint): boolean {
  const words = list.mapping.iovaWords;
  const low = words[2 * segment + LOW_WORD]!;
  const bytes = list.segmentBytes[segment]!;
  const lowBoundary = Number(boundaryMask & 0xffff_ffffn) + 1;
  if (boundaryMask < BigInt(WORD)) return (low % lowBoundary) + bytes > lowBoundary;
  // The boundary is a multiple of 4 GiB. The segment crosses it if it reaches the next multiple of 4 GiB and that one is a boundary.
  const highBoundary = Number(boundaryMask >> 32n) + 1;
  return low + bytes > WORD && (words[2 * segment + HIGH_WORD]! + 1) % highBoundary === 0;
}
