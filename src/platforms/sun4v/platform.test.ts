/** The sun4v platform on the hypervisor's model: few calls, hypervisors that take less or refuse, and nothing left behind. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { DmaDevice } from "../../dma/device.ts";
import { ScatterList } from "../../dma/scatter-list.ts";
import { Sun4vHypervisor } from "../../machines/hypervisors/sun4v/hypervisor.ts";
import { SoftwareMachine } from "../../machines/software/machine.ts";
import { iovaOf, type TableOptions } from "../../table/iommu-table.ts";
import { FormatError, InvalidArgumentError, IovaError } from "../../units/errors.ts";
import type { EntryAccess } from "../../units/numbers.ts";
import type { Sun4vWindow } from "./calls.ts";
import { Sun4vPlatform, type Sun4vPlatformHandle, type Sun4vPlatformOptions } from "./platform.ts";
import {
  EBUSY,
  EIO,
  EWOULDBLOCK,
  PCI_IOMMU_MAP,
  PCI_IOMMU_UNMAP,
  PCI_IOTSB_MAP,
  PCI_IOTSB_UNCONF,
} from "./services.ts";

const PAGE = 8192;
const MEMORY = 2 ** 25;
const ENTRIES = 8192;
/** From here on belongs to the platform. */
const LISTS = 2 ** 24;
const IOTSB = 2 ** 24 + 2 ** 20;

interface SetUp {
  readonly machine: Sun4vHypervisor;
  readonly platform: Sun4vPlatform;
  readonly device: DmaDevice;
}

function optionsOf(window: Sun4vWindow, table: TableOptions = {}): Sun4vPlatformOptions {
  return { window, entries: ENTRIES, listAddress: LISTS, iotsbAddress: IOTSB, table: { cache: "none", ...table } };
}

function start(window: Sun4vWindow = "legacy", table: TableOptions = {}): SetUp {
  const machine = Sun4vHypervisor.create({ memoryBytes: MEMORY, legacyEntries: ENTRIES });
  const platform = Sun4vPlatform.create(machine, optionsOf(window, table));
  const device = new DmaDevice(platform.generic, { boundaryMask: 2n ** 64n - 1n, maxSegmentBytes: 2 ** 32 - 1 });
  return { machine, platform, device };
}

test("an IOTSB's table is zeroed before the hypervisor gets it", () => {
  const hypervisor = Sun4vHypervisor.create({ memoryBytes: MEMORY, legacyEntries: ENTRIES });
  const bytes = new Uint8Array(ENTRIES * 8);
  hypervisor.memory.write(IOTSB, bytes.fill(0xff));
  let isZeroed: boolean | undefined;
  const hypercall = (number: number, args: BigUint64Array): number => {
    if (number === 0x190) {
      hypervisor.memory.read(IOTSB, bytes);
      isZeroed = bytes.every((byte) => byte === 0);
    }
    return hypervisor.hypercall(number, args);
  };
  const machine = new Proxy(hypervisor, {
    get: (target, key) => (key === "hypercall" ? hypercall : Reflect.get(target, key, target)),
  });
  Sun4vPlatform.create(machine, optionsOf("atu"));
  assert.equal(isZeroed, true);
});

/** The table as it stands in the hypervisor's memory. */
function tableOf({ machine, platform }: SetUp): Buffer {
  const bytes = new Uint8Array(ENTRIES * 8);
  machine.machine.memory.read(platform.window === "legacy" ? machine.guestBytes : IOTSB, bytes);
  return Buffer.from(bytes);
}

/** Every page in use begins with its number. */
function tagPages(machine: Sun4vHypervisor, pages: number): void {
  for (let page = 0; page < pages; page++)
    machine.memory.write(page * PAGE, new Uint8Array(Int32Array.of(page).buffer));
}

function seenAt({ machine, platform }: SetUp, entry: number): number | undefined {
  const bytes = new Uint8Array(4);
  const moved = machine.device(0).dmaRead(iovaOf(platform.generic.window, entry), bytes);
  return moved ? new Int32Array(bytes.buffer)[0] : undefined;
}

/** A list of every other page of [0, 2 · pages): nothing in it is contiguous. */
function scattered(pages: number): ScatterList {
  const list = new ScatterList(pages);
  for (let i = 0; i < pages; i++) list.add(BigInt(((2 * i) % 400) * PAGE), PAGE);
  return list;
}

