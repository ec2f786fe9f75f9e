/**
 * The IOTLB: translations from the machine's walks, kept until they are invalidated or evicted, even if the entries in memory change. So a
 * missing invalidation has the same effects as on hardware.
 *
 * It is set-associative, shared by all threads, and lock-free. A writer takes a way by compareExchange of its version, whose low bits then
 * hold the writer's number. A reader that finds a writer, or another version afterwards, treats it as a miss. All words are accessed
 * atomically, so that no CPU combines parts of two translations.
 *
 * Invalidation clears the tag (compareExchange tag → 0) and nothing else. It needs no version:
 * - A reader that matched the tag before is a DMA in flight: the caller waits for those afterwards (translation.ts).
 * - A writer of the same way writes a translation that it walked after the entry was emptied: the caller has waited for earlier walks. So
 *   no stale translation can follow, and either tag is correct.
 *
 * A thread that is killed while it writes a way leaves its number in the version: the way matches nothing and is not filled until
 * `releaseWaysOf`.
 */

import { add, compareExchange, glance, load, type SharedWords, store } from "../../shared/memory.ts";
import { CLOCKS, type Layout, WAY } from "./layout.ts";

/** The policy by which a new translation replaces a way of a full set. */
export type Replacement = "round-robin" | "random" | "least-recently-used";
/** The policies by their number in the header. */
export const REPLACEMENTS: readonly Replacement[] = ["round-robin", "random", "least-recently-used"];
const RANDOM = 1;
const LEAST_RECENTLY_USED = 2;

/** The content of an entry, or of a way of the IOTLB. */
export interface Translation {
  /** Physical page. */
  page: number;
  /** The access; 0: nothing is permitted. May include STREAMED. */
  access: number;
  /** With STREAMED, the context in the streaming cache: 12 bits, 0 for none. Else undefined. */
  context?: number;
}

/** Bit of `access`: the device's accesses go through the streaming cache, if there is one. */
export const STREAMED = 4;

const WRITER_BITS = 11;
const WRITER_MASK = (1 << WRITER_BITS) - 1;

const PAGE_HIGH_MASK = (1 << 20) - 1;
const ACCESS_SHIFT = 24;
const ANY_WINDOW = -1;
const LAST_TAG = 2 ** 31 - 1;
/** An odd hash factor: adjacent windows begin in different sets. */
const WINDOW_STEP = 0x9e3779b1 | 0;

/** One thread's view. Stateless. */
export class Iotlb {
  readonly #state: SharedWords;
  readonly #waysAt: number;
  readonly #cursorsAt: number;
  readonly #sets: number;
  readonly #ways: number;
  readonly #replacement: number;
  /** Total number of ways. */
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

  /** Looks the entry of this window up. True: `into` is its translation. Only between `begin` and `end` of a DMA. */
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
   * Stores a translation of a walk, and evicts another if necessary. False: it was not stored, because other threads are writing all ways
   * of the set. Only between `begin` and `end` of the DMA that walked.
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
   * Invalidates the entries [first, end) of a window. Relaxed reads of the tags suffice: earlier fills have completed before (see above),
   * and a concurrent fill has a valid translation.
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

  /** Invalidates a whole window. */
  forgetWindow(window: number): void {
    this.#forgetWays(this.#waysAt, this.#capacity, window, 0, LAST_TAG);
  }

  /** Invalidates all translations. */
  forgetAll(): void {
    this.#forgetWays(this.#waysAt, this.#capacity, ANY_WINDOW, 0, LAST_TAG);
  }

  /** Empties the ways that a killed thread was writing. The caller knows that the thread no longer runs. */
  releaseWaysOf(thread: number): void {
    const end = this.#waysAt + this.#capacity * WAY.words;
    for (let way = this.#waysAt; way < end; way += WAY.words) {
      const version = load(this.#state, way + WAY.version);
      if ((version & WRITER_MASK) !== thread + 1) continue;
      store(this.#state, way + WAY.tag, 0);
      store(this.#state, way + WAY.version, nextVersion(version));
    }
  }

  /** The entries that it currently contains, in no order. For tests and displays. */
  knownEntries(): number[] {
    const entries: number[] = [];
    for (let way = 0; way < this.#capacity; way++) {
      const tag = load(this.#state, this.#waysAt + way * WAY.words + WAY.tag);
      if (tag !== 0) entries.push(tag - 1);
    }
    return entries;
  }

  #setAt(window: number, entry: number): number {
    // The number of sets is a power of two. The same entry of different windows maps to different sets.
    return this.#waysAt + ((entry + Math.imul(window, WINDOW_STEP)) & (this.#sets - 1)) * this.#ways * WAY.words;
  }

  /**
   * If a way is refilled between the two reads, its old translation is gone and the new one is valid. If the compareExchange then clears
   * the new tag, because the entry has the same number, the entry is only walked again.
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

  /** Writes a translation into a way, unless another thread is writing it. */
  #write(way: number, window: number, entry: number, translation: Translation): boolean {
    const state = this.#state;
    const version = load(state, way + WAY.version);
    if ((version & WRITER_MASK) !== 0) return false;
    if (compareExchange(state, way + WAY.version, version, version | this.#writer) !== version) return false;
    const high = Math.floor(translation.page / 2 ** 32) | (translation.access << ACCESS_SHIFT);
    // The old tag is cleared first and the new one stored last, so the way never has a tag with the page of another entry.
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

  /** The way for a new translation: that of the same entry, an empty one, or one chosen by the replacement policy. */
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

  /** A hashed step of a Weyl sequence: 0 .. 2^32 − 1. */
  #random(): number {
    const state = add(this.#state, CLOCKS.random, 0x9e3779b9 | 0);
    let mixed = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return (mixed ^ (mixed >>> 16)) >>> 0;
  }
}

/** The version after a write, without a writer. */
function nextVersion(version: number): number {
  return ((version & ~WRITER_MASK) + (1 << WRITER_BITS)) | 0;
}
