/**
 * Random calls of a guest and of user space against a plain model: 100,000, good and bad arguments; codes, error numbers, TCEs, entries of
 * hardware tables and counts of regions must be equal, and at the end nothing may be left.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Errno } from "../../units/errno.ts";
import type { EntryAccess } from "../../units/numbers.ts";
import type { GuestWindow } from "./guest-tables.ts";
import { ENTRIES, GUEST_PAGES, LIST_PAGE, type Scene, sceneOf, USER_PAGE, Vcpu } from "./set-up.model.ts";

const seed = Date.now() & 0x7fffffff;
const CALLS = 200;
const RUNS = 500;
/** Regions have 16 pages of the guest; the guest's first 6 × 16 pages can be registered. */
const REGIONS = 6;
/** log2 of the page bytes of the two hardware tables. */
const SHIFTS = [12, 16] as const;
const WINDOWS: readonly GuestWindow[] = [
  { pageShift: 12, offset: 0, size: 100 },
  { pageShift: 16, offset: 0, size: 16 },
  { pageShift: 12, offset: 90, size: 30 },
  { pageShift: 12, offset: 0, size: 0 },
];
const SUCCESS = 0;
const PARAMETER = -4;
const TOO_HARD = 9999;

interface PlainTable extends GuestWindow {
  readonly tces: bigint[];
  readonly attached: Set<number>;
}

/** Pages of 4 KiB. */
function unitOf({ pageShift }: { readonly pageShift: number }): number {
  return 2 ** (pageShift - 12);
}

class PlainGuest {
  readonly tables: Map<number, PlainTable> = new Map();
  readonly registered: Set<number> = new Set();
  /** Guest page and permissions, by entry. */
  readonly hardware: readonly Map<number, { readonly page: number; readonly permissions: number }>[] = [
    new Map(),
    new Map(),
  ];

  create(liobn: number): Errno | undefined {
    const window = WINDOWS[liobn] as GuestWindow;
    if (window.size === 0) return "EINVAL";
    if (this.tables.has(liobn)) return "EBUSY";
    this.tables.set(liobn, { ...window, tces: Array(window.size).fill(0n), attached: new Set() });
    return undefined;
  }
  remove(liobn: number): Errno | undefined {
    const table = this.tables.get(liobn);
    for (const which of table?.attached ?? []) this.detach(liobn, which);
    return this.tables.delete(liobn) ? undefined : "ENOENT";
  }
  attach(liobn: number, which: number): Errno | undefined {
    const table = this.tables.get(liobn);
    if (table === undefined) return "ENOENT";
    if (table.offset !== 0 || (SHIFTS[which] as number) > table.pageShift) return "EINVAL";
    table.attached.add(which);
    return undefined;
  }
  detach(liobn: number, which: number): Errno | undefined {
    const table = this.tables.get(liobn);
    if (table === undefined || !table.attached.delete(which)) return "ENOENT";
    this.#each(table, which, 0, table.size, (entry, entries) => entries.delete(entry));
    return undefined;
  }

  register(region: number): Errno | undefined {
    if (this.registered.has(region)) return "EINVAL";
    this.registered.add(region);
    return undefined;
  }
  unregister(region: number): Errno | undefined {
    if (!this.registered.has(region)) return "ENOENT";
    if (this.count(region) > 0) return "EBUSY";
    this.registered.delete(region);
    return undefined;
  }
  count(region: number): number {
    const all = this.hardware.flatMap((entries) => [...entries.values()]);
    return all.filter(({ page }) => Math.floor(page / 16) === region).length;
  }

