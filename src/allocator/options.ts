/** Options of the allocator: checked and completed. */
import { type Crew, MAX_THREADS, threadsFor } from "../crew/crew.ts";
import { checkInteger, InvalidArgumentError, inWords, shown } from "../units/errors.ts";
import { checkKeys, type OptionTypes } from "../units/keys.ts";
import { type EntryRange, MAX_ENTRIES } from "../units/numbers.ts";
import { type AreaConstraints, UNCONSTRAINED } from "./constraints.ts";

/** Options of `PooledAllocator.create` and, without `entries`, of `IommuTable.create`. */
export interface AllocatorOptions {
  /** Entries of the table: 1 .. 2^31 − 1. */
  readonly entries: number;
  /**
   * Small pools, each with a lock of its own: 1 .. 1024; a small table gets fewer, at most one for each 32 entries (see
   * `pools` of the statistics). Default: 16, but at most one for each 4096 entries.
   */
  readonly pools?: number;
  /**
   * The last quarter as a pool for requests of more than 15 entries; for tables of at least 128 entries. It keeps long and short
   * ranges apart, at the price of one lock for all long requests. Default: false (docs/decisions/large-pool.md).
   */
  readonly largePool?: boolean;
  /** "fifo": freed ranges of up to 16 entries rest with the thread that freed them. Default: "fifo" (docs/decisions/fifo-cache.md). */
  readonly cache?: "none" | "fifo";
  /** "lazy": freed ranges wait for a flush of the IOTLB; needs an invalidator. Default: "strict". */
  readonly invalidate?: "strict" | "lazy";
  /** Threads that can be attached at once, the creator included: 1 .. 256; 40 KiB each. Default: 32, or the crew's. */
  readonly threads?: number;
  /**
   * The crew that the table belongs to. Its threads have the same numbers in all its structures, and one call of `reclaim` recovers a dead
   * thread in all of them. Default: a crew of its own.
   */
  readonly crew?: Crew;
  /** "owner-only": a free by another thread than the one that allocated is refused as wrong-owner. Default: "any-thread". */
  readonly frees?: "any-thread" | "owner-only";
  /** Ranges that are never allocated, for example entry 0 of a table at bus address 0, or an MMIO hole. Default: none. */
  readonly reserved?: readonly EntryRange[];
}

/** Options of `allocateWith`: the choice of the range, and the time to wait for one. */
export interface AllocateOptions {
  /** Constraints on the range's position. Default: anywhere. */
  readonly constraints?: AreaConstraints;
  /** A preferred first entry, or -1. Default: -1. With "lowest" it is not looked at. */
  readonly after?: number;
  /**
   * "next": from the cache, then after the entries that were taken last, which costs least. "lowest": the lowest free range of the table; it
   * looks at every pool in turn, and not into caches. Default: "next".
   */
  readonly order?: "next" | "lowest";
  /**
   * How long to try again while the table is full, in milliseconds: 0 .. 600,000. The thread sleeps meanwhile; one that may not sleep (a
   * browser's main thread) tries once. Default: 0.
   */
  readonly waitMilliseconds?: number;
}

/** As AllocateOptions, with every default filled in. Throws InvalidArgumentError, which names the option. */
export function checkAllocateOptions(options: AllocateOptions): Required<AllocateOptions> {
  checkKeys("an allocation", options, { constraints: "object", after: "any", order: "any", waitMilliseconds: "any" });
  const { constraints = UNCONSTRAINED, after = -1, order = "next", waitMilliseconds = 0 } = options;
  checkInteger("entry after which to allocate", after, -1, MAX_ENTRIES);
  checkOneOf("order", order, ["next", "lowest"]);
  checkInteger("milliseconds to wait for entries", waitMilliseconds, 0, 600_000);
  return { constraints, after, order, waitMilliseconds };
}

/** The options with every default filled in. */
export interface CheckedOptions {
  readonly entries: number;
  readonly pools: number;
  readonly largePool: boolean;
  readonly cache: boolean;
  readonly lazy: boolean;
  readonly threads: number;
  readonly ownerOnly: boolean;
  readonly cacheLimit: number;
  readonly reserved: readonly EntryRange[];
}

export const ALLOCATOR_OPTIONS: OptionTypes<AllocatorOptions> = {
  entries: "any",
  pools: "any",
  largePool: "boolean",
  cache: "any",
  invalidate: "any",
  threads: "any",
  crew: "object",
  frees: "any",
  reserved: "object",
};

/** Throws InvalidArgumentError, which names the option, what was found and what is expected. */
export function checkOptions(options: AllocatorOptions): CheckedOptions {
  checkKeys("an allocator", options, ALLOCATOR_OPTIONS);
  const { entries, cache = "fifo", invalidate = "strict", frees = "any-thread", reserved = [] } = options;
  const threads = threadsFor("threads", options.crew, options.threads);
  checkInteger("entries", entries, 1, MAX_ENTRIES);
  checkInteger("threads", threads, 1, MAX_THREADS);
  checkOneOf("cache", cache, ["none", "fifo"]);
  checkOneOf("invalidate", invalidate, ["strict", "lazy"]);
  checkOneOf("frees", frees, ["any-thread", "owner-only"]);
  for (const range of reserved) checkRange("reserved range", range, entries);
  const largePool = (options.largePool ?? false) && entries >= 128;
  return {
    entries,
    pools: poolCount(entries, options.pools, largePool),
    largePool,
    cache: cache === "fifo",
    lazy: invalidate === "lazy",
    threads,
    ownerOnly: frees === "owner-only",
    cacheLimit: cacheLimit(entries, threads),
    reserved,
  };
}

/** [first, end) must be a part of the table, and not empty. */
export function checkRange(what: string, range: EntryRange, entries: number): void {
  if (typeof range !== "object" || range === null) throw new InvalidArgumentError(what, range, "{ first, end }");
  const { first, end } = range;
  if (!(Number.isInteger(first) && Number.isInteger(end) && first >= 0 && first < end && end <= entries)) {
    throw new InvalidArgumentError(
      what,
      inWords(`[${shown(first)}, ${shown(end)})`),
      `a range of entries inside [0, ${entries})`,
    );
  }
}

function poolCount(entries: number, asked: number | undefined, largePool: boolean): number {
  if (asked !== undefined) checkInteger("pools", asked, 1, 1024);
  const small = largePool ? Math.floor((entries * 3) / 4) : entries;
  const wanted = asked ?? Math.min(16, Math.floor(small / 4096));
  return Math.max(1, Math.min(wanted, Math.floor(small / 32)));
}

/**
 * Entries one thread may keep for itself: 8192, or a quarter of the table shared by all threads if that is less. So idle
 * threads can never hold more than a quarter of a table.
 */
function cacheLimit(entries: number, threads: number): number {
  return Math.min(8192, Math.floor(entries / 4 / threads));
}

/** Throws InvalidArgumentError unless `value` is one of these. */
function checkOneOf(what: string, value: string, allowed: readonly string[]): void {
  if (!allowed.includes(value)) throw new InvalidArgumentError(what, value, allowed.join(" or "));
}
