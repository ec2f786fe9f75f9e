import assert from "node:assert/strict";
import { test } from "node:test";
import { InvalidArgumentError } from "../../units/errors.ts";
import { tableBytesOf, tceGeometry } from "./geometry.ts";

/** Spec section 4, as it stands there. */
function levelShift(windowShift: number, pageShift: number, levels: number): number {
  return Math.max(Math.ceil((windowShift - pageShift) / levels) + 3, 12);
}

test("levels have the size of the rule, and 55 bits of address or more are refused", () => {
  let taken = 0;
  for (const [generation, pageShifts] of [
    ["power8", [12, 16, 24, 28]],
    ["power9", [12, 16, 21, 30]],
  ] as const) {
    for (const pageShift of pageShifts) {
      for (let windowShift = pageShift; windowShift <= pageShift + 30; windowShift++) {
        for (let levels = 1; levels <= 5; levels++) {
          const shift = levelShift(windowShift, pageShift, levels);
          const shape = { pageShift, windowBytes: 1n << BigInt(windowShift), levels };
          const bits = (shift - 3) * levels + pageShift;
          if (bits >= 55) {
            const found = `${levels} of 2^${shift - 3} entries and pages of 2^${pageShift} bytes: ${bits} bits`;
            assert.throws(() => tceGeometry(shape, generation), {
              constructor: InvalidArgumentError,
              message: `levels of a TCE table is ${found}; expected fewer than 55 bits of address`,
            });
            continue;
          }
          assert.notEqual(levels, 5, "5 levels of 2^9 entries and pages of 2^12 bytes are 57 bits: none is that small");
          taken++;
          const geometry = tceGeometry(shape, generation);
          assert.equal(geometry.levelBytes, 2 ** shift);
          assert.equal(geometry.levelBits, shift - 3);
          assert.equal(geometry.entries, 2 ** (windowShift - pageShift));
          assert.ok(2 ** (geometry.levelBits * levels) >= geometry.entries);
        }
      }
    }
  }
  assert.ok(taken > 300, `${taken}`);
});

test("examples worked out by hand", () => {
  const flat = tceGeometry({ pageShift: 16, windowBytes: 2n ** 31n, levels: 1 }, "power9");
  assert.deepEqual([flat.entries, flat.levelBytes, tableBytesOf(flat)], [32768, 262144, 262144]);
  const small = tceGeometry({ pageShift: 12, windowBytes: 4096n, levels: 1 }, "power9");
  assert.deepEqual([small.entries, small.levelBytes, tableBytesOf(small)], [1, 4096, 4096]);
  // 2^20 entries in 2 levels of 1024: 1024 last levels and the first.
  const two = tceGeometry({ pageShift: 12, windowBytes: 2n ** 32n, levels: 2 }, "power9");
  assert.deepEqual([two.levelBytes, tableBytesOf(two)], [8192, 1025 * 8192]);
});

test("page sizes of the other generation, windows of no power of two, and levels out of range are refused with the numbers", () => {
  const refused = (pageShift: number, windowBytes: bigint, levels: number, message: RegExp): void => {
    assert.throws(() => tceGeometry({ pageShift, windowBytes, levels }, "power9"), message);
    assert.throws(() => tceGeometry({ pageShift, windowBytes, levels }, "power9"), InvalidArgumentError);
  };
  refused(24, 2n ** 31n, 1, /page shift of a window of power9 is 24; expected one of 12, 16, 21, 30/);
  refused(12, 3n * 4096n, 1, /size of a window in bytes is 12288n; expected a power of two/);
  refused(12, 0n, 1, /size of a window in bytes is 0/);
  refused(16, 4096n, 1, /size of a window in bytes is 4096n; expected from one page of 65536 bytes/);
  refused(12, 2n ** 43n, 1, /size of a window in bytes is 8796093022208/);
  refused(12, 2n ** 31n, 0, /levels of a TCE table is 0; expected an integer from 1 to 5/);
  refused(12, 2n ** 31n, 6, /levels of a TCE table is 6/);
  refused(12, 2n ** 31n, 5, /5 of 2\^9 entries and pages of 2\^12 bytes: 57 bits; expected fewer than 55/);
  assert.throws(() => tceGeometry({ pageShift: 21, windowBytes: 2n ** 31n, levels: 1 }, "power8"), /12, 16, 24, 28/);
});
