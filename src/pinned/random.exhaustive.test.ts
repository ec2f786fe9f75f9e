/**
 * 100,000 random calls of a pinned memory and of a pinned table against a plain model, with good and bad arguments, by two views in turn. Answers,
 * charges, pins, counts, dirty pages and entries must be equal after each call.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Crew } from "../crew/crew.ts";
import * as memory from "../shared/memory.ts";
import { type Errno, errnoCode, isErrno } from "../units/errno.ts";
import type { Access } from "../units/numbers.ts";
import { opsWords, StaleOps } from "./ops.model.ts";
import { PinnedMemory } from "./pinned-memory.ts";
import { PinnedTable } from "./pinned-table.ts";

const seed = Date.now() & 0x7fffffff;
const CALLS = 200;
const RUNS = 500;
/** User pages are 0 .. 23; these are not present. User page n lies in physical page n + 2. */
const ABSENT = [9, 20];
const PAGES = 24;
const FIRST_PHYSICAL = 2;
const LIMIT_PAGES = 20;
const ENTRIES = 8;

interface PlainRegion {
  readonly number: number;
  readonly owner: number;
  readonly first: number;
  readonly pages: number;
  readonly kind: "exclusive" | "shared" | "covered" | "device";
  readonly devicePage: number;
  readonly users: number[];
  readonly dirty: Set<number>;
  mapped: number;
}

/** Values of one call. Each call uses those that it needs. */
interface Call {
  readonly kind: number;
  readonly view: 0 | 1;
  readonly owner: number;
  readonly page: number;
  readonly pages: number;
  readonly user: number;
  readonly pick: number;
  readonly access: Access;
}

const CALL: fc.Arbitrary<Call> = fc.record({
  kind: fc.nat(99),
  view: fc.constantFrom(0 as const, 1 as const),
  owner: fc.nat(1),
  page: fc.integer({ min: 0, max: PAGES + 1 }),
  pages: fc.integer({ min: 0, max: 8 }),
  user: fc.nat(2),
  pick: fc.nat(7),
  access: fc.constantFrom(1 as const, 2 as const, 3 as const),
});

/** The expected state, in plain lists. */
class Plain {
  regions: PlainRegion[] = [];
  charges = new Map<number, { readonly owner: number; readonly pages: number }>();
  readonly entries: ({ readonly region: PlainRegion; readonly page: number; readonly access: Access } | undefined)[] =
    Array.from({ length: ENTRIES }, () => undefined);
  readonly dirty: number[] = [];

  charged(owner: number): number {
    const regions = this.regions.filter((one) => one.owner === owner && ["exclusive", "shared"].includes(one.kind));
    const charges = [...this.charges.values()].filter((one) => one.owner === owner);
    return [...regions, ...charges].reduce((sum, { pages }) => sum + pages, 0);
  }
  found(owner: number): PlainRegion[] {
    return this.regions.filter((one) => one.owner === owner && ["exclusive", "device"].includes(one.kind));
  }
  containing(owner: number, page: number, pages: number): PlainRegion | undefined {
    const isIn = (one: PlainRegion): boolean => one.first <= page && page + pages <= one.first + one.pages;
    return pages === 0 ? undefined : this.found(owner).find(isIn);
  }
  exactly(owner: number, page: number, pages: number): PlainRegion | undefined {
    return this.found(owner).find((one) => one.first === page && one.pages === pages);
  }
  refusal(owner: number, page: number, pages: number, kind: PlainRegion["kind"]): Errno | undefined {
    const isCharged = kind === "exclusive" || kind === "shared";
    if (pages === 0) return "EINVAL";
    if (isCharged && pages > LIMIT_PAGES - this.charged(owner)) return "ENOMEM";
    const range = Array.from({ length: pages }, (_, i) => page + i);
    if (kind !== "device" && range.some((one) => one >= PAGES || ABSENT.includes(one))) return "EFAULT";
    const overlaps = this.found(owner).some((one) => one.first < page + pages && page < one.first + one.pages);
    return overlaps && (kind === "exclusive" || kind === "device") ? "EINVAL" : undefined;
  }
  put(region: PlainRegion | undefined, user: number): Errno | undefined {
    const at = region?.users.lastIndexOf(user) ?? -1;
    if (region === undefined || at < 0) return "ENOENT";
    if (region.users.length === 1 && region.mapped > 0) return "EBUSY";
    region.users.splice(at, 1);
    if (region.users.length === 0) this.remove(region);
    return undefined;
  }
  remove(region: PlainRegion): void {
    this.regions = this.regions.filter((one) => one !== region);
    if (region.kind !== "device") this.dirty.push(...region.dirty);
  }
  pinsOf(physical: number): number {
    const page = physical - FIRST_PHYSICAL;
    const pinned = this.regions.filter((one) => one.kind !== "device");
    return pinned.filter((one) => one.first <= page && page < one.first + one.pages).length;
  }
  setEntry(entry: number, value: (typeof this.entries)[number]): void {
    const old = this.entries[entry];
    if (old !== undefined) {
      old.region.mapped--;
      if ((old.access & 2) !== 0) old.region.dirty.add(old.page);
    }
    if (value !== undefined) value.region.mapped++;
    this.entries[entry] = value;
  }
}

