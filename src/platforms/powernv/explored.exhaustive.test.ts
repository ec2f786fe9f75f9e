/**
 * Levels made on demand, explored: threads that need the same level at once, in all orders of their accesses, each also dying at any of
 * them, with the recovery beside the others. What is judged: every entry that was set leads where it should, in one table of
 * one level below the first, and no page of the region is lost or given out twice.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertSound } from "../../../explorer/assertions.model.ts";
import { type Exploration, explore, formatReport } from "../../../explorer/explore.ts";
import type { Plant } from "../../../explorer/load.ts";
import {
  type ExploredLibrary,
  type ExploredScene,
  exploredLibrary,
  exploredScene,
  reclaimThread,
} from "./explored.model.ts";
import type { Phb } from "./phb.ts";

const THREADS = 3;

type State = ExploredScene;

/** 3 pages: the first level, and one for each of two threads. */
function setup(library: ExploredLibrary): State {
  return exploredScene(library, {
    threads: THREADS,
    pages: 3,
    partitions: 2,
    pageShift: 12,
    windowBytes: 2n ** 22n,
    levels: 2,
  });
}

/** Sets an entry of the level below entry 0 of the first. */
const setting =
  (thread: number) =>
  ({ tables }: State): unknown =>
    tables[thread]?.ops.set(10 + thread, 1, 100 + thread, 3) ?? "set";

function read({ tables }: State, entry: number): number {
  const value = { page: -1, access: 0 as const };
  tables[2]?.ops.get(entry, value);
  return value.access === 0 ? 0 : value.page;
}

function check(state: State, ends: readonly { readonly value?: unknown }[], dead: readonly number[]): void {
  let published = 0;
  for (const thread of [0, 1]) {
    const page = read(state, 10 + thread);
    if (!dead.includes(thread)) assert.equal(ends[thread]?.value, "set");
    if (dead.includes(thread)) assert.ok(page === 0 || page === 100 + thread, `entry of a dead thread: page ${page}`);
    else assert.equal(page, 100 + thread);
    if (page !== 0) published = 1;
  }
  for (const entry of [9, 12, 511]) assert.equal(read(state, entry), 0, "what the memory held before shows");
  const taken = state.phbs[2]?.pages.takenPages as number;
  // A thread may die between putting its level in place and setting its entry.
  if (dead.length === 0) assert.equal(taken, 2, `${taken} pages taken`);
  else assert.ok(taken >= 1 + published && taken <= 2, `${taken} pages taken, ${published} levels in use`);
  // Pages that are not allocated can be allocated, and are not part of the table.
  for (let left = 3 - taken; left > 0; left--) {
    const page = state.phbs[2]?.pages.allocate(4096) as number;
    assert.ok(page > 0);
    state.machines[2]?.memory.write(page, new Uint8Array(4096).fill(0xff));
  }
  assert.equal(read(state, 9), 0, "a level of the table was given out");
}

function racing(library: ExploredLibrary, kills: 0 | 1): Exploration<State> {
  return {
    setup: () => setup(library),
    threads: [setting(0), setting(1)],
    reclaim: ({ phbs }, dead) => {
      for (const thread of dead) reclaimThread(phbs[2] as Phb, thread);
    },
    kills,
    check: (state, { threads, dead }) => check(state, threads, dead),
    skipSeen: true,
    preemptions: kills === 0 ? 3 : 2,
  };
}

const sound = await exploredLibrary();

test("two threads that need the same level: one's is taken, the other's goes back, both entries are set", (t) => {
  assertSound(t, "2 threads make one level", racing(sound, 0));
});

test("a thread that dies anywhere while it makes a level leaves nothing that its recovery does not bring back", (t) => {
  const report = assertSound(t, "2 threads make one level, one dies", racing(sound, 1));
  assert.ok(report.kills > 0);
});

const OPS = "platforms/powernv/ops.js";
const PHB = "platforms/powernv/phb.js";

const PLANTS: readonly (Plant & { readonly bug: string; readonly kills: 0 | 1 })[] = [
  {
    bug: "a level is stored, not swapped in",
    kills: 0,
    module: OPS,
    from: "if (this.#memory.compareExchange32(inner + LOW_WORD, 0, low) !== 0)",
    to: "this.#memory.store32(inner + LOW_WORD, low);\n        if (false)",
  },
  {
    bug: "who loses the swap keeps its copy",
    kills: 0,
    module: OPS,
    from: "this.#pages.free(level, this.#levelBytes);",
    to: ";",
  },
  {
    bug: "a level is put in place before it holds zeros",
    kills: 0,
    module: OPS,
    from: "for (let done = 0; done < this.#levelBytes; done += ZEROS.length)",
    to: "this.#memory.compareExchange32(inner + LOW_WORD, 0, swapBytes(level | READ_AND_WRITE) >>> 0);\n        for (let done = 0; done < this.#levelBytes; done += ZEROS.length)",
  },
  {
    bug: "recovery gives back what the dead thread has put in place",
    kills: 1,
    module: PHB,
    from: "if (used.has(range.address))",
    to: "if (false)",
  },
  {
    bug: "recovery keeps what the dead thread has not put in place",
    kills: 1,
    module: PHB,
    from: "if (used.has(range.address))",
    to: "if (true)",
  },
];

for (const { bug, kills, ...plant } of PLANTS) {
  test(`planted bug found: ${bug}`, async () => {
    const report = explore({ ...racing(await exploredLibrary([plant]), kills), stopAtFailure: true });
    console.log(formatReport(bug, report));
    assert.ok(report.first !== undefined);
  });
}
