/** As `single`, in a table small enough for the peers from npm. */
import { type BenchCase, type Cell, NANOSECONDS } from "../cell.ts";
import { type Scale, scaled } from "../scale.ts";
import { POOLED, RIVALS, type SubjectName } from "../subjects.ts";
import { pairsOf, single } from "./single.ts";

/** One pool of 16 Ki entries: a free of @thi.ng/malloc walks a list of all allocated blocks. */
const ENTRIES = 2 ** 14;
const PEERS: readonly SubjectName[] = ["number-allocator", "@thi.ng/malloc"];

export const peers: BenchCase = {
  name: "peers",
  about:
    "A pair of alloc and free of one page in a table of 16,384 entries (one pool), half full: with the nearest packages on " +
    "npm, which are for one thread and for single numbers or bytes.",
  metrics: [NANOSECONDS],
  operation: "pair",
  cells(scale: Scale, seed: number): readonly Cell[] {
    const entries = scale.quick ? scale.arena : ENTRIES;
    return [...POOLED, ...RIVALS, ...PEERS].map((subject) => ({
      case: "peers",
      row: subject,
      at: "50 %",
      threads: 1,
      work: {
        subject,
        entries,
        pools: 1,
        arena: entries,
        fillPercent: 50,
        slices: scale.slices,
        operations: scaled(subject === "@thi.ng/malloc" ? 64 : pairsOf(subject), scale),
        seed,
      },
    }));
  },
  play: single.play,
};
