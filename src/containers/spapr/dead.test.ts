/** The thread of a process dies with a container: another thread, with views of the windows' tables, recovers everything. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Crew } from "../../crew/crew.ts";
import { SoftwareMachine } from "../../machines/software/machine.ts";
import { PinnedMemory } from "../../pinned/pinned-memory.ts";
import { PinnedTable } from "../../pinned/pinned-table.ts";
import { TableGroup } from "../../platforms/powernv/group.ts";
import { Phb } from "../../platforms/powernv/phb.ts";
import { machineWith, phbOn, readByte } from "../../platforms/powernv/set-up.model.ts";
import { PowernvTable } from "../../platforms/powernv/table.ts";
import { SpaprContainer } from "./container.ts";
import { powernvSpaprGroup, powernvTableOf } from "./powernv-group.ts";

const PAGE = 4096n;
const USER = 0x1000;
const user = { pageOf: (page: number) => (page < USER + 128 ? page - USER : -1), backingShift: () => 12 };

/** A process with one mapped window, in a thread that is about to die, and the views of the recovering thread. */
function scene() {
  const machine = machineWith({ faultRecords: 64 });
  const crew = machine.crew;
  const phb = phbOn(machine);
  const pinned = PinnedMemory.create({ memoryBytes: machine.memory.bytes, crew });
  const owner = pinned.addOwner({ limitBytes: 2 ** 20 }, user) as number;
  const group = TableGroup.create(phb, 1);
  phb.bindDevice("nic", 1);
  for (let page = 1; page < 128; page++) machine.memory.write(page * 4096, Uint8Array.of(page));
  const pages = phb.pages.takenPages;

  const deadMachine = SoftwareMachine.attach(machine.handle, Crew.attach(crew.handle));
  const deadPhb = Phb.attach(deadMachine, phb.handle);
  const deadPinned = PinnedMemory.attach(pinned.handle, deadMachine.crew);
  assert.equal(deadPinned.join(owner, user), undefined);
  const container = SpaprContainer.open({ pinned: deadPinned, owner, kind: "spapr-v2" }) as SpaprContainer;
  const deadGroup = powernvSpaprGroup(deadPhb, TableGroup.of(deadPhb, 1), { defaultBytes: 2n ** 20n });
  assert.equal(container.attachGroup(deadGroup), undefined);
  assert.equal(container.register({ userAddress: BigInt(USER) * PAGE, bytes: 16n * PAGE }), undefined);
  assert.equal(
    container.map({ iova: 5n * PAGE, userAddress: BigInt(USER + 3) * PAGE, bytes: 4n * PAGE, flags: 3 }),
    undefined,
  );
  const views = container.tables.map((table, i) => {
    const platform = container.platformTables[i];
    assert.ok(platform !== undefined);
    const own = PowernvTable.attach(phb, powernvTableOf(platform).handle);
    return { platform: own, table: PinnedTable.attach(pinned, table.handle, own.ops) };
  });
  return { machine, crew, phb, pinned, owner, group, pages, dead: deadMachine.thread, views };
}

test("the death of a process's last thread empties its windows before its memory is unpinned", () => {
  const { machine, crew, phb, pinned, owner, group, pages, dead, views } = scene();
  assert.equal(readByte(machine, "nic", 5n * PAGE), 3);
  assert.equal(crew.reclaim(dead, "everything").isFree, true);
  assert.equal(readByte(machine, "nic", 5n * PAGE), undefined);
  assert.deepEqual([pinned.pins, pinned.hasOwner(owner)], [0, false]);
  // The recovering thread returns the group to the kernel, and the memory of its windows' tables to the bridge.
  for (const { platform, table } of views) {
    assert.equal(table.remove(), undefined);
    assert.equal(group.unsetWindow(platform), undefined);
    assert.equal(platform.release(), undefined);
  }
  assert.equal(group.releaseOwnership([]), undefined);
  assert.deepEqual([phb.pages.takenPages, group.isOwned], [pages, false]);
});

test('a reclaim of "in-flight" keeps the mappings of the process, and a later one of "everything" ends them', () => {
  const { machine, crew, pinned, dead } = scene();
  assert.equal(crew.reclaim(dead, "in-flight").isFree, false);
  assert.equal(readByte(machine, "nic", 5n * PAGE), 3);
  assert.equal(pinned.pins, 16);
  assert.equal(crew.reclaim(dead, "everything").isFree, true);
  assert.equal(readByte(machine, "nic", 5n * PAGE), undefined);
  assert.equal(pinned.pins, 0);
});
