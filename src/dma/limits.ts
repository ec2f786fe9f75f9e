/** A device's DMA limits, as its driver states them. translated/compiled-limits.ts converts them for a table. */
import { hexadecimal } from "../units/counts.ts";
import { checkInteger, InvalidArgumentError, inWords } from "../units/errors.ts";
import { checkKeys, type OptionTypes } from "../units/keys.ts";

const LAST_ADDRESS = 2n ** 64n - 1n;
const MAX_BYTES = 2 ** 32 - 1;
/** Linux's defaults: segments of at most 64 KiB that do not cross a multiple of 4 GiB. */
const DEFAULT_MAX_SEGMENT_BYTES = 65536;
const DEFAULT_BOUNDARY_MASK = 2n ** 32n - 1n;

/** The limits of a device. Every field may be left out. */
export interface DeviceLimits {
  /** Last byte address that the device can put on the bus, inclusive: 0 .. 2^64 − 1. Default 2^64 − 1. */
  readonly mask?: bigint;
  /** Mask for coherent memory: 0 .. 2^64 − 1. Default: `mask`. */
  readonly coherentMask?: bigint;
  /** Longest segment that one descriptor can hold: 1 .. 2^32 − 1 bytes. Default 65536. Applies to `mapSg` only. */
  readonly maxSegmentBytes?: number;
  /** Segment boundary less one: no segment crosses a multiple of the boundary. A power of two less one, 0 .. 2^64 − 1. Default 2^32 − 1. */
  readonly boundaryMask?: bigint;
  /**
   * Alignment, in bytes, of the bus page in which a mapping begins: a power of two, 1 .. 2^52. Default 1. The offset in the page is that of
   * the memory, so for alignments up to one IO page an aligned buffer gets an aligned bus address.
   */
  readonly alignment?: number;
}

/** A device's limits with every field filled in, each in its range. */
export type CheckedLimits = Required<DeviceLimits>;

const LIMIT_TYPES: OptionTypes<DeviceLimits> = {
  mask: "any",
  coherentMask: "any",
  maxSegmentBytes: "any",
  boundaryMask: "any",
  alignment: "any",
};

/** Throws InvalidArgumentError for a limit outside its range or of a wrong type. */
export function checkedLimits(limits: DeviceLimits): CheckedLimits {
  checkKeys("a device's limits", limits, LIMIT_TYPES);
  const mask = checkedMask("mask", limits.mask ?? LAST_ADDRESS);
  const coherentMask = checkedMask("coherent mask", limits.coherentMask ?? mask);
  const maxSegmentBytes = limits.maxSegmentBytes ?? DEFAULT_MAX_SEGMENT_BYTES;
  checkInteger("maximum segment size in bytes", maxSegmentBytes, 1, MAX_BYTES);
  const alignment = checkedAlignment(limits.alignment ?? 1);
  const boundaryMask = checkedBoundaryMask(limits.boundaryMask ?? DEFAULT_BOUNDARY_MASK);
  return { mask, coherentMask, maxSegmentBytes, alignment, boundaryMask };
}

function checkedMask(what: string, mask: bigint): bigint {
  if (typeof mask !== "bigint" || mask < 0n || mask > LAST_ADDRESS) {
    throw new InvalidArgumentError(what, mask, "a bigint from 0n to 2n ** 64n - 1n, the last byte that is allowed");
  }
  return mask;
}

function checkedBoundaryMask(boundaryMask: bigint): bigint {
  checkedMask("boundary mask", boundaryMask);
  if ((boundaryMask & (boundaryMask + 1n)) !== 0n) {
    throw new InvalidArgumentError("boundary mask", inWords(hexadecimal(boundaryMask)), "a power of two less one");
  }
  return boundaryMask;
}

function checkedAlignment(alignment: number): number {
  if (!(alignment >= 1 && alignment <= 2 ** 52 && 2 ** Math.round(Math.log2(alignment)) === alignment)) {
    throw new InvalidArgumentError("alignment in bytes", alignment, "a power of two from 1 to 2^52");
  }
  return alignment;
}
