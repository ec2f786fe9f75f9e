/**
 * Random calls of an sPAPR container of version 2 against a plain model: 100,000, with good and bad arguments. Answers, entries, charges, pins and
 * what devices read must be equal, and at the end nothing may be left.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { SoftwareMachine } from "../../machines/software/machine.ts";
import { PinnedMemory } from "../../pinned/pinned-memory.ts";
import type { PinnedEntry } from "../../pinned/pinned-table.ts";
import { TableGroup } from "../../platforms/powernv/group.ts";
import { machineWith, phbOn, readByte } from "../../platforms/powernv/set-up.model.ts";
import { type Errno, isErrno } from "../../units/errno.ts";
import type { Access } from "../../units/numbers.ts";
import { SpaprContainer } from "./container.ts";
import type { SpaprGroup } from "./group.ts";
import { powernvSpaprGroup } from "./powernv-group.ts";

const seed = Date.now() & 0x7fffffff;
const CALLS = 400;
const RUNS = 250;
const PAGE = 4096n;
const SECOND = 1n << 59n;
const DEFAULT_BYTES = 2n ** 16n;
/** User page USER + n lies in physical page n; pages from 96 on are not present. */
const USER = 0x1000;
const PRESENT = 96;
const LIMIT_PAGES = 70;

interface Call {
  readonly kind: number;
  readonly group: 0 | 1;
  readonly isOther: boolean;
  /** In pages of 4 KiB, of the bus and of the process. */
  readonly at: number;
  readonly page: number;
  readonly pages: number;
  readonly isSecond: boolean;
  readonly flags: number;
  readonly shift: number;
  readonly log2Bytes: number;
  /** 0: a short request; 1: an unaligned one. */
  readonly fault: number;
}

const CALL: fc.Arbitrary<Call> = fc.record({
  kind: fc.nat(99),
  group: fc.constantFrom(0 as const, 1 as const),
  isOther: fc.nat(30).map((value) => value === 0),
  at: fc.oneof(fc.nat(18), fc.constantFrom(0, 16, 32, 48)),
  page: fc.oneof(fc.integer({ min: 0, max: PRESENT + 2 }), fc.constantFrom(0, 16, 32)),
  pages: fc.oneof(fc.nat(6), fc.constantFrom(16, 32)),
  isSecond: fc.boolean(),
  flags: fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: 1, max: 3 }) },
    { weight: 1, arbitrary: fc.constantFrom(0, 4, 7) },
  ),
  shift: fc.constantFrom(12, 16, 16, 13),
  log2Bytes: fc.integer({ min: 15, max: 20 }),
  fault: fc.nat(20),
});

interface PlainWindow {
  readonly base: bigint;
  readonly shift: number;
  readonly entries: ({ readonly page: number; readonly flags: number } | undefined)[];
}

class Plain {
  readonly groups = new Set<number>();
  readonly windows: (PlainWindow | undefined)[] = [undefined, undefined];
  regions: { readonly first: number; readonly pages: number }[] = [];
  hasRegistered = false;
  isEnabled = false;
  isPending = false;

  /** Each table has one page: its levels have 4 KiB. */
  get charged(): number {
    const windows = this.windows.filter((window) => window !== undefined).length;
    return this.regions.reduce((sum, { pages }) => sum + pages, windows);
  }
  makeDefault(): Errno | undefined {
    if (!this.isPending || this.groups.size === 0) return undefined;
    const errno = this.add(12, DEFAULT_BYTES);
    if (errno !== undefined) return errno;
    this.isPending = false;
    return undefined;
  }
  add(shift: number, bytes: bigint): Errno | undefined {
    const number = this.windows.indexOf(undefined);
    if (number < 0) return "ENOSPC";
    if (shift === 13 || bytes < 1n << BigInt(shift)) return "EINVAL";
    if (this.charged + 1 > LIMIT_PAGES) return "ENOMEM";
    const entries = Array.from({ length: Number(bytes >> BigInt(shift)) }, () => undefined);
    this.windows[number] = { base: number === 0 ? 0n : SECOND, shift, entries };
    return undefined;
  }
  windowAt(iova: bigint): PlainWindow | undefined {
    return this.windows.find((window) => {
      const offset = window === undefined ? -1n : iova - window.base;
      return window !== undefined && offset >= 0n && offset < BigInt(window.entries.length) << BigInt(window.shift);
    });
  }
  regionOf(page: number, pages: number): (typeof this.regions)[number] | undefined {
    return this.regions.find((one) => one.first <= page && page + pages <= one.first + one.pages);
  }
  isMapped({ first, pages }: { readonly first: number; readonly pages: number }): boolean {
    const entries = this.windows.flatMap((window) => window?.entries ?? []);
    return entries.some((entry) => entry !== undefined && first <= entry.page && entry.page < first + pages);
  }
}

