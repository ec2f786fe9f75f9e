/**
 * Lists of hypercalls, explored: a driver maps pages by a list that the hypervisor takes in parts, unmaps them, and gives them to their
 * next owner, while a stray DMA reads by these entries; in all orders, and with the driver's death at any
 * access. Judged are the bytes that the device sees, what recovery leaves in the table, and the list page that serves the next thread.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertSound, reclaimDead } from "../../../explorer/assertions.model.ts";
import { type Exploration, explore, formatReport } from "../../../explorer/explore.ts";
import { exploredCopy, type Plant } from "../../../explorer/load.ts";
import type { Sun4vHypervisor } from "../../machines/hypervisors/sun4v/hypervisor.ts";
import type { Sun4vPlatform } from "./platform.ts";

interface Library {
  readonly hypervisor: typeof import("../../machines/hypervisors/sun4v/hypervisor.ts");
  readonly platform: typeof import("./platform.ts");
}

async function libraryWith(plants: readonly Plant[]): Promise<Library> {
  const copy = exploredCopy(plants);
  return {
    hypervisor: await copy.load<Library["hypervisor"]>("machines/hypervisors/sun4v/hypervisor.js"),
    platform: await copy.load<Library["platform"]>("platforms/sun4v/platform.js"),
  };
}

const sound = await libraryWith([]);
const PAGE = 8192;
const BASE = 0x8000_0000n;
const ENTRIES = 64;
/** Threads of the machine: the creator, two of the scenario, a reclaimer, one for what comes after. */
const THREADS = 5;
/** Pages that the drivers map, not in a row: each begins with its number, until its next owner puts the secret there. */
const PAGES = [5, 1, 3] as const;
const OTHER_PAGES = [2, 6, 4] as const;
const SECRET = 99;
const LISTS = 8 * PAGE;

interface State {
  readonly library: Library;
  /** Of the scenario's threads, the reclaimer, and one for what comes after. */
  readonly machines: readonly Sun4vHypervisor[];
  readonly creator: Sun4vPlatform;
  readonly creatorMachine: Sun4vHypervisor;
}

function setup(library: Library): State {
  const first = library.hypervisor.Sun4vHypervisor.create({
    memoryBytes: LISTS + THREADS * PAGE + PAGE,
    legacyEntries: ENTRIES,
    threads: THREADS,
    iotlb: { entries: 1, ways: 1 },
    faultRecords: 1,
    busyMilliseconds: 10,
  });
  const machines: Sun4vHypervisor[] = [];
  while (machines.length < 4) machines.push(library.hypervisor.Sun4vHypervisor.attach(first.handle));
  for (let page = 0; page < 8; page++) first.memory.write(page * PAGE, new Uint8Array(4).fill(page));
  const options = { entries: ENTRIES, listAddress: LISTS, table: { pools: 1 } };
  const creator = library.platform.Sun4vPlatform.create(first, options);
  first.injection.set({ most: 2 });
  return { library, machines, creator, creatorMachine: first };
}

/** A driver's whole life, its attaching too: what it gathers is in objects of its own, which replays must not share. */
const driving =
  (thread: number, pages: readonly number[], then: "unmaps" | "stays") =>
  ({ library, machines, creator }: State): number => {
    const machine = machines[thread] as Sun4vHypervisor;
    const { generic } = library.platform.Sun4vPlatform.attach(machine, creator.handle);
    const first = generic.allocate(pages.length);
    for (const [i, page] of pages.entries()) assert.equal(generic.set(first + i, 1, page, 3), undefined);
    assert.equal(generic.publish(), undefined);
    generic.commit(first, pages.length);
    if (then === "stays") return first;
    assert.equal(generic.unmap(first, pages.length), undefined);
    for (const page of pages) machine.memory.write(page * PAGE, new Uint8Array(4).fill(SECRET));
    return first;
  };

/** What a device reads by an entry: its page's number, 0 when it is refused, -1 when the bytes are not of one owner. */
function read(machine: Sun4vHypervisor | undefined, entry: number): number {
  const bytes = new Uint8Array(4);
  if (machine?.device(0).dmaRead(BASE + BigInt(entry * PAGE), bytes) !== true) return 0;
  return bytes.every((byte) => byte === bytes[0]) ? (bytes[0] as number) : -1;
}

