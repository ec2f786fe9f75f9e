import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidArgumentError } from "../units/errors.ts";
import { DmaDevice } from "./device.ts";
import { digestOf } from "./mapped-list.ts";
import { ScatterList } from "./scatter-list.ts";
import { ModelTable } from "./table.model.ts";

const seed = Date.now() & 0x7fffffff;
const invalid = (message: RegExp) => (error: unknown) =>
  error instanceof InvalidArgumentError && message.test(error.message);

test("both ways to add an element write the same columns", (t) => {
  t.diagnostic(`seed ${seed}`);
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.integer({ min: 0, max: 2 ** 32 - 1 }), (address, bytes) => {
      const [wide, plain] = [new ScatterList(1), new ScatterList(1)];
      wide.add(BigInt(address), bytes);
      plain.addNumber(address, bytes);
      assert.deepEqual(plain.addresses, new BigUint64Array([BigInt(address)]));
      assert.deepEqual(plain.addresses, wide.addresses);
      assert.deepEqual(plain.bytes, wide.bytes);
      assert.deepEqual([plain.length, wide.length], [1, 1]);
    }),
    { seed, includeErrorInReport: true, numRuns: 1000 },
  );
});

test("from makes a list of any elements, with just the room for them", () => {
  const pieces = new Map([
    [0x1000n, 4096],
    [2n ** 63n, 1],
  ]);
  const elements = function* () {
    for (const [address, bytes] of pieces) yield { address, bytes };
    yield { address: 0x5000, bytes: 0 };
  };
  const list = ScatterList.from(elements());
  assert.deepEqual([list.length, list.capacity, list.segmentBytes.length], [3, 3, 3]);
  assert.deepEqual(list.addresses, new BigUint64Array([0x1000n, 2n ** 63n, 0x5000n]));
  assert.deepEqual(list.bytes, new Uint32Array([4096, 1, 0]));
  assert.equal(ScatterList.from([{ address: 0, bytes: 2 ** 20 }], 16).segmentBytes.length, 16);
  assert.throws(() => ScatterList.from([]), invalid(/capacity in elements is 0/));
  assert.throws(() => ScatterList.from([{ address: -1, bytes: 1 }]), invalid(/element address is -1/));
});

test("an element may end at the last address, and no further", () => {
  const list = new ScatterList(2);
  list.add(2n ** 64n - 4096n, 4096);
  assert.throws(
    () => list.add(2n ** 64n - 4096n, 4097),
    invalid(/element end is 18446744073709551617n; expected at most 2\^64/),
  );
  assert.equal(list.length, 1);
});

test("nonsense is refused when it is added", () => {
  const list = new ScatterList(2);
  assert.throws(() => list.add(-1n, 1), invalid(/element address is -1/));
  assert.throws(() => list.add(2n ** 64n, 0), invalid(/element address is 18446744073709551616n/));
  assert.throws(() => list.add(4096 as unknown as bigint, 1), invalid(/element address is 4096; expected a bigint/));
  assert.throws(() => list.addNumber(2 ** 53, 1), invalid(/element address is 9007199254740992/));
  assert.throws(() => list.addNumber(-1, 1), invalid(/element address is -1/));
  assert.throws(() => list.addNumber(1.5, 1), invalid(/element address is 1.5/));
  for (const bytes of [-1, 1.5, 2 ** 32, Number.NaN]) {
    assert.throws(() => list.add(0n, bytes), invalid(/element length in bytes is/));
    assert.throws(() => list.addNumber(0, bytes), invalid(/element length in bytes is/));
  }
  assert.equal(list.length, 0);
});

test("a full list takes no more, and an emptied one is as new", () => {
  const list = new ScatterList(2);
  list.add(0n, 1);
  list.addNumber(0, 1);
  assert.throws(() => list.add(0n, 1), invalid(/scatterlist length is 3; expected at most 2 elements/));
  assert.throws(() => list.addNumber(0, 1), invalid(/scatterlist length is 3/));
  list.clear();
  assert.equal(list.length, 0);
  list.add(0n, 1);
});

test("capacities and lengths outside their range are refused", () => {
  assert.throws(() => new ScatterList(0), invalid(/capacity in elements is 0/));
  assert.throws(() => new ScatterList(2 ** 24 + 1), invalid(/capacity in elements is 16777217/));
  assert.throws(() => new ScatterList(4, 3), invalid(/capacity in segments is 3; expected an integer from 4/));
  const list = new ScatterList(4);
  assert.throws(() => (list.length = 5), invalid(/length in elements is 5; expected an integer from 0 to 4/));
  assert.throws(() => (list.length = -1), invalid(/length in elements is -1/));
});

test("a mapped list can't be changed through its methods", () => {
  const device = new DmaDevice(new ModelTable({ base: 0n, pageShift: 12, entries: 4 }));
  const list = new ScatterList(2);
  list.add(0x5000n, 10);
  assert.equal(device.mapSg(list, 1), undefined);
  const mapped = invalid(/scatterlist is mapped; expected one that is not mapped/);
  assert.throws(() => list.add(0n, 1), mapped);
  assert.throws(() => list.addNumber(0, 1), mapped);
  assert.throws(() => (list.length = 0), mapped);
  assert.throws(() => list.clear(), mapped);
  assert.equal(device.unmapSg(list), undefined);
  list.clear();
});

test("the digest of a list changes with every single word that changes", (t) => {
  t.diagnostic(`seed ${seed}`);
  const word = fc.integer({ min: 0, max: 2 ** 32 - 1 });
  const elements = fc.array(fc.record({ low: word, high: word, bytes: word }), { minLength: 1, maxLength: 6 });
  const change = fc.integer({ min: 1, max: 2 ** 32 - 1 });
  fc.assert(
    fc.property(elements, fc.nat(), fc.constantFrom("low", "high", "bytes"), change, (columns, at, what, by) => {
      const list = new ScatterList(columns.length);
      for (const { low, high, bytes } of columns) {
        const i = list.length++;
        list.addresses[i] = (BigInt(high) << 32n) | BigInt(low);
        list.bytes[i] = bytes;
      }
      const digest = digestOf(list);
      const i = at % columns.length;
      if (what === "bytes") list.bytes[i]! ^= by;
      else list.addresses[i]! ^= BigInt(by) << (what === "high" ? 32n : 0n);
      assert.notEqual(digestOf(list), digest);
    }),
    { seed, includeErrorInReport: true, numRuns: 2000 },
  );
});
