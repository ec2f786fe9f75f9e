/**
 * Ranges that touch several pools: exact reservations, and requests that no single pool can hold. All locks of the pools that the
 * range touches are taken, in ascending order (so two spans can't wait for each other in a circle), and nothing changes until
 * all are held: recovery then finds every pool of a half-made span locked by the dead thread.
 *
 * The search for a free range across a border holds no lock. It reads bits by relaxed accesses, which may be a moment old, and
 * decides nothing: `takeExactly` looks again at every entry under the locks. So an old value costs either a second look (another
 * thread has taken an entry: once its lock was ours, our next look sees that), or a miss of a range that is being freed just
 * now, as in `Bounds.mayHold`. A thread that dies in the search leaves nothing behind.
 */
import { clearBeforeRelaxed, clearFromRelaxed, isTakenRelaxed, NOT_FOUND } from "../shared/bitmap.ts";
import { type FailureCode, TABLE_FULL } from "../units/failure.ts";
import { type AreaConstraints, allowedFrom } from "./constraints.ts";
import { beginRange, claim, endRange } from "./ledger.ts";
import { CHANGED, type Pool } from "./pool.ts";
import type { View } from "./view.ts";

export class Spans {
  readonly #view: View;
  readonly #pools: readonly Pool[];
  readonly #entries: number;

  constructor(view: View, pools: readonly Pool[]) {
    this.#view = view;
    this.#pools = pools;
    this.#entries = (pools[pools.length - 1] as Pool).end;
  }

  /** Takes exactly [first, end) as `state` of `owner` if all of it is free. Returns 0, or a failure code. */
  takeExactly(first: number, end: number, state: number, owner: number): 0 | FailureCode {
    const pools = this.#poolsOf(first, end);
    const failure = lockAll(pools);
    if (failure !== 0) return failure;
    const free = pools.every((pool) => pool.isFree(first, end));
    if (free) this.#take(pools, first, end, state, owner);
    unlockAll(pools);
    return free ? 0 : TABLE_FULL;
  }

  /** As `Pool.returnToPool`, for a range that touches several pools. */
  returnToPool(first: number, count: number, slot: number): 0 | typeof CHANGED | FailureCode {
    const pools = this.#poolsOf(first, first + count);
    const failure = lockAll(pools);
    if (failure !== 0) return failure;
    const { ledger, thread } = this.#view;
    const changed = !claim(ledger, first, slot, thread);
    if (!changed) this.#end(pools, first, first + count);
    unlockAll(pools);
    return changed ? CHANGED : 0;
  }

  #end(pools: readonly Pool[], first: number, end: number): void {
    endRange(this.#view.ledger, first, end - first);
    for (const pool of pools) pool.clearBits(first, end);
  }

  /**
   * Takes the lowest allowed range that crosses a border between pools. Returns the first entry, or a failure code. A border without a free
   * entry on both sides costs two reads, so the cost of a failing request grows with the pools, and does not grow with the entries. A
   * request for one entry can't cross a border.
   */
  allocate(count: number, constraints: AreaConstraints, state: number): number {
    for (let i = 1; i < this.#pools.length; i++) {
      const first = this.allocateAcross((this.#pools[i] as Pool).first, count, constraints, state);
      if (first !== TABLE_FULL) return first;
    }
    return TABLE_FULL;
  }

  /** As `allocate`, across the border before entry `border` alone. */
  allocateAcross(border: number, count: number, constraints: AreaConstraints, state: number): number {
    if (count === 1) return TABLE_FULL;
    for (;;) {
      const first = this.#findAcross(border, count, constraints);
      if (first === NOT_FOUND) return TABLE_FULL;
      const failure = this.takeExactly(first, first + count, state, this.#view.thread);
      if (failure === 0) return first;
      if (failure !== TABLE_FULL) return failure;
    }
  }

  /** The lowest allowed start of `count` entries that are free and lie on both sides of `border`. No lock is held. */
  #findAcross(border: number, count: number, constraints: AreaConstraints): number {
    const { words, bitmapAt } = this.#view;
    if (isTakenRelaxed(words, bitmapAt, border - 1) || isTakenRelaxed(words, bitmapAt, border)) return NOT_FOUND;
    const lowest = allowedFrom(Math.max(0, border - count + 1), count, constraints);
    if (lowest >= border) return NOT_FOUND;
    const free = border - clearBeforeRelaxed(words, bitmapAt, border, lowest);
    const first = allowedFrom(free, count, constraints);
    const end = first + count;
    if (first >= border || end > Math.min(this.#entries, constraints.limit)) return NOT_FOUND;
    return border + clearFromRelaxed(words, bitmapAt, border, end) === end ? first : NOT_FOUND;
  }

  #take(pools: readonly Pool[], first: number, end: number, state: number, owner: number): void {
    beginRange(this.#view.ledger, first, end - first, state, owner);
    for (const pool of pools) pool.setBits(first, end);
  }

  #poolsOf(first: number, end: number): Pool[] {
    return this.#pools.filter((pool) => pool.first < end && first < pool.end);
  }
}

function lockAll(pools: readonly Pool[]): 0 | FailureCode {
  for (const [i, pool] of pools.entries()) {
    const failure = pool.lock();
    if (failure === 0) continue;
    unlockAll(pools.slice(0, i));
    return failure;
  }
  return 0;
}

function unlockAll(pools: readonly Pool[]): void {
  for (const pool of pools) pool.unlock();
}
