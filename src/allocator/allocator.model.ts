/**
 * The plain model: next fit in pools, then first fit across their borders, entry by entry, with no words, bounds, hints of fullness
 * or locks. One thread, strict mode, no cache: then the allocator must give the same addresses, one by one.
 */
import type { EntryRange } from "../units/numbers.ts";
import type { AreaConstraints } from "./constraints.ts";
import { splitPools } from "./layout.ts";
import type { AllocatorOptions } from "./options.ts";
import { PooledAllocator } from "./pooled-allocator.ts";

const TABLE_FULL = -1;
const MASK_TOO_LOW = -2;
const LONGER_THAN_BOUNDARY = -3;
const LONGER_THAN_TABLE = -4;

interface ModelPool {
  readonly first: number;
  readonly end: number;
  hint: number;
}

export class AllocatorModel {
  readonly entries: number;
  readonly taken: boolean[];
  /** Live ranges: first entry → count. */
  readonly live: Map<number, number> = new Map();
  readonly #pools: ModelPool[];
  readonly #small: number;

  constructor(entries: number, pools: number, largePool: boolean) {
    this.entries = entries;
    this.taken = new Array<boolean>(entries).fill(false);
    const ends = splitPools(entries, pools, largePool);
    this.#pools = ends.map((end, i) => ({ first: ends[i - 1] ?? 0, end, hint: ends[i - 1] ?? 0 }));
    this.#small = pools;
  }

  allocate(count: number, constraints: AreaConstraints, after: number): number {
    if (count > this.entries) return LONGER_THAN_TABLE;
    if (constraints.boundaryPages > 0 && count > constraints.boundaryPages) return LONGER_THAN_BOUNDARY;
    if (count > constraints.limit) return MASK_TOO_LOW;
    const first = this.#first(count, constraints, after);
    if (first === undefined) return TABLE_FULL;
    this.taken.fill(true, first, first + count);
    this.live.set(first, count);
    return first;
  }

  free(first: number, count: number): void {
    this.taken.fill(false, first, first + count);
    this.live.delete(first);
  }

  reserve(first: number, end: number): boolean {
    if (this.taken.slice(first, end).includes(true)) return false;
    this.taken.fill(true, first, end);
    return true;
  }

  #first(count: number, constraints: AreaConstraints, after: number): number | undefined {
    const allowed = (start: number): boolean => this.#fits(start, count, constraints);
    const chained = this.#pools.find((pool) => after >= pool.first && after < pool.end);
    const small = this.#pools.slice(0, this.#small);
    const large = this.#pools.slice(this.#small);
    const order = count > 15 ? [...large, ...small] : [...small, ...large];
    for (const pool of chained === undefined ? order : [chained, ...order]) {
      const isChained = pool === chained && pool !== undefined;
      const first = nextFit(
        pool,
        isChained ? after : -1,
        constraints.limit,
        (start) => start + count <= pool.end && allowed(start),
      );
      if (first === undefined) continue;
      pool.hint = first + count;
      return first;
    }
    // Across the borders of pools.
    return lowest(0, this.entries, (start) => start + count <= this.entries && allowed(start));
  }

  /** The definition of a range that may be taken. */
  #fits(start: number, count: number, constraints: AreaConstraints): boolean {
    const page = constraints.basePage + start;
    if (start + count > constraints.limit || page % constraints.alignmentPages !== 0) return false;
    const { boundaryPages } = constraints;
    for (let i = 1; boundaryPages > 0 && i < count; i++) if ((page + i) % boundaryPages === 0) return false;
    return !this.taken.slice(start, start + count).includes(true);
  }
}

function nextFit(pool: ModelPool, after: number, limit: number, fits: (start: number) => boolean): number | undefined {
  const end = Math.min(pool.end, limit);
  const hint = after >= pool.first ? after : pool.hint;
  const from = hint < end ? hint : pool.first;
  return lowest(from, end, fits) ?? lowest(pool.first, from, fits);
}

function lowest(from: number, end: number, fits: (start: number) => boolean): number | undefined {
  for (let start = from; start < end; start++) if (fits(start)) return start;
  return undefined;
}

export const range = (first: number, end: number): EntryRange => ({ first, end });

/** A fresh allocator, and a model with the pools that it really has. */
export function realAndModel(options: AllocatorOptions): { real: PooledAllocator; model: AllocatorModel } {
  const real = PooledAllocator.create({ threads: 1, cache: "none", ...options });
  const { pools } = real.statistics();
  const large = pools.some((pool) => pool.large);
  const model = new AllocatorModel(options.entries, pools.length - (large ? 1 : 0), large);
  for (const { first, end } of options.reserved ?? []) model.reserve(first, end);
  return { real, model };
}
