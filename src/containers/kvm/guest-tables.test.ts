/** Guest tables in one thread: the calls of user space, and each of their errors. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as memory from "../../shared/memory.ts";
import { GuestTables } from "./guest-tables.ts";
import {
  countsOf,
  deviceReads,
  ENTRIES,
  LIOBN,
  type Scene,
  sceneOf,
  tceOf,
  USER_PAGE,
  Vcpu,
  viewOf,
} from "./set-up.model.ts";

const WHOLE = { pageShift: 12, offset: 0, size: ENTRIES };

test("a table is charged to the VMM by its pages of TCEs, and uncharged exactly", () => {
  const { tables, pinned, owner } = sceneOf({ limitBytes: 3 * 4096 });
  assert.equal(tables.createTable(1, { ...WHOLE, size: 513 }), undefined);
  assert.equal(pinned.chargedPages(owner), 2);
  assert.equal(tables.createTable(2, { ...WHOLE, size: 1 }), undefined);
  assert.equal(tables.createTable(3, { ...WHOLE, size: 1 }), "ENOMEM");
  assert.equal(pinned.chargedPages(owner), 3);
  assert.equal(tables.removeTable(1), undefined);
  assert.equal(pinned.chargedPages(owner), 1);
  assert.equal(tables.createTable(2, { ...WHOLE, size: 1 }), "EBUSY");
  assert.equal(pinned.chargedPages(owner), 1, "the refused table is not charged");
  assert.equal(tables.removeTable(1), "ENOENT");
  assert.equal(tables.removeTable(2), undefined);
  assert.equal(pinned.chargedPages(owner), 0);
});

test("size 0, page shifts outside of 12 .. 34 and windows beyond 2^64 are EINVAL", () => {
  const { tables, pinned, owner } = sceneOf();
  assert.equal(tables.createTable(1, { ...WHOLE, size: 0 }), "EINVAL");
  assert.equal(tables.createTable(1, { ...WHOLE, pageShift: 11 }), "EINVAL");
  assert.equal(tables.createTable(1, { ...WHOLE, pageShift: 35 }), "EINVAL");
  assert.equal(tables.createTable(1, { pageShift: 34, offset: 2 ** 30 - 1, size: 2 }), "EINVAL");
  assert.equal(tables.createTable(1, { pageShift: 34, offset: 2 ** 30 - 1, size: 1 }), undefined);
  assert.equal(tables.createTable(2, { ...WHOLE, size: 4 * ENTRIES }), "ENOMEM", "no room in the column");
  assert.equal(pinned.chargedPages(owner), 1);
  assert.throws(() => tables.createTable(-1, WHOLE), /liobn is -1/);
  assert.throws(() => tables.createTable(1, { ...WHOLE, size: 1.5 }), /size of a guest table in IO pages is 1.5/);
  for (let liobn = 2; liobn < 9; liobn++) assert.equal(tables.createTable(liobn, { ...WHOLE, size: 1 }), undefined);
  assert.equal(tables.createTable(9, { ...WHOLE, size: 1 }), "ENOMEM", "8 tables");
});

test("the room of a removed table is used again, and is empty", () => {
  const scene = sceneOf();
  const vcpu = new Vcpu(scene);
  const { tables } = scene;
  for (let liobn = 0; liobn < 4; liobn++) assert.equal(tables.createTable(liobn, WHOLE), undefined);
  vcpu.liobn = 2;
  assert.equal(vcpu.put(7, tceOf(1)), 0);
  assert.equal(tables.removeTable(2), undefined);
  assert.equal(tables.createTable(5, WHOLE), undefined);
  vcpu.liobn = 5;
  assert.equal(vcpu.get(7), 0n);
  assert.equal(tables.createTable(6, WHOLE), "ENOMEM");
});

test("user space reads the TCEs as the guest has put them", () => {
  const scene = sceneOf();
  const { tables } = scene;
  const vcpu = new Vcpu(scene);
  assert.equal(tables.pagesOf(LIOBN), undefined);
  assert.equal(tables.createTable(1, WHOLE), undefined);
  assert.equal(tables.createTable(LIOBN, WHOLE), undefined);
  assert.equal(vcpu.put(3, tceOf(5)), 0);
  assert.equal(vcpu.put(4, 0x1234_5678_9abc_def0n), 0, "a value without permissions");
  const pages = tables.pagesOf(LIOBN);
  assert.equal(pages?.bytes, 8 * ENTRIES);
  const seen = new BigUint64Array(pages?.buffer as unknown as SharedArrayBuffer, pages?.byteOffset, ENTRIES);
  assert.deepEqual([...seen.subarray(2, 6)], [0n, 0x5003n, 0x1234_5678_9abc_def0n, 0n]);
});

test("hardware tables with another start, too few entries or larger pages are EINVAL; a second attachment changes nothing", () => {
  const scene = sceneOf({ shifts: [16, 12] });
  const { tables, hardware, pinned } = scene;
  const [wide, fine] = hardware as [(typeof hardware)[0], (typeof hardware)[0]];
  assert.equal(tables.attachHardware(LIOBN, fine), "ENOENT");
  assert.equal(tables.createTable(1, WHOLE), undefined);
  assert.equal(tables.attachHardware(1, wide), "EINVAL", "pages of 64 KiB");
  assert.equal(tables.createTable(2, { ...WHOLE, offset: 1, size: 8 }), undefined);
  assert.equal(tables.attachHardware(2, fine), "EINVAL", "another start");
  assert.equal(tables.createTable(3, { ...WHOLE, size: ENTRIES + 1 }), undefined);
  assert.equal(tables.attachHardware(3, fine), "EINVAL", "too small");
  assert.equal(tables.createTable(4, { ...WHOLE, pageShift: 16, size: ENTRIES / 16 }), undefined);
  assert.equal(tables.attachHardware(4, fine), undefined);
  assert.equal(tables.attachHardware(4, wide), undefined);
  assert.equal(tables.attachHardware(4, wide), undefined);
  assert.equal(tables.detachHardware(4, wide), undefined);
  assert.equal(tables.detachHardware(4, wide), "ENOENT");
  const stranger = pinned.addOwner({ limitBytes: 2 ** 20 }, scene.memory) as number;
  const others = GuestTables.create({ pinned, owner: stranger, entries: ENTRIES });
  assert.equal(others.createTable(1, WHOLE), undefined);
  assert.equal(others.attachHardware(1, fine), "EINVAL", "of another process");
});

test("detaching clears what the guest has mapped, and lowers the counts; the guest's TCEs stay", () => {
  const scene = sceneOf();
  const { tables, hardware, pinned, owner, machine } = scene;
  const vcpu = new Vcpu(scene);
  assert.equal(tables.createTable(LIOBN, WHOLE), undefined);
  for (const table of hardware) assert.equal(tables.attachHardware(LIOBN, table), undefined);
  assert.equal(typeof pinned.register(owner, USER_PAGE, 8), "number");
  assert.equal(vcpu.put(3, tceOf(5)), 0);
  assert.deepEqual(
    [deviceReads(machine, "nic", 3), deviceReads(machine, "disk", 3), countsOf(scene)],
    [5, 5, { 0: 2 }],
  );
  assert.equal(tables.detachHardware(LIOBN, hardware[0] as never), undefined);
  assert.deepEqual([deviceReads(machine, "disk", 3), countsOf(scene)], [5, { 0: 1 }]);
  assert.equal(deviceReads(machine, "nic", 3), undefined);
  assert.equal(vcpu.get(3), 0x5003n);
  assert.equal(tables.removeTable(LIOBN), undefined);
  assert.deepEqual(countsOf(scene), { 0: 0 });
  assert.equal(deviceReads(machine, "disk", 3), undefined);
  assert.equal(pinned.unregister(owner, USER_PAGE, 8), undefined);
  assert.deepEqual([pinned.pins, pinned.chargedPages(owner), scene.memory.dirty], [0, 0, [physicalOf(5)]]);
});

function physicalOf(page: number): number {
  return 16 * 4 + page;
}

test("the end of the VMM's process removes its guests' tables", () => {
  const scene = sceneOf();
  const { tables, hardware, pinned, owner, machine } = scene;
  assert.equal(tables.createTable(LIOBN, WHOLE), undefined);
  assert.equal(tables.attachHardware(LIOBN, hardware[0] as never), undefined);
  assert.equal(typeof pinned.register(owner, USER_PAGE, 8), "number");
  assert.equal(new Vcpu(scene).put(3, tceOf(5)), 0);
  assert.equal(pinned.endOwner(owner), undefined);
  assert.equal(deviceReads(machine, "nic", 3), undefined);
  assert.deepEqual([pinned.pins, pinned.hasOwner(owner), tables.pagesOf(LIOBN)], [0, false, undefined]);
});

test("a platform that is busy keeps the memory counted until a detach succeeds (spec section 8, defect 28)", () => {
  const scene = sceneOf({ shifts: [12] });
  const { tables, hardware, pinned, owner, tces } = scene;
  const vcpu = new Vcpu(scene);
  assert.equal(tables.createTable(LIOBN, WHOLE), undefined);
  assert.equal(tables.attachHardware(LIOBN, hardware[0] as never), undefined);
  assert.equal(typeof pinned.register(owner, USER_PAGE, 1), "number");
  assert.equal(typeof pinned.register(owner, USER_PAGE + 1, 1), "number");
  assert.equal(vcpu.put(3, tceOf(0)), 0);
  const ops = (tces[0] as (typeof tces)[0]).ops;
  const { invalidate } = ops;
  ops.invalidate = () => "platform-busy";
  assert.equal(vcpu.put(3, tceOf(1)), 9900, "the guest repeats the call");
  assert.equal(pinned.unregister(owner, USER_PAGE, 1), "EBUSY");
  assert.equal(tables.detachHardware(LIOBN, hardware[0] as never), "EAGAIN");
  ops.invalidate = invalidate;
  assert.equal(vcpu.put(3, tceOf(1)), 0);
  assert.deepEqual([vcpu.get(3), countsOf(scene)], [0x1003n, { 0: 0, 1: 1 }]);
  ops.invalidate = () => "platform-busy";
  assert.equal(tables.removeTable(LIOBN), "EAGAIN");
  assert.equal(pinned.unregister(owner, USER_PAGE + 1, 1), "EBUSY");
  assert.equal(vcpu.put(3, tceOf(1)), 9999, "the table answers no call any more");
  ops.invalidate = invalidate;
  assert.equal(tables.removeTable(LIOBN), undefined);
  assert.deepEqual([countsOf(scene), pinned.chargedPages(owner)], [{ 0: 0, 1: 0 }, 2]);
});

test("a detachment that waits for the platform is repeated; nothing is mapped in the table meanwhile", () => {
  const scene = sceneOf({ shifts: [12] });
  const { tables, hardware, pinned, owner, tces } = scene;
  const vcpu = new Vcpu(scene);
  const [nic] = hardware as [(typeof hardware)[0]];
  assert.equal(tables.createTable(LIOBN, WHOLE), undefined);
  assert.equal(tables.attachHardware(LIOBN, nic), undefined);
  assert.equal(typeof pinned.register(owner, USER_PAGE, 8), "number");
  assert.equal(vcpu.put(3, tceOf(0)), 0);
  const ops = (tces[0] as (typeof tces)[0]).ops;
  const { invalidate } = ops;
  ops.invalidate = () => "platform-busy";
  assert.equal(tables.detachHardware(LIOBN, nic), "EAGAIN");
  assert.deepEqual([vcpu.put(4, tceOf(1)), countsOf(scene)], [0, { 0: 1 }]);
  assert.equal(tables.attachHardware(LIOBN, nic), "EBUSY");
  ops.invalidate = invalidate;
  assert.equal(tables.detachHardware(LIOBN, nic), undefined);
  assert.deepEqual([countsOf(scene), vcpu.get(3), tables.attachHardware(LIOBN, nic)], [{ 0: 0 }, 3n, undefined]);
});

/** A second thread's view whose platform answers no invalidation, of a guest with a mapped page; it has begun `begin`, and died. */
function deadThreadIn(begin: (view: Scene) => unknown): {
  scene: Scene;
  thread: number;
  setBusy: (isBusy: boolean) => void;
} {
  const scene = sceneOf({ shifts: [12] });
  const { tables, hardware, pinned, owner, tces } = scene;
  assert.equal(tables.createTable(LIOBN, WHOLE), undefined);
  assert.equal(tables.attachHardware(LIOBN, hardware[0] as never), undefined);
  assert.equal(typeof pinned.register(owner, USER_PAGE, 8), "number");
  assert.equal(new Vcpu(scene).put(3, tceOf(0)), 0);
  // The process outlives the thread.
  assert.equal(pinned.join(owner, scene.memory), undefined);
  const view = viewOf(scene.handle);
  assert.throws(() => view.tables.removeTable(LIOBN), { code: "not-attached" });
  assert.notEqual(
    tables.pagesOf(LIOBN),
    undefined,
    "a removal by a thread without a view of the hardware table changes nothing",
  );
  assert.equal(view.tables.attachHardware(LIOBN, view.hardware[0] as never), undefined);
  for (const { ops } of view.tces) ops.invalidate = () => "platform-busy";
  assert.equal(begin(view), "EAGAIN");
  const { ops } = tces[0] as (typeof tces)[0];
  const { invalidate } = ops;
  const setBusy = (isBusy: boolean): void => {
    ops.invalidate = isBusy ? () => "platform-busy" : invalidate;
  };
  return { scene, thread: view.machine.crew.thread, setBusy };
}

