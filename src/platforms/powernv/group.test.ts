import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { FormatError, InvalidArgumentError, IovaError } from "../../units/errors.ts";
import type { PowerGeneration } from "./geometry.ts";
import { TableGroup } from "./group.ts";
import type { LegacyAnswers, LegacyData } from "./legacy.test.worker.ts";
import { Phb } from "./phb.ts";
import {
  anotherPhb,
  DEVICES,
  MEMORY_BYTES,
  machineWith,
  mapPages,
  phbOn,
  REGION,
  readAt,
  readByte,
} from "./set-up.model.ts";
import { PowernvTable, type PowernvTableOptions } from "./table.ts";

const SECOND = 1n << 59n;
const SMALL = { pageShift: 12, windowBytes: 2n ** 20n, levels: 1 } as const;

function twoGroups() {
  const machine = machineWith();
  const phb = phbOn(machine);
  const [first, second] = [TableGroup.create(phb, 1), TableGroup.create(phb, 2)] as const;
  phb.bindDevice("nic", 1);
  phb.bindDevice("disk", 2);
  for (let page = 1; page < 64; page++) machine.memory.write(page * 4096, Uint8Array.of(page));
  return { machine, phb, first, second };
}

for (const [generation, pageShifts] of [
  ["power9", [12, 16, 21, 30]],
  ["power8", [12, 16, 24, 28]],
] as const) {
  for (const pageShift of pageShifts) {
    for (const window of [0, 1] as const) {
      test(`${generation}, pages of 2^${pageShift} bytes, window ${window}: devices reach what is mapped, with every number of levels`, () => {
        let walked = 0;
        for (let levels = 1; levels <= 5; levels++) walked += walkOf(generation, pageShift, levels, window);
        // 9 bits a level at least: 55 bits of address allow 4, 4, 3, 3, 2 and 2 levels.
        assert.equal(walked, { 12: 4, 16: 4, 21: 3, 24: 3, 28: 2, 30: 2 }[pageShift]);
      });
    }
  }
}

/** 1 when there is such a table: then DMA has gone through it. 0: the geometry is refused. */
function walkOf(generation: PowerGeneration, pageShift: number, levels: number, window: 0 | 1): number {
  const pageBytes = 2 ** pageShift;
  const memoryBytes = Math.max(2 ** 22, 2 * pageBytes);
  const machine = machineWith({ memoryBytes });
  // Tables lie inside of the second page, or of small memory's upper half; page 0 is what is mapped.
  const region = { address: memoryBytes - 2 ** 21, bytes: 2 ** 21 };
  const phb = Phb.create(machine, { generation, devices: DEVICES, region });
  const group = TableGroup.create(phb, 1);
  const shape = { pageShift, windowBytes: BigInt(1024 * pageBytes), levels };
  if (9 * levels + pageShift >= 55) {
    assert.throws(() => group.createTable({ ...shape, window }), InvalidArgumentError);
    return 0;
  }
  const table = group.createTable({ ...shape, window });
  assert.equal(group.setWindow(table), undefined);
  phb.bindDevice("nic", 1);
  machine.memory.write(5, Uint8Array.of(77));
  const { ops, generic } = table;
  // Entry 1023 needs levels of its own.
  for (const entry of [1, 600, 1023]) {
    const iova = generic.window.base + BigInt(entry) * BigInt(pageBytes) + 5n;
    assert.equal(readByte(machine, "nic", iova), undefined);
    assert.equal(machine.faults()[0]?.reason, "not-mapped");
    machine.translation.thaw(1);
    assert.equal(ops.set(entry, 1, 0, 1), undefined);
    ops.publish();
    assert.equal(readByte(machine, "nic", iova), 77);
    assert.equal(machine.device("nic").dmaWrite(iova, Uint8Array.of(1)), false, "read-only");
    machine.translation.thaw(1);
    ops.clear(entry, 1);
    ops.publish();
    assert.equal(readByte(machine, "nic", iova), 77, "the IOTLB still knows it");
    assert.equal(ops.invalidate(entry, entry + 1), undefined);
    assert.equal(readByte(machine, "nic", iova), undefined);
    machine.translation.thaw(1);
    machine.faults();
  }
  assert.equal(table.release(), undefined);
  assert.equal(group.unsetWindow(table), undefined);
  assert.equal(phb.pages.takenPages, 0, "every level came back");
  return 1;
}

