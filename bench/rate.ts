/**
 * How fast several threads are together.
 *
 * Not the sum of what each does in its best moments: on a machine with other processes those need not be the same moments, and two
 * threads that take turns would look like two that run side by side. So the time in which all players are at work is cut into
 * windows, what all have done in each is counted, and the median window is the answer: a window in which one of them was put
 * aside counts as slow, and does not count if most are not like it.
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

/** One has ended before the other began: they were no faster than all they did in all that time. */
function rateOverall(played: readonly Pick<Played, "slices" | "operations">[]): number {
  const begin = Math.min(...played.map(({ slices }) => slices.begins[0] ?? 0));
  const end = Math.max(...played.map(({ slices }) => slices.ends.at(-1) ?? 0));
  const operations = played.reduce((sum, one) => sum + one.operations * one.slices.begins.length, 0);
  return (operations * 1000) / (end - begin);
}

/** Nanoseconds of an operation in a slice that little else has disturbed: three in twenty slices are quicker. */
export function timeUndisturbed(player: Pick<Played, "slices" | "operations">): number {
  return quantile(times(player).sort(), 0.15);
}

/** Nanoseconds of an operation: of each slice. */
function times({ slices: { begins, ends }, operations }: Pick<Played, "slices" | "operations">): Float64Array {
  return begins.map((begin, i) => ((ends[i] as number) - begin) / operations);
}

/** How many operations a player had done at some time: evenly inside a slice. */
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