class Run {
  readonly plain = new Plain();
  readonly dirty: number[] = [];
  readonly views: readonly PinnedMemory[];
  readonly tables: readonly PinnedTable[];
  readonly ops: StaleOps;
  owners: number[];

  constructor() {
    const crew = Crew.create({ threads: 2 });
    const first = PinnedMemory.create({ memoryBytes: 2 ** 20, crew, regions: 64, charges: 64, owners: 2 });
    this.views = [first, PinnedMemory.attach(first.handle, Crew.attach(crew.handle))];
    this.owners = [0, 1].map(() => this.addOwner());
    const words = memory.wordsOf(memory.createShared(4 * opsWords(ENTRIES)));
    this.ops = new StaleOps(memory, words, ENTRIES);
    const window = { base: 0n, pageShift: 12, entries: ENTRIES };
    const table = PinnedTable.create(first, this.owners[0] as number, window, this.ops);
    const other = new StaleOps(memory, words, ENTRIES);
    this.tables = [table, PinnedTable.attach(this.views[1] as PinnedMemory, table.handle, other)];
  }

  addOwner(): number {
    const user = {
      pageOf: (page: number) => (page >= PAGES || ABSENT.includes(page) ? -1 : page + FIRST_PHYSICAL),
      backingShift: () => 12,
      onUnpin: (page: number, _: number, isDirty: boolean) => {
        if (isDirty) this.dirty.push(page);
      },
    };
    const owner = this.views[0]?.addOwner({ limitBytes: LIMIT_PAGES * 4096 }, user) as number;
    this.views[1]?.setMemory(owner, user);
    return owner;
  }

  /** Makes one call of the library and of the model, and compares. */
  step(call: Call): void {
    const kind = STEPS.find(([upTo]) => call.kind < upTo);
    kind?.[1](this, call);
    this.compare();
  }

  compare(): void {
    const { plain, owners } = this;
    const [pinned] = this.views as readonly [PinnedMemory];
    for (const owner of owners) assert.equal(pinned.chargedPages(owner), plain.charged(owner), "charged pages");
    for (let page = 0; page < PAGES + FIRST_PHYSICAL + 2; page++) {
      assert.equal(pinned.pinsOf(page), plain.pinsOf(page), `pins of page ${page}`);
    }
    for (const region of plain.regions) {
      assert.equal(pinned.mapped(region.number), 1 + region.mapped, `the count of region ${region.number}`);
    }
    assert.deepEqual(sorted(this.dirty), sorted(plain.dirty), "dirty pages");
    const pages = plain.entries.flatMap((entry) => (entry === undefined ? [] : [physicalOf(entry.region, entry.page)]));
    assert.deepEqual(sorted(this.ops.reachable()), sorted(pages), "what devices reach");
  }

  view({ view }: Call): PinnedMemory {
    return this.views[view] as PinnedMemory;
  }
  table({ view }: Call): PinnedTable {
    return this.tables[view] as PinnedTable;
  }
  owner({ owner }: Call): number {
    return this.owners[owner] as number;
  }
  picked({ pick }: Call): PlainRegion | undefined {
    return this.plain.regions[pick];
  }
}

