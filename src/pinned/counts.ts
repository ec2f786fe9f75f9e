/**
 * The live mappings of regions, counted without an atomic addition. Each thread has a *cell* for each region, which it alone writes; a region's
 * count is the sum of its cells. One thread may remove a mapping that another made: so a cell may be negative. The next thread that gets the
 * number of an ended thread continues with its cells.
 *
 * Why not one counter for all threads: after a thread has died, no other can know whether its addition was made. A cell can be repaired, because
 * the thread first notes in its *hand* the region, the value of the cell, and the addition.
 *
 * Pairing with the release of a region (pinned-memory.ts), both sequentially consistent:
 *   a mapper stores its cell, then loads the region's state;   the holder of the lock stores "releasing", then loads the cells.
 * So either the mapper sees "releasing", lowers its cell again and fails with ENXIO, or the releasing thread sees the cell, and fails with
 * EBUSY. Both may fail. They never both succeed, so a mapped page is never unpinned.
 *
 * A lookup takes no lock. It reads a slot that may be the right one, stores its cell, loads the state, and reads the slot again. Only the second
 * reading counts: the fields of a slot change only while its state is not live, and from the store on the count keeps the region live. The first
 * reading may be of an earlier region in the slot; it avoids counting in regions that do not match.
 */
import { glance, load, peek, poke, type SharedWords, store } from "../shared/memory.ts";
import { errnoCode } from "../units/errno.ts";
import { cellAt, HINT_SHIFT, HINTS, LIVE, type PinnedState, REGION, regionAt, THREAD, threadAt } from "./layout.ts";
import { contains, regionsEnd } from "./regions.ts";

const ENOENT = errnoCode("ENOENT");
const ENXIO = errnoCode("ENXIO");
/** Attempts to read all cells twice with the same result. */
const ATTEMPTS = 8;

/** A change of a cell that a thread has noted and not settled. */
export interface Hand {
  readonly region: number;
  /** Added to the count; negative: subtracted. */
  readonly count: number;
}

/** One thread's view. */
export class MappingCounts {
  readonly #state: PinnedState;
  readonly #words: SharedWords;
  readonly #regionsAt: number;
  readonly #threadAt: number;
  readonly #cellsAt: number;

  constructor(state: PinnedState, thread: number) {
    this.#state = state;
    this.#words = state.words;
    this.#regionsAt = state.regionsAt;
    this.#threadAt = threadAt(state, thread);
    this.#cellsAt = cellAt(state, thread, 0);
  }

  /**
   * Finds the region of the owner that contains these pages, and adds `count` to its live mappings. Returns the region; -ENOENT: no region
   * contains them; -ENXIO: it is being released. The addition is in the thread's hand until `keep` or `drop`.
   */
  take(owner: number, userPage: number, pages: number, count: number): number {
    const words = this.#words;
    const hint = this.#threadAt + THREAD.hints + ((userPage >>> HINT_SHIFT) & (HINTS - 1));
    const region = peek(words, hint);
    const at = this.#regionsAt + region * REGION.words;
    if (contains(words, at, owner, userPage, pages)) {
      this.#raise(region, count);
      if (load(words, at) === LIVE && contains(words, at, owner, userPage, pages)) return region;
      this.drop();
    }
    return this.#search(hint, owner, userPage, pages, count);
  }

