/** What a thread leaves that dies with the bridge's lock: half-made changes of groups and tables, put there by hand. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { holderOf, lock, tagOf } from "../../shared/lock.ts";
import { peek, poke, store } from "../../shared/memory.ts";
import { IommuTable } from "../../table/iommu-table.ts";
import { TableGroup } from "./group.ts";
import { GROUP, groupAt, LEGACY, LOCK_AT, TABLE, tableAt } from "./layout.ts";
import { Phb } from "./phb.ts";
import { anotherPhb, machineOf, machineWith, mapPages, phbOn, readAt } from "./set-up.model.ts";
import { PowernvTable } from "./table.ts";

const SMALL = { pageShift: 12, windowBytes: 2n ** 20n, levels: 1, window: 0 } as const;

/** A living view, and that of a thread that holds the lock and will not say more. */
function withDead() {
  const machine = machineWith();
  const phb = phbOn(machine);
  const group = TableGroup.create(phb, 1);
  phb.bindDevice("nic", 1);
  machine.memory.write(0x5000, Uint8Array.of(5));
  const table = group.createTable(SMALL);
  const dead = anotherPhb(phb);
  const die = (): void => {
    assert.equal(lock(phb.state.words, LOCK_AT, tagOf(dead.pages.thread)), 0);
  };
  const reclaim = (): void => {
    assert.equal(phb.crew.reclaim(dead.crew.thread, "everything").isFree, true);
  };
  return { machine, phb, group, table, dead, die, reclaim };
}

test("a window that it was setting is set, whatever of it was missing", () => {
  const { machine, phb, group, table, die, reclaim } = withDead();
  die();
  store(phb.state.words, groupAt(phb.state, 1) + GROUP.windows, table.handle.index + 1);
  reclaim();
  assert.equal(table.groups, 1);
  const entry = mapPages(table.generic, 5);
  assert.equal(readAt(machine, "nic", table.generic, entry), 5);
  assert.equal(table.generic.unmap(entry, 1), undefined);
  assert.equal(readAt(machine, "nic", table.generic, entry), undefined, "its invalidations go through the group");
  machine.translation.thaw(1);
  assert.equal(group.unsetWindow(table), undefined);
});

test("a window that it was unsetting is set again, and can be unset", () => {
  const { machine, phb, group, table, dead, die, reclaim } = withDead();
  assert.equal(group.setWindow(table), undefined);
  die();
  dead.registers.writeTve(1, 0, 0n);
  store(phb.state.words, tableAt(phb.state, table.handle.index) + TABLE.links, 0);
  reclaim();
  assert.equal(readAt(machine, "nic", table.generic, mapPages(table.generic, 5)), 5);
  assert.equal(group.unsetWindow(table), "in-use");
});

test("while its half-made changes are made whole, what others unmap is forgotten by every group that has the table", () => {
  const { machine, phb, group, table, die, reclaim } = withDead();
  const other = TableGroup.create(phb, 2);
  for (const each of [group, other]) assert.equal(each.setWindow(table), undefined);
  // Links of a group that has nothing, and none of one that has the table.
  die();
  const at = tableAt(phb.state, table.handle.index) + TABLE.links;
  store(phb.state.words, at, (1 << 2) | (1 << 3));
  const links: number[] = [];
  const { write64 } = machine.registers;
  machine.registers.write64 = (register, value) => {
    links.push(peek(phb.state.words, at));
    write64.call(machine.registers, register, value);
  };
  reclaim();
  assert.ok(links.length > 0);
  assert.ok(
    links.every((word) => word === ((1 << 1) | (1 << 2))),
    `links were ${links.join(", ")}`,
  );
});

test("a table that it was making, or freeing, is freed", () => {
  const { phb, dead, die, reclaim } = withDead();
  const before = phb.pages.takenPages;
  die();
  const root = dead.pages.allocate(4096, 4096);
  phb.machine.memory.write(root, new Uint8Array(4096));
  const unknown = dead.pages.allocate(4096, 4096);
  const at = tableAt(phb.state, 1);
  poke(phb.state.words, at + TABLE.levels, 2);
  poke(phb.state.words, at + TABLE.levelBits, 9);
  poke(phb.state.words, at + TABLE.rootPage, root / 4096);
  // A level below it, as if a table of two levels were half freed.
  const level = dead.pages.allocate(4096, 4096);
  phb.machine.memory.write(level, new Uint8Array(4096));
  const inner = new Uint8Array(8);
  new DataView(inner.buffer).setUint32(4, level | 3);
  phb.machine.memory.write(root + 8 * 100, inner);
  assert.ok(unknown > 0);
  assert.equal(phb.pages.takenPages, before + 3);
  reclaim();
  assert.equal(phb.pages.takenPages, before);
  assert.equal(peek(phb.state.words, at + TABLE.rootPage), 0);
});

