/**
 * The IOTLB: translations that the machine's walk has found, kept until they are invalidated or evicted, whatever happens to
 * the entries in memory. That is the point of it: a forgotten invalidation does harm here as it does on hardware.
 *
 * Set-associative, shared by all threads, without locks. A way is taken for writing by compareExchange of its version, whose
 * low bits then name the writer; a reader that finds a writer, or another version afterwards, takes it for a miss. All its
 * words are read and written atomically, so that no CPU joins parts of two translations.
 *
 * Invalidation takes the tag away (compareExchange tag → 0) and touches nothing else. It needs no version:
 * - A reader that matched the tag before is a DMA in flight: the caller waits for those afterwards (registers.ts).
 * - A writer of the same way writes a translation that it walked after the entry was emptied: the caller has waited for
 *   earlier walks before. So nothing stale can follow, and whichever tag wins is right.
 *
 * A thread killed while it writes a way leaves the writer's mark: the way matches nothing, is not filled, and serves again
 * after `releaseWaysOf`.
 */

import type { SharedWords } from "../../shared/memory.ts";
import * as memory from "../../shared/memory.ts";
import type { Layout } from "./layout.ts";
import * as layouts from "./layout.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { add, compareExchange, glance, load, store } = memory;
const { CLOCKS, WAY } = layouts;

/** Which way of a full set a new translation replaces. */
export type Replacement = "round-robin" | "random" | "least-recently-used";
/** By their numbers in the header. */
export const REPLACEMENTS: readonly Replacement[] = ["round-robin", "random", "least-recently-used"];
const RANDOM = 1;
const LEAST_RECENTLY_USED = 2;

/** What an entry, or a way of the IOTLB, says. */
export interface Translation {
  /** Physical page. */
  page: number;
  /** 0: nothing is permitted. Beside the access: STREAMED. */
  access: number;
  /** With STREAMED, the context in the streaming cache: 12 bits, 0 for none. Else it says nothing. */
  context?: number;
}

/** Beside a translation's access: what the device moves goes through the streaming cache, where there is one. */
export const STREAMED = 4;

const WRITER_BITS = 11;
const WRITER_MASK = (1 << WRITER_BITS) - 1;

const PAGE_HIGH_MASK = (1 << 20) - 1;
const ACCESS_SHIFT = 24;
const ANY_WINDOW = -1;
const LAST_TAG = 2 ** 31 - 1;
/** Odd, and larger than most IOTLBs have sets for: neighbouring windows begin in different sets. */
const WINDOW_STEP = 0x9e3779b1 | 0;

/** One thread's view. Holds no state of its own. */
export class Iotlb {
  readonly #state: SharedWords;
  readonly #waysAt: number;
  readonly #cursorsAt: number;
  readonly #sets: number;
  readonly #ways: number;
  readonly #replacement: number;
  /** Ways in all. */
  readonly #capacity: number;
  readonly #writer: number;

  constructor(state: SharedWords, layout: Layout, thread: number) {
    this.#state = state;
    this.#waysAt = layout.waysAt;
    this.#cursorsAt = layout.cursorsAt;
    this.#sets = layout.iotlbSets;
    this.#ways = layout.iotlbWays;
    this.#replacement = layout.replacement;
    this.#capacity = layout.iotlbSets * layout.iotlbWays;
    this.#writer = thread + 1;
  }

