/**
 * Ops that throw, which the contract forbids and programs do all the same: at every call in turn, under every operation. The error goes on
 * to the caller; what was being mapped is gone without a trace, what was being unmapped is still mapped and can be unmapped again.
 * Origin: review of 2026-11-30, new users' defect B2.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { UNCONSTRAINED } from "../allocator/constraints.ts";
import { SoftwareMachine } from "../machines/software/machine.ts";
import { PhysicalPages } from "../memory/physical-pages.ts";
import { SingleLockTable } from "../rivals/single-lock.ts";
import type { EntryValue, TableOps } from "../table/contract.ts";
import { IommuTable, type TableOptions } from "../table/iommu-table.ts";
import type { Failure } from "../units/failure.ts";
import type { Access, DmaWindow } from "../units/numbers.ts";
import type { CoherentMemory, Mapping } from "./contract.ts";
import { DmaDevice } from "./device.ts";
import type { DmaDeviceOptions } from "./device-options.ts";
import { ModelOps } from "./ops.model.ts";
import { ScatterList } from "./scatter-list.ts";

const window: DmaWindow = { base: 0x10000n, pageShift: 12, entries: 64 };

/** Ops on an array of entries that throw at one call, or from one call on. */
class ThrowingOps implements TableOps {
  readonly model: ModelOps = new ModelOps(window.entries);
  /** Calls until the first that throws; 0: none does. */
  left = 0;
  /** Do all calls throw from then on? */
  stays = false;
  thrown = 0;

  set(first: number, count: number, page: number, access: Access): Failure | undefined {
    this.#count();
    return this.model.set(first, count, page, access);
  }
  setCoherent(first: number, count: number, page: number, access: Access): Failure | undefined {
    return this.set(first, count, page, access);
  }
  clear(first: number, count: number): void {
    this.#count();
    this.model.clear(first, count);
  }
  get(entry: number, into: EntryValue): void {
    this.model.get(entry, into);
  }
  exchange(entry: number, page: number, access: Access, old: EntryValue): Failure | undefined {
    return this.model.exchange(entry, page, access, old);
  }
  synchronize(): undefined {
    this.#count();
  }
  publish(): Failure | undefined {
    this.#count();
    return this.model.publish();
  }
  invalidate(first: number, end: number): Failure | undefined {
    this.#count();
    return this.model.invalidate(first, end);
  }
  invalidateAll(): Failure | undefined {
    this.#count();
    return this.model.invalidateAll();
  }

  throwFrom(call: number, stays: boolean): void {
    this.left = call;
    this.stays = stays;
    this.thrown = 0;
  }
  heal(): void {
    this.left = 0;
  }

  #count(): void {
    if (this.left === 0) return;
    if (this.left > 1) {
      this.left--;
      return;
    }
    if (!this.stays) this.left = 0;
    this.thrown++;
    throw new Error(`ops bug ${this.thrown}`);
  }
}

const { memory } = SoftwareMachine.create({ memoryBytes: 2 ** 17, devices: ["nic"], threads: 1 });

class Rig {
  readonly ops: ThrowingOps = new ThrowingOps();
  readonly pages: PhysicalPages = PhysicalPages.create({ address: 2 ** 16, bytes: 2 ** 16, threads: 1 });
  readonly table: IommuTable;
  readonly device: DmaDevice;
  readonly list: ScatterList = new ScatterList(4);

  constructor(options: TableOptions, bounced: boolean) {
    this.table = IommuTable.create(window, this.ops, { threads: 2, ...options });
    const bounce: DmaDeviceOptions = bounced ? { bounce: { pages: this.pages, untrusted: true } } : {};
    this.device = new DmaDevice(this.table, {}, { memory, coherentPages: this.pages, ...bounce });
    for (const [address, bytes] of [
      [0x2000, 4096],
      [0x5010, 100],
      [0x9000, 8192],
    ] as const) {
      this.list.addNumber(address, bytes);
    }
  }

  /** Entries that are taken and pages that are, after the IOTLB was flushed. */
  left(): readonly number[] {
    assert.equal(this.table.allocator.drain(), undefined);
    assert.equal(this.table.allocator.flushIotlb(), undefined);
    return [this.table.statistics().taken, this.table.statistics().quarantined, this.ops.model.used];
  }

