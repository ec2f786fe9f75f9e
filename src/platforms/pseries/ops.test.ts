/**
 * The pseries guest against a hypervisor that fails, is slow, and stops in the middle of calls: nothing is left behind, and every failure
 * is reported.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { UNCONSTRAINED } from "../../allocator/constraints.ts";
import { DmaDevice } from "../../dma/device.ts";
import { ScatterList } from "../../dma/scatter-list.ts";
import { PaprHypervisor } from "../../machines/hypervisors/papr/hypervisor.ts";
import type { PersonalityName } from "../../machines/hypervisors/papr/personalities.ts";
import { InvalidArgumentError } from "../../units/errors.ts";
import { callsIn, failCall, type Guest, guestOf, MEMORY_BYTES, tableOf } from "./guest.model.ts";
import {
  H_GET_TCE,
  H_HARDWARE,
  H_NOT_ENOUGH_RESOURCES,
  H_PRIVILEGE,
  H_PUT_TCE,
  H_PUT_TCE_INDIRECT,
  H_RESOURCE,
  H_STUFF_TCE,
} from "./papr.ts";
import { PseriesPlatform } from "./platform.ts";

const PERSONALITIES: readonly PersonalityName[] = ["papr", "kvm", "qemu"];

/** `count` elements of one page, no two next to each other in memory. */
function scattered(count: number): ScatterList {
  const list = new ScatterList(count);
  for (let i = 0; i < count; i++) list.addNumber((1 + ((2 * i) % 500)) * 4096, 4096);
  return list;
}

function mapped<T>(result: T | string): T {
  assert.ok(typeof result !== "string", `map failed: ${String(result)}`);
  return result;
}

function isEmpty(guest: Guest): boolean {
  return tableOf(guest).every((byte) => byte === 0);
}

for (const multiTce of [true, false]) {
  for (const entries of [1, 2, 256, 512, 513, 1024]) {
    test(`${entries} entries take the fewest calls${multiTce ? "" : " without multi-TCE"}: one piece, and a list of pages`, () => {
      const guest = guestOf({ multiTce });
      const device = new DmaDevice(guest.platform.generic, { maxSegmentBytes: 2 ** 24 });
      const most = multiTce ? Math.ceil(entries / 512) : entries;
      const single = multiTce ? (entries % 512 === 1 ? 1 : 0) : entries;
      const each = { put: single, get: 0 };
      const setCalls = { ...each, stuff: 0, indirect: most - single };
      const clearCalls = { ...each, stuff: most - single, indirect: 0 };
      // The first pages of memory lie before the region of list pages.
      const bytes = Math.min(entries, 1000) * 4096;
      if (entries <= 1000) {
        let entry = -1;
        assert.deepEqual(
          callsIn(guest, () => (entry = device.mapPages(0, bytes, 3))),
          setCalls,
        );
        assert.deepEqual(
          callsIn(guest, () => device.unmapPages(entry, entries)),
          clearCalls,
        );
      }
      const list = scattered(entries);
      assert.deepEqual(
        callsIn(guest, () => assert.equal(device.mapSg(list, 3), undefined)),
        setCalls,
      );
      assert.deepEqual(
        callsIn(guest, () => assert.equal(device.unmapSg(list), undefined)),
        clearCalls,
      );
      assert.ok(isEmpty(guest));
    });
  }
}

test("what the device reads is what was set, through every way that entries take", () => {
  for (const options of [{}, { multiTce: false }]) {
    for (const region of [undefined, "none"] as const) {
      const guest = guestOf(options, region === "none" ? { region: undefined as never } : {});
      const device = new DmaDevice(guest.platform.generic);
      const list = scattered(20);
      for (let i = 0; i < 20; i++) guest.hypervisor.memory.write(Number(list.addresses[i]), Uint8Array.of(i + 1));
      assert.equal(device.mapSg(list, 1), undefined);
      const seen = new Uint8Array(20 * 4096);
      assert.ok(guest.hypervisor.device(0).dmaRead(list.iovas[0] as bigint, seen.subarray(0, list.segmentBytes[0])));
      assert.deepEqual(
        [0, 1, 15].map((i) => seen[i * 4096]),
        [1, 2, 16],
      );
      assert.ok(
        !guest.hypervisor.device(0).dmaWrite(list.iovas[0] as bigint, Uint8Array.of(1)),
        "no write was asked for",
      );
      assert.equal(device.unmapSg(list), undefined);
      assert.ok(isEmpty(guest));
    }
  }
});

