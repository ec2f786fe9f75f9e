/**
 * What threads do to groups and tables at once, explored: in all orders of their accesses, or those of few preemptions, and each
 * also dying at any of them, with the recovery beside the others. What is judged: no group loses a table with live entries, no device
 * reaches what was unmapped, and no number, table, page or entry is lost with a thread.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertSound } from "../../../explorer/assertions.model.ts";
import { type Exploration, explore, formatReport } from "../../../explorer/explore.ts";
import type { Plant } from "../../../explorer/load.ts";
import type { SoftwareMachine } from "../../machines/software/machine.ts";
import { iovaOf } from "../../table/iommu-table.ts";
import type { EehEvent } from "../eeh.ts";
import {
  type ExploredLibrary,
  type ExploredScene,
  type ExploredShape,
  exploredGroup,
  exploredLibrary,
  exploredScene,
  reclaimThread,
} from "./explored.model.ts";
import type { TableGroup } from "./group.ts";
import type { Phb } from "./phb.ts";
import type { PowernvTable } from "./table.ts";

const FLAT: ExploredShape = {
  threads: 3,
  pages: 2,
  partitions: 3,
  pageShift: 12,
  windowBytes: 2n ** 15n,
  levels: 1,
};
/** Of 8, one is reserved. */
const ALLOCATABLE = 7;

interface State extends ExploredScene {
  readonly groups: readonly (readonly TableGroup[])[];
  readonly entry: number;
}

function grouped(library: ExploredLibrary, partitions: readonly number[], shape: ExploredShape = FLAT): State {
  const scene = exploredScene(library, shape);
  const groups = partitions.map((partition) => exploredGroup(library, scene, partition));
  return { ...scene, groups, entry: -1 };
}

/** With one page mapped by the thread of view 0. */
function mapped(state: State): State {
  const { generic } = table(state, 0);
  const entry = generic.allocate(1);
  assert.equal(generic.set(entry, 1, 5, 3) ?? generic.publish(), undefined);
  generic.commit(entry, 1);
  return { ...state, entry };
}

const table = ({ tables }: State, thread: number): PowernvTable => tables[thread] as PowernvTable;
const group = ({ groups }: State, of: number, thread: number): TableGroup => groups[of]?.[thread] as TableGroup;

function reclaim({ phbs }: State, dead: readonly number[]): void {
  for (const thread of dead) reclaimThread(phbs.at(-1) as Phb, thread);
}

/** How many entries can be had, by the last view. */
function allocatable(state: State): number {
  const { generic } = table(state, state.tables.length - 1);
  let had = 0;
  while (generic.allocate(1) >= 0) had++;
  return had;
}

/** Does the device of this PE reach the entry? A freeze is ended first, and again. */
function reaches({ machines, tables }: State, device: number, partition: number, entry: number): boolean {
  const machine = machines.at(-1);
  machine?.translation.thaw(partition);
  const window = tables[0]?.generic.window as PowernvTable["generic"]["window"];
  const granted = machine?.device(device).dmaRead(iovaOf(window, entry), new Uint8Array(1)) as boolean;
  machine?.translation.thaw(partition);
  return granted;
}

type Build = (library: ExploredLibrary) => Exploration<State>;

const base = { skipSeen: true, preemptions: 2 } as const;

const twoGiveUp: Build = (library) => ({
  ...base,
  setup: () => mapped(grouped(library, [1, 2])),
  threads: [0, 1].map((of) => (state) => group(state, of, of).unsetWindow(table(state, of)) ?? "unset"),
  check: (state, { threads }) => {
    assert.deepEqual(threads.map(({ value }) => value).toSorted(), ["in-use", "unset"]);
    assert.equal(table(state, 2).groups, 1);
  },
});

const twoClaim: Build = (library) => ({
  ...base,
  setup: () => grouped(library, [1]),
  threads: [0, 1].map((thread) => (state) => {
    const taken = table(state, thread).takeOwnership();
    return typeof taken === "string" ? taken : "taken";
  }),
  check: (state, { threads }) => {
    const taken = threads.filter(({ value }) => value === "taken").length;
    assert.ok(taken <= 1, "both have it");
    assert.equal(table(state, 2).isOwned, taken === 1);
    assert.equal(allocatable(state), taken === 1 ? 0 : ALLOCATABLE);
  },
});

