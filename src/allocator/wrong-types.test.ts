/**
 * Values of another type in place of entries, counts and ranges, in every public method that takes one: each is refused with the type and value
 * that were found, and nothing changes. Above all no lock stays held: a bigint as the entry after which to allocate once made the search throw
 * under the pool's lock.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ModelOps } from "../dma/ops.model.ts";
import { PhysicalPages } from "../memory/physical-pages.ts";
import { IommuTable, iovaOf } from "../table/iommu-table.ts";
import { InvalidArgumentError, shown } from "../units/errors.ts";
import { UNCONSTRAINED } from "./constraints.ts";
import { PooledAllocator } from "./pooled-allocator.ts";
import { ledgerRanges } from "./soundness.model.ts";
import { openState } from "./state.ts";

// biome-ignore lint/suspicious/noExplicitAny: what the compiler refuses is what is tried here
type Anything = any;
type Calls = Readonly<Record<string, (value: Anything) => unknown>>;

const WRONG: readonly unknown[] = [2n, -1n, "2", {}, null, true, [2], () => 2, Symbol("two")];
const CACHES = ["none", "fifo"] as const;
const MODES = ["strict", "lazy"] as const;
const window = { base: 0x10000n, pageShift: 12, entries: 64 };

/** The calls of a table and of its allocator that take an entry and a count. */
function callsOnRange(object: Anything, methods: readonly string[], first: number, count: number): Calls {
  const calls: [string, (value: Anything) => unknown][] = methods.flatMap((method) => [
    [`${method}(first)`, (value) => object[method](value, count)],
    [`${method}(count)`, (value) => object[method](first, value)],
  ]);
  return Object.fromEntries(calls);
}

function checkRefused(calls: Calls, state: () => unknown): void {
  const before = state();
  for (const [name, call] of Object.entries(calls)) {
    for (const value of WRONG) {
      assert.throws(
        () => call(value),
        (error) => {
          assert.ok(error instanceof InvalidArgumentError, `${name} of ${shown(value)}: ${error}`);
          assert.ok(error.message.includes(shown(value)), `${name} of ${shown(value)}: ${error.message}`);
          return true;
        },
      );
    }
    assert.deepEqual(state(), before, name);
  }
}

