import assert from "node:assert/strict";
import { test } from "node:test";
import { UNCONSTRAINED } from "../allocator/constraints.ts";
import { InvalidArgumentError } from "../units/errors.ts";
import { PLATFORM_BUSY, TABLE_FULL } from "../units/failure.ts";
import { DmaDevice } from "./device.ts";
import { FaultInjectingTable, type FaultInjectionOptions } from "./fault-injection.ts";
import { ScatterList } from "./scatter-list.ts";
import { ModelTable } from "./table.model.ts";

const model = () => new ModelTable({ base: 0x10000n, pageShift: 12, entries: 64 });

/** Which of `calls` allocations fail, from 1. */
function failingAllocations(options: FaultInjectionOptions, calls: number): number[] {
  const table = new FaultInjectingTable(model(), options);
  const failing: number[] = [];
  for (let call = 1; call <= calls; call++) {
    const entry = table.allocate(1, UNCONSTRAINED, -1);
    if (entry < 0) failing.push(call);
    else table.abandon(entry, 1);
  }
  assert.equal(table.injected.allocate, failing.length);
  return failing;
}

test("a schedule makes every n-th allocation fail, at most so many times", () => {
  assert.deepEqual(failingAllocations({}, 5), []);
  assert.deepEqual(failingAllocations({ allocate: {} }, 3), [1, 2, 3]);
  assert.deepEqual(failingAllocations({ allocate: { interval: 3 } }, 10), [3, 6, 9]);
  assert.deepEqual(failingAllocations({ allocate: { interval: 2, times: 2 } }, 10), [2, 4]);
  assert.deepEqual(failingAllocations({ allocate: { times: 0 } }, 3), []);
  assert.deepEqual(failingAllocations({ set: {} }, 3), []);
});

test("a probability fails that share of the calls, the same ones for the same seed", () => {
  const options = (seed: number) => ({ allocate: { probability: 0.25 }, seed });
  const failing = failingAllocations(options(7), 4000);
  assert.ok(failing.length > 850 && failing.length < 1150, `${failing.length} of 4000`);
  assert.deepEqual(failingAllocations(options(7), 4000), failing);
  assert.notDeepEqual(failingAllocations(options(8), 4000), failing);
  assert.deepEqual(failingAllocations({ allocate: { probability: 0 } }, 100), []);
});

test("sets fail by numbers of their own, not where allocations do", () => {
  const table = new FaultInjectingTable(model(), { set: { probability: 0.5 } });
  const failingSets: number[] = [];
  for (let call = 1; call <= 100; call++) {
    const entry = table.allocate(1, UNCONSTRAINED, -1);
    if (table.set(entry, 1, 7, 1) !== undefined) failingSets.push(call);
    table.abandon(entry, 1);
  }
  assert.equal(table.injected.set, failingSets.length);
  assert.notDeepEqual(failingSets, failingAllocations({ allocate: { probability: 0.5 } }, 100));
});

test("the failure is the one that was asked for", () => {
  const busy = new FaultInjectingTable(model(), { allocate: { failure: "platform-busy" }, set: {} });
  assert.equal(busy.allocate(1, UNCONSTRAINED, -1), PLATFORM_BUSY);
  assert.equal(busy.set(0, 1, 1, 3), "platform-refused");
  assert.equal(new FaultInjectingTable(model(), { allocate: {} }).allocate(1, UNCONSTRAINED, -1), TABLE_FULL);
});

test("a device whose sets fail reports it and leaves nothing behind", () => {
  const table = model();
  const device = new DmaDevice(new FaultInjectingTable(table, { set: { interval: 2 } }));
  const first = device.map(0x5000n, 100, 1);
  assert.ok(typeof first !== "string");
  assert.equal(device.map(0x5000n, 100, 1), "platform-refused");
  assert.ok(device.mapPages(0x5000, 100, 1) >= 0);
  assert.ok(device.mapPages(0x5000, 100, 1) < 0);
  assert.equal(device.unmap(first), undefined);
  assert.equal(device.unmapPages(1, 1), undefined);
  table.assertEmptyBeside(new Set());
});

test("a device whose table fails to publish reports it and leaves nothing behind, neither of pieces nor of lists", () => {
  const table = model();
  const device = new DmaDevice(new FaultInjectingTable(table, { publish: { interval: 2 } }));
  const list = new ScatterList(3);
  for (let i = 0; i < 3; i++) list.addNumber(0x5000 + 0x2000 * i, 4096);
  const first = device.map(0x5000n, 100, 1);
  assert.ok(typeof first !== "string");
  assert.equal(device.mapSg(list, 3), "platform-busy");
  assert.equal(device.mapSg(list, 3), undefined);
  assert.equal(device.map(0x5000n, 100, 1), "platform-busy");
  assert.equal(device.unmap(first), undefined);
  assert.equal(device.unmapSg(list), undefined);
  table.assertEmptyBeside(new Set());
});

test("of a list whose one area is refused the elements are chained; with none left, the list fails and is undone", () => {
  const table = model();
  const list = new ScatterList(3);
  for (let i = 0; i < 3; i++) list.addNumber(0x5000 + 0x2000 * i, 4096);
  const once = new DmaDevice(new FaultInjectingTable(table, { allocate: { times: 1 } }));
  assert.equal(once.mapSg(list, 3), undefined);
  assert.deepEqual([table.calls.allocate, list.segments], [3, 1]);
  assert.equal(once.unmapSg(list), undefined);

  const twice = new DmaDevice(new FaultInjectingTable(table, { allocate: { interval: 2 }, set: { times: 0 } }));
  assert.equal(twice.mapSg(list, 3), undefined);
  assert.equal(twice.unmapSg(list), undefined);
  assert.equal(twice.mapSg(list, 3), "table-full");
  table.assertEmptyBeside(new Set());
});

test("a schedule outside its range is refused", () => {
  const wrong: [FaultInjectionOptions, RegExp][] = [
    [{ allocate: { interval: 0 } }, /fault interval of allocate is 0/],
    [{ set: { interval: 1.5 } }, /fault interval of set is 1.5/],
    [{ set: { probability: 1.5 } }, /fault probability of set is 1.5; expected a number from 0 to 1/],
    [{ allocate: { times: -1 } }, /fault times of allocate is -1/],
    [{ seed: -1 }, /fault injection seed is -1/],
  ];
  for (const [options, message] of wrong) {
    assert.throws(
      () => new FaultInjectingTable(model(), options),
      (error) => error instanceof InvalidArgumentError && message.test(error.message),
    );
  }
});
