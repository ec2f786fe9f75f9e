/**
 * vCPU threads that put TCEs beside each other and beside unregistrations, detachments and removals, in all orders of their accesses, and with a death
 * at each access. Checked: TCEs, hardware entries and counts agree, no lock is held at the end, and no device reaches a page that is not pinned.
 * pinned/table-explored.exhaustive.test.ts explores the steps of one hardware table.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertFound, assertSound, reclaimDead } from "../../../explorer/assertions.model.ts";
import type { Exploration } from "../../../explorer/explore.ts";
import { exploredCopy, type Plant } from "../../../explorer/load.ts";
import * as memory from "../../../explorer/memory.ts";
import type { Crew } from "../../crew/crew.ts";
import { opsWords, StaleOps } from "../../pinned/ops.model.ts";
import type { PinnedMemory } from "../../pinned/pinned-memory.ts";
import type { PinnedTable } from "../../pinned/pinned-table.ts";
import type { DmaWindow } from "../../units/numbers.ts";
import type { GuestCalls } from "./guest-calls.ts";
import type { GuestTables } from "./guest-tables.ts";

/** Two threads, two reclaimers. */
const THREADS = 4;
const ENTRIES = 2;
const LIOBN = 5;
const OTHER_LIOBN = 6;
const GUEST_WINDOW = { pageShift: 12, offset: 0, size: ENTRIES } as const;
const WINDOW: DmaWindow = { base: 0n, pageShift: 12, entries: ENTRIES };
/** Guest page n is user page 16 + n and physical page n. Pages 0, 1 and 2 are registered, each a region. */
const PAGES = [0, 1, 2];
const [H_GET_TCE, H_PUT_TCE, H_STUFF_TCE] = [0x1c, 0x20, 0x138] as const;
const SUCCESS = 0;

interface Library {
  readonly crew: typeof import("../../crew/crew.ts");
  readonly pinned: typeof import("../../pinned/pinned-memory.ts");
  readonly table: typeof import("../../pinned/pinned-table.ts");
  readonly tables: typeof import("./guest-tables.ts");
  readonly calls: typeof import("./guest-calls.ts");
}

/** One thread's view. */
interface View {
  readonly crew: Crew;
  readonly pinned: PinnedMemory;
  readonly hardware: readonly PinnedTable[];
  readonly ops: readonly StaleOps[];
  readonly tables: GuestTables;
  readonly calls: GuestCalls;
}

interface State {
  readonly views: readonly View[];
  readonly owner: number;
  /** Index of the hardware table that refuses; -1: all accept. */
  readonly refusing: number;
}

async function library(plants: readonly Plant[] = []): Promise<Library> {
  const copy = exploredCopy(plants);
  return {
    crew: await copy.load("crew/crew.js"),
    pinned: await copy.load("pinned/pinned-memory.js"),
    table: await copy.load("pinned/pinned-table.js"),
    tables: await copy.load("containers/kvm/guest-tables.js"),
    calls: await copy.load("containers/kvm/guest-calls.js"),
  };
}

interface Pair {
  readonly name: string;
  readonly threads: Exploration<State>["threads"];
  /** Hardware tables. Default 1. */
  readonly hardware?: number;
  /** The last hardware table refuses to exchange this entry. */
  readonly refuses?: number;
  /** The platform is busy while a dead thread is recovered for the first time; the recovery is repeated. */
  readonly isBusyAtFirst?: boolean;
}

