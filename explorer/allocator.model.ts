/**
 * Scenarios of the pooled allocator for the explorer: a table, the operations of each thread, and the invariants that hold after
 * every schedule, with any deaths.
 */
import assert from "node:assert/strict";
import type { AllocatorOptions } from "../src/allocator/options.ts";
import type { PooledAllocator } from "../src/allocator/pooled-allocator.ts";
import type { RecordedRange } from "../src/allocator/soundness.model.ts";
import type { OpenState } from "../src/allocator/state.ts";
import type { ReclaimScope } from "../src/crew/crew.ts";
import type { SharedWords } from "../src/shared/memory.ts";
import type { Exploration, ScheduleEnd } from "./explore.ts";
import { exploredCopy, type Plant } from "./load.ts";
import { add, createShared, exchange, load, wordsOf } from "./memory.ts";

/** The modules of one explored copy. */
export interface AllocatorModules {
  readonly allocator: typeof import("../src/allocator/pooled-allocator.ts");
  readonly constraints: typeof import("../src/allocator/constraints.ts");
  readonly options: typeof import("../src/allocator/options.ts");
  readonly state: typeof import("../src/allocator/state.ts");
  readonly layout: typeof import("../src/allocator/layout.ts");
  readonly ledger: typeof import("../src/allocator/ledger.ts");
  readonly crew: typeof import("../src/crew/crew.ts");
  readonly soundness: typeof import("../src/allocator/soundness.model.ts");
}

export async function allocatorModules(plants: readonly Plant[] = []): Promise<AllocatorModules> {
  const copy = exploredCopy(plants);
  return {
    allocator: await copy.load("allocator/pooled-allocator.js"),
    constraints: await copy.load("allocator/constraints.js"),
    options: await copy.load("allocator/options.js"),
    state: await copy.load("allocator/state.js"),
    layout: await copy.load("allocator/layout.js"),
    ledger: await copy.load("allocator/ledger.js"),
    crew: await copy.load("crew/crew.js"),
    soundness: await copy.load("allocator/soundness.model.js"),
  };
}

export interface Range {
  readonly first: number;
  readonly count: number;
}

/** A thread's state; each run of its function gets a new one. */
export interface Worker {
  readonly allocator: PooledAllocator;
  readonly modules: AllocatorModules;
  /** Allocated ranges, oldest first. */
  readonly held: Range[];
  /** Reserved ranges. */
  readonly reserved: Range[];
  /** Number of requests that found no space. */
  refused: number;
  /** A bit for each entry that was cleared by its owner and may still be in the IOTLB. Undefined: the table is strict. */
  readonly stale: SharedWords | undefined;
}

/** One operation of a thread. */
export type Operation = (worker: Worker) => void;

export const allocate =
  (count: number): Operation =>
  (worker) => {
    receive(worker, worker.allocator.allocate(count), count);
  };

/** Allocates like a table: the range is pending while its entries are written. */
export const beginAndCommit =
  (count: number): Operation =>
  (worker) => {
    const { allocator, modules } = worker;
    const first = allocator.begin(count, modules.constraints.UNCONSTRAINED, -1);
    if (first >= 0) allocator.commit(first, count);
    receive(worker, first, count);
  };

/** Allocates like a table whose entries could not be written. */
export const beginAndAbandon =
  (count: number): Operation =>
  ({ allocator, modules }) => {
    const first = allocator.begin(count, modules.constraints.UNCONSTRAINED, -1);
    if (first >= 0) allocator.abandon(first, count);
  };

/** Allocates exactly this range. */
export const allocateAt =
  (first: number, count: number): Operation =>
  (worker) => {
    const found = worker.allocator.allocateAt(first, count);
    if (found >= 0) assert.equal(found, first);
    receive(worker, found, count);
  };

/** Allocates exactly this range, like a table. */
export const beginAtAndCommit =
  (first: number, count: number): Operation =>
  (worker) => {
    const { allocator } = worker;
    const found = allocator.beginAt(first, count);
    if (found >= 0) allocator.commit(first, count);
    receive(worker, found, count);
  };

