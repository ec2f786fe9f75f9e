/** A pair of alloc and free of one page, in the thread's own pool. */
import { type BenchCase, type Cell, NANOSECONDS, type Work } from "../cell.ts";
import { churnPages, fillPages, seedOf, thinPages } from "../churn.ts";
import { FNV_BASIS, measureSlices, warmUp } from "../measure.ts";
import type { Player } from "../player.ts";
import { type Scale, scaled } from "../scale.ts";
import { attachAlone, POOLED, RIVALS, type SubjectName } from "../subjects.ts";

/** Pools of the pooled allocator; the thread works in one of them. */
export const POOLS = 16;
/** Pairs of the opening digest: few enough for the slowest subject, before the timed pairs. */
export const OPENING_PAIRS = 64;

/** Pairs in a slice at full scale: about a quarter of a millisecond. */
export function pairsOf(subject: SubjectName): number {
  if (subject === "single lock") return 2_000;
  return subject.startsWith("pooled") ? 4_000 : 24_000;
}

export const single: BenchCase = {
  name: "single",
  about:
    "A pair of alloc and free of one page. The pooled allocator has 16 pools, and the thread works in its own; the rivals " +
    "have a table as large as that pool. n % of it are taken; victims are drawn at random.",
  metrics: [NANOSECONDS],
  operation: "pair",
  cells(scale: Scale, seed: number): readonly Cell[] {
    return scale.fills.flatMap((fillPercent) =>
      [...POOLED, ...RIVALS].map((subject) => ({
        case: "single",
        row: subject,
        at: `${fillPercent} %`,
        threads: 1,
        work: workOf(subject, scale, fillPercent, seed),
      })),
    );
  },
  async play(work: Work, _player: Player) {
    const { subject } = await attachAlone(work);
    const live = thinPages(subject, fillPages(subject, work.arena), work.fillPercent, work.seed);
    const openingHash = churnPages(subject, live, OPENING_PAIRS, seedOf(work.seed, -4), FNV_BASIS);
    let hash = openingHash;
    const churn = (slice: number) => {
      hash = churnPages(subject, live, work.operations, seedOf(work.seed, slice), hash);
    };
    warmUp(work.slices, churn);
    const slices = measureSlices(work.slices, churn);
    return { slices, operations: work.operations, hash, openingHash };
  },
};

function workOf(subject: SubjectName, scale: Scale, fillPercent: number, seed: number): Work {
  const pooled = POOLED.includes(subject);
  return {
    subject,
    entries: pooled ? scale.arena * POOLS : scale.arena,
    pools: pooled ? POOLS : 1,
    arena: scale.arena,
    fillPercent,
    slices: scale.slices,
    operations: scaled(pairsOf(subject), scale),
    seed,
  };
}
