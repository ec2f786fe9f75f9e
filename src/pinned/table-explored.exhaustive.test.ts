/**
 * Threads that map and unmap entries of a pinned table beside unregistrations, in all orders of their accesses, and with a death at each access.
 * Checked: no device reaches a page that is not pinned, each entry leads to the physical page of its user address, and a region's count is the
 * number of entries that lead to it.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertFound, assertSound, reclaimDead } from "../../explorer/assertions.model.ts";
import type { Exploration } from "../../explorer/explore.ts";
import { exploredCopy, type Plant } from "../../explorer/load.ts";
import * as memory from "../../explorer/memory.ts";
import type { Crew } from "../crew/crew.ts";
import type { Access, DmaWindow } from "../units/numbers.ts";
import { opsWords, StaleOps } from "./ops.model.ts";
import type { PinnedMemory } from "./pinned-memory.ts";
import type { PinnedTable } from "./pinned-table.ts";

/** Two threads, two reclaimers. */
const THREADS = 4;
const ENTRIES = 2;
/** User page n is physical page n − 16. Each region has one page. */
const PHYSICAL_PAGES = 4;

interface Library {
  readonly crew: typeof import("../crew/crew.ts");
  readonly pinned: typeof import("./pinned-memory.ts");
  readonly table: typeof import("./pinned-table.ts");
}

interface State {
  readonly crews: readonly Crew[];
  readonly views: readonly PinnedMemory[];
  readonly tables: readonly PinnedTable[];
  readonly ops: StaleOps;
  readonly owner: number;
}

async function library(plants: readonly Plant[] = []): Promise<Library> {
  const copy = exploredCopy(plants);
  return {
    crew: await copy.load("crew/crew.js"),
    pinned: await copy.load("pinned/pinned-memory.js"),
    table: await copy.load("pinned/pinned-table.js"),
  };
}

/**
 * User pages 16, 17 and 18 are registered, each as a region. `mapped`: entry 0 leads to page 16. `refuses`: the entry whose exchange fails.
 * `joined`: the threads of the process.
 */
function setup({ crew, pinned, table }: Library, mapped: boolean, refuses: number, joined = [0, 1, 2, 3]): State {
  const first = crew.Crew.create({ threads: THREADS });
  const crews = [first];
  while (crews.length < THREADS) crews.push(crew.Crew.attach(first.handle));
  const words = memory.wordsOf(memory.createShared(4 * opsWords(ENTRIES)));
  const opsOf = (): StaleOps => {
    const one = new StaleOps(memory, words, ENTRIES);
    one.refuses = refuses;
    return one;
  };
  const ops = opsOf();
  const user = {
    pageOf: (page: number) => (page < 20 ? page - 16 : -1),
    backingShift: () => 12,
    onUnpin: (_: number, page: number) =>
      assert.ok(!ops.reachable().includes(page), `page ${page} is unpinned, and a device reaches it`),
  };
  const made = pinned.PinnedMemory.create({
    memoryBytes: PHYSICAL_PAGES * 4096,
    regions: 3,
    owners: 1,
    charges: 1,
    crew: first,
  });
  const views = [made, ...crews.slice(1).map((one) => pinned.PinnedMemory.attach(made.handle, one))];
  const owner = made.addOwner({ limitBytes: 4 * 4096 }, user) as number;
  for (const [thread, view] of views.entries()) {
    if (joined.includes(thread)) assert.equal(view.join(owner, user), undefined);
    else view.setMemory(owner, user);
  }
  for (const page of [16, 17, 18]) assert.equal(typeof made.register(owner, page, 1), "number");
  const window: DmaWindow = { base: 0n, pageShift: 12, entries: ENTRIES };
  const own = table.PinnedTable.create(made, owner, window, opsOf());
  const tables = [own, ...views.slice(1).map((view) => table.PinnedTable.attach(view, own.handle, opsOf()))];
  if (mapped) assert.equal(own.map(0, 1, 16, 3), undefined);
  return { crews, views, tables, ops, owner };
}

