/** The duration of the recovery of a killed thread's ranges. */
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { SoftwareMachine } from "../../src/machines/software/machine.ts";
import { LinearPlatform } from "../../src/platforms/linear/platform.ts";
import { load, wordsOf } from "../../src/shared/memory.ts";
import type { BenchCase, Cell, Work } from "../cell.ts";
import { nextRandom, seedOf } from "../churn.ts";
import { measureSlices, median } from "../measure.ts";
import { CASE_WORDS_AT, type Player } from "../player.ts";
import type { Scale } from "../scale.ts";
import { windowOf } from "../subjects.ts";
import type { VictimData } from "./recovery.worker.ts";

const PATIENCE_MS = 60_000;

/** Columns. */
export const IN_FLIGHT = "in flight, 1,000 ranges live";
export const EVERYTHING = "everything, 1,000 ranges";
export const RANGES_50_000 = "everything, 50,000 ranges";
const HALF_TABLE = "everything, half the table";
export const RANGES_500_000 = "everything, 500,000 ranges of 8 Mi entries";

/** Parameters of a column at full scale; the quick scale has a hundredth of the ranges. */
interface Circumstance {
  readonly ranges: number;
  readonly percent?: number;
  readonly entryFactor?: number;
  readonly kills: number;
}
const CIRCUMSTANCES: Readonly<Record<string, Circumstance>> = {
  [IN_FLIGHT]: { ranges: 1000, kills: 5 },
  [EVERYTHING]: { ranges: 1000, kills: 5 },
  [RANGES_50_000]: { ranges: 50_000, kills: 9 },
  [HALF_TABLE]: { ranges: 0, percent: 50, kills: 5 },
  [RANGES_500_000]: { ranges: 500_000, entryFactor: 8, kills: 3 },
};

export const recovery: BenchCase = {
  name: "recovery",
  about:
    "A worker that maps and unmaps ranges of 1 to 16 pages in a table of 1 Mi entries is ended by terminate(), and another thread reclaims what it " +
    "held: locks and half-made changes, then its pending and cached ranges (in flight), or its live ranges too (everything). " +
    "Entries are cleared and the IOTLB is invalidated. The first is with code that V8 has not compiled yet; the warm ones are the later half.",
  metrics: [
    { key: "middle", title: "median [ms]", digits: 2 },
    { key: "warm", title: "warm [ms]", digits: 2 },
    { key: "first", title: "the first [ms]", digits: 2 },
    { key: "worst", title: "the worst [ms]", digits: 2 },
  ],
  operation: "recovery",
  cells(scale: Scale, seed: number): readonly Cell[] {
    return Object.entries(CIRCUMSTANCES).map(([at, { ranges, percent = 0, entryFactor = 1, kills }]) => ({
      case: "recovery",
      row: "pooled, cached",
      at,
      threads: 1,
      work: {
        subject: "cached" as const,
        entries: scale.entries * entryFactor,
        pools: 16,
        arena: scale.entries * entryFactor,
        fillPercent: percent,
        slices: scale.quick ? 1 : kills,
        operations: 1,
        seed,
        amount: scale.quick && ranges > 1000 ? ranges / 100 : ranges,
        variant: at === IN_FLIGHT ? "in-flight" : "everything",
      },
    }));
  },
  async play(work: Work, player: Player) {
    const machine = SoftwareMachine.create({ memoryBytes: work.entries * 8 + 2 ** 20, threads: 4 });
    const table = { pools: work.pools, threads: 4, cache: "fifo" } as const;
    const platform = LinearPlatform.create(machine, { format: "powernv-tce", window: windowOf(work.entries), table });
    const milliseconds: number[] = [];
    let slices = measureSlices(0, () => {});
    for (let kill = 0; kill < work.slices; kill++) {
      const victim = await kill1(work, player, machine, platform, kill);
      slices = measureSlices(1, () => {
        platform.generic.reclaim(victim.thread, work.variant === "everything" ? "everything" : "in-flight");
      });
      milliseconds.push(((slices.ends[0] as number) - (slices.begins[0] as number)) / 1e6);
      // Frees the live ranges and the victim's slot, for the next victim.
      if (work.variant !== "everything") platform.generic.reclaim(victim.thread, "everything");
      checkEmpty(platform);
    }
    const [first = Number.NaN, ...later] = milliseconds;
    const worst = Math.max(...milliseconds);
    const middle = median(later.length > 0 ? later : milliseconds);
    const values = { first, worst, middle, warm: median(milliseconds.slice(milliseconds.length >> 1)) };
    return { slices, operations: 1, hash: undefined, values };
  },
};

interface Victim {
  readonly thread: number;
}

/** Starts a victim, waits until it has mapped the ranges that it keeps, and ends it some time later. */
async function kill1(
  work: Work,
  player: Player,
  machine: SoftwareMachine,
  platform: LinearPlatform,
  kill: number,
): Promise<Victim> {
  const workerData: VictimData = {
    machine: machine.handle,
    platform: platform.handle,
    ranges: work.amount ?? 0,
    percent: work.fillPercent,
    seed: seedOf(work.seed, kill),
    words: player.words,
  };
  const rounds = (): number => load(wordsOf(player.words), CASE_WORDS_AT);
  const before = rounds();
  const worker = new Worker(new URL("./recovery.worker.js", import.meta.url), { workerData });
  const [victim] = (await once(worker, "message")) as [Victim];
  // On a busy machine its first round may take long.
  const began = performance.now();
  for (; rounds() === before; await sleep(1)) {
    if (performance.now() - began > PATIENCE_MS) throw new Error(`the victim has not worked within ${PATIENCE_MS} ms`);
  }
  await sleep((nextRandom(seedOf(work.seed, kill)) >>> 0) % 10);
  await worker.terminate();
  return victim;
}

/** After a whole recovery all entries are free: this thread has none. */
function checkEmpty(platform: LinearPlatform): void {
  platform.generic.allocator.drain();
  const { taken } = platform.generic.statistics();
  if (taken !== 0) throw new Error(`${taken} entries are taken after everything has been reclaimed`);
}
