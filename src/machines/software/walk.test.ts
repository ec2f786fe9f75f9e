import assert from "node:assert/strict";
import { test } from "node:test";
import { ldcMapEntry } from "../../formats/ldc-map-entry.ts";
import { sun4uIopte } from "../../formats/sun4u-iopte.ts";
import { sun4vTte } from "../../formats/sun4v-tte.ts";
import { powernvTce } from "../../formats/tce.ts";
import type { Access } from "../../units/numbers.ts";
import { STREAMED, type Translation } from "./iotlb.ts";
import { createMemory } from "./memory.ts";
import { IOPTE, invalidate, readByDevice, start, TCE, tce, writeEntry } from "./set-up.model.ts";
import { BAD_ENTRY, decoderOf, NOT_MAPPED, WALKED, walkAt } from "./walk.ts";

const SUN4V = 3;
const LDC = 4;

/** Walks eight bytes, in the order of memory: the answer, and the translation where there is one. */
function walkBytes(format: number, pageShift: number, bytes: readonly number[]): [number, number?, number?] {
  const memory = createMemory(4096);
  memory.write(8, Uint8Array.from(bytes));
  const found: Translation = { page: -1, access: -1 };
  const answer = walkAt(memory.regions, 8, decoderOf(format), pageShift, found);
  return answer === WALKED ? [answer, found.page, found.access] : [answer];
}

test("a TCE written by hand: big-endian address, READ in bit 0, WRITE in bit 1", () => {
  assert.deepEqual(walkBytes(TCE, 12, [0, 0, 0, 0, 0x12, 0x34, 0x50, 0x01]), [WALKED, 0x12345, 1]);
  assert.deepEqual(walkBytes(TCE, 12, [0, 0, 0, 0, 0x12, 0x34, 0x50, 0x03]), [WALKED, 0x12345, 3]);
  // The hardware takes each bit for itself; that WRITE implies READ is what powernv's platform writes.
  assert.deepEqual(walkBytes(TCE, 12, [0, 0, 0, 0, 0x12, 0x34, 0x50, 0x02]), [WALKED, 0x12345, 2]);
  assert.deepEqual(walkBytes(TCE, 12, [0x00, 0x0f, 0, 0, 0, 0, 0x10, 0x03]), [WALKED, 0xf_0000_0000_1, 3]);
  assert.deepEqual(walkBytes(TCE, 16, [0, 0, 0, 0x02, 0x00, 0x05, 0, 0x01]), [WALKED, 0x20005, 1]);
  assert.deepEqual(walkBytes(TCE, 34, [0, 0, 0, 0x0c, 0, 0, 0, 0x01]), [WALKED, 3, 1]);
});

test("a TCE without permissions is empty, whatever its address", () => {
  assert.deepEqual(walkBytes(TCE, 12, [0, 0, 0, 0, 0, 0, 0, 0]), [NOT_MAPPED]);
  assert.deepEqual(walkBytes(TCE, 12, [0, 0, 0, 0, 0x12, 0x34, 0x50, 0]), [NOT_MAPPED]);
});

test("a TCE with bits where none belong, or an address inside a page, is bad", () => {
  assert.deepEqual(walkBytes(TCE, 12, [0, 0, 0, 0, 0x12, 0x34, 0x50, 0x05]), [BAD_ENTRY]);
  assert.deepEqual(walkBytes(TCE, 12, [0, 0, 0, 0, 0x12, 0x34, 0x58, 0x01]), [BAD_ENTRY]);
  assert.deepEqual(walkBytes(TCE, 16, [0, 0, 0, 0, 0x12, 0x34, 0x50, 0x01]), [BAD_ENTRY]);
});