  /** As `take`, for a known region. -ENXIO: it is not live. */
  takeRegion(region: number, count: number): number {
    this.#raise(region, count);
    if (load(this.#words, regionAt(this.#state, region)) === LIVE) return region;
    this.drop();
    return ENXIO;
  }

  /** Keeps the addition in the hand: the caller has noted the mapping, and will `lower` it. */
  keep(): void {
    poke(this.#words, this.#threadAt + THREAD.handRegion, 0);
  }

  /** Undoes the addition in the hand. */
  drop(): void {
    const words = this.#words;
    const region = peek(words, this.#threadAt + THREAD.handRegion) - 1;
    if (region >= 0) store(words, this.#cellsAt + region, peek(words, this.#threadAt + THREAD.handBefore));
    poke(words, this.#threadAt + THREAD.handRegion, 0);
  }

  /** Subtracts `count` removed mappings. No device can use them any more. */
  lower(region: number, count: number): void {
    const words = this.#words;
    const before = this.#note(region, -count);
    store(words, this.#cellsAt + region, (before - count) | 0);
    poke(words, this.#threadAt + THREAD.handRegion, 0);
  }

  #takeIf(region: number, owner: number, userPage: number, pages: number, count: number): number {
    const at = this.#regionsAt + region * REGION.words;
    const stage = load(this.#words, at);
    if (stage < LIVE || !contains(this.#words, at, owner, userPage, pages)) return ENOENT;
    this.#raise(region, count);
    const isLive = load(this.#words, at) === LIVE;
    if (isLive && contains(this.#words, at, owner, userPage, pages)) return region;
    this.drop();
    return isLive ? ENOENT : ENXIO;
  }

  #search(hint: number, owner: number, userPage: number, pages: number, count: number): number {
    const end = regionsEnd(this.#state);
    for (let region = 0; region < end; region++) {
      const taken = this.#takeIf(region, owner, userPage, pages, count);
      if (taken === ENOENT) continue;
      if (taken >= 0) poke(this.#words, hint, region);
      return taken;
    }
    return ENOENT;
  }

  #raise(region: number, count: number): void {
    const before = this.#note(region, count);
    store(this.#words, this.#cellsAt + region, (before + count) | 0);
  }

  /** Notes a change in the hand, before it is made. Returns the value of the cell. The region is stored last: it makes the other words valid. */
  #note(region: number, count: number): number {
    const words = this.#words;
    const before = peek(words, this.#cellsAt + region);
    poke(words, this.#threadAt + THREAD.handBefore, before);
    poke(words, this.#threadAt + THREAD.handCount, count);
    poke(words, this.#threadAt + THREAD.handRegion, region + 1);
    return before;
  }
}

/** Sum of the region's cells. Exact if no mapper changes one meanwhile, or if the region's state is "releasing". */
export function mappedOf(state: PinnedState, region: number): number {
  let sum = 0;
  for (let thread = 0; thread < state.threads; thread++) sum += load(state.words, cellAt(state, thread, region));
  return sum | 0;
}

/**
 * True if the region has at least `count` live mappings. The first, relaxed reading is conclusive if it finds them. Otherwise all cells are read
 * until two readings are equal: then the sum was exact at one moment. True also if the cells change in each of 8 attempts.
 */
export function hasMappings(state: PinnedState, region: number, count: number): boolean {
  let seen = 0;
  for (let thread = 0; thread < state.threads; thread++) seen += glance(state.words, cellAt(state, thread, region));
  if ((seen | 0) >= count) return true;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const cells = Array.from({ length: state.threads }, (_, thread) =>
      load(state.words, cellAt(state, thread, region)),
    );
    const isSame = cells.every((cell, thread) => load(state.words, cellAt(state, thread, region)) === cell);
    if (isSame) return (cells.reduce((sum, cell) => sum + cell, 0) | 0) >= count;
  }
  return true;
}

/** The unsettled change of a dead thread; undefined: none. */
export function handOf(state: PinnedState, thread: number): Hand | undefined {
  const at = threadAt(state, thread);
  const region = peek(state.words, at + THREAD.handRegion) - 1;
  return region < 0 ? undefined : { region, count: peek(state.words, at + THREAD.handCount) };
}

/** Settles the hand of a dead thread. `isMade`: the change is made; otherwise the cell gets its old value. Can be repeated. */
export function settleHand(state: PinnedState, thread: number, isMade: boolean): void {
  const { words } = state;
  const at = threadAt(state, thread);
  const region = peek(words, at + THREAD.handRegion) - 1;
  if (region < 0) return;
  const before = peek(words, at + THREAD.handBefore);
  const after = isMade ? before + peek(words, at + THREAD.handCount) : before;
  store(words, cellAt(state, thread, region), after | 0);
  poke(words, at + THREAD.handRegion, 0);
}
