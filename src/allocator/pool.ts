/**
 * One pool: a segment of the table with a lock of its own. Under the lock stand the bits, the hint and the bounds of its
 * entries, and nothing else happens there: no entry is written, no IOTLB flushed.
 *
 * Search is next fit from the hint, by words, and steered by **bounds**: for each 1024 entries, an upper bound of the free
 * runs that start there (1024: unknown). A block whose bound is too small is skipped in one step, so a search of a
 * full pool of a million entries looks at a thousand bounds, not at its bits. A failed look at a whole block lowers its bound;
 * a free raises the bounds of all blocks in which a longer run may now start.
 *
 * A change of the bits is announced first, in the thread's **intent**: fields, then kind; then ledger and bits; then the intent
 * is cleared, and only then the lock given back. A thread that dies in between leaves its tag in the lock and the range in its
 * intent; recovery clears that range, for a half-made allocation (rolled back) and a half-made free (rolled forward) alike.
 * Cleared after the unlock, an intent could speak of a range that is somebody else's by then.
 */
import * as bitmap from "../shared/bitmap.ts";
import * as counters from "../shared/counters.ts";
import * as locks from "../shared/lock.ts";
import type { SharedHalves, SharedWords } from "../shared/memory.ts";
import * as memory from "../shared/memory.ts";
import { FreeError } from "../units/errors.ts";
import { type FailureCode, TABLE_FULL } from "../units/failure.ts";
import type { AreaConstraints } from "./constraints.ts";
import * as constraint from "./constraints.ts";
import type { View } from "./intent.ts";
import * as intents from "./intent.ts";
import * as layout from "./layout.ts";
import * as ledgers from "./ledger.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { countTaken, countTakenRelaxed, findRun, give, isTaken, longestRun, NOT_FOUND, take } = bitmap;
const { increment, count: tally } = counters;
const { holderOf, lock, unlock } = locks;
const { glance, hintTo, peek, peekHalf, poke, pokeHalf } = memory;
const { UNCONSTRAINED } = constraint;
const { BLOCK_ENTRIES, BLOCK_SHIFT, POOL, THREAD } = layout;
const { announce, announceDone, GIVING, NO_INTENT, TAKING } = intents;
const { forget, record } = ledgers;

/** Answer of `release`: the range is no longer what it was. */
export const CHANGED = -64;

/** The lowest place at or after `start` that alignment and boundary allow for `count` entries. */
export function allowedFrom(start: number, count: number, constraints: AreaConstraints): number {
  const { alignmentPages, boundaryPages, basePage } = constraints;
  let page = basePage + start;
  page = Math.ceil(page / alignmentPages) * alignmentPages;
  if (boundaryPages !== 0 && Math.floor(page / boundaryPages) !== Math.floor((page + count - 1) / boundaryPages)) {
    page = Math.ceil(page / boundaryPages) * boundaryPages;
    page = Math.ceil(page / alignmentPages) * alignmentPages;
  }
  return page - basePage;
}

/** May a range of `count` entries begin at `first`? */
export function isAllowed(first: number, count: number, constraints: AreaConstraints): boolean {
  return first + count <= constraints.limit && allowedFrom(first, count, constraints) === first;
}

/** A view of one pool for one thread. */
export class Pool {
  readonly first: number;
  readonly end: number;
  /** Where its lock lies, in words of the buffer: for statistics and recovery. */
  readonly lockAt: number;
  readonly #view: View;
  readonly #words: SharedWords;
  readonly #ledger: SharedHalves | undefined;
  readonly #bitmapAt: number;
  readonly #boundsAt: number;
  readonly #intentAt: number;

  constructor(view: View, at: number) {
    this.#view = view;
    this.#words = view.words;
    this.#ledger = view.ledger;
    this.#bitmapAt = view.bitmapAt;
    this.lockAt = at + POOL.lock;
    this.first = peek(view.words, at + POOL.first);
    this.end = peek(view.words, at + POOL.end);
    this.#boundsAt = peek(view.words, at + POOL.boundsAt);
    this.#intentAt = view.threadAt + THREAD.intentKind;
  }

