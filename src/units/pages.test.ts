import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { offsetInPage, pageNumber, pagesCovering, roundUp, storeAddress } from "./pages.ts";
import { HIGH_WORD, LOW_WORD } from "./words64.ts";

const seed = Date.now() & 0x7fffffff;
const shifts = fc.integer({ min: 12, max: 34 });
const addresses = fc.oneof(
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc.integer({ min: 0, max: 63 }).map((bit) => 2n ** BigInt(bit)),
  fc.integer({ min: 0, max: 64 }).map((bit) => 2n ** BigInt(bit) - 1n),
);

test("page number and offset of every address are those of bigint arithmetic", (t) => {
  t.diagnostic(`seed ${seed}`);
  fc.assert(
    fc.property(addresses, shifts, (address, shift) => {
      const words = new Uint32Array(new BigUint64Array([address]).buffer);
      const [low, high] = [words[LOW_WORD]!, words[HIGH_WORD]!];
      assert.equal(BigInt(pageNumber(high, low, shift)), address >> BigInt(shift));
      assert.equal(BigInt(offsetInPage(high, low, shift)), address & (2n ** BigInt(shift) - 1n));
    }),
    { seed, includeErrorInReport: true, numRuns: 5000 },
  );
});

test("an address that is stored by page and offset reads back whole", (t) => {
  t.diagnostic(`seed ${seed}`);
  fc.assert(
    fc.property(addresses, shifts, (address, shift) => {
      const column = new BigUint64Array([7n, 7n, 7n]);
      const offset = Number(address & (2n ** BigInt(shift) - 1n));
      storeAddress(new Uint32Array(column.buffer), 1, Number(address >> BigInt(shift)), offset, shift);
      assert.deepEqual(column, new BigUint64Array([7n, address, 7n]));
    }),
    { seed, includeErrorInReport: true, numRuns: 5000 },
  );
});

test("pages are counted from offset and length, up to the longest element on the largest page", (t) => {
  t.diagnostic(`seed ${seed}`);
  const lengths = fc.oneof(fc.integer({ min: 1, max: 2 ** 32 - 1 }), fc.constantFrom(1, 4095, 4096, 4097, 2 ** 32 - 1));
  fc.assert(
    fc.property(addresses, shifts, lengths, (address, shift, bytes) => {
      const offset = address & (2n ** BigInt(shift) - 1n);
      const pages = (offset + BigInt(bytes) - 1n) / 2n ** BigInt(shift) + 1n;
      assert.equal(BigInt(pagesCovering(Number(offset), bytes, 2 ** shift)), pages);
    }),
    { seed, includeErrorInReport: true, numRuns: 5000 },
  );
});

test("rounding up gives the least multiple that is not below", () => {
  for (const unit of [1, 2, 16, 512]) {
    for (let value = 0; value < 2000; value++) {
      const rounded = roundUp(value, unit);
      assert.ok(rounded % unit === 0 && rounded >= value && rounded - value < unit, `${value} to ${unit}: ${rounded}`);
    }
  }
});

test("the pages of nearly 2^53 bytes are counted without rounding (review of 2026-11-30, defect 12)", () => {
  const pageSize = 2 ** 34;
  assert.equal(pagesCovering(2, 2 ** 53 - 1, pageSize), 524_289);
  assert.equal(pagesCovering(1, 2 ** 53 - 1, pageSize), 524_288);
  assert.equal(pagesCovering(pageSize - 1, 2 ** 53 - 1, pageSize), 524_289);
  assert.equal(pagesCovering(1, 2 ** 53 - 1, 4096), 2 ** 41);
});