function callsOf({ machine }: SetUp, run: () => void): number {
  const before = machine.injection.calls;
  run();
  return machine.injection.calls - before;
}

/** Tries to map 1500 pages, in two lists of the thread's. */
const MAPPINGS: readonly (readonly [string, (device: DmaDevice) => string | undefined])[] = [
  ["map", (device) => nameOf(device.map(0n, 1500 * PAGE, 3))],
  ["mapSg", (device) => device.mapSg(scattered(1500), 3)],
];

function nameOf(answer: unknown): string | undefined {
  return typeof answer === "string" ? answer : undefined;
}

for (const window of ["legacy", "atu"] as const) {
  test(`${window}: one call for each 1024 entries of a scatterlist or a range, and one for a range that is unmapped`, () => {
    const setUp = start(window);
    for (const [pages, calls] of [
      [1, 1],
      [256, 1],
      [1024, 1],
      [1025, 2],
      [4000, 4],
    ] as const) {
      const list = scattered(pages);
      assert.equal(
        callsOf(setUp, () => assert.equal(setUp.device.mapSg(list, 3), undefined)),
        calls,
        `mapSg of ${pages}`,
      );
      assert.equal(
        callsOf(setUp, () => assert.equal(setUp.device.unmapSg(list), undefined)),
        1,
        `unmapSg of ${pages}`,
      );
    }
    const mapped: number[] = [];
    assert.equal(
      callsOf(setUp, () => mapped.push(setUp.device.mapPages(0, 500 * PAGE, 3))),
      1,
    );
    assert.equal(
      callsOf(setUp, () => assert.equal(setUp.device.unmapPages(mapped[0] as number, 500), undefined)),
      1,
    );
  });

  for (const [name, injection] of [
    ["1", { most: 1 }],
    ["2", { most: 2 }],
    ["half", { most: 150 }],
    ["a random number", { random: true }],
    ["all", {}],
  ] as const) {
    test(`${window}: a hypervisor that takes ${name} of 300 pages at a time is asked again, and the device sees every page`, () => {
      const setUp = start(window);
      tagPages(setUp.machine, 400);
      setUp.machine.injection.set(injection);
      const list = scattered(300);
      const calls = callsOf(setUp, () => assert.equal(setUp.device.mapSg(list, 1), undefined));
      const most = "most" in injection ? injection.most : 300;
      if (name === "a random number") assert.ok(calls > 1 && calls <= 300, `${calls} calls`);
      else assert.equal(calls, 300 / most);
      const first = Number((list.iovas[0]! - setUp.platform.generic.window.base) / BigInt(PAGE));
      for (let i = 0; i < 300; i++) assert.equal(seenAt(setUp, first + i), (2 * i) % 400);
      assert.equal(setUp.device.unmapSg(list), undefined);
      for (let i = 0; i < 300; i++) assert.equal(seenAt(setUp, first + i), undefined);
      assert.ok(tableOf(setUp).every((byte) => byte === 0));
    });
  }

  for (const most of [0, 3, 100]) {
    for (const [name, attempt] of MAPPINGS) {
      test(`${window}, ${name}, ${most} at a time, defects 11, 12, 16, 19: whichever call fails, nothing is left, and the caller learns it`, () => {
        const probe = start(window);
        probe.machine.injection.set({ most });
        const calls = callsOf(probe, () => assert.equal(attempt(probe.device), undefined));
        assert.ok(calls >= 2);
        const setUp = start(window);
        assert.ok(setUp.device.mapPages(7 * PAGE, 5 * PAGE, 3) >= 0);
        const { taken } = setUp.platform.generic.statistics();
        const before = tableOf(setUp);
        for (let call = 1; call <= calls; call++) {
          setUp.machine.injection.set({
            most,
            fail: { after: call - 1, times: 1 },
            status: call % 2 === 0 ? EIO : EBUSY,
          });
          assert.equal(attempt(setUp.device), call % 2 === 0 ? "platform-refused" : "platform-busy", `call ${call}`);
          assert.ok(tableOf(setUp).equals(before), `call ${call} of ${calls} leaves entries`);
          assert.equal(setUp.platform.generic.statistics().taken, taken, `call ${call} leaks`);
        }
        assert.equal(attempt(setUp.device), undefined, "the call after is the first that is not made");
      });
    }
  }

  test(`${window}: when undoing fails as well, the entries stay out of use until the hypervisor takes them away`, () => {
    for (const [name, attempt] of MAPPINGS) {
      for (const failures of [2, 5, 30]) {
        const setUp = start(window);
        const before = tableOf(setUp);
        // The first list of 1024 has been taken up to the sixth hundred.
        setUp.machine.injection.set({ most: 100, fail: { after: 6, times: failures }, status: EIO });
        assert.equal(attempt(setUp.device), "platform-refused", name);
        const { taken } = setUp.platform.generic.statistics();
        if (failures === 30) assert.equal(taken, 1500, `${name}: quarantined`);
        if (taken === 0) assert.ok(tableOf(setUp).equals(before));
        setUp.machine.injection.set({});
        assert.equal(setUp.platform.generic.allocator.flushIotlb(), undefined);
        assert.equal(setUp.platform.generic.statistics().taken, 0);
        assert.ok(tableOf(setUp).equals(before), `${name}: ${failures} failures leave entries`);
        assert.equal(attempt(setUp.device), undefined);
      }
    }
  });

  for (const mode of ["strict", "lazy"] as const) {
    test(`${window}, ${mode}: whichever call of an unmapping fails, once or for long, no entry is left behind or handed out again`, () => {
      for (const failures of [1, 2, 40]) {
        for (let call = 1; call <= 4; call++) {
          const setUp = start(window, { invalidate: mode });
          const entry = setUp.device.mapPages(0, 300 * PAGE, 3);
          setUp.machine.injection.set({ most: 100, fail: { after: call - 1, times: failures }, status: EBUSY });
          const failure = setUp.device.unmapPages(entry, 300);
          const refused = failures === 40 && call <= 3;
          assert.equal(failure, refused ? "platform-busy" : undefined, `call ${call}, ${failures} failures`);
          assert.equal(
            tableOf(setUp).every((byte) => byte === 0),
            !refused,
          );
          assert.equal(setUp.platform.generic.statistics().quarantined, refused ? 300 : 0);
          setUp.machine.injection.set({});
          assert.equal(setUp.platform.generic.allocator.drain(), undefined);
          assert.equal(setUp.platform.generic.allocator.flushIotlb(), undefined);
          assert.ok(tableOf(setUp).every((byte) => byte === 0));
          assert.equal(setUp.platform.generic.statistics().taken, 0);
        }
      }
    });
  }
}