test("two windows of a group hold two tables, or bypass in the second; a set window is in use", () => {
  const { machine, first, phb } = twoGroups();
  const low = first.createTable({ ...SMALL, window: 0 });
  const high = first.createTable({ pageShift: 16, windowBytes: 2n ** 24n, levels: 2, window: 1 });
  assert.equal(first.setWindow(low), undefined);
  assert.equal(first.setWindow(high), undefined);
  assert.equal(first.setWindow(low), "in-use");
  assert.equal(first.openBypass(), "in-use");
  const [a, b] = [mapPages(low.generic, 7), mapPages(high.generic, 1)];
  assert.equal(readAt(machine, "nic", low.generic, a), 7);
  assert.equal(readAt(machine, "nic", high.generic, b), 16);
  assert.equal(high.generic.unmap(b, 1), undefined);
  assert.equal(first.unsetWindow(high), undefined);
  assert.equal(first.openBypass(), undefined);
  assert.equal(readByte(machine, "nic", SECOND + 9n * 4096n), 9);
  assert.equal(readByte(machine, "disk", SECOND + 9n * 4096n), undefined, "the other PE has none");
  assert.equal(first.closeBypass(), undefined);
  assert.equal(readByte(machine, "nic", SECOND + 9n * 4096n), undefined);
  assert.equal(first.getTableBytes(SMALL), 4096);
  assert.equal(phb.devicesIn(1).join(), "nic");
});

test("one table of two groups: an unmap is forgotten in both, and the last reference frees it", () => {
  const { machine, phb, first, second } = twoGroups();
  const table = first.createTable({ pageShift: 12, windowBytes: 2n ** 22n, levels: 2, window: 0 });
  assert.equal(first.setWindow(table), undefined);
  assert.equal(second.setWindow(table), undefined);
  assert.equal(table.groups, 2);
  for (const count of [1, 3, 65]) {
    const entry = mapPages(table.generic, 5, count);
    assert.equal(readAt(machine, "nic", table.generic, entry), 5);
    assert.equal(readAt(machine, "disk", table.generic, entry), 5);
    assert.equal(table.generic.unmap(entry, count), undefined);
    for (const [device, pe] of [
      ["nic", 1],
      ["disk", 2],
    ] as const) {
      assert.equal(readAt(machine, device, table.generic, entry), undefined, `${device}, ${count} entries`);
      machine.translation.thaw(pe);
    }
  }
  const other = PowernvTable.attach(anotherPhb(phb), structuredClone(table.handle));
  assert.equal(table.release(), undefined);
  assert.equal(first.unsetWindow(table), undefined);
  assert.equal(table.isGone, false, "the second group has it");
  assert.ok(phb.pages.takenPages > 0);
  assert.equal(second.unsetWindow(table), undefined);
  assert.equal(table.isGone, true);
  assert.equal(phb.pages.takenPages, 0);
  for (const use of [
    () => table.ops.set(1, 1, 1, 3),
    () => other.ops.clear(1, 1),
    () => other.ops.invalidateAll(),
    () => PowernvTable.attach(phb, table.handle),
    () => first.setWindow(table),
    () => table.release(),
    () => table.claim(),
  ]) {
    assert.throws(use, { code: "table-gone" });
  }
  // Its place serves again, and the old views do not mistake the new table for theirs.
  const next = first.createTable({ ...SMALL, window: 0 });
  assert.equal(next.handle.index, table.handle.index);
  assert.throws(() => table.ops.set(1, 1, 1, 3), IovaError);
});

test("defect 22: a window with live mappings is not removed, and nothing changes; without them it is", () => {
  for (const table of [{}, { cache: "fifo" }, { invalidate: "lazy" }] as const) {
    const { machine, first } = twoGroups();
    const made = first.createTable({ ...SMALL, window: 0, table });
    assert.equal(first.setWindow(made), undefined);
    const entry = mapPages(made.generic, 7);
    assert.equal(first.unsetWindow(made), "in-use", JSON.stringify(table));
    assert.equal(readAt(machine, "nic", made.generic, entry), 7);
    const beside = mapPages(made.generic, 8);
    assert.equal(made.generic.unmap(beside, 1), undefined);
    assert.equal(made.generic.unmap(entry, 1), undefined);
    assert.equal(first.unsetWindow(made), undefined, JSON.stringify(table));
    assert.equal(readAt(machine, "nic", made.generic, entry), undefined);
    assert.equal(machine.faults()[0]?.reason, "translation-off");
    machine.translation.thaw(1);
    assert.equal(first.setWindow(made), undefined, "it can come back");
    assert.equal(readAt(machine, "nic", made.generic, mapPages(made.generic, 9)), 9);
  }
});

