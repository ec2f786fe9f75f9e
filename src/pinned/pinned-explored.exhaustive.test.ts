/**
 * Threads that register, map, unmap and unregister, in all orders of their accesses, and with a death at each access and a recovery beside the
 * other threads. Checked: a mapped page is pinned; at the end counts, pins and charges are those of the calls that succeeded, the lock is
 * free, and the next call works.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertFound, assertSound, reclaimDead } from "../../explorer/assertions.model.ts";
import type { Exploration } from "../../explorer/explore.ts";
import { exploredCopy, type Plant } from "../../explorer/load.ts";
import { createShared, peek, poke, type SharedWords, wordsOf } from "../../explorer/memory.ts";
import type { Crew } from "../crew/crew.ts";
import type { PinnedMemory } from "./pinned-memory.ts";
import type { UserMemory } from "./user-memory.ts";

/** Two threads, two reclaimers. */
const THREADS = 4;
const PAGES = 2;
const PHYSICAL_PAGES = 4;

/** Words of a thread's note: its step, the region, and the thread's part of its count before it is lowered. */
const NOTE = { step: 0, region: 1, before: 2, words: 3 } as const;
const MAPPED = 1;
const LOWERING = 2;

interface Library {
  readonly crew: typeof import("../crew/crew.ts");
  readonly pinned: typeof import("./pinned-memory.ts");
}

interface State {
  readonly crews: readonly Crew[];
  readonly views: readonly PinnedMemory[];
  readonly owner: number;
  /** Each thread's note on its mapping (NOTE), as containers keep one. */
  readonly noted: SharedWords;
}

async function library(plants: readonly Plant[] = []): Promise<Library> {
  const copy = exploredCopy(plants);
  return { crew: await copy.load("crew/crew.js"), pinned: await copy.load("pinned/pinned-memory.js") };
}

/** User page n is physical page n − 16. */
const memory: UserMemory = {
  pageOf: (page) => (page - 16 < PHYSICAL_PAGES ? page - 16 : -1),
  backingShift: () => 12,
};

/** Regions [firstPage, firstPage + 2) are registered; the owner may have `limitPages`. */
function setup({ crew, pinned }: Library, registered: readonly number[], limitPages = 8): State {
  const first = crew.Crew.create({ threads: THREADS });
  const crews = [first];
  while (crews.length < THREADS) crews.push(crew.Crew.attach(first.handle));
  const made = pinned.PinnedMemory.create({
    memoryBytes: PHYSICAL_PAGES * 4096,
    regions: 2,
    owners: 1,
    charges: 1,
    crew: first,
  });
  const views = [made, ...crews.slice(1).map((one) => pinned.PinnedMemory.attach(made.handle, one))];
  const owner = made.addOwner({ limitBytes: limitPages * 4096 }, memory) as number;
  for (const view of views) assert.equal(view.join(owner, memory), undefined);
  for (const page of registered) assert.equal(typeof made.register(owner, page, PAGES), "number");
  return { crews, views, owner, noted: wordsOf(createShared(4 * THREADS * NOTE.words)) };
}

const viewOf = ({ views }: State, thread: number): PinnedMemory => views[thread] as PinnedMemory;

/** Maps a page, uses it and unmaps it. Returns true if it was mapped. */
const mapping =
  (thread: number, page: number) =>
  (state: State): boolean => {
    const view = viewOf(state, thread);
    const at = thread * NOTE.words;
    const region = view.take(state.owner, page, 1);
    if (region < 0) return false;
    poke(state.noted, at + NOTE.region, region);
    poke(state.noted, at + NOTE.step, MAPPED);
    view.keep();
    const physical = view.physicalPage(region, page, 12);
    assert.equal(physical, page - 16, "the region is another one");
    assert.ok(view.pinsOf(physical) > 0, "what is mapped is not pinned");
    poke(state.noted, at + NOTE.before, view.cellOf(region));
    poke(state.noted, at + NOTE.step, LOWERING);
    view.lower(region);
    poke(state.noted, at + NOTE.step, 0);
    return true;
  };

const unregistering =
  (thread: number, page: number) =>
  (state: State): string | undefined =>
    viewOf(state, thread).unregister(state.owner, page, PAGES);

const registering =
  (thread: number, page: number, pages = PAGES) =>
  (state: State): string | number =>
    viewOf(state, thread).register(state.owner, page, pages);

/** As a container's recovery: a mapping noted as mapped stays, and a mapping noted as being lowered is lowered. */
function recover(state: State, dead: readonly number[], self: number): void {
  const view = viewOf(state, self);
  for (const thread of dead.filter((one) => one < 2)) {
    const at = thread * NOTE.words;
    const step = peek(state.noted, at + NOTE.step);
    if (step === LOWERING) {
      view.restoreCell(thread, peek(state.noted, at + NOTE.region), peek(state.noted, at + NOTE.before) - 1);
      poke(state.noted, at + NOTE.step, 0);
    } else view.settleHand(thread, step === MAPPED);
  }
  reclaimDead(state.crews[self], dead.toReversed());
}

