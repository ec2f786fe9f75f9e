/**
 * A device's limits for one window, converted once to plain numbers and area constraints, so that a mapping only compares numbers.
 */
import { type AreaConstraints, areaConstraints } from "../../allocator/constraints.ts";
import { LONGER_THAN_BOUNDARY, LONGER_THAN_TABLE, MASK_TOO_LOW } from "../../units/failure.ts";
import type { DmaWindow } from "../../units/numbers.ts";
import { checkedLimits, type DeviceLimits } from "../limits.ts";

/** Where mappings under one mask may lie. Equal constraints share one object. */
export interface MaskedAreas {
  /**
   * True if the mask ends inside a page of the window. A mapping whose last page would be that one, and which would end beyond the mask,
   * must lie below it.
   */
  readonly cutsPage: boolean;
  /** Offset of the last usable byte in that page. */
  readonly lastOffset: number;
  readonly plain: AreaConstraints;
  readonly plainBelow: AreaConstraints;
  /** For whole CPU pages on smaller IO pages. */
  readonly cpuAligned: AreaConstraints;
  readonly cpuAlignedBelow: AreaConstraints;
}

/** A device's limits for tables with one window. */
export interface CompiledLimits {
  readonly pageShift: number;
  readonly pageSize: number;
  /** Mask of an address's offset in its page; 0 for pages above 1 GiB, whose offsets have more than 31 bits. */
  readonly offsetMask: number;
  /** Number of pages in 4 GiB, the unit of an address's high word. Below 1 for the largest pages. */
  readonly pagesPerWord: number;
  readonly entries: number;
  /** Bus page number of entry 0. */
  readonly basePage: number;
  readonly maxSegmentBytes: number;
  /** Bytes of a longer element that go into one segment: `maxSegmentBytes`, rounded down to the alignment. */
  readonly pieceBytes: number;
  /** Alignment in pages; 1: no alignment. */
  readonly alignmentPages: number;
  /** As `alignmentPages`, for elements that hold whole CPU pages. Equal to it unless IO pages are smaller than CPU pages. */
  readonly cpuAlignmentPages: number;
  readonly cpuPageBytes: number;
  /** The segment boundary in bytes if it is smaller than an IO page; otherwise 0. */
  readonly subPageBoundary: number;
  /** A boundary lies before entry e exactly when `((e - boundaryFirst) & boundaryLow) === 0`. */
  readonly boundaryFirst: number;
  readonly boundaryLow: number;
  readonly streaming: MaskedAreas;
  readonly coherent: MaskedAreas;
}

/**
 * Converts limits to plain numbers. `cpuPageShift` is log2 of the CPU's page size in bytes.
 * @throws InvalidArgumentError for a limit outside its range
 */
export function compileLimits(window: DmaWindow, limits: DeviceLimits, cpuPageShift: number): CompiledLimits {
  const { mask, coherentMask, maxSegmentBytes, alignment, boundaryMask } = checkedLimits(limits);
  const pageSize = 2 ** window.pageShift;
  const alignmentPages = Math.max(1, alignment / pageSize);
  const cpuAlignmentPages = Math.max(alignmentPages, 2 ** cpuPageShift / pageSize);
  const boundary = compileBoundary(window, boundaryMask);
  const areas = (last: bigint) => maskedAreas(window, last, boundary.pages, [alignmentPages, cpuAlignmentPages]);
  const streaming = areas(mask);
  return {
    pageShift: window.pageShift,
    pageSize,
    offsetMask: window.pageShift <= 30 ? (1 << window.pageShift) - 1 : 0,
    pagesPerWord: 2 ** 32 / pageSize,
    entries: window.entries,
    basePage: Number(window.base >> BigInt(window.pageShift)),
    maxSegmentBytes,
    pieceBytes: alignment <= maxSegmentBytes ? maxSegmentBytes - (maxSegmentBytes % alignment) : maxSegmentBytes,
    alignmentPages,
    cpuAlignmentPages,
    cpuPageBytes: 2 ** cpuPageShift,
    subPageBoundary: boundary.subPage,
    boundaryFirst: boundary.first,
    boundaryLow: boundary.low,
    streaming,
    coherent: coherentMask === mask ? streaming : areas(coherentMask),
  };
}