test("an entry that can't be cleared is out of use, and of no other mapping's business", () => {
  const { machine } = start();
  const stuck = new Set<number>();
  const platform = Sun4vPlatform.create(
    {
      memory: machine.memory,
      registers: machine.registers,
      faults: () => machine.faults(),
      hypercall: (number, args) => {
        const refused = number === PCI_IOMMU_UNMAP && stuck.has(Number(args[1]));
        return refused ? EIO : machine.hypercall(number, args);
      },
    },
    optionsOf("legacy"),
  );
  const { generic } = platform;
  const device = new DmaDevice(generic);
  const entry = device.mapPages(3 * PAGE, PAGE, 3);
  stuck.add(entry);
  assert.equal(device.unmapPages(entry, 1), "platform-refused");
  for (let i = 0; i < 3; i++) {
    const other = device.mapPages(5 * PAGE, PAGE, 3);
    assert.ok(other >= 0, "the next map fails by it");
    assert.equal(device.unmapPages(other, 1), undefined);
  }
  assert.equal(generic.statistics().taken, 1);
  assert.equal(generic.allocator.flushIotlb(), "platform-refused");
  stuck.clear();
  assert.equal(generic.allocator.flushIotlb(), undefined);
  assert.equal(generic.statistics().taken, 0);
});

test("an entry that was cleared late is not cleared again when it has another owner", () => {
  const setUp = start();
  const { generic } = setUp.platform;
  const entry = setUp.device.mapPages(3 * PAGE, PAGE, 3);
  setUp.machine.injection.set({ fail: { times: 40 }, status: EIO });
  assert.equal(setUp.device.unmapPages(entry, 1), "platform-refused");
  setUp.machine.injection.set({});
  // As recovery does: cleared by a call of its own.
  generic.ops.clear(entry, 1);
  assert.equal(generic.ops.set(entry, 1, 5, 3), undefined);
  assert.equal(generic.ops.publish(), undefined);
  assert.equal(generic.ops.invalidateAll(), undefined);
  const value = { page: 0, access: 0 as 0 | 1 | 2 | 3 };
  generic.ops.get(entry, value);
  assert.deepEqual(value, { page: 5, access: 3 });
});

