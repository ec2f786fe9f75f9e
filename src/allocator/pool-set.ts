/**
 * The pools of a table as one thread sees them: which one a request tries first, and in what order it falls back.
 *
 * Small requests: own pool, the other small pools in rotation, the large pool. Requests of more than 15 entries: the large pool,
 * then the small ones from the own on. What no pool can hold by itself may lie across the border of two or more: a span (span.ts).
 * So every request can reach every entry, and no entries are kept for a kind of request that does not come.
 */

import { SHORT_PATIENCE_MS } from "../shared/lock.ts";
import {
  type FailureCode,
  LONGER_THAN_BOUNDARY,
  LONGER_THAN_TABLE,
  MASK_TOO_LOW,
  TABLE_FULL,
} from "../units/failure.ts";
import { type AreaConstraints, UNCONSTRAINED } from "./constraints.ts";
import { type Layout, POOL } from "./layout.ts";
import { type CHANGED, Pool } from "./pool.ts";
import { Spans } from "./span.ts";
import type { View } from "./view.ts";

/** Requests of more entries than this go to the large pool first. */
const SMALL_REQUEST = 15;

/** The pool whose lock this request could not get within its patience, and the failure code. */
interface StuckPool {
  readonly pool: Pool | undefined;
  readonly failure: number;
}
const NO_POOL_STUCK: StuckPool = { pool: undefined, failure: TABLE_FULL };

export class PoolSet {
  /** Small pools first, the large pool last. */
  readonly all: readonly Pool[];
  /** Small pools. */
  readonly small: number = 0;
  readonly spans: Spans;
  readonly #large: Pool | undefined;
  /** The pool that this thread tries first. */
  readonly own: Pool;
  readonly #ownIndex: number = 0;
  /** Length of the longest request that tries the own pool first, in entries. */
  readonly #ownFirst: number = 0;
  readonly #entries: number = 0;
  readonly #smallEnd: number = 0;
  readonly #poolsPerEntry: number = 0;

  constructor(view: View, layout: Layout) {
    const longestAtOnce = layout.largePool ? SMALL_REQUEST : undefined;
    this.all = layout.poolEnds.map((_, i) => new Pool(view, layout.poolsAt + i * POOL.words, longestAtOnce));
    this.small = layout.pools;
    this.spans = new Spans(view, this.all);
    this.#large = layout.largePool ? this.all[layout.pools] : undefined;
    this.#ownIndex = view.thread % layout.pools;
    this.own = this.#pool(this.#ownIndex);
    this.#ownFirst = layout.largePool ? SMALL_REQUEST : layout.entries;
    this.#entries = layout.entries;
    this.#smallEnd = this.#pool(layout.pools - 1).end;
    this.#poolsPerEntry = layout.pools / this.#smallEnd;
  }

  /** Takes `count` entries. Returns the first entry, or a failure code; TABLE_FULL means that all pools were searched. */
  allocate(count: number, constraints: AreaConstraints, after: number, state: number): number {
    // Fast path: most requests succeed here, so try it before the limit checks.
    const own = this.own;
    if (constraints === UNCONSTRAINED && after < 0 && count <= this.#ownFirst && own.bounds.mayHold(count)) {
      const first = own.allocate(count, constraints, -1, state);
      if (first >= 0) return first;
      if (first !== TABLE_FULL)
        return this.#allocateElsewhere(count, constraints, after, state, { pool: own, failure: first });
    }
    return this.#allocateElsewhere(count, constraints, after, state, NO_POOL_STUCK);
  }

