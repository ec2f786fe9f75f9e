/** sPAPR containers when the platform is busy or ops throw: nothing stays pinned, charged or set in a group afterwards (review of 2026-11-30). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ModelOps } from "../../dma/ops.model.ts";
import { PinnedMemory } from "../../pinned/pinned-memory.ts";
import type { Errno } from "../../units/errno.ts";
import type { Failure } from "../../units/failure.ts";
import { SpaprContainer } from "./container.ts";
import type { SpaprGroup, SpaprTable, WindowOps } from "./group.ts";

const PAGE = 4096n;
const ENTRIES = 16;
const USER = 0x1000n * PAGE;

class BusyOps extends ModelOps {
  isBusy = false;
  throws = false;
  override invalidate(first: number, end: number): Failure | undefined {
    return this.isBusy ? "platform-busy" : super.invalidate(first, end);
  }
  override exchange(...args: Parameters<ModelOps["exchange"]>): Failure | undefined {
    if (this.throws) throw new Error("the ops throw");
    return super.exchange(...args);
  }
}

function memoryOfOneProcess() {
  const pinned = PinnedMemory.create({ memoryBytes: 2 ** 20, regions: 16 });
  const user = { pageOf: (page: number) => page - 0x1000, backingShift: () => 12 };
  const owner = pinned.addOwner({ limitBytes: 2 ** 20 }, user) as number;
  return { pinned, owner };
}

const tableOf = (ops: ModelOps): SpaprTable => ({
  window: { base: 0n, pageShift: 12, entries: ENTRIES },
  ops,
  handle: {},
  release: () => undefined,
});

const groupWith = (number: number, parts: Partial<SpaprGroup>): SpaprGroup => ({
  number,
  dynamicWindows: 0,
  pageShifts: [12],
  levels: 1,
  fixedTables: [],
  takeOwnership: () => undefined,
  releaseOwnership: () => undefined,
  ...parts,
});

/** A container of version 1 with a fixed table, enabled. */
function enabled() {
  const { pinned, owner } = memoryOfOneProcess();
  const ops = new BusyOps(ENTRIES);
  const container = SpaprContainer.open({ pinned, owner, kind: "spapr-v1" }) as SpaprContainer;
  const defaultWindow = { base: 0n, bytes: BigInt(ENTRIES) * PAGE };
  assert.equal(container.attachGroup(groupWith(1, { defaultWindow, fixedTables: [tableOf(ops)] })), undefined);
  assert.equal(container.enable(), undefined);
  return { pinned, owner, ops, container };
}

const map = (entry: number, page: number) => ({
  iova: BigInt(entry) * PAGE,
  userAddress: USER + BigInt(page) * PAGE,
  bytes: PAGE,
  flags: 3,
});

test("version 1: memory is unpinned when an unmap that waited for the platform is repeated", () => {
  const { container, ops, pinned } = enabled();
  assert.equal(container.map(map(2, 7)), undefined);
  ops.isBusy = true;
  assert.equal(container.unmap({ iova: 2n * PAGE, bytes: PAGE }), "EAGAIN");
  assert.equal(pinned.pinsOf(7), 1);
  ops.isBusy = false;
  assert.equal(container.unmap({ iova: 2n * PAGE, bytes: PAGE }), undefined);
  assert.equal(pinned.pins, 0);
});

test("version 1: memory that a map replaces while the platform is busy is unpinned later", () => {
  const { container, ops, pinned } = enabled();
  assert.equal(container.map(map(2, 7)), undefined);
  ops.isBusy = true;
  assert.equal(container.map(map(2, 8)), "EAGAIN");
  assert.equal(pinned.pinsOf(7), 1);
  ops.isBusy = false;
  assert.equal(container.map(map(2, 8)), undefined);
  assert.deepEqual([pinned.pinsOf(7), pinned.pinsOf(8), pinned.pins], [0, 1, 1]);
  assert.equal(container.unmap({ iova: 2n * PAGE, bytes: PAGE }), undefined);
  assert.equal(pinned.pins, 0);
});

test("version 1: memory of a map whose ops throw is unpinned with the next call", () => {
  const { container, ops, pinned } = enabled();
  ops.throws = true;
  assert.throws(() => container.map(map(2, 7)), /the ops throw/);
  ops.throws = false;
  assert.equal(container.map(map(3, 9)), undefined);
  assert.deepEqual([pinned.pinsOf(7), pinned.pins], [0, 1]);
  assert.equal(container.close(), undefined);
  assert.equal(pinned.pins, 0);
});

test("version 2: a group in which a window can't be set goes back to the kernel once it has no window of the container", () => {
  const { pinned, owner } = memoryOfOneProcess();
  let isBusy = true;
  const events: string[] = [];
  const windowOps: WindowOps = {
    tableBytes: () => 8192,
    createTable: (_, window) => ({ ...tableOf(new ModelOps(ENTRIES)), handle: { window } }),
    setWindow: ({ number }, { handle }) =>
      number === 2 && Object.values(handle)[0] === 1 && isBusy ? "EBUSY" : undefined,
    unsetWindow: ({ number }) => (isBusy ? "EAGAIN" : void events.push(`unset in ${number}`)),
  };
  const container = SpaprContainer.open({ pinned, owner, kind: "spapr-v2" }) as SpaprContainer;
  const groups = [1, 2].map((number) =>
    groupWith(number, { dynamicWindows: 2, windowOps, releaseOwnership: () => void events.push(`release ${number}`) }),
  );
  const shape = { pageShift: 12, windowBytes: BigInt(ENTRIES) * PAGE, levels: 1 };
  assert.equal(container.attachGroup(groups[0] as SpaprGroup), undefined);
  for (let window = 0; window < 2; window++) assert.equal(container.createWindow(shape), 0n);
  assert.equal(container.attachGroup(groups[1] as SpaprGroup), "EBUSY");
  assert.equal(container.attachGroup(groups[1] as SpaprGroup), "EAGAIN");
  assert.deepEqual(events, []);
  isBusy = false;
  assert.equal(container.attachGroup(groups[1] as SpaprGroup), undefined);
  assert.deepEqual(events, ["unset in 2", "release 2"]);
  assert.equal(container.close(), undefined);
});

test("version 2: a window that can't be set in all groups, nor taken back at once, is removed by a later call", () => {
  const { pinned, owner } = memoryOfOneProcess();
  let released = 0;
  let unset: Errno | undefined = "EAGAIN";
  const set = new Set<number>();
  const windowOps: WindowOps = {
    tableBytes: () => 8192,
    createTable: () => ({ ...tableOf(new ModelOps(ENTRIES)), release: () => void released++ }),
    setWindow: ({ number }) => (number === 2 ? "EBUSY" : void set.add(number)),
    unsetWindow: ({ number }) => unset ?? void set.delete(number),
  };
  const container = SpaprContainer.open({ pinned, owner, kind: "spapr-v2" }) as SpaprContainer;
  for (const number of [1, 2]) {
    assert.equal(container.attachGroup(groupWith(number, { dynamicWindows: 2, windowOps })), undefined);
  }
  const shape = { pageShift: 12, windowBytes: BigInt(ENTRIES) * PAGE, levels: 1 };
  assert.equal(container.createWindow(shape), "EBUSY");
  assert.deepEqual([set.size, released, pinned.chargedPages(owner)], [1, 0, 2]);
  assert.equal(container.close(), "EAGAIN");
  unset = undefined;
  assert.equal(container.close(), undefined);
  assert.deepEqual([set.size, released, pinned.chargedPages(owner)], [0, 1, 0]);
});
