/**
 * One pool: a segment of the table with a lock of its own. Under the lock stand the bits, the hint and the bounds of its
 * entries, and the beginnings and ends of ranges in the ledger; nothing else happens there: no entry is written, no IOTLB flushed.
 *
 * Search is next fit from the hint: in the hint's word first, where it nearly always ends, then by bounds (bounds.ts).
 *
 * A thread that dies with the lock held may leave bits that disagree with the ledger. The ledger is right: recovery makes the bits anew
 * from it (`rebuild`). So an allocation or a free that has changed the ledger is completed, and one that has not is undone.
 */
import { clearBits, countTaken, countTakenRelaxed, NOT_FOUND, setBits } from "../shared/bitmap.ts";
import { increment } from "../shared/counters.ts";
import { holderOf, lock, unlock } from "../shared/lock.ts";
import {
  compareExchange,
  glance,
  glanceHalf,
  NO_HALVES,
  NO_WORDS,
  peek,
  peekHalf,
  poke,
  pokeHalf,
  type SharedHalves,
  type SharedWords,
} from "../shared/memory.ts";
import { type FailureCode, TABLE_FULL } from "../units/failure.ts";
import { Bounds } from "./bounds.ts";
import { type AreaConstraints, UNCONSTRAINED } from "./constraints.ts";
import type { Front } from "./front.ts";
import { POOL } from "./layout.ts";
import {
  beginRange,
  beginsRange,
  claim,
  endRange,
  endRanges,
  LONGEST_PLAIN,
  lengthOf,
  slotSeen,
  stateIn,
} from "./ledger.ts";
import type { View } from "./view.ts";

/** Answer of `returnToPool`: the range is no longer in the expected state. */
export const CHANGED = -64;

/** A view of one pool for one thread. */
export class Pool implements Front {
  readonly first: number = 0;
  readonly end: number = 0;
  /** Where its lock lies, in words of the buffer: for statistics and recovery. */
  readonly lockAt: number = 0;
  readonly bounds: Bounds;
  readonly #words: SharedWords = NO_WORDS;
  readonly #ledger: SharedHalves = NO_HALVES;
  readonly #bitmapAt: number = 0;
  readonly #thread: number = 0;
  readonly #tag: number = 0;
  readonly #longestAtOnce: number = 0;

  /** `longestAtOnce`: requests of more entries go elsewhere first. */
  constructor(view: View, at: number, longestAtOnce: number = LONGEST_PLAIN) {
    this.#words = view.words;
    this.#ledger = view.ledger;
    this.#bitmapAt = view.bitmapAt;
    this.#thread = view.thread;
    this.#tag = view.tag;
    this.#longestAtOnce = Math.min(longestAtOnce, LONGEST_PLAIN);
    this.lockAt = at + POOL.lock;
    this.first = peek(view.words, at + POOL.first);
    this.end = peek(view.words, at + POOL.end);
    this.bounds = new Bounds(view.words, view.bitmapAt, at);
  }

  /** Run once, by the creator, before the buffer is shared. Bounds start as unknown. */
  static initialize(words: SharedWords, at: number, first: number, end: number, boundsAt: number): void {
    poke(words, at + POOL.first, first);
    poke(words, at + POOL.end, end);
    poke(words, at + POOL.boundsAt, boundsAt);
    poke(words, at + POOL.hint, first);
    new Bounds(words, 0, at).reset();
  }

