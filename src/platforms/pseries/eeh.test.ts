/** EEH of a pseries guest: a fault freezes its PE and no other, the freeze is reported once, and mappings survive freeze and reset. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { DmaDevice } from "../../dma/device.ts";
import { EEH_TOKENS } from "../../machines/hypervisors/papr/firmware.ts";
import { PaprHypervisor } from "../../machines/hypervisors/papr/hypervisor.ts";
import { MEMORY_BYTES, viewBetweenCalls } from "./guest.model.ts";
import { H_RTAS } from "./papr.ts";
import { PseriesPlatform, type PseriesPlatformOptions } from "./platform.ts";

const ALL_ONES = 0xffffffff;
const NOTHING = { faults: [], events: [] };
const REGION_PAGES = 8;
/** A bus address below all windows, where "nic" has no access. */
const ASTRAY = 0x5000n;

/** A guest of two PEs: "nic" in the first, "disk" in the second, each with its platform. */
function twoPartitions(options: Partial<PseriesPlatformOptions> = {}) {
  const hypervisor = PaprHypervisor.create({
    memoryBytes: MEMORY_BYTES,
    entries: 256,
    threads: 4,
    partitions: 2,
    devices: ["nic", "disk"],
  });
  hypervisor.machine.translation.moveDevice(1, 1);
  const platformOf = (partition: number): PseriesPlatform => {
    const bytes = REGION_PAGES * 4096;
    return PseriesPlatform.create(hypervisor, {
      properties: hypervisor.properties(partition),
      region: { address: MEMORY_BYTES - (1 + partition) * bytes, bytes },
      patience: { patienceMs: 50, pause: () => undefined },
      table: { threads: 4, cache: "none" },
      ...options,
    });
  };
  const [mine, theirs] = [platformOf(0), platformOf(1)];
  return { hypervisor, mine, theirs, nic: hypervisor.device("nic"), disk: hypervisor.device("disk") };
}

type Guest = ReturnType<typeof twoPartitions>;

/** Maps the page at 0x9000, whose first byte is 9. */
function map({ hypervisor }: Guest, platform: PseriesPlatform): { readonly iova: bigint; unmap(): void } {
  hypervisor.memory.write(0x9000, Uint8Array.of(9));
  const device = new DmaDevice(platform.generic);
  const mapping = device.map(0x9000n, 4096, 3);
  assert.ok(typeof mapping !== "string", String(mapping));
  return { iova: mapping.iova, unmap: () => assert.equal(device.unmap(mapping), undefined) };
}

function read(device: ReturnType<PaprHypervisor["device"]>, iova: bigint): number | undefined {
  const byte = new Uint8Array(1);
  return device.dmaRead(iova, byte) ? byte[0] : undefined;
}

/** A view of the first PE's platform by the same thread, with that between its firmware calls. */
function viewOf({ hypervisor, mine }: Guest, act: (call: number) => void): PseriesPlatform {
  return viewBetweenCalls(hypervisor, mine.handle, act);
}

test("a fault freezes the device's PE: its DMA is dropped, its registers read all ones until it is reset; other PEs go on", () => {
  const guest = twoPartitions();
  const { hypervisor, mine, theirs, nic, disk } = guest;
  const [a, b] = [map(guest, mine), map(guest, theirs)];
  nic.writeRegister32(4, 0xdead);
  disk.writeRegister32(4, 0xbeef);
  assert.deepEqual([mine.takeEehReport(), mine.isFrozen()], [NOTHING, false]);
  assert.equal(nic.dmaWrite(ASTRAY, Uint8Array.of(1)), false);
  assert.equal(nic.dmaWrite(ASTRAY, Uint8Array.of(1)), false);
  assert.equal(nic.dmaWrite(a.iova, Uint8Array.of(1)), false, "what is mapped can't be reached either");
  assert.equal(read(nic, a.iova), undefined);
  assert.equal(nic.readRegister32(4), ALL_ONES);
  nic.writeRegister32(4, 1);
  assert.deepEqual([read(disk, b.iova), disk.readRegister32(4), theirs.isFrozen()], [9, 0xbeef, false]);
  const { faults, events } = mine.takeEehReport();
  assert.equal(faults.length, 1, "what was dropped is no fault");
  assert.equal(hypervisor.machine.statistics().dropped, 3);
  const [event, ...more] = events;
  assert.deepEqual([event?.partition, event?.devices, more], [mine.handle.properties.configAddress, ["nic"], []]);
  assert.deepEqual([event?.firstFault?.iova, event?.firstFault?.access], [ASTRAY, 2]);
  assert.deepEqual(mine.takeEehReport(), NOTHING, "a freeze is told once");
  assert.deepEqual(theirs.takeEehReport(), NOTHING);
  assert.equal(theirs.reset(), undefined);
  assert.equal(mine.isFrozen(), true, "the reset of another PE changes nothing");
  assert.equal(mine.reset(), undefined);
  assert.deepEqual([mine.isFrozen(), nic.readRegister32(4), read(nic, a.iova)], [false, 0xdead, 9]);
  read(nic, ASTRAY + 1n);
  assert.equal(mine.takeEehReport().events[0]?.firstFault?.iova, ASTRAY + 1n, "the next freeze is told again");
});

