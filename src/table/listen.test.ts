/** Listeners: what they are told, in which order, and that a shadow kept from it is the table, whatever fails. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DmaDevice } from "../dma/device.ts";
import { FaultInjectingTable } from "../dma/fault-injection.ts";
import { ModelOps } from "../dma/ops.model.ts";
import { ScatterList } from "../dma/scatter-list.ts";
import { got } from "../dma/set-up.model.ts";
import type { Failure } from "../units/failure.ts";
import type { Access } from "../units/numbers.ts";
import { IommuTable, type TableOptions } from "./iommu-table.ts";
import { listen } from "./listen.ts";

const seed = Date.now() & 0x7fffffff;
const BASE = 0x80000000n;
const ENTRIES = 64;
const window = { base: BASE, pageShift: 12, entries: ENTRIES };

/** Ops that write down when they publish and invalidate. `setPages` and `setCoherent` are missing. */
class WatchedOps extends ModelOps {
  readonly calls: string[];
  /** What the next invalidation answers. */
  invalidation: Failure | undefined;
  constructor(calls: string[]) {
    super(ENTRIES);
    this.calls = calls;
  }
  override publish(): Failure | undefined {
    const failure = super.publish();
    this.calls.push(failure === undefined ? "published" : `publish: ${failure}`);
    return failure;
  }
  override invalidate(first: number, end: number): Failure | undefined {
    const failure = this.invalidation;
    this.invalidation = undefined;
    this.calls.push(`invalidate ${first}..${end}${failure === undefined ? "" : `: ${failure}`}`);
    return failure ?? super.invalidate(first, end);
  }
}

function tableWith(options: TableOptions = {}) {
  const calls: string[] = [];
  const ops = new WatchedOps(calls);
  const table = IommuTable.create(window, ops, { threads: 2, cache: "none", ...options });
  return { calls, ops, table, device: new DmaDevice(table) };
}

const pageOf = (iova: bigint): number => Number((iova - BASE) >> 12n);

/** What a listener has been told, page by page. It insists on the order: a page is told as unmapped before it is told as mapped again. */
class Shadow {
  readonly pages = new Map<number, { readonly page: number; readonly access: Access }>();
  /** Throws at this call, counted from 1. */
  throwsAt = 0;
  calls = 0;

  readonly mapped = (iova: bigint, bytes: number, address: bigint, access: Access): void => {
    this.#count();
    for (let i = 0; i < bytes / 4096; i++) {
      assert.ok(!this.pages.has(pageOf(iova) + i), `page ${pageOf(iova) + i} has not been told as unmapped`);
      this.pages.set(pageOf(iova) + i, { page: Number(address >> 12n) + i, access });
    }
  };
  readonly unmapped = (iova: bigint, bytes: number): void => {
    this.#count();
    for (let i = 0; i < bytes / 4096; i++) this.pages.delete(pageOf(iova) + i);
  };

  #count(): void {
    if (++this.calls === this.throwsAt) throw new Error("the listener's own");
  }
}

test("mapped is told when the entries are published, unmapped when they are empty; neither while others can have the range", () => {
  const { calls, table, device } = tableWith();
  const state = (iova: bigint) => table.holderOf({ first: pageOf(iova), end: pageOf(iova) + 1 })?.state;
  listen(table, {
    mapped: (iova, bytes, address, access) =>
      calls.push(`mapped ${state(iova)} ${pageOf(iova)} ${bytes} ${address} ${access}`),
    unmapped: (iova, bytes) => calls.push(`unmapped ${state(iova)} ${pageOf(iova)} ${bytes}`),
  });
  const mapping = got(device.map(0x3010n, 5000, 1));
  assert.deepEqual(calls.splice(0), ["published", `mapped pending 0 8192 ${0x3000} 1`]);
  assert.equal(device.unmap(mapping), undefined);
  assert.deepEqual(calls.splice(0), ["published", "unmapped ending 0 8192", "invalidate 0..2"]);
  assert.equal(state(BASE), undefined);
});

test("a scatterlist is told in runs of adjacent pages, with and without ops for many pages; weak order is no access", () => {
  for (const setPages of [true, false]) {
    const { calls, ops, table, device } = tableWith();
    if (setPages) {
      Object.assign(ops, {
        setPages: (first: number, pages: Float64Array, count: number, access: Access) => {
          for (let i = 0; i < count; i++) ops.set(first + i, 1, pages[i] as number, (access & 3) as Access);
          return undefined;
        },
      });
    }
    listen(table, {
      mapped: (iova, bytes, address, access) => calls.push(`${pageOf(iova)} ${bytes} ${address} ${access}`),
    });
    const list = ScatterList.from(
      [0x5000n, 0x6000n, 0x7000n, 0x2000n, 0x9000n].map((address) => ({ address, bytes: 4096 })),
    );
    assert.equal(device.mapSg(list, 2, { weaklyOrdered: true }), undefined);
    assert.deepEqual(calls, ["published", "0 12288 20480 2", "3 4096 8192 2", "4 4096 36864 2"]);
    assert.equal(device.unmapSg(list), undefined);
  }
});