/** Frees the thread's oldest range. */
export const free: Operation = (worker) => {
  const range = clear(worker);
  if (range === undefined) return;
  const failure = worker.allocator.free(range.first, range.count);
  assert.equal(failure, 0, `free of [${range.first}, ${range.first + range.count}) failed`);
};

/** Frees the thread's newest range. */
export const freeNewest: Operation = (worker) => {
  const newest = worker.held.pop();
  if (newest === undefined) return;
  worker.held.unshift(newest);
  free(worker);
};

/** Frees like a table: the range is ending while its entries are cleared and the IOTLB is invalidated. */
export const startAndFinishFree: Operation = (worker) => {
  const range = worker.held.shift();
  if (range === undefined) return;
  worker.allocator.startFree(range.first, range.count);
  if (worker.stale === undefined) worker.allocator.finishFree(range.first, range.count);
  else {
    add(worker.stale, 0, maskOf(range));
    worker.allocator.finishFreeLazily(range.first, range.count);
  }
};

/** Frees like a table whose IOTLB could not be invalidated. */
export const startAndQuarantine: Operation = (worker) => {
  const range = worker.held.shift();
  if (range === undefined) return;
  worker.allocator.startFree(range.first, range.count);
  worker.allocator.quarantine(range.first, range.count);
};

export const drain: Operation = ({ allocator }) => void allocator.drain();

export const flush: Operation = ({ allocator }) => void allocator.flushIotlb();

/** Reserves exactly this range. */
export const reserve =
  (first: number, end: number): Operation =>
  (worker) => {
    const failure = worker.allocator.reserve({ first, end });
    if (failure === undefined) worker.reserved.push({ first, count: end - first });
    else worker.refused++;
  };

/** Unreserves the thread's oldest reservation. */
export const unreserve: Operation = (worker) => {
  const range = worker.reserved.shift();
  if (range === undefined) return;
  const end = range.first + range.count;
  assert.equal(worker.allocator.unreserve({ first: range.first, end }), undefined);
};

function clear(worker: Worker): Range | undefined {
  const range = worker.held.shift();
  if (range !== undefined && worker.stale !== undefined) add(worker.stale, 0, maskOf(range));
  return range;
}

function receive(worker: Worker, first: number, count: number): void {
  if (first < 0) {
    worker.refused++;
    return;
  }
  if (worker.stale !== undefined) {
    const reissued = load(worker.stale, 0) & maskOf({ first, count });
    assert.equal(reissued, 0, `[${first}, ${first + count}) was handed out before the IOTLB was flushed`);
  }
  worker.held.push({ first, count });
}

const maskOf = ({ first, count }: Range): number => (count === 32 ? -1 : ((1 << count) - 1) << first);

/** Entries that a thread may cache: two ranges of one entry, or one of two. */
const CACHE_LIMIT = 32;

export interface Scenario {
  readonly options: Omit<AllocatorOptions, "threads">;
  /** The operations of each thread. */
  readonly threads: readonly (readonly Operation[])[];
  /** Lengths of the ranges that each thread holds at the beginning; given[t] was allocated by thread t. */
  readonly given?: readonly (readonly number[])[];
  /** Ranges that each thread holds at the beginning are handed on to the next thread, which may free them. */
  readonly handedOn?: boolean;
  /** True: all threads free the one range that thread 0 has allocated, a double free. */
  readonly shared?: boolean;
  /** True if a free may find that the range was just reclaimed with everything of its owner. */
  readonly mayLose?: boolean;
  readonly scope?: ReclaimScope;
  /** Each reclaim is tried twice: at the first try the platform's ops throw when they are to clear entries. */
  readonly opsThrow?: boolean;
  /** True if requests may find no space. */
  readonly mayRefuse?: boolean;
}

