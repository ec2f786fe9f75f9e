/**
 * Clocks, and what is made of many times: medians, quantiles, digests.
 *
 * Times are wall times of short slices (a quarter of a millisecond and more), and a cell's time is the median slice: one in which
 * the thread was put aside for another process does not count then. How long the thread stood in the run queue altogether, and its
 * own processor time, are measured beside it.
 */
import { readFileSync } from "node:fs";
import { compareExchange, createShared, poke, wordsOf } from "../src/shared/memory.ts";

/** When slices began and ended, in nanoseconds of a clock that all threads share. */
export interface Slices {
  readonly begins: Float64Array;
  readonly ends: Float64Array;
  /** Processor time that the thread used meanwhile; its compiler and collector threads are not in it. */
  readonly cpuNanoseconds: number;
  /** How long the thread was ready to run, and another one ran. 0 where the system does not tell. */
  readonly queuedNanoseconds: number;
}

/** Nanoseconds since some moment that is the same for all threads; exact in a double for 100 days. */
export function nanoseconds(): number {
  return Number(process.hrtime.bigint());
}

interface ThreadTimes {
  readonly cpu: number;
  readonly queued: number;
}

/** Of the calling thread: Linux tells; elsewhere the processor time of the whole process has to do. */
function threadTimes(): ThreadTimes {
  try {
    const [cpu, queued] = readFileSync("/proc/thread-self/schedstat", "latin1").split(" ", 2).map(Number);
    if (cpu !== undefined && queued !== undefined && Number.isFinite(queued)) return { cpu, queued };
  } catch {
    // Not Linux, or not told.
  }
  const { user, system } = process.cpuUsage();
  return { cpu: (user + system) * 1000, queued: 0 };
}

/** What `slices` timed slices need to be run before, for V8 to have compiled them: a quarter as many, with numbers of their own. */
export function warmUp(slices: number, work: (slice: number) => void): void {
  for (let i = 0; i < Math.ceil(slices / 4); i++) work(-100 - i);
}

/** Runs `work` for each slice, and takes the times. */
export function measureSlices(slices: number, work: (slice: number) => void): Slices {
  const begins = new Float64Array(slices);
  const ends = new Float64Array(slices);
  const before = threadTimes();
  for (let slice = 0; slice < slices; slice++) {
    begins[slice] = nanoseconds();
    work(slice);
    ends[slice] = nanoseconds();
  }
  const after = threadTimes();
  return { begins, ends, cpuNanoseconds: after.cpu - before.cpu, queuedNanoseconds: after.queued - before.queued };
}

/** The q-quantile (0 .. 1) of sorted values: the least value that is not below a share of q. NaN of none. */
export function quantile(sorted: ArrayLike<number>, q: number): number {
  const at = Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1));
  return sorted[at] ?? Number.NaN;
}

/** The middle value; of an even number of values the mean of the two. NaN of none. */
export function median(values: Iterable<number>): number {
  const sorted = Float64Array.from(values).sort();
  const half = sorted.length >>> 1;
  if (sorted.length % 2 === 1) return sorted[half] as number;
  return ((sorted[half - 1] ?? Number.NaN) + (sorted[half] ?? Number.NaN)) / 2;
}

/** FNV-1a, by words instead of bytes: h = imul(h ^ word, FNV_PRIME). */
export const FNV_BASIS: number = 0x811c9dc5 | 0;
export const FNV_PRIME = 0x01000193;

/** Continues a digest. */
export function fold(hash: number, word: number): number {
  return Math.imul(hash ^ word, FNV_PRIME);
}

/**
 * What it costs to ask the clock, in nanoseconds: the median of two questions in a row. Single operations are timed by
 * `performance.now()`, which resolves 10 ns or better and makes no object; this cost is in each such time, and is taken off.
 */
export function clockNanoseconds(): number {
  const samples = new Float64Array(20_000);
  for (let i = 0; i < samples.length; i++) {
    const began = performance.now();
    samples[i] = (performance.now() - began) * 1e6;
  }
  return quantile(samples.sort(), 0.5);
}

/** What the machine takes for one compareExchange of a shared word that no other thread uses: a quick slice of many. */
export function compareExchangeNanoseconds(): number {
  const words = wordsOf(createShared(4));
  const operations = 100_000;
  const { begins, ends } = measureSlices(40, () => {
    for (let i = 0; i < operations; i++) compareExchange(words, 0, i, i + 1);
    poke(words, 0, 0);
  });
  return quantile(begins.map((begin, i) => ((ends[i] as number) - begin) / operations).sort(), 0.15);
}

/** Milliseconds with fractions of each of `samples`, as nanoseconds without the clock's cost, sorted. */
export function asSortedNanoseconds(samples: Float64Array, clock: number): Float64Array {
  return samples.map((milliseconds) => Math.max(0, milliseconds * 1e6 - clock)).sort();
}