test("what is gathered is dropped by clearing it, at its start, its end, in its middle, and whole", () => {
  for (const [first, count] of [
    [10, 3],
    [17, 3],
    [13, 3],
    [5, 30],
    [10, 10],
  ] as const) {
    const setUp = start();
    const { ops } = setUp.platform;
    assert.equal(
      callsOf(setUp, () => {
        assert.equal(ops.set(10, 4, 100, 3), undefined);
        assert.equal(ops.set(14, 6, 204, 3), undefined);
      }),
      0,
      "gathered",
    );
    ops.clear(first, count);
    assert.equal(ops.publish(), undefined);
    const value = { page: 0, access: 0 as 0 | 1 | 2 | 3 };
    for (let entry = 0; entry < 40; entry++) {
      ops.get(entry, value);
      const isSet = entry >= 10 && entry < 20 && !(entry >= first && entry < first + count);
      const page = entry < 14 ? 90 + entry : 190 + entry;
      assert.deepEqual(value, isSet ? { page, access: 3 } : { page: 0, access: 0 }, `entry ${entry}`);
    }
  }
});

test("entries that were gathered and lost are reported by every `publish` until they have been cleared", () => {
  const setUp = start();
  const { ops } = setUp.platform;
  assert.equal(ops.set(10, 4, 100, 3), undefined);
  setUp.machine.injection.set({ fail: { times: 1 }, status: EBUSY });
  // Another place: what is gathered is sent, and refused. That is told by `publish`: it is not about this entry, which is made.
  assert.equal(ops.set(50, 1, 7, 3), undefined);
  assert.equal(ops.publish(), "platform-busy");
  assert.equal(ops.publish(), "platform-busy");
  ops.clear(10, 2);
  assert.equal(ops.publish(), "platform-busy");
  ops.clear(12, 2);
  assert.equal(ops.publish(), undefined);
  const value = { page: 0, access: 0 as 0 | 1 | 2 | 3 };
  ops.get(50, value);
  assert.deepEqual(value, { page: 7, access: 3 });
  ops.clear(50, 1);
  assert.ok(tableOf(setUp).every((byte) => byte === 0));
});

test("whichever call fails, `publish` says so until its entries are cleared: those of its list are empty, all others are made", () => {
  // Two full lists take 11 calls each; the 52 entries that are left one, when another place is set; `publish` three.
  const lists = [
    { first: 0, count: 1024, lastCall: 11 },
    { first: 1024, count: 1024, lastCall: 22 },
    { first: 2048, count: 52, lastCall: 23 },
    { first: 5000, count: 300, lastCall: 26 },
  ];
  for (let call = 1; call <= 26; call++) {
    const setUp = start();
    const { ops } = setUp.platform;
    setUp.machine.injection.set({ most: 100, fail: { after: call - 1, times: 1 }, status: EIO });
    assert.equal(ops.set(0, 2100, 0, 3), undefined);
    assert.equal(ops.set(5000, 300, 0, 3), undefined);
    assert.equal(ops.publish(), "platform-refused", `call ${call}`);
    const failed = lists.find(({ lastCall }) => call <= lastCall);
    for (const { first, count, lastCall } of lists) {
      const table = tableOf(setUp);
      const entries = Array.from({ length: count }, (_, i) => table.subarray(8 * (first + i), 8 * (first + i + 1)));
      const made = entries.filter((entry) => entry.some((byte) => byte !== 0)).length;
      assert.equal(made, lastCall === failed?.lastCall ? 0 : count, `call ${call}: entries from ${first} on`);
    }
    assert.equal(ops.publish(), "platform-refused", `call ${call}, a second time`);
    ops.clear(0, 2100);
    ops.clear(5000, 300);
    assert.equal(ops.publish(), undefined);
    assert.ok(
      tableOf(setUp).every((byte) => byte === 0),
      `call ${call} leaves entries`,
    );
  }
});

