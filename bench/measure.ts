/**
 * Clocks and statistics of times: medians, quantiles; digests of results.
 *
 * Times are wall times of short slices (a quarter of a millisecond and more), and a cell's time is the median slice: a few slices in
 * which the thread was descheduled do not change it. The thread's total time in the run queue and its own processor time
 * are measured too.
 */
import { readFileSync } from "node:fs";
import { compareExchange, createShared, poke, wordsOf } from "../src/shared/memory.ts";

/** Begin and end of each slice, in nanoseconds of a clock that all threads share. */
export interface Slices {
  readonly begins: Float64Array;
  readonly ends: Float64Array;
  /** Processor time of the thread during the slices, without its compiler and collector threads. */
  readonly cpuNanoseconds: number;
  /** Time during which the thread was ready and another one ran; 0 if the system does not report it. */
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

/** Times of the calling thread, from Linux; elsewhere the processor time of the whole process. */
function threadTimes(): ThreadTimes {
  try {
    const [cpu, queued] = readFileSync("/proc/thread-self/schedstat", "latin1").split(" ", 2).map(Number);
    if (cpu !== undefined && queued !== undefined && Number.isFinite(queued)) return { cpu, queued };
  } catch {
    // Not Linux, or a kernel without schedstat.
  }
  const { user, system } = process.cpuUsage();
  return { cpu: (user + system) * 1000, queued: 0 };
}

/** Runs a quarter as many slices before the timed ones, with negative numbers, so that V8 has compiled `work`. */
export function warmUp(slices: number, work: (slice: number) => void): void {
  for (let i = 0; i < Math.ceil(slices / 4); i++) work(-100 - i);
}

/** Runs and times `work` for each slice. */
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
 * The cost of reading the clock, in nanoseconds: the median difference of two readings in a row. Single operations are timed by
 * `performance.now()`, which resolves 10 ns or better and allocates nothing. Each such time includes this cost, which is subtracted.
 */
export function clockNanoseconds(): number {
  const samples = new Float64Array(20_000);
  for (let i = 0; i < samples.length; i++) {
    const began = performance.now();
    samples[i] = (performance.now() - began) * 1e6;
  }
  return quantile(samples.sort(), 0.5);
}

/** The duration of one compareExchange of a shared word that no other thread uses: a low quantile of many slices. */
export function compareExchangeNanoseconds(): number {
  const words = wordsOf(createShared(4));
  const operations = 100_000;
  const { begins, ends } = measureSlices(40, () => {
    for (let i = 0; i < operations; i++) compareExchange(words, 0, i, i + 1);
    poke(words, 0, 0);
  });
  return quantile(begins.map((begin, i) => ((ends[i] as number) - begin) / operations).sort(), 0.15);
}

/** Converts samples in milliseconds to sorted nanoseconds without the clock's cost. */
export function asSortedNanoseconds(samples: Float64Array, clock: number): Float64Array {
  return samples.map((milliseconds) => Math.max(0, milliseconds * 1e6 - clock)).sort();
}
