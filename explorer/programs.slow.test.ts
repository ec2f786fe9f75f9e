/** The pooled allocator, explored: small programs, in seconds. allocator.exhaustive.test.ts goes further. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  allocate,
  allocatorModules,
  beginAndCommit,
  exploring,
  flush,
  free,
  PAIRS,
  type Scenario,
  SMALL_TABLE,
} from "./allocator.model.ts";
import { assertFound, assertSound } from "./assertions.model.ts";
import type { FailureKind } from "./explore.ts";
import type { Plant } from "./load.ts";

const modules = await allocatorModules();

/** The dying thread has ranges that are cached, pending and live. */
const OPS_THROW: Scenario = {
  options: { ...SMALL_TABLE, cache: "fifo" },
  threads: [[free, beginAndCommit(2)], [allocate(1)]],
  given: [[1, 3], []],
  opsThrow: true,
};

for (const cache of ["none", "fifo"] as const) {
  for (const [name, pair] of Object.entries(PAIRS)) {
    const scenario = { ...pair, options: { ...pair.options, cache } };
    test(`${name}, cache ${cache}: sound in all schedules`, (t) => {
      assertSound(t, `${name}, cache ${cache}`, exploring(modules, scenario));
    });
    test(`${name}, cache ${cache}: sound when one dies, with 1 preemption`, (t) => {
      const exploration = { ...exploring(modules, scenario, 1), preemptions: 1 };
      assert.ok(assertSound(t, `${name}, cache ${cache}, one dies`, exploration).kills > 0);
    });
  }
}

test("two threads free one range at the same time: one gets an error, and nothing is freed twice", (t) => {
  const scenario: Scenario = { options: SMALL_TABLE, threads: [[free], [free]], given: [[2], []], shared: true };
  assertSound(t, "free against free of one range", exploring(modules, scenario));
});

for (const options of [
  SMALL_TABLE,
  { ...SMALL_TABLE, cache: "fifo" },
  { ...SMALL_TABLE, invalidate: "lazy" },
] as const) {
  const name = JSON.stringify(options);
  test(`a range of a dead owner is freed and reclaimed at the same time: one of the two succeeds, ${name}`, (t) => {
    const threads = [[allocate(1)], [free, allocate(1)]];
    const scenario: Scenario = {
      options,
      threads,
      given: [[2], []],
      handedOn: true,
      mayLose: true,
      scope: "everything",
    };
    const exploration = { ...exploring(modules, scenario, 1), preemptions: 2 };
    assert.ok(assertSound(t, `freed and reclaimed, ${name}`, exploration).kills > 0);
  });
}

for (const kills of [1, 2] as const) {
  for (const scope of ["in-flight", "everything"] as const) {
    test(`ops throw while ${scope} of a dead thread is reclaimed: the next reclaim completes it, ${kills} deaths`, (t) => {
      const exploration = { ...exploring(modules, { ...OPS_THROW, scope }, kills), preemptions: 2 - kills };
      assert.ok(assertSound(t, `ops throw, ${scope}, ${kills} deaths`, exploration).kills > 0);
    });
  }
}

test("three threads at random, up to two deaths: sound", (t) => {
  const seed = 20150331;
  t.diagnostic(`seed ${seed}`);
  const threads = [
    [allocate(2), free],
    [free, allocate(1)],
    [allocate(1), free],
  ];
  const scenario: Scenario = { options: { ...SMALL_TABLE, cache: "fifo" }, threads, given: [[], [1], []] };
  assertSound(t, "3 threads at random", { ...exploring(modules, scenario, 2), random: { seed, schedules: 2000 } });
});

// Bugs, planted in the text of the built modules. Each is found, so the explorations above would find similar ones.

interface PlantedBug {
  readonly bug: string;
  readonly plants: readonly Plant[];
  readonly scenario: Scenario;
  readonly kills?: 0 | 1;
  /** The kinds of failure that show it. */
  readonly shows: readonly FailureKind[];
}

const POOL = "allocator/pool.js";
const BOUNDS = "allocator/bounds.js";
const LEDGER = "allocator/ledger.js";
const ALLOC_AND_FREE: Scenario = {
  options: SMALL_TABLE,
  threads: [[allocate(1)], [free, allocate(1)]],
  given: [[], [2]],
};
/** Thread 0 finds no run of 8, and so lowers the pool's bounds; thread 1 returns such a run to the pool. */
const FULL: Scenario = {
  options: SMALL_TABLE,
  threads: [[allocate(8)], [free]],
  given: [[], [10, 20]],
  mayRefuse: true,
};

