/** Small tables, exhaustively: every short history gives the addresses of the plain model. And the largest table. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { EntryRange } from "../units/numbers.ts";
import { type AllocatorModel, range, realAndModel } from "./allocator.model.ts";
import { UNCONSTRAINED } from "./constraints.ts";
import { PooledAllocator } from "./pooled-allocator.ts";

/** Entries that stay free, in a 32-entry table of which all others are reserved. */
const EIGHT_FREE: ReadonlyArray<readonly number[]> = [
  [0, 1, 2, 3, 4, 5, 6, 7],
  [24, 25, 26, 27, 28, 29, 30, 31],
  [0, 2, 4, 6, 8, 10, 12, 14],
  [0, 1, 8, 9, 16, 17, 30, 31],
  [3, 4, 5, 10, 20, 21, 22, 23],
];

function reservedBut(free: readonly number[]): EntryRange[] {
  return Array.from({ length: 32 }, (_, entry) => entry)
    .filter((entry) => !free.includes(entry))
    .map((entry) => range(entry, entry + 1));
}

type Step = readonly ["allocate", number] | readonly ["free", number];

/** What can come next: an allocation of 1, 2, 3 or 8 entries, or a free of any live range. */
function stepsFrom(model: AllocatorModel): Step[] {
  const frees = [...model.live.keys()].map((first): Step => ["free", first]);
  return [["allocate", 1], ["allocate", 2], ["allocate", 3], ["allocate", 8], ...frees];
}

test("every history of 6 operations on a 32-entry table with 8 free entries gives the model's addresses", (t) => {
  let histories = 0;
  for (const free of EIGHT_FREE) {
    const options = { entries: 32, pools: 1, threads: 1, reserved: reservedBut(free) };
    const play = (history: readonly Step[]): Step[] => {
      const { real, model } = realAndModel(options);
      for (const [kind, value] of history) {
        if (kind === "allocate") {
          assert.equal(
            real.allocate(value),
            model.allocate(value, UNCONSTRAINED, -1),
            `history ${JSON.stringify(history)}`,
          );
        } else {
          assert.equal(real.free(value, model.live.get(value) as number), 0);
          model.free(value, 0);
          for (const entry of free)
            model.taken[entry] = [...model.live].some(([first, n]) => entry >= first && entry < first + n);
        }
      }
      assert.equal(real.statistics().taken, 24 + [...model.live.values()].reduce((sum, n) => sum + n, 0));
      return stepsFrom(model);
    };
    const extend = (history: readonly Step[]): void => {
      const next = play(history);
      histories++;
      if (history.length < 6) for (const step of next) extend([...history, step]);
    };
    extend([]);
  }
  t.diagnostic(`${histories} histories`);
  assert.ok(histories > 10_000);
});

test("a table of 2^31 - 1 entries works from its first entry to its last", () => {
  const entries = 2 ** 31 - 1;
  const real = PooledAllocator.create({ entries, pools: 4, largePool: true, threads: 1 });
  const last = range(entries - 1, entries);
  assert.equal(real.reserve(last), undefined);
  assert.equal(real.unreserve(last), undefined);
  const { pools } = real.statistics();
  const large = pools[pools.length - 1];
  assert.equal(large?.end, entries);
  const first = real.allocate(1000);
  assert.equal(first, large?.first);
  assert.throws(() => real.free(first, 999), { code: "wrong-length" });
  assert.equal(real.free(first, 1000), 0);
});