/** 32 entries in one pool: threads meet at its lock. */
export const SMALL_TABLE = { entries: 32, pools: 1, cache: "none" } as const;

/** Two threads, one operation each. */
export const PAIRS: Readonly<Record<string, Scenario>> = {
  "alloc against alloc": { options: SMALL_TABLE, threads: [[allocate(1)], [allocate(2)]] },
  "alloc against free": { options: SMALL_TABLE, threads: [[allocate(3)], [free]], given: [[], [2]] },
  "free against free of neighbours": { options: SMALL_TABLE, threads: [[free], [free]], given: [[2], [3]] },
  "free against free of the other's range": {
    options: SMALL_TABLE,
    threads: [[free], [free]],
    given: [[2], [3]],
    handedOn: true,
    scope: "in-flight",
  },
  "begin and commit against start and finish": {
    options: SMALL_TABLE,
    threads: [[beginAndCommit(2)], [startAndFinishFree]],
    given: [[], [2]],
  },
  "begin and abandon against alloc": { options: SMALL_TABLE, threads: [[beginAndAbandon(2)], [allocate(1)]] },
  "exact alloc against exact alloc of a part": {
    options: SMALL_TABLE,
    threads: [[beginAtAndCommit(2, 5)], [allocateAt(6, 2)]],
    mayRefuse: true,
  },
  "exact alloc against alloc": {
    options: SMALL_TABLE,
    threads: [[beginAtAndCommit(0, 4)], [allocate(2)]],
    mayRefuse: true,
  },
  "exact alloc against free of an overlapping range": {
    options: SMALL_TABLE,
    threads: [[beginAtAndCommit(0, 4)], [free]],
    given: [[], [3]],
    mayRefuse: true,
  },
  "reserve against alloc": { options: SMALL_TABLE, threads: [[reserve(2, 7)], [allocate(1)]] },
};

interface State {
  readonly modules: AllocatorModules;
  readonly scenario: Scenario;
  readonly open: OpenState;
  /** The threads' views, then those of reclaimers. */
  readonly views: readonly PooledAllocator[];
  readonly given: readonly (readonly Range[])[];
  readonly stale: SharedWords | undefined;
  /** By view: true if the platform's clear fails at the next recovery. */
  readonly fails: boolean[];
}

interface ThreadResult {
  readonly held: readonly Range[];
  readonly reserved: readonly Range[];
  readonly refused: number;
}

/** The exploration of a scenario; how far it goes is the caller's. */
export function exploring(modules: AllocatorModules, scenario: Scenario, kills: 0 | 1 | 2 = 0): Exploration<State> {
  const { HEADER } = modules.layout;
  let state: State | undefined;
  return {
    setup: () => {
      state = setUp(modules, scenario, kills);
      return state;
    },
    threads: scenario.threads.map((operations, thread) => (at) => run(at, thread, operations)),
    reclaim,
    check,
    kills,
    skipSeen: true,
    mayThrow: (error) => {
      const { name } = error as Error;
      if (name === "OpsError") return scenario.opsThrow === true;
      return name === "FreeError" && (scenario.shared === true || scenario.mayLose === true);
    },
    // A thread that finds no space waits for the others to return cached ranges. They may have ended without looking.
    expectsTimeOut: (byteOffset, buffer) => buffer === TABLE && byteOffset === HEADER.drained * 4,
    nameOf: (byteOffset, buffer) => (buffer === TABLE ? state && nameOf(state, byteOffset) : BUFFERS[buffer]),
  };
}

/** Shared buffers in the order in which `setUp` makes them. */
const BUFFERS = ["crew", "table", "stale"];
const TABLE = 1;