const SET_BITS = "poke(words, at, taken | (((1 << count) - 1) << offset));";
const RECORD = "pokeHalf(this.#ledger, first, slot | count);";
const UNLOCK = "unlock(words, lockAt);\n        return first;";
/** Thread 0 allocates a range across the border of two pools; thread 1, whose own pool is the second one, dies with its lock. */
const ACROSS: Scenario = {
  options: { entries: 64, pools: 2, cache: "none" },
  threads: [[allocate(34)], [allocate(1)]],
  given: [[28], []],
  mayRefuse: true,
};
/** A length without a code of its own: it is written in three more halfwords of the ledger. */
const UNCODED: Scenario = { options: SMALL_TABLE, threads: [[allocate(26)], [free]], given: [[], [2]] };
const REBUILD = "reach = pool.rebuild(before?.end === pool.first ? reach : undefined);";

const PLANTED: readonly PlantedBug[] = [
  {
    bug: "an exact allocation does not check the bits",
    plants: [{ module: "allocator/span.js", from: "pools.every((pool) => pool.isFree(first, end))", to: "true" }],
    scenario: PAIRS["exact alloc against exact alloc of a part"] as Scenario,
    shows: ["check"],
  },
  {
    bug: "an exact allocation checks the bits before it has the locks",
    plants: [
      {
        module: "allocator/span.js",
        from: "const failure = lockAll(pools);\n        if (failure !== 0)\n            return failure;\n        const free = pools.every((pool) => pool.isFree(first, end));",
        to: "const free = pools.every((pool) => pool.isFree(first, end)); const failure = lockAll(pools); if (failure !== 0) return failure;",
      },
    ],
    scenario: PAIRS["exact alloc against exact alloc of a part"] as Scenario,
    shows: ["race", "check"],
  },
  {
    bug: "the bits of an allocation are set after the unlock",
    plants: [
      { module: POOL, from: SET_BITS, to: "" },
      { module: POOL, from: UNLOCK, to: UNLOCK.replace("return", `${SET_BITS} return`) },
    ],
    scenario: { ...ALLOC_AND_FREE, scope: "in-flight" },
    kills: 1,
    shows: ["race", "check"],
  },
  {
    bug: "an allocation is recorded in the ledger after the unlock",
    plants: [
      { module: POOL, from: RECORD, to: "" },
      { module: POOL, from: UNLOCK, to: UNLOCK.replace("return", `${RECORD} return`) },
    ],
    scenario: ALLOC_AND_FREE,
    kills: 1,
    shows: ["race", "check"],
  },
  {
    bug: "recovery trusts the bits that a dying thread left",
    plants: [{ module: "allocator/recovery.js", from: REBUILD, to: "" }],
    scenario: { ...ALLOC_AND_FREE, scope: "in-flight" },
    kills: 1,
    shows: ["check"],
  },
  {
    bug: "a pool's overhang is not recorded",
    plants: [{ module: POOL, from: "if (first < this.first)\n            this.#setOverhang(end);", to: "" }],
    scenario: ACROSS,
    kills: 1,
    shows: ["check"],
  },
  {
    bug: "recovery trusts the overhang of a pool whose span was half made",
    plants: [{ module: "allocator/recovery.js", from: REBUILD, to: "pool.rebuild(undefined);" }],
    scenario: ACROSS,
    kills: 1,
    shows: ["check"],
  },
  {
    bug: "the first halfword of a range is written before the rest of its length",
    plants: [
      { module: LEDGER, from: "    pokeHalf(ledger, first, slot);\n}", to: "}" },
      {
        module: LEDGER,
        from: "const slot = slotOf(state, owner, count);",
        to: "const slot = slotOf(state, owner, count); pokeHalf(ledger, first, slot);",
      },
    ],
    scenario: { ...UNCODED, scope: "in-flight" },
    kills: 1,
    shows: ["check"],
  },
  {
    bug: "recovery leaves halfwords of a length whose range is gone",
    plants: [{ module: POOL, from: "if (slot !== 0)\n            pokeHalf(this.#ledger, entry, 0);", to: "" }],
    scenario: { ...UNCODED, scope: "in-flight" },
    kills: 1,
    shows: ["check"],
  },
  {
    bug: "a bound is lowered without a signal to frees",
    plants: [
      {
        module: BOUNDS,
        from: "poke(this.#words, at, bound);\n        poke(this.#words, this.#loweredAt, 1);",
        to: "poke(this.#words, at, bound);",
      },
      {
        module: BOUNDS,
        from: "hintTo(this.#words, this.#longestAt, count - 1);\n            poke(this.#words, this.#loweredAt, 1);",
        to: "hintTo(this.#words, this.#longestAt, count - 1);",
      },
    ],
    scenario: FULL,
    shows: ["check"],
  },
  {
    bug: "a free forgets to raise its block's bound",
    plants: [{ module: BOUNDS, from: "if (peek(this.#words, at) < bound)", to: "if (false)" }],
    scenario: FULL,
    shows: ["check"],
  },
  {
    bug: "a free forgets to raise its pool's longest run",
    plants: [{ module: BOUNDS, from: "if (peek(this.#words, this.#longestAt) < longest)", to: "if (false)" }],
    scenario: FULL,
    shows: ["check"],
  },
  {
    bug: "recovery trusts the bounds that a dying free left",
    plants: [{ module: POOL, from: "this.bounds.reset();\n        const hint", to: "const hint" }],
    scenario: { ...FULL, scope: "in-flight" },
    kills: 1,
    shows: ["check"],
  },
  {
    bug: "recovery releases a dead thread's lock before it has completed the change",
    plants: [
      { module: "allocator/recovery.js", from: "for (const pool of held)\n            pool.unlock();", to: "" },
      {
        module: "allocator/recovery.js",
        from: "pool.holder() === tagOf(thread));",
        to: "pool.holder() === tagOf(thread)); for (const pool of held) pool.unlock();",
      },
    ],
    scenario: ALLOC_AND_FREE,
    kills: 1,
    shows: ["race", "check"],
  },
  {
    bug: "ops that throw leave the recovery lock held",
    plants: [
      {
        module: "crew/crew.js",
        from: "finally {\n            unlock(this.#words, HEADER.recoveryLock);\n        }",
        to: "finally { }\n        unlock(this.#words, HEADER.recoveryLock);",
      },
    ],
    scenario: OPS_THROW,
    kills: 1,
    shows: ["thrown"],
  },
  {
    bug: "ops that throw leave the ranges with the thread that recovers",
    plants: [{ module: "allocator/recovery.js", from: "if (!isDone)", to: "if (false)" }],
    scenario: OPS_THROW,
    kills: 1,
    shows: ["check"],
  },
  {
    bug: "a free does not check the range again once it has the lock",
    plants: [
      { module: POOL, from: "= claim(this.#ledger, first, slot, this.#thread);", to: "= true;" },
      { module: POOL, from: "= peekHalf(ledger, first) === (slot | count);", to: "= true;" },
    ],
    scenario: { options: SMALL_TABLE, threads: [[free], [free]], given: [[2], []], shared: true },
    shows: ["check"],
  },
  {
    bug: "a range across a border is allocated without a second check under its locks",
    plants: [
      {
        module: "allocator/span.js",
        from: "const free = pools.every((pool) => pool.isFree(first, end));",
        to: "const free = true;",
      },
    ],
    scenario: {
      options: { entries: 64, pools: 2, cache: "none" },
      threads: [[allocate(8)], [free, allocate(6)]],
      given: [[28], [4, 24]],
      mayRefuse: true,
    },
    shows: ["check"],
  },
  {
    bug: "unlock does not wake a waiter",
    plants: [{ module: "shared/lock.js", from: "notify(words, at, 1);", to: ";" }],
    scenario: ALLOC_AND_FREE,
    shows: ["lost-wake-up"],
  },
  {
    bug: "a flush is numbered after its invalidation",
    plants: [
      {
        module: "allocator/flush.js",
        from: "const number = (add(words, HEADER.flushesStarted, 1) + 1) | 0;\n    const failure = invalidator.invalidateAll();",
        to: "const failure = invalidator.invalidateAll(); const number = (add(words, HEADER.flushesStarted, 1) + 1) | 0;",
      },
    ],
    scenario: {
      options: { ...SMALL_TABLE, cache: "fifo", invalidate: "lazy" },
      threads: [[flush], [free, allocate(2)]],
      given: [[], [2]],
    },
    shows: ["thrown"],
  },
];

for (const { bug, plants, scenario, kills = 0, shows } of PLANTED) {
  test(`planted bug found: ${bug}`, async (t) => {
    const bound = { preemptions: kills === 0 ? 2 : 1 };
    assertSound(t, `without "${bug}"`, { ...exploring(modules, scenario, kills), ...bound });
    const broken = await allocatorModules(plants);
    assertFound(t, bug, { ...exploring(broken, scenario, kills), ...bound }, shows);
  });
}

test("setting bits before the ledger is correct: recovery rebuilds them", async (t) => {
  const swapped = await allocatorModules([
    { module: POOL, from: SET_BITS, to: "" },
    { module: POOL, from: RECORD, to: `${SET_BITS} ${RECORD}` },
  ]);
  for (const scope of ["everything", "in-flight"] as const) {
    const exploration = exploring(swapped, { ...ALLOC_AND_FREE, scope }, 1);
    assertSound(t, `bits before the ledger, ${scope}`, { ...exploration, preemptions: 1 });
  }
});