/** Entry 0 leads to guest page 0. */
function setup(lib: Library, { hardware: count = 1, refuses = -1 }: Pair): State {
  const words = Array.from({ length: count }, () => memory.wordsOf(memory.createShared(4 * opsWords(ENTRIES))));
  const opsOf = (): StaleOps[] => words.map((own) => new StaleOps(memory, own, ENTRIES));
  const judges = opsOf();
  const user = {
    pageOf: (page: number) => page - 16,
    backingShift: () => 12,
    onUnpin: (_: number, page: number) =>
      assert.ok(!judges.some((ops) => ops.reachable().includes(page)), `page ${page} is unpinned, and reachable`),
  };
  const crew = lib.crew.Crew.create({ threads: THREADS });
  const pinned = lib.pinned.PinnedMemory.create({ memoryBytes: 2 ** 14, regions: 3, owners: 1, charges: 1, crew });
  const owner = pinned.addOwner({ limitBytes: 2 ** 15 }, user) as number;
  const tables = lib.tables.GuestTables.create({ pinned, owner, entries: ENTRIES, tables: 1, memorySlots: 1 });
  const views: View[] = [];
  for (let thread = 0; thread < THREADS; thread++) {
    const own = thread === 0 ? crew : lib.crew.Crew.attach(crew.handle);
    const view = thread === 0 ? pinned : lib.pinned.PinnedMemory.attach(pinned.handle, own);
    assert.equal(view.join(owner, user), undefined);
    const ops = opsOf();
    const hardware = ops.map((one, which) => {
      const made = views[0]?.hardware[which];
      return made === undefined
        ? lib.table.PinnedTable.create(view, owner, WINDOW, one)
        : lib.table.PinnedTable.attach(view, made.handle, one);
    });
    const guest = thread === 0 ? tables : lib.tables.GuestTables.attach(view, tables.handle);
    const calls = new lib.calls.GuestCalls({ tables: guest, readUser: () => false });
    views.push({ crew: own, pinned: view, hardware, ops, tables: guest, calls });
  }
  assert.equal(tables.setMemory(0, { guestAddress: 0n, bytes: 2n ** 14n, userAddress: 2n ** 16n }), undefined);
  assert.equal(tables.createTable(LIOBN, GUEST_WINDOW), undefined);
  for (const page of PAGES) assert.equal(typeof pinned.register(owner, 16 + page, 1), "number");
  for (const view of views) {
    for (const table of view.hardware) assert.equal(view.tables.attachHardware(LIOBN, table), undefined);
  }
  assert.equal(answer(views[0] as View, H_PUT_TCE, 0n, 3n), SUCCESS);
  // A table that refuses an entry can't restore an old value: so its entry is empty at the beginning.
  if (refuses >= 0) assert.equal(views[0]?.hardware[count - 1]?.unmap(refuses, 1), undefined);
  for (const { ops } of views) (ops[count - 1] as StaleOps).refuses = refuses;
  return { views, owner, refusing: refuses >= 0 ? count - 1 : -1 };
}

function answer({ calls }: View, number: number, entry: bigint, value = 0n, count = 0n): number {
  return calls.answer(number, BigUint64Array.of(BigInt(LIOBN), entry << 12n, value, count));
}

const putting =
  (thread: number, entry: bigint, page: bigint) =>
  ({ views }: State): number =>
    answer(views[thread] as View, H_PUT_TCE, entry, (page << 12n) | 3n);
const stuffing =
  (thread: number) =>
  ({ views }: State): number =>
    answer(views[thread] as View, H_STUFF_TCE, 0n, 0n, BigInt(ENTRIES));
const unregistering =
  (thread: number, page: number) =>
  ({ views, owner }: State): unknown =>
    views[thread]?.pinned.unregister(owner, 16 + page, 1);
const detaching =
  (thread: number) =>
  ({ views }: State): unknown =>
    views[thread]?.tables.detachHardware(LIOBN, views[thread]?.hardware[0] as PinnedTable);
/** Removes the table, and creates another in its room. */
const replacing =
  (thread: number) =>
  ({ views }: State): unknown =>
    views[thread]?.tables.removeTable(LIOBN) ?? views[thread]?.tables.createTable(OTHER_LIOBN, GUEST_WINDOW);