/** An operation, and how to undo it. */
interface Operation {
  readonly name: string;
  map(device: DmaDevice): unknown;
  unmap(device: DmaDevice, made: unknown): unknown;
}

const longList = (): ScatterList => scattered(600);
const OPERATIONS: readonly Operation[] = [
  {
    name: "map of 1 page",
    map: (device) => device.map(0x5000n, 100, 3),
    unmap: (device, made) => device.unmap(made as never),
  },
  {
    name: "map of 700 pages",
    map: (device) => device.map(0x5000n, 700 * 4096, 3),
    unmap: (device, made) => device.unmap(made as never),
  },
  {
    name: "mapSg of 600 pages",
    map: (device) => {
      const list = longList();
      return device.mapSg(list, 3) ?? list;
    },
    unmap: (device, made) => device.unmapSg(made as ScatterList),
  },
];
const CODES = [
  [H_HARDWARE, "platform-refused"],
  [H_PRIVILEGE, "platform-refused"],
  [-2, "platform-refused"],
  [-3, "platform-refused"],
  [-4, "platform-refused"],
  [H_RESOURCE, "platform-busy"],
  [H_NOT_ENOUGH_RESOURCES, "platform-busy"],
  [9905, "platform-busy"],
] as const;

test("defects 16, 19, 11: with a failure at any call of a map, whatever the code, the map fails with it and the table is as before", () => {
  let failures = 0;
  for (const personality of PERSONALITIES) {
    for (const multiTce of [true, false]) {
      const guest = guestOf({ personality, multiTce });
      const device = new DmaDevice(guest.platform.generic, { maxSegmentBytes: 2 ** 24 });
      const kept = mapped(device.map(0x9000n, 3 * 4096, 1));
      const before = tableOf(guest);
      for (const operation of OPERATIONS) {
        let made: unknown;
        const calls = callsIn(guest, () => (made = mapped(operation.map(device))));
        assert.equal(operation.unmap(device, made), undefined);
        const total = calls.put + calls.stuff + calls.indirect;
        for (let at = 0; at < total; at += total > 20 ? 97 : 1) {
          for (const [code, failure] of CODES) {
            for (const written of [0, 1, 300]) {
              failCall(guest, at, code, { written });
              assert.equal(operation.map(device), failure, `${operation.name}, call ${at}, code ${code}`);
              assert.deepEqual(
                tableOf(guest),
                before,
                `${operation.name}: call ${at} answers ${code} after ${written}`,
              );
              failures++;
            }
          }
        }
      }
      guest.hypervisor.inject([]);
      assert.deepEqual(guest.platform.generic.statistics().quarantined, 0);
      assert.equal(device.unmap(kept), undefined);
      assert.equal(guest.platform.generic.statistics().taken, 0);
    }
  }
  assert.ok(failures > 1000, `${failures}`);
});

test("when entries can't be emptied, unmap reports the failure, and their range stays out of use until they are", () => {
  for (const [code, failure] of CODES) {
    for (const operation of OPERATIONS) {
      const guest = guestOf();
      const { generic } = guest.platform;
      const device = new DmaDevice(generic, { maxSegmentBytes: 2 ** 24 });
      const made = mapped(operation.map(device));
      guest.hypervisor.inject([{ answer: code }]);
      assert.equal(operation.unmap(device, made), failure);
      const { quarantined, taken } = generic.statistics();
      assert.ok(quarantined > 0 && quarantined === taken);
      assert.equal(generic.allocator.flushIotlb(), failure, "not while its entries translate");
      assert.equal(generic.statistics().quarantined, quarantined);
      guest.hypervisor.inject([]);
      assert.equal(generic.allocator.flushIotlb(), undefined);
      assert.deepEqual([generic.statistics().taken, isEmpty(guest)], [0, true]);
      mapped(operation.map(device));
    }
  }
});

test("entries that can't be emptied cost the unmaps of others no call, of which each may be waited for", () => {
  const guest = guestOf();
  const { generic } = guest.platform;
  const device = new DmaDevice(generic);
  const [stuck, other] = [mapped(device.map(0x3000n, 1, 1)), mapped(device.map(0x9000n, 0x8000, 1))];
  guest.hypervisor.inject([{ call: H_PUT_TCE, answer: H_HARDWARE }]);
  assert.equal(device.unmap(stuck), "platform-refused");
  const calls = callsIn(guest, () => assert.equal(device.unmap(other), undefined));
  assert.deepEqual(calls, { put: 0, stuff: 1, indirect: 0, get: 0 });
  guest.hypervisor.inject([]);
  assert.equal(generic.allocator.flushIotlb(), undefined);
  assert.deepEqual([generic.statistics().taken, isEmpty(guest)], [0, true]);
});