const looking =
  (thread: number, ...entries: number[]) =>
  ({ machines }: State): number[] =>
    entries.map((entry) => read(machines[thread], entry));

function isEmpty({ machines: [machine] }: State): boolean {
  const table = new Uint8Array(ENTRIES * 8);
  machine?.machine.memory.read(machine.guestBytes, table);
  return table.every((byte) => byte === 0);
}

/** What the next thread maps is what its device reads. */
function checkNext(state: State): void {
  const first = driving(3, OTHER_PAGES, "stays")(state);
  for (const [i, page] of OTHER_PAGES.entries()) assert.equal(read(state.machines[3], first + i), page);
}

function checkLooked(value: unknown): void {
  for (const [i, byte] of (value as number[]).entries()) {
    assert.ok(byte === 0 || byte === PAGES[[0, 2, 0][i] as number], `the device read ${byte}`);
  }
}

/** One driver, and a device that reads its first entry, its last, and the first again. */
function watched(library: Library, kills: 0 | 1): Exploration<State> {
  return {
    setup: () => setup(library),
    threads: [driving(0, PAGES, "unmaps"), looking(1, 0, 2, 0)],
    kills,
    victims: [0],
    preemptions: kills === 0 ? 3 : 1,
    skipSeen: true,
    reclaim: ({ machines, creatorMachine }) => reclaimDead(creatorMachine.crew, [machines[0]?.thread as number]),
    check: (state, { threads }) => {
      checkLooked(threads[1]?.value);
      assert.ok(isEmpty(state), "entries are left");
      for (let entry = 0; entry < 3; entry++)
        assert.equal(read(state.machines[1], entry), 0, "an entry still translates");
      assert.equal(state.creator.generic.statistics().taken, 0);
      checkNext(state);
    },
  };
}

/** Two drivers at once, each by its own list. */
function together(library: Library): Exploration<State> {
  return {
    setup: () => setup(library),
    threads: [driving(0, PAGES, "stays"), driving(1, OTHER_PAGES, "stays")],
    preemptions: 2,
    skipSeen: true,
    check: (state, { threads }) => {
      for (const [thread, pages] of [PAGES, OTHER_PAGES].entries()) {
        const first = threads[thread]?.value as number;
        for (const [i, page] of pages.entries()) assert.equal(read(state.machines[2], first + i), page);
      }
    },
  };
}

test("a device that reads by entries while a list of them is made and taken away sees their pages or nothing", (t) => {
  assertSound(t, "1 driver, 1 device", watched(sound, 0));
});

test("a driver that dies anywhere in a list of hypercalls leaves nothing once it is reclaimed, and nothing in the way of the next", (t) => {
  const report = assertSound(t, "1 driver, 1 device, 1 death", watched(sound, 1));
  assert.ok(report.kills > 0);
});

test("two drivers at once map what each has listed", (t) => {
  assertSound(t, "2 drivers", together(sound));
});

const TABLES = "machines/hypervisors/sun4v/tables.js";
const OPS = "platforms/sun4v/ops.js";

for (const [bug, plant, what] of [
  [
    "a demap that the IOTLB does not hear of",
    {
      module: TABLES,
      from: "return this.#invalidate(index, count);",
      to: "return PASSED;",
    },
    (library: Library) => watched(library, 0),
  ],
  [
    "a demap that asks for one part only",
    {
      module: "platforms/sun4v/calls.js",
      from: "const status = this.#unmapSome(",
      to: "if (this.taken > 0) this.taken = count; const status = this.taken === count ? EOK : this.#unmapSome(",
    },
    (library: Library) => watched(library, 0),
  ],
  [
    "a recovery that clears nothing",
    {
      module: OPS,
      from: "for (let attempt = 0;",
      to: "if (this.list <= 8 * 8192) return undefined; for (let attempt = 0;",
    },
    (library: Library) => watched(library, 1),
  ],
  [
    "one list page for all threads",
    { module: "platforms/sun4v/platform.js", from: "generic.thread * LIST_BYTES", to: "0 * LIST_BYTES" },
    together,
  ],
] as const) {
  test(`the exploration finds ${bug}`, async () => {
    const report = explore({ ...what(await libraryWith([plant])), stopAtFailure: true });
    console.log(formatReport(bug, report));
    assert.ok(report.first !== undefined, "no schedule failed");
  });
}
