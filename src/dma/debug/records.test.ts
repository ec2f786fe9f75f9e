import assert from "node:assert/strict";
import { test } from "node:test";
import { randomFrom } from "../../allocator/random.model.ts";
import type { Access } from "../../units/numbers.ts";
import type { MappingDescription } from "./misuse.ts";
import { NONE, Records } from "./records.ts";

const seed = Date.now() & 0x7fffffff;

function described(iova: bigint, bytes = 100, access: Access = 1): MappingDescription {
  return { kind: "single", iova, bytes, access, elements: 0, address: iova + 0x10_0000n };
}

test(`records are found and removed as in a plain list, at few addresses and full tables too (seed ${seed})`, () => {
  const random = randomFrom(seed);
  for (const capacity of [1, 2, 3, 7, 16, 61]) {
    const records = new Records(capacity);
    const live = new Map<number, MappingDescription>();
    for (let step = 0; step < 3000; step++) {
      // Few low words, few high words: hash collisions and equal addresses.
      const iova = BigInt(random(8)) * 4096n + (BigInt(random(3)) << 32n);
      const wanted = described(iova, 1 + random(3), (1 + random(3)) as Access);
      if (random(2) === 0) {
        const record = records.insert(wanted, 0);
        assert.equal(record === NONE, live.size === capacity);
        if (record !== NONE) live.set(record, wanted);
      } else {
        const record = records.find(wanted);
        const there = [...live.values()].filter((one) => one.iova === iova);
        assert.equal(record === NONE, there.length === 0);
        if (record === NONE) continue;
        const exact = there.some((one) => one.bytes === wanted.bytes && one.access === wanted.access);
        if (exact) assert.deepEqual(live.get(record), wanted);
        assert.equal(live.get(record)?.iova, iova);
        if (random(4) !== 0) {
          records.remove(record, 0);
          live.delete(record);
        }
      }
      assert.equal(records.live, live.size);
    }
    for (const [record, mapping] of live) assert.deepEqual(records.describe(record), mapping);
  }
});

test("an address is 64 bits: none above or below is taken for it", () => {
  const records = new Records(8);
  const record = records.insert(described(0xffff_ffff_ffff_f000n), 5);
  assert.equal(records.find(described(0xffff_f000n)), NONE);
  assert.equal(records.find(described(0xffff_ffff_ffff_f000n)), record);
  assert.equal(records.describe(record).iova, 0xffff_ffff_ffff_f000n);
  assert.equal(records.mappedAt(record), 5);
});

test("what was freed is remembered until all records that were free before it are used", () => {
  const records = new Records(4);
  const first = records.insert(described(0x1000n), 1);
  records.remove(first, 2);
  for (const iova of [0x2000n, 0x3000n, 0x4000n]) {
    assert.equal(records.lastFreed(described(0x1000n)), first);
    records.insert(described(iova), 1);
  }
  assert.equal(records.freedAt(first), 2);
  assert.equal(records.insert(described(0x5000n), 1), first);
  assert.equal(records.lastFreed(described(0x1000n)), NONE);
});

test("of several frees at an address the last one is told, and of live ones the oldest", () => {
  const records = new Records(4);
  for (const place of [1, 2]) records.remove(records.insert(described(0x1000n), place), place + 10);
  assert.equal(records.freedAt(records.lastFreed(described(0x1000n))), 12);
  const oldest = records.insert(described(0x9000n), 1);
  records.insert(described(0x1000n), 1);
  assert.equal(records.oldest(), oldest);
  records.remove(oldest, 1);
  assert.equal(records.describe(records.oldest()).iova, 0x1000n);
});

test("an address inside a mapping belongs to it, the one behind it does not", () => {
  const records = new Records(4);
  const record = records.insert(described(0x1000n, 100), 1);
  assert.equal(records.containing(0x1000n), record);
  assert.equal(records.containing(0x1063n), record);
  assert.equal(records.containing(0x1064n), NONE);
  assert.equal(records.containing(0xfffn), NONE);
});
