/**
 * The search for a free run in one pool, steered by **bounds**: for each block of 1024 entries, an upper bound of the free runs that
 * start there (1024: unknown), and the same for each group of 32 blocks. A block or group with too small a bound is skipped in one
 * step, so a search of a full pool of a million entries looks at 32 bounds, not at its bits. When every start of a block or group was
 * tried without success, its bound is lowered; a free raises the bounds of all blocks in which a longer run may now start.
 *
 * The pool's lock is held in all calls but `mayHold`.
 */
import { clearBefore, clearFrom, findRun, NOT_FOUND } from "../shared/bitmap.ts";
import { count as tally } from "../shared/counters.ts";
import { glance, hintTo, NO_WORDS, peek, poke, type SharedWords } from "../shared/memory.ts";
import { type AreaConstraints, allowedFrom, UNCONSTRAINED } from "./constraints.ts";
import { BLOCK_ENTRIES, BLOCK_SHIFT, blocksOf, boundWords, GROUP_SHIFT, POOL } from "./layout.ts";

/** The bounds of the pool that lies at `at`. */
export class Bounds {
  readonly #words: SharedWords = NO_WORDS;
  readonly #bitmapAt: number = 0;
  readonly #at: number = 0;
  readonly #first: number = 0;
  readonly #end: number = 0;
  /** Bounds of blocks, and of groups of blocks behind them. */
  readonly #blocksAt: number = 0;
  readonly #groupsAt: number = 0;
  readonly #longestAt: number = 0;
  readonly #loweredAt: number = 0;

  constructor(words: SharedWords, bitmapAt: number, at: number) {
    this.#words = words;
    this.#bitmapAt = bitmapAt;
    this.#at = at;
    this.#first = peek(words, at + POOL.first);
    this.#end = peek(words, at + POOL.end);
    this.#blocksAt = peek(words, at + POOL.boundsAt);
    this.#groupsAt = this.#blocksAt + blocksOf(this.#end - this.#first);
    this.#longestAt = at + POOL.longest;
    this.#loweredAt = at + POOL.lowered;
  }

