/** Every format under the conformance suite. A later format adds its line here. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type FormatOracle, formatConformance } from "../testing/format-conformance.ts";
import { InvalidArgumentError, InvariantError } from "../units/errors.ts";
import type { Access } from "../units/numbers.ts";
import { checkPageShift, type EntryFormat } from "./contract.ts";
import { encodeLdcEntries, LDC_MAP, ldcEntryPermissions, ldcMapEntry, ldcSizeCode } from "./ldc-map-entry.ts";
import { pseriesTce } from "./pseries-tce.ts";
import { createSun4uIopte, sun4uIopte } from "./sun4u-iopte.ts";
import { sun4vAccessOf, sun4vAttributesOf, sun4vTte } from "./sun4v-tte.ts";
import { powernvTce } from "./tce.ts";

/** Spec section 4: 8 bytes, big-endian, READ 1, WRITE 2, and on powernv WRITE implies READ. */
const tceOracle: FormatOracle = {
  byteOrder: "big",
  entryBits: (page, access, pageShift) => (page << pageShift) | (access === 1 ? 1n : 3n),
  examples: [
    { pageShift: 12, page: 0x12345, access: 1, bytes: [0, 0, 0, 0, 0x12, 0x34, 0x50, 0x01] },
    { pageShift: 12, page: 0x12345, access: 2, bytes: [0, 0, 0, 0, 0x12, 0x34, 0x50, 0x03] },
    { pageShift: 12, page: 0, access: 3, bytes: [0, 0, 0, 0, 0, 0, 0, 0x03] },
    { pageShift: 12, page: 2 ** 52 - 1, access: 3, bytes: [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf0, 0x03] },
    { pageShift: 16, page: 0x1_0000_2003, access: 1, bytes: [0, 0x01, 0, 0, 0x20, 0x03, 0, 0x01] },
    { pageShift: 30, page: 5, access: 3, bytes: [0, 0, 0, 0x01, 0x40, 0, 0, 0x03] },
    { pageShift: 34, page: 3, access: 1, bytes: [0, 0, 0, 0x0c, 0, 0, 0, 0x01] },
  ],
};

/** Spec section 4: 8 bytes, big-endian, READ 1, WRITE 2, and pseries always sets READ. */
const pseriesOracle: FormatOracle = {
  byteOrder: "big",
  entryBits: (page, access, pageShift) => (page << pageShift) | 1n | (access === 1 ? 0n : 2n),
  examples: [
    { pageShift: 12, page: 0x54321, access: 1, bytes: [0, 0, 0, 0, 0x54, 0x32, 0x10, 0x01] },
    { pageShift: 12, page: 0x54321, access: 2, bytes: [0, 0, 0, 0, 0x54, 0x32, 0x10, 0x03] },
    { pageShift: 16, page: 0x2_0000_0001, access: 3, bytes: [0, 0x02, 0, 0, 0, 0x01, 0, 0x03] },
    { pageShift: 24, page: 7, access: 1, bytes: [0, 0, 0, 0, 0x07, 0, 0, 0x01] },
  ],
};

/** Spec section 3, sun4u. */
function sun4uOracle(context: bigint, streaming: bigint): FormatOracle {
  return {
    byteOrder: "big",
    entryBits: (page, access, pageShift) =>
      (1n << 63n) |
      (pageShift === 16n ? 1n << 61n : 0n) |
      (streaming << 60n) |
      (context << 47n) |
      ((page << pageShift) & 0x00007fffffffe000n) |
      0x10n |
      (access === 1 ? 0n : 2n),
    examples: [],
  };
}

const sun4uExamples: FormatOracle = {
  ...sun4uOracle(0n, 0n),
  examples: [
    { pageShift: 13, page: 1, access: 1, bytes: [0x80, 0, 0, 0, 0, 0, 0x20, 0x10] },
    { pageShift: 13, page: 1, access: 2, bytes: [0x80, 0, 0, 0, 0, 0, 0x20, 0x12] },
    { pageShift: 13, page: 2 ** 34 - 1, access: 3, bytes: [0x80, 0, 0x7f, 0xff, 0xff, 0xff, 0xe0, 0x12] },
    { pageShift: 16, page: 0x1234, access: 1, bytes: [0xa0, 0, 0, 0, 0x12, 0x34, 0, 0x10] },
    { pageShift: 16, page: 2 ** 31 - 1, access: 3, bytes: [0xa0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0x12] },
  ],
};

const sun4uStreaming: FormatOracle = {
  ...sun4uOracle(0xabcn, 1n),
  // Context 0xabc at bit 47: 0x055e_0000_0000_0000.
  examples: [{ pageShift: 13, page: 1, access: 1, bytes: [0x95, 0x5e, 0, 0, 0, 0, 0x20, 0x10] }],
};

/** Spec section 3, sun4v: READ always, WRITE unless the device only reads. */
const sun4vOracle: FormatOracle = {
  byteOrder: "big",
  entryBits: (page, access, pageShift) => (page << pageShift) | (access === 1 ? 1n : 3n),
  examples: [
    { pageShift: 13, page: 1, access: 1, bytes: [0, 0, 0, 0, 0, 0, 0x20, 0x01] },
    { pageShift: 13, page: 1, access: 2, bytes: [0, 0, 0, 0, 0, 0, 0x20, 0x03] },
    { pageShift: 13, page: 0x1_0000_0001, access: 3, bytes: [0, 0, 0x20, 0, 0, 0, 0x20, 0x03] },
    { pageShift: 13, page: 2 ** 43 - 1, access: 3, bytes: [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xe0, 0x03] },
  ],
};