const mapping =
  (thread: number, first: number, count: number, page: number, access: Access = 3) =>
  ({ tables }: State): string | undefined =>
    (tables[thread] as PinnedTable).map(first, count, page, access);

const unmapping =
  (thread: number, first: number, count: number) =>
  ({ tables }: State): string | undefined =>
    (tables[thread] as PinnedTable).unmap(first, count);

const unregistering =
  (thread: number, page: number) =>
  ({ views, owner }: State): string | undefined =>
    (views[thread] as PinnedMemory).unregister(owner, page, 1);

function check({ views, tables, ops, owner }: State, { dead }: { readonly dead: readonly number[] }): void {
  const judge = [2, 3].find((thread) => !dead.includes(thread)) as number;
  const [view, table] = [views[judge] as PinnedMemory, tables[judge] as PinnedTable];
  const counts = new Map<number, number>();
  const value = { page: 0, access: 0 as 0 | Access };
  for (let entry = 0; entry < ENTRIES; entry++) {
    const found = table.get(entry);
    assert.ok(typeof found !== "string", "the lock of an entry is lost");
    ops.get(entry, value);
    assert.deepEqual(
      [value.page, value.access],
      found === undefined ? [0, 0] : [found.userPage - 16, found.access],
      `entry ${entry} does not lead to what its user address says`,
    );
    if (found !== undefined) counts.set(found.region, (counts.get(found.region) ?? 0) + 1);
  }
  const regions = view.regionsOf(owner);
  assert.ok(typeof regions !== "string", "the lock of the pinned memory is lost");
  for (const region of regions) {
    assert.equal(view.mapped(region) - 1, counts.get(region) ?? 0, `the count of region ${region}`);
    counts.delete(region);
  }
  assert.equal(counts.size, 0, "an entry leads to a region that is gone");
  for (const page of ops.reachable()) assert.equal(view.pinsOf(page), 1, `page ${page} is reachable`);
  assert.equal(view.pins, regions.length);
  if (dead.length > 0) return;
  assert.equal(view.endOwner(owner), undefined);
  assert.deepEqual([ops.reachable(), view.pins], [[], 0]);
}

interface Pair {
  readonly name: string;
  readonly mapped: boolean;
  readonly threads: Exploration<State>["threads"];
  /** The entry whose exchange the platform refuses. */
  readonly refuses?: number;
  /** Preemptions when a thread dies. */
  readonly preemptions?: number;
}

function exploration(
  lib: Library,
  { mapped, threads, refuses = -1 }: Pair,
  kills: 0 | 1 | 2,
  preemptions: number,
): Exploration<State> {
  return {
    setup: () => setup(lib, mapped, refuses),
    threads,
    reclaim: ({ crews }, dead, self) => reclaimDead(crews[self], dead.toReversed()),
    kills,
    check,
    skipSeen: true,
    preemptions,
  };
}

const PAIRS: readonly Pair[] = [
  {
    name: "two maps of one entry, and both regions unregistered (spec section 8, defect 29)",
    mapped: true,
    threads: [mapping(0, 0, 1, 17), mapping(1, 0, 1, 18)],
    preemptions: 2,
  },
  {
    name: "a map over a live entry beside the unregistration of its region (defect 28)",
    mapped: true,
    threads: [mapping(0, 0, 1, 17), unregistering(1, 16)],
    preemptions: 2,
  },
  {
    name: "a map beside the unregistration of the region that it maps",
    mapped: false,
    threads: [mapping(0, 0, 1, 16), unregistering(1, 16)],
  },
  {
    name: "an unmap beside the unregistration of its region",
    mapped: true,
    threads: [unmapping(0, 0, 1), unregistering(1, 16)],
  },
  {
    name: "a map over two regions beside an unmap of one of its entries",
    mapped: true,
    threads: [mapping(0, 0, 2, 17, 1), unmapping(1, 0, 1)],
  },
  {
    name: "a map whose second entry is refused beside the unregistration of the region that it replaces",
    mapped: true,
    threads: [mapping(0, 0, 2, 17), unregistering(1, 16)],
    refuses: 1,
  },
];

