/**
 * One pool: a segment of the table with a lock of its own. Under the lock stand the bits, the hint and the bounds of its
 * entries, and nothing else happens there: no entry is written, no IOTLB flushed.
 *
 * Search is next fit from the hint, by words, and steered by **bounds**: for each block of 1024 entries, an upper bound of the
 * free runs that start there (1024: unknown), and the same for each group of 32 blocks. What has too small a bound is skipped
 * in one step, so a search of a full pool of a million entries looks at 32 bounds, not at its bits. A look in vain at a whole
 * block or group lowers its bound; a free raises the bounds of all in which a longer run may now start.
 *
 * A change of the bits is announced first, in the thread's intent (intent.ts): fields, then kind; then ledger and bits; then the
 * intent is cleared, and only then the lock given back.
 */
import * as bitmap from "../shared/bitmap.ts";
import * as counters from "../shared/counters.ts";
import * as locks from "../shared/lock.ts";
import type { SharedHalves, SharedWords } from "../shared/memory.ts";
import * as memory from "../shared/memory.ts";
import { type FailureCode, TABLE_FULL } from "../units/failure.ts";
import type { AreaConstraints } from "./constraints.ts";
import * as constraint from "./constraints.ts";
import type { View } from "./intent.ts";
import * as intents from "./intent.ts";
import * as layout from "./layout.ts";
import * as ledgers from "./ledger.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { clearBefore, clearFrom, countTaken, countTakenRelaxed, findRun, give, NOT_FOUND, take } = bitmap;
const { increment, count: tally } = counters;
const { holderOf, lock, unlock } = locks;
const { glance, hintTo, peek, poke, pokeHalf } = memory;
const { UNCONSTRAINED } = constraint;
const { BLOCK_ENTRIES, BLOCK_SHIFT, blocksOf, boundWords, GROUP_SHIFT, POOL, THREAD } = layout;
const { announce, announceDone, GIVING, NO_INTENT, TAKING } = intents;
const { claim, forget, record } = ledgers;

/** Answer of `release`: the range is no longer what it was. */
export const CHANGED = -64;

/**
 * The lowest place at or after `start` that alignment and boundary allow for `count` entries. `count` is no more than the boundary:
 * a longer range has no such place, which `isAllowed` and `PoolSet.allocate` tell before.
 */
export function allowedFrom(start: number, count: number, constraints: AreaConstraints): number {
  if (constraints === UNCONSTRAINED) return start;
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
  const { boundaryPages, limit } = constraints;
  if (boundaryPages !== 0 && count > boundaryPages) return false;
  return first + count <= limit && allowedFrom(first, count, constraints) === first;
}