test("a table is not released while entries are allocated and no group has it; with a group it is, and goes with it", () => {
  const { phb, first } = twoGroups();
  const table = first.createTable({ ...SMALL, window: 0 });
  const entry = mapPages(table.generic, 7);
  assert.equal(table.release(), "in-use");
  assert.equal(table.isGone, false);
  const beside = mapPages(table.generic, 8);
  assert.ok(beside >= 0, "nothing stays claimed");
  for (const mapped of [entry, beside]) assert.equal(table.generic.unmap(mapped, 1), undefined);
  assert.equal(first.setWindow(table) ?? table.release(), undefined);
  assert.equal(table.isGone, false);
  assert.equal(first.unsetWindow(table), undefined);
  assert.equal(table.isGone, true);
  assert.equal(phb.pages.takenPages, 0);
});

test("ownership: refused while anything is in use; then every entry is the owner's, entry 0 too; it comes back empty", () => {
  const { machine, first } = twoGroups();
  const table = first.createTable({ ...SMALL, window: 0 });
  assert.equal(first.setWindow(table), undefined);
  assert.equal(first.openBypass(), undefined);
  const entry = mapPages(table.generic, 7);
  assert.equal(first.takeOwnership([table]), "in-use");
  assert.equal(first.hasBypass, true);
  assert.equal(table.isOwned, false);
  assert.equal(table.generic.unmap(entry, 1), undefined);
  const ownership = first.takeOwnership([table]);
  assert.ok(typeof ownership !== "string");
  assert.equal(first.isOwned, true);
  assert.equal(first.hasBypass, false);
  assert.equal(first.takeOwnership([table]), "in-use");
  assert.ok(table.generic.allocate(1) < 0, "nothing is left for the kernel");
  for (const [index, page] of [
    [0, 3],
    [255, 4],
  ] as const) {
    assert.equal(table.ops.set(index, 1, page, 3), undefined);
    table.ops.publish();
    assert.equal(readAt(machine, "nic", table.generic, index), page);
  }
  assert.equal(first.releaseOwnership([table], structuredClone(ownership)), undefined);
  assert.equal(readAt(machine, "nic", table.generic, 0), undefined);
  machine.translation.thaw(1);
  assert.equal(readAt(machine, "nic", table.generic, 255), undefined);
  machine.translation.thaw(1);
  assert.equal(first.hasBypass, true);
  assert.equal(first.isOwned, false);
  const all = Array.from({ length: 255 }, () => table.generic.allocate(1));
  assert.equal(Math.min(...all), 1, "entry 0 is reserved as before");
  assert.equal(new Set(all).size, 255);
  assert.throws(() => table.releaseOwnership([]), { code: "not-owned" });
  assert.throws(() => first.takeOwnership([]), /tables of window 0 of PE 1 is missing/);
});

test("ownership that a DMA, or a lock, keeps from being taken leaves no trace: the table serves on, and can be taken later", () => {
  const { machine, phb, first } = twoGroups();
  const table = first.createTable({ ...SMALL, window: 0 });
  assert.equal(first.setWindow(table), undefined);
  assert.equal(first.openBypass(), undefined);
  const sync = machine.registers.readHigh64;
  machine.registers.readHigh64 = () => 0;
  assert.equal(first.takeOwnership([table]), "platform-busy");
  machine.registers.readHigh64 = sync;
  const locked = phb.locked.bind(phb);
  phb.locked = () => {
    throw new IovaError("owner-unresponsive", "the bridge's lock is a dead thread's");
  };
  assert.throws(() => first.takeOwnership([table]), { code: "owner-unresponsive" });
  phb.locked = locked;
  assert.deepEqual([table.isOwned, first.isOwned, first.hasBypass], [false, false, true]);
  const entry = mapPages(table.generic, 7);
  assert.equal(readAt(machine, "nic", table.generic, entry), 7);
  assert.equal(table.generic.unmap(entry, 1), undefined);
  const ownership = first.takeOwnership([table]);
  assert.ok(typeof ownership !== "string");
  assert.equal(first.releaseOwnership([table], ownership), undefined);
});