test("when a map fails and can't be undone either, its range stays out of use, other maps go on, and a flush puts it right", () => {
  for (const operation of OPERATIONS) {
    const guest = guestOf({ personality: "qemu" });
    const { generic } = guest.platform;
    const device = new DmaDevice(generic, { maxSegmentBytes: 2 ** 24 });
    guest.hypervisor.inject([{ answer: H_HARDWARE, written: 1 }]);
    assert.equal(operation.map(device), "platform-refused");
    assert.ok(generic.statistics().quarantined > 0);
    guest.hypervisor.inject([]);
    const other = mapped(device.map(0x9000n, 10, 1));
    assert.equal(device.unmap(other), undefined);
    assert.equal(generic.allocator.flushIotlb(), undefined);
    assert.deepEqual([generic.statistics().taken, isEmpty(guest)], [0, true]);
  }
});

test("long-busy: the same call is repeated after each requested wait", () => {
  const guest = guestOf();
  const device = new DmaDevice(guest.platform.generic);
  guest.hypervisor.inject([
    { answer: 9900, times: 2 },
    { answer: 9902, times: 1 },
  ]);
  const mapping = mapped(device.map(0x5000n, 8 * 4096, 3));
  assert.deepEqual(guest.pauses, [1, 1, 100]);
  assert.equal(device.unmap(mapping), undefined);
  assert.ok(isEmpty(guest));
});

test("long-busy: a guest with enough patience waits 1 ms, 10 ms … 100 s, as the code says", () => {
  for (let longer = 0; longer <= 5; longer++) {
    const pauses: number[] = [];
    const guest = guestOf(
      {},
      { patience: { patienceMs: 200_000, pause: (milliseconds) => pauses.push(milliseconds) } },
    );
    guest.hypervisor.inject([{ answer: 9900 + longer, times: 2 }]);
    mapped(new DmaDevice(guest.platform.generic).map(0x5000n, 8 * 4096, 3));
    assert.deepEqual(pauses, [10 ** longer, 10 ** longer]);
  }
});

test("long-busy beyond the guest's patience: busy, undone, and no wait that would be longer than it", () => {
  const guest = guestOf();
  const device = new DmaDevice(guest.platform.generic);
  guest.hypervisor.inject([{ call: H_PUT_TCE_INDIRECT, answer: 9902, written: 3 }]);
  assert.equal(device.map(0x5000n, 8 * 4096, 3), "platform-busy");
  assert.equal(
    guest.pauses.reduce((sum, pause) => sum + pause, 0),
    1000,
  );
  assert.ok(isEmpty(guest));
  guest.pauses.length = 0;
  guest.hypervisor.inject([{ call: H_PUT_TCE_INDIRECT, answer: 9904 }]);
  assert.equal(device.map(0x5000n, 8 * 4096, 3), "platform-busy");
  assert.deepEqual(guest.pauses, []);
});

test("defect 15: no lock of the table is held while a call is waited for", () => {
  let taken: number[] = [];
  const guest = guestOf({}, { patience: { pause: () => taken.push(other.allocate(1, UNCONSTRAINED, -1)) } });
  const { generic } = guest.platform;
  const other = generic;
  const device = new DmaDevice(generic);
  guest.hypervisor.inject([{ answer: 9900, interval: 2 }]);
  taken = [];
  const mapping = mapped(device.map(0x5000n, 8 * 4096, 3));
  assert.equal(device.unmap(mapping), undefined);
  guest.hypervisor.inject([]);
  assert.ok(taken.length > 0 && taken.every((entry) => entry >= 0));
});

test("defect 17: a long range is emptied by 512 at most, which papr insists on", () => {
  const guest = guestOf({ personality: "papr" });
  const { generic } = guest.platform;
  const first = generic.allocate(1200, UNCONSTRAINED, -1);
  assert.deepEqual(
    callsIn(guest, () => generic.abandon(first, 1200)),
    { put: 0, stuff: 3, indirect: 0, get: 0 },
  );
  assert.equal(generic.statistics().quarantined, 0);
});

