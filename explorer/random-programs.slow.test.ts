/** Random programs, explored with and without reductions: both reach the same end states. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { SharedWords } from "../src/shared/memory.ts";
import type { Exploration } from "./explore.ts";
import { endsOf, randomNumbers, randomThread, words } from "./small-programs.model.ts";

test("reductions of the schedules keep all end states of random programs", (t) => {
  const seed = 6;
  t.diagnostic(`seed ${seed}`);
  const random = randomNumbers(seed);
  let ends = 0;
  for (let program = 0; program < 60; program++) {
    const exploration: Exploration<SharedWords> = {
      setup: words,
      threads: [4, 3, 2].map((length) => randomThread(random, length)),
    };
    for (const preemptions of [1, 2, Number.POSITIVE_INFINITY]) {
      const all = endsOf({ ...exploration, preemptions, switchAt: "synchronising" });
      ends += all.length;
      for (const switchAt of ["meetings", "synchronising"] as const) {
        const fewer = endsOf({ ...exploration, preemptions, switchAt, skipSeen: true });
        // With a bound of preemptions, switching at meetings only may reach end states that switching everywhere does not.
        if (switchAt === "synchronising" || preemptions > 2)
          assert.deepEqual(fewer, all, `program ${program}, ${preemptions}`);
        else for (const end of all) assert.ok(fewer.includes(end), `program ${program}, ${preemptions}: ${end}`);
      }
    }
  }
  assert.ok(ends > 2000, `${ends} ends`);
});

test("reductions of the schedules keep all end states of random programs with a death", (t) => {
  const seed = 11;
  t.diagnostic(`seed ${seed}`);
  const random = randomNumbers(seed);
  let ends = 0;
  for (let program = 0; program < 120; program++) {
    const recover = randomThread(random, 2);
    const exploration: Exploration<SharedWords> = {
      setup: words,
      threads: [randomThread(random, 3), randomThread(random, 2)],
      kills: 1,
      reclaim: (at) => recover(at),
    };
    for (const preemptions of [1, Number.POSITIVE_INFINITY]) {
      const all = endsOf({ ...exploration, preemptions, switchAt: "synchronising", killAt: "all" });
      const fewer = endsOf({ ...exploration, preemptions, switchAt: "synchronising", skipSeen: true });
      assert.deepEqual(fewer, all, `program ${program}, ${preemptions}`);
      ends += all.length;
    }
    const all = endsOf({ ...exploration, switchAt: "synchronising" });
    assert.deepEqual(endsOf({ ...exploration, skipSeen: true }), all, `program ${program}`);
  }
  assert.ok(ends > 2500, `${ends} ends`);
});