test("what user space had mapped is out of reach of devices that have used it, once its table has come back", () => {
  const { machine, first } = twoGroups();
  const table = first.createTable({ ...SMALL, window: 0 });
  assert.equal(first.setWindow(table), undefined);
  const claimed = table.takeOwnership();
  assert.ok(typeof claimed !== "string");
  assert.equal(table.ops.set(5, 1, 3, 3), undefined);
  table.ops.publish();
  assert.equal(readAt(machine, "nic", table.generic, 5), 3);
  assert.equal(table.releaseOwnership(claimed), undefined);
  assert.deepEqual(machine.iotlbEntries(), [], "the IOTLB has forgotten it");
  assert.equal(readAt(machine, "nic", table.generic, 5), undefined);
});

test("a legacy group has one fixed table: a second window and removal are not permitted, another geometry is invalid", () => {
  const machine = machineWith();
  const phb = phbOn(machine);
  const group = TableGroup.createLegacy(phb, 1, SMALL);
  phb.bindDevice("nic", 1);
  machine.memory.write(4096, Uint8Array.of(42));
  const table = group.createTable({ ...SMALL, window: 0 });
  assert.equal(readAt(machine, "nic", table.generic, mapPages(table.generic, 1)), 42);
  assert.throws(() => group.createTable({ ...SMALL, window: 1 }), { code: "not-permitted" });
  assert.throws(() => group.createTable({ ...SMALL, windowBytes: 2n ** 21n, window: 0 }), InvalidArgumentError);
  assert.throws(() => group.createTable({ ...SMALL, pageShift: 16, window: 0 }), /those of the fixed table/);
  for (const use of [() => group.setWindow(table), () => group.unsetWindow(table), () => group.openBypass()]) {
    assert.throws(use, { code: "not-permitted" });
  }
  assert.throws(() => TableGroup.of(phb, 1).createTable({ ...SMALL, window: 0 }), { code: "no-handle" });
  assert.equal(TableGroup.of(phb, 1).isLegacy, true);
});

test("a legacy group answers every thread alike: its one table, by handle, from a worker too", async () => {
  const machine = machineWith();
  const phb = phbOn(machine);
  const group = TableGroup.createLegacy(phb, 1, SMALL);
  phb.bindDevice("nic", 1);
  machine.memory.write(3 * 4096, Uint8Array.of(33));
  const asked: PowernvTableOptions[] = [
    { ...SMALL, window: 1 },
    { ...SMALL, pageShift: 16, window: 1 },
    { ...SMALL, windowBytes: 2n ** 21n, window: 0 },
    { ...SMALL, pageShift: 16, window: 0 },
    { ...SMALL, levels: 2, window: 0 },
    { ...SMALL, window: 0 },
  ];
  const workerData: LegacyData = { machine: machine.handle, phb: phb.handle, group: group.handle, asked, page: 3 };
  const worker = new Worker(new URL("./legacy.test.worker.js", import.meta.url), { workerData });
  const [answers] = (await once(worker, "message")) as [LegacyAnswers];
  const invalid = (found: string): string =>
    `invalid: window of a legacy group is ${found}; expected 1048576 bytes, page shift 12, 1 levels: those of the fixed table`;
  const expected = [
    "not-permitted",
    "not-permitted",
    invalid("2097152 bytes, page shift 12, 1 levels"),
    invalid("1048576 bytes, page shift 16, 1 levels"),
    invalid("1048576 bytes, page shift 12, 2 levels"),
    `${group.createTable({ ...SMALL, window: 0 }).handle.index}`,
  ];
  assert.deepEqual(answers.tables, expected);
  assert.deepEqual(answers.changes, ["not-permitted", "not-permitted", "not-permitted"]);
  assert.equal(readAt(machine, "nic", group.createTable({ ...SMALL, window: 0 }).generic, answers.entry), 33);
  // In this thread: the creator's view, one by handle, and one by number answer the same until the table itself is asked for.
  for (const view of [
    group,
    TableGroup.attach(anotherPhb(phb), structuredClone(group.handle)),
    TableGroup.of(phb, 1),
  ]) {
    const codes = asked.slice(0, -1).map((options) => {
      try {
        return String(view.createTable(options));
      } catch (error) {
        return error instanceof InvalidArgumentError ? `invalid: ${error.message}` : (error as IovaError).code;
      }
    });
    assert.deepEqual(codes, expected.slice(0, -1));
  }
  const again = TableGroup.attach(anotherPhb(phb), group.handle);
  const fixed = again.createTable({ ...SMALL, window: 0 });
  assert.equal(again.createTable({ ...SMALL, window: 0 }), fixed, "one view of the table a view of the group");
  assert.equal(mapPages(fixed.generic, 3) === answers.entry, false, "the same entries");
  assert.throws(() => TableGroup.attach(phb, {} as never), FormatError);
  assert.throws(() => TableGroup.attach(phb, { partition: 2 }), /PE of a group is 2/);
});

