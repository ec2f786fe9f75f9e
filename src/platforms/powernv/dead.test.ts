/** What a thread leaves that dies with the bridge's lock: half-made changes of groups and tables, put there by hand. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { lock, tagOf } from "../../shared/lock.ts";
import { peek, poke, store } from "../../shared/memory.ts";
import { TableGroup } from "./group.ts";
import { GROUP, groupAt, LOCK_AT, TABLE, tableAt } from "./layout.ts";
import { Phb } from "./phb.ts";
import { machineWith, mapPages, phbOn, readAt } from "./set-up.model.ts";

const SMALL = { pageShift: 12, windowBytes: 2n ** 20n, levels: 1, window: 0 } as const;

/** A living view, and that of a thread that holds the lock and will not say more. */
function withDead() {
  const machine = machineWith();
  const phb = phbOn(machine);
  const group = TableGroup.create(phb, 1);
  phb.bindDevice("nic", 1);
  machine.memory.write(0x5000, Uint8Array.of(5));
  const table = group.createTable(SMALL);
  const dead = Phb.attach(machine, phb.handle, 17);
  const die = (): void => {
    assert.equal(lock(phb.state.words, LOCK_AT, tagOf(dead.pages.thread)), 0);
  };
  const reclaim = (): void => {
    const thread = phb.threadLabelled(17);
    assert.equal(thread, dead.pages.thread);
    phb.reclaimThread(thread);
    assert.equal(phb.threadLabelled(17), -1);
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
