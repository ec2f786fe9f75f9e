import assert from "node:assert/strict";
import { test } from "node:test";
import { SoftwareMachine } from "../../machines/software/machine.ts";
import { resetPartition, takeEehReport } from "./eeh.ts";
import { TableGroup } from "./group.ts";
import { PowernvPlatform } from "./platform.ts";
import { DEVICES, machineWith, mapPages, phbOn, REGION, readAt, readByte } from "./set-up.model.ts";

const SMALL = { pageShift: 12, windowBytes: 2n ** 20n, levels: 1 } as const;
const ALL_ONES = 0xffffffff;

function twoPartitions() {
  const machine = machineWith();
  const phb = phbOn(machine);
  const groups = [TableGroup.create(phb, 1), TableGroup.create(phb, 2)] as const;
  const tables = groups.map((group) => group.createTable({ ...SMALL, window: 0 }));
  groups.forEach((group, i) => {
    const table = tables[i];
    assert.ok(table !== undefined && group.setWindow(table) === undefined);
  });
  phb.bindDevice("nic", 1);
  phb.bindDevice("disk", 2);
  machine.memory.write(4096, Uint8Array.of(9));
  return { machine, phb, generic: tables.map((table) => table.generic) };
}

test("a fault freezes the device's PE: its DMA is dropped and its registers read all ones until it is reset", () => {
  const { machine, phb, generic } = twoPartitions();
  const [mine, theirs] = generic as [(typeof generic)[0], (typeof generic)[0]];
  const [a, b] = [mapPages(mine, 1), mapPages(theirs, 1)];
  const [nic, disk] = [machine.device("nic"), machine.device("disk")];
  nic.writeRegister32(4, 0xdead);
  disk.writeRegister32(4, 0xbeef);
  assert.deepEqual(takeEehReport(phb), { faults: [], events: [] });
  assert.equal(nic.dmaWrite(0x5000n, Uint8Array.of(1)), false);
  assert.equal(nic.dmaWrite(0x6000n, Uint8Array.of(1)), false);
  assert.equal(readAt(machine, "nic", mine, a), undefined, "what is mapped can't be reached either");
  assert.equal(nic.readRegister32(4), ALL_ONES);
  nic.writeRegister32(4, 1);
  assert.equal(readAt(machine, "disk", theirs, b), 9, "the other PE goes on");
  assert.equal(disk.readRegister32(4), 0xbeef);
  const { faults, events } = takeEehReport(phb);
  assert.equal(faults.length, 1, "what was dropped is no fault");
  assert.equal(machine.statistics().dropped, 2);
  const { partition, devices, firstFault } = events[0] as (typeof events)[0];
  assert.deepEqual([events.length, partition, devices], [1, 1, ["nic"]]);
  assert.deepEqual([firstFault?.iova, firstFault?.access, firstFault?.reason], [0x5000n, 2, "not-mapped"]);
  assert.deepEqual(takeEehReport(phb), { faults: [], events: [] }, "a freeze is told once");
  assert.equal(resetPartition(phb, 1), undefined);
  assert.equal(nic.readRegister32(4), 0xdead);
  assert.equal(readAt(machine, "nic", mine, a), 9);
  nic.dmaRead(0x7000n, new Uint8Array(1));
  assert.equal(takeEehReport(phb).events[0]?.firstFault?.iova, 0x7000n, "the next freeze is told again");
});

test("a frozen PE is reported even if another thread has taken its fault", () => {
  const { machine, phb } = twoPartitions();
  machine.device("disk").dmaRead(0x5000n, new Uint8Array(1));
  assert.equal(machine.faults().length, 1);
  assert.deepEqual(takeEehReport(phb), {
    faults: [],
    events: [{ partition: 2, devices: ["disk"], firstFault: undefined }],
  });
});

test("the reset of a PE makes the IOTLB forget it", () => {
  const { machine, phb, generic } = twoPartitions();
  const [mine] = generic as [(typeof generic)[0]];
  const entry = mapPages(mine, 1);
  assert.equal(readAt(machine, "nic", mine, entry), 9);
  mine.ops.clear(entry, 1);
  mine.ops.publish();
  assert.equal(readAt(machine, "nic", mine, entry), 9, "stale");
  assert.equal(resetPartition(phb, 1), undefined);
  assert.equal(readAt(machine, "nic", mine, entry), undefined);
});

test("a device that no group has is refused, and its PE freezes too", () => {
  const machine = machineWith();
  const phb = phbOn(machine);
  assert.equal(readByte(machine, "nic", 0x1000n), undefined);
  const { events } = takeEehReport(phb);
  assert.deepEqual(events[0]?.devices, ["nic", "disk"]);
  assert.equal(events[0]?.firstFault?.reason, "translation-off");
});

test("the platform reports and resets; another thread's view finds the same", () => {
  const machine = machineWith();
  const options = { phb: { devices: DEVICES, region: REGION, threads: 4 }, table: SMALL };
  const platform = PowernvPlatform.create(machine, options);
  const other = PowernvPlatform.attach(SoftwareMachine.attach(machine.handle), structuredClone(platform.handle));
  assert.equal(readByte(machine, "nic", 0x1000n), undefined);
  assert.deepEqual(other.takeEehReport().events[0]?.devices, ["nic", "disk"]);
  assert.equal(platform.takeEehReport().events.length, 0);
  assert.equal(other.reset(), undefined);
  assert.equal(machine.translation.isFrozen(1), false);
  other.close();
  platform.close();
});

test("an unknown register of a device is refused with the number", () => {
  const machine = machineWith();
  const nic = machine.device("nic");
  for (const at of [64, -4, 2, Number.NaN])
    assert.throws(() => nic.readRegister32(at), /register of nic is .*below 64/);
  assert.throws(() => nic.writeRegister32(64, 0), /register of nic is 64/);
  nic.writeRegister32(60, 0x89abcdef);
  assert.equal(machine.device(0).readRegister32(60), 0x89abcdef);
  assert.equal(machine.device("disk").readRegister32(60), 0);
  machine.close();
  assert.throws(() => nic.readRegister32(0), { code: "closed" });
});