  /** True when the IOTLB knows the entry of the window with this number: then `into` is its translation. Only between begin and end of a DMA. */
  lookup(window: number, entry: number, into: Translation): boolean {
    if (this.#capacity === 0) return false;
    const state = this.#state;
    const set = this.#setAt(window, entry);
    for (let way = set; way < set + this.#ways * WAY.words; way += WAY.words) {
      const version = load(state, way + WAY.version);
      if (load(state, way + WAY.tag) !== entry + 1 || (version & WRITER_MASK) !== 0) continue;
      if (load(state, way + WAY.window) !== window) continue;
      const low = load(state, way + WAY.pageLow);
      const high = load(state, way + WAY.pageHighAndAccess);
      const access = high >>> ACCESS_SHIFT;
      if ((access & STREAMED) !== 0) into.context = load(state, way + WAY.context);
      if (load(state, way + WAY.version) !== version) continue;
      into.page = (high & PAGE_HIGH_MASK) * 2 ** 32 + (low >>> 0);
      into.access = access;
      if (this.#replacement === LEAST_RECENTLY_USED) this.#stampUse(way);
      return true;
    }
    return false;
  }

  /**
   * Keeps a translation that a walk has found, in place of another if need be. False: others are writing all ways of the
   * set, it is not kept. Only between begin and end of the DMA that walked.
   */
  fill(window: number, entry: number, translation: Translation): boolean {
    if (this.#capacity === 0) return false;
    const set = this.#setAt(window, entry);
    const first = this.#victim(window, entry, set);
    for (let i = 0; i < this.#ways; i++) {
      if (this.#write(set + ((first + i) % this.#ways) * WAY.words, window, entry, translation)) return true;
    }
    return false;
  }

  /**
   * Forgets the entries [first, end) of a window. Plain looks at the tags: fills that matter have passed before (see above), and
   * one that goes on meanwhile holds a translation that is still right.
   */
  forget(window: number, first: number, end: number): void {
    if (end - first >= this.#sets) {
      this.#forgetWays(this.#waysAt, this.#capacity, window, first, end);
      return;
    }
    for (let entry = first; entry < end; entry++) {
      this.#forgetWays(this.#setAt(window, entry), this.#ways, window, entry, entry + 1);
    }
  }

  /** Forgets a whole window. */
  forgetWindow(window: number): void {
    this.#forgetWays(this.#waysAt, this.#capacity, window, 0, LAST_TAG);
  }

  /** Forgets all. */
  forgetAll(): void {
    this.#forgetWays(this.#waysAt, this.#capacity, ANY_WINDOW, 0, LAST_TAG);
  }

  /** Gives back the ways that a killed thread was writing, as empty ones. The caller knows that it no longer runs. */
  releaseWaysOf(thread: number): void {
    const end = this.#waysAt + this.#capacity * WAY.words;
    for (let way = this.#waysAt; way < end; way += WAY.words) {
      const version = load(this.#state, way + WAY.version);
      if ((version & WRITER_MASK) !== thread + 1) continue;
      store(this.#state, way + WAY.tag, 0);
      store(this.#state, way + WAY.version, nextVersion(version));
    }
  }

  /** Entries that it knows now, in no order: for tests and displays. */
  knownEntries(): number[] {
    const entries: number[] = [];
    for (let way = 0; way < this.#capacity; way++) {
      const tag = load(this.#state, this.#waysAt + way * WAY.words + WAY.tag);
      if (tag !== 0) entries.push(tag - 1);
    }
    return entries;
  }

  #setAt(window: number, entry: number): number {
    // The number of sets is a power of two. The same entry of several windows falls into several sets.
    return this.#waysAt + ((entry + Math.imul(window, WINDOW_STEP)) & (this.#sets - 1)) * this.#ways * WAY.words;
  }

  /**
   * A way that changes hands between the two looks is being filled anew: its old translation is gone, the new one is right. If
   * the compareExchange then takes that one's tag, since it is of an entry with the same number, it is only walked again.
   */
  #forgetWays(way: number, ways: number, window: number, first: number, end: number): void {
    const state = this.#state;
    const limit = way + ways * WAY.words;
    for (let at = way; at < limit; at += WAY.words) {
      const tag = glance(state, at + WAY.tag);
      if (tag <= first || tag > end) continue;
      if (window === ANY_WINDOW || glance(state, at + WAY.window) === window) {
        compareExchange(state, at + WAY.tag, tag, 0);
      }
    }
  }

  /** Writes a translation into a way, unless somebody else is writing it. */
  #write(way: number, window: number, entry: number, translation: Translation): boolean {
    const state = this.#state;
    const version = load(state, way + WAY.version);
    if ((version & WRITER_MASK) !== 0) return false;
    if (compareExchange(state, way + WAY.version, version, version | this.#writer) !== version) return false;
    const high = Math.floor(translation.page / 2 ** 32) | (translation.access << ACCESS_SHIFT);
    // The old tag goes first, the new one comes last: the way never shows a tag with another's page.
    store(state, way + WAY.tag, 0);
    store(state, way + WAY.window, window);
    store(state, way + WAY.pageLow, translation.page | 0);
    store(state, way + WAY.pageHighAndAccess, high);
    if ((translation.access & STREAMED) !== 0) store(state, way + WAY.context, translation.context ?? 0);
    store(state, way + WAY.tag, entry + 1);
    store(state, way + WAY.version, nextVersion(version));
    if (this.#replacement === LEAST_RECENTLY_USED) this.#stampUse(way);
    return true;
  }

  /** Where in its set a new translation should go: to the same entry, an empty way, or by the replacement. */
  #victim(window: number, entry: number, set: number): number {
    let empty = -1;
    for (let way = 0; way < this.#ways; way++) {
      const tag = load(this.#state, set + way * WAY.words + WAY.tag);
      if (tag === entry + 1 && load(this.#state, set + way * WAY.words + WAY.window) === window) return way;
      if (tag === 0 && empty < 0) empty = way;
    }
    if (empty >= 0) return empty;
    if (this.#replacement === RANDOM) return this.#random() % this.#ways;
    if (this.#replacement === LEAST_RECENTLY_USED) return this.#leastRecentlyUsed(set);
    const index = (set - this.#waysAt) / (this.#ways * WAY.words);
    return (add(this.#state, this.#cursorsAt + index, 1) >>> 0) % this.#ways;
  }

  #leastRecentlyUsed(set: number): number {
    let oldest = 0;
    let oldestUse = load(this.#state, set + WAY.used);
    for (let way = 1; way < this.#ways; way++) {
      const used = load(this.#state, set + way * WAY.words + WAY.used);
      // The clock wraps: compare by difference.
      if (((used - oldestUse) | 0) < 0) {
        oldest = way;
        oldestUse = used;
      }
    }
    return oldest;
  }

  #stampUse(way: number): void {
    store(this.#state, way + WAY.used, add(this.#state, CLOCKS.use, 1) + 1);
  }

  /** A step of a Weyl sequence, mixed: 0 .. 2^32 − 1. */
  #random(): number {
    const state = add(this.#state, CLOCKS.random, 0x9e3779b9 | 0);
    let mixed = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return (mixed ^ (mixed >>> 16)) >>> 0;
  }
}

/** The version after a write, with nobody writing. */
function nextVersion(version: number): number {
  return ((version & ~WRITER_MASK) + (1 << WRITER_BITS)) | 0;
}