function nameOf({ modules, open }: State, byteOffset: number): string {
  const { HEADER, POOL, THREAD } = modules.layout;
  const { poolsAt, threadsAt, boundsAt, bitmapAt, ledgerAt } = open.layout;
  const word = byteOffset >>> 2;
  if (byteOffset >= ledgerAt) return `ledger ${(byteOffset - ledgerAt) / 2}`;
  if (word >= bitmapAt) return `bits ${(word - bitmapAt) * 32}`;
  if (word >= boundsAt) return `bound ${word - boundsAt}`;
  if (word >= threadsAt) return named("thread", THREAD, word - threadsAt);
  return word >= poolsAt ? named("pool", POOL, word - poolsAt) : named("header", HEADER, word);
}

/** By the last field at or before the word: "pool 0 lock + 2" is the lock's first counter. */
function named(
  what: string,
  fields: Readonly<Record<string, number>> & { readonly words: number },
  at: number,
): string {
  const word = at % fields.words;
  let name = "";
  let start = 0;
  for (const [field, first] of Object.entries(fields)) {
    if (first <= word && first >= start && field !== "words") [name, start] = [field, first];
  }
  const offset = word === start ? "" : ` + ${word - start}`;
  return `${what} ${what === "header" ? "" : `${Math.floor(at / fields.words)} `}${name}${offset}`;
}

function setUp(modules: AllocatorModules, scenario: Scenario, kills: number): State {
  const { PooledAllocator } = modules.allocator;
  const slots = scenario.threads.length + kills;
  let stale: SharedWords | undefined;
  const invalidator = {
    invalidateAll: () => {
      if (stale !== undefined) exchange(stale, 0, 0);
      return undefined;
    },
  };
  // By default, a table this small has no cache.
  const options = { ...modules.options.checkOptions({ ...scenario.options, threads: slots }), cacheLimit: CACHE_LIMIT };
  const { handle } = modules.state.createState(options, modules.crew.createCrewState({ threads: slots }));
  const fails: boolean[] = [];
  const forget = (self: number): undefined => {
    if (fails[self] === true) throw new OpsError("the platform's clear failed");
    if (stale !== undefined) exchange(stale, 0, 0);
  };
  const views: PooledAllocator[] = [];
  for (let self = 0; self < slots; self++) {
    views.push(PooledAllocator.attach(handle, invalidator, undefined, { forget: () => forget(self) }));
  }
  if (scenario.options.invalidate === "lazy") stale = wordsOf(createShared(4));
  const given = scenario.threads.map((_, thread) =>
    (scenario.given?.[thread] ?? []).map((count) => {
      const view = views[thread] as PooledAllocator;
      return { first: view.allocate(count), count };
    }),
  );
  const from = (thread: number) => (scenario.handedOn === true ? (thread + 1) % given.length : thread);
  const handed = given.map((_, thread) => given[scenario.shared === true ? 0 : from(thread)] as Range[]);
  return { modules, scenario, open: modules.state.openState(handle), views, given: handed, stale, fails };
}

function run(state: State, thread: number, operations: readonly Operation[]): ThreadResult {
  const worker: Worker = {
    allocator: state.views[thread] as PooledAllocator,
    modules: state.modules,
    held: [...(state.given[thread] as readonly Range[])],
    reserved: [],
    refused: 0,
    stale: state.stale,
  };
  for (const operation of operations) operation(worker);
  return { held: worker.held, reserved: worker.reserved, refused: worker.refused };
}

/** Thrown by the platform's ops. */
class OpsError extends Error {
  override readonly name = "OpsError";
}

/** The newest dead first: it may have died while it was recovering the others. */
function reclaim(state: State, dead: readonly number[], self: number): void {
  const thread = dead.at(-1);
  if (thread === undefined) return;
  try {
    reclaimOne(state, thread, self);
  } finally {
    reclaim(state, dead.slice(0, -1), self);
  }
}

function reclaimOne(state: State, thread: number, self: number): void {
  const { fails, scenario, views } = state;
  const view = views[self] as PooledAllocator;
  const isRecovered = () => !view.threadsInUse().includes(thread);
  const reclaimNow = () => view.reclaim(thread, scenario.scope ?? "everything");
  // The recovery of a reclaimer completes the recovery that it had begun.
  if (isRecovered()) return;
  try {
    if (scenario.opsThrow === true) {
      fails[self] = true;
      reclaimNow();
    }
  } finally {
    fails[self] = false;
    // With no entries to clear, the first try succeeded.
    if (!isRecovered()) reclaimNow();
  }
}

