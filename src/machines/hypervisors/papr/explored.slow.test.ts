/**
 * Calls that stand in a window while another thread removes it, explored: in all orders of few preemptions, and each call's thread also
 * dying at any of its accesses. What is judged: the memory of a removed window's table is its next owner's alone, a call writes into the
 * window that it has entered and no other, and a dead thread delays a removal only until it is declared dead.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertSound, reclaimDead } from "../../../../explorer/assertions.model.ts";
import { type Exploration, explore, formatReport } from "../../../../explorer/explore.ts";
import { exploredCopy, type Plant } from "../../../../explorer/load.ts";
import { H_PARAMETER, H_PUT_TCE, H_SUCCESS } from "../../../platforms/pseries/papr.ts";
import type { SoftwareMachine } from "../../software/machine.ts";
import { personalityNamed } from "./personalities.ts";
import type { TceCalls } from "./tce-calls.ts";
import type { CreatedSlot, Windows } from "./windows.ts";

interface Library {
  readonly machine: typeof import("../../software/machine.ts");
  readonly pages: typeof import("../../../memory/physical-pages.ts");
  readonly state: typeof import("./state.ts");
  readonly windows: typeof import("./windows.ts");
  readonly calls: typeof import("./tce-calls.ts");
}

async function libraryWith(plants: readonly Plant[]): Promise<Library> {
  const copy = exploredCopy(plants);
  return {
    machine: await copy.load("machines/software/machine.js"),
    pages: await copy.load("memory/physical-pages.js"),
    state: await copy.load("machines/hypervisors/papr/state.js"),
    windows: await copy.load("machines/hypervisors/papr/windows.js"),
    calls: await copy.load("machines/hypervisors/papr/tce-calls.js"),
  };
}

const sound = await libraryWith([]);

const THREADS = 3;
/** The guest has a page of 64 KiB; then there is one of 4 KiB for tables, so that each window's table is where the one before was. */
const TABLE = 2 ** 16;
const BASE = 2n ** 59n;
/** Leads to the guest's memory, read and write. */
const TCE = 3n;
/** Of a window's 16 pages of 64 KiB; or of its 256 pages of 4 KiB. */
const [ENTRY, SMALL_ENTRY] = [5, 80];
const WIDE = { pageShift: 16, entries: 16 } as const;
const SMALL = { pageShift: 12, entries: 256 } as const;

interface State {
  readonly machines: readonly SoftwareMachine[];
  readonly windows: readonly Windows[];
  readonly calls: readonly TceCalls[];
  readonly liobn: number;
}

/** One partition with one slot, and a window in it, by the thread `creator`. */
function setup({ machine, pages, state, windows, calls }: Library, creator = 0): State {
  const first = machine.SoftwareMachine.create({
    memoryBytes: TABLE + 4096,
    iommu: "none",
    threads: THREADS,
    iotlb: { entries: 1, ways: 1 },
    faultRecords: 1,
    busyMilliseconds: 10,
  });
  const machines = [first];
  while (machines.length < THREADS) machines.push(machine.SoftwareMachine.attach(first.handle));
  const region = pages.PhysicalPages.create({ address: TABLE, bytes: 4096, crew: first.crew }, true);
  region.close();
  const geometry = { partitions: 1, windows: 1, threads: THREADS };
  const buffer = state.createState(geometry, TABLE / 4096);
  const views = machines.map((view) => {
    const words = state.attachState(buffer, geometry);
    const own = new windows.Windows({
      ...geometry,
      words,
      thread: view.thread,
      memory: view.memory,
      unit: view.translation,
      attachPages: () => pages.PhysicalPages.attach(region.handle, view.crew, true),
      base: 0n,
      geometry: SMALL,
      defaultTables: [],
      dynamicBase: BASE,
      limitedAddressing: false,
    });
    view.attachment.onReclaim("hypervisor", (thread) => own.recover(thread));
    const made = new calls.TceCalls({
      personality: personalityNamed("papr"),
      multiTce: true,
      windows: own,
      memory: view.memory,
      guestMemory: view.memory.below(TABLE),
      unit: view.translation,
      words,
      peers: { first: 0, end: 0 },
    });
    return { windows: own, calls: made };
  });
  const created = views[creator]?.windows.create(0, WIDE) as CreatedSlot;
  assert.equal(created.base, BASE);
  return {
    machines,
    windows: views.map((view) => view.windows),
    calls: views.map((view) => view.calls),
    liobn: created.liobn,
  };
}