for (const [what, begin, left] of [
  ["detachment", ({ tables, hardware }: Scene) => tables.detachHardware(LIOBN, hardware[0] as never), 1],
  ["removal", ({ tables }: Scene) => tables.removeTable(LIOBN), 0],
] as const) {
  test(`a dead thread's ${what} is finished by a repeated reclaim when the platform was busy at the first`, () => {
    const { scene, thread, setBusy } = deadThreadIn(begin);
    const { machine, tables, pinned, owner } = scene;
    setBusy(true);
    for (const _ of [1, 2]) assert.throws(() => machine.crew.reclaim(thread, "everything"), { code: "platform-busy" });
    setBusy(false);
    assert.equal(machine.crew.reclaim(thread, "everything").isFree, true);
    assert.deepEqual([countsOf(scene), pinned.chargedPages(owner)], [{ 0: 0 }, 8 + left]);
    assert.equal(tables.detachHardware(LIOBN, scene.hardware[0] as never), "ENOENT");
  });

  test(`a thread that closes with a ${what} which waits for the platform keeps its number until it is recovered`, () => {
    const { scene, thread } = deadThreadIn((view) => {
      const errno = begin(view);
      view.tables.close();
      for (const table of view.hardware) table.close();
      return errno;
    });
    assert.equal(scene.machine.crew.mayHold(thread, scene.tables.handle.structure), true);
    assert.equal(scene.machine.crew.reclaim(thread, "everything").isFree, true);
    assert.deepEqual(countsOf(scene), { 0: 0 });
  });
}