test("attributes: READ always, WRITE unless the device only reads, relaxed order for weakly ordered buffers", () => {
  const setUp = start();
  const { ops } = setUp.platform;
  for (const [access, attributes] of [
    [1, 1],
    [2, 3],
    [3, 3],
    [5, 5],
    [6, 7],
    [7, 7],
  ] as const satisfies readonly (readonly [EntryAccess, number])[]) {
    assert.equal(ops.set(access, 1, 9, access), undefined);
    assert.equal(ops.publish(), undefined);
    assert.deepEqual([...tableOf(setUp).subarray(8 * access, 8 * access + 8)], [0, 0, 0, 0, 0, 1, 0x20, attributes]);
  }
  // Different attributes are different calls.
  assert.equal(
    callsOf(setUp, () => {
      ops.set(100, 1, 9, 1);
      ops.set(101, 1, 10, 3);
      ops.publish();
    }),
    2,
  );
});

test("a hypervisor that says it took none, or more than it was asked for, is not believed, and nothing is left", () => {
  for (const window of ["legacy", "atu"] as const) {
    for (const lie of [0n, 11n, 1n << 32n, 2n ** 64n - 1n]) {
      const machine = Sun4vHypervisor.create({ memoryBytes: MEMORY, legacyEntries: ENTRIES });
      let lies = false;
      const lying = {
        memory: machine.memory,
        registers: machine.registers,
        faults: () => machine.faults(),
        hypercall: (number: number, args: BigUint64Array) => {
          const isMap = number === PCI_IOMMU_MAP || number === PCI_IOTSB_MAP;
          const status = machine.hypercall(number, args);
          if (lies && isMap) args[0] = lie;
          return status;
        },
      };
      const platform = Sun4vPlatform.create(lying, optionsOf(window));
      const device = new DmaDevice(platform.generic);
      lies = true;
      assert.equal(nameOf(device.map(0n, 10 * PAGE, 3)), "platform-refused", `${window}: ${lie}`);
      assert.ok(tableOf({ machine, platform, device }).every((byte) => byte === 0));
      assert.equal(platform.generic.statistics().taken, 0);
    }
  }
});

test("any status but EOK is an error, negative ones too", () => {
  for (const status of [-1, -6, 1, EIO, 4000]) {
    const setUp = start();
    setUp.machine.injection.set({ fail: { times: 1 }, status });
    assert.equal(nameOf(setUp.device.map(0n, PAGE, 3)), "platform-refused");
    assert.equal(setUp.platform.generic.statistics().taken, 0);
  }
  const setUp = start();
  setUp.machine.injection.set({ fail: { times: 1 }, status: EWOULDBLOCK });
  assert.equal(nameOf(setUp.device.map(0n, PAGE, 3)), "would-block");
});

test("an entry that the hypervisor does not tell is no empty one", () => {
  const setUp = start();
  const { ops } = setUp.platform;
  assert.equal(ops.set(3, 1, 5, 3), undefined);
  assert.equal(ops.publish(), undefined);
  const value = { page: 0, access: 0 as 0 | 1 | 2 | 3 };
  setUp.machine.injection.set({ fail: { times: 1 }, status: EBUSY });
  assert.throws(
    () => ops.get(3, value),
    (error) => error instanceof IovaError && error.code === "platform-busy",
  );
  ops.get(3, value);
  assert.deepEqual(value, { page: 5, access: 3 });
});

test("entries that a thread could not clear before it closed are not allocated until they are empty", () => {
  const setUp = start();
  const { machine, platform } = setUp;
  const otherMachine = Sun4vHypervisor.attach(machine.handle);
  const other = Sun4vPlatform.attach(otherMachine, structuredClone(platform.handle));
  const entry = new DmaDevice(other.generic).mapPages(3 * PAGE, 2 * PAGE, 3);
  machine.injection.set({ fail: { times: 100 }, status: EIO });
  assert.equal(other.generic.unmap(entry, 2), "platform-refused");
  other.generic.close();
  otherMachine.close();
  machine.injection.set({});
  const next = Sun4vPlatform.attach(Sun4vHypervisor.attach(machine.handle), structuredClone(platform.handle));
  assert.equal(next.generic.allocator.flushIotlb(), undefined);
  assert.equal(platform.generic.allocator.flushIotlb(), undefined);
  const isEmpty = tableOf(setUp).every((byte) => byte === 0);
  assert.ok(isEmpty || platform.generic.statistics().taken === 2, "entries that still translate are free");
  // The closed thread's number is that of a dead one: what it left is recovered in the same way.
  platform.generic.reclaim(other.generic.thread, "in-flight");
  assert.ok(tableOf(setUp).every((byte) => byte === 0));
  assert.equal(platform.generic.statistics().taken, 0);
});