test("an IOPTE written by hand: VALID, 64K, address in bits 46 to 13, WRITE in bit 1", () => {
  assert.deepEqual(walkBytes(IOPTE, 13, [0x80, 0, 0, 0, 0, 0, 0x20, 0x10]), [WALKED, 1, 1]);
  assert.deepEqual(walkBytes(IOPTE, 13, [0x80, 0, 0, 0, 0, 0, 0x20, 0x12]), [WALKED, 1, 3]);
  assert.deepEqual(walkBytes(IOPTE, 13, [0x80, 0, 0x7f, 0xff, 0xff, 0xff, 0xe0, 0x12]), [WALKED, 2 ** 34 - 1, 3]);
  assert.deepEqual(walkBytes(IOPTE, 16, [0xa0, 0, 0, 0, 0x12, 0x34, 0, 0x10]), [WALKED, 0x1234, 1]);
  // Context 0xfff, whose lowest bit is next to the address, without and with the stream bit: neither is part of the page.
  assert.deepEqual(walkBytes(IOPTE, 13, [0x87, 0xff, 0x80, 0, 0, 0, 0x20, 0x12]), [WALKED, 1, 3]);
  assert.deepEqual(walkBytes(IOPTE, 13, [0x97, 0xff, 0x80, 0, 0, 0, 0x20, 0x12]), [WALKED, 1, 3 + STREAMED]);
});