test("memory slots: overlaps are EEXIST, unaligned ranges EINVAL, 0 bytes end a slot", () => {
  const { tables } = sceneOf();
  const MIB = 2n ** 20n;
  const range = { guestAddress: 4n * MIB, bytes: MIB, userAddress: 8n * MIB };
  assert.equal(tables.setMemory(1, range), undefined);
  assert.equal(tables.setMemory(2, { ...range, guestAddress: 5n * MIB - 4096n }), "EEXIST");
  assert.equal(tables.setMemory(1, { ...range, guestAddress: 5n * MIB - 4096n }), undefined, "its own slot");
  assert.equal(tables.setMemory(2, { ...range, bytes: 4097n }), "EINVAL");
  assert.equal(tables.setMemory(2, { ...range, userAddress: 1n }), "EINVAL");
  assert.equal(tables.setMemory(2, { ...range, guestAddress: 2n ** 64n - 4096n }), "EINVAL");
  assert.equal(tables.setMemory(2, { ...range, bytes: 2n ** 43n }), "EINVAL", "8 TiB");
  assert.equal(tables.memory.userPageOf(Number((5n * MIB) >> 12n), 1), 8 * 256 + 1);
  assert.equal(tables.memory.userPageOf(Number((5n * MIB) >> 12n), 256), -1, "beyond the slot");
  assert.equal(tables.setMemory(1, { ...range, bytes: 0n }), undefined);
  assert.equal(tables.memory.userPageOf(Number((5n * MIB) >> 12n), 1), -1);
  assert.throws(() => tables.setMemory(32, range), /memory slot is 32/);
  assert.throws(() => tables.setMemory(1, { ...range, bytes: 5 as never }), /bytes of guest memory is 5/);
});

test("foreign handles and closed views are refused", () => {
  const scene = sceneOf();
  const { tables, pinned, handle } = scene;
  const foreign = { ...tables.handle, state: memory.createShared(4096) };
  assert.throws(() => GuestTables.attach(pinned, foreign), /not that of a guest's tables of version 2/);
  assert.throws(() => GuestTables.attach(pinned, {} as never), /its state is undefined/);
  assert.throws(() => GuestTables.create({ pinned, owner: 99, entries: 1 }), /owner of a guest's tables is 99/);
  const other = viewOf(handle);
  assert.equal(other.tables.remove(), undefined);
  other.tables.close();
  assert.throws(() => other.tables.createTable(1, WHOLE), /view of the guest's tables is closed/);
});