test("exchange swaps one entry, and tells what was there", () => {
  const setUp = start("atu");
  tagPages(setUp.machine, 10);
  const { ops } = setUp.platform;
  ops.set(3, 1, 5, 1);
  const old = { page: 0, access: 0 as 0 | 1 | 2 | 3 };
  assert.equal(ops.exchange(3, 6, 3, old), undefined);
  assert.deepEqual(old, { page: 5, access: 1 });
  assert.equal(seenAt(setUp, 3), 6);
  assert.equal(ops.exchange(3, 2 ** 44, 3, old), "platform-refused");
  setUp.machine.injection.set({ fail: { after: 1, times: 1 }, status: EIO });
  assert.equal(ops.exchange(3, 7, 3, old), "platform-refused");
  assert.equal(seenAt(setUp, 3), 6);
});

test("both windows of one machine are in use at a time, each with its table", () => {
  const machine = Sun4vHypervisor.create({ memoryBytes: MEMORY, legacyEntries: ENTRIES });
  const legacy = Sun4vPlatform.create(machine, { ...optionsOf("legacy"), listAddress: LISTS - 2 ** 20 });
  const atu = Sun4vPlatform.create(machine, optionsOf("atu"));
  tagPages(machine, 10);
  const [first, second] = [
    new DmaDevice(legacy.generic).mapPages(3 * PAGE, 4, 1),
    new DmaDevice(atu.generic).mapPages(4 * PAGE, 4, 1),
  ];
  const device = new DmaDevice(legacy.generic);
  assert.equal(seenAt({ machine, platform: legacy, device }, first), 3);
  assert.equal(seenAt({ machine, platform: atu, device }, second), 4);
  assert.equal(iovaOf(legacy.generic.window, 0), 0x8000_0000n);
  assert.equal(iovaOf(atu.generic.window, 0), 0x8_0000_0000n);
});

test("windows have the sizes of the platform unless told otherwise: 2 GiB and 32 GiB", () => {
  const machine = Sun4vHypervisor.create({ memoryBytes: 2 ** 26 });
  const legacy = Sun4vPlatform.create(machine, { listAddress: 2 ** 20 });
  assert.equal(legacy.generic.window.entries * PAGE, 2 ** 31);
  const atu = Sun4vPlatform.create(machine, { window: "atu", listAddress: 2 ** 21, iotsbAddress: 2 ** 22 });
  assert.equal(atu.generic.window.entries * PAGE, 2 ** 35);
});

test("a window that is given back is refused while in use; afterwards every use throws, and the memory of its table is free", () => {
  for (const window of ["legacy", "atu"] as const) {
    const { machine, platform, device } = start(window);
    const other = Sun4vPlatform.attach(Sun4vHypervisor.attach(machine.handle), structuredClone(platform.handle));
    const entry = device.mapPages(0, PAGE, 3);
    const code = (wanted: string) => (error: unknown) => error instanceof IovaError && error.code === wanted;
    assert.throws(() => platform.remove(), code("in-use"));
    assert.equal(seenAt({ machine, platform, device }, entry), 0);
    assert.equal(device.unmapPages(entry, 1), undefined);
    platform.remove();
    assert.throws(() => other.ops.set(0, 1, 0, 3), code("table-gone"));
    assert.throws(() => platform.ops.clear(0, 1), code("table-gone"));
    Sun4vPlatform.create(machine, optionsOf(window));
  }
});

test("a window that a thread gave back and died before it said so can be given back by another", () => {
  for (const window of ["legacy", "atu"] as const) {
    const { machine, platform } = start(window);
    const last = window === "atu" ? PCI_IOTSB_UNCONF : PCI_IOMMU_UNMAP;
    const dying = Sun4vHypervisor.attach(machine.handle);
    const { hypercall } = dying;
    const view = Sun4vPlatform.attach(
      Object.assign(dying, {
        hypercall: (number: number, args: BigUint64Array): number => {
          const status = hypercall(number, args);
          if (number === last) throw new Error("it dies");
          return status;
        },
      }),
      structuredClone(platform.handle),
    );
    assert.throws(() => view.remove(), /it dies/);
    machine.crew.reclaim(dying.thread, "everything");
    platform.remove();
    assert.throws(() => platform.ops.clear(0, 1), { code: "table-gone" });
    assert.throws(() => platform.remove(), { code: "table-gone" });
    Sun4vPlatform.create(machine, optionsOf(window));
  }
});

