/** Mappings at an address of the caller's choice, and questions about bus addresses: who has them, and where they lead. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SingleLockTable } from "../rivals/single-lock.ts";
import { IommuTable } from "../table/iommu-table.ts";
import type { Access } from "../units/numbers.ts";
import type { Mapping } from "./contract.ts";
import { debugged } from "./debug/debugged-device.ts";
import { DmaDevice } from "./device.ts";
import { DirectDevice } from "./direct.ts";
import { FaultInjectingTable } from "./fault-injection.ts";
import { ModelOps } from "./ops.model.ts";
import { ScatterList } from "./scatter-list.ts";
import { got, setUp } from "./set-up.model.ts";
import { createDevice } from "./windows.ts";

const seed = Date.now() & 0x7fffffff;
const BASE = 0x80000000n;
const PAGE = 4096n;

/** What the format's entries let a device do: it may read whatever it may write. */
const granted = (access: Access): Access => (access === 2 ? 3 : access);

test("mapAt takes exactly the bus address, the device finds the memory there, and unmap ends it", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table);
  const mapping = got(device.mapAt(BASE + 5n * PAGE + 0x10n, 0x3010n, 9000, 3));
  assert.deepEqual(mapping, { iova: BASE + 5n * PAGE + 0x10n, bytes: 9000, access: 3 });
  assert.ok(machine.seen(mapping.iova, 9000)?.equals(machine.at(0x3010, 9000)));
  assert.equal(device.unmap(mapping), undefined);
  assert.equal(machine.seen(mapping.iova, 1), undefined, "the device is cut off");
  machine.assertNothingLeft();
});

test("a range that is not free is refused as in-use, and holderOf says what has it", () => {
  const machine = setUp();
  const { table } = machine;
  const device = new DmaDevice(table);
  const other = IommuTable.attach(table.handle, machine.platform.ops);
  const theirs = new DmaDevice(other);
  got(theirs.mapAt(BASE + 8n * PAGE, 0x10000n, 3 * 4096, 1));
  assert.equal(table.reserve({ first: 20, end: 22 }), undefined);
  assert.equal(device.mapAt(BASE + 10n * PAGE, 0x20000n, 4096, 3), "in-use");
  assert.deepEqual(device.holderOf(BASE + 10n * PAGE, 4096), {
    iova: BASE + 8n * PAGE,
    bytes: 3 * 4096,
    state: "live",
    owner: other.thread,
  });
  assert.equal(device.mapAt(BASE + 19n * PAGE, 0x20000n, 2 * 4096, 3), "in-use");
  const hole = device.holderOf(BASE + 19n * PAGE, 2 * 4096);
  assert.deepEqual(hole, { iova: BASE + 20n * PAGE, bytes: 8192, state: "reserved", owner: table.thread });
  assert.equal(device.holderOf(BASE + 11n * PAGE, 9 * 4096), undefined, "between the two");
  assert.equal(table.statistics().taken, 5);
});

test("random mappings at given addresses answer as a plain array of pages does", (t) => {
  t.diagnostic(`seed ${seed}`);
  const step = fc.record({
    what: fc.constantFrom("mapAt", "mapAt", "mapAt", "map", "unmap"),
    first: fc.nat(63),
    offset: fc.constantFrom(0, 1, 4095),
    bytes: fc.oneof(fc.integer({ min: 1, max: 4096 }), fc.integer({ min: 1, max: 40000 })),
    access: fc.constantFrom<Access>(1, 2, 3),
  });
  const run = (lazy: boolean, steps: readonly (typeof step extends fc.Arbitrary<infer Step> ? Step : never)[]) => {
    const machine = setUp({ lazy });
    const device = new DmaDevice(machine.table);
    const owner = new Map<number, Mapping>();
    const pagesOf = ({ iova, bytes }: Mapping) => {
      const first = Number((iova - BASE) / PAGE);
      return Array.from({ length: Number((iova - BASE + BigInt(bytes) - 1n) / PAGE) - first + 1 }, (_, i) => first + i);
    };
    for (const { what, first, offset, bytes, access } of steps) {
      const iova = BASE + BigInt(first) * PAGE + BigInt(offset);
      const address = BigInt(0x10000 + offset);
      if (what === "unmap") {
        const mapping = owner.get(first);
        if (mapping === undefined) continue;
        assert.equal(device.unmap(mapping), undefined);
        for (const page of pagesOf(mapping)) owner.delete(page);
        continue;
      }
      if (what === "mapAt" && pagesOf({ iova, bytes, access }).some((page) => page > 63)) {
        assert.throws(() => device.mapAt(iova, address, bytes, access), { name: "InvalidArgumentError" });
        continue;
      }
      const wanted = pagesOf({ iova, bytes, access }).find((page) => owner.has(page));
      const result = what === "map" ? device.map(address, bytes, access) : device.mapAt(iova, address, bytes, access);
      if (what === "mapAt") assert.equal(result === "in-use", wanted !== undefined);
      if (typeof result === "string") continue;
      if (what === "mapAt") assert.equal(result.iova, iova);
      for (const page of pagesOf(result)) {
        assert.ok(!owner.has(page), `page ${page} has two mappings`);
        owner.set(page, result);
      }
    }
    for (let page = 0; page < 64; page++) {
      const iova = BASE + BigInt(page) * PAGE;
      const mapping = owner.get(page);
      const into = mapping === undefined ? 0x10000n : 0x10000n + (iova - (mapping.iova & ~(PAGE - 1n)));
      const expected = mapping && { address: into, bytes: 4096, access: granted(mapping.access) };
      assert.deepEqual(device.translate(iova), expected, `page ${page}`);
      const holder = device.holderOf(iova, 1);
      assert.equal(holder?.state === "live", mapping !== undefined);
    }
    const mapped = [...machine.table.mappings()].map(({ iova, bytes, access }) => ({ iova, bytes, access }));
    const live = [...new Set(owner.values())].sort((a, b) => Number(a.iova - b.iova));
    const expected = live.map((mapping) => {
      const pages = pagesOf(mapping);
      return {
        iova: BASE + BigInt(pages[0] as number) * PAGE,
        bytes: pages.length * 4096,
        access: granted(mapping.access),
      };
    });
    assert.deepEqual(mapped, expected);
    for (const mapping of live) assert.equal(device.unmap(mapping), undefined);
    machine.assertNothingLeft();
    machine.machine.close();
  };
  fc.assert(fc.property(fc.boolean(), fc.array(step, { maxLength: 40 }), run), { seed, numRuns: 150 });
});

