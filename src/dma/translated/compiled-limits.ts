/**
 * A device's limits for one window: plain numbers and area constraints, worked out once, so that a mapping compares numbers and
 * makes nothing.
 */
import { type AreaConstraints, areaConstraints } from "../../allocator/constraints.ts";
import { LONGER_THAN_BOUNDARY, LONGER_THAN_TABLE, MASK_TOO_LOW } from "../../units/failure.ts";
import type { DmaWindow } from "../../units/numbers.ts";
import { checkedLimits, type DeviceLimits } from "../limits.ts";

/** Where mappings under one mask may lie. Members that come to the same are the same object. */
export interface MaskedAreas {
  /** Does the mask end inside a page of the window? A mapping that ends beyond it in its last page stays below that page. */
  readonly cutsPage: boolean;
  /** The last byte that may be used in that page. */
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
  /** The bits of an address that are its offset in its page; 0 for pages above 1 GiB, where they are more than 31. */
  readonly offsetMask: number;
  /** How many pages 4 GiB are: what one in an address's high word counts. Below 1 for the widest. */
  readonly pagesPerWord: number;
  readonly entries: number;
  /** Bus page number of entry 0. */
  readonly basePage: number;
  readonly maxSegmentBytes: number;
  /** How much of a longer element goes into one segment: as `maxSegmentBytes`, but it keeps the alignment. */
  readonly pieceBytes: number;
  /** Pages; 1 asks for nothing. */
  readonly alignmentPages: number;
  /** As `alignmentPages`, for elements that hold whole CPU pages. Equal to it when the IO page is not smaller. */
  readonly cpuAlignmentPages: number;
  readonly cpuPageBytes: number;
  /** The segment boundary in bytes when it is smaller than an IO page; otherwise 0. */
  readonly subPageBoundary: number;
  /** A boundary lies before entry e exactly when `((e - boundaryFirst) & boundaryLow) === 0`. */
  readonly boundaryFirst: number;
  readonly boundaryLow: number;
  readonly streaming: MaskedAreas;
  readonly coherent: MaskedAreas;
}

/**
 * Limits as plain numbers. `cpuPageShift` is log2 of the CPU's page size in bytes.
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

/** Why an area of `pages` can never be had, whatever is free: a failure code; 0 when it can. */
export function refusalOf(limits: CompiledLimits, constraints: AreaConstraints, pages: number): number {
  if (pages > limits.entries) return LONGER_THAN_TABLE;
  if (pages > constraints.limit) return MASK_TOO_LOW;
  if (constraints.boundaryPages !== 0 && pages > constraints.boundaryPages) return LONGER_THAN_BOUNDARY;
  return 0;
}

/** Does a segment cross a boundary that is smaller than the IO page? Pages begin at multiples of it, so the offset decides. */
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
  // Entries whose every byte can be reached, and those of which at least the first can. A mask below the window leaves
  // none of either: the distance is clamped, never negative.
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
  // Merged segments meet where pages do, and there a smaller boundary always lies: `low` 0 matches every entry.
  if (boundaryMask < pageMask) return { pages: 0, first: 0, low: 0, subPage: Number(boundaryMask) + 1 };
  // In pages before one is added: a mask of 2^64 − 1 has no successor in 64 bits.
  const pages = Number(boundaryMask >> BigInt(window.pageShift)) + 1;
  const basePage = Number(window.base >> BigInt(window.pageShift));
  const first = (pages - (basePage % pages)) % pages;
  // No boundary at all: no entry is -1.
  if (first >= window.entries) return { pages: 0, first: -1, low: -1, subPage: 0 };
  // Entries are below 2^31: of a longer boundary the table sees one multiple, and 31 bits are enough to know it.
  return { pages, first, low: Math.min(pages, 2 ** 31) - 1, subPage: 0 };
}