/** log2 of the bytes of the smallest page behind a region: huge pages of 64 KiB, bounded by the region's alignment. */
function shiftOf({ first, pages }: { readonly first: number; readonly pages: number }): number {
  return first % 16 === 0 && pages % 16 === 0
    ? 16
    : Math.min(...[first, pages].map((n) => (n === 0 ? 16 : 12 + Math.log2(n & -n))));
}

class Run {
  readonly plain = new Plain();
  readonly machine: SoftwareMachine = machineWith({ faultRecords: 64, memoryBytes: 2 ** 22 });
  readonly pinned: PinnedMemory;
  readonly owner: number;
  readonly container: SpaprContainer;
  readonly groups: readonly SpaprGroup[];

  constructor() {
    const { machine } = this;
    const phb = phbOn(machine);
    this.pinned = PinnedMemory.create({ memoryBytes: machine.memory.bytes, crew: machine.crew });
    const user = { pageOf: (page: number) => (page < USER + PRESENT ? page - USER : -1), backingShift: () => 16 };
    this.owner = this.pinned.addOwner({ limitBytes: LIMIT_PAGES * 4096 }, user) as number;
    this.container = SpaprContainer.open({
      pinned: this.pinned,
      owner: this.owner,
      kind: "spapr-v2",
    }) as SpaprContainer;
    this.groups = [1, 2].map((number) =>
      powernvSpaprGroup(phb, TableGroup.create(phb, number), { defaultBytes: DEFAULT_BYTES }),
    );
    phb.bindDevice("nic", 1);
    phb.bindDevice("disk", 2);
    for (let page = 1; page < PRESENT; page++) machine.memory.write(page * 4096, Uint8Array.of(page));
  }

  step(call: Call): void {
    const step = STEPS.find(([upTo]) => call.kind < upTo);
    step?.[1](this, call);
    this.compare(call);
  }

  caller({ isOther }: Call): number {
    return isOther ? this.owner + 1 : this.owner;
  }

  compare(call: Call): void {
    const { plain, pinned, container } = this;
    assert.equal(pinned.chargedPages(this.owner), plain.charged, "charged pages");
    assert.equal(
      pinned.pins,
      plain.regions.reduce((sum, { pages }) => sum + pages, 0),
      "pins",
    );
    const windows = plain.windows.filter((window) => window !== undefined);
    assert.equal(container.tables.length, windows.length);
    for (const [i, { base, shift, entries }] of windows.entries()) {
      const table = container.tables[i];
      assert.deepEqual(table?.window, { base, pageShift: shift, entries: entries.length });
      for (const [entry, value] of entries.entries()) {
        const found: PinnedEntry | Errno | undefined = table?.get(entry);
        const seen: unknown = typeof found === "object" ? { page: found.userPage - USER, flags: found.access } : found;
        assert.deepEqual(seen, value);
      }
    }
    this.compareRead(call);
  }

  /** A device of each group reads at a bus address. */
  compareRead({ at, isSecond }: Call): void {
    const iova = (isSecond ? SECOND : 0n) + BigInt(at) * PAGE;
    const window = this.plain.windowAt(iova);
    const offset = window === undefined ? 0 : Number(iova - window.base) / 4096;
    const perEntry = window === undefined ? 1 : 2 ** (window.shift - 12);
    const value = window?.entries[Math.floor(offset / perEntry)];
    for (const [group, device] of ["nic", "disk"].entries()) {
      const isReached = value !== undefined && this.plain.groups.has(group);
      const wanted = isReached ? (value.page + (offset % perEntry)) % 256 : undefined;
      assert.equal(readByte(this.machine, device, iova), wanted, `${device} at ${iova}`);
      if (!isReached) this.machine.translation.thaw(group + 1);
    }
    this.machine.faults();
  }
}