test("a legacy group that can't be set leaves neither a table nor a group", () => {
  const machine = machineWith();
  const phb = phbOn(machine);
  const sync = machine.registers.readHigh64;
  machine.registers.readHigh64 = () => 0;
  assert.throws(() => TableGroup.createLegacy(phb, 1, SMALL), { code: "platform-busy" });
  machine.registers.readHigh64 = sync;
  assert.equal(phb.pages.takenPages, 0);
  assert.equal(TableGroup.create(phb, 1).isLegacy, false);
  assert.throws(() => TableGroup.createLegacy(phb, 0, SMALL), /PE of a group is 0/);
  assert.throws(() => TableGroup.createLegacy(phb, 1, SMALL), /PE of a new group is 1/);
  assert.equal(phb.pages.takenPages, 0);
});

test("PowerPC's defaults: 4 pools from 1 GiB on, else 1; entry 0 of the first window and the MMIO hole are never handed out", () => {
  const machine = machineWith();
  const phb = phbOn(machine);
  const pools = (windowBytes: bigint): number => {
    const table = PowernvTable.create(phb, { pageShift: 16, windowBytes, levels: 1, window: 0 });
    const { pools } = table.generic.statistics();
    assert.equal(pools.at(-1)?.large, true, "the last quarter is for long requests");
    const { length } = pools.filter(({ large }) => !large);
    assert.equal(table.release(), undefined);
    return length;
  };
  assert.equal(pools(2n ** 29n), 1);
  assert.equal(pools(2n ** 30n), 4);
  assert.equal(pools(2n ** 31n), 4);
  const mmioHole = { start: 0x10800n, end: 0x20001n };
  const table = PowernvTable.create(phb, { ...SMALL, window: 0, mmioHole });
  assert.deepEqual(table.handle.reserved, [
    { first: 0, end: 1 },
    { first: 16, end: 33 },
  ]);
  const all = Array.from({ length: 256 - 18 }, () => table.generic.allocate(1));
  assert.ok(all.every((entry) => entry > 0 && (entry < 16 || entry >= 33)));
  assert.ok(table.generic.allocate(1) < 0);
  const whole = { start: 0x10000n, end: 0x20000n };
  const wholePages = PowernvTable.create(phb, { ...SMALL, window: 0, mmioHole: whole });
  assert.deepEqual(wholePages.handle.reserved[1], { first: 16, end: 32 }, "the page behind the hole can be had");
  const high = PowernvTable.create(phb, { ...SMALL, window: 1, mmioHole });
  assert.deepEqual(high.handle.reserved, [], "at 2^59 neither is there");
});

test("defect 18: entries beyond the window are refused by every operation, though the last level has room for them", () => {
  const { first } = twoGroups();
  const table = first.createTable({ pageShift: 12, windowBytes: 2n ** 18n, levels: 1, window: 0 });
  const { ops } = table;
  for (const use of [
    () => ops.set(64, 1, 1, 3),
    () => ops.set(63, 2, 1, 3),
    () => ops.set(-1, 1, 1, 3),
    () => ops.clear(0, 65),
    () => ops.clear(1, 0),
    () => ops.get(64, { page: 0, access: 0 }),
    () => ops.exchange(64, 1, 1, { page: 0, access: 0 }),
    () => ops.invalidate(60, 65),
    () => ops.set(Number.NaN, 1, 1, 3),
  ]) {
    assert.throws(use, InvalidArgumentError, String(use));
  }
  assert.throws(() => ops.set(63, 2, 1, 3), /range of entries is \[63, 65\); expected at least one entry in \[0, 64\)/);
});