  put(liobn: number, busPage: number, tces: readonly bigint[]): number {
    const table = this.tables.get(liobn);
    if (table === undefined) return TOO_HARD;
    if (tces.length === 0) return SUCCESS;
    const first = Math.floor((busPage - table.offset * unitOf(table)) / unitOf(table));
    if (first < 0 || first + tces.length > table.size) return PARAMETER;
    if (tces.some((tce) => this.#isTooHard(table, tce))) return TOO_HARD;
    for (const [i, tce] of tces.entries()) {
      table.tces[first + i] = tce;
      for (const which of table.attached) this.#putIn(table, which, first + i, tce);
    }
    return SUCCESS;
  }
  get(liobn: number, busPage: number): bigint | number {
    const code = this.put(liobn, busPage, []);
    const table = this.tables.get(liobn);
    if (table === undefined) return code;
    return table.tces[Math.floor((busPage - table.offset * unitOf(table)) / unitOf(table))] ?? PARAMETER;
  }

  #isTooHard(table: PlainTable, tce: bigint): boolean {
    if ((tce & 3n) === 0n) return false;
    const page = Number(tce >> 12n);
    if ((tce & 0xffcn) !== 0n || page % unitOf(table) !== 0 || page + unitOf(table) > GUEST_PAGES) return true;
    return table.attached.size > 0 && !this.registered.has(Math.floor(page / 16));
  }
  #putIn(table: PlainTable, which: number, entry: number, tce: bigint): void {
    const permissions = Number(tce & 3n);
    const page = Number(tce >> 12n);
    this.#each(table, which, entry, 1, (at, entries, offset) => {
      if (permissions === 0) entries.delete(at);
      else entries.set(at, { page: page + offset, permissions });
    });
  }
  /** The hardware entries of entries of the guest; `offset`: pages from the begin of the guest's first page. */
  #each(
    table: PlainTable,
    which: number,
    first: number,
    count: number,
    visit: (entry: number, entries: PlainGuest["hardware"][0], offset: number) => void,
  ): void {
    const unit = unitOf({ pageShift: SHIFTS[which] as number });
    const scale = unitOf(table) / unit;
    for (let entry = first * scale; entry < (first + count) * scale; entry++) {
      visit(entry, this.hardware[which] as PlainGuest["hardware"][0], (entry - first * scale) * unit);
    }
  }
}

interface Call {
  readonly what: number;
  readonly liobn: number;
  readonly busPage: number;
  readonly tces: readonly bigint[];
  readonly count: number;
  readonly region: number;
  readonly which: number;
}

/** Mostly aligned to 16 pages; some misaligned, not in memory, or with bits that no TCE has. */
const tce: fc.Arbitrary<bigint> = fc.oneof(
  { arbitrary: fc.tuple(fc.nat(6), fc.nat(3)).map(([block, bits]) => BigInt(block * 65536 + bits)), weight: 8 },
  { arbitrary: fc.tuple(fc.nat(99), fc.nat(3)).map(([page, bits]) => BigInt(page * 4096 + bits)), weight: 5 },
  { arbitrary: fc.constantFrom(0n, 0xabc0n, 0x7003n, 2n ** 63n + 1n, 0x10_0003n, 0x1007n), weight: 1 },
);
const call: fc.Arbitrary<Call> = fc.record({
  what: fc.nat(19),
  liobn: fc.constantFrom(0, 0, 0, 1, 1, 1, 2, 3),
  busPage: fc.oneof({ arbitrary: fc.nat(130), weight: 9 }, fc.constantFrom(255, 256, 2 ** 40)),
  tces: fc.oneof(
    { arbitrary: fc.array(tce, { minLength: 1, maxLength: 2 }), weight: 3 },
    fc.array(tce, { maxLength: 20 }),
  ),
  count: fc.oneof({ arbitrary: fc.nat(40), weight: 9 }, fc.constantFrom(100, 101, 513, 2 ** 40)),
  region: fc.nat(REGIONS - 1),
  which: fc.nat(1),
});

/** The answers of both. */
function make(scene: Scene, vcpu: Vcpu, plain: PlainGuest, one: Call): readonly [unknown, unknown] {
  const { what, liobn, busPage, tces, count, region, which } = one;
  const { tables, hardware, pinned, owner } = scene;
  const table = hardware[which] as Scene["hardware"][0];
  const first = tces[0] ?? 0n;
  vcpu.liobn = liobn;
  if (what < 6) return [vcpu.put(busPage, first), plain.put(liobn, busPage, [first])];
  if (what < 9) return [vcpu.putList(busPage, tces), plain.put(liobn, busPage, tces)];
  if (what < 11) return [vcpu.stuff(busPage, first, count), plainStuff(plain, one)];
  if (what === 11) return [vcpu.get(busPage), plain.get(liobn, busPage)];
  if (what === 12) {
    const isThere = plain.tables.has(liobn);
    const address = count % 2 === 0 ? LIST_PAGE * 4096 + 8 : GUEST_PAGES * 4096;
    const code = count % 2 === 0 ? PARAMETER : plain.put(liobn, busPage, [0n]) === SUCCESS ? TOO_HARD : PARAMETER;
    if (code === TOO_HARD) vcpu.put(busPage, 0);
    return [vcpu.putList(busPage, [first], 1, address), isThere ? code : TOO_HARD];
  }
  const user = USER_PAGE + 16 * region;
  if (what < 15) {
    const found = pinned.register(owner, user, 16);
    return [typeof found === "number" ? undefined : found, plain.register(region)];
  }
  if (what === 15) return [pinned.unregister(owner, user, 16), plain.unregister(region)];
  if (what === 16) return [tables.detachHardware(liobn, table), plain.detach(liobn, which)];
  if (what === 17) return [tables.attachHardware(liobn, table), plain.attach(liobn, which)];
  if (what === 18 && count < 10) return [tables.removeTable(liobn), plain.remove(liobn)];
  return [tables.createTable(liobn, WINDOWS[liobn] as GuestWindow), plain.create(liobn)];
}