const sorted = (numbers: readonly number[]): number[] => numbers.toSorted((a, b) => a - b);

function physicalOf({ kind, devicePage, first }: PlainRegion, page: number): number {
  return kind === "device" ? devicePage + page - first : page + FIRST_PHYSICAL;
}

function register(run: Run, call: Call, kind: PlainRegion["kind"]): void {
  const { page, pages, user, pick } = call;
  const owner = run.owner(call);
  const devicePage = 100 + pick;
  const options = { user, isShared: kind === "shared", isCovered: kind === "covered" };
  const answer =
    kind === "device"
      ? run.view(call).registerDevice(owner, page, pages, devicePage, user)
      : run.view(call).register(owner, page, pages, options);
  const refusal = run.plain.refusal(owner, page, pages, kind);
  if (refusal !== undefined || typeof answer !== "number") {
    assert.equal(answer, refusal);
    return;
  }
  assert.ok(
    run.plain.regions.every(({ number }) => number !== answer),
    "the number is another region's",
  );
  const rest = { devicePage, users: [user], dirty: new Set<number>(), mapped: 0 };
  run.plain.regions.push({ number: answer, owner, first: page, pages, kind, ...rest });
}

/** Raises a count, and keeps or drops it. */
function take(run: Run, call: Call): void {
  const { page, pages, pick, access } = call;
  const view = run.view(call);
  const region = run.plain.containing(run.owner(call), page, pages);
  const taken = view.take(run.owner(call), page, pages, pick);
  assert.equal(taken, region?.number ?? errnoCode("ENOENT"));
  if (region === undefined) return;
  assert.equal(view.physicalPage(taken, page, 12), physicalOf(region, page));
  assert.equal(view.physicalPage(taken, region.first + region.pages, 12), errnoCode("EFAULT"));
  if (access === 2) {
    view.markDirty(taken, page);
    region.dirty.add(page);
  }
  if (access === 1) view.drop();
  else view.keep();
  if (access !== 1) region.mapped += pick;
}

function lower(run: Run, call: Call): void {
  const region = run.picked(call);
  if (region === undefined) return;
  const inTable = run.plain.entries.filter((entry) => entry?.region === region).length;
  const count = call.pages > region.mapped ? call.pages : Math.min(call.pages, region.mapped - inTable);
  if (count > region.mapped) {
    assert.throws(() => run.view(call).lower(region.number, count), /mappings that were removed/);
  } else {
    run.view(call).lower(region.number, count);
    region.mapped -= count;
  }
}

function map(run: Run, call: Call): void {
  const { page, pages, pick, access } = call;
  const count = Math.min(pages, ENTRIES - pick);
  if (count === 0) return;
  const owner = run.owners[0] as number;
  const regions = Array.from({ length: count }, (_, i) => run.plain.containing(owner, page + i, 1));
  const answer = run.table(call).map(pick, count, page, access);
  assert.equal(answer, regions.includes(undefined) ? "ENOENT" : undefined);
  if (answer !== undefined) return;
  regions.forEach((region, i) => {
    run.plain.setEntry(pick + i, { region: region as PlainRegion, page: page + i, access });
  });
}

function unmap(run: Run, call: Call): void {
  const count = Math.min(call.pages, ENTRIES - call.pick);
  if (count === 0) return;
  assert.equal(run.table(call).unmap(call.pick, count), undefined);
  for (let i = 0; i < count; i++) run.plain.setEntry(call.pick + i, undefined);
}

function charge(run: Run, call: Call): void {
  const owner = run.owner(call);
  const answer = run.view(call).charge(owner, call.pages, call.user);
  if (call.pages > LIMIT_PAGES - run.plain.charged(owner)) assert.equal(answer, "ENOMEM");
  else run.plain.charges.set(answer as number, { owner, pages: call.pages });
}

function uncharge(run: Run, call: Call): void {
  const isThere = run.plain.charges.delete(call.pick);
  assert.equal(run.view(call).uncharge(call.pick), isThere ? undefined : "ENOENT");
}

