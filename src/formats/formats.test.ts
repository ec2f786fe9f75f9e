/** What single formats refuse, and what is their own. The conformance suite runs over all of them in formats.slow.test.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { InvalidArgumentError } from "../units/errors.ts";
import type { Access } from "../units/numbers.ts";
import { checkPageShift } from "./contract.ts";
import { encodeLdcEntries, LDC_MAP, ldcEntryPermissions, ldcMapEntry, ldcSizeCode } from "./ldc-map-entry.ts";
import { createSun4uIopte, sun4uIopte } from "./sun4u-iopte.ts";
import { sun4vAccessOf, sun4vAttributesOf, sun4vTte } from "./sun4v-tte.ts";
import { powernvTce } from "./tce.ts";

test("a page size that the format lacks is refused with the sizes it has", () => {
  assert.throws(() => checkPageShift(sun4uIopte, 12), InvalidArgumentError);
  assert.throws(() => checkPageShift(sun4uIopte, 12), /page shift of sun4u-iopte is 12; expected one of 13, 16/);
  assert.throws(() => checkPageShift(powernvTce, 35), InvalidArgumentError);
  assert.throws(() => checkPageShift(powernvTce, 11), InvalidArgumentError);
});

test("a context beyond 12 bits is refused", () => {
  assert.throws(() => createSun4uIopte({ context: 4096 }), /context of sun4u-iopte is 4096/);
  assert.throws(() => createSun4uIopte({ context: -1 }), InvalidArgumentError);
});

test("sun4u-iopte with a dummy page: the empty entry is valid, leads there, and is reported as empty; the page itself is refused", () => {
  for (const [pageShift, first, dummyPage, bytes] of [
    [13, 0x80, 0x89abe000 / 2 ** 13, [0, 0, 0x89, 0xab, 0xe0, 0x12]],
    [16, 0xa0, 0x89ab0000 / 2 ** 16, [0, 0, 0x89, 0xab, 0x00, 0x12]],
    [13, 0x80, 0x1234_89abe000 / 2 ** 13, [0x12, 0x34, 0x89, 0xab, 0xe0, 0x12]],
  ] as const) {
    const format = createSun4uIopte({ context: 7, streaming: true, dummyPage: { page: dummyPage, pageShift } });
    const empty = Uint32Array.from(format.empty);
    assert.deepEqual([...new Uint8Array(empty.buffer)], [first, 0, ...bytes]);
    const value = { page: 9, access: 3 as 0 | 1 | 2 | 3 };
    format.decode(empty, 0, pageShift, value);
    assert.deepEqual(value, { page: 0, access: 0 });
    const words = new Uint32Array(4);
    assert.deepEqual(format.pageShifts, [pageShift]);
    assert.equal(format.encode(dummyPage, 1, 3, pageShift, words), false);
    assert.equal(format.encode(dummyPage - 1, 2, 3, pageShift, words), false);
    assert.deepEqual([...words], [0, 0, 0, 0]);
    for (const page of [0, dummyPage - 1, dummyPage + 1, format.largestPage(pageShift)]) {
      assert.ok(format.encode(page, 1, 1, pageShift, words));
      format.decode(words, 0, pageShift, value);
      assert.deepEqual(value, { page, access: 1 });
    }
  }
});

test("sun4v: a weakly ordered buffer asks for relaxed order, beside what it asks for anyway", () => {
  assert.deepEqual(
    ([1, 2, 3, 5, 6, 7] as const).map((access) => sun4vAttributesOf(access)),
    [1, 3, 3, 5, 7, 7],
  );
  const words = new Uint32Array(2);
  sun4vTte.encode(1, 1, 6, 13, words);
  assert.deepEqual([...new Uint8Array(words.buffer)], [0, 0, 0, 0, 0, 0, 0x20, 0x07]);
  assert.deepEqual(
    [0, 1, 2, 3, 4, 7].map((attributes) => sun4vAccessOf(attributes)),
    [0, 1, 2, 3, 0, 3],
  );
});

test("LDC: each kind of mapping has its own bits, and a kind without a use, or a use without a kind, has none", () => {
  const { shadow, direct, io, read, write, execute, all } = LDC_MAP;
  assert.equal(shadow | direct | io | read | write | execute, all);
  const expected: readonly (readonly [number, number])[] = [
    [shadow | read, 0x200],
    [shadow | write, 0x400],
    [io | read, 0x80],
    [io | write, 0x100],
    [direct | read, 0x10],
    [direct | write, 0x20],
    [direct | execute, 0x40],
    [shadow | execute, 0],
    [shadow | direct | io, 0],
    [read | write | execute, 0],
    [all, 0x7f0],
  ];
  for (const [map, bits] of expected) assert.equal(ldcEntryPermissions(map), bits, `map ${map}`);
  const words = new Uint32Array(2);
  assert.ok(encodeLdcEntries(1, 1, ldcEntryPermissions(all), 13, words));
  assert.deepEqual([...new Uint8Array(words.buffer)], [0, 0, 0, 0, 0, 0, 0x27, 0xf0]);
  const value = { page: 1, access: 3 as 0 | Access };
  encodeLdcEntries(5, 1, ldcEntryPermissions(direct | read), 13, words);
  ldcMapEntry.decode(words, 0, 13, value);
  assert.deepEqual(value, { page: 0, access: 0 });
});

test("LDC: page sizes have the codes 0 to 5; others are refused", () => {
  assert.deepEqual([13, 16, 19, 22, 25, 28, 31, 34].map(ldcSizeCode), [0, 1, 2, 3, 4, 5, 6, 7]);
  assert.throws(
    () => ldcSizeCode(14),
    /page shift of ldc-map-entry is 14; expected one of 13, 16, 19, 22, 25, 28, 31, 34/,
  );
});

test("a dummy page of another size, or where no entry can lead, is refused", () => {
  const refused = (page: number, pageShift: number, message: RegExp): void => {
    assert.throws(() => createSun4uIopte({ dummyPage: { page, pageShift } }), message);
  };
  refused(1, 12, /page shift of the dummy page is 12; expected 13 or 16/);
  refused(2 ** 34, 13, /dummy page is 17179869184/);
  refused(-1, 13, /dummy page is -1/);
  refused(0.5, 16, /dummy page is 0.5/);
});