  /** All bounds are unknown from now on. */
  reset(): void {
    const end = this.#blocksAt + boundWords(this.#end - this.#first);
    for (let at = this.#blocksAt; at < end; at++) poke(this.#words, at, BLOCK_ENTRIES);
    hintTo(this.#words, this.#longestAt, this.#end - this.#first);
    poke(this.#words, this.#loweredAt, 0);
  }

  /**
   * Can a run of `count` entries be free in this pool? Takes no lock, so that a full pool costs no lock. The value may be stale; then a
   * request misses a range that is being freed at this moment.
   */
  mayHold(count: number): boolean {
    return glance(this.#words, this.#longestAt) >= count;
  }

  /** Next fit: the first allowed start of `count` free entries, from `from` to the pool's end, then from its first entry; or NOT_FOUND. */
  find(from: number, count: number, constraints: AreaConstraints): number {
    const end = Math.min(this.#end, constraints.limit);
    const start = from < end ? from : this.#first;
    let found = this.#find(start, end, end, count, constraints);
    if (found === NOT_FOUND && start !== this.#first) found = this.#find(this.#first, start, end, count, constraints);
    if (found === NOT_FOUND && constraints === UNCONSTRAINED) {
      hintTo(this.#words, this.#longestAt, count - 1);
      poke(this.#words, this.#loweredAt, 1);
    }
    return found;
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
    const firstBlock = (from - this.#first) >>> BLOCK_SHIFT;
    const lastBlock = (last - 1 - this.#first) >>> BLOCK_SHIFT;
    const needed = Math.min(count, BLOCK_ENTRIES);
    const firstGroup = firstBlock >>> GROUP_SHIFT;
    let group = firstGroup;
    let found: number = NOT_FOUND;
    for (; group <= lastBlock >>> GROUP_SHIFT && found === NOT_FOUND; group++) {
      if (peek(this.#words, this.#groupsAt + group) < needed) continue;
      found = this.#findInGroup(group, firstBlock, lastBlock, from, last, count);
    }
    tally(this.#words, this.#at + POOL.searchSteps, group - firstGroup);
    return found;
  }

  /** Looks for a start in [from, last), in the blocks of one group. If every block was tried without success, the group's bound is lowered. */
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
    const groupLast = Math.min(groupFirst + (1 << GROUP_SHIFT), this.#groupsAt - this.#blocksAt) - 1;
    let steps = 0;
    let below = firstBlock <= groupFirst && lastBlock >= groupLast;
    let found: number = NOT_FOUND;
    for (
      let block = Math.max(groupFirst, firstBlock);
      block <= Math.min(groupLast, lastBlock) && found === NOT_FOUND;
      block++
    ) {
      steps++;
      if (peek(words, this.#blocksAt + block) < needed) continue;
      const at = Math.max(from, this.#first + (block << BLOCK_SHIFT));
      found = this.#findInBlock(block, at, last, count);
      steps += (found === NOT_FOUND ? BLOCK_ENTRIES : found - at) >>> 5;
      below = below && peek(words, this.#blocksAt + block) < needed;
    }
    if (found === NOT_FOUND && below) this.#lower(this.#groupsAt + group, needed - 1);
    tally(words, this.#at + POOL.searchSteps, steps);
    return found;
  }

  /** Looks for a start in [at, last) of one block. If every start of the block was tried without success, its bound is lowered. */
  #findInBlock(block: number, at: number, last: number, count: number): number {
    const blockFirst = this.#first + (block << BLOCK_SHIFT);
    const stop = Math.min(blockFirst + BLOCK_ENTRIES, last);
    const found = findRun(this.#words, this.#bitmapAt, at, stop, count);
    // A run that starts at or after `last` would reach past the pool's end.
    const isWhole = at === blockFirst && (stop === blockFirst + BLOCK_ENTRIES || stop === this.#end - count + 1);
    if (found === NOT_FOUND && isWhole && count <= BLOCK_ENTRIES) this.#lower(this.#blocksAt + block, count - 1);
    return found;
  }

  #lower(at: number, bound: number): void {
    poke(this.#words, at, bound);
    poke(this.#words, this.#loweredAt, 1);
  }

  /**
   * [from, to) has become free, and so has a run of it and its free neighbours. Starts that gained lie in the range or before it;
   * no bound exceeds 1024 entries, so no more than that is looked at. Bounds that are exact here are what
   * keeps searches of a fragmented pool short: raised to "unknown" instead, a mix of lengths at 95 % took five times as long.
   */
  raise(from: number, to: number): void {
    if (this.#isUnbounded(from, to)) return;
    const floor = Math.max(this.#first, from - BLOCK_ENTRIES);
    const ceiling = Math.min(this.#end, to + BLOCK_ENTRIES);
    const first = from - clearBefore(this.#words, this.#bitmapAt, from, floor);
    const end = to + (to < ceiling ? clearFrom(this.#words, this.#bitmapAt, to, ceiling) : 0);
    const isCut = first === floor || end === ceiling;
    this.#raiseBlocks(first, to, Math.min(end - first, BLOCK_ENTRIES));
    const longest = isCut ? this.#end - this.#first : end - first;
    if (peek(this.#words, this.#longestAt) < longest) hintTo(this.#words, this.#longestAt, longest);
  }

  /** True if all bounds that a free of [from, to) could raise are at their maximum: the usual case in a pool that is not full. */
  #isUnbounded(from: number, to: number): boolean {
    const words = this.#words;
    const firstBlock = (Math.max(from - BLOCK_ENTRIES, this.#first) - this.#first) >>> BLOCK_SHIFT;
    const lastBlock = (to - 1 - this.#first) >>> BLOCK_SHIFT;
    return (
      lastBlock - firstBlock <= 1 &&
      peek(words, this.#blocksAt + firstBlock) === BLOCK_ENTRIES &&
      peek(words, this.#blocksAt + lastBlock) === BLOCK_ENTRIES &&
      peek(words, this.#longestAt) === this.#end - this.#first
    );
  }

  /** Raises the bounds of the blocks in [from, to) and of their groups. */
  #raiseBlocks(from: number, to: number, bound: number): void {
    const firstBlock = (from - this.#first) >>> BLOCK_SHIFT;
    const lastBlock = (to - 1 - this.#first) >>> BLOCK_SHIFT;
    for (let block = firstBlock; block <= lastBlock; block++) {
      this.#raiseWord(this.#blocksAt + block, bound);
      this.#raiseWord(this.#groupsAt + (block >>> GROUP_SHIFT), bound);
    }
  }

  #raiseWord(at: number, bound: number): void {
    if (peek(this.#words, at) < bound) poke(this.#words, at, bound);
  }
}