/** A device of PE 2 uses the entry while it is unmapped, and while PE 2's group gives the table up and takes it back. */
const unlinkedMeanwhile: Build = (library) => ({
  ...base,
  preemptions: 1,
  setup: () => {
    const state = mapped(grouped(library, [1, 2], { ...FLAT, threads: 4 }));
    state.phbs[0]?.bindDevice("device1", 2);
    assert.equal(reaches(state, 1, 2, state.entry), true);
    return state;
  },
  threads: [
    (state) => table(state, 0).generic.unmap(state.entry, 1) ?? "unmapped",
    (state) =>
      group(state, 1, 1).unsetWindow(table(state, 1)) ?? group(state, 1, 1).setWindow(table(state, 1)) ?? "set again",
    (state) =>
      state.machines[2]?.device(1).dmaRead(iovaOf(table(state, 2).generic.window, state.entry), new Uint8Array(1)),
  ],
  check: (state, { threads }) => {
    assert.deepEqual([threads[0]?.value, threads[1]?.value], ["unmapped", "set again"]);
    assert.equal(reaches(state, 1, 2, state.entry), false, "a device reaches what was unmapped");
  },
});

const attaching: Build = (library) => ({
  ...base,
  kills: 1,
  victims: [0],
  setup: () => {
    const state = grouped(library, [1]);
    const machine = library.machine.SoftwareMachine.attach((state.machines[0] as SoftwareMachine).handle);
    return { ...state, machines: [...state.machines, machine] };
  },
  threads: [
    ({ machines, phbs }) => library.phb.Phb.attach(machines[3] as SoftwareMachine, (phbs[0] as Phb).handle).crew.thread,
  ],
  reclaim: ({ phbs }) => reclaimThread(phbs.at(-1) as Phb, 3),
  check: ({ phbs }, { dead }) => {
    const last = phbs.at(-1) as Phb;
    if (dead.length === 0) reclaimThread(last, 3);
    assert.ok(!last.crew.threadsInUse().includes(3));
    // The machine has one number more than there are views: it can be had again.
    assert.equal(last.crew.addThread().thread, 3);
  },
});

/** The last group gives up a table that its creator has released: it is freed, with the level below the first. */
const freeing: Build = (library) => ({
  ...base,
  kills: 1,
  preemptions: 1,
  setup: () => {
    const state = grouped(library, [1], { ...FLAT, windowBytes: 2n ** 22n, levels: 2 });
    assert.equal(table(state, 2).ops.set(9, 1, 5, 3), undefined);
    table(state, 2).ops.clear(9, 1);
    assert.equal(state.phbs[2]?.pages.takenPages, 2);
    assert.equal(table(state, 0).release(), undefined);
    return state;
  },
  threads: [(state) => group(state, 0, 0).unsetWindow(table(state, 0)) ?? "unset"],
  reclaim,
  check: (state, { dead }) => {
    const last = table(state, 2);
    if (dead.length > 0 && !last.isGone) assert.equal(group(state, 0, 2).unsetWindow(last), undefined);
    assert.equal(last.isGone, true);
    assert.equal(state.phbs[2]?.pages.takenPages, 0);
    const page = state.phbs[2]?.pages.allocate(2 * 4096) as number;
    assert.ok(page > 0, "both pages can be had");
  },
});

/** The table's creator dies while the first other thread attaches. */
const orphaned: Build = (library) => ({
  ...base,
  kills: 1,
  victims: [0],
  setup: () => grouped(library, [1], { ...FLAT, views: 1 }),
  threads: [
    ({ phbs }) => phbs[0]?.crew.threadsInUse().length,
    ({ phbs, tables }) => library.table.PowernvTable.attach(phbs[1] as Phb, (tables[0] as PowernvTable).handle).isGone,
  ],
  mayThrow: (error) => (error as { code?: string }).code === "table-gone",
  reclaim: ({ phbs }) => {
    try {
      reclaimThread(phbs.at(-1) as Phb, 0);
    } catch (error) {
      // The reclaimer has no view of the table, which goes on for the thread that has attached.
      if ((error as { code?: string }).code !== "not-attached") throw error;
    }
  },
  check: (state, { threads, dead }) => {
    const isGone = table(state, 0).isGone;
    const [, attached] = threads;
    if (attached?.value === false) assert.equal(isGone, false, "freed under a thread that has just attached");
    else assert.ok(dead.length > 0 && isGone, "refused, though it is there");
    assert.equal(state.phbs.at(-1)?.pages.takenPages, isGone ? 0 : 1);
  },
});

const owning: Build = (library) => ({
  ...base,
  kills: 1,
  preemptions: 1,
  victims: [0],
  setup: () => grouped(library, [1]),
  threads: [
    (state) => {
      const taken = table(state, 0).takeOwnership();
      if (typeof taken === "string") return taken;
      return table(state, 0).releaseOwnership(taken) ?? "came back";
    },
    (state) => {
      const { generic } = table(state, 1);
      const entry = generic.allocate(1);
      if (entry < 0) return "none";
      assert.equal(generic.set(entry, 1, 5, 3) ?? generic.publish(), undefined);
      generic.commit(entry, 1);
      return entry;
    },
  ],
  reclaim,
  check: (state, { threads }) => {
    const entry = threads[1]?.value;
    assert.equal(table(state, 2).isOwned, false);
    assert.equal(allocatable(state), typeof entry === "number" ? ALLOCATABLE - 1 : ALLOCATABLE);
    if (typeof entry === "number") assert.equal(reaches(state, 0, 1, entry), false, "device 0 is in no group");
    const value = { page: 0, access: 0 as const };
    if (typeof entry === "number") table(state, 2).ops.get(entry, value);
    if (typeof entry === "number") assert.equal(value.page, 5, "a living thread's entry was cleared");
  },
});

