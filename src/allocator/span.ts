/**
 * Ranges that touch several pools: exact reservations, and requests longer than any pool. All locks of the pools in between
 * are taken, in ascending order (so two spans can't wait for each other in a circle), and the intent is announced when all are
 * held: recovery then finds every pool of a half-made span locked by the dead thread.
 */
import { findRun, NOT_FOUND } from "../shared/bitmap.ts";
import { type FailureCode, TABLE_FULL } from "../units/failure.ts";
import type { AreaConstraints } from "./constraints.ts";
import { announce, announceDone, GIVING, TAKING, type View } from "./intent.ts";
import { claim, forget, record } from "./ledger.ts";
import { allowedFrom, CHANGED, type Pool } from "./pool.ts";

export class Spans {
  readonly #view: View;
  readonly #pools: readonly Pool[];

  constructor(view: View, pools: readonly Pool[]) {
    this.#view = view;
    this.#pools = pools;
  }

  /** Takes exactly [first, end) as `state` of `owner` if all of it is free. 0, or why not. */
  takeExactly(first: number, end: number, state: number, owner: number): 0 | FailureCode {
    const pools = this.#poolsOf(first, end);
    const failure = lockAll(pools);
    if (failure !== 0) return failure;
    const free = pools.every((pool) => pool.isFree(first, end));
    if (free) this.#take(pools, first, end, state, owner);
    unlockAll(pools);
    return free ? 0 : TABLE_FULL;
  }

  /** As `Pool.release`, for a range that touches several pools. */
  release(first: number, count: number, slot: number): 0 | typeof CHANGED | FailureCode {
    const pools = this.#poolsOf(first, first + count);
    const failure = lockAll(pools);
    if (failure !== 0) return failure;
    const { ledger } = this.#view;
    const changed = ledger !== undefined && !claim(ledger, first, slot, this.#view.thread);
    if (!changed) this.#give(pools, first, first + count);
    unlockAll(pools);
    return changed ? CHANGED : 0;
  }

  #give(pools: readonly Pool[], first: number, end: number): void {
    announce(this.#view, GIVING, first, end - first);
    if (this.#view.ledger !== undefined) forget(this.#view.ledger, first, end - first);
    for (const pool of pools) pool.markFree(first, end);
    announceDone(this.#view);
  }

  /** First fit over the whole table, whatever pools lie in between. An entry, or why not. */
  allocate(count: number, constraints: AreaConstraints, state: number): number {
    const failure = lockAll(this.#pools);
    if (failure !== 0) return failure;
    const first = this.#search(count, constraints);
    if (first !== NOT_FOUND) {
      this.#take(this.#poolsOf(first, first + count), first, first + count, state, this.#view.thread);
    }
    unlockAll(this.#pools);
    return first === NOT_FOUND ? TABLE_FULL : first;
  }

  #take(pools: readonly Pool[], first: number, end: number, state: number, owner: number): void {
    announce(this.#view, TAKING, first, end - first);
    if (this.#view.ledger !== undefined) record(this.#view.ledger, first, end - first, state, owner);
    for (const pool of pools) pool.markTaken(first, end);
    announceDone(this.#view);
  }

  #search(count: number, constraints: AreaConstraints): number {
    const entries = (this.#pools[this.#pools.length - 1] as Pool).end;
    const startEnd = Math.min(entries, constraints.limit) - count + 1;
    for (let start = 0; start < startEnd; ) {
      const found = findRun(this.#view.words, this.#view.bitmapAt, start, startEnd, count);
      if (found === NOT_FOUND) return NOT_FOUND;
      start = allowedFrom(found, count, constraints);
      if (start === found) return found;
    }
    return NOT_FOUND;
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
