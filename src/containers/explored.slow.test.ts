/**
 * A process that opens a container, maps, unmaps and closes it, and dies at any access, also beside a thread that watches devices, and with a recovery
 * that dies, too. Checked: memory that a device can reach is pinned at every moment; at the end nothing is mapped, pinned or charged.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertFound, assertSound, reclaimDead } from "../../explorer/assertions.model.ts";
import type { Exploration } from "../../explorer/explore.ts";
import { exploredCopy, type Plant } from "../../explorer/load.ts";
import { createShared, load, type SharedWords, store, wordsOf } from "../../explorer/memory.ts";
import type { Crew } from "../crew/crew.ts";
import type { PinnedMemory } from "../pinned/pinned-memory.ts";
import type { UserMemory } from "../pinned/user-memory.ts";
import type { TableOps } from "../table/contract.ts";
import type { DmaWindow } from "../units/numbers.ts";
import type { ContainerEnd } from "./container-end.ts";
import type { Domain } from "./domain.ts";

/** The process, a thread that watches devices, two reclaimers. */
const THREADS = 4;
const PHYSICAL_PAGES = 4;
const WINDOW: DmaWindow = { base: 0n, pageShift: 12, entries: 4 };
/** Words of the IOMMU: the entries, then what devices reach, as page + 1. */
const REACHED = WINDOW.entries;

interface Library {
  readonly crew: typeof import("../crew/crew.ts");
  readonly pinned: typeof import("../pinned/pinned-memory.ts");
  readonly type1: typeof import("./type1.ts");
  readonly end: typeof import("./container-end.ts");
}

interface State {
  readonly lib: Library;
  readonly crews: readonly Crew[];
  readonly views: readonly PinnedMemory[];
  readonly owner: number;
  readonly iommu: SharedWords;
  readonly domain: Domain;
  readonly end: ContainerEnd;
}

async function library(plants: readonly Plant[] = []): Promise<Library> {
  const copy = exploredCopy(plants);
  return {
    crew: await copy.load("crew/crew.js"),
    pinned: await copy.load("pinned/pinned-memory.js"),
    type1: await copy.load("containers/type1.js"),
    end: await copy.load("containers/container-end.js"),
  };
}

/** User page n is physical page n − 16. */
const memory: UserMemory = {
  pageOf: (page) => (page >= 16 && page - 16 < PHYSICAL_PAGES ? page - 16 : -1),
  backingShift: () => 12,
};

/** An IOMMU whose devices reach a page from the moment its entry is set until it is invalidated. */
function opsOf(words: SharedWords): TableOps {
  return {
    set: (first, count, page) => {
      for (let i = 0; i < count; i++) {
        store(words, first + i, page + i + 1);
        store(words, REACHED + first + i, page + i + 1);
      }
      return undefined;
    },
    clear: (first, count) => {
      for (let i = 0; i < count; i++) store(words, first + i, 0);
    },
    get: () => undefined,
    exchange: () => "platform-refused",
    publish: () => undefined,
    invalidate: (first, end) => {
      for (let entry = first; entry < end; entry++) store(words, REACHED + entry, 0);
      return undefined;
    },
    invalidateAll: () => {
      for (let entry = 0; entry < WINDOW.entries; entry++) store(words, REACHED + entry, 0);
      return undefined;
    },
  };
}

function setup(lib: Library): State {
  const { crew, pinned, end } = lib;
  const first = crew.Crew.create({ threads: THREADS });
  const crews = [first];
  while (crews.length < THREADS) crews.push(crew.Crew.attach(first.handle));
  const sizes = { memoryBytes: PHYSICAL_PAGES * 4096, regions: 3, owners: 1, charges: 1 };
  const made = pinned.PinnedMemory.create({ ...sizes, crew: first });
  const views = [made, ...crews.slice(1).map((one) => pinned.PinnedMemory.attach(made.handle, one))];
  const owner = made.addOwner({ limitBytes: PHYSICAL_PAGES * 4096 }, memory) as number;
  assert.equal(made.join(owner, memory), undefined);
  const iommu = wordsOf(createShared(4 * 2 * WINDOW.entries));
  const domain: Domain = { window: WINDOW, ops: opsOf(iommu) };
  const offered = end.ContainerEnd.offer(views[2] as PinnedMemory, owner, [domain]);
  end.ContainerEnd.watch(offered.handle, views[3] as PinnedMemory, [domain]);
  return { lib, crews, views, owner, iommu, domain, end: offered };
}

