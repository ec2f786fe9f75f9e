/**
 * The terms of the benchmarks, as types.
 *
 * A *case* is a question ("what does a pair of alloc and free cost in a table that is n % full?"). It has *cells*: one for each
 * *subject* (an allocator: the table's row) and each circumstance (`at`: the table's column). A cell is *played* by one or
 * two worker threads made for it, so that V8 knows one subject at a time; a second allocator in the same isolate
 * would make calls polymorphic that are not so in a program. A *repetition* plays every cell once, in random order.
 */
import type { Slices } from "./measure.ts";
import type { Player } from "./player.ts";
import type { Scale } from "./scale.ts";
import type { SubjectName } from "./subjects.ts";

/** The work of a cell's players. Structured-cloneable; each case uses the fields that it needs. */
export interface Work {
  readonly subject: SubjectName;
  /** Entries of the table. */
  readonly entries: number;
  readonly pools: number;
  /** Entries that one thread fills, and then empties to `fillPercent`. */
  readonly arena: number;
  readonly fillPercent: number;
  /** Timed pieces; the cell's time is the median of theirs. */
  readonly slices: number;
  /** Operations in each. */
  readonly operations: number;
  /** Seed of the victims and lengths: the same for every subject and repetition, so that results can be compared. */
  readonly seed: number;
  /** A parameter of the column: elements of a scatterlist, live ranges of the dead thread. */
  readonly amount?: number;
  /** A further name that distinguishes the cells of a case. */
  readonly variant?: string;
  /** Thread slots of the allocator, where a cell has more threads than is usual. */
  readonly threads?: number;
  /** URL of the module of another build whose pooled allocator is played; undefined: this build's. */
  readonly build?: string;
}

export interface Cell {
  readonly case: string;
  /** The row of the table. */
  readonly row: string;
  /** The column of the table. */
  readonly at: string;
  readonly threads: number;
  readonly work: Work;
  /** The driver can play the pooled allocator of another build (`Work.build`), for the comparison with a base that lacks the cell. */
  readonly playsAnyBuild?: true;
}

/** Measurements of one player. */
export interface Played {
  readonly slices: Slices;
  /** Operations in each slice. */
  readonly operations: number;
  /** Digest of all results; undefined if they depend on the order of threads. */
  readonly hash: number | undefined;
  /** Digest of the first results, as many as the slowest subject computes. Equal for two subjects with the same strategy. */
  readonly openingHash?: number;
  /** Other numbers, by the metric's key. No key is given by two players of a cell. */
  readonly values?: Readonly<Record<string, number>>;
}

/** A number that a case measures. */
export interface Metric {
  /** Key of a value of the players, or several keys with + between them: the metric is their sum. */
  readonly key: string;
  /** With its unit. */
  readonly title: string;
  readonly digits: number;
}

export interface BenchCase {
  readonly name: string;
  /** The question and the method, for `--list` and above the table. */
  readonly about: string;
  /** The first one is the main metric: ratios use it. "ns" is the time of an operation. */
  readonly metrics: readonly Metric[];
  /** Name of one operation, in the singular, for the metric "ns". */
  readonly operation: string;
  cells(scale: Scale, seed: number): readonly Cell[];
  /** Input of the players, made once for all cells with the same key, on the main thread; structured-cloneable. */
  readonly input?: { readonly key: (work: Work) => string; readonly make: (work: Work) => unknown };
  /** Plays a cell, on a player's thread. */
  play(work: Work, player: Player): Promise<Played>;
}

/** The metric's number; undefined if a value is missing. */
export function metricOf(values: Played["values"], key: string): number | undefined {
  const parts = key.split("+").map((part) => values?.[part]);
  return parts.every((part) => part !== undefined) ? parts.reduce((sum, part) => sum + part, 0) : undefined;
}

export const NANOSECONDS: Metric = { key: "ns", title: "ns", digits: 1 };

/** A cell without an allocator: the row's tool reads an input of the given size, at full and at quick scale. */
export function readingCell(
  name: string,
  row: string,
  at: string,
  amount: { readonly full: number; readonly quick: number },
  scale: Scale,
  seed: number,
): Cell {
  const work = {
    subject: "nothing",
    entries: 0,
    pools: 0,
    arena: 0,
    fillPercent: 0,
    operations: 1,
    seed,
    variant: row,
  } as const;
  return {
    case: name,
    row,
    at,
    threads: 1,
    work: { ...work, slices: scale.quick ? 1 : 3, amount: scale.quick ? amount.quick : amount.full },
  };
}