/** Two threads look for freezes, and end what they find, of a PE that is frozen. */
const freezing: Build = (library) => ({
  ...base,
  setup: () => {
    const state = grouped(library, [1]);
    state.phbs[0]?.bindDevice("device0", 1);
    freeze(state);
    return state;
  },
  threads: [0, 1].map((thread) => ({ phbs }) => {
    const phb = phbs[thread] as Phb;
    const { length } = library.eeh.takeEehReport(phb).events;
    return length === 0 ? "nothing" : (library.eeh.resetPartition(phb, 1) ?? "told");
  }),
  check: (state, { threads }) => {
    assert.deepEqual(threads.map(({ value }) => value).toSorted(), ["nothing", "told"]);
    freeze(state);
    assert.equal(library.eeh.takeEehReport(state.phbs[2] as Phb).events.length, 1, "the next freeze is not told");
  },
});

/** By a DMA to an unmapped address. */
function freeze({ machines }: State): void {
  assert.equal(machines[2]?.device(0).dmaRead(0x5000n, new Uint8Array(1)), false);
}

/** A thread has died with the bridge's lock, its changes are made whole, and a living one unmaps meanwhile what two groups reach. */
const repairedMeanwhile: Build = (library) => ({
  ...base,
  kills: 1,
  preemptions: 1,
  victims: [1],
  setup: () => {
    const state = mapped(grouped(library, [1, 2]));
    state.phbs[0]?.bindDevice("device1", 2);
    assert.equal(reaches(state, 1, 2, state.entry), true);
    return state;
  },
  threads: [
    (state) => {
      const { generic } = table(state, 0);
      const failure = generic.unmap(state.entry, 1);
      return failure ?? state.machines[0]?.device(1).dmaRead(iovaOf(generic.window, state.entry), new Uint8Array(1));
    },
    ({ phbs }) => phbs[1]?.locked("nothing", () => "done"),
  ],
  reclaim,
  check: (_, { threads }) => assert.equal(threads[0]?.value, false, "a device reaches what was unmapped"),
});

/** PE 1 is frozen, by a fault that was taken already. One thread reports, while another resets the PE, and its device errs again. */
const erringAgain: Build = (library) => ({
  ...base,
  setup: () => {
    const state = grouped(library, [1]);
    state.phbs[0]?.bindDevice("device0", 1);
    astray(state, 2);
    assert.equal(state.machines[0]?.faults().length, 1);
    return state;
  },
  threads: [
    ({ phbs }) => library.eeh.takeEehReport(phbs[0] as Phb).events,
    (state) => {
      const failure = library.eeh.resetPartition(state.phbs[1] as Phb, 1);
      astray(state, 1);
      return failure;
    },
  ],
  check: ({ phbs }, { threads }) => {
    assert.equal(threads[1]?.value, undefined);
    const events = [...((threads[0]?.value ?? []) as EehEvent[]), ...library.eeh.takeEehReport(phbs[2] as Phb).events];
    assert.deepEqual(new Set(events.map(({ partition }) => partition)), new Set([1]));
    // That of the second freeze has its fault; the first freeze may not have been reported.
    assert.equal(
      events.filter(({ firstFault }) => firstFault !== undefined).length,
      1,
      "the second freeze is not told",
    );
    assert.ok(events.length <= 2);
  },
});

/** The device does a DMA to an unmapped address. */
function astray({ machines, tables }: State, thread: number): void {
  const window = tables[0]?.generic.window as PowernvTable["generic"]["window"];
  machines[thread]?.device(0).dmaRead(iovaOf(window, 3), new Uint8Array(1));
}

const sound = await exploredLibrary();

test("of two groups that give one table up while an entry is mapped, the second is refused", (t) => {
  assertSound(t, "2 groups give a table up", twoGiveUp(sound));
});

test("of two threads that claim a table at once, at most one gets it, and then all of it", (t) => {
  assertSound(t, "2 threads claim a table", twoClaim(sound));
});

test("what was unmapped is out of reach of a group that gave the table up, and took it back, meanwhile", (t) => {
  assertSound(t, "an unmap, a group unlinked and linked, a device", unlinkedMeanwhile(sound));
});

