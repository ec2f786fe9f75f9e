/** The pooled allocator, explored for a few minutes. Each exploration prints its coverage. */
import { test } from "node:test";
import {
  allocate,
  allocateAt,
  allocatorModules,
  beginAndAbandon,
  beginAndCommit,
  beginAtAndCommit,
  drain,
  exploring,
  flush,
  free,
  freeNewest,
  type Operation,
  PAIRS,
  reserve,
  type Scenario,
  SMALL_TABLE,
  startAndFinishFree,
  startAndQuarantine,
  unreserve,
} from "./allocator.model.ts";
import { assertSound } from "./assertions.model.ts";

const modules = await allocatorModules();

const CACHES = ["none", "fifo"] as const;
type Options = Partial<Scenario["options"]>;

const scenario = (
  threads: readonly (readonly Operation[])[],
  given: readonly (readonly number[])[],
  options: Options = {},
  more: Partial<Scenario> = {},
): Scenario => ({ options: { ...SMALL_TABLE, ...options }, threads, given, ...more });

const BOUNDS = [
  ["begin and abandon", 4],
  ["exact", 2],
] as const;

for (const [name, pair] of Object.entries(PAIRS)) {
  for (const cache of CACHES) {
    // These lock and unlock twice, or search for the holder of a range; with recovery beside them there are too many schedules for all of them.
    const preemptions = BOUNDS.find(([start]) => name.startsWith(start))?.[1] ?? Number.POSITIVE_INFINITY;
    const bound = preemptions > 4 ? "in all schedules" : `with ${preemptions} preemptions`;
    test(`2 threads x 1, ${name}, cache ${cache}: sound when one dies, ${bound}`, (t) => {
      const cached = { ...pair, options: { ...pair.options, cache } };
      assertSound(t, `${name}, cache ${cache}, one dies`, { ...exploring(modules, cached, 1), preemptions });
    });
  }
}

for (const cache of CACHES) {
  test(`2 threads x 3, cache ${cache}: sound when one dies, with 3 preemptions`, (t) => {
    const threads = [
      [allocate(1), free, allocate(2)],
      [allocate(2), allocate(1), free],
    ];
    const exploration = exploring(modules, scenario(threads, [[], []], { cache }), 1);
    assertSound(t, `2 x 3, cache ${cache}, one dies, 3 preemptions`, { ...exploration, preemptions: 3 });
  });

  test(`3 threads x 2, cache ${cache}: sound when one dies, with 2 preemptions`, (t) => {
    const threads = [
      [allocate(1), free],
      [allocate(2), free],
      [free, allocate(1)],
    ];
    const exploration = exploring(modules, scenario(threads, [[], [], [2]], { cache }), 1);
    assertSound(t, `3 x 2, cache ${cache}, one dies, 2 preemptions`, { ...exploration, preemptions: 2 });
  });
}

const LAZY: Options = { cache: "fifo", invalidate: "lazy" };
const TWO_POOLS: Options = { entries: 64, pools: 2, cache: "none" };