// Invariants that hold after every schedule.

function check(state: State, end: ScheduleEnd): void {
  const { modules, open, scenario } = state;
  const { ledgerRanges, unsoundness } = modules.soundness;
  const wrong = unsoundness(open);
  assert.deepEqual(wrong, [], wrong.join("; "));
  const results = end.threads.slice(0, scenario.threads.length).map(({ value }) => value as ThreadResult | undefined);
  const held = results.flatMap((result) => result?.held ?? []);
  const reserved = results.flatMap((result) => result?.reserved ?? []);
  if (scenario.shared === true) {
    const refused = end.threads.filter((thread) => thread.state === "threw").length;
    assert.equal(refused, scenario.threads.length - 1, "of threads that free one range, all but one get an error");
  }
  checkDisjoint([...held, ...reserved]);
  if (scenario.mayRefuse !== true) {
    for (const [thread, result] of results.entries())
      assert.equal(result?.refused ?? 0, 0, `thread ${thread} was refused`);
  }
  const recorded = ledgerRanges(open);
  checkInUse(state, end, recorded, held, reserved);
  checkNothingLost(state, end, recorded);
}

function checkDisjoint(ranges: readonly Range[]): void {
  const sorted = [...ranges].sort((a, b) => a.first - b.first);
  for (const [i, { first }] of sorted.entries()) {
    const before = sorted[i - 1];
    assert.ok(before === undefined || before.first + before.count <= first, `entry ${first} belongs to two`);
  }
}

/** Live or reserved entries belong to a living thread, or to a dead one if its ranges were to stay. */
function checkInUse(
  state: State,
  end: ScheduleEnd,
  recorded: readonly RecordedRange[],
  held: readonly Range[],
  reserved: readonly Range[],
): void {
  const { LIVE, RESERVED } = state.modules.ledger;
  const key = (found: number, { first, count }: Range) =>
    `${found === LIVE ? "live" : "reserved"} [${first}, ${first + count})`;
  const missing = new Set([...held.map((range) => key(LIVE, range)), ...reserved.map((range) => key(RESERVED, range))]);
  for (const range of recorded) {
    if (range.state !== LIVE && range.state !== RESERVED) continue;
    const what = key(range.state, range);
    if (missing.delete(what)) continue;
    assert.ok(end.dead.length > 0, `${what}, and no thread has it`);
    // Reservations stay. So do ranges handed on to a thread that then died: their owner is alive.
    if (range.state === RESERVED || state.scenario.handedOn === true) continue;
    const mayStay = end.dead.includes(range.owner) && state.scenario.scope === "in-flight";
    assert.ok(mayStay, `${what} was left by reclaim of thread ${range.owner}`);
  }
  assert.deepEqual([...missing], [], "not in the ledger");
}

/** After all ranges are freed and returned, the whole table can be allocated. */
function checkNothingLost(state: State, end: ScheduleEnd, recorded: readonly RecordedRange[]): void {
  const { LIVE, RESERVED } = state.modules.ledger;
  const living = state.views.filter((_, thread) => !end.dead.includes(thread));
  const survivor = living[0] as PooledAllocator;
  for (const { first, count, state: found } of recorded) {
    if (found !== RESERVED) continue;
    assert.equal(survivor.unreserve({ first, end: first + count }), undefined);
  }
  for (const { first, count } of recorded.filter((range) => range.state === LIVE))
    assert.equal(survivor.free(first, count), 0);
  for (const view of living) assert.equal(view.drain(), undefined);
  const all = { first: 0, end: survivor.entries };
  assert.equal(survivor.reserve(all), undefined, "the whole table can't be taken");
}