  #allocateElsewhere(
    count: number,
    constraints: AreaConstraints,
    after: number,
    state: number,
    stuckOwn: StuckPool,
  ): number {
    const impossible = this.#impossible(count, constraints);
    if (impossible !== 0) return impossible;
    const chained = after >= 0 && after < this.#entries ? this.of(after) : undefined;
    const first = chained !== undefined ? this.#try(chained, count, constraints, after, state, stuckOwn) : TABLE_FULL;
    if (first >= 0) return first;
    const stuck = first === TABLE_FULL ? stuckOwn : { pool: chained, failure: first };
    const answer = this.#inOrder(count, constraints, state, stuck);
    return answer >= 0 ? answer : moreTelling(answer, this.spans.allocate(count, constraints, state));
  }

  /** As `allocate`, but takes the lowest free range. It searches pool after pool, and after each pool the ranges that cross its end. */
  allocateLowest(count: number, constraints: AreaConstraints, state: number): number {
    let answer: number = this.#impossible(count, constraints);
    if (answer !== 0) return answer;
    answer = TABLE_FULL;
    let stuck = NO_POOL_STUCK;
    for (const pool of this.all) {
      const first = this.#try(pool, count, constraints, pool.first, state, stuck);
      if (first >= 0) return first;
      if (first !== TABLE_FULL) stuck = { pool, failure: first };
      const across =
        pool.end < this.#entries ? this.spans.allocateAcross(pool.end, count, constraints, state) : TABLE_FULL;
      if (across >= 0) return across;
      answer = moreTelling(answer, moreTelling(first, across));
    }
    return answer;
  }

  /** Gives back the range that has `slot` in the ledger: see `Pool.returnToPool`. */
  returnToPool(first: number, count: number, slot: number): 0 | typeof CHANGED | FailureCode {
    const pool = this.of(first);
    return first + count <= pool.end
      ? pool.returnToPool(first, count, slot)
      : this.spans.returnToPool(first, count, slot);
  }

  /** The pool of an entry. */
  of(entry: number): Pool {
    const own = this.own;
    return entry >= own.first && entry < own.end ? own : this.#other(entry);
  }

  #other(entry: number): Pool {
    if (entry >= this.#smallEnd) return this.#large as Pool;
    // Pools are even but for their rounding to whole words, so the guess is off by one at most.
    const guess = Math.min(Math.floor(entry * this.#poolsPerEntry), this.small - 1);
    const pool = this.#pool(guess);
    if (entry < pool.first) return this.#pool(guess - 1);
    return entry < pool.end ? pool : this.#pool(guess + 1);
  }

  /** The failure code when no range of this table can ever satisfy the request; 0 when a range may. */
  #impossible(count: number, constraints: AreaConstraints): 0 | FailureCode {
    if (count > this.#entries) return LONGER_THAN_TABLE;
    if (constraints.boundaryPages !== 0 && count > constraints.boundaryPages) return LONGER_THAN_BOUNDARY;
    return count > constraints.limit ? MASK_TOO_LOW : 0;
  }

  #inOrder(count: number, constraints: AreaConstraints, state: number, stuck: StuckPool): number {
    const large = this.#large;
    if (large === undefined) return this.#inSmall(count, constraints, state, stuck);
    if (count <= SMALL_REQUEST) {
      const first = this.#inSmall(count, constraints, state, stuck);
      return first >= 0 ? first : moreTelling(first, this.#try(large, count, constraints, -1, state, stuck));
    }
    const first = this.#try(large, count, constraints, -1, state, stuck);
    return first >= 0 ? first : moreTelling(first, this.#inSmall(count, constraints, state, stuck));
  }

  #inSmall(count: number, constraints: AreaConstraints, state: number, stuck: StuckPool): number {
    let answer: number = TABLE_FULL;
    for (let i = 0, pool = this.#ownIndex; i < this.small; i++) {
      const first = this.#try(this.#pool(pool), count, constraints, -1, state, stuck);
      if (first >= 0) return first;
      answer = moreTelling(answer, first);
      pool = pool + 1 === this.small ? 0 : pool + 1;
    }
    return answer;
  }

  /**
   * Does not take the lock of a pool in which the request can't fit. After one pool could not be locked within the full patience, the wait
   * for each other pool is short.
   */
  #try(
    pool: Pool,
    count: number,
    constraints: AreaConstraints,
    after: number,
    state: number,
    stuck: StuckPool,
  ): number {
    if (pool === stuck.pool) return stuck.failure;
    if (!pool.bounds.mayHold(count) || Math.min(pool.end, constraints.limit) - pool.first < count) return TABLE_FULL;
    return pool.allocate(count, constraints, after, state, stuck.pool === undefined ? undefined : SHORT_PATIENCE_MS);
  }

  #pool(index: number): Pool {
    return this.all[index] as Pool;
  }
}

/** Returns the entry, if one of the two results is an entry; else the failure code that says more than TABLE_FULL. */
function moreTelling(one: number, other: number): number {
  return other >= 0 || one === TABLE_FULL ? other : one;
}