/** Lazy flush, spans over pools, full tables, caches that other threads drain, ranges that are handed on. */
const OTHERS: Readonly<Record<string, Scenario>> = {
  "lazy frees with cache": scenario(
    [
      [allocate(1), free],
      [free, allocate(2)],
    ],
    [[], [2]],
    LAZY,
  ),
  "lazy frees without cache": scenario(
    [
      [free, flush],
      [free, allocate(2)],
    ],
    [[1], [2]],
    { invalidate: "lazy" },
  ),
  "lazy frees of a table": scenario(
    [
      [beginAndCommit(1), startAndFinishFree],
      [startAndFinishFree, beginAndCommit(2)],
    ],
    [[], [2]],
    LAZY,
  ),
  "a drain": scenario(
    [
      [free, drain],
      [allocate(2), free],
    ],
    [[2], [3]],
    { cache: "fifo" },
  ),
  "a range longer than a pool": scenario([[allocate(40)], [allocate(2), free]], [[], [1]], TWO_POOLS, {
    mayRefuse: true,
  }),
  // Once thread 1 has freed [32, 36), [20, 36) is free.
  "a range across the border of two pools": scenario(
    [
      [allocate(14), freeNewest],
      [free, allocate(2)],
    ],
    [[20], [4, 24]],
    TWO_POOLS,
    { mayRefuse: true },
  ),
  "two ranges across the border of two pools": scenario(
    [[allocate(10)], [free, allocate(12)]],
    [[24], [8, 20]],
    TWO_POOLS,
    { mayRefuse: true },
  ),
  // [31, 33): freed into a cache, and from there to both pools.
  "a cached range across the border of two pools": scenario(
    [
      [allocate(2), freeNewest, drain],
      [free, drain],
    ],
    [[31], [1, 31]],
    { ...TWO_POOLS, cache: "fifo" },
    { mayRefuse: true },
  ),
  "a reservation over two pools": scenario([[reserve(20, 50), unreserve], [allocate(2)]], [[], []], TWO_POOLS, {
    mayRefuse: true,
  }),
  "exact allocations over two pools": scenario(
    [[beginAtAndCommit(20, 30), free], [allocateAt(40, 10)]],
    [[], []],
    TWO_POOLS,
    { mayRefuse: true },
  ),
  "an exact allocation of a range in the other thread's cache": scenario(
    [
      [beginAtAndCommit(0, 6), free],
      [free, free, allocate(1)],
    ],
    [[], [2, 1]],
    { cache: "fifo" },
    { mayRefuse: true },
  ),
  "an exact allocation of a range that waits for a flush": scenario(
    [
      [beginAtAndCommit(0, 6), startAndFinishFree],
      [startAndFinishFree, allocate(1)],
    ],
    [[], [2]],
    LAZY,
    { mayRefuse: true },
  ),
  "no space until a cache is called in": scenario(
    [
      [free, allocate(1)],
      [allocate(8), free],
    ],
    [[2, 2], [20]],
    { cache: "fifo" },
    { mayRefuse: true },
  ),
  "no space until a quarantined range is called in": scenario(
    [
      [startAndQuarantine, allocate(1)],
      [allocate(8), free],
    ],
    [[20], []],
    {},
    { mayRefuse: true },
  ),
  "frees of ranges that the other thread allocated": scenario(
    [[free, allocate(1)], [free]],
    [[2], [3]],
    {},
    {
      handedOn: true,
      scope: "in-flight",
    },
  ),
  "abandoned ranges": scenario([[beginAndAbandon(2)], [allocate(2), free]], [[], []], { cache: "fifo" }),
};

for (const [name, other] of Object.entries(OTHERS)) {
  test(`${name}: sound when one dies, with 2 preemptions`, (t) => {
    assertSound(t, name, { ...exploring(modules, other, 1), preemptions: 2 });
  });
  test(`${name}: sound when one dies and then its reclaimer, without preemptions`, (t) => {
    assertSound(t, `${name}, 2 deaths`, { ...exploring(modules, other, 2), preemptions: 0 });
  });
  test(`${name}: sound when sleeps end early and glances see old values, with 1 preemption`, (t) => {
    const exploration = { ...exploring(modules, other, 1), earlyTimeOuts: true, staleGlances: true };
    assertSound(t, `${name}, early and stale`, { ...exploration, preemptions: 1 });
  });
}

const AT_RANDOM: Readonly<Record<string, Options>> = {
  "one pool": {},
  "two pools and caches": { ...TWO_POOLS, cache: "fifo" },
  "lazy flush": LAZY,
};

for (const [name, options] of Object.entries(AT_RANDOM)) {
  test(`4 threads x 5 at random, up to 2 deaths, ${name}: sound`, (t) => {
    const seed = 20150331;
    t.diagnostic(`seed ${seed}`);
    const threads = [
      [allocate(1), free, allocate(3), allocate(1), free],
      [free, beginAndCommit(2), startAndFinishFree, allocate(1), drain],
      [allocate(2), free, reserve(28, 31), unreserve, allocate(1)],
      [free, free, beginAndAbandon(4), allocate(2), free],
    ];
    const given = [[], [2], [], [1, 3]];
    const exploration = exploring(modules, scenario(threads, given, options, { mayRefuse: true }), 2);
    assertSound(t, `random, ${name}`, { ...exploration, random: { seed, schedules: 20_000 } });
  });
}
