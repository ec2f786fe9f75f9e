/** The cost of an allocation that fails for lack of space. */
import { UNCONSTRAINED } from "../../src/allocator/constraints.ts";
import { PooledAllocator } from "../../src/allocator/pooled-allocator.ts";
import { SingleLockTable } from "../../src/rivals/single-lock.ts";
import type { BenchCase, Cell, Work } from "../cell.ts";
import { nextRandom, seedOf } from "../churn.ts";
import { asSortedNanoseconds, clockNanoseconds, FNV_BASIS, fold, measureSlices, quantile } from "../measure.ts";
import type { Scale } from "../scale.ts";
import { NoOps, pooledOptions, windowOf } from "../subjects.ts";

export const FULL = "full, 1 page";
export const HOLES = "a hole per 64, 2 pages";
/** Rows: with and without a free since the last failure. */
export const AFTER_FREE = "pooled, after a free";
/** As `AFTER_FREE`; the search includes free runs across borders of pools. */
const SEVERAL_POOLS = "pooled, 16 pools, after a free";

/** The two calls that set up and undo a free, and the request that fails. */
interface Table {
  allocate(count: number, after: number): number;
  free(first: number): void;
}

export const failing: BenchCase = {
  name: "failing",
  about:
    "An alloc that fails, in one pool of 1 Mi entries: all taken; or every 64th page free, and two asked for. Each is timed by " +
    "itself. After a free: a page beside a hole has just been freed and allocated again, so the pool can't rely on its last failure. " +
    "With 16 pools, free runs across their borders are searched too.",
  metrics: [{ key: "us", title: "µs", digits: 3 }],
  operation: "failing alloc",
  cells(scale: Scale, seed: number): readonly Cell[] {
    return [FULL, HOLES].flatMap((at) =>
      [AFTER_FREE, SEVERAL_POOLS, "pooled, again", "single lock"].map((row) => ({
        case: "failing",
        row,
        at,
        threads: 1,
        work: {
          subject: row === "single lock" ? ("single lock" as const) : ("pooled" as const),
          entries: scale.entries,
          pools: row === SEVERAL_POOLS ? 16 : 1,
          arena: scale.entries,
          fillPercent: 100,
          slices: scale.quick ? 2 : 16,
          operations: row === "single lock" ? 4 : scale.quick ? 16 : 500,
          seed,
          amount: at === FULL ? 1 : 2,
          variant: row.endsWith("after a free") ? "after a free" : "again",
        },
      })),
    );
  },
  async play(work: Work) {
    const table = tableOf(work);
    const count = work.amount ?? 1;
    fill(table, work, count === 1 ? 0 : 64);
    const disturb = work.variant === "after a free";
    const failFor = (samples: Float64Array, seed: number) => fail(table, work.entries, count, disturb, samples, seed);
    for (let warm = 0; warm < 4; warm++) failFor(new Float64Array(work.operations), seedOf(work.seed, -5 - warm));
    const samples = new Float64Array(work.slices * work.operations);
    let hash = FNV_BASIS;
    const slices = measureSlices(work.slices, (slice) => {
      const part = samples.subarray(slice * work.operations, (slice + 1) * work.operations);
      hash = fold(hash, failFor(part, seedOf(work.seed, slice)));
    });
    const sorted = asSortedNanoseconds(samples, clockNanoseconds());
    return { slices, operations: work.operations, hash, values: { us: quantile(sorted, 0.5) / 1000 } };
  },
};

/** Fails once for each sample. Returns a digest of the pages and results. */
function fail(
  table: Table,
  entries: number,
  count: number,
  disturb: boolean,
  samples: Float64Array,
  seed: number,
): number {
  let random = seed;
  let digest = FNV_BASIS;
  for (let sample = 0; sample < samples.length; sample++) {
    random = nextRandom(random);
    // Beside a hole, where there are holes: those are the multiples of 64.
    const page = (((random >>> 0) % (entries / 64)) << 6) + 1;
    if (disturb) {
      table.free(page);
      digest = fold(digest, table.allocate(1, page));
    }
    const began = performance.now();
    const answer = table.allocate(count, -1);
    samples[sample] = performance.now() - began;
    digest = fold(digest, answer);
    if (answer >= 0) throw new Error(`${count} pages at ${answer}, where none should be free`);
  }
  return digest;
}

function tableOf(work: Work): Table {
  if (work.subject === "single lock") {
    const table = SingleLockTable.create(windowOf(work.entries), new NoOps());
    return {
      allocate: (count, after) => table.allocate(count, UNCONSTRAINED, after),
      free: (first) => table.unmap(first, 1),
    };
  }
  const allocator = PooledAllocator.create(pooledOptions(work));
  return {
    allocate: (count, after) => allocator.allocate(count, UNCONSTRAINED, after),
    free: (first) => allocator.free(first, 1),
  };
}

/** Fills the table, then frees every `hole`-th page; 0: none. */
function fill(table: Table, work: Work, hole: number): void {
  for (let page = 0; page < work.entries; page++) {
    if (table.allocate(1, -1) !== page) throw new Error(`page ${page} of an empty table was not the next`);
  }
  for (let page = 0; hole > 0 && page < work.entries; page += hole) table.free(page);
}