test("a table whose generic table it was making is removed from the crew's structures, so that its number comes free", () => {
  const { phb, dead, die, reclaim } = withDead();
  const at = tableAt(phb.state, 1) + TABLE.structure;
  // What the record says when a thread enters the structure of the table that it makes.
  const { enter } = phb.crew;
  const noted: [number, number][] = [];
  phb.crew.enter = (structure, ...rest) => {
    noted.push([structure + 1, peek(phb.state.words, at)]);
    return enter.call(phb.crew, structure, ...rest);
  };
  const made = PowernvTable.create(phb, SMALL);
  assert.deepEqual(noted, [[made.generic.handle.structure + 1, made.generic.handle.structure + 1]]);
  phb.crew.enter = enter;
  assert.equal(made.release(), undefined);

  die();
  IommuTable.create(made.generic.window, made.ops, { crew: dead.crew }, (own, structure) => {
    poke(phb.state.words, at, structure + 1);
    return own;
  });
  reclaim();
  assert.equal(peek(phb.state.words, at), 0);
});

test("a released table of which it was unsetting the last window is not lost", () => {
  const { phb, group, table, die, reclaim } = withDead();
  assert.equal(group.setWindow(table), undefined);
  assert.equal(table.release(), undefined);
  die();
  store(phb.state.words, tableAt(phb.state, table.handle.index) + TABLE.links, 0);
  store(phb.state.words, groupAt(phb.state, 1) + GROUP.windows, 0);
  reclaim();
  assert.equal(table.isGone, true);
  assert.equal(phb.pages.takenPages, 0);
});

test("the number of a thread that died before it had attached is free again; so is one that had attached", () => {
  const { phb, reclaim } = withDead();
  const seat = phb.crew.addThread();
  assert.equal(phb.crew.reclaim(seat.thread, "everything").isFree, true);
  reclaim();
  const views = [0, 1, 2].map(() => anotherPhb(phb));
  assert.deepEqual(views.map(({ crew }) => crew.thread).toSorted(), [1, 2, 3]);
  assert.throws(() => anotherPhb(phb), { code: "no-thread-slot", message: /all 4 thread numbers are taken/ });
  views[1]?.close();
  machineOf(views[1] as Phb).close();
  assert.equal(anotherPhb(phb).crew.thread, views[1]?.crew.thread);
});

test("a thread has one view of a bridge", () => {
  const { machine, phb } = withDead();
  assert.throws(() => Phb.attach(machine, phb.handle), { code: "already-attached" });
  const view = anotherPhb(phb);
  view.close();
  Phb.attach(machineOf(view), phb.handle).close();
});

test("a second close of a bridge's view leaves the number to its next thread, and a closed one changes nothing", () => {
  const { phb } = withDead();
  const closed = anotherPhb(phb);
  closed.close();
  machineOf(closed).close();
  const next = anotherPhb(phb);
  assert.equal(next.crew.thread, closed.crew.thread);
  closed.close();
  assert.ok(phb.crew.threadsInUse().includes(next.crew.thread));
  const viewClosed = { name: "IovaError", code: "view-closed" };
  assert.throws(() => closed.createGroup(2), viewClosed);
  assert.throws(() => closed.bindDevice("nic", 0), viewClosed);
  assert.throws(() => closed.crew.reclaim(next.crew.thread, "everything"), viewClosed);
  assert.ok(phb.crew.threadsInUse().includes(next.crew.thread));
});

test("tables that only the dead thread has seen are removed from their windows and freed; other tables stay, for other threads to release", () => {
  const { machine, phb, group, table, dead, reclaim } = withDead();
  const mine = phb.pages.takenPages;
  const make = (window: 0 | 1): PowernvTable => PowernvTable.create(dead, { ...SMALL, window });
  const [unset, set, seen] = [make(0), make(0), make(1)];
  assert.equal(TableGroup.of(dead, 1).setWindow(set) ?? TableGroup.of(dead, 1).setWindow(seen), undefined);
  const view = PowernvTable.attach(phb, seen.handle);
  const entry = mapPages(view.generic, 5);
  assert.equal(readAt(machine, "nic", set.generic, mapPages(set.generic, 5)), 5);
  reclaim();
  assert.deepEqual(
    [unset, set, seen, table].map(({ isGone }) => isGone),
    [true, true, false, false],
  );
  assert.throws(() => PowernvTable.attach(phb, set.handle), { code: "table-gone" });
  assert.equal(phb.pages.takenPages, mine + 1);
  assert.equal(readAt(machine, "nic", view.generic, entry), 5, "what others have mapped goes on");
  assert.equal(readAt(machine, "nic", set.generic, 1), undefined);
  machine.translation.thaw(1);
  assert.equal(group.setWindow(table), undefined, "the window is free");
  assert.equal(view.generic.unmap(entry, 1), undefined);
  assert.equal(group.unsetWindow(view) ?? view.release(), undefined);
  assert.equal(seen.isGone, true);
  assert.equal(phb.pages.takenPages, mine);
});