/** The constraints of a mapping that ends `end` bytes after the start of its first page. */
export function constraintsOf(
  { pageSize }: CompiledLimits,
  areas: MaskedAreas,
  cpuAligned: boolean,
  end: number,
): AreaConstraints {
  if (areas.cutsPage && (end - 1) % pageSize > areas.lastOffset) {
    return cpuAligned ? areas.cpuAlignedBelow : areas.plainBelow;
  }
  return cpuAligned ? areas.cpuAligned : areas.plain;
}

/** A failure code if an area of `pages` pages can never be allocated, even in an empty table; else 0. */
export function refusalOf(limits: CompiledLimits, constraints: AreaConstraints, pages: number): number {
  if (pages > limits.entries) return LONGER_THAN_TABLE;
  if (pages > constraints.limit) return MASK_TOO_LOW;
  if (constraints.boundaryPages !== 0 && pages > constraints.boundaryPages) return LONGER_THAN_BOUNDARY;
  return 0;
}

/**
 * True if a segment crosses a boundary that is smaller than the IO page. Pages begin at multiples of the boundary, so the offset decides.
 */
export function crossesSubPageBoundary(limits: CompiledLimits, offset: number, bytes: number): boolean {
  const boundary = limits.subPageBoundary;
  return boundary !== 0 && (offset % boundary) + bytes > boundary;
}

function maskedAreas(
  window: DmaWindow,
  mask: bigint,
  boundaryPages: number,
  alignments: [number, number],
): MaskedAreas {
  const pageSize = 2n ** BigInt(window.pageShift);
  // Entries that the mask covers wholly, and entries whose first byte it covers. For a mask below the window both are 0: the distance is
  // clamped.
  const reachableBytes = mask < window.base ? 0n : mask - window.base + 1n;
  const whole = clampEntries(window, reachableBytes / pageSize);
  const touched = clampEntries(window, (reachableBytes + pageSize - 1n) / pageSize);
  const [alignment, cpuAlignment] = alignments;
  const make = (limit: number, alignmentPages: number) =>
    areaConstraints(window, { limit, alignmentPages, boundaryPages });
  const cutsPage = touched !== whole;
  const plain = make(touched, alignment);
  const plainBelow = cutsPage ? make(whole, alignment) : plain;
  return {
    cutsPage,
    lastOffset: cutsPage ? Number((reachableBytes - 1n) % pageSize) : 0,
    plain,
    plainBelow,
    cpuAligned: cpuAlignment === alignment ? plain : make(touched, cpuAlignment),
    cpuAlignedBelow: cpuAlignment === alignment ? plainBelow : make(whole, cpuAlignment),
  };
}

function clampEntries(window: DmaWindow, pages: bigint): number {
  return pages < BigInt(window.entries) ? Number(pages) : window.entries;
}

/** `pages` for the allocator (0: no boundary), `first` and `low` for merging, `subPage` in bytes (0: not below a page). */
interface CompiledBoundary {
  readonly pages: number;
  readonly first: number;
  readonly low: number;
  readonly subPage: number;
}

function compileBoundary(window: DmaWindow, boundaryMask: bigint): CompiledBoundary {
  const pageMask = 2n ** BigInt(window.pageShift) - 1n;
  // Merged segments meet at page borders, and each of these is a multiple of a smaller boundary: `low` 0 matches every entry.
  if (boundaryMask < pageMask) return { pages: 0, first: 0, low: 0, subPage: Number(boundaryMask) + 1 };
  // Converted to pages before 1 is added: a mask of 2^64 − 1 has no successor in 64 bits.
  const pages = Number(boundaryMask >> BigInt(window.pageShift)) + 1;
  const basePage = Number(window.base >> BigInt(window.pageShift));
  const first = (pages - (basePage % pages)) % pages;
  // No boundary: `first` -1 matches no entry.
  if (first >= window.entries) return { pages: 0, first: -1, low: -1, subPage: 0 };
  // Entries are below 2^31: a longer boundary has at most one multiple in the table, which 31 bits identify.
  return { pages, first, low: Math.min(pages, 2 ** 31) - 1, subPage: 0 };
}