function check({ views, owner, refusing }: State, { dead }: { readonly dead: readonly number[] }): void {
  const judge = views[[2, 3].find((thread) => !dead.includes(thread)) as number] as View;
  const { pinned, hardware, ops, tables } = judge;
  const tces = [0, 1].map((entry) => tceIn(judge, LIOBN, entry));
  assert.deepEqual(
    [0, 1].map((entry) => tceIn(judge, OTHER_LIOBN, entry)),
    [0n, 0n],
    "put into another table",
  );
  const counts = new Map<number, number>();
  const led = hardware.map((table, which) =>
    tces.map((_, entry) => leadsTo(table, ops[which] as StaleOps, entry, counts)),
  );
  const regions = pinned.regionsOf(owner);
  assert.ok(typeof regions !== "string", "the lock of the pinned memory is lost");
  for (const region of regions) assert.equal(pinned.mapped(region) - 1, counts.get(region) ?? 0, `region ${region}`);
  for (const one of ops) for (const page of one.reachable()) assert.equal(pinned.pinsOf(page), 1, `page ${page}`);
  const isThere = [LIOBN, OTHER_LIOBN].some((liobn) => tables.pagesOf(liobn) !== undefined);
  assert.equal(pinned.chargedPages(owner), regions.length + (isThere ? 1 : 0), "pages charged");
  for (const [which, table] of hardware.entries()) {
    const isAttached = tables.changes.hardware(0, which) !== undefined;
    const detached = tables.detachHardware(LIOBN, table);
    assert.notEqual(detached, "EAGAIN", "a lock of the guest's tables is lost");
    assert.equal(detached === undefined, isAttached, `hardware table ${which} was left half detached`);
    const wanted = tces.map((tce) =>
      (tce & 3n) === 0n || detached !== undefined || which === refusing ? -1 : Number(tce >> 12n),
    );
    assert.deepEqual(led[which], wanted, `entries of hardware table ${which}; TCEs are ${tces}`);
  }
  assert.equal(pinned.endOwner(owner), undefined);
  assert.deepEqual([ops.flatMap((one) => one.reachable()), pinned.pins], [[], 0]);
}

/** The page to which an entry leads, by its user address and as devices see it; -1: it is empty. Counts its region. */
function leadsTo(table: PinnedTable, ops: StaleOps, entry: number, counts: Map<number, number>): number {
  const found = table.get(entry);
  assert.ok(typeof found !== "string", "the lock of an entry is lost");
  const value = { page: 0, access: 0 as never };
  ops.get(entry, value);
  const page = found === undefined ? -1 : found.userPage - 16;
  assert.equal(value.access === 0 ? -1 : value.page, page, `entry ${entry} does not lead to its user address`);
  if (found !== undefined) counts.set(found.region, (counts.get(found.region) ?? 0) + 1);
  return page;
}

/** The TCE; 0n: no table. */
function tceIn({ tables, calls }: View, liobn: number, entry: number): bigint {
  if (tables.pagesOf(liobn) === undefined) return 0n;
  const args = BigUint64Array.of(BigInt(liobn), BigInt(entry) << 12n, 0n, 0n);
  assert.equal(calls.answer(H_GET_TCE, args), SUCCESS, `liobn ${liobn}`);
  return args[0] as bigint;
}

function recover({ crew, ops }: View, dead: readonly number[], isBusyAtFirst: boolean): void {
  let isBusy = isBusyAtFirst;
  for (const one of ops) one.isBusy = () => isBusy;
  try {
    reclaimDead(crew, dead);
  } catch (error) {
    if ((error as { readonly code?: unknown }).code !== "platform-busy") throw error;
  }
  isBusy = false;
  reclaimDead(crew, dead);
}

function exploration(lib: Library, pair: Pair, kills: 0 | 1, preemptions: number): Exploration<State> {
  return {
    setup: () => setup(lib, pair),
    threads: pair.threads,
    reclaim: ({ views }, dead, self) => recover(views[self] as View, dead.toReversed(), pair.isBusyAtFirst === true),
    kills,
    check,
    skipSeen: true,
    preemptions,
  };
}

