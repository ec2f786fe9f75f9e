/**
 * For each page at which faults were reported: the lives that have something to do with it. One pass over all lives answers for all pages.
 */
import { pageNumber, pageOf } from "../../trace/join.ts";
import type { TraceAnalysis } from "./analysis.ts";
import { NO_ROW } from "./lives.ts";

/** A DMA that runs over an end does so by a transfer's length; farther away, a neighbour explains nothing. */
const NEAR_PAGES = 16;
/** Widths to which addresses get cut off: registers of 32 bits, and the address sizes of IOMMUs and buses. */
const CUT_BITS = [32, 36, 39, 40, 42, 44, 48] as const;
const PAGE_BITS = 12;
/** So many pages have addresses of each width. */
const CUT_PAGES: readonly number[] = CUT_BITS.map((bits) => 2 ** (bits - PAGE_BITS));
const SPACE_PAGES = 2 ** 52;
/** Bit 31 repeated up to bit 63, as by a signed 32-bit variable: the last 2^19 pages. */
const SIGN_PAGES = 2 ** 19;

export interface Alias {
  readonly life: number;
  /** Number of low bits of the life's address that are left; negative: these bits, and ones above them. */
  readonly bits: number;
}

export interface Neighbours {
  /** Lives that hold the page. */
  readonly here: number[];
  /** Lives that end at the page, or at most 15 pages below it. */
  readonly below: number[];
  /** Lives that begin at most 16 pages above it. */
  readonly above: number[];
  /** Lives that would hold the page if their address lost its upper bits. */
  readonly aliases: Alias[];
  /** Lives whose physical memory has this address. */
  readonly physical: number[];
}

/** @param pages - the pages of the faults, in any order */
export function neighboursOf(analysis: TraceAnalysis, pages: readonly number[]): Map<number, Neighbours> {
  const found = new Map<number, Neighbours>();
  for (const page of pages) found.set(page, { here: [], below: [], above: [], aliases: [], physical: [] });
  const search = new Search(
    analysis,
    [...found.keys()].sort((a, b) => a - b),
    found,
  );
  if (found.size === 0) return found;
  for (let life = 0; life < analysis.lives.length; life++) if (analysis.ignored[life] === 0) search.note(life);
  return found;
}

class Search {
  readonly #analysis: TraceAnalysis;
  readonly #sorted: readonly number[];
  readonly #found: Map<number, Neighbours>;

  constructor(analysis: TraceAnalysis, sorted: readonly number[], found: Map<number, Neighbours>) {
    this.#analysis = analysis;
    this.#sorted = sorted;
    this.#found = found;
  }

  note(life: number): void {
    const first = this.#analysis.lives.first[life] as number;
    const end = this.#analysis.lives.end[life] as number;
    this.#noteNear(life, first, end);
    this.#notePhysical(life, first, end);
    for (let width = 0; width < CUT_PAGES.length; width++) {
      const size = CUT_PAGES[width] as number;
      // Wider ones cut nothing off either.
      if (first < size) break;
      if (end - first >= size) continue;
      const cut = first - Math.floor(first / size) * size;
      this.#noteAlias(life, cut, cut + end - first, CUT_BITS[width] as number);
    }
    if (first >= SIGN_PAGES && end <= 2 * SIGN_PAGES) {
      const above = SPACE_PAGES - 2 * SIGN_PAGES;
      this.#noteAlias(life, above + first, above + end, -32);
    }
  }

  #noteNear(life: number, first: number, end: number): void {
    for (let at = this.#firstFrom(first - NEAR_PAGES); at < this.#sorted.length; at++) {
      const page = this.#sorted[at] as number;
      if (page >= end + NEAR_PAGES) return;
      const near = this.#found.get(page) as Neighbours;
      if (page < first) near.above.push(life);
      else (page < end ? near.here : near.below).push(life);
    }
  }

  #noteAlias(life: number, first: number, end: number, bits: number): void {
    for (let at = this.#firstFrom(first); at < this.#sorted.length; at++) {
      const page = this.#sorted[at] as number;
      if (page >= end) return;
      const { aliases } = this.#found.get(page) as Neighbours;
      if (aliases.at(-1)?.life !== life) aliases.push({ life, bits });
    }
  }

  #notePhysical(life: number, first: number, end: number): void {
    const row = this.#analysis.lives.mapRow[life] as number;
    if (row === NO_ROW) return;
    const { events } = this.#analysis.trace;
    const begin =
      pageNumber(events.physicalLow[row] as number, events.physicalHigh[row] as number) + first - pageOf(events, row);
    for (let at = this.#firstFrom(begin); at < this.#sorted.length; at++) {
      const page = this.#sorted[at] as number;
      if (page >= begin + end - first) return;
      (this.#found.get(page) as Neighbours).physical.push(life);
    }
  }

  /** Index of the first page of a fault that is `page` or above it. */
  #firstFrom(page: number): number {
    const sorted = this.#sorted;
    let low = 0;
    let high = sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((sorted[middle] as number) < page) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
