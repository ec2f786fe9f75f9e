/**
 * The common rate of several threads.
 *
 * It is not the sum of each thread's best rate: on a machine with other processes the best moments need not coincide, and two
 * threads that take turns would look like two that run in parallel. So the time in which all players work is cut into
 * windows, the operations of all players in each are counted, and the rate is that of the median window. A window in which one
 * thread was descheduled counts as slow; a few of them do not change the median.
 */
import type { Played } from "./cell.ts";
import { median, quantile } from "./measure.ts";

const WINDOWS = 20;

/** Operations of all players in a microsecond. */
export function rateTogether(played: readonly Pick<Played, "slices" | "operations">[]): number {
  if (played.length === 1) return Math.max(...played.map((one) => 1000 / median(times(one))));
  const from = Math.max(...played.map(({ slices }) => slices.begins[0] ?? 0));
  const to = Math.min(...played.map(({ slices }) => slices.ends.at(-1) ?? 0));
  if (to <= from) return rateOverall(played);
  const window = (to - from) / WINDOWS;
  const done = Array.from({ length: WINDOWS + 1 }, (_, i) =>
    played.reduce((sum, one) => sum + doneBy(one, from + i * window), 0),
  );
  return median(done.slice(1).map((after, i) => ((after - (done[i] as number)) * 1000) / window));
}

/** The rate if one player ended before another one began: all operations over the whole time. */
function rateOverall(played: readonly Pick<Played, "slices" | "operations">[]): number {
  const begin = Math.min(...played.map(({ slices }) => slices.begins[0] ?? 0));
  const end = Math.max(...played.map(({ slices }) => slices.ends.at(-1) ?? 0));
  const operations = played.reduce((sum, one) => sum + one.operations * one.slices.begins.length, 0);
  return (operations * 1000) / (end - begin);
}

/** Nanoseconds of an operation in a quiet slice: the 15 % quantile of the slices. */
export function timeUndisturbed(player: Pick<Played, "slices" | "operations">): number {
  return quantile(times(player).sort(), 0.15);
}

/** Nanoseconds of an operation, by slice. */
function times({ slices: { begins, ends }, operations }: Pick<Played, "slices" | "operations">): Float64Array {
  return begins.map((begin, i) => ((ends[i] as number) - begin) / operations);
}

/** Number of operations that a player had done at `time`, interpolated inside a slice. */
function doneBy({ slices, operations }: Pick<Played, "slices" | "operations">, time: number): number {
  const { begins, ends } = slices;
  let done = 0;
  for (let i = 0; i < begins.length; i++) {
    const begin = begins[i] as number;
    const end = ends[i] as number;
    if (time <= begin) break;
    done += time >= end ? operations : (operations * (time - begin)) / (end - begin);
  }
  return done;
}
