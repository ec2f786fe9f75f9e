/**
 * The project's performance targets, and their check by a run: ratios of times of one run, and a few absolute waits.
 *
 * The first group was set on 2026-11-30 from measured prototypes; several of its targets compare with commit cafea23, which must be the
 * run's base (`--base`). The second group is older and still holds.
 */
import { OFF, ON_NOTHING, ON_TABLE, UNDECORATED } from "./cases/debug.ts";
import { AFTER_FREE, FULL, HOLES } from "./cases/failing.ts";
import { MAP, ONE_REGION } from "./cases/pinned.ts";
import { EVERYTHING, IN_FLIGHT, RANGES_50_000, RANGES_500_000 } from "./cases/recovery.ts";
import { THROUGH_MAP_SG } from "./cases/replay.ts";
import { ALONE, ALONE_IN_ONE_POOL, CROWD, ONE_POOL, OWN_POOLS } from "./cases/threads.ts";
import { BY_REGEX, COLUMNS, PARSER } from "./cases/traces.ts";
import { QUIET } from "./harness.ts";

/** The commit that targets against a base refer to. */
export const TARGET_BASE = "cafea23";

/** The values of a run that targets use: medians; undefined if the run lacks the cell or a base. */
export interface Run {
  lookup(benchCase: string, row: string, at: string, metric: string): number | undefined;
  /** The value as a multiple of the base's. */
  timesBase(benchCase: string, row: string, at: string, metric: string): number | undefined;
}

export interface Target {
  readonly what: string;
  readonly sense: "at most" | "at least";
  readonly bound: number;
  /** A bound beyond the target that would be better still. */
  readonly stretch?: number;
  /** "" is a ratio. */
  readonly unit: string;
  readonly digits: number;
  /** The base of the comparison; undefined: the target needs no base. */
  readonly base?: typeof TARGET_BASE;
  /** The measured value; undefined if the run lacks a cell. */
  readonly measured: (run: Run) => number | undefined;
}

export const TARGETS: readonly Target[] = [
  {
    ...timesOf("cached pair, one page, 50 % full : driver alone", 4.8),
    stretch: 4,
    measured: (run) => ratioOf(run, ["single", "cached", "50 %"], ["single", "nothing", "50 %"], QUIET),
  },
  {
    ...timesOf("cached pair, one page, 50 % full : single lock", 0.25),
    measured: (run) => ratioOf(run, ["single", "cached", "50 %"], ["single", "single lock", "50 %"], QUIET),
  },
  { ...againstBase("locked pair, one page, 50 % full", 0.6, "single", "pooled", "50 %"), stretch: 0.45 },
  { ...againstBase("locked pair, one page, 90 % full", 0.55, "single", "pooled", "90 %"), stretch: 0.45 },
  againstBase("two threads in one pool, locked", 0.42, "threads", "pooled", ONE_POOL),
  {
    ...timesOf("two threads in one pool, locked : one of them alone", 7),
    stretch: 5,
    measured: (run) => ratioOf(run, ["threads", "pooled", ONE_POOL], ["threads", "pooled", ALONE_IN_ONE_POOL]),
  },
  { ...againstBase("freed by another thread, cached", 0.6, "foreign", "cached", "2 threads"), stretch: 0.35 },
  againstBase("16 threads in one pool, locked", 0.3, "threads", "pooled", CROWD),
  mapSgOf("1 element", 0.8),
  mapSgOf("16 elements", 0.8),
  mapSgOf("256 elements", 0.9),
  recoveryOf("recovery of 50,000 ranges, warm", 10, RANGES_50_000, "warm"),
  recoveryOf("recovery of 50,000 ranges, the first", 40, RANGES_50_000, "first"),
  {
    what: "recovery of 500,000 ranges: how many come back",
    sense: "at least",
    bound: 100,
    unit: "%",
    digits: 0,
    // The cell fails if a range is not recovered.
    measured: (run) =>
      run.lookup("recovery", "pooled, cached", RANGES_500_000, "first") === undefined ? undefined : 100,
  },
  {
    ...timesOf("replay without a machine, 2 threads, requests a second: cached : single lock", 3),
    sense: "at least",
    measured: (run) =>
      ratioOf(
        run,
        ["replay", "cached", THROUGH_MAP_SG.together],
        ["replay", "single lock", THROUGH_MAP_SG.together],
        "rate",
      ),
  },
];

