/**
 * Random calls of an sPAPR container of version 1 against a plain model: 100,000, with good and bad arguments. Answers, entries, charges, pins and
 * what the device reads must be equal, and at the end nothing may be left.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { PinnedMemory } from "../../pinned/pinned-memory.ts";
import type { PinnedEntry } from "../../pinned/pinned-table.ts";
import { TableGroup } from "../../platforms/powernv/group.ts";
import { machineWith, phbOn, readByte } from "../../platforms/powernv/set-up.model.ts";
import type { Errno } from "../../units/errno.ts";
import { SpaprContainer } from "./container.ts";
import { powernvSpaprGroup } from "./powernv-group.ts";

const seed = Date.now() & 0x7fffffff;
const CALLS = 400;
const RUNS = 250;
const PAGE = 4096n;
const ENTRIES = 16;
/** User page USER + n lies in physical page n; pages from 40 on are not present. */
const USER = 0x1000;
const PRESENT = 40;
/** Room for the window's charge, and for its table. */
const LIMIT_PAGES = ENTRIES + 1;

interface Call {
  readonly kind: number;
  readonly isOther: boolean;
  readonly at: number;
  readonly page: number;
  readonly pages: number;
  readonly flags: number;
  /** 0: a short request; 1: an unaligned address. */
  readonly fault: number;
}

const CALL: fc.Arbitrary<Call> = fc.record({
  kind: fc.nat(99),
  isOther: fc.nat(30).map((value) => value === 0),
  at: fc.nat(ENTRIES + 1),
  page: fc.integer({ min: 1, max: PRESENT + 1 }),
  pages: fc.nat(5),
  flags: fc.oneof(
    { weight: 8, arbitrary: fc.integer({ min: 1, max: 3 }) },
    { weight: 1, arbitrary: fc.constantFrom(0, 4) },
  ),
  fault: fc.nat(20),
});

/** Memory that one map has pinned. */
interface Memory {
  readonly pages: number;
}

class Run {
  hasGroup = false;
  isEnabled = false;
  /** Made with the first map or unmap that comes so far. */
  hasWindow = false;
  readonly entries: ({ readonly page: number; readonly flags: number; readonly memory: Memory } | undefined)[] =
    Array.from({ length: ENTRIES }, () => undefined);
  readonly machine = machineWith({ faultRecords: 64 });
  readonly pinned = PinnedMemory.create({ memoryBytes: this.machine.memory.bytes, crew: this.machine.crew });
  readonly owner: number;
  readonly container: SpaprContainer;
  readonly group;

  constructor() {
    const phb = phbOn(this.machine);
    const user = { pageOf: (page: number) => (page < USER + PRESENT ? page - USER : -1), backingShift: () => 12 };
    this.owner = this.pinned.addOwner({ limitBytes: LIMIT_PAGES * 4096 }, user) as number;
    this.container = SpaprContainer.open({
      pinned: this.pinned,
      owner: this.owner,
      kind: "spapr-v1",
    }) as SpaprContainer;
    this.group = powernvSpaprGroup(phb, TableGroup.create(phb, 1), { defaultBytes: BigInt(ENTRIES) * PAGE });
    phb.bindDevice("nic", 1);
    for (let page = 1; page < PRESENT; page++) this.machine.memory.write(page * 4096, Uint8Array.of(page));
  }

  step(call: Call): void {
    const caller = call.isOther ? this.owner + 1 : this.owner;
    if (call.kind < 4) this.attach(call, caller);
    else if (call.kind < 6) this.detach(call, caller);
    else if (call.kind < 14) this.enable(call, caller);
    else if (call.kind < 18) this.disable(call, caller);
    else if (call.kind < 65) this.map(call, caller);
    else this.unmap(call, caller);
    this.compare(call);
  }

  attach({ isOther }: Call, caller: number): void {
    const answer = this.container.attachGroup(this.group, caller);
    assert.equal(answer, isOther ? "EPERM" : this.hasGroup ? "EBUSY" : undefined);
    if (answer === undefined) this.hasGroup = true;
  }

  detach({ isOther }: Call, caller: number): void {
    const answer = this.container.detachGroup(this.group, caller);
    assert.equal(answer, isOther ? "EPERM" : this.hasGroup ? undefined : "ENODEV");
    if (answer === undefined) this.hasGroup = false;
  }