test("what does not fit together is refused with the numbers, and nothing is configured", () => {
  const machine = Sun4vHypervisor.create({ memoryBytes: MEMORY, legacyEntries: ENTRIES });
  const refused = (options: Partial<Sun4vPlatformOptions>, message: RegExp): void => {
    assert.throws(() => Sun4vPlatform.create(machine, { ...optionsOf("legacy"), ...options }), message);
  };
  refused({ window: "other" as Sun4vWindow }, /window is "other"; expected legacy or atu/);
  refused({ entries: 0 }, /entries of the legacy window is 0/);
  refused({ entries: 2 ** 18 + 1 }, /entries of the legacy window is 262145/);
  refused({ entries: ENTRIES + 1 }, /does not give a window of 8193 entries/);
  refused({ listAddress: 100 }, /address of the lists is 100/);
  refused({ listAddress: MEMORY }, /address of the lists is 33554432/);
  refused({ listAddress: machine.guestBytes - 31 * PAGE }, /address of the lists is/);
  refused({ window: "atu", entries: 1000 }, /entries of the ATU's window is 1000; expected a multiple of 1024/);
  refused({ window: "atu", iotsbAddress: 4096 }, /address of the IOTSB is 4096/);
  refused({ window: "atu", iotsbAddress: LISTS }, /address of the IOTSB is 16777216; expected its 65536 bytes apart/);
  refused({ window: "atu", iotsbAddress: LISTS - PAGE }, /apart from the lists in \[16777216, 17039360\)/);
  refused({ window: "atu", iotsbAddress: LISTS + 31 * PAGE }, /apart from the lists/);
  refused({ window: "atu", devices: [0, 9] }, /pci_iotsb_bind of device 9: the hypervisor answers status 6/);
  refused({ window: "atu", table: { pools: 0 } }, /pools is 0/);
  refused({ table: { pools: 0 } }, /pools is 0/);
  Sun4vPlatform.create(machine, optionsOf("atu"));
  const bare = SoftwareMachine.create({ memoryBytes: MEMORY });
  assert.throws(() => Sun4vPlatform.create(bare, optionsOf("legacy")), /hypervisor of the machine is missing/);
});

test("entries beyond the table throw, pages that no entry can hold are refused, and so is memory that is not the guest's", () => {
  const setUp = start();
  const { ops } = setUp.platform;
  for (const [first, count] of [
    [-1, 1],
    [ENTRIES, 1],
    [ENTRIES - 1, 2],
    [0, 0],
  ] as const) {
    assert.throws(() => ops.set(first, count, 0, 3), InvalidArgumentError);
    assert.throws(() => ops.clear(first, count), InvalidArgumentError);
  }
  for (const page of [-1, 0.5, 2 ** 43, Number.NaN]) assert.equal(ops.set(0, 1, page, 3), "platform-refused");
  const hypervisors = setUp.machine.guestBytes;
  assert.equal(nameOf(setUp.device.map(BigInt(hypervisors), PAGE, 3)), "platform-refused");
  assert.equal(nameOf(setUp.device.map(BigInt(hypervisors - PAGE), 2 * PAGE, 3)), "platform-refused");
  assert.ok(tableOf(setUp).every((byte) => byte === 0));
  assert.equal(setUp.platform.generic.statistics().taken, 0);
});

test("an invalid handle, or one of another version, is refused", () => {
  const { machine, platform } = start();
  for (const wrong of [undefined, {}, { ...platform.handle, table: undefined }, { ...platform.handle, table: null }]) {
    assert.throws(() => Sun4vPlatform.attach(machine, wrong as unknown as Sun4vPlatformHandle), FormatError);
  }
  const old = { ...platform.handle, state: new SharedArrayBuffer(platform.handle.state.byteLength) };
  assert.throws(() => Sun4vPlatform.attach(machine, old), /version 0; this library has version 2/);
});
