/** One and two threads, each in a pool of its own, or both in one. */
import { type BenchCase, type Cell, NANOSECONDS, type Work } from "../cell.ts";
import { churnPages, fillPages, seedOf, thinPages } from "../churn.ts";
import { FNV_BASIS, measureSlices, type Slices, warmUp } from "../measure.ts";
import type { Player } from "../player.ts";
import { type Scale, scaled } from "../scale.ts";
import { attachTogether, type Counts, type SubjectName } from "../subjects.ts";
import { POOLS, pairsOf } from "./single.ts";

/** The circumstances, as columns. */
export const ALONE = "1 thread";
export const OWN_POOLS = "2 threads, own pools";
export const ONE_POOL = "2 threads, one pool";

const ALL: readonly SubjectName[] = ["pooled", "cached", "single lock", "nothing"];

export const threads: BenchCase = {
  name: "threads",
  about:
    "Pairs of one page by several threads at once, tables half full. A time is that of one thread's pair while both " +
    "run, in windows in which both are at work. The single lock has one pool, whoever comes.",
  metrics: [
    NANOSECONDS,
    { key: "rate", title: "all threads together [M pairs/s]", digits: 1 },
    { key: "contended", title: "lock acquisitions that had to wait [%]", digits: 3 },
    { key: "waited", title: "time that the threads waited for locks [%]", digits: 2 },
  ],
  operation: "pair",
  cells(scale: Scale, seed: number): readonly Cell[] {
    return [ALONE, OWN_POOLS, ONE_POOL].flatMap((at) =>
      ALL.filter((subject) => at !== OWN_POOLS || subject !== "single lock").map((subject) => {
        const players = at === ALONE ? 1 : 2;
        const ownPools = at !== ONE_POOL && subject !== "single lock";
        const work: Work = {
          subject,
          entries: scale.arena * (ownPools ? POOLS : players),
          pools: ownPools ? POOLS : 1,
          arena: scale.arena,
          fillPercent: 50,
          slices: scale.slices,
          operations: scaled(pairsOf(subject), scale),
          seed,
        };
        return { case: "threads", row: subject, at, threads: players, work };
      }),
    );
  },
  async play(work: Work, player: Player) {
    const attached = await attachTogether(work, player.number, (make) => player.share(make));
    const { subject } = attached;
    const seed = work.seed + player.number;
    const live = thinPages(
      subject,
      inTurn(player, () => fillPages(subject, work.arena)),
      work.fillPercent,
      seed,
    );
    player.meet();
    let hash = FNV_BASIS;
    const churn = (slice: number) => {
      hash = churnPages(subject, live, work.operations, seedOf(seed, slice), hash);
    };
    warmUp(work.slices, churn);
    player.meet();
    const before = attached.counts();
    player.meet();
    const slices = measureSlices(work.slices, churn);
    player.meet();
    const after = attached.counts();
    checkPages(attached.live(), live.length * player.players, work);
    const alone = player.players === 1 || work.pools > 1;
    const values = player.number === 0 ? lockValues(before, after, slices, player.players) : {};
    return { slices, operations: work.operations, hash: alone ? hash : undefined, values };
  },
};

/** One thread after the other: both together fill the table to the last page. */
function inTurn<T>(player: Player, work: () => T): T {
  for (let turn = 0; turn < player.number; turn++) player.meet();
  const done = work();
  for (let turn = player.number; turn < player.players; turn++) player.meet();
  return done;
}

/** How the locks fared between two looks at the counters. Nothing for what has no locks. */
function lockValues(
  before: Counts | undefined,
  after: Counts | undefined,
  { begins, ends }: Slices,
  players: number,
): Readonly<Record<string, number>> {
  if (before === undefined || after === undefined) return {};
  const microseconds = ((ends.at(-1) ?? 0) - (begins[0] ?? 0)) / 1000;
  const counted = (key: keyof Counts) => after[key] - before[key];
  return {
    contended: share(counted("lockContended"), counted("lockAcquisitions")),
    waited: share(counted("lockWaitMicroseconds"), microseconds * players),
  };
}

function share(part: number, whole: number): number {
  return whole === 0 ? 0 : (100 * part) / whole;
}

/** Nothing is lost and nothing is handed out twice: as many pages are taken as the threads hold. */
function checkPages(found: number | undefined, expected: number, work: Work): void {
  if (found === undefined || found === expected) return;
  throw new Error(`${work.subject}: ${found} pages are taken, the threads hold ${expected}`);
}
