/** A pair of alloc and free of 1 to 16 pages, in 3 % of the pairs of 64, in one large pool. */
import { type BenchCase, type Cell, NANOSECONDS, type Work } from "../cell.ts";
import { Mix, type MixState, prepareMix, seedOf } from "../churn.ts";
import { FNV_BASIS, measureSlices, warmUp } from "../measure.ts";
import type { Player } from "../player.ts";
import { type Scale, scaled } from "../scale.ts";
import { attachAlone, POOLED, RIVALS, type SubjectName } from "../subjects.ts";
import { OPENING_PAIRS } from "./single.ts";

/**
 * Slices and pairs in each, at full scale. A few requests take most of the time: a slice must be long enough to hold its share
 * of them, or its median would not be the mean. So the single lock, bit by bit, has few slices.
 */
function sliced(subject: SubjectName, fillPercent: number, scale: Scale): { slices: number; operations: number } {
  if (subject === "single lock" && fillPercent >= 80) {
    return { slices: Math.min(5, scale.slices), operations: scaled(200, scale) };
  }
  const quick = subject === "free list" || subject === "nothing";
  return { slices: scale.slices, operations: scaled(quick ? 16_000 : 1_000, scale) };
}

/** The work of a cell of a mix; other cases use it too. */
export function mixWork(subject: SubjectName, fillPercent: number, scale: Scale, seed: number): Work {
  return {
    subject,
    entries: scale.entries,
    pools: 1,
    arena: scale.entries,
    fillPercent,
    ...sliced(subject, fillPercent, scale),
    seed,
  };
}

/** The prepared state is the same for all subjects. */
export const mixInput: NonNullable<BenchCase["input"]> = {
  key: ({ entries, fillPercent, seed }) => `mix of ${entries} at ${fillPercent} from ${seed}`,
  make: prepareMix,
};

export const mix: BenchCase = {
  name: "mix",
  about:
    "A pair of alloc and free of 1 to 16 pages, and of 64 in 3 of 100, in one pool of 1 Mi entries of which n % are taken. All " +
    "subjects start from the same table, in which each range has been freed four times.",
  metrics: [NANOSECONDS, { key: "steps", title: "words, bounds or bits that searches read, per pair", digits: 1 }],
  operation: "pair",
  cells(scale: Scale, seed: number): readonly Cell[] {
    return scale.fills.flatMap((fillPercent) =>
      [...POOLED, ...RIVALS].map((subject) => ({
        case: "mix",
        row: subject,
        at: `${fillPercent} %`,
        threads: 1,
        work: mixWork(subject, fillPercent, scale, seed),
      })),
    );
  },
  input: mixInput,
  async play(work: Work, player: Player) {
    const attached = await attachAlone(work);
    const { subject } = attached;
    const load = Mix.setUp(attached, player.input as MixState);
    const openingHash = load.churn(subject, OPENING_PAIRS, seedOf(work.seed, -4), FNV_BASIS);
    let hash = openingHash;
    const churn = (slice: number) => {
      hash = load.churn(subject, work.operations, seedOf(work.seed, slice), hash);
    };
    warmUp(work.slices, churn);
    const before = attached.counts();
    const slices = measureSlices(work.slices, churn);
    const after = attached.counts();
    const pairs = work.slices * work.operations;
    const counted = before !== undefined && after !== undefined;
    const values = counted ? { steps: (after.searchSteps - before.searchSteps) / pairs } : {};
    return { slices, operations: work.operations, hash, openingHash, values };
  },
};