test("a frozen PE is reported by one of several threads, even when another reader has taken its fault", () => {
  const guest = twoPartitions();
  const { hypervisor, theirs, disk } = guest;
  const other = PseriesPlatform.attach(PaprHypervisor.attach(hypervisor.handle), structuredClone(theirs.handle));
  read(disk, ASTRAY);
  assert.equal(hypervisor.faults().length, 1);
  const partition = theirs.handle.properties.configAddress;
  assert.deepEqual(other.takeEehReport().events, [{ partition, devices: ["disk"], firstFault: undefined }]);
  assert.deepEqual(theirs.takeEehReport(), NOTHING);
  assert.equal(theirs.isFrozen(), true);
  assert.equal(other.reset(), undefined);
  assert.equal(theirs.isFrozen(), false);
});

test("the tables are kept over a reset: what was mapped before and meanwhile works, what was unmapped meanwhile does not", () => {
  const guest = twoPartitions();
  const { mine, nic } = guest;
  const [before, ended] = [map(guest, mine), map(guest, mine)];
  assert.deepEqual([read(nic, before.iova), read(nic, ended.iova)], [9, 9], "the IOTLB knows both");
  read(nic, ASTRAY);
  ended.unmap();
  const meanwhile = map(guest, mine);
  const unused = map(guest, mine);
  assert.equal(read(nic, meanwhile.iova), undefined);
  assert.equal(mine.reset(), undefined);
  assert.deepEqual([read(nic, before.iova), read(nic, meanwhile.iova)], [9, 9]);
  unused.unmap();
  before.unmap();
  assert.equal(read(nic, before.iova), undefined);
});

test("the reset of a PE makes the IOTLB forget all of its windows, and no other PE's", () => {
  const guest = twoPartitions();
  const { hypervisor, mine, theirs, nic, disk } = guest;
  const [a, b] = [map(guest, mine), map(guest, theirs)];
  assert.deepEqual([read(nic, a.iova), read(disk, b.iova)], [9, 9]);
  for (const table of hypervisor.handle.setup.defaultTables)
    hypervisor.machine.memory.write(table, new Uint8Array(2048));
  assert.deepEqual([read(nic, a.iova), read(disk, b.iova)], [9, 9], "stale");
  assert.equal(mine.reset(), undefined);
  assert.deepEqual([read(nic, a.iova), read(disk, b.iova)], [undefined, 9]);
});

test("another thread maps and unmaps at each step of a reset: nothing of it is lost", () => {
  const guest = twoPartitions();
  const { mine, nic } = guest;
  const [kept, ended] = [map(guest, mine), map(guest, mine)];
  const made: { readonly iova: bigint; unmap(): void }[] = [];
  const resetter = viewOf(guest, (call) => {
    made.push(map(guest, mine));
    if (call === 1) ended.unmap();
    if (call === 1) assert.equal(read(nic, kept.iova), undefined, "in reset");
  });
  read(nic, ASTRAY);
  assert.equal(resetter.reset(), undefined);
  assert.equal(made.length, 2);
  for (const { iova } of [kept, ...made]) assert.equal(read(nic, iova), 9);
  for (const each of [kept, ...made]) each.unmap();
  assert.equal(mine.generic.statistics().taken, 0);
  assert.equal(read(nic, ended.iova), undefined);
});

test("a thread that dies in a reset leaves the PE cut off; the report shows it, and the next reset ends it", () => {
  for (const step of [0, 1]) {
    const guest = twoPartitions();
    const { mine, nic } = guest;
    const { iova } = map(guest, mine);
    const dying = viewOf(guest, (call) => {
      if (call === step) throw new Error("killed");
    });
    read(nic, ASTRAY);
    assert.equal(mine.takeEehReport().events.length, 1);
    assert.throws(() => dying.reset(), /killed/);
    assert.equal(mine.isFrozen(), true);
    assert.equal(read(nic, iova), undefined);
    assert.equal(mine.reset(), undefined);
    assert.equal(read(nic, iova), 9);
    read(nic, ASTRAY);
    assert.equal(mine.takeEehReport().events.length, 1, `the freeze after death at step ${step} is reported`);
  }
});

