/** The tail latency of single pairs. */
import { createShared, peek, poke, wordsOf } from "../../src/shared/memory.ts";
import type { BenchCase, Cell, Work } from "../cell.ts";
import { churnPages, churnPagesTimed, fillPages, Mix, type MixState, seedOf, thinPages } from "../churn.ts";
import { asSortedNanoseconds, clockNanoseconds, measureSlices, quantile } from "../measure.ts";
import { inTurn, type Player } from "../player.ts";
import type { Scale } from "../scale.ts";
import { type Attached, attachTogether, type SubjectName } from "../subjects.ts";
import { mixInput, mixWork } from "./mix.ts";
import { POOLS } from "./single.ts";

/** One pair in this number is timed; the untimed ones keep the processor's caches in their usual state. */
const EVERY = 4;
/** A column, and the variant of its work. */
const CONTENDED = "1 page, 2 threads, one pool";
const CONTENDERS = 2;
const SUBJECTS: readonly SubjectName[] = ["pooled", "cached", "nothing"];

export const latency: BenchCase = {
  name: "latency",
  about:
    `Single pairs, one in ${EVERY} timed by the clock, whose own cost (the median of two readings in a row) is subtracted; it ` +
    "resolves 10 ns, so short pairs are better read in the other tables. One page in the thread's own pool; one page of two threads " +
    "in one pool, the pairs of both; and the mix.",
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
      contendedCell(timed(contendedWork(subject, scale, seed))),
      ...scale.fills
        .filter((fillPercent) => fillPercent >= 50)
        .map((fillPercent) => cellOf(`mix, ${fillPercent} %`, timed(mixWork(subject, fillPercent, scale, seed)))),
    ]);
  },
  input: { key: (work) => (isMix(work) ? mixInput.key(work) : ""), make: makeInput },
  async play(work: Work, player: Player) {
    const attached = await attachTogether(work, player.number, (make) => player.share(make));
    const churn = inTurn(player, () => churnOf({ ...work, seed: work.seed + player.number }, player.input, attached));
    player.meet();
    churn.warmUp();
    player.meet();
    const samples = new Float64Array(work.slices * work.operations);
    const slices = measureSlices(work.slices, (slice) => {
      churn.timed(samples.subarray(slice * work.operations, (slice + 1) * work.operations), seedOf(work.seed, slice));
    });
    const all = await samplesOfAll(player, asSortedNanoseconds(samples, clockNanoseconds()));
    const hash = player.players === 1 ? churn.hash() : undefined;
    return { slices, operations: work.operations * EVERY, hash, values: player.number === 0 ? quantilesOf(all) : {} };
  },
};

function quantilesOf(sorted: Float64Array): Readonly<Record<string, number>> {
  const worst = quantile(sorted, 1) / 1000;
  return { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99), p999: quantile(sorted, 0.999), worst };
}

/** The samples of all players, sorted, in whole nanoseconds; all players have to call it. */
async function samplesOfAll(player: Player, samples: Float64Array): Promise<Float64Array> {
  const { length } = samples;
  if (player.players === 1) return samples;
  const words = wordsOf(await player.share(() => createShared(4 * length * player.players)));
  for (let i = 0; i < length; i++) poke(words, player.number * length + i, Math.round(samples[i] as number));
  player.meet();
  return Float64Array.from({ length: length * player.players }, (_, i) => peek(words, i)).sort();
}

interface TimedChurn {
  warmUp(): void;
  timed(samples: Float64Array, seed: number): void;
  /** Digest of a few more pairs, after the timed ones. */
  hash(): number;
}

function churnOf(work: Work, input: unknown, attached: Attached): TimedChurn {
  const { subject } = attached;
  const after = seedOf(work.seed, -6);
  const before = seedOf(work.seed, -5);
  const pairs = work.slices * work.operations;
  if (isMix(work)) {
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
  return isMix(work) ? mixInput.make(work) : undefined;
}

function isMix({ variant, pools }: Work): boolean {
  return pools === 1 && variant !== CONTENDED;
}

function contendedWork(subject: SubjectName, scale: Scale, seed: number): Work {
  const work = mixWork(subject, 50, scale, seed);
  return { ...work, entries: scale.arena * CONTENDERS, arena: scale.arena, variant: CONTENDED };
}

function contendedCell(work: Work): Cell {
  return { case: "latency", row: work.subject, at: CONTENDED, threads: CONTENDERS, work, playsAnyBuild: true };
}

function pageWork(subject: SubjectName, scale: Scale, seed: number): Work {
  return { ...mixWork(subject, 50, scale, seed), entries: scale.arena * POOLS, pools: POOLS, arena: scale.arena };
}

function cellOf(at: string, work: Work): Cell {
  return { case: "latency", row: work.subject, at, threads: 1, work };
}