test("the mask applies to a given address; the segment boundary and the alignment are the caller's", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table, { mask: BASE + 0x4fffn, boundaryMask: 0x1fffn, alignment: 8192 });
  assert.equal(device.mapAt(BASE + 0x4000n, 0x1000n, 4097, 3), "mask-too-low");
  assert.equal(device.mapAt(BASE + 0x5000n, 0x1000n, 1, 3), "mask-too-low");
  got(device.mapAt(BASE + 0x1000n, 0x1000n, 4 * 4096, 3));
  const cut = new DmaDevice(setUp().table, { mask: BASE + 0x4fffn - 99n });
  assert.equal(cut.mapAt(BASE + 0x4000n, 0x1000n, 4096, 3), "mask-too-low", "the mask ends inside of the page");
  got(cut.mapAt(BASE + 0x4000n, 0x1000n, 4096 - 99, 3));
});

test("a given address outside of the window, at another offset, or no address, is refused with what is wrong", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table);
  const refused = (act: () => unknown, message: string): void =>
    assert.throws(act, { name: "InvalidArgumentError", message });
  const window = "expected all of them in the window [0x80000000, 0x80040000)";
  const range = (text: string) => `range of bus addresses is ${text}; ${window}`;
  refused(() => device.mapAt(BASE - PAGE, 0n, 4096, 3), range("4096 bytes at 0x7ffff000"));
  refused(() => device.mapAt(BASE + 63n * PAGE, 0n, 4097, 3), range("4097 bytes at 0x8003f000"));
  refused(() => device.holderOf(BASE + 64n * PAGE, 1), range("1 bytes at 0x80040000"));
  refused(
    () => device.mapAt(BASE + 4n, 0x1008n, 4, 3),
    "bus address is 0x80000004; expected the offset in the IO page of 0x1008, in pages of 4096 bytes",
  );
  refused(
    () => device.mapAt(5 as never, 0n, 4096, 3),
    "bus address is 5; expected a bigint from 0n to 2n ** 64n - 4096n",
  );
  refused(
    () => device.mapAt(2n ** 64n - 1n, 0n, 4096, 3),
    "bus address is 18446744073709551615n; expected a bigint from 0n to 2n ** 64n - 4096n",
  );
  refused(() => device.translate(-1n), "bus address is -1n; expected a bigint from 0n to 2n ** 64n - 1n");
  refused(() => device.mapAt(BASE, 0n, 0, 3), "length in bytes is 0; expected an integer from 1 to 9007199254740991");
  machine.assertNothingLeft();
});

test("when an entry is refused, nothing stays at the given address", () => {
  const machine = setUp();
  const faults = new FaultInjectingTable(machine.table, { set: { times: 1 } });
  const device = new DmaDevice(faults);
  assert.equal(device.mapAt(BASE, 0x1000n, 8192, 3), "platform-refused");
  assert.equal(device.holderOf(BASE, 8192), undefined);
  machine.assertNothingLeft();
  const full = new DmaDevice(new FaultInjectingTable(machine.table, { allocate: { times: 1 } }));
  assert.equal(full.mapAt(BASE, 0x1000n, 8192, 3), "table-full", "an injected failure");
});

