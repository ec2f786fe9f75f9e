/**
 * The bus address space while a trace is read: the live `map` lines, and which of them an `unmap` line ends. Lines
 * name neither device nor domain, and all DMA domains hand out the same addresses, so live ranges overlap normally: the one
 * that fits best is taken, and how often there was a choice is counted.
 */

import type { TraceEvents } from "./events.ts";
import { pageOf, pagesOf, UNCLAIMED } from "./join.ts";

/** The rest of one `map` line: pages [first, end) of the bus. A partial unmap cuts it. */
interface Piece {
  first: number;
  end: number;
  /** The `map` line's row. */
  readonly row: number;
}

export class LiveRanges {
  /** For each `map` row: the row of the `unmap` line that ended it, or UNCLAIMED. */
  readonly endedBy: Int32Array;
  /** `unmap` lines that found nothing live: mapped before the trace began, or in lost events. */
  unmapsOfUnknown = 0;
  /** `unmap` lines that ended a part of what one `map` line mapped. */
  partialUnmaps = 0;
  /** `unmap` lines for which several live ranges fitted equally well. */
  ambiguousUnmaps = 0;
  readonly #events: TraceEvents;
  readonly #claim: Int32Array;
  readonly #byFirst: Map<number, Piece[]> = new Map();
  readonly #livePages: Int32Array;

  constructor(events: TraceEvents, claim: Int32Array) {
    this.#events = events;
    this.#claim = claim;
    this.endedBy = new Int32Array(events.length).fill(UNCLAIMED);
    this.#livePages = new Int32Array(events.length);
  }

  map(row: number): void {
    const first = pageOf(this.#events, row);
    const pages = pagesOf(this.#events, row);
    this.#livePages[row] = pages;
    this.#add({ first, end: first + pages, row });
  }

  unmap(row: number): void {
    let at = pageOf(this.#events, row);
    const end = at + pagesOf(this.#events, row);
    let last = UNCLAIMED;
    let found = false;
    while (at < end) {
      const piece = this.#pick(at, end, row, last) ?? this.#nextInside(at, end);
      if (piece === undefined) break;
      found = true;
      last = piece.row;
      at = this.#cut(piece, Math.max(at, piece.first), Math.min(end, piece.end), row);
    }
    // An unmap of 0 bytes has ended nothing.
    if (!found && end > pageOf(this.#events, row)) this.unmapsOfUnknown++;
  }

  /** The live piece that begins at `page` and fits best; `last` is the row before it in the same unmap. */
  #pick(page: number, end: number, unmap: number, last: number): Piece | undefined {
    const pieces = this.#byFirst.get(page);
    if (pieces === undefined) return undefined;
    if (pieces.length === 1) return pieces[0];
    let best: Piece | undefined;
    let bestScore = -1;
    let equals = 0;
    for (const piece of pieces) {
      const score = this.#score(piece, end, unmap, last);
      if (score === bestScore) equals++;
      if (score <= bestScore) continue;
      best = piece;
      bestScore = score;
      equals = 0;
    }
    if (equals > 0) this.ambiguousUnmaps++;
    return best;
  }

  /** Known device first, then the neighbour of what this unmap has ended already, then size, then the CPU; oldest first. */
  #score(piece: Piece, end: number, unmap: number, last: number): number {
    const claim = this.#claim;
    const { cpu } = this.#events;
    const known = claim[unmap] as number;
    let score = 0;
    if (known !== UNCLAIMED && claim[piece.row] === known) score += 16;
    if (last !== UNCLAIMED && claim[piece.row] === claim[last]) score += 8;
    if (piece.end === end) score += 4;
    else if (piece.end < end) score += 2;
    if (cpu[piece.row] === cpu[unmap]) score += 1;
    return score;
  }

  /** Slow and rare: a piece that begins before `at` and reaches beyond it, else the next one inside [at, end). */
  #nextInside(at: number, end: number): Piece | undefined {
    let next: Piece | undefined;
    for (const pieces of this.#byFirst.values()) {
      for (const piece of pieces) {
        if (piece.first < at && piece.end > at) return piece;
        if (piece.first >= at && piece.first < end && piece.first < (next?.first ?? end)) next = piece;
      }
    }
    return next;
  }

  /** Takes [first, end) out of the piece; returns `end`. */
  #cut(piece: Piece, first: number, end: number, unmap: number): number {
    this.#remove(piece);
    if (piece.first < first) this.#add({ first: piece.first, end: first, row: piece.row });
    if (end < piece.end) this.#add({ first: end, end: piece.end, row: piece.row });
    const left = (this.#livePages[piece.row] as number) - (end - first);
    this.#livePages[piece.row] = left;
    if (left === 0) this.endedBy[piece.row] = unmap;
    else this.partialUnmaps++;
    return end;
  }

  #add(piece: Piece): void {
    const pieces = this.#byFirst.get(piece.first);
    if (pieces === undefined) this.#byFirst.set(piece.first, [piece]);
    else pieces.push(piece);
  }

  #remove(piece: Piece): void {
    const pieces = this.#byFirst.get(piece.first) as Piece[];
    pieces.splice(pieces.indexOf(piece), 1);
    if (pieces.length === 0) this.#byFirst.delete(piece.first);
  }
}