/** A call of thread 0 that puts a TCE. */
function putting({ calls, liobn }: State): unknown {
  const args = BigUint64Array.of(BigInt(liobn), BASE + BigInt(ENTRY << WIDE.pageShift), TCE, 0n);
  return calls[0]?.call(H_PUT_TCE, new Uint32Array(args.buffer), Number.POSITIVE_INFINITY);
}

/** Frees the table's memory for a user that fills it. */
function own({ machines }: State, thread: number): void {
  machines[thread]?.memory.write(TABLE, new Uint8Array(4096).fill(0xee));
}

function removing(state: State): unknown {
  const answer = state.windows[1]?.remove(state.liobn);
  if (answer === "done") own(state, 1);
  return answer;
}

function assertOwned({ machines }: State): void {
  const bytes = new Uint8Array(4096);
  machines[2]?.memory.read(TABLE, bytes);
  assert.ok(
    bytes.every((byte) => byte === 0xee),
    "a call wrote into memory that is another's",
  );
}

const base = { skipSeen: true, preemptions: 3, expectsTimeOut: () => true } as const;

type Build = (library: Library) => Exploration<State>;

const removed: Build = (library) => ({
  ...base,
  setup: () => setup(library),
  threads: [putting, removing],
  check: (state, { threads }) => {
    assert.ok([H_SUCCESS, H_PARAMETER].includes(threads[0]?.value as number), `the call answers ${threads[0]?.value}`);
    assert.equal(threads[1]?.value, "done");
    assertOwned(state);
  },
});

const madeAnew: Build = (library) => ({
  ...base,
  setup: () => setup(library),
  threads: [
    putting,
    ({ windows, liobn }) => {
      const answer = windows[1]?.remove(liobn);
      return answer === "done" ? windows[1]?.create(0, SMALL) : answer;
    },
  ],
  check: ({ machines, liobn }, { threads }) => {
    assert.deepEqual(threads[1]?.value, { liobn, base: BASE });
    const written = (entry: number): boolean => machines[2]?.memory.load32(TABLE + entry * 8 + 4) !== 0;
    assert.equal(written(ENTRY), false, "a call that was in the old window shows in the new one");
    assert.ok(!written(SMALL_ENTRY) || threads[0]?.value === H_SUCCESS);
  },
});

const died: Build = (library) => ({
  ...base,
  preemptions: 2,
  kills: 1,
  victims: [0],
  setup: () => setup(library),
  threads: [putting, removing],
  reclaim: ({ machines }, dead) => reclaimDead(machines[2]?.crew, dead),
  check: (state, { threads, dead }) => {
    const answer = threads[1]?.value;
    if (dead.length === 0) assert.equal(answer, "done");
    else if (answer === "busy") {
      assert.equal(state.windows[2]?.remove(state.liobn), "done", "once it is said to be dead, it holds nothing up");
      own(state, 2);
    }
    assertOwned(state);
  },
});

/** A thread removes another's window and creates one; it may die anywhere, and then the thread that recovers it. */
const diedOver: Build = (library) => ({
  ...base,
  preemptions: 0,
  kills: 2,
  victims: [0],
  setup: () => setup(library, 2),
  threads: [
    ({ windows, liobn }) => {
      windows[0]?.remove(liobn);
      return windows[0]?.create(0, SMALL);
    },
  ],
  // The thread that has the recovery lock first.
  reclaim: ({ machines }, dead, self) => reclaimDead(machines[self]?.crew, dead.toReversed()),
  check: ({ machines, windows, liobn }, { dead }) => {
    const living = [0, 1, 2].filter((thread) => !dead.includes(thread));
    assert.deepEqual(machines[2]?.crew.threadsInUse(), living);
    assert.ok(["done", "none"].includes(windows[2]?.remove(liobn) as string));
    assert.deepEqual(windows[2]?.create(0, WIDE), { liobn, base: BASE }, "a slot, or the memory of a table, is lost");
  },
});