  /** Takes the pool's lock, and waits for at most `patienceMs` milliseconds while another thread holds it. Returns 0, or a failure code. */
  lock(patienceMs?: number): 0 | FailureCode {
    return lock(this.#words, this.lockAt, this.#tag, patienceMs);
  }

  unlock(): void {
    unlock(this.#words, this.lockAt);
  }

  /**
   * See Front. When the lock is free now: the first short run in the hint's word, where next fit nearly always ends; else the next one. A run
   * that crosses the word's end starts later than any run inside the word, so both are what next fit finds.
   */
  allocateAtOnce(count: number, slot: number): number {
    if (typeof count !== "number" || (count - 1) >>> 0 >= this.#longestAtOnce || (count | 0) !== count)
      return NOT_FOUND;
    const words = this.#words;
    const lockAt = this.lockAt;
    if (glance(words, lockAt + POOL.longest) < count || compareExchange(words, lockAt, 0, this.#tag) !== 0)
      return NOT_FOUND;
    increment(words, lockAt + POOL.allocationsAtOnce);
    const hint = peek(words, lockAt + POOL.hint);
    const at = this.#bitmapAt + (hint >>> 5);
    const taken = peek(words, at);
    let starts = ~taken & (-1 << (hint & 31));
    for (let length = 1; length < count; length += length) starts &= starts >>> Math.min(length, count - length);
    const offset = 31 - Math.clz32(starts & -starts);
    let first = (hint & ~31) + offset;
    const end = first + count;
    if (starts === 0 || end > this.end) first = this.#searchAndTake(hint, count, UNCONSTRAINED, stateIn(slot));
    else {
      pokeHalf(this.#ledger, first, slot | count);
      poke(words, at, taken | (((1 << count) - 1) << offset));
      poke(words, lockAt + POOL.hint, end === this.end ? this.first : end);
    }
    unlock(words, lockAt);
    return first;
  }

  /** See Front. When the lock is free now: a short range in one word of this pool. */
  freeAtOnce(first: number, count: number, slot: number): boolean {
    if (typeof first !== "number" || first < this.first || first >= this.end) return false;
    if (typeof count !== "number" || (count - 1) >>> 0 >= LONGEST_PLAIN || (count | 0) !== count) return false;
    const offset = first & 31;
    if (offset + count > 32) return false;
    const words = this.#words;
    const ledger = this.#ledger;
    const lockAt = this.lockAt;
    if (glanceHalf(ledger, first) !== (slot | count) || compareExchange(words, lockAt, 0, this.#tag) !== 0)
      return false;
    increment(words, lockAt + POOL.freesAtOnce);
    const isThere = peekHalf(ledger, first) === (slot | count);
    if (isThere) {
      pokeHalf(ledger, first, 0);
      const at = this.#bitmapAt + (first >>> 5);
      poke(words, at, peek(words, at) & ~(((1 << count) - 1) << offset));
      if (peek(words, lockAt + POOL.lowered) !== 0) this.bounds.raise(first, first + count);
    }
    unlock(words, lockAt);
    return isThere;
  }

  /**
   * Takes `count` entries and records them as `state`. The search starts at `after` if that lies in this pool, else at the
   * hint; then it goes on from the pool's first entry. Returns the first entry, or a failure code. `patienceMs`: how long to wait for the
   * lock.
   */
  allocate(count: number, constraints: AreaConstraints, after: number, state: number, patienceMs?: number): number {
    const words = this.#words;
    const failure = lock(words, this.lockAt, this.#tag, patienceMs);
    if (failure !== 0) return failure;
    increment(words, this.lockAt + POOL.searches);
    const from = after >= this.first && after < this.end ? after : peek(words, this.lockAt + POOL.hint);
    const first = this.#searchAndTake(from, count, constraints, state);
    unlock(words, this.lockAt);
    return first === NOT_FOUND ? TABLE_FULL : first;
  }

  /** Lock held: takes the next free range, records it, and moves the hint behind it. */
  #searchAndTake(from: number, count: number, constraints: AreaConstraints, state: number): number {
    const first = this.bounds.find(from, count, constraints);
    if (first === NOT_FOUND) return NOT_FOUND;
    const end = first + count;
    beginRange(this.#ledger, first, count, state, this.#thread);
    setBits(this.#words, this.#bitmapAt, first, end);
    poke(this.#words, this.lockAt + POOL.hint, end === this.end ? this.first : end);
    return first;
  }

  /**
   * Returns a range of this pool to it, if the ledger still has `slot` at its first entry. The answer is 0; CHANGED when another thread has
   * freed the range meanwhile; or the failure code of the lock. The pool changes only when the answer is 0.
   */
  returnToPool(first: number, count: number, slot: number): 0 | typeof CHANGED | FailureCode {
    const words = this.#words;
    const failure = lock(words, this.lockAt, this.#tag);
    if (failure !== 0) return failure;
    const isClaimed = claim(this.#ledger, first, slot, this.#thread);
    if (isClaimed) this.endRange(first, count);
    unlock(words, this.lockAt);
    return isClaimed ? 0 : CHANGED;
  }

  /** Lock held: ends a range that lies in this pool. */
  endRange(first: number, count: number): void {
    endRange(this.#ledger, first, count);
    clearBits(this.#words, this.#bitmapAt, first, first + count);
    if (peek(this.#words, this.lockAt + POOL.lowered) !== 0) this.bounds.raise(first, first + count);
  }

  /** Lock held: ends all ranges in [first, end), which are adjacent and lie in this pool. */
  endRanges(first: number, end: number): void {
    endRanges(this.#ledger, first, end);
    clearBits(this.#words, this.#bitmapAt, first, end);
    if (peek(this.#words, this.lockAt + POOL.lowered) !== 0) this.bounds.raise(first, end);
  }

  /** Lock held: sets the bits of the part of [first, end) that lies in this pool. */
  setBits(first: number, end: number): void {
    setBits(this.#words, this.#bitmapAt, Math.max(first, this.first), Math.min(end, this.end));
    if (first < this.first) this.#setOverhang(end);
  }

  /** Lock held: clears the bits of the part of [first, end) that lies in this pool, and raises its bounds. */
  clearBits(first: number, end: number): void {
    const from = Math.max(first, this.first);
    const to = Math.min(end, this.end);
    clearBits(this.#words, this.#bitmapAt, from, to);
    if (first < this.first) this.#setOverhang(this.first);
    this.bounds.raise(from, to);
  }

  /** Entries before `end` belong to a range that begins in an earlier pool. */
  #setOverhang(end: number): void {
    poke(this.#words, this.lockAt + POOL.overhang, Math.min(end, this.end) - this.first);
  }

  /** Lock held: are all entries of [first, end) that lie in this pool free? */
  isFree(first: number, end: number): boolean {
    const from = Math.max(first, this.first);
    return countTaken(this.#words, this.#bitmapAt, from, Math.min(end, this.end)) === 0;
  }

  /**
   * Lock held by a dead thread: makes the bits, and the bounds that depend on them, anew from the ledger. `reach`: where the last range of
   * the pool before this one ends, if that pool has been rebuilt too. Returns where this pool's last range ends. Bits that were right do
   * not change on the way: other threads look at them without the lock.
   */
  rebuild(reach: number | undefined): number {
    const words = this.#words;
    let takenEnd = reach ?? this.first + peek(words, this.lockAt + POOL.overhang);
    this.#setOverhang(Math.max(takenEnd, this.first));
    for (let entry = this.first; entry < this.end; ) {
      let bits = 0;
      const at = this.#bitmapAt + (entry >>> 5);
      for (const next = Math.min(this.end, (entry | 31) + 1); entry < next; entry++) {
        if (entry >= takenEnd) takenEnd = this.#endOfRangeAt(entry);
        if (entry < takenEnd) bits |= 1 << (entry & 31);
      }
      if (peek(words, at) !== bits) poke(words, at, bits);
    }
    this.bounds.reset();
    const hint = peek(words, this.lockAt + POOL.hint);
    if (hint < this.first || hint >= this.end) poke(words, this.lockAt + POOL.hint, this.first);
    return takenEnd;
  }

  /**
   * Where the range that begins at `entry` ends; `entry` if no range begins there. In that case the slot may still hold a part of the
   * length of a range that has ended.
   */
  #endOfRangeAt(entry: number): number {
    // Its owner may change the state meanwhile, but not the length.
    const slot = slotSeen(this.#ledger, entry);
    if (beginsRange(slot)) return entry + lengthOf(this.#ledger, entry, slot);
    if (slot !== 0) pokeHalf(this.#ledger, entry, 0);
    return entry;
  }

  /** Tag of the thread that holds the lock, or 0. */
  holder(): number {
    return holderOf(this.#words, this.lockAt);
  }

  /** Entries taken, cached ones included. Takes no lock, so the number may be stale. Reads every word. */
  taken(): number {
    return countTakenRelaxed(this.#words, this.#bitmapAt, this.first, this.end);
  }
}