/** A view of one pool for one thread. */
export class Pool {
  readonly first: number;
  readonly end: number;
  /** Where its lock lies, in words of the buffer: for statistics and recovery. */
  readonly lockAt: number;
  readonly #view: View;
  readonly #words: SharedWords;
  readonly #ledger: SharedHalves;
  readonly #bitmapAt: number;
  /** Bounds of blocks, and of groups of 32 blocks behind them. */
  readonly #boundsAt: number;
  readonly #groupsAt: number;
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
    this.#groupsAt = this.#boundsAt + blocksOf(this.end - this.first);
    this.#intentAt = view.threadAt + THREAD.intentKind;
  }

  /** Run once, by the creator, before the buffer is shared. Bounds start as unknown. */
  static initialize(words: SharedWords, at: number, first: number, end: number, boundsAt: number): void {
    poke(words, at + POOL.first, first);
    poke(words, at + POOL.end, end);
    poke(words, at + POOL.boundsAt, boundsAt);
    poke(words, at + POOL.hint, first);
    poke(words, at + POOL.longest, end - first);
    for (let at = boundsAt; at < boundsAt + boundWords(end - first); at++) poke(words, at, BLOCK_ENTRIES);
  }

  /** Takes the pool's lock, with so much patience if it is held. 0, or why not. */
  lock(patienceMs?: number): 0 | FailureCode {
    return lock(this.#words, this.lockAt, this.#view.tag, patienceMs);
  }

  unlock(): void {
    unlock(this.#words, this.lockAt);
  }

  /**
   * Takes `count` entries and records them as `state`. The search starts at `after` if that lies in this pool, else at the
   * hint; then it goes on from the pool's first entry. An entry, or why not. `patienceMs`: for the lock.
   */
  allocate(count: number, constraints: AreaConstraints, after: number, state: number, patienceMs?: number): number {
    const words = this.#words;
    const failure = lock(words, this.lockAt, this.#view.tag, patienceMs);
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
    const changed = !claim(this.#ledger, first, slot, this.#view.thread);
    if (!changed) {
      const offset = first & 31;
      if (offset > 0 && offset + count < 32 && count < 30) this.#giveInWord(first, count, offset);
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
    record(this.#ledger, first, count, state, this.#view.thread);
    poke(words, at, word | mask);
    poke(words, intentAt, NO_INTENT);
    poke(words, hintAt, first + count);
    return first;
  }

  /**
   * Lock held: gives back a range that lies inside one word, and so do its neighbours. As `giveRange`, in one straight piece.
   * Up to 29 entries: with both neighbours they make a mask of less than 32 bits.
   */
  #giveInWord(first: number, count: number, offset: number): void {
    const words = this.#words;
    const intentAt = this.#intentAt;
    poke(words, intentAt + 1, first);
    poke(words, intentAt + 2, count);
    poke(words, intentAt, GIVING);
    pokeHalf(this.#ledger, first, 0);
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
    record(this.#ledger, first, count, state, this.#view.thread);
    take(this.#words, this.#bitmapAt, first, first + count);
    announceDone(this.#view);
    poke(this.#words, this.lockAt + POOL.hint, first + count);
  }

  /** Lock held: gives a range back. */
  giveRange(first: number, count: number): void {
    announce(this.#view, GIVING, first, count);
    forget(this.#ledger, first, count);
    give(this.#words, this.#bitmapAt, first, first + count);
    this.#raiseBounds(first, first + count);
    announceDone(this.#view);
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
    const boundsEnd = this.#boundsAt + boundWords(this.end - this.first);
    for (let at = this.#boundsAt; at < boundsEnd; at++) poke(this.#words, at, BLOCK_ENTRIES);
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
    if (from >= last) return NOT_FOUND;
    const firstBlock = (from - this.first) >>> BLOCK_SHIFT;
    const lastBlock = (last - 1 - this.first) >>> BLOCK_SHIFT;
    const needed = Math.min(count, BLOCK_ENTRIES);
    const firstGroup = firstBlock >>> GROUP_SHIFT;
    let group = firstGroup;
    let found: number = NOT_FOUND;
    for (; group <= lastBlock >>> GROUP_SHIFT && found === NOT_FOUND; group++) {
      if (peek(this.#words, this.#groupsAt + group) < needed) continue;
      found = this.#findInGroup(group, firstBlock, lastBlock, from, last, count);
    }
    tally(this.#words, this.lockAt + POOL.searchSteps, group - firstGroup);
    return found;
  }

  /** Looks for a start in [from, last), in the blocks of one group. If all were seen in vain, its bound remembers that. */
  #findInGroup(
    group: number,
    firstBlock: number,
    lastBlock: number,
    from: number,
    last: number,
    count: number,
  ): number {
    const words = this.#words;
    const needed = Math.min(count, BLOCK_ENTRIES);
    const groupFirst = group << GROUP_SHIFT;
    const groupLast = Math.min(groupFirst + (1 << GROUP_SHIFT), this.#groupsAt - this.#boundsAt) - 1;
    let steps = 0;
    let below = firstBlock <= groupFirst && lastBlock >= groupLast;
    let found: number = NOT_FOUND;
    for (
      let block = Math.max(groupFirst, firstBlock);
      block <= Math.min(groupLast, lastBlock) && found === NOT_FOUND;
      block++
    ) {
      steps++;
      if (peek(words, this.#boundsAt + block) < needed) continue;
      const at = Math.max(from, this.first + (block << BLOCK_SHIFT));
      found = this.#findInBlock(block, at, last, count);
      steps += (found === NOT_FOUND ? BLOCK_ENTRIES : found - at) >>> 5;
      below = below && peek(words, this.#boundsAt + block) < needed;
    }
    if (found === NOT_FOUND && below) poke(words, this.#groupsAt + group, needed - 1);
    tally(words, this.lockAt + POOL.searchSteps, steps);
    return found;
  }

  /** Looks for a start in [at, last) of one block. If the whole block was seen in vain, its bound remembers that. */
  #findInBlock(block: number, at: number, last: number, count: number): number {
    const blockFirst = this.first + (block << BLOCK_SHIFT);
    const stop = Math.min(blockFirst + BLOCK_ENTRIES, last);
    const found = findRun(this.#words, this.#bitmapAt, at, stop, count);
    // What lies beyond `last` can't hold the run before the pool ends.
    const whole = at === blockFirst && (stop === blockFirst + BLOCK_ENTRIES || stop === this.end - count + 1);
    if (found === NOT_FOUND && whole && count <= BLOCK_ENTRIES) poke(this.#words, this.#boundsAt + block, count - 1);
    return found;
  }

  /**
   * [from, to) has become free, and so has a run of it and its free neighbours. Starts that gained lie in the range or before it;
   * no bound speaks of more than 1024 entries, so nobody has to look further than that. Bounds that are exact here are what
   * keeps searches of a fragmented pool short: raised to "unknown" instead, a mix of lengths at 95 % took five times as long.
   */
  #raiseBounds(from: number, to: number): void {
    if (this.#isUnbounded(from, to)) return;
    const floor = Math.max(this.first, from - BLOCK_ENTRIES);
    const ceiling = Math.min(this.end, to + BLOCK_ENTRIES);
    const first = from - clearBefore(this.#words, this.#bitmapAt, from, floor);
    const end = to + (to < ceiling ? clearFrom(this.#words, this.#bitmapAt, to, ceiling) : 0);
    const cut = first === floor || end === ceiling;
    this.#raise(first, to, Math.min(end - first, BLOCK_ENTRIES), cut ? this.end - this.first : end - first);
  }

  /** Is nothing known, about any block that a free of [from, to) can concern, that it could raise? So it is in a pool that is not full. */
  #isUnbounded(from: number, to: number): boolean {
    const words = this.#words;
    const firstBlock = (Math.max(from - BLOCK_ENTRIES, this.first) - this.first) >>> BLOCK_SHIFT;
    const lastBlock = (to - 1 - this.first) >>> BLOCK_SHIFT;
    return (
      lastBlock - firstBlock <= 1 &&
      peek(words, this.#boundsAt + firstBlock) === BLOCK_ENTRIES &&
      peek(words, this.#boundsAt + lastBlock) === BLOCK_ENTRIES &&
      peek(words, this.lockAt + POOL.longest) === this.end - this.first
    );
  }

  /** Raises the bounds of the blocks in [from, to) and of their groups, and the pool's longest run. */
  #raise(from: number, to: number, bound: number, longest: number): void {
    const firstBlock = (from - this.first) >>> BLOCK_SHIFT;
    const lastBlock = (to - 1 - this.first) >>> BLOCK_SHIFT;
    for (let block = firstBlock; block <= lastBlock; block++) {
      this.#raiseWord(this.#boundsAt + block, bound);
      this.#raiseWord(this.#groupsAt + (block >>> GROUP_SHIFT), bound);
    }
    const longestAt = this.lockAt + POOL.longest;
    if (peek(this.#words, longestAt) < longest) hintTo(this.#words, longestAt, longest);
  }

  #raiseWord(at: number, bound: number): void {
    if (peek(this.#words, at) < bound) poke(this.#words, at, bound);
  }
}