test("defect 18: a range that leaves the table is refused before any call is made", () => {
  const guest = guestOf();
  const { ops } = guest.platform;
  const calls = callsIn(guest, () => {
    for (const [first, count] of [
      [2047, 2],
      [-1, 1],
      [0, 2049],
      [2048, 1],
      [5, 0],
    ] as const) {
      assert.throws(() => ops.set(first, count, 1, 3), InvalidArgumentError);
      assert.throws(() => ops.clear(first, count), InvalidArgumentError);
    }
  });
  assert.deepEqual(calls, { put: 0, stuff: 0, indirect: 0, get: 0 });
  assert.ok(isEmpty(guest));
});

test("entries are gathered until the run breaks or `publish` is called; what is cleared before, at an end of the run, is never handed over", () => {
  const guest = guestOf();
  const { ops } = guest.platform;
  const nothing = { put: 0, stuff: 0, indirect: 0, get: 0 };
  assert.deepEqual(
    callsIn(guest, () => {
      for (let i = 0; i < 6; i++) ops.set(10 + i, 1, 50 + i, 3);
    }),
    nothing,
  );
  ops.clear(10, 2);
  ops.clear(15, 1);
  ops.clear(12, 1);
  assert.deepEqual(
    callsIn(guest, () => assert.equal(ops.publish(), undefined)),
    { ...nothing, indirect: 1 },
  );
  const found = { page: 0, access: 0 as 0 | 1 | 2 | 3 };
  const pages = [10, 11, 12, 13, 14, 15].map((entry) => {
    ops.get(entry, found);
    return found.page;
  });
  assert.deepEqual(pages, [0, 0, 0, 53, 54, 0]);
  ops.set(100, 2, 7, 3);
  assert.deepEqual(
    callsIn(guest, () => ops.set(200, 2, 9, 3)),
    { ...nothing, indirect: 1 },
    "a new run",
  );
  ops.set(201 + 1, 2, 30, 3);
  assert.deepEqual(
    callsIn(guest, () => ops.clear(201, 2)),
    { ...nothing, indirect: 1, stuff: 1 },
    "from the middle of a run: it is handed over, then emptied there",
  );
  assert.deepEqual(
    callsIn(guest, () => assert.equal(ops.publish(), undefined)),
    nothing,
  );
  ops.get(203, found);
  assert.deepEqual(found, { page: 31, access: 3 });
  ops.get(202, found);
  assert.deepEqual(found, { page: 0, access: 0 });
});

test("of a run whose call fails nothing is left in the table, before its owner has cleared anything", () => {
  for (const multiTce of [true, false]) {
    const guest = guestOf({ multiTce });
    const { ops } = guest.platform;
    ops.set(0, 4, 50, 3);
    failCall(guest, multiTce ? 0 : 2, H_HARDWARE, { written: 3 });
    assert.equal(ops.publish(), "platform-refused");
    assert.ok(isEmpty(guest));
  }
});

test("`publish` goes on failing until the entries that it lost are cleared", () => {
  const guest = guestOf();
  const { ops } = guest.platform;
  ops.set(0, 4, 50, 3);
  failCall(guest, 0, H_HARDWARE);
  ops.set(10, 4, 60, 3);
  assert.equal(ops.publish(), "platform-refused");
  assert.equal(ops.publish(), "platform-refused");
  ops.clear(0, 3);
  assert.equal(ops.publish(), "platform-refused");
  ops.clear(2, 2);
  assert.equal(ops.publish(), undefined);
  ops.clear(10, 4);
  assert.ok(isEmpty(guest));
});

test("an entry is exchanged without a gap in its range; a refused exchange leaves the old entry", () => {
  const guest = guestOf();
  const { ops } = guest.platform;
  const old = { page: 0, access: 0 as 0 | 1 | 2 | 3 };
  ops.set(3, 1, 50, 1);
  assert.equal(ops.exchange(3, 51, 3, old), undefined);
  assert.deepEqual(old, { page: 50, access: 1 });
  guest.hypervisor.inject([{ call: H_PUT_TCE, answer: H_HARDWARE, times: 1, written: 1 }]);
  assert.equal(ops.exchange(3, 52, 3, old), "platform-refused");
  ops.get(3, old);
  assert.deepEqual(old, { page: 51, access: 3 });
  assert.equal(ops.exchange(3, 2 ** 52, 3, old), "platform-refused");
  guest.hypervisor.inject([{ call: H_GET_TCE, answer: -1 }]);
  assert.throws(() => ops.get(3, old), /H_GET_TCE of entry 3 answers -1/);
});