for (const cache of CACHES) {
  for (const invalidate of MODES) {
    test(`cache ${cache}, ${invalidate}: an allocator refuses values of another type and changes nothing`, () => {
      const iotlb = { invalidateAll: () => undefined };
      const allocator = PooledAllocator.create({ entries: 64, threads: 2, cache, invalidate }, iotlb);
      allocator.free(allocator.allocate(2), 2);
      const live = allocator.allocate(2);
      const pending = allocator.begin(2, UNCONSTRAINED, -1);
      const ending = allocator.allocate(2);
      allocator.startFree(ending, 2);
      allocator.reserve({ first: 40, end: 42 });
      const calls: Calls = {
        "allocate(count)": (value) => allocator.allocate(value),
        "allocate(after)": (value) => allocator.allocate(2, UNCONSTRAINED, value),
        "begin(count)": (value) => allocator.begin(value, UNCONSTRAINED, -1),
        "begin(after)": (value) => allocator.begin(2, UNCONSTRAINED, value),
        "allocateWith(count)": (value) => allocator.allocateWith(value),
        "allocateWith(count, lowest)": (value) => allocator.allocateWith(value, { order: "lowest" }),
        "allocateWith(after)": (value) => allocator.allocateWith(2, { after: value }),
        "allocateWith(waitMilliseconds)": (value) => allocator.allocateWith(2, { waitMilliseconds: value }),
        "free(first) of any length": (value) => allocator.free(value),
        ...callsOnRange(allocator, ["free", "checkFree", "startFree", "adopt"], live, 2),
        ...callsOnRange(allocator, ["checkPending", "commit", "abandon", "quarantinePending"], pending, 2),
        ...callsOnRange(allocator, ["cancelFree", "finishFree", "finishFreeLazily", "quarantine"], ending, 2),
        "lengthAt(first)": (value) => allocator.lengthAt(value),
        "reserve(first)": (value) => allocator.reserve({ first: value, end: 20 }),
        "reserve(end)": (value) => allocator.reserve({ first: 0, end: value }),
        "unreserve(first)": (value) => allocator.unreserve({ first: value, end: 42 }),
        "unreserve(end)": (value) => allocator.unreserve({ first: 40, end: value }),
        "adopt(from)": (value) => allocator.adopt(live, 2, value),
        "shortage(count)": (value) => allocator.shortage(value),
        "reclaim(thread)": (value) => allocator.reclaim(value, "everything"),
        "create(entries)": (value) => PooledAllocator.create({ entries: value }),
      };
      checkRefused(calls, () => ledgerRanges(openState(allocator.handle)));
      const none: Anything = null;
      assert.throws(() => allocator.reserve(none), InvalidArgumentError);
      assert.throws(() => allocator.unreserve(none), InvalidArgumentError);
      for (const value of WRONG as Anything[])
        assert.throws(() => allocator.allocate(2, value), InvalidArgumentError, shown(value));
      assert.throws(() => allocator.allocate(2, UNCONSTRAINED, 1.5), InvalidArgumentError);
      assert.equal(allocator.allocate(2, UNCONSTRAINED, 50), 50, "no lock is held");
    });

    test(`cache ${cache}, ${invalidate}: a table refuses values of another type and changes nothing`, () => {
      const table = IommuTable.create(window, new ModelOps(64), { threads: 2, cache, invalidate });
      const live = table.allocate(2);
      table.commit(live, 2);
      const pending = table.allocate(2);
      const calls: Calls = {
        "allocate(count)": (value) => table.allocate(value),
        "allocate(after)": (value) => table.allocate(2, UNCONSTRAINED, value),
        "unmap(first) of any length": (value) => table.unmap(value),
        ...callsOnRange(table, ["unmap", "checkUnmap"], live, 2),
        ...callsOnRange(table, ["commit", "abandon"], pending, 2),
        "reserve(first)": (value) => table.reserve({ first: value, end: 20 }),
        "reserve(end)": (value) => table.reserve({ first: 0, end: value }),
        "reclaim(thread)": (value) => table.reclaim(value, "everything"),
        "iovaOf(entry)": (value) => iovaOf(window, value),
      };
      checkRefused(calls, () => ledgerRanges(openState(table.handle)));
      for (const value of WRONG as Anything[]) assert.throws(() => iovaOf(value, 1), InvalidArgumentError);
    });
  }
}

test("physical pages refuse values of another type and change nothing", () => {
  const pages = PhysicalPages.create({ address: 0, bytes: 2 ** 16, threads: 2 });
  const address = pages.allocate(4096);
  const calls: Calls = {
    "allocate(bytes)": (value) => pages.allocate(value),
    "allocate(alignment)": (value) => pages.allocate(4096, value),
    "free(address)": (value) => pages.free(value, 4096),
    "free(bytes)": (value) => pages.free(address, value),
    "adopt(address)": (value) => pages.adopt({ address: value, bytes: 4096 }),
    "adopt(bytes)": (value) => pages.adopt({ address, bytes: value }),
    "adopt(from)": (value) => pages.adopt({ address, bytes: 4096 }, value),
    "allocatedBy(thread)": (value) => pages.allocatedBy(value),
    "reclaim(thread)": (value) => pages.reclaim(value, "everything"),
    "create(address)": (value) => PhysicalPages.create({ address: value, bytes: 4096 }),
    "create(bytes)": (value) => PhysicalPages.create({ address: 0, bytes: value }),
  };
  checkRefused(calls, () => pages.takenPages);
  const none: Anything = null;
  assert.throws(() => pages.adopt(none), InvalidArgumentError);
});