const BUGS: readonly { readonly bug: string; readonly plant: Plant; readonly pair: number; readonly kills: 0 | 1 }[] = [
  {
    bug: "an old region that is lowered without an invalidation",
    plant: { module: "pinned/pinned-table.js", from: "isReplaced ? INVALIDATING : LOWERING", to: "LOWERING" },
    pair: 1,
    kills: 0,
  },
  {
    bug: "entries that are not locked",
    plant: {
      module: "pinned/pinned-table.js",
      from: "return this.#lockEntries(first, count);",
      to: "return undefined;",
    },
    pair: 0,
    kills: 0,
  },
  {
    bug: "a region that is counted only after the exchange",
    plant: {
      module: "pinned/pinned-table.js",
      from: "this.#pinned.keep();",
      to: "this.#pinned.keep(); this.#pinned.restoreCell(this.#thread, region, this.#pinned.cellOf(region) - count);",
    },
    pair: 2,
    kills: 0,
  },
  {
    bug: "a recovery that restores entries and does not invalidate them",
    plant: { module: "pinned/pinned-table.js", from: "?? INVALIDATING;", to: "?? LOWERING;" },
    pair: 2,
    kills: 1,
  },
  {
    bug: "a recovery that drops the count of entries which have their new values",
    plant: {
      module: "pinned/pinned-table.js",
      from: "this.#pinned.settleHand(thread, isNoted);",
      to: "this.#pinned.settleHand(thread, false);",
    },
    pair: 2,
    kills: 1,
  },
  {
    bug: "a run that is lowered twice when a thread dies while it lowers",
    plant: {
      module: "pinned/pinned-table.js",
      from: "const after = this.#get(thread, OPERATION.lowerBefore) -",
      to: "const after = this.#pinned.cellOf(region, thread) -",
    },
    pair: 3,
    kills: 1,
  },
];

for (const { bug, plant, pair, kills } of BUGS) {
  test(`${bug}: found`, async (t) => {
    assertFound(t, bug, exploration(await library([plant]), PAIRS[pair] as Pair, kills, 2), [
      "check",
      "thrown",
      "race",
    ]);
  });
}

const sound = await library();

for (const pair of PAIRS) {
  test(`${pair.name}: entries and counts agree`, (t) => {
    assertSound(t, pair.name, exploration(sound, pair, 0, 3));
  });

  test(`${pair.name}, and a thread that dies at any access: entries and counts agree`, (t) => {
    const report = assertSound(t, `${pair.name}, 1 dies`, exploration(sound, pair, 1, pair.preemptions ?? 1));
    assert.ok(report.kills > 0);
  });
}

for (const pair of PAIRS.slice(1, 4)) {
  test(`${pair.name}, and a thread that dies, and the one that recovers it: entries and counts agree`, (t) => {
    const report = assertSound(t, `${pair.name}, 2 die`, exploration(sound, pair, 2, 0));
    assert.ok(report.kills > 0);
  });
}

/** The process has ended, or its only thread lives. */
function checkEnd(state: State, end: { readonly dead: readonly number[] }): void {
  const judge = state.views[3] as PinnedMemory;
  if (end.dead.includes(0)) {
    assert.deepEqual([judge.hasOwner(state.owner), judge.pins, state.ops.reachable()], [false, 0, []]);
  } else check(state, end);
}

test("the only thread of a process dies at any access, and the one that recovers it: nothing is mapped or pinned", (t) => {
  const calls = (state: State) => [mapping(0, 0, 2, 17)(state), unmapping(0, 1, 1)(state), unregistering(0, 16)(state)];
  const report = assertSound(t, "the end of a process, 2 die", {
    setup: () => setup(sound, true, -1, [0]),
    threads: [calls],
    reclaim: ({ crews }, dead, self) => reclaimDead(crews[self], dead.toReversed()),
    kills: 2,
    check: checkEnd,
    skipSeen: true,
  });
  assert.ok(report.kills > 0);
});