test("in lazy mode unmapped is told at the unmap, not at the flush", () => {
  const { calls, table, device } = tableWith({ invalidate: "lazy" });
  listen(table, { unmapped: (iova, bytes) => calls.push(`unmapped ${pageOf(iova)} ${bytes}`) });
  assert.equal(device.unmap(got(device.map(0n, 4096, 3))), undefined);
  assert.deepEqual(calls, ["published", "published", "unmapped 0 4096"]);
  assert.equal(table.allocator.drain(), undefined);
  assert.deepEqual(calls.slice(3), ["invalidate 0..64"]);
});

test("an exchange is told as the end of the old entry and the start of the new one", () => {
  const { table, device } = tableWith();
  const shadow = new Shadow();
  listen(table, shadow);
  const mapping = got(device.map(0x3000n, 8192, 3));
  const old = { page: 0, access: 0 as const };
  assert.equal(table.ops.exchange(pageOf(mapping.iova), 77, 1, old), undefined);
  assert.deepEqual(
    [...shadow.pages],
    [
      [1, { page: 4, access: 3 }],
      [0, { page: 77, access: 1 }],
    ],
  );
});

test("a mapping that fails is never told as mapped, and what a failed publish has left is told as unmapped once it is empty", () => {
  const { calls, ops, table, device } = tableWith();
  const told: string[] = [];
  listen(table, {
    mapped: (iova) => told.push(`mapped ${pageOf(iova)}`),
    unmapped: (iova) => told.push(`unmapped ${pageOf(iova)}`),
  });
  ops.refuse = () => true;
  assert.equal(device.map(0n, 4096, 3), "platform-refused");
  ops.refuse = () => false;
  assert.ok(!told.some((text) => text.startsWith("mapped")));
  const mapping = got(device.map(0n, 4096, 3));
  told.length = 0;
  const publish = ops.publish.bind(ops);
  ops.publish = () => publish() ?? "platform-busy";
  ops.invalidation = "platform-busy";
  assert.equal(device.unmap(mapping), "platform-busy");
  ops.publish = publish;
  assert.equal(told.length, 0, "the entry may still be in the table");
  calls.length = 0;
  assert.equal(table.allocator.flushIotlb(), undefined);
  assert.deepEqual(told, [`unmapped ${pageOf(mapping.iova)}`]);
  assert.equal(table.statistics().taken, 0);
});

