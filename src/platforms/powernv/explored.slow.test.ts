/**
 * Levels made on demand, explored: threads that need the same level at once, in all orders of their accesses, each also dying at any of
 * them, with the recovery beside the others. What is judged: every entry that was set leads where it should, in one table of
 * one level below the first, and no page of the region is lost or given out twice.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { SoftwareMachine } from "../../machines/software/machine.ts";
import { type Exploration, explore, formatReport, type Report } from "../../testing/explorer/explore.ts";
import { exploredCopy, type Plant } from "../../testing/explorer/load.ts";
import type { Phb } from "./phb.ts";
import type { PowernvTable } from "./table.ts";

type MachineModule = typeof import("../../machines/software/machine.ts");
type PhbModule = typeof import("./phb.ts");
type TableModule = typeof import("./table.ts");

interface Library {
  readonly machine: MachineModule;
  readonly phb: PhbModule;
  readonly table: TableModule;
}

async function libraryWith(plants: readonly Plant[]): Promise<Library> {
  const copy = exploredCopy(plants);
  return {
    machine: await copy.load<MachineModule>("machines/software/machine.js"),
    phb: await copy.load<PhbModule>("platforms/powernv/phb.js"),
    table: await copy.load<TableModule>("platforms/powernv/table.js"),
  };
}

/** The RTT at the end, and 3 pages before it: the first level, and one for each of two threads. */
const MEMORY_BYTES = 2 ** 18;
const REGION = { address: 2 ** 17 - 3 * 4096, bytes: 2 ** 17 + 3 * 4096 };
const THREADS = 3;

interface State {
  readonly machines: readonly SoftwareMachine[];
  readonly phbs: readonly Phb[];
  readonly tables: readonly PowernvTable[];
}

/** What lay in the pages before: no level may show it. */
function setup({ machine, phb, table }: Library): State {
  const first = machine.SoftwareMachine.create({
    memoryBytes: MEMORY_BYTES,
    iommu: "phb4",
    partitions: 2,
    windows: 2,
    threads: THREADS,
    iotlb: { entries: 1, ways: 1 },
    faultRecords: 1,
  });
  first.memory.write(REGION.address, new Uint8Array(3 * 4096).fill(0xff));
  const machines = [first];
  while (machines.length < THREADS) machines.push(machine.SoftwareMachine.attach(first.handle));
  const devices = [{ name: "device0", requesterId: 0 }];
  const creator = phb.Phb.create(first, { devices, region: REGION, partitions: 2, tables: 1, threads: THREADS });
  const phbs = [creator, ...machines.slice(1).map((view) => phb.Phb.attach(view, creator.handle))];
  const shape = { window: 0, pageShift: 12, windowBytes: 2n ** 22n, levels: 2 } as const;
  const made = table.PowernvTable.create(creator, { ...shape, table: { threads: THREADS } });
  const tables = [made, ...phbs.slice(1).map((view) => table.PowernvTable.attach(view, made.handle))];
  return { machines, phbs, tables };
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
  // What is not taken can be had, and is not part of the table.
  for (let left = 3 - taken; left > 0; left--) {
    const page = state.phbs[2]?.pages.allocate(4096) as number;
    assert.ok(page > 0);
    state.machines[2]?.memory.write(page, new Uint8Array(4096).fill(0xff));
  }
  assert.equal(read(state, 9), 0, "a level of the table was given out");
}

function racing(library: Library, kills: 0 | 1): Exploration<State> {
  return {
    setup: () => setup(library),
    threads: [setting(0), setting(1)],
    reclaim: ({ phbs }, dead) => {
      // View 0 is thread 0 of the bridge, and so on.
      for (const thread of dead) phbs[2]?.reclaimThread(thread);
    },
    kills,
    check: (state, { threads, dead }) => check(state, threads, dead),
    skipSeen: true,
    preemptions: kills === 0 ? 3 : 2,
  };
}

function runSound(name: string, what: Exploration<State>): Report {
  const report = explore(what);
  console.log(formatReport(name, report));
  const { first } = report;
  assert.equal(first, undefined, first && `${first.kind}: ${first.message}\n${first.trace}`);
  assert.equal(report.complete, true);
  return report;
}

const sound = await libraryWith([]);

test("two threads that need the same level: one's is taken, the other's goes back, both entries are set", () => {
  runSound("2 threads make one level", racing(sound, 0));
});

test("a thread that dies anywhere while it makes a level leaves nothing that its recovery does not bring back", () => {
  const report = runSound("2 threads make one level, one dies", racing(sound, 1));
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
    const report = explore({ ...racing(await libraryWith([plant]), kills), stopAtFailure: true });
    console.log(formatReport(bug, report));
    assert.ok(report.first !== undefined);
  });
}