  /** A list gets an area for each element where no hole holds it whole. */
  fragment(): void {
    const firsts = Array.from({ length: 64 }, () => this.table.allocate(1, UNCONSTRAINED, -1));
    for (const first of firsts) this.table.commit(first, 1);
    for (let i = 0; i < 64; i++) if (i % 4 !== 3) this.table.unmap(firsts[i]!, 1);
    this.table.allocator.drain();
  }
}

/** Frees enough that the next lazy free must flush before it. */
function fillQueue({ table }: Rig): void {
  const firsts = Array.from({ length: 17 }, () => table.allocate(1, UNCONSTRAINED, -1));
  for (const first of firsts) table.commit(first, 1);
  for (const first of firsts) table.unmap(first, 1);
}

interface Operation {
  readonly name: string;
  /** Maps, and says how to undo it. */
  map(rig: Rig): () => Failure | undefined;
}

function mapped<Result>(result: Result | Failure): Exclude<Result, string> {
  assert.ok(typeof result !== "string", `failed: ${String(result)}`);
  return result as Exclude<Result, string>;
}

const OPERATIONS: readonly Operation[] = [
  {
    name: "map and unmap",
    map: ({ device }) => {
      const mapping: Mapping = mapped(device.map(0x3010n, 5000, 3));
      return () => device.unmap(mapping);
    },
  },
  {
    name: "mapPages and unmapPages",
    map: ({ device }) => {
      const entry = device.mapPages(0x3010, 5000, 3);
      assert.ok(entry >= 0);
      return () => device.unmapPages(entry, 2);
    },
  },
  {
    name: "mapResource and unmapResource",
    map: ({ device }) => {
      const mapping: Mapping = mapped(device.mapResource(0x3010n, 5000, 3));
      return () => device.unmapResource(mapping);
    },
  },
  {
    name: "mapSg and unmapSg",
    map: ({ device, list }) => {
      assert.equal(device.mapSg(list, 3), undefined);
      assert.equal(
        list.segmentBytes.subarray(0, list.segments).reduce((sum, bytes) => sum + bytes, 0),
        12388,
      );
      return () => device.unmapSg(list);
    },
  },
  {
    name: "allocateCoherent and freeCoherent",
    map: ({ device }) => {
      const block: CoherentMemory = mapped(device.allocateCoherent(6000));
      return () => device.freeCoherent(block);
    },
  },
];

const TABLES: ReadonlyArray<readonly [string, TableOptions]> = [
  ["strict", {}],
  ["strict with a cache", { cache: "fifo" }],
  ["lazy", { invalidate: "lazy" }],
  ["lazy with a cache", { invalidate: "lazy", cache: "fifo" }],
];

for (const [tableName, options] of TABLES) {
  for (const bounced of [false, true]) {
    for (const fragmented of [false, true]) {
      const setting = `${tableName}${bounced ? ", bounced" : ""}${fragmented ? ", fragmented" : ""}`;
      for (const operation of OPERATIONS) {
        test(`ops that throw leave nothing behind: ${operation.name}, ${setting}`, () => {
          for (const stays of [false, true]) {
            throwInMap(operation, { options, bounced, fragmented, stays });
            throwInUnmap(operation, { options, bounced, fragmented, stays });
          }
        });
      }
    }
  }
}

interface Setting {
  readonly options: TableOptions;
  readonly bounced: boolean;
  readonly fragmented: boolean;
  /** Do ops go on throwing? */
  readonly stays: boolean;
}

function rigOf({ options, bounced, fragmented }: Setting): Rig {
  const rig = new Rig(options, bounced);
  if (fragmented) rig.fragment();
  return rig;
}

/** A throw at call 1, 2, 3 … of the mapping, until one goes through without any. */
function throwInMap(operation: Operation, setting: Setting): void {
  for (let call = 1, throws = true; throws; call++) {
    const rig = rigOf(setting);
    const before = rig.left();
    rig.ops.throwFrom(call, setting.stays);
    let undo: (() => Failure | undefined) | undefined;
    try {
      undo = operation.map(rig);
      throws = false;
    } catch (error) {
      assert.equal((error as Error).message, "ops bug 1", "the first error goes on");
      rig.ops.heal();
      assert.deepEqual([rig.list.segments, rig.list.mapping.areas], [0, 0]);
      assert.deepEqual(rig.left(), before, `throw at call ${call}`);
      undo = operation.map(rig);
    }
    rig.ops.heal();
    assert.equal(undo(), undefined, "it works again, from the start");
    assert.deepEqual(rig.left(), before);
  }
}