/** Asserts that the region's mappings are the noted ones, and that pins and charges are those of the live regions. */
function check(state: State, { dead }: { readonly dead: readonly number[] }): void {
  const view = state.views.find((_, thread) => !dead.includes(thread) && thread > 1) as PinnedMemory;
  const regions = view.regionsOf(state.owner);
  assert.ok(typeof regions !== "string", `the lock is lost: ${regions}`);
  const pages = regions.map((region) => view.regionOf(region).pages).reduce((sum, count) => sum + count, 0);
  assert.equal(view.pins, pages, "pins without a region, or a region without pins");
  assert.equal(view.chargedPages(state.owner), pages, "charged pages are not those of the regions");
  for (const region of regions) {
    const { userPage, pages: count } = view.regionOf(region);
    for (let page = userPage; page < userPage + count; page++) assert.equal(view.pinsOf(page - 16), 1);
  }
  const noted = [0, 1].filter((thread) => peek(state.noted, thread * NOTE.words) !== 0).length;
  const mapped = regions.map((region) => view.mapped(region) - 1).reduce((sum, count) => sum + count, 0);
  assert.equal(mapped, noted, "the count is not that of the mappings");
  if (dead.length === 0) assert.equal(view.endOwner(state.owner), undefined);
  if (dead.length === 0) assert.equal(view.pins, 0);
}

function exploration(
  lib: Library,
  registered: readonly number[],
  threads: Exploration<State>["threads"],
  kills: 0 | 1 | 2,
  preemptions?: number,
  limitPages?: number,
): Exploration<State> {
  return {
    setup: () => setup(lib, registered, limitPages),
    threads,
    reclaim: recover,
    kills,
    check,
    skipSeen: true,
    ...(preemptions === undefined ? {} : { preemptions }),
  };
}

const sound = await library();

const PAIRS: readonly {
  readonly name: string;
  readonly registered: readonly number[];
  readonly threads: Exploration<State>["threads"];
  readonly limitPages?: number;
}[] = [
  { name: "a map beside an unregistration", registered: [16], threads: [mapping(0, 17), unregistering(1, 16)] },
  {
    name: "a map beside an unregistration and a registration of other pages in the same slot",
    registered: [16],
    threads: [
      mapping(0, 16),
      (state) => [unregistering(1, 16)(state), registering(1, 18)(state), unregistering(1, 18)(state)],
    ],
  },
  {
    name: "two registrations that overlap",
    registered: [],
    threads: [registering(0, 16), registering(1, 17)],
  },
  {
    name: "two registrations of which one is not present to its end",
    registered: [],
    threads: [registering(0, 16), registering(1, 18, 3)],
  },
  {
    name: "two registrations with a limit for one",
    registered: [],
    threads: [registering(0, 16), registering(1, 18)],
    limitPages: 3,
  },
  { name: "two unregistrations", registered: [16], threads: [unregistering(0, 16), unregistering(1, 16)] },
  { name: "two maps", registered: [16], threads: [mapping(0, 16), mapping(1, 17)] },
];

for (const { name, registered, threads, limitPages } of PAIRS) {
  test(`${name}: counts, pins and charges are exact`, (t) => {
    assertSound(t, name, exploration(sound, registered, threads, 0, undefined, limitPages));
  });

  test(`${name}, and a thread that dies at any access: counts, pins and charges are exact after the recovery`, (t) => {
    const report = assertSound(t, `${name}, 1 dies`, exploration(sound, registered, threads, 1, 2, limitPages));
    assert.ok(report.kills > 0);
  });
}

for (const name of ["a map beside an unregistration", "two registrations that overlap"]) {
  test(`${name}, a thread dies, and so does the one that recovers it: counts, pins and charges are exact in the end`, (t) => {
    const { registered, threads, limitPages } = PAIRS.find((pair) => pair.name === name) as (typeof PAIRS)[number];
    const report = assertSound(t, `${name}, 2 die`, exploration(sound, registered, threads, 2, 0, limitPages));
    assert.ok(report.kills > 0);
  });
}

const BUGS: readonly { readonly bug: string; readonly plant: Plant; readonly pair: number; readonly kills: 0 | 1 }[] = [
  {
    bug: "a map that does not check whether the region is being released",
    plant: { module: "pinned/counts.js", from: "if (load(words, at) === LIVE && contains", to: "if (contains" },
    pair: 0,
    kills: 0,
  },
  {
    bug: 'an unregistration that reads the cells before it stores "releasing"',
    plant: {
      module: "pinned/pinned-memory.js",
      from: "store(words, at, RELEASING);\n        const mappings = mappedOf(this.#state, region);",
      to: "const mappings = mappedOf(this.#state, region); store(words, at, RELEASING);",
    },
    pair: 0,
    kills: 0,
  },
  {
    bug: "a lookup that relies on its reading before the count",
    plant: {
      module: "pinned/counts.js",
      from: "if (load(words, at) === LIVE && contains(words, at, owner, userPage, pages))",
      to: "if (load(words, at) === LIVE)",
    },
    pair: 1,
    kills: 0,
  },
  {
    bug: "a recovery that keeps a count which the dead thread raised for no mapping",
    plant: { module: "pinned/counts.js", from: "const after = isMade ?", to: "const after = true ?" },
    pair: 0,
    kills: 1,
  },
  {
    bug: "a recovery that forgets the page whose pin count was being changed",
    plant: { module: "pinned/pinning.js", from: "if (count !== NOTHING)", to: "if (false)" },
    pair: 2,
    kills: 1,
  },
  {
    bug: "a recovery that does not compute the charges again",
    plant: { module: "pinned/recovery.js", from: "    recount(state);\n}", to: "}" },
    pair: 2,
    kills: 1,
  },
  {
    bug: "a partial pin that is not undone",
    plant: { module: "pinned/recovery.js", from: "    unpin(state, region, memory);", to: "" },
    pair: 3,
    kills: 0,
  },
];

for (const { bug, plant, pair, kills } of BUGS) {
  test(`${bug}: found`, async (t) => {
    const { registered, threads, limitPages } = PAIRS[pair] as (typeof PAIRS)[number];
    const explored = exploration(await library([plant]), registered, threads, kills, 2, limitPages);
    assertFound(t, bug, explored, ["check", "thrown", "race"]);
  });
}