test("a bounced mapping at a given address shows the device its buffer, and translate says the buffer's address", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table, {}, machine.untrusted);
  const iova = BASE + 7n * PAGE + 0x10n;
  const mapping = got(device.mapAt(iova, 0x1010n, 100, 3));
  assert.equal(mapping.iova, iova);
  const { address, bytes, access } = device.translate(iova) ?? {};
  const { address: region } = machine.pages.handle;
  assert.ok(address !== undefined && address >= BigInt(region), "an address of the bounce pages");
  assert.deepEqual([bytes, access], [4096 - 0x10, 3]);
  machine.nic.dmaWrite(iova, Buffer.alloc(100, 9));
  assert.equal(device.mapAt(iova, 0x5010n, 100, 3), "in-use");
  assert.equal(machine.pages.takenPages, 1, "the refused mapping's buffer came back");
  assert.equal(device.unmap(mapping), undefined);
  assert.deepEqual(machine.at(0x1010, 100), Buffer.alloc(100, 9));
  machine.assertNothingLeft();
});

test("a direct window maps memory at its own bus address alone, and translates without a table", () => {
  const window = { kind: "direct", base: 1n << 59n, address: 0x1000, bytes: 0x10000 } as const;
  const device = new DirectDevice(window, { mask: (1n << 59n) + 0x7fffn });
  const base = 1n << 59n;
  assert.deepEqual(device.mapAt(base + 0x10n, 0x1010n, 100, 1), { iova: base + 0x10n, bytes: 100, access: 1 });
  assert.equal(device.mapAt(base + 0x1010n, 0x1010n, 100, 1), "platform-refused");
  assert.equal(device.mapAt(base + 0x7fffn, 0x8fffn, 2, 1), "mask-too-low");
  assert.equal(device.holderOf(base, 100), undefined);
  assert.deepEqual(device.translate(base + 0x10n), { address: 0x1010n, bytes: 0x7ff0, access: 3 });
  assert.equal(device.translate(base + 0x8000n), undefined, "beyond the mask");
  assert.equal(device.translate(base - 1n), undefined);
});

test("a device with two windows translates addresses of both", () => {
  const machine = setUp();
  const direct = { kind: "direct", base: 1n << 40n, address: 0, bytes: 2 ** 22 } as const;
  const device = createDevice(
    [{ kind: "translated", table: machine.table }, direct],
    { mask: 2n ** 64n - 1n, coherentMask: 0xffffffffn },
    machine.withCoherent,
  );
  const coherent = got(device.allocateCoherent(4096));
  assert.deepEqual(device.translate(coherent.iova), { address: BigInt(coherent.address), bytes: 4096, access: 3 });
  assert.deepEqual(device.translate((1n << 40n) + 7n), { address: 7n, bytes: 2 ** 22 - 7, access: 3 });
});

test("the elements of a scatterlist translate to their memory; the list's areas are live mappings of its thread", () => {
  const machine = setUp();
  const device = new DmaDevice(machine.table);
  const list = ScatterList.from([
    { address: 0x5000n, bytes: 4096 },
    { address: 0x9000n, bytes: 100 },
  ]);
  assert.equal(device.mapSg(list, 1), undefined);
  const iova = list.iovas[0] as bigint;
  assert.deepEqual(device.translate(iova + 1n), { address: 0x5001n, bytes: 4095, access: 1 });
  assert.deepEqual(device.translate(iova + 4096n), { address: 0x9000n, bytes: 4096, access: 1 });
  assert.equal(device.translate(iova + 8192n), undefined);
  assert.equal(device.translate(0n), undefined, "outside of the window");
  const owner = machine.table.thread;
  const first = Number((iova - BASE) / PAGE);
  assert.deepEqual([...machine.table.mappings()], [{ first, end: first + 2, iova, bytes: 8192, access: 1, owner }]);
});

test("a table without these operations is named", () => {
  const window = { base: BASE, pageShift: 12, entries: 64 };
  const device = new DmaDevice(SingleLockTable.create(window, new ModelOps(64)));
  for (const act of [
    () => device.mapAt(BASE, 0n, 1, 3),
    () => device.holderOf(BASE, 1),
    () => device.translate(BASE),
  ]) {
    assert.throws(act, { code: "not-supported" });
  }
});

test("the debug mode knows a mapping at a given address, and passes the questions on", () => {
  const machine = setUp();
  const device = debugged(new DmaDevice(machine.table), { onMisuse: () => assert.fail("no misuse") });
  const mapping = got(device.mapAt(BASE + PAGE, 0x1000n, 4096, 3));
  assert.equal(device.liveMappings, 1);
  assert.equal(device.failureOf(mapping), undefined);
  assert.equal(device.translate(BASE + PAGE)?.address, 0x1000n);
  assert.equal(device.holderOf(BASE + PAGE, 1)?.state, "live");
  assert.equal(device.unmap(mapping), undefined);
  assert.equal(device.liveMappings, 0);
  assert.equal(device.mapAt(BASE, 0x1000n, 4096, 3) !== "in-use", true);
});
