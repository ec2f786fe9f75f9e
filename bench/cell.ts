/**
 * The words of the benchmarks, as types.
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

/** What a cell's players have to do. Structured-cloneable; each case uses what it needs. */
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
  /** Of the victims and lengths: the same for every subject and repetition, so that results can be compared. */
  readonly seed: number;
  /** Elements of a scatterlist, live ranges of the dead thread: what else the circumstance is made of. */
  readonly amount?: number;
  /** What else tells the cells of a case apart. */
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
  /** Its driver can play the pooled allocator of another build (`Work.build`), so that a base without such a cell can be compared. */
  readonly playsAnyBuild?: true;
}

/** What one player has measured. */
export interface Played {
  readonly slices: Slices;
  /** Operations in each slice. */
  readonly operations: number;
  /** Digest of all answers; undefined where they depend on how threads meet. */
  readonly hash: number | undefined;
  /** Digest of the first answers, of as many as the slowest subject gives. Two subjects that choose alike agree in it. */
  readonly openingHash?: number;
  /** Other numbers, by the metric's key. Players of one cell give different ones. */
  readonly values?: Readonly<Record<string, number>>;
}

/** A number that a case measures. */
export interface Metric {
  /** Of a value that players give, or of several, with + between them: their sum. */
  readonly key: string;
  /** With its unit. */
  readonly title: string;
  readonly digits: number;
}

export interface BenchCase {
  readonly name: string;
  /** The question, and how it is answered: for `--list` and above the table. */
  readonly about: string;
  /** The first is the main one: ratios are made of it. "ns" is the time of an operation. */
  readonly metrics: readonly Metric[];
  /** One operation, in the singular: what "ns" is the time of. */
  readonly operation: string;
  cells(scale: Scale, seed: number): readonly Cell[];
  /** Made once for all cells that are alike in it, on the main thread; structured-cloneable. */
  readonly input?: { readonly key: (work: Work) => string; readonly make: (work: Work) => unknown };
  /** What a player does, on its thread. */
  play(work: Work, player: Player): Promise<Played>;
}

/** The metric's number; undefined where a value lacks. */
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