  /** Run once, by the creator, before the buffer is shared. Bounds start as unknown. */
  static initialize(words: SharedWords, at: number, first: number, end: number, boundsAt: number): void {
    poke(words, at + POOL.first, first);
    poke(words, at + POOL.end, end);
    poke(words, at + POOL.boundsAt, boundsAt);
    poke(words, at + POOL.hint, first);
    poke(words, at + POOL.longest, end - first);
    for (let block = 0; first + block * BLOCK_ENTRIES < end; block++) poke(words, boundsAt + block, BLOCK_ENTRIES);
  }

  /** Takes the pool's lock. 0, or why not. */
  lock(): 0 | FailureCode {
    return lock(this.#words, this.lockAt, this.#view.tag);
  }

  unlock(): void {
    unlock(this.#words, this.lockAt);
  }

  /**
   * Takes `count` entries and records them as `state`. The search starts at `after` if that lies in this pool, else at the
   * hint; then it goes on from the pool's first entry. An entry, or why not.
   */
  allocate(count: number, constraints: AreaConstraints, after: number, state: number): number {
    const words = this.#words;
    const failure = lock(words, this.lockAt, this.#view.tag);
    if (failure !== 0) return failure;
    increment(words, this.lockAt + POOL.searches);
    let first = constraints === UNCONSTRAINED && after < 0 ? this.#takeAtHint(count, state) : NOT_FOUND;
    if (first === NOT_FOUND) {
      first = this.search(count, constraints, after);
      if (first !== NOT_FOUND) this.takeRange(first, count, state);
    }
    unlock(words, this.lockAt);
    return first === NOT_FOUND ? TABLE_FULL : first;
  }

  /**
   * Gives back a range that lies in this pool, if the ledger still has `slot` at its first entry. 0; or CHANGED: another
   * thread has freed it meanwhile; or why the lock could not be had. Only after 0 has anything changed.
   */
  release(first: number, count: number, slot: number): 0 | typeof CHANGED | FailureCode {
    const words = this.#words;
    const failure = lock(words, this.lockAt, this.#view.tag);
    if (failure !== 0) return failure;
    const ledger = this.#ledger;
    const changed = ledger !== undefined && peekHalf(ledger, first) !== slot;
    if (!changed) {
      const offset = first & 31;
      if (offset > 0 && offset + count < 32) this.#giveInWord(first, count, offset);
      else this.giveRange(first, count);
    }
    unlock(words, this.lockAt);
    return changed ? CHANGED : 0;
  }

  /**
   * Can a run of `count` entries be free here? A relaxed look, so that a pool known to be full costs no lock. It may be a
   * moment old: then this request misses a range that is being freed just now.
   */
  mayHold(count: number): boolean {
    return glance(this.#words, this.lockAt + POOL.longest) >= count;
  }

  /** Lock held: next fit. */
  search(count: number, constraints: AreaConstraints, after: number): number {
    const first = this.#searchFrom(count, constraints, after);
    if (first === NOT_FOUND && constraints === UNCONSTRAINED)
      hintTo(this.#words, this.lockAt + POOL.longest, count - 1);
    return first;
  }

  #searchFrom(count: number, constraints: AreaConstraints, after: number): number {
    const end = Math.min(this.end, constraints.limit);
    const hint = after >= this.first && after < this.end ? after : peek(this.#words, this.lockAt + POOL.hint);
    const from = hint < end ? hint : this.first;
    const ahead = this.#find(from, end, end, count, constraints);
    return ahead !== NOT_FOUND || from === this.first ? ahead : this.#find(this.first, from, end, count, constraints);
  }

  /**
   * Lock held: takes `count` entries right at the hint, if they are free and lie in one word; else NOT_FOUND. What next fit finds
   * most often, in one straight piece: with `#giveInWord` it takes the locked pair of alloc and free from 145 to 85 ns.
   */
  #takeAtHint(count: number, state: number): number {
    const words = this.#words;
    const hintAt = this.lockAt + POOL.hint;
    const first = peek(words, hintAt);
    const offset = first & 31;
    if (count >= 32 - offset || first + count > this.end) return NOT_FOUND;
    const at = this.#bitmapAt + (first >>> 5);
    const word = peek(words, at);
    const mask = ((1 << count) - 1) << offset;
    if ((word & mask) !== 0) return NOT_FOUND;
    const intentAt = this.#intentAt;
    poke(words, intentAt + 1, first);
    poke(words, intentAt + 2, count);
    poke(words, intentAt, TAKING);
    if (this.#ledger !== undefined) record(this.#ledger, first, count, state, this.#view.thread);
    poke(words, at, word | mask);
    poke(words, intentAt, NO_INTENT);
    poke(words, hintAt, first + count);
    return first;
  }

  /** Lock held: gives back a range that lies inside one word, and so do its neighbours. As `giveRange`, in one straight piece. */
  #giveInWord(first: number, count: number, offset: number): void {
    const words = this.#words;
    const ledger = this.#ledger;
    if (ledger === undefined) this.#checkTaken(first, count);
    const intentAt = this.#intentAt;
    poke(words, intentAt + 1, first);
    poke(words, intentAt + 2, count);
    poke(words, intentAt, GIVING);
    if (ledger !== undefined) pokeHalf(ledger, first, 0);
    const at = this.#bitmapAt + (first >>> 5);
    const word = peek(words, at);
    const mask = ((1 << count) - 1) << offset;
    poke(words, at, word & ~mask);
    const neighbours = (word >>> (offset - 1)) & ((1 << (count + 2)) - 1);
    if (neighbours === (1 << (count + 2)) - 1) this.#raise(first, first + count, count, count);
    else this.#raiseBounds(first, first + count);
    poke(words, intentAt, NO_INTENT);
  }

  /** Lock held: takes a free range, records it, and moves the hint behind it. */
  takeRange(first: number, count: number, state: number): void {
    announce(this.#view, TAKING, first, count);
    if (this.#ledger !== undefined) record(this.#ledger, first, count, state, this.#view.thread);
    take(this.#words, this.#bitmapAt, first, first + count);
    announceDone(this.#view);
    poke(this.#words, this.lockAt + POOL.hint, first + count);
  }

  /** Lock held: gives a range back. */
  giveRange(first: number, count: number): void {
    if (this.#ledger === undefined) this.#checkTaken(first, count);
    announce(this.#view, GIVING, first, count);
    if (this.#ledger !== undefined) forget(this.#ledger, first, count);
    give(this.#words, this.#bitmapAt, first, first + count);
    this.#raiseBounds(first, first + count);
    announceDone(this.#view);
  }

  /** Lock held, no ledger: the bits are all there is to tell a wrong free by. */
  #checkTaken(first: number, count: number): void {
    const taken = countTaken(this.#words, this.#bitmapAt, first, first + count);
    if (taken === count) return;
    this.unlock();
    throw new FreeError(
      "not-allocated",
      `free of [${first}, ${first + count}): ${taken} of ${count} entries are allocated`,
    );
  }

  /** Lock held: sets the bits of the part of [first, end) that lies in this pool. */
  markTaken(first: number, end: number): void {
    const from = Math.max(first, this.first);
    const to = Math.min(end, this.end);
    take(this.#words, this.#bitmapAt, from, to);
  }

  /** Lock held: clears the bits of the part of [first, end) that lies in this pool, and raises its bounds. */
  markFree(first: number, end: number): void {
    const from = Math.max(first, this.first);
    const to = Math.min(end, this.end);
    give(this.#words, this.#bitmapAt, from, to);
    this.#raiseBounds(from, to);
  }

  /** Lock held: are all entries of [first, end) that lie in this pool free? */
  isFree(first: number, end: number): boolean {
    const from = Math.max(first, this.first);
    return countTaken(this.#words, this.#bitmapAt, from, Math.min(end, this.end)) === 0;
  }

  /** Lock held by a dead thread, whose half-made change this undoes or ends: the bits of [first, end) in this pool. */
  clearBits(first: number, end: number): void {
    const from = Math.max(first, this.first);
    const to = Math.min(end, this.end);
    if (from < to) give(this.#words, this.#bitmapAt, from, to);
  }

  /** Lock held by a dead thread: makes what the bits do not say agree with them. */
  rebuild(): void {
    for (let block = 0; this.first + block * BLOCK_ENTRIES < this.end; block++) {
      poke(this.#words, this.#boundsAt + block, BLOCK_ENTRIES);
    }
    hintTo(this.#words, this.lockAt + POOL.longest, this.end - this.first);
    const hint = peek(this.#words, this.lockAt + POOL.hint);
    if (hint < this.first || hint > this.end) poke(this.#words, this.lockAt + POOL.hint, this.first);
  }

  /** Tag of the thread that holds the lock, or 0. */
  holder(): number {
    return holderOf(this.#words, this.lockAt);
  }

  /** Entries taken, cached ones included. Without the lock: may be a little old. Reads every word. */
  taken(): number {
    return countTakenRelaxed(this.#words, this.#bitmapAt, this.first, this.end);
  }

  /** The longest free run, in entries. Without the lock: may be a little old. Reads every word. */
  longestFreeRun(): number {
    return longestRun(this.#words, this.#bitmapAt, this.first, this.end);
  }

  /** The lowest allowed start in [from, startEnd) of a free run that ends at or before `end`. */
  #find(from: number, startEnd: number, end: number, count: number, constraints: AreaConstraints): number {
    if (constraints === UNCONSTRAINED) return this.#findAny(from, startEnd, end, count);
    for (let start = from; ; ) {
      const found = this.#findAny(start, startEnd, end, count);
      if (found === NOT_FOUND) return NOT_FOUND;
      start = allowedFrom(found, count, constraints);
      if (start === found) return found;
    }
  }

  #findAny(from: number, startEnd: number, end: number, count: number): number {
    const last = Math.min(startEnd, end - count + 1); // one past the last start
    const needed = Math.min(count, BLOCK_ENTRIES);
    let steps = 0;
    let found: number = NOT_FOUND;
    for (let at = from; at < last && found === NOT_FOUND; ) {
      const block = (at - this.first) >>> BLOCK_SHIFT;
      const blockFirst = this.first + (block << BLOCK_SHIFT);
      const blockEnd = blockFirst + BLOCK_ENTRIES;
      const stop = blockEnd < last ? blockEnd : last;
      steps++;
      if (peek(this.#words, this.#boundsAt + block) >= needed) {
        found = findRun(this.#words, this.#bitmapAt, at, stop, count);
        steps += ((found === NOT_FOUND ? stop : found) - at) >>> 5;
        // The whole block was seen (what lies beyond `last` can't hold the run before the pool ends): remember that.
        const whole = at === blockFirst && (stop === blockEnd || stop === this.end - count + 1);
        if (found === NOT_FOUND && whole && count <= BLOCK_ENTRIES)
          poke(this.#words, this.#boundsAt + block, count - 1);
      }
      at = stop;
    }
    tally(this.#words, this.lockAt + POOL.searchSteps, steps);
    return found;
  }

  /**
   * [from, to) has become free. A run that gained by it starts in the range, or before it if the entry before is free; and no
   * bound speaks of more than 1024 entries, so no block further back than that has to be raised.
   */
  #raiseBounds(from: number, to: number): void {
    const joinsLeft = from > this.first && !isTaken(this.#words, this.#bitmapAt, from - 1);
    const joinsRight = to < this.end && !isTaken(this.#words, this.#bitmapAt, to);
    if (joinsLeft || joinsRight) {
      const lowest = joinsLeft ? Math.max(this.first, from - BLOCK_ENTRIES + 1) : from;
      this.#raise(lowest, to, BLOCK_ENTRIES, this.end - this.first);
    } else this.#raise(from, to, Math.min(to - from, BLOCK_ENTRIES), to - from);
  }

  /** Raises the bounds of the blocks in [from, to), and the pool's longest run. */
  #raise(from: number, to: number, bound: number, longest: number): void {
    const lastBlockAt = this.#boundsAt + ((to - 1 - this.first) >>> BLOCK_SHIFT);
    for (let at = this.#boundsAt + ((from - this.first) >>> BLOCK_SHIFT); at <= lastBlockAt; at++) {
      if (peek(this.#words, at) < bound) poke(this.#words, at, bound);
    }
    const longestAt = this.lockAt + POOL.longest;
    if (peek(this.#words, longestAt) < longest) hintTo(this.#words, longestAt, longest);
  }
}