function plainStuff(plain: PlainGuest, { liobn, busPage, tces, count }: Call): number {
  const value = tces[0] ?? 0n;
  if (!plain.tables.has(liobn)) return TOO_HARD;
  if ((value & 3n) !== 0n) return PARAMETER;
  return count > 1000 ? PARAMETER : plain.put(liobn, busPage, Array(count).fill(value));
}

function assertAlike({ tables, hardware, tces, pinned, owner }: Scene, plain: PlainGuest): void {
  for (let liobn = 0; liobn < WINDOWS.length; liobn++) {
    const pages = tables.pagesOf(liobn);
    const wanted = plain.tables.get(liobn)?.tces;
    assert.equal(pages === undefined, wanted === undefined);
    if (pages === undefined || wanted === undefined) continue;
    const found = new BigUint64Array(pages.buffer as unknown as SharedArrayBuffer, pages.byteOffset, wanted.length);
    assert.deepEqual([...found], wanted, `TCEs of liobn ${liobn}`);
  }
  const value = { page: 0, access: 0 as 0 | EntryAccess };
  for (const [which, entries] of plain.hardware.entries()) {
    const unit = unitOf({ pageShift: SHIFTS[which] as number });
    for (let entry = 0; entry < ENTRIES / unit; entry++) {
      const found = hardware[which]?.get(entry);
      const wanted = entries.get(entry);
      assert.ok(typeof found !== "string");
      assert.deepEqual(
        found && { page: found.userPage - USER_PAGE, permissions: found.access },
        wanted,
        `user address of entry ${entry} of table ${which}`,
      );
      tces[which]?.ops.get(entry, value as never);
      assert.equal(value.access === 0, wanted === undefined, `entry ${entry} of table ${which}`);
      const physical = found && pinned.physicalPage(found.region, found.userPage, 12);
      if (physical !== undefined) assert.equal(value.page, physical / unit, `page of entry ${entry}`);
    }
  }
  const regions = pinned.regionsOf(owner);
  assert.ok(typeof regions !== "string");
  const counts = regions.map((region): [number, number] => [
    (pinned.regionOf(region).userPage - USER_PAGE) / 16,
    pinned.mapped(region) - 1,
  ]);
  const expected = [...plain.registered].map((region): [number, number] => [region, plain.count(region)]);
  assert.deepEqual(counts.toSorted(byRegion), expected.toSorted(byRegion), "counts of regions");
  const charged = [...plain.tables.values()].length + 16 * plain.registered.size;
  assert.equal(pinned.chargedPages(owner), charged);
}

function byRegion([a]: readonly [number, number], [b]: readonly [number, number]): number {
  return a - b;
}

test(`${RUNS * CALLS} random calls of a guest and of user space answer as a plain model, seed ${seed}`, () => {
  const scene = sceneOf({ shifts: SHIFTS, levels: 2 });
  const answers = new Map<string, number>();
  fc.assert(
    fc.property(fc.array(call, { minLength: CALLS, maxLength: CALLS }), (calls) => {
      const vcpu = new Vcpu(scene);
      const plain = new PlainGuest();
      for (const one of calls) {
        const [found, wanted] = make(scene, vcpu, plain, one);
        assert.equal(found, wanted);
        answers.set(String(found), (answers.get(String(found)) ?? 0) + 1);
      }
      assertAlike(scene, plain);
      assert.equal(scene.tables.removeAll(), undefined);
      for (let region = 0; region < REGIONS; region++)
        scene.pinned.unregister(scene.owner, USER_PAGE + 16 * region, 16);
      assertAlike(scene, new PlainGuest());
      assert.equal(scene.pinned.pins, 0);
    }),
    { seed, numRuns: RUNS },
  );
  for (const answer of ["0", "-4", "9999", "EBUSY", "EINVAL", "ENOENT", "undefined"]) {
    assert.ok((answers.get(answer) ?? 0) > 1000, `${answer} was the answer ${answers.get(answer)} times`);
  }
});