test("an IOPTE that is not VALID is empty, and one of the other page size is bad", () => {
  assert.deepEqual(walkBytes(IOPTE, 13, [0, 0, 0, 0, 0, 0, 0, 0]), [NOT_MAPPED]);
  assert.deepEqual(walkBytes(IOPTE, 13, [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), [NOT_MAPPED]);
  assert.deepEqual(walkBytes(IOPTE, 16, [0x80, 0, 0, 0, 0x12, 0x34, 0, 0x10]), [BAD_ENTRY]);
  assert.deepEqual(walkBytes(IOPTE, 13, [0xa0, 0, 0, 0, 0x12, 0x34, 0, 0x10]), [BAD_ENTRY]);
  assert.deepEqual(walkBytes(IOPTE, 16, [0xa0, 0, 0, 0, 0x12, 0x34, 0x20, 0x10]), [BAD_ENTRY]);
});

test("a sun4v entry written by hand: address in bits 55 to 13, READ in bit 0, WRITE in bit 1, RELAXED in bit 2", () => {
  assert.deepEqual(walkBytes(SUN4V, 13, [0, 0, 0, 0, 0, 0, 0x20, 0x01]), [WALKED, 1, 1]);
  assert.deepEqual(walkBytes(SUN4V, 13, [0, 0, 0, 0, 0, 0, 0x20, 0x07]), [WALKED, 1, 3]);
  assert.deepEqual(walkBytes(SUN4V, 13, [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xe0, 0x03]), [WALKED, 2 ** 43 - 1, 3]);
  assert.deepEqual(walkBytes(SUN4V, 13, [0, 0, 0, 0, 0, 0, 0x20, 0x04]), [NOT_MAPPED]);
  assert.deepEqual(walkBytes(SUN4V, 13, [0, 0, 0, 0, 0, 0, 0x20, 0x09]), [BAD_ENTRY]);
  assert.deepEqual(walkBytes(SUN4V, 13, [0, 0, 0, 0, 0, 0, 0x30, 0x01]), [BAD_ENTRY]);
  assert.deepEqual(walkBytes(SUN4V, 13, [1, 0, 0, 0, 0, 0, 0x20, 0x01]), [BAD_ENTRY]);
});

test("an LDC entry written by hand: address in bits 59 to 13, COPY_R 0x200, COPY_W 0x400, size code; others are no copies", () => {
  assert.deepEqual(walkBytes(LDC, 13, [0, 0, 0, 0, 0, 0, 0x22, 0x00]), [WALKED, 1, 1]);
  assert.deepEqual(walkBytes(LDC, 13, [0, 0, 0, 0, 0, 0, 0x24, 0x00]), [WALKED, 1, 2]);
  assert.deepEqual(walkBytes(LDC, 13, [0x0f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xe7, 0xf0]), [WALKED, 2 ** 47 - 1, 3]);
  assert.deepEqual(walkBytes(LDC, 28, [0, 0, 0, 0, 0x30, 0, 0x02, 0x05]), [WALKED, 3, 1]);
  // Permissions of the other kinds: mapped, yet nothing for a copy.
  assert.deepEqual(walkBytes(LDC, 13, [0, 0, 0, 0, 0, 0, 0x21, 0xf0]), [WALKED, 1, 0]);
  assert.deepEqual(walkBytes(LDC, 13, [0, 0, 0, 0, 0, 0, 0x20, 0x00]), [NOT_MAPPED]);
  // The size code of the cookie and that of the entry are the same; a large page is aligned; no bits where none belong.
  assert.deepEqual(walkBytes(LDC, 16, [0, 0, 0, 0, 0, 0, 0x22, 0x00]), [BAD_ENTRY]);
  assert.deepEqual(walkBytes(LDC, 16, [0, 0, 0, 0, 0, 0, 0x22, 0x01]), [BAD_ENTRY]);
  assert.deepEqual(walkBytes(LDC, 13, [0, 0, 0, 0, 0, 0, 0x2a, 0x00]), [BAD_ENTRY]);
  assert.deepEqual(walkBytes(LDC, 13, [0x10, 0, 0, 0, 0, 0, 0x22, 0x00]), [BAD_ENTRY]);
});

test("the walk reads back what the formats write, for every page size, at both ends and in between", () => {
  const words = new Uint32Array(2);
  const found: Translation = { page: -1, access: -1 };
  const memory = createMemory(4096);
  for (const [format, code] of [
    [powernvTce, TCE],
    [sun4uIopte, IOPTE],
    [sun4vTte, SUN4V],
    [ldcMapEntry, LDC],
  ] as const) {
    assert.deepEqual([...decoderOf(code).pageShifts], [...format.pageShifts]);
    for (const pageShift of format.pageShifts) {
      const largest = format.largestPage(pageShift);
      for (const page of [0, 1, 0x12345, 2 ** 20 + 1, 2 ** 31 + 5, 2 ** 33 + 3, largest - 1, largest]) {
        if (page > largest) continue;
        for (const access of [1, 2, 3] as const satisfies readonly Access[]) {
          assert.ok(format.encode(page, 1, access, pageShift, words));
          memory.storeWords(0, words, 2, format.validWord);
          assert.equal(walkAt(memory.regions, 0, decoderOf(code), pageShift, found), WALKED);
          assert.deepEqual(found, { page, access: format.grants[access] }, `${format.name} ${pageShift} ${page}`);
        }
      }
    }
  }
});

test("a device reads through TCEs and IOPTEs that this test has encoded by itself", () => {
  for (const [format, pageShift, page3, page5] of [
    [TCE, 12, tce(0x3000, 1), tce(0x5000, 1)],
    [IOPTE, 13, [0x80, 0, 0, 0, 0, 0, 0x60, 0x10], [0x80, 0, 0, 0, 0, 0, 0xa0, 0x10]],
  ] as const) {
    const machine = start({}, { format, pageShift });
    const pageBytes = 1 << pageShift;
    machine.memory.write(4 * pageBytes - 2, Uint8Array.of(1, 2));
    machine.memory.write(5 * pageBytes, Uint8Array.of(3, 4));
    writeEntry(machine, 7, page3);
    writeEntry(machine, 8, page5);
    const at = 0x80000000n + BigInt(8 * pageBytes - 2);
    assert.deepEqual(readByDevice(machine, at, 4), [1, 2, 3, 4]);
    writeEntry(machine, 8, [0, 0, 0, 0, 0, 0, 0, 0]);
    assert.equal(invalidate(machine, 8, 1), 0);
    assert.equal(readByDevice(machine, at, 4), undefined);
    assert.deepEqual(readByDevice(machine, at, 2), [1, 2]);
  }
});