test("while a DMA does not end, its recovery fails, blocks no other thread, and can be repeated", () => {
  const { machine, phb, dead, die, reclaim } = withDead();
  const before = phb.pages.takenPages;
  PowernvTable.create(dead, { ...SMALL, window: 0 });
  die();
  const { readHigh64 } = machine.registers;
  machine.registers.readHigh64 = () => 0;
  assert.throws(() => phb.crew.reclaim(dead.crew.thread, "everything"), { code: "platform-busy" });
  machine.registers.readHigh64 = readHigh64;
  assert.equal(holderOf(phb.state.words, LOCK_AT), tagOf(dead.pages.thread), "its changes are still to be made whole");
  reclaim();
  assert.equal(holderOf(phb.state.words, LOCK_AT), 0);
  assert.equal(phb.pages.takenPages, before);
});

test("a legacy group whose table only the dead thread has seen is removed", () => {
  const { phb, dead, reclaim } = withDead();
  const before = phb.pages.takenPages;
  TableGroup.createLegacy(dead, 2, SMALL);
  reclaim();
  assert.equal(phb.pages.takenPages, before);
  assert.equal(TableGroup.create(phb, 2).isLegacy, false);
});

test("a thread that has left before its number's next owner died keeps the tables that it made", () => {
  const { phb, dead } = withDead();
  const kept = PowernvTable.create(dead, { ...SMALL, window: 0 });
  kept.close();
  dead.close();
  machineOf(dead).close();
  const next = anotherPhb(phb);
  assert.equal(next.crew.thread, dead.crew.thread);
  phb.crew.reclaim(next.crew.thread, "everything");
  assert.equal(kept.isGone, false, "it was not the dead one's");
  assert.equal(PowernvTable.attach(phb, kept.handle).release(), undefined);
  assert.equal(kept.isGone, true);
});

test("a legacy group that it was creating is removed, and its PE can get another one", () => {
  const { phb, dead, die, reclaim } = withDead();
  const before = phb.pages.takenPages;
  PowernvTable.create(dead, { ...SMALL, window: 0 });
  die();
  store(phb.state.words, groupAt(phb.state, 2) + GROUP.kind, LEGACY);
  reclaim();
  assert.equal(phb.pages.takenPages, before);
  assert.equal(TableGroup.createLegacy(phb, 2, SMALL).isLegacy, true);
});

test("entries that it had claimed to release a table, or to take it from a group, are handed out again", () => {
  const { group, table, dead, reclaim } = withDead();
  assert.equal(group.setWindow(table), undefined);
  const view = PowernvTable.attach(dead, table.handle);
  assert.ok(typeof view.claim() !== "string");
  assert.equal(table.generic.allocate(1) < 0, true);
  assert.equal(group.unsetWindow(table), "in-use");
  reclaim();
  assert.equal(group.unsetWindow(table), undefined);
  const all = Array.from({ length: 255 }, () => table.generic.allocate(1));
  assert.deepEqual([Math.min(...all), new Set(all).size], [1, 255], "entry 0 is reserved as before");
});

test("a group that was handed over to it comes back, empty, with bypass", () => {
  const { machine, group, table, dead, reclaim } = withDead();
  assert.equal(group.setWindow(table), undefined);
  assert.equal(group.openBypass(), undefined);
  const view = PowernvTable.attach(dead, table.handle);
  assert.ok(typeof TableGroup.of(dead, 1).takeOwnership([view]) !== "string");
  assert.equal(view.ops.set(0, 1, 5, 3), undefined);
  view.ops.publish();
  assert.equal(readAt(machine, "nic", table.generic, 0), 5);
  assert.throws(
    () => group.releaseOwnership([table]),
    /ownership of a group is missing; expected the result of takeOwnership of table 0/,
  );
  reclaim();
  assert.equal(group.releaseOwnership([table]), undefined);
  assert.deepEqual([table.isOwned, group.isOwned, group.hasBypass], [false, false, true]);
  assert.equal(readAt(machine, "nic", table.generic, 0), undefined);
  machine.translation.thaw(1);
  assert.equal(readAt(machine, "nic", table.generic, mapPages(table.generic, 5)), 5);
});

test("what others have mapped stays when it dies while it claims their table, or gives it back", () => {
  const { machine, group, table, dead, reclaim } = withDead();
  assert.equal(group.setWindow(table), undefined);
  const view = PowernvTable.attach(dead, table.handle);
  const owned = tableAt(dead.state, table.handle.index) + TABLE.owned;
  const entry = mapPages(table.generic, 5);
  store(dead.state.words, owned, -tagOf(view.generic.thread));
  assert.equal(view.generic.reserve({ first: 200, end: 256 }), undefined);
  assert.equal(table.takeOwnership(), "in-use");
  reclaim();
  assert.equal(readAt(machine, "nic", table.generic, entry), 5);
  assert.equal(table.generic.unmap(entry, 1), undefined);
  const claimed = table.takeOwnership();
  assert.ok(typeof claimed !== "string");
  // Cut off after the first of its ranges has come back.
  const other = PowernvTable.attach(dead, table.handle);
  store(dead.state.words, owned, -tagOf(table.generic.thread));
  for (const range of claimed.slice(0, 1)) table.generic.allocator.unreserve(range);
  const again = mapPages(other.generic, 5);
  assert.equal(table.releaseOwnership(claimed), undefined);
  assert.equal(readAt(machine, "nic", table.generic, again), 5, "nothing is cleared twice");
});