function attach(run: Run, call: Call): void {
  const answer = run.container.attachGroup(run.groups[call.group] as SpaprGroup, run.caller(call));
  const isTwice = run.plain.groups.has(call.group);
  assert.equal(answer, call.isOther ? "EPERM" : isTwice ? "EBUSY" : undefined);
  if (answer !== undefined) return;
  const isFirst = run.plain.groups.size === 0 && run.plain.windows.every((window) => window === undefined);
  run.plain.groups.add(call.group);
  if (isFirst) run.plain.isPending = true;
}

function detach(run: Run, call: Call): void {
  const answer = run.container.detachGroup(run.groups[call.group] as SpaprGroup, run.caller(call));
  assert.equal(answer, call.isOther ? "EPERM" : run.plain.groups.has(call.group) ? undefined : "ENODEV");
  if (answer === undefined) run.plain.groups.delete(call.group);
}

function memoryOf({ page, pages, fault }: Call) {
  const argsz = fault === 0 ? { argsz: 20 } : {};
  return { userAddress: BigInt(USER + page) * PAGE + (fault === 1 ? 1n : 0n), bytes: BigInt(pages) * PAGE, ...argsz };
}

function register(run: Run, call: Call): void {
  const { plain } = run;
  const { page, pages, fault } = call;
  const answer = run.container.register(memoryOf(call), run.caller(call));
  const isBad = fault <= 1 || pages === 0;
  if (!call.isOther && !isBad) plain.hasRegistered = true;
  const isThere = plain.regions.some((one) => one.first === page && one.pages === pages);
  const overlaps = plain.regions.some((one) => one.first < page + pages && page < one.first + one.pages);
  const wanted = call.isOther
    ? "EPERM"
    : isBad
      ? "EINVAL"
      : isThere
        ? "EBUSY"
        : plain.charged + pages > LIMIT_PAGES
          ? "ENOMEM"
          : page + pages > PRESENT
            ? "EFAULT"
            : overlaps
              ? "EINVAL"
              : undefined;
  assert.equal(answer, wanted);
  if (answer !== undefined) return;
  plain.regions.push({ first: page, pages });
  plain.isEnabled = true;
}

function unregister(run: Run, call: Call): void {
  const { plain } = run;
  const picked = plain.regions[call.at % 4];
  const { first, pages } = picked ?? { first: call.page, pages: call.pages };
  const request = memoryOf({ ...call, page: first, pages });
  const answer = run.container.unregister(request, run.caller(call));
  const region = plain.regions.find((one) => one.first === first && one.pages === pages);
  const wanted =
    call.isOther || !plain.hasRegistered
      ? "EPERM"
      : call.fault <= 1 || pages === 0
        ? "EINVAL"
        : region === undefined
          ? "ENOENT"
          : plain.isMapped(region)
            ? "EBUSY"
            : undefined;
  assert.equal(answer, wanted);
  if (answer === undefined) plain.regions = plain.regions.filter((one) => one !== region);
}

function create(run: Run, call: Call): void {
  const { plain } = run;
  const windowBytes = 2n ** BigInt(call.log2Bytes) + (call.fault === 1 ? 1n : 0n);
  const argsz = call.fault === 0 ? { argsz: 39 } : {};
  const request = { pageShift: call.shift, windowBytes, levels: 1, ...argsz };
  const answer = run.container.createWindow(request, run.caller(call));
  const wanted = call.isOther
    ? "EPERM"
    : call.fault === 0
      ? "EINVAL"
      : plain.groups.size === 0
        ? "ENXIO"
        : plain.makeDefault();
  if (wanted !== undefined) {
    assert.equal(answer, wanted);
    return;
  }
  const isFull = !plain.windows.includes(undefined);
  const errno = call.fault === 1 && !isFull ? "EINVAL" : plain.add(call.shift, windowBytes);
  if (errno !== undefined) assert.equal(answer, errno);
  else assert.ok(!isErrno(answer), `answered ${answer}`);
}

function remove(run: Run, call: Call): void {
  const { plain } = run;
  const iova = iovaOf(call);
  const answer = run.container.removeWindow({ iova, ...(call.fault === 0 ? { argsz: 15 } : {}) }, run.caller(call));
  const early = call.isOther ? "EPERM" : call.fault === 0 ? "EINVAL" : undefined;
  if (early !== undefined) {
    assert.equal(answer, early);
    return;
  }
  if (iova === 0n && plain.isPending) {
    plain.isPending = false;
    assert.equal(answer, undefined);
    return;
  }
  const errno = plain.makeDefault();
  const window = plain.windowAt(iova);
  assert.equal(answer, errno ?? (window === undefined ? "EINVAL" : undefined));
  if (answer === undefined) plain.windows[plain.windows.indexOf(window)] = undefined;
}