/** The process. Its third map fails: a page is not present. */
function living({ lib, views, owner, domain, end }: State): unknown {
  const pinned = views[0] as PinnedMemory;
  const container = lib.type1.Type1Container.open({ version: 1, pinned, owner, handle: end.handle });
  assert.ok(typeof container !== "string", String(container));
  container.attachGroup({ number: 1, domain });
  const request = { userAddress: 0x10000n, bytes: 8192n, flags: 3 } as const;
  return [
    container.map({ ...request, iova: 0n }),
    container.map({ ...request, iova: 0x2000n, userAddress: 0x13000n, bytes: 0x1000n }),
    container.map({ ...request, iova: 0x3000n, userAddress: 0x14000n, bytes: 0x1000n }),
    container.unmap({ iova: 0x1000n, bytes: 0x1000n }),
    container.close(),
  ];
}

/** Checks that devices reach pinned pages only. A page that a device reaches before and after the check was reached all the time. */
function lookingOn({ views, iommu }: State): void {
  for (const entry of [0, 1, 2]) {
    const reached = load(iommu, REACHED + entry);
    if (reached === 0) continue;
    const pins = (views[1] as PinnedMemory).pinsOf(reached - 1);
    assert.ok(
      pins > 0 || load(iommu, REACHED + entry) === 0,
      `a device reaches page ${reached - 1}, which is not pinned`,
    );
  }
}

function check(state: State, { dead, threads }: Parameters<NonNullable<Exploration<State>["check"]>>[1]): void {
  const view = state.views[3] as PinnedMemory;
  for (let at = 0; at < 2 * WINDOW.entries; at++) assert.equal(load(state.iommu, at), 0, `word ${at} of the IOMMU`);
  assert.equal(view.pins, 0);
  assert.equal(state.end.isEnded, true);
  if (dead.includes(0)) assert.equal(view.hasOwner(state.owner), false);
  else {
    assert.deepEqual(threads[0]?.value, [undefined, undefined, "EFAULT", 4096n, undefined]);
    assert.equal(view.chargedPages(state.owner), 0);
  }
}

function exploration(lib: Library, kills: 0 | 1 | 2): Exploration<State> {
  return {
    setup: () => setup(lib),
    threads: [living, kills === 2 ? () => undefined : lookingOn],
    reclaim: ({ crews }, dead, self) => reclaimDead(crews[self], dead.toReversed()),
    kills,
    victims: [0],
    check,
    skipSeen: true,
    preemptions: 1,
  };
}

const sound = await library();

test("while a process maps and unmaps, no device reaches memory that is not pinned", (t) => {
  assertSound(t, "living", exploration(sound, 0));
});

test("a process that dies at any access leaves nothing mapped or pinned, and memory is unpinned only after the invalidation", (t) => {
  const report = assertSound(t, "1 dies", exploration(sound, 1));
  assert.ok(report.kills > 0);
});

test("a process dies, and so does the thread that recovers it: nothing stays mapped or pinned, and memory is unpinned only after the invalidation", (t) => {
  const report = assertSound(t, "2 die", exploration(sound, 2));
  assert.ok(report.kills > 0);
});

const PLANTS: readonly (Plant & { readonly name: string })[] = [
  {
    name: "an unmap that does not invalidate",
    module: "containers/address-space.js",
    from: "if ((domain.ops.invalidate(first, first + count) ?? failure) !== undefined)",
    to: "if (failure !== undefined)",
  },
  {
    name: "a recovery that unpins first",
    module: "containers/container-end.js",
    from: "this.#empty() ?? this.#unpin()",
    to: "this.#unpin() ?? this.#empty()",
  },
  {
    name: "a recovery that does not invalidate",
    module: "containers/container-end.js",
    from: "if ((ops.invalidateAll() ?? failure) !== undefined)",
    to: "if (failure !== undefined)",
  },
  {
    name: "the lock of pinned memory taken over after the tables",
    module: "pinned/pinned-memory.js",
    from: 'onReclaim("bridge", ',
    to: 'onReclaim("pinned", ',
  },
];

for (const { name, ...plant } of PLANTS) {
  test(`${name}: found`, async (t) => {
    const lib = await library([plant]);
    assertFound(t, name, exploration(lib, 1), ["check", "thrown"]);
  });
}
