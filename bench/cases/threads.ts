/** One, two and many threads, each in a pool of its own, or all in one. */
import { type BenchCase, type Cell, NANOSECONDS, type Work } from "../cell.ts";
import { churnPages, fillPages, seedOf, thinPages } from "../churn.ts";
import { FNV_BASIS, measureSlices, type Slices, warmUp } from "../measure.ts";
import { inTurn, type Player } from "../player.ts";
import { type Scale, scaled } from "../scale.ts";
import { attachTogether, type Counts, POOLED, type SubjectName } from "../subjects.ts";
import { POOLS, pairsOf } from "./single.ts";

/** The circumstances, as columns. */
export const ALONE = "1 thread";
export const OWN_POOLS = "2 threads, own pools";
/** Baseline of two threads in one pool: one thread alone in that pool. */
export const ALONE_IN_ONE_POOL = "1 thread, one pool";
export const ONE_POOL = "2 threads, one pool";
/** More threads than processors: a thread that holds the lock may be descheduled. */
export const CROWD = "16 threads, one pool";
/** A quarter of them at the quick scale, because a thread takes half a second to start. */
const CROWD_PLAYERS = 16;

const ALL: readonly SubjectName[] = ["pooled", "cached", "single lock", "nothing"];

export const threads: BenchCase = {
  name: "threads",
  about:
    "Pairs of one page by several threads at once, tables half full. A time is that of one thread's pair while all " +
    "run, in windows in which all are at work; of 16 threads on two processors that is eight times the time of their processors. " +
    "The single lock has one pool for all threads.",
  metrics: [
    NANOSECONDS,
    { key: "rate", title: "all threads together [M pairs/s]", digits: 1 },
    { key: "contended", title: "lock acquisitions that had to wait [%]", digits: 3 },
    { key: "waited", title: "time that the threads waited for locks [%]", digits: 2 },
  ],
  operation: "pair",
  cells(scale: Scale, seed: number): readonly Cell[] {
    return [
      ...ALL.map((subject) => ownPoolCell(subject, ALONE, 1, scale, seed)),
      ...ALL.filter((subject) => subject !== "single lock").map((subject) =>
        ownPoolCell(subject, OWN_POOLS, 2, scale, seed),
      ),
      onePoolCell("pooled", ALONE_IN_ONE_POOL, 1, scale, seed),
      ...ALL.map((subject) => onePoolCell(subject, ONE_POOL, 2, scale, seed)),
      ...POOLED.map((subject) => crowdCell(subject, scale, seed)),
    ];
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

function ownPoolCell(subject: SubjectName, at: string, players: number, scale: Scale, seed: number): Cell {
  if (subject === "single lock") return onePoolCell(subject, at, players, scale, seed);
  const { arena } = scale;
  const table = { entries: arena * POOLS, pools: POOLS, arena };
  return cellOf(at, players, { ...workOf(subject, scale, seed), ...table });
}

function onePoolCell(subject: SubjectName, at: string, players: number, scale: Scale, seed: number): Cell {
  const { arena } = scale;
  // A single thread gets a pool of the size that two threads share.
  const pages = at === ALONE_IN_ONE_POOL ? 2 : players;
  const cell = cellOf(at, players, { ...workOf(subject, scale, seed), entries: arena * pages, pools: 1, arena });
  return at === ALONE_IN_ONE_POOL ? { ...cell, playsAnyBuild: true } : cell;
}

function crowdCell(subject: SubjectName, scale: Scale, seed: number): Cell {
  const players = scale.quick ? CROWD_PLAYERS / 4 : CROWD_PLAYERS;
  const arena = scale.arena / 4;
  const work = { ...workOf(subject, scale, seed), entries: arena * players, pools: 1, arena, threads: players };
  return { ...cellOf(CROWD, players, work), playsAnyBuild: true };
}

type WorkWithoutTable = Omit<Work, "entries" | "pools" | "arena">;

function workOf(subject: SubjectName, scale: Scale, seed: number): WorkWithoutTable {
  const { slices } = scale;
  return { subject, fillPercent: 50, slices, operations: scaled(pairsOf(subject), scale), seed };
}

function cellOf(at: string, threads: number, work: Work): Cell {
  return { case: "threads", row: work.subject, at, threads, work };
}

/** Contention of the locks between two readings of the counters; empty for a subject without counters. */
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

/** Throws unless the table's allocated pages are those of the threads: none is lost, none allocated twice. */
function checkPages(found: number | undefined, expected: number, work: Work): void {
  if (found === undefined || found === expected) return;
  throw new Error(`${work.subject}: ${found} pages are taken, the threads hold ${expected}`);
}