  enable({ isOther }: Call, caller: number): void {
    const answer = this.container.enable(caller);
    const wanted = isOther ? "EPERM" : this.isEnabled ? "EBUSY" : this.hasGroup ? undefined : "ENODEV";
    assert.equal(answer, wanted);
    if (answer === undefined) this.isEnabled = true;
  }

  disable({ isOther }: Call, caller: number): void {
    assert.equal(this.container.disable(caller), isOther ? "EPERM" : undefined);
    if (!isOther) this.isEnabled = false;
  }

  /** The errno of both calls; the window is made on the way. */
  refusal({ isOther, at, pages, fault, flags }: Call, known: number): Errno | undefined {
    if (isOther || !this.isEnabled) return "EPERM";
    if (fault === 0 || (flags & ~known) !== 0) return "EINVAL";
    if (this.hasGroup) this.hasWindow = true;
    if (!this.hasWindow || at >= ENTRIES) return "ENXIO";
    return fault === 1 || at + pages > ENTRIES ? "EINVAL" : undefined;
  }

  map(call: Call, caller: number): void {
    const { at, page, pages, flags, fault } = call;
    const [iova, userAddress] = [BigInt(at) * PAGE + (fault === 1 ? 1n : 0n), BigInt(USER + page) * PAGE];
    const request = { iova, userAddress, bytes: BigInt(pages) * PAGE, flags, ...(fault === 0 ? { argsz: 31 } : {}) };
    const answer = this.container.map(request, caller);
    const isAbsent = pages > 0 && page + pages > PRESENT;
    const wanted = this.refusal(call, 3) ?? (flags === 0 ? "EINVAL" : isAbsent ? "EFAULT" : undefined);
    assert.equal(answer, wanted);
    if (answer !== undefined) return;
    const memory = { pages };
    for (let i = 0; i < pages; i++) this.entries[at + i] = { page: page + i, flags, memory };
  }

  unmap(call: Call, caller: number): void {
    const { at, pages, fault } = call;
    const request = { iova: BigInt(at) * PAGE + (fault === 1 ? 1n : 0n), bytes: BigInt(pages) * PAGE };
    const answer = this.container.unmap({ ...request, ...(fault === 0 ? { argsz: 23 } : {}) }, caller);
    assert.equal(answer, this.refusal({ ...call, flags: 0 }, 0));
    if (answer === undefined) this.entries.fill(undefined, at, at + pages);
  }

  compare({ at }: Call): void {
    const charged = (this.isEnabled ? ENTRIES : 0) + (this.hasWindow ? 1 : 0);
    assert.equal(this.pinned.chargedPages(this.owner), charged, "charged pages");
    const memories = new Set(this.entries.flatMap((entry) => (entry === undefined ? [] : [entry.memory])));
    const pins = [...memories].reduce((sum, { pages }) => sum + pages, 0);
    assert.equal(this.pinned.pins, pins, "pins");
    for (const [entry, value] of this.entries.entries()) {
      const found: PinnedEntry | Errno | undefined = this.container.tables[0]?.get(entry);
      const seen: unknown = typeof found === "object" ? [found.userPage - USER, found.access] : found;
      assert.deepEqual(seen, value === undefined ? undefined : [value.page, value.flags]);
    }
    const wanted = this.hasGroup ? this.entries[at]?.page : undefined;
    assert.equal(readByte(this.machine, "nic", BigInt(at) * PAGE), wanted);
    if (wanted === undefined) this.machine.translation.thaw(1);
    this.machine.faults();
  }
}

test("100,000 random calls of version 1 answer as a plain model, and nothing is left at the end", (t) => {
  t.diagnostic(`seed ${seed}`);
  let [calls, mapped] = [0, 0];
  fc.assert(
    fc.property(fc.array(CALL, { minLength: CALLS, maxLength: CALLS }), (list) => {
      const run = new Run();
      for (const call of list) run.step(call);
      calls += list.length;
      mapped += run.entries.filter((entry) => entry !== undefined).length;
      assert.equal(run.container.close(), undefined);
      assert.deepEqual([run.pinned.pins, run.pinned.chargedPages(run.owner)], [0, 0]);
      assert.equal(run.pinned.endOwner(run.owner), undefined);
    }),
    { seed, numRuns: RUNS },
  );
  t.diagnostic(`${calls} calls; ${mapped} entries were mapped at the ends`);
  assert.ok(calls >= CALLS * RUNS && mapped > RUNS);
});