/** Spec section 3, LDC: page 0x0fffffffffffe000, COPY_W 0x400, COPY_R 0x200, size code in bits 0-3. */
const ldcOracle: FormatOracle = {
  byteOrder: "big",
  entryBits: (page, access, pageShift) =>
    (page << pageShift) |
    (access === 2 ? 0n : 0x200n) |
    (access === 1 ? 0n : 0x400n) |
    BigInt([13n, 16n, 19n, 22n, 25n, 28n, 31n, 34n].indexOf(pageShift)),
  examples: [
    { pageShift: 13, page: 1, access: 1, bytes: [0, 0, 0, 0, 0, 0, 0x22, 0x00] },
    { pageShift: 13, page: 1, access: 2, bytes: [0, 0, 0, 0, 0, 0, 0x24, 0x00] },
    { pageShift: 13, page: 2 ** 47 - 1, access: 3, bytes: [0x0f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xe6, 0x00] },
    { pageShift: 16, page: 0x1234, access: 3, bytes: [0, 0, 0, 0, 0x12, 0x34, 0x06, 0x01] },
    { pageShift: 28, page: 3, access: 1, bytes: [0, 0, 0, 0, 0x30, 0, 0x02, 0x05] },
    { pageShift: 31, page: 3, access: 2, bytes: [0, 0, 0, 1, 0x80, 0, 0x04, 0x06] },
    { pageShift: 34, page: 5, access: 3, bytes: [0, 0, 0, 0x14, 0, 0, 0x06, 0x07] },
  ],
};

const formats: readonly (readonly [string, EntryFormat, FormatOracle])[] = [
  ["", powernvTce, tceOracle],
  ["", pseriesTce, pseriesOracle],
  ["", sun4uIopte, sun4uExamples],
  [" with context and streaming", createSun4uIopte({ context: 0xabc, streaming: true }), sun4uStreaming],
  ["", sun4vTte, sun4vOracle],
  ["", ldcMapEntry, ldcOracle],
];

for (const [variant, format, oracle] of formats) {
  for (const { name, run } of formatConformance(format, { rounds: 2_000, ...oracle })) test(name + variant, run);
}

/** A format with one thing wrong must fail at least one case: the suite can say no. */
function broken(changes: Partial<EntryFormat>): EntryFormat {
  return { ...powernvTce, ...changes };
}

const defects: Readonly<Record<string, EntryFormat>> = {
  "little-endian entries": broken({
    encode(page, count, access, pageShift, into) {
      for (let i = 0; i < count; i++) {
        into[2 * i] = ((page + i) << pageShift) | access;
        into[2 * i + 1] = 0;
      }
      return true;
    },
  }),
  "a write that does not imply read": broken({
    encode(page, count, access, pageShift, into) {
      const taken = powernvTce.encode(page, count, access, pageShift, into);
      if (access === 2) into[1] = (into[1] as number) & ~0x01000000;
      return taken;
    },
  }),
  "pages cut to 32 bits": broken({
    encode: (page, count, access, pageShift, into) => powernvTce.encode(page >>> 0, count, access, pageShift, into),
  }),
  "pages that are not checked": broken({
    encode(page, count, access, pageShift, into) {
      return powernvTce.encode(page, count, access, pageShift, into) || powernvTce.encode(0, count, 3, pageShift, into);
    },
  }),
  "a refused page that is written": broken({
    encode(page, count, access, pageShift, into) {
      const taken = powernvTce.encode(page, count, access, pageShift, into);
      if (!taken) into[0] = 0;
      return taken;
    },
  }),
  "a run of which only the first page is checked": broken({
    encode(page, count, access, pageShift, into) {
      const taken = powernvTce.encode(page, 1, access, pageShift, into);
      powernvTce.encode(page, count, access, pageShift, into);
      return taken;
    },
  }),
  "a run that repeats its first page": broken({
    encode(page, count, access, pageShift, into) {
      let taken = true;
      for (let i = 0; i < count; i++) {
        taken &&= powernvTce.encode(page, 1, access, pageShift, into.subarray(2 * i));
      }
      return taken;
    },
  }),
  "the wrong valid word": broken({ validWord: 0 }),
  "an access that is not granted": broken({ grants: { 1: 1, 2: 2, 3: 3 } }),
  "grants that lack what was asked for": broken({ grants: { 1: 1, 2: 1 as Access, 3: 3 } }),
  "an empty entry that permits reading": broken({ empty: [0, 0x01000000] }),
  "a neighbour overwritten": broken({
    encode(page, count, access, pageShift, into) {
      const taken = powernvTce.encode(page, count, access, pageShift, into);
      into[2 * count] = 0;
      return taken;
    },
  }),
};

for (const [defect, format] of Object.entries(defects)) {
  test(`the conformance suite finds ${defect}`, () => {
    const cases = formatConformance(format, { ...tceOracle, seed: 1, rounds: 200 });
    assert.throws(() => {
      for (const { run } of cases) run();
    }, InvariantError);
  });
}

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
