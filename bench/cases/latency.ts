/** How long single pairs take: not the mean, but the tail. */
import type { BenchCase, Cell, Work } from "../cell.ts";
import { churnPages, churnPagesTimed, fillPages, Mix, type MixState, seedOf, thinPages } from "../churn.ts";
import { asSortedNanoseconds, clockNanoseconds, measureSlices, quantile } from "../measure.ts";
import type { Player } from "../player.ts";
import type { Scale } from "../scale.ts";
import { type Attached, attachAlone, type SubjectName } from "../subjects.ts";
import { mixInput, mixWork } from "./mix.ts";
import { POOLS } from "./single.ts";

/** Of so many pairs one is timed: the others keep the caches as they are without a clock. */
const EVERY = 4;
const SUBJECTS: readonly SubjectName[] = ["pooled", "cached", "nothing"];

export const latency: BenchCase = {
  name: "latency",
  about:
    `Single pairs, one in ${EVERY} timed by the clock, whose own cost (the median of two questions in a row) is taken off; it ` +
    "resolves 10 ns, so short pairs are better read in the other tables. One page in the thread's own pool, and the mix.",
  metrics: [
    { key: "p50", title: "p50 [ns]", digits: 0 },
    { key: "p99", title: "p99 [ns]", digits: 0 },
    { key: "p999", title: "p99.9 [ns]", digits: 0 },
    { key: "worst", title: "worst [µs]", digits: 0 },
  ],
  operation: "pair",
  cells(scale: Scale, seed: number): readonly Cell[] {
    const samples = scale.quick ? 250 : 5000;
    const timed = (work: Work): Work => ({ ...work, slices: scale.quick ? 2 : 8, operations: samples });
    return SUBJECTS.flatMap((subject) => [
      ...(scale.quick ? [] : [timed(pageWork(subject, scale, seed))].map((work) => cellOf("1 page, 50 %", work))),
      ...scale.fills
        .filter((fillPercent) => fillPercent >= 50)
        .map((fillPercent) => cellOf(`mix, ${fillPercent} %`, timed(mixWork(subject, fillPercent, scale, seed)))),
    ]);
  },
  input: { key: (work) => (work.pools === 1 ? mixInput.key(work) : ""), make: makeInput },
  async play(work: Work, player: Player) {
    const churn = churnOf(work, player.input, await attachAlone(work));
    churn.warmUp();
    const samples = new Float64Array(work.slices * work.operations);
    const slices = measureSlices(work.slices, (slice) => {
      churn.timed(samples.subarray(slice * work.operations, (slice + 1) * work.operations), seedOf(work.seed, slice));
    });
    const sorted = asSortedNanoseconds(samples, clockNanoseconds());
    const worst = quantile(sorted, 1) / 1000;
    const values = { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99), p999: quantile(sorted, 0.999), worst };
    return { slices, operations: work.operations * EVERY, hash: churn.hash(), values };
  },
};

interface TimedChurn {
  warmUp(): void;
  timed(samples: Float64Array, seed: number): void;
  /** Digest of a few pairs after all the others. */
  hash(): number;
}

function churnOf(work: Work, input: unknown, attached: Attached): TimedChurn {
  const { subject } = attached;
  const after = seedOf(work.seed, -6);
  const before = seedOf(work.seed, -5);
  const pairs = work.slices * work.operations;
  if (work.pools === 1) {
    const load = Mix.setUp(attached, input as MixState);
    return {
      warmUp: () => load.churn(subject, pairs, before, 0),
      timed: (samples, seed) => load.churnTimed(subject, samples, EVERY, seed),
      hash: () => load.churn(subject, 64, after, 0),
    };
  }
  const live = thinPages(subject, fillPages(subject, work.arena), work.fillPercent, work.seed);
  return {
    warmUp: () => churnPages(subject, live, pairs, before, 0),
    timed: (samples, seed) => churnPagesTimed(subject, live, samples, EVERY, seed),
    hash: () => churnPages(subject, live, 64, after, 0),
  };
}

function makeInput(work: Work): unknown {
  return work.pools === 1 ? mixInput.make(work) : undefined;
}

function pageWork(subject: SubjectName, scale: Scale, seed: number): Work {
  return { ...mixWork(subject, 50, scale, seed), entries: scale.arena * POOLS, pools: POOLS, arena: scale.arena };
}

function cellOf(at: string, work: Work): Cell {
  return { case: "latency", row: work.subject, at, threads: 1, work };
}