test("bad input is refused with the numbers, and nothing has changed", () => {
  const { machine, phb, first } = twoGroups();
  const before = phb.pages.takenPages;
  const refused = (use: () => unknown, message: RegExp): void => {
    assert.throws(use, message);
    assert.equal(phb.pages.takenPages, before);
  };
  refused(() => first.createTable({ ...SMALL, window: 2 as 0 }), /window of a TCE table is 2/);
  refused(() => first.createTable({ ...SMALL, windowBytes: 5000n, window: 0 }), /size of a window in bytes is 5000/);
  refused(() => first.createTable({ ...SMALL, pageShift: 24, window: 0 }), /page shift of a window of power9 is 24/);
  refused(() => first.createTable({ ...SMALL, window: 0, table: { pools: 0 } }), /pools is 0/);
  refused(() => first.createTable({ ...SMALL, window: 0, mmioHole: { start: 5n, end: 5n } }), /MMIO hole is \[5, 5\)/);
  refused(() => first.createTable({ pageShift: 12, windowBytes: 2n ** 32n, levels: 1, window: 0 }), {
    code: "no-memory",
  } as never);
  refused(() => TableGroup.create(phb, 1), /PE of a new group is 1/);
  refused(() => TableGroup.createLegacy(phb, 2, SMALL), /PE of a new group is 2/);
  refused(() => TableGroup.create(phb, 0), /PE of a group is 0; expected an integer from 1 to 3/);
  refused(() => TableGroup.of(phb, 3), /PE of a group is 3; expected one for which createGroup was called/);
  refused(() => phb.bindDevice("tape", 1), /device of the bridge is "tape"; expected one of nic, disk/);
  refused(() => phb.bindDevice("nic", 4), /PE of a device is 4/);
  const table = first.createTable({ ...SMALL, window: 0 });
  assert.throws(() => first.unsetWindow(table), /window 0 of PE 1 is not this table/);
  assert.equal(table.ops.set(1, 1, 2 ** 52, 3), "platform-refused");
  assert.equal(table.ops.set(1, 1, 0.5, 3), "platform-refused");
  const options = { devices: DEVICES, region: REGION };
  const region = (address: number, bytes: number): Phb =>
    Phb.create(machine, { ...options, region: { address, bytes } });
  assert.throws(() => region(MEMORY_BYTES, 2 ** 20), /region of the bridge is \[4194304, 5242880\)/);
  assert.throws(() => region(2 ** 21 + 4096, 2 ** 17), /room for a page and, at a multiple of 131072/);
  assert.throws(() => region(5, 2 ** 20), InvalidArgumentError);
  assert.throws(() => Phb.create(machine, { ...options, partitions: 1 }), /PEs of the bridge is 1/);
  assert.throws(() => Phb.create(machine, { ...options, generation: "power7" as "power8" }), /generation is "power7"/);
  assert.throws(
    () => Phb.create(machine, { ...options, devices: [DEVICES[0], DEVICES[0]] }),
    /device of the bridge is "nic"/,
  );
});

test("levels must lie below 4 GiB: a region that ends beyond is refused", () => {
  const machine = machineWith();
  const memory = { ...machine.memory, bytes: 2 ** 33 } as unknown as typeof machine.memory;
  const large = { memory, registers: machine.registers, faults: () => machine.faults() };
  const region = { address: 2 ** 32 - 2 ** 20, bytes: 2 ** 21 };
  assert.throws(
    () => Phb.create(large, { devices: DEVICES, region }),
    /below 4 GiB, since inner entries are swapped in by one word/,
  );
});

test("without memory for a level a set is refused, with no entry changed; what is there goes on", () => {
  const machine = machineWith();
  const phb = phbOn(machine, { region: { address: 2 ** 22 - 2 ** 17 - 3 * 4096, bytes: 2 ** 17 + 3 * 4096 } });
  const group = TableGroup.create(phb, 1);
  const table = group.createTable({ pageShift: 12, windowBytes: 2n ** 30n, levels: 2, window: 0 });
  const { ops, geometry } = table;
  assert.equal(geometry.levelBytes, 4096);
  assert.equal(ops.set(100, 1, 5, 3), undefined);
  // Entries 500 .. 1600 need levels 0 (there), 1 (the last page), 2 (none).
  assert.equal(ops.set(500, 1100, 5, 3), "platform-refused");
  const value = { page: 0, access: 0 as 0 | 1 | 2 | 3 };
  for (const entry of [500, 511, 512, 1599]) {
    ops.get(entry, value);
    assert.deepEqual(value, { page: 0, access: 0 });
  }
  assert.equal(ops.exchange(1599, 1, 3, value), "platform-refused");
  assert.equal(ops.set(512, 512, 5, 3), undefined);
  ops.get(1023, value);
  assert.deepEqual(value, { page: 516, access: 3 });
  ops.clear(0, geometry.entries);
  ops.get(1023, value);
  assert.equal(value.access, 0);
});