const iovaOf = ({ at, isSecond, fault }: Call): bigint =>
  (isSecond ? SECOND : 0n) + BigInt(at) * PAGE + (fault === 1 ? 1n : 0n);

/** The entries of a request, or the errno; the window is made if it is pending. */
function entriesOf(
  run: Run,
  call: Call,
  least: number,
  known: number,
): { window: PlainWindow; first: number; count: number } | Errno {
  const { plain } = run;
  if (call.isOther || !plain.isEnabled) return "EPERM";
  if (call.fault === 0 && least > 20) return "EINVAL";
  if ((call.flags & ~known) !== 0 && known !== 0) return "EINVAL";
  const errno = plain.makeDefault();
  if (errno !== undefined) return errno;
  const window = plain.windowAt(iovaOf(call));
  if (window === undefined) return "ENXIO";
  const perEntry = 2 ** (window.shift - 12);
  const isAligned = call.fault !== 1 && call.at % perEntry === 0 && call.pages % perEntry === 0;
  const [first, count] = [call.at / perEntry, call.pages / perEntry];
  return isAligned && first + count <= window.entries.length ? { window, first, count } : "EINVAL";
}

function map(run: Run, call: Call): void {
  const { plain } = run;
  const { page, pages, flags, fault } = call;
  const request = { iova: iovaOf(call), userAddress: BigInt(USER + page) * PAGE, bytes: BigInt(pages) * PAGE, flags };
  const answer = run.container.map({ ...request, ...(fault === 0 ? { argsz: 31 } : {}) }, run.caller(call));
  const range = entriesOf(run, call, 32, 3);
  if (isErrno(range)) {
    assert.equal(answer, range);
    return;
  }
  const { window, first, count } = range;
  const perEntry = 2 ** (window.shift - 12);
  const regions = Array.from({ length: count }, (_, i) => plain.regionOf(page + i * perEntry, perEntry));
  const isWrong =
    flags === 0 ||
    page % perEntry !== 0 ||
    regions.some((region) => region === undefined || shiftOf(region) < window.shift);
  assert.equal(answer, isWrong ? "EINVAL" : undefined);
  if (answer !== undefined) return;
  for (let i = 0; i < count; i++) window.entries[first + i] = { page: page + i * perEntry, flags: flags as Access };
}

function unmap(run: Run, call: Call): void {
  const { pages, fault } = call;
  const request = { iova: iovaOf(call), bytes: BigInt(pages) * PAGE, ...(fault === 0 ? { argsz: 23 } : {}) };
  const answer = run.container.unmap(request, run.caller(call));
  const range = entriesOf(run, call, 24, 0);
  assert.equal(answer, isErrno(range) ? range : undefined);
  if (!isErrno(range)) range.window.entries.fill(undefined, range.first, range.first + range.count);
}

function versionOne(run: Run, call: Call): void {
  const answer = call.isOther ? "EPERM" : "ENOTTY";
  assert.equal(run.container.enable(run.caller(call)), answer);
  assert.equal(run.container.disable(run.caller(call)), answer);
}

/** Calls, each with the end of its share of a hundred. */
const STEPS: readonly (readonly [number, (run: Run, call: Call) => void])[] = [
  [8, attach],
  [11, detach],
  [27, register],
  [35, unregister],
  [42, create],
  [45, remove],
  [80, map],
  [98, unmap],
  [100, versionOne],
];

test("100,000 random calls answer as a plain model, and nothing is left at the end", (t) => {
  t.diagnostic(`seed ${seed}`);
  let calls = 0;
  let mapped = 0;
  fc.assert(
    fc.property(fc.array(CALL, { minLength: CALLS, maxLength: CALLS }), (list) => {
      const run = new Run();
      for (const call of list) run.step(call);
      calls += list.length;
      mapped += run.container.tables.reduce((sum, table) => sum + table.mapped, 0);
      assert.equal(run.container.close(), undefined);
      assert.deepEqual([run.pinned.pins, run.pinned.chargedPages(run.owner)], [0, 0]);
      assert.equal(run.pinned.endOwner(run.owner), undefined);
    }),
    { seed, numRuns: RUNS },
  );
  t.diagnostic(`${calls} calls; ${mapped} entries were mapped at the ends`);
  assert.ok(calls >= CALLS * RUNS && mapped > RUNS);
});