test("an entry whose exchange fails and that can't be restored either is reported with both codes", () => {
  const guest = guestOf();
  const { ops } = guest.platform;
  const old = { page: 0, access: 0 as 0 | 1 | 2 | 3 };
  ops.set(3, 1, 50, 1);
  assert.equal(ops.publish(), undefined);
  guest.hypervisor.inject([
    { call: H_PUT_TCE, answer: H_HARDWARE, times: 1, written: 1 },
    { call: H_PUT_TCE, answer: H_RESOURCE },
  ]);
  assert.throws(() => ops.exchange(3, 52, 3, old), /entry 3 can't be put back: H_PUT_TCE answers -1, then -16/);
});

test("after a thread has died in the middle of an unmap and was reclaimed, the device does not reach its pages", () => {
  const guest = guestOf();
  const dying = PaprHypervisor.attach(guest.hypervisor.handle);
  const platform = PseriesPlatform.attach(dying, guest.platform.handle);
  const device = new DmaDevice(platform.generic);
  const mapping = mapped(device.map(0x5000n, 3 * 4096, 3));
  const reaches = () => guest.hypervisor.device(0).dmaRead(mapping.iova, new Uint8Array(3 * 4096));
  assert.ok(reaches(), "the IOTLB knows the pages");
  dying.machine.translation.invalidate = () => {
    throw new Error("killed");
  };
  assert.throws(() => device.unmap(mapping), /killed/);
  assert.ok(isEmpty(guest) && reaches(), "empty, and still known");
  guest.hypervisor.crew.reclaim(dying.thread, "in-flight");
  assert.equal(guest.platform.generic.reclaim(platform.generic.thread, "everything").length, 1);
  assert.equal(reaches(), false);
});

test("a region without a page for each thread is refused, and so is one between pages", () => {
  const hypervisor = PaprHypervisor.create({ memoryBytes: MEMORY_BYTES, entries: 256, threads: 4 });
  const properties = hypervisor.properties(0);
  for (const region of [
    { address: 0, bytes: 4 * 4096 - 1 },
    { address: 2048, bytes: 8 * 4096 },
  ]) {
    assert.throws(() => PseriesPlatform.create(hypervisor, { properties, region }), {
      name: "InvalidArgumentError",
      message: /region of a pseries platform is \d+ bytes at \d+; expected a page of 4096 bytes for each of 4 threads/,
    });
  }
});

test("a hypervisor that does not empty the default window is asked for the first part of it, not for each", () => {
  const pauses: number[] = [];
  const options = { inject: [{ call: H_STUFF_TCE, answer: 9900 }] };
  const patience = { patienceMs: 10, pause: (milliseconds: number) => pauses.push(milliseconds) };
  assert.throws(() => guestOf(options, { patience }), { code: "platform-busy" });
  assert.equal(pauses.length, 10);
});

test("a page that no TCE can hold is refused by set, and one that the guest lacks by the hypervisor: nothing is left", () => {
  for (const personality of PERSONALITIES) {
    const guest = guestOf({ personality, peers: false });
    const device = new DmaDevice(guest.platform.generic);
    assert.equal(guest.platform.ops.set(0, 2, 2 ** 52 - 1, 3), "platform-refused");
    if (personality === "qemu") continue;
    assert.equal(device.map(2n ** 40n, 8192, 3), "platform-refused");
    assert.ok(isEmpty(guest));
    assert.equal(guest.platform.generic.statistics().taken, 0);
  }
});

test("invalid properties, an unknown liobn, another window, a machine without hypercalls: typed errors with the numbers", () => {
  const { hypervisor } = guestOf();
  const properties = hypervisor.properties(0);
  const wrong: readonly [object, RegExp][] = [
    [{ liobn: 0x1234 }, /liobn is 0x1234 with 2048 entries; expected one whose first entry the hypervisor knows/],
    [{ bytes: 2n ** 24n }, /with 4096 entries; expected one whose last entry/],
    [{ bytes: 3n * 4096n }, /bytes of the default window is 12288n; expected a power of two/],
    [{ bytes: 100n }, /bytes of the default window is 100/],
  ];
  for (const [change, message] of wrong) {
    assert.throws(
      () => guestOf({}, { properties: { ...properties, ...change } }),
      (error) => {
        return error instanceof InvalidArgumentError && message.test(error.message);
      },
    );
  }
  assert.throws(() => guestOf({ inject: [{ call: H_STUFF_TCE, answer: -1 }] }), { code: "platform-refused" });
});

test("a table at bus address 0 keeps entry 0", () => {
  const guest = guestOf({ base: 0n });
  assert.equal(guest.platform.generic.allocate(1, UNCONSTRAINED, -1), 1);
});