/** The same for the unmapping. */
function throwInUnmap(operation: Operation, setting: Setting): void {
  for (let call = 1, throws = true; throws; call++) {
    const rig = rigOf(setting);
    const before = rig.left();
    const undo = operation.map(rig);
    if (setting.fragmented) fillQueue(rig);
    rig.ops.throwFrom(call, setting.stays);
    try {
      assert.equal(undo(), undefined);
      throws = false;
    } catch (error) {
      assert.equal((error as Error).message, "ops bug 1", "the first error goes on");
      rig.ops.heal();
      undoAgain(rig, undo);
    }
    rig.ops.heal();
    assert.deepEqual(rig.left(), before, `throw at call ${call}`);
    if (!throws) assert.equal(rig.pages.takenPages, 0);
  }
}

/** What still was mapped is unmapped; where ops threw after it was given up, it is not mapped any more. */
function undoAgain({ list }: Rig, undo: () => Failure | undefined): void {
  try {
    assert.equal(undo(), undefined);
  } catch (error) {
    assert.equal((error as { code?: string }).code, "not-allocated");
  }
  assert.equal(list.mapping.device, undefined, "the list is not mapped");
}

test("the rival's table unlocks when ops throw", () => {
  const ops = new ThrowingOps();
  const table = SingleLockTable.create(window, ops);
  ops.throwFrom(1, true);
  assert.throws(() => new DmaDevice(table).map(0n, 10, 3), /ops bug/);
  ops.heal();
  assert.ok(table.allocate(1, UNCONSTRAINED, -1) >= 0);
});

test("a list that ops threw on has no old segments when it is mapped again", () => {
  const { ops, device, list } = new Rig({}, false);
  ops.throwFrom(2, false);
  assert.throws(() => device.mapSg(list, 1), /ops bug/);
  assert.deepEqual([list.segments, list.mapping.areas, list.mapping.device], [0, 0, undefined]);
  assert.equal(device.mapSg(list, 1), undefined);
  assert.deepEqual([...list.segmentBytes.subarray(0, list.segments)], [4096, 100, 8192]);
});

test("a lazy free whose flush throws leaves the range allocated, to be freed again", () => {
  const ops = new ThrowingOps();
  const { allocator } = IommuTable.create(window, ops, { invalidate: "lazy", threads: 1 });
  const ranges = Array.from({ length: 60 }, () => allocator.allocate(1));
  ops.throwFrom(1, true);
  const refused = ranges.filter((first) => {
    try {
      allocator.free(first, 1);
      return false;
    } catch (error) {
      assert.match((error as Error).message, /ops bug/);
      return true;
    }
  });
  assert.ok(refused.length > 0);
  ops.heal();
  for (const first of refused) assert.equal(allocator.free(first, 1), 0);
  assert.equal(allocator.drain(), undefined);
  assert.equal(allocator.statistics().taken, 0);
});

for (const [name, options] of TABLES) {
  test(`a view whose ops throw while it closes is closed all the same, and a reclaim brings its ranges back: ${name}`, () => {
    const ops = new ThrowingOps();
    const other = IommuTable.create(window, ops, { threads: 2, ...options });
    const table = IommuTable.attach(other.handle, ops);
    const device = new DmaDevice(table);
    const mapping: Mapping = mapped(device.map(0x3010n, 5000, 3));
    ops.throwFrom(1, true);
    assert.throws(() => device.map(0x9000n, 10, 3), /ops bug 1/);
    assert.throws(() => table.close(), /ops bug/);
    const { thrown } = ops;
    table.close();
    assert.equal(ops.thrown, thrown, "a second close does nothing");
    assert.throws(() => table.unmap(0, 1), { code: "view-closed" });
    ops.heal();
    assert.deepEqual(other.allocator.threadsInUse(), [other.thread, table.thread]);
    other.reclaim(table.thread, "everything");
    assert.deepEqual(other.allocator.threadsInUse(), [other.thread]);
    assert.deepEqual([other.statistics().taken, ops.model.used], [0, 0], `${mapping.iova} is mapped no more`);
  });
}
