/** Every format under the conformance suite. A later format adds its line here. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type FormatOracle, formatConformance } from "../testing/format-conformance.ts";
import { InvariantError } from "../units/errors.ts";
import type { Access } from "../units/numbers.ts";
import type { EntryFormat } from "./contract.ts";
import { ldcMapEntry } from "./ldc-map-entry.ts";
import { pseriesTce } from "./pseries-tce.ts";
import { createSun4uIopte, sun4uIopte } from "./sun4u-iopte.ts";
import { sun4vTte } from "./sun4v-tte.ts";
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