/** Older targets: ratios and waits. */
export const STANDING_TARGETS: readonly Target[] = [
  scaling("two threads in own pools, locked: as fast together as n threads", "pooled"),
  scaling("two threads in own pools, cached: as fast together as n threads", "cached"),
  {
    what: "two threads in own pools: lock acquisitions that wait",
    sense: "at most",
    bound: 0.1,
    unit: "%",
    digits: 3,
    measured: ({ lookup }) => lookup("threads", "pooled", OWN_POOLS, "contended"),
  },
  latencyOf("mix at 90 % full, locked: p99.9", "90 %"),
  latencyOf("mix at 95 % full, locked: p99.9", "95 %"),
  failingAlloc("failing alloc, table full", FULL),
  failingAlloc("failing alloc, a hole per 64, 2 pages", HOLES),
  recoveryOf("recovery of what was in flight, the worst", 10, IN_FLIGHT, "worst"),
  recoveryOf("recovery of 1,000 ranges, the worst", 10, EVERYTHING, "worst"),
  switchedOff("debug mode switched off, no table below : undecorated", ON_NOTHING),
  switchedOff("debug mode switched off : undecorated", ON_TABLE),
  {
    what: "map path of registered memory, a range",
    sense: "at most",
    bound: 30,
    unit: "ns",
    digits: 1,
    measured: ({ lookup }) => lookup("pinned", MAP, ONE_REGION, "ns"),
  },
  readingOf("trace parser, times as fast as a regular expression per line", PARSER, 4),
  readingOf("packed columns, times as fast as a regular expression per line", COLUMNS, 40),
];

/** The excess over the bound as a share of the bound; 0 if the target is met. */
export function missedBy({ sense, bound }: Pick<Target, "sense" | "bound">, measured: number): number {
  return Math.max(0, sense === "at most" ? measured / bound - 1 : 1 - measured / bound);
}

type Frame = Omit<Target, "measured">;

function timesOf(what: string, bound: number): Frame {
  return { what, sense: "at most", bound, unit: "", digits: 2 };
}

function againstBase(what: string, bound: number, benchCase: string, row: string, at: string, metric = "ns"): Target {
  const measured = (run: Run) => run.timesBase(benchCase, row, at, metric);
  return { ...timesOf(`${what} : ${TARGET_BASE}`, bound), base: TARGET_BASE, measured };
}

function mapSgOf(at: string, bound: number): Target {
  return againstBase(`mapSg and unmapSg of ${at}, locked`, bound, "map-sg", "pooled, strict", at, "map+unmap");
}

function recoveryOf(what: string, bound: number, at: string, metric: string): Target {
  const measured = ({ lookup }: Run) => lookup("recovery", "pooled, cached", at, metric);
  return { what, sense: "at most", bound, unit: "ms", digits: 1, measured };
}

function scaling(what: string, row: string): Target {
  const measured = (run: Run) => ratioOf(run, ["threads", row, OWN_POOLS], ["threads", row, ALONE], "rate");
  return { ...timesOf(what, 1.8), sense: "at least", measured };
}

function latencyOf(what: string, at: string): Target {
  const measured = (run: Run) => {
    const nanoseconds = run.lookup("latency", "pooled", `mix, ${at}`, "p999");
    return nanoseconds === undefined ? undefined : nanoseconds / 1000;
  };
  return { what, sense: "at most", bound: 8, unit: "µs", digits: 1, measured };
}

function failingAlloc(what: string, at: string): Target {
  const measured = ({ lookup }: Run) => lookup("failing", AFTER_FREE, at, "us");
  return { what, sense: "at most", bound: 3, unit: "µs", digits: 2, measured };
}

function switchedOff(what: string, at: string): Target {
  return {
    ...timesOf(what, 1.02),
    digits: 3,
    measured: (run) => ratioOf(run, ["debug", OFF, at], ["debug", UNDECORATED, at], QUIET),
  };
}

function readingOf(what: string, row: string, bound: number): Target {
  const measured = (run: Run) =>
    ratioOf(run, ["traces", BY_REGEX, "nvme-io-612"], ["traces", row, "nvme-io-612"], QUIET);
  return { ...timesOf(what, bound), sense: "at least", digits: 1, measured };
}

type CellName = readonly [benchCase: string, row: string, at: string];

function ratioOf({ lookup }: Run, one: CellName, other: CellName, metric = "ns"): number | undefined {
  const [a, b] = [lookup(...one, metric), lookup(...other, metric)];
  return a === undefined || b === undefined ? undefined : a / b;
}