test("the freeze after a reset is reported also when the thread that reset the PE has died right after", () => {
  const guest = twoPartitions();
  const { hypervisor, mine, nic } = guest;
  const dying = viewBetweenCalls(
    hypervisor,
    mine.handle,
    () => undefined,
    (call) => {
      if (call === 1) throw new Error("killed");
    },
  );
  read(nic, ASTRAY);
  assert.equal(mine.takeEehReport().events.length, 1);
  assert.throws(() => dying.reset(), /killed/);
  assert.equal(mine.isFrozen(), false);
  read(nic, ASTRAY);
  assert.equal(mine.takeEehReport().events.length, 1);
});

test("the freeze after a reset is reported, at whatever step of the reset another thread has asked", () => {
  for (const step of [0, 1]) {
    const guest = twoPartitions();
    const { mine, nic } = guest;
    const resetter = viewOf(guest, (call) => {
      if (call !== step) return;
      const { events } = mine.takeEehReport();
      if (call === 1) assert.deepEqual(events, [], "a PE in reset is not reported");
    });
    read(nic, ASTRAY);
    mine.takeEehReport();
    assert.equal(resetter.reset(), undefined);
    read(nic, ASTRAY);
    assert.equal(mine.takeEehReport().events.length, 1, `looked at step ${step}`);
  }
});

test("a reset in the middle of a report does not hide the freeze after it", () => {
  const guest = twoPartitions();
  const { mine, nic } = guest;
  const reporter = viewOf(guest, (call) => {
    // The firmware's answer is of the next freeze; the count of resets that it was asked under is of the first.
    if (call > 0) return;
    mine.reset();
    read(nic, ASTRAY);
  });
  read(nic, ASTRAY);
  reporter.takeEehReport();
  assert.equal(mine.takeEehReport().events.length, 1);
});

test("when the firmware does not answer, the report has a failure and the faults, and the next report has the freeze", () => {
  const guest = twoPartitions();
  const { hypervisor, mine, nic } = guest;
  read(nic, ASTRAY);
  for (const [answer, failure] of [
    [-1, "platform-refused"],
    [-2, "platform-busy"],
    [9905, "platform-busy"],
  ] as const) {
    hypervisor.inject([{ call: H_RTAS, token: EEH_TOKENS.readState, answer }]);
    const report = mine.takeEehReport();
    assert.deepEqual([report.failure, report.events], [failure, []]);
    assert.equal(mine.isFrozen(), failure);
    hypervisor.inject([{ call: H_RTAS, token: EEH_TOKENS.setReset, answer, after: 1 }]);
    assert.equal(mine.reset(), failure);
    hypervisor.inject([]);
    assert.equal(mine.isFrozen(), true);
  }
  hypervisor.inject([{ call: H_RTAS, answer: -2, times: 3 }]);
  assert.equal(mine.reset(), undefined, "a busy firmware is waited for");
  read(nic, ASTRAY);
  assert.equal(mine.takeEehReport().events.length, 1);
});

test("a guest whose EEH can't be switched on is refused; one without it, or without memory for calls, reports faults alone", () => {
  const hypervisor = PaprHypervisor.create({ memoryBytes: MEMORY_BYTES, entries: 256 });
  const properties = hypervisor.properties(0);
  const region = { address: 0, bytes: 64 * 4096 };
  hypervisor.inject([{ call: H_RTAS, answer: -1 }]);
  assert.throws(() => PseriesPlatform.create(hypervisor, { properties, region }), { code: "platform-refused" });
  hypervisor.inject([]);
  const { eeh: _, ...withoutEeh } = properties;
  for (const options of [{ properties: withoutEeh, region }, { properties }]) {
    const platform = PseriesPlatform.create(hypervisor, options);
    for (let fault = 0; fault < 2; fault++) {
      assert.equal(read(hypervisor.device(0), ASTRAY), undefined);
      const { faults, events } = platform.takeEehReport();
      assert.deepEqual([faults.length, events], [1, []], "not dropped: a fault again");
    }
    assert.deepEqual([platform.isFrozen(), platform.reset()], [false, undefined]);
  }
});
