/**
 * What the project has set itself, and whether this run meets it. The bounds were set near what prototypes of the same
 * structures reached on a machine like the one of docs/performance.md; "C" is the pooled allocator of Linux in user space,
 * which is no part of this project: its times were taken on that machine by the same kind of work.
 */
import { OFF, ON_NOTHING, ON_TABLE, UNDECORATED } from "./cases/debug.ts";
import { AFTER_FREE, FULL, HOLES } from "./cases/failing.ts";
import { EVERYTHING, HALF_TABLE, IN_FLIGHT } from "./cases/recovery.ts";
import { ALONE, ONE_POOL, OWN_POOLS } from "./cases/threads.ts";
import { BY_REGEX, COLUMNS, PARSER } from "./cases/traces.ts";
import type { Lookup } from "./summary.ts";

export interface Target {
  readonly what: string;
  readonly sense: "at most" | "at least";
  readonly bound: number;
  readonly unit: string;
  readonly digits: number;
  /** Of the medians of one run; undefined when the run lacks a cell that is needed. */
  readonly measured: (lookup: Lookup) => number | undefined;
  /** What the bound was set against. */
  readonly reference?: string;
}

export const TARGETS: readonly Target[] = [
  time("cached, one page", 10, "single", "cached", "50 %", "C 25"),
  time("no cache, one page, own pool", 55, "single", "pooled", "50 %", "C 25"),
  scaling("2 threads, own pools, no cache: as fast together as n threads", "pooled"),
  scaling("2 threads, own pools, cached: as fast together as n threads", "cached"),
  time("2 threads, one pool, no cache", 200, "threads", "pooled", ONE_POOL, "C 59 to 62, pools unpadded"),
  time("mix at 90 %, no cache", 530, "mix", "pooled", "90 %", "C 6,332 to 6,808"),
  time("mix at 95 %, no cache", 600, "mix", "pooled", "95 %", "C 14,900 to 16,900"),
  latencyOf("mix at 90 %, no cache: p99.9", "90 %"),
  latencyOf("mix at 95 %, no cache: p99.9", "95 %", "C about 1 ms"),
  failingAlloc("failing alloc, table full", FULL, "C 18 to 20"),
  failingAlloc("failing alloc, a hole per 64, 2 pages", HOLES, "C 411"),
  time("freed by another thread, no cache", 70, "foreign", "pooled", "2 threads"),
  time("freed by another thread, cached", 70, "foreign", "cached", "2 threads"),
  {
    what: "lock acquisitions that wait, 2 threads, own pools",
    sense: "at most",
    bound: 0.1,
    unit: "%",
    digits: 3,
    measured: (lookup) => lookup("threads", "pooled", OWN_POOLS, "contended"),
    reference: "78 % with the single lock of 2015",
  },
  recoveryOf("recovery of a dead thread, in flight", IN_FLIGHT),
  recoveryOf("recovery of a dead thread, everything, 1,000 ranges", EVERYTHING),
  recoveryOf("recovery of a dead thread, everything, half of 1 Mi entries", HALF_TABLE),
  {
    ...time("mapSg of 256 elements, per element, TCEs written", 25, "map-sg", "pooled, strict", "256 elements"),
    measured: (lookup) => lookup("map-sg", "pooled, strict", "256 elements", "map"),
  },
  switchedOff("debug mode switched off, no table below: times as long as undecorated", ON_NOTHING),
  switchedOff("debug mode switched off: times as long as undecorated", ON_TABLE),
  readingOf("trace parser: times as fast as a regular expression per line", PARSER, 4),
  readingOf("packed columns: times as fast as a regular expression per line", COLUMNS, 40),
];

/** By how much of the bound it is missed, or 0. */
export function missedBy(target: Target, measured: number): number {
  const { sense, bound } = target;
  return Math.max(0, sense === "at most" ? measured / bound - 1 : 1 - measured / bound);
}

function time(what: string, bound: number, benchCase: string, row: string, at: string, reference?: string): Target {
  const measured = (lookup: Lookup) => lookup(benchCase, row, at, "ns");
  return { what, sense: "at most", bound, unit: "ns", digits: 1, measured, ...(reference && { reference }) };
}

function scaling(what: string, row: string): Target {
  return {
    what,
    sense: "at least",
    bound: 1.8,
    unit: "",
    digits: 2,
    measured: (lookup) => ratio(lookup("threads", row, OWN_POOLS, "rate"), lookup("threads", row, ALONE, "rate")),
  };
}

function latencyOf(what: string, at: string, reference?: string): Target {
  return {
    what,
    sense: "at most",
    bound: 8,
    unit: "µs",
    digits: 1,
    measured: (lookup) => ratio(lookup("latency", "pooled", `mix, ${at}`, "p999"), 1000),
    ...(reference && { reference }),
  };
}

function failingAlloc(what: string, at: string, reference: string): Target {
  const measured = (lookup: Lookup) => lookup("failing", AFTER_FREE, at, "us");
  return { what, sense: "at most", bound: 3, unit: "µs", digits: 2, measured, reference };
}

function switchedOff(what: string, at: string): Target {
  const time = (lookup: Lookup, row: string) => lookup("debug", row, at, "ns");
  const measured = (lookup: Lookup) => ratio(time(lookup, OFF), time(lookup, UNDECORATED));
  return { what, sense: "at most", bound: 1.02, unit: "", digits: 3, measured };
}

function recoveryOf(what: string, at: string): Target {
  const measured = (lookup: Lookup) => lookup("recovery", "pooled, cached", at, "worst");
  return { what, sense: "at most", bound: 10, unit: "ms", digits: 1, measured };
}

function readingOf(what: string, row: string, bound: number): Target {
  return {
    what,
    sense: "at least",
    bound,
    unit: "",
    digits: 1,
    measured: (lookup) =>
      ratio(lookup("traces", BY_REGEX, "nvme-io-612", "ns"), lookup("traces", row, "nvme-io-612", "ns")),
  };
}

function ratio(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined ? undefined : one / other;
}