/** Ends the second owner, unless it has mapped or shared regions; another replaces it. */
function endOwner(run: Run, call: Call): void {
  const owner = run.owners[1] as number;
  const regions = run.plain.regions.filter((region) => region.owner === owner);
  if (regions.some(({ mapped, kind }) => mapped > 0 || kind === "shared")) return;
  assert.equal(run.view(call).endOwner(owner), undefined);
  for (const region of regions) run.plain.remove(region);
  for (const [number, { owner: charged }] of run.plain.charges) if (charged === owner) run.plain.charges.delete(number);
  assert.equal(run.view(call).register(owner, call.page, 1), call.page + 1 > 2 ** 52 ? "EINVAL" : "ESRCH");
  run.owners = [run.owners[0] as number, run.addOwner()];
}

function get(run: Run, call: Call): void {
  const owner = run.owner(call);
  const region = run.plain.exactly(owner, call.page, call.pages) ?? run.picked(call);
  const { first, pages } = region ?? { first: call.page, pages: call.pages };
  const wanted = run.plain.exactly(owner, first, pages);
  if (wanted !== undefined && wanted.users.length > 3) return;
  assert.equal(run.view(call).get(owner, first, pages, call.user), wanted?.number ?? "ENOENT");
  wanted?.users.push(call.user);
}

function put(run: Run, call: Call): void {
  const region = run.picked(call);
  const number = region?.number ?? 63;
  assert.equal(run.view(call).put(number, call.user), run.plain.put(region, call.user));
}

function unregister(run: Run, call: Call): void {
  const owner = run.owner(call);
  const picked = run.picked(call);
  const { first, pages } = picked ?? { first: call.page, pages: call.pages };
  const region = run.plain.exactly(owner, first, pages);
  assert.equal(run.view(call).unregister(owner, first, pages, call.user), run.plain.put(region, call.user));
}

function look(run: Run, call: Call): void {
  const owner = run.owner(call);
  const regions = run.plain.regions.filter((region) => region.owner === owner);
  const uses = regions.flatMap(({ users, number }) => users.filter((one) => one === call.user).map(() => number));
  const found = run.view(call).regionsOf(owner, call.user);
  assert.ok(!isErrno(found));
  assert.deepEqual(sorted(found), sorted(uses));
  const entry = run.table(call).get(call.pick);
  const wanted = run.plain.entries[call.pick];
  const expected =
    wanted === undefined ? undefined : { userPage: wanted.page, access: wanted.access, region: wanted.region.number };
  assert.deepEqual(entry, expected);
}

/** Calls, each with the upper end of its share, in percent. */
const STEPS: readonly (readonly [number, (run: Run, call: Call) => void])[] = [
  [14, (run, call) => register(run, call, "exclusive")],
  [18, (run, call) => register(run, call, "shared")],
  [21, (run, call) => register(run, call, "covered")],
  [25, (run, call) => register(run, call, "device")],
  [32, get],
  [44, put],
  [50, unregister],
  [58, take],
  [66, lower],
  [80, map],
  [88, unmap],
  [92, charge],
  [96, uncharge],
  [98, look],
  [100, endOwner],
];

test("100,000 random calls answer as a plain model, and nothing is left at the end", (t) => {
  t.diagnostic(`seed ${seed}`);
  let calls = 0;
  fc.assert(
    fc.property(fc.array(CALL, { minLength: CALLS, maxLength: CALLS }), (list) => {
      const run = new Run();
      for (const call of list) run.step(call);
      calls += list.length;
      for (const table of run.tables) assert.equal(table.clear(), undefined);
      const [pinned] = run.views as readonly [PinnedMemory];
      for (let entry = 0; entry < ENTRIES; entry++) run.plain.setEntry(entry, undefined);
      for (const { number, mapped } of run.plain.regions) pinned.lower(number, mapped);
      const shared = run.plain.regions.filter(({ kind }) => kind === "shared");
      for (const { number, users } of shared)
        for (const user of users) assert.equal(pinned.put(number, user), undefined);
      for (const owner of run.owners) assert.equal(pinned.endOwner(owner), undefined);
      assert.deepEqual([pinned.pins, run.ops.reachable()], [0, []]);
    }),
    { seed, numRuns: RUNS },
  );
  t.diagnostic(`${calls} calls`);
  assert.ok(calls >= CALLS * RUNS);
});