test("a thread that dies anywhere while it attaches leaves no number taken", (t) => {
  assert.ok(assertSound(t, "attaching, dying", attaching(sound)).kills > 0);
});

test("a thread that dies anywhere while a table is freed leaves it whole or gone", (t) => {
  assert.ok(assertSound(t, "a table freed, dying", freeing(sound)).kills > 0);
});

test("a table whose creator dies is freed, or is that of a thread that attaches just then, and never both", (t) => {
  assert.ok(assertSound(t, "a dead thread's table, attached to", orphaned(sound)).kills > 0);
});

test("a thread that dies anywhere while a table is handed over to it, or comes back, leaves every entry usable", (t) => {
  assert.ok(assertSound(t, "ownership, dying", owning(sound)).kills > 0);
});

test("of two threads that find a freeze one tells of it, and the next freeze is told again", (t) => {
  assertSound(t, "2 threads look for freezes", freezing(sound));
});

test("what is unmapped while a dead thread's changes are made whole is out of every group's reach", (t) => {
  assert.ok(assertSound(t, "an unmap, a repair", repairedMeanwhile(sound)).kills > 0);
});

test("a freeze that begins right after a reset is reported, even while the previous freeze is being reported", (t) => {
  assertSound(t, "a report, a reset, a second freeze", erringAgain(sound));
});

const EEH = "platforms/powernv/eeh.js";
const PHB = "platforms/powernv/phb.js";
const TABLE = "platforms/powernv/table.js";

const PLANTS: readonly (Plant & { readonly bug: string; readonly build: Build })[] = [
  {
    bug: "a freeze counts as reported only after the lock is released",
    build: erringAgain,
    module: EEH,
    from: 'takeFrozen: () => phb.locked("looking for frozen PEs", () => takeUnreported(phb)),',
    to: `takeFrozen: () => {
      const found = phb.locked("", () => frozenNow(phb)).filter((pe) => load(phb.state.words, reportedAt(phb, pe)) === 0);
      for (const pe of found) store(phb.state.words, reportedAt(phb, pe), 1);
      return found.map((partition) => ({ partition, devices: phb.devicesIn(partition) }));
    },`,
  },
  {
    bug: "a wait for DMAs, without a kill before it, waits for none",
    build: erringAgain,
    module: "machines/software/iommus/phb4.js",
    from: "this.#killed === NO_KILL ? this.#unit.awaitDma() : this.#killed",
    to: "this.#killed === NO_KILL ? PASSED : this.#killed",
  },
  {
    bug: "a reset leaves the freeze marked as reported",
    build: erringAgain,
    module: EEH,
    from: "store(phb.state.words, reportedAt(phb, partition), 0);",
    to: ";",
  },
  {
    bug: "claims do not exclude each other",
    build: twoClaim,
    module: TABLE,
    from: "if (compareExchange(words, this.#at + TABLE.owned, 0, -tagOf(this.generic.thread)) !== 0)",
    to: "if (false)",
  },
  {
    bug: "a window is unset without the lock",
    build: twoGiveUp,
    module: "platforms/powernv/group.js",
    from: 'this.#phb.locked("unsetting a window", () => this.#unsetLocked(table))',
    to: "this.#unsetLocked(table)",
  },
  {
    bug: "a table that is being withdrawn is attached to",
    build: orphaned,
    module: TABLE,
    from: "if (compareExchange(words, at + TABLE.seen, NEVER_SEEN, SEEN) === WITHDRAWN)",
    to: "if (false)",
  },
  {
    bug: "a group is not linked to the table that it has",
    build: unlinkedMeanwhile,
    module: "platforms/powernv/records.js",
    from: "setLink(state, content - 1, partition, true);",
    to: ";",
  },
  {
    bug: "a dead thread's claims are forgotten",
    build: owning,
    module: TABLE,
    from: "const claimed = this.#stillReserved(before);",
    to: "const claimed = [];",
  },
  {
    bug: "freezes are taken without the lock",
    build: freezing,
    module: EEH,
    from: 'phb.locked("looking for frozen PEs", () => takeUnreported(phb))',
    to: "takeUnreported(phb)",
  },
  {
    bug: "a repair takes links away that are right",
    build: repairedMeanwhile,
    module: "platforms/powernv/records.js",
    from: "setLink(state, table, partition, linked);",
    to: "setLink(state, table, partition, false);",
  },
  {
    bug: "recovery does not end what the dead thread was giving up",
    build: freeing,
    module: PHB,
    from: "repairRecords(this);",
    to: ";",
  },
];

for (const { bug, build, ...plant } of PLANTS) {
  test(`planted bug found: ${bug}`, async () => {
    const report = explore({ ...build(await exploredLibrary([plant])), stopAtFailure: true });
    console.log(formatReport(bug, report));
    assert.ok(report.first !== undefined);
  });
}