const PAIRS: readonly Pair[] = [
  {
    name: "two puts over one live entry (spec section 8, defect 29)",
    threads: [putting(0, 0n, 1n), putting(1, 0n, 2n)],
    hardware: 2,
  },
  {
    name: "a put over a live entry beside the unregistration of its region (defect 28)",
    threads: [putting(0, 0n, 1n), unregistering(1, 0)],
  },
  {
    name: "a put beside the unregistration of the region that it maps",
    threads: [putting(0, 1n, 1n), unregistering(1, 1)],
  },
  {
    name: "a put that the second hardware table refuses beside the unregistration of the old page's region (defect 19)",
    threads: [putting(0, 0n, 1n), unregistering(1, 0)],
    hardware: 2,
    refuses: 0,
  },
  { name: "a put beside a stuffing of all entries", threads: [putting(0, 1n, 1n), stuffing(1)] },
  { name: "a put beside the detachment of the hardware table", threads: [putting(0, 1n, 1n), detaching(1)] },
  { name: "a put beside the removal of the table", threads: [putting(0, 1n, 1n), replacing(1)] },
  {
    name: "a put beside the detachment of the hardware table, whose first recovery finds the platform busy",
    threads: [putting(0, 1n, 1n), detaching(1)],
    isBusyAtFirst: true,
  },
  {
    name: "a put beside the removal of the table, whose first recovery finds the platform busy",
    threads: [putting(0, 1n, 1n), replacing(1)],
    isBusyAtFirst: true,
  },
];

const BUGS: readonly {
  readonly bug: string;
  readonly plant: Omit<Plant, "module">;
  /** Default: guest-changes. */
  readonly module?: string;
  readonly pair: number;
  readonly kills: 0 | 1;
}[] = [
  {
    bug: "entries that are not locked",
    plant: { from: "if (lock(words, at, tagOf(this.#thread)) !== 0)", to: "if (false)" },
    pair: 0,
    kills: 0,
  },
  {
    bug: "a call that does not check again that its table exists",
    plant: { from: "=== found.word;", to: "!== -1;" },
    pair: 6,
    kills: 0,
  },
  {
    bug: "a recovery that forgets the change of entries",
    plant: { from: 'if (this.finish(thread) === "EAGAIN")', to: "if (this.#finishStep(thread))" },
    pair: 0,
    kills: 1,
  },
  {
    bug: "a repeated step that fails although it succeeded before",
    plant: { from: "unlessMapped(view, first, scale, userPage, access, errno);", to: "errno;" },
    pair: 2,
    kills: 1,
  },
  {
    bug: "an old page that is not restored when a second hardware table refuses",
    plant: { from: "which < this.#get(thread, OPERATION.done);", to: "false;" },
    pair: 3,
    kills: 0,
  },
  {
    bug: "a recovery that leaves the lock of an entry",
    plant: { from: "this.#unlockFor(thread, ithLock(i));", to: ";" },
    pair: 4,
    kills: 1,
  },
  {
    bug: "a detachment that does not name its thread",
    module: "guest-tables",
    plant: {
      from: "+ HARDWARE.detachedBy, tagOf(this.#thread));\n        return this.#detach(",
      to: "+ HARDWARE.detachedBy, 99);\n        return this.#detach(",
    },
    pair: 7,
    kills: 1,
  },
  {
    bug: "a removal that does not name its thread",
    module: "guest-tables",
    plant: {
      from: "TABLE.changedBy, tagOf(this.#thread));\n        return",
      to: "TABLE.changedBy, 99);\n        return",
    },
    pair: 8,
    kills: 1,
  },
];

for (const { bug, plant, module = "guest-changes", pair, kills } of BUGS) {
  test(`${bug}: found`, async (t) => {
    const lib = await library([{ module: `containers/kvm/${module}.js`, ...plant }]);
    assertFound(t, bug, exploration(lib, PAIRS[pair] as Pair, kills, 2), ["check", "thrown", "race", "lost-wake-up"]);
  });
}

const sound = await library();

for (const pair of PAIRS) {
  const [preemptions, withDeath] = [2, 1];
  test(`${pair.name}: TCEs, entries and counts agree`, (t) => {
    assertSound(t, pair.name, exploration(sound, pair, 0, preemptions));
  });

  test(`${pair.name}, and a thread that dies at any access: TCEs, entries and counts agree`, (t) => {
    const report = assertSound(t, `${pair.name}, 1 dies`, exploration(sound, pair, 1, withDeath));
    assert.ok(report.kills > 0);
  });
}