test("a listener that throws on mapped undoes the mapping; the caller gets its error, and the device nothing", () => {
  for (const throwsAt of [1, 2, 3]) {
    const { ops, table, device } = tableWith();
    const shadow = new Shadow();
    listen(table, shadow);
    shadow.throwsAt = throwsAt;
    const list = ScatterList.from([0x5000n, 0x2000n, 0x9000n].map((address) => ({ address, bytes: 4096 })));
    assert.throws(() => device.mapSg(list, 3), /the listener's own/);
    assert.deepEqual([ops.used, table.statistics().taken, shadow.pages.size], [0, 0, 0]);
    assert.equal(device.mapSg(list, 3), undefined);
    assert.equal(shadow.pages.size, 3);
  }
});

test("a listener that throws on unmapped leaves the mapping live, and the unmap may be repeated", () => {
  const { table, device } = tableWith();
  const shadow = new Shadow();
  listen(table, shadow);
  const mapping = got(device.map(0x3000n, 8192, 3));
  shadow.throwsAt = shadow.calls + 1;
  assert.throws(() => device.unmap(mapping), /the listener's own/);
  assert.equal(table.holderOf({ first: 0, end: 2 })?.state, "live");
  assert.equal(device.unmap(mapping), undefined);
  assert.deepEqual([table.statistics().taken, shadow.pages.size], [0, 0]);
});

test("what a dead thread has mapped is told as unmapped by the thread that reclaims it, before the range is free", () => {
  const { ops, table } = tableWith();
  const dead = IommuTable.attach(table.handle, ops);
  const shadow = new Shadow();
  listen(dead, shadow);
  const states: unknown[] = [];
  const unmapped = (iova: bigint, bytes: number): void => {
    states.push([pageOf(iova), bytes, table.holderOf({ first: pageOf(iova), end: pageOf(iova) + 1 })?.owner]);
    shadow.unmapped(iova, bytes);
  };
  listen(table, { unmapped });
  got(new DmaDevice(dead).map(0x3000n, 8192, 3));
  dead.allocate(1);
  assert.equal(shadow.pages.size, 2);
  table.reclaim(dead.thread, "everything");
  assert.equal(shadow.pages.size, 0);
  assert.deepEqual(states, [[0, 3 * 4096, table.thread]]);
});

test("two listeners are both told, the first one first; a closed view can't be listened to, nor a wrong listener be one", () => {
  const { table, device } = tableWith();
  const told: string[] = [];
  const shadow = new Shadow();
  listen(table, { mapped: () => told.push("first") });
  listen(table, { mapped: () => told.push("second") });
  const mapping = got(device.map(0n, 4096, 3));
  assert.deepEqual(told, ["first", "second"]);
  device.unmap(mapping);
  const refused = (act: () => void, message: string): void =>
    assert.throws(act, { name: "InvalidArgumentError", message });
  for (const wrong of [{ maped: () => undefined }, { mapped: 7 }, { mapped: () => undefined, unmapped: 7 }, {}]) {
    refused(
      () => listen(table, wrong as never),
      "listener is an object; expected an object with the function `mapped`, `unmapped`, or both",
    );
  }
  refused(
    () => listen({} as never, {}),
    "table to listen to is an object; expected an IommuTable, such as a platform's `generic`",
  );
  refused(() => table.encloseOps(() => ({}) as never), "set of a table's ops is undefined; expected a function");
  table.close();
  assert.throws(() => listen(table, shadow), { code: "view-closed" });
});

test("a shadow is the table after every call, strict and lazy, whatever fails or throws", (t) => {
  t.diagnostic(`seed ${seed}`);
  const step = fc.record({
    what: fc.constantFrom("map", "map", "mapSg", "mapAt", "unmap", "unmap", "flush"),
    pick: fc.nat(63),
    bytes: fc.integer({ min: 1, max: 20000 }),
    access: fc.constantFrom<Access>(1, 2, 3),
    flaw: fc.constantFrom("none", "none", "none", "set", "publish", "invalidate", "listener"),
    at: fc.nat(3),
  });
  type Step = typeof step extends fc.Arbitrary<infer One> ? One : never;
  const run = (lazy: boolean, gathers: boolean, steps: readonly Step[]): void => {
    const { ops, table } = tableWith({ invalidate: lazy ? "lazy" : "strict" });
    ops.gathers = gathers;
    const shadow = new Shadow();
    listen(table, shadow);
    const ends: (() => Failure | undefined)[] = [];
    for (const one of steps) {
      const faults = one.flaw === "set" ? { set: { after: one.at, times: 1 } } : {};
      const device = new DmaDevice(new FaultInjectingTable(table, faults));
      if (one.flaw === "publish") ops.refusePublish = () => true;
      if (one.flaw === "invalidate") ops.invalidation = "platform-busy";
      shadow.throwsAt = one.flaw === "listener" ? shadow.calls + 1 + one.at : 0;
      try {
        playStep(one, device, table, ends);
      } catch (error) {
        assert.match((error as Error).message, /the listener's own/);
      }
      ops.refusePublish = () => false;
      ops.invalidation = undefined;
      shadow.throwsAt = 0;
      for (const { first, end } of table.mappings()) {
        for (let entry = first; entry < end; entry++) {
          const value = { page: 0, access: 0 as 0 | Access };
          table.get(entry, value);
          // A mapping whose unmap has thrown has empty entries, of which the listener did not want to be told.
          if (value.access === 0) continue;
          assert.deepEqual(shadow.pages.get(entry), value, `entry ${entry} after ${one.what}, ${one.flaw}`);
        }
      }
      const live = [...table.mappings()].flatMap(({ first, end }) =>
        Array.from({ length: end - first }, (_, i) => first + i),
      );
      for (const page of shadow.pages.keys()) assert.ok(live.includes(page), `page ${page} is told, and not live`);
    }
  };
  fc.assert(fc.property(fc.boolean(), fc.boolean(), fc.array(step, { maxLength: 30 }), run), { seed, numRuns: 300 });
});

interface Played {
  readonly what: string;
  readonly pick: number;
  readonly bytes: number;
  readonly access: Access;
}

/** One call on the device. `ends`: what unmaps what is mapped. */
function playStep(
  { what, pick, bytes, access }: Played,
  device: DmaDevice,
  table: IommuTable,
  ends: (() => Failure | undefined)[],
): void {
  if (what === "flush") return void table.allocator.flushIotlb();
  if (what === "unmap") {
    const end = ends[pick % Math.max(1, ends.length)];
    // If the listener throws, it is still there to be unmapped.
    end?.();
    if (end !== undefined) ends.splice(ends.indexOf(end), 1);
    return;
  }
  // Any object with the same table may unmap.
  const plain = new DmaDevice(table);
  if (what === "mapSg") {
    const pieces = [0, 3, 4, 1].map((page) => ({ address: BigInt((pick + page) * 4096), bytes: 1 + (bytes % 4096) }));
    const list = ScatterList.from(pieces);
    if (device.mapSg(list, access) === undefined) ends.push(() => device.unmapSg(list));
    return;
  }
  const address = BigInt(pick * 4096);
  const at = BASE + BigInt(pick * 4096);
  if (what === "mapAt" && pick + Math.ceil(bytes / 4096) > ENTRIES) return;
  const mapping = what === "map" ? device.map(address, bytes, access) : device.mapAt(at, address, bytes, access);
  if (typeof mapping !== "string") ends.push(() => plain.unmap(mapping));
}