/** What the call of thread 0 answers, over all schedules. */
function answersOf(what: Exploration<State>): { readonly what: Exploration<State>; readonly answers: Set<unknown> } {
  const answers = new Set<unknown>();
  const check: Exploration<State>["check"] = (state, end) => {
    answers.add(end.threads[0]?.value);
    what.check?.(state, end);
  };
  return { what: { ...what, check }, answers };
}

test("the memory of a removed window's table is its next owner's alone, whatever call was in the window", (t) => {
  const { what, answers } = answersOf(removed(sound));
  assertSound(t, "a call, a removal", what);
  assert.deepEqual([...answers].toSorted(), [H_PARAMETER, H_SUCCESS], "some calls come in time, others too late");
});

test("a call writes into the window that it has entered, not into one that has been made in its place", (t) => {
  assertSound(t, "a call, a removal, a new window", madeAnew(sound));
});

test("a thread that dies anywhere in a call delays a removal until it is declared dead, and no longer", (t) => {
  assert.ok(assertSound(t, "a call, dying, a removal", died(sound)).kills > 0);
});

test("a thread that dies while it removes a window and creates another leaves the slot and the table's memory to others", (t) => {
  assert.ok(assertSound(t, "a removal and a creation, dying", diedOver(sound)).kills > 0);
});

const WINDOWS = "machines/hypervisors/papr/windows.js";
const CALLS = "machines/hypervisors/papr/tce-calls.js";
const SAY = "store(words, this.#whereabouts, slot + 1);";

const PLANTS: readonly { readonly bug: string; readonly build: Build; readonly plants: readonly Plant[] }[] = [
  {
    bug: "a call says where it is only after it has looked whether the window is open",
    build: removed,
    plants: [
      { module: WINDOWS, from: SAY, to: "" },
      { module: WINDOWS, from: "this.partition = Math", to: `${SAY} this.partition = Math` },
    ],
  },
  {
    bug: "a removal waits for no call",
    build: removed,
    plants: [{ module: WINDOWS, from: "!this.#awaitCallsIn(slot)", to: "false" }],
  },
  {
    bug: "a window stays open while it is removed",
    build: madeAnew,
    plants: [{ module: WINDOWS, from: "SLOT_OPEN, SLOT_CLOSING);", to: "SLOT_OPEN, SLOT_OPEN);" }],
  },
  {
    bug: "a call leaves the window before it writes",
    build: removed,
    plants: [
      {
        module: CALLS,
        from: "const code = this.#inWindow(",
        to: "this.#windows.leave(); const code = this.#inWindow(",
      },
    ],
  },
  {
    bug: "a slot that a dead thread has claimed stays claimed",
    build: diedOver,
    plants: [{ module: WINDOWS, from: "!== claimedBy(thread))", to: "!== -1)" }],
  },
  {
    bug: "a dead thread's table that no slot has stays taken",
    build: diedOver,
    plants: [{ module: WINDOWS, from: "this.#freeTablesOf(thread, pages);", to: "" }],
  },
  {
    bug: "a table is taken from its slot before it is the removing thread's own",
    build: diedOver,
    plants: [{ module: WINDOWS, from: "if (!pages.adopt(range))\n                pages.adopt(range);", to: "" }],
  },
  {
    bug: "a dead thread stays where it was",
    build: died,
    plants: [{ module: WINDOWS, from: "store(this.#words, whereaboutsAt(this.#parts, thread), NOWHERE);", to: ";" }],
  },
];

for (const { bug, build, plants } of PLANTS) {
  test(`planted bug found: ${bug}`, async () => {
    const report = explore({ ...build(await libraryWith(plants)), stopAtFailure: true });
    console.log(formatReport(bug, report));
    assert.ok(report.first !== undefined);
  });
}
