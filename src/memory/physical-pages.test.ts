import assert from "node:assert/strict";
import { test } from "node:test";
import { POOL } from "../allocator/layout.ts";
import { openState } from "../allocator/state.ts";
import { tagOf } from "../shared/lock.ts";
import { store } from "../shared/memory.ts";
import { FormatError, FreeError, InvalidArgumentError } from "../units/errors.ts";
import { LONGER_THAN_TABLE, TABLE_FULL } from "../units/failure.ts";
import { PhysicalPages, type PhysicalPagesHandle } from "./physical-pages.ts";

const ADDRESS = 0x103000;

function pagesOf(pages: number): PhysicalPages {
  return PhysicalPages.create({ address: ADDRESS, bytes: pages * 4096, threads: 4 });
}

test("every page of the region can be had once, and comes back", () => {
  const pages = pagesOf(64);
  const addresses = Array.from({ length: 64 }, () => pages.allocate(1));
  assert.deepEqual(
    addresses.toSorted((a, b) => a - b),
    Array.from({ length: 64 }, (_, i) => ADDRESS + i * 4096),
  );
  assert.equal(pages.allocate(1), TABLE_FULL);
  for (const address of addresses) pages.free(address, 4096);
  assert.equal(pages.takenPages, 0);
  assert.equal(pages.allocate(64 * 4096), ADDRESS);
});

test("alignment is of the physical address, wherever the region begins", () => {
  const pages = pagesOf(64);
  for (const alignment of [4096, 8192, 65536]) {
    const address = pages.allocate(8192, alignment);
    assert.equal(address % alignment, 0);
    assert.ok(address >= ADDRESS && address + 8192 <= ADDRESS + 64 * 4096);
  }
  assert.throws(() => pages.allocate(4096, 3000), InvalidArgumentError);
});

test("every aligned block of an empty region can be had, whatever borders its pools have (review of 2026-11-30, defect 2)", () => {
  const pages = PhysicalPages.create({ address: 0, bytes: 100 * 2 ** 20 });
  const blocks = Array.from({ length: 6 }, () => pages.allocate(2 ** 24, 2 ** 24));
  assert.deepEqual(
    blocks.toSorted((a, b) => a - b),
    Array.from({ length: 6 }, (_, i) => i * 2 ** 24),
  );
  assert.equal(pages.allocate(2 ** 24, 2 ** 24), TABLE_FULL);
});

test("a closed view takes, frees, adopts and reclaims nothing; a second close does nothing (review of 2026-11-30, defect 7)", () => {
  const pages = pagesOf(8);
  const closing = PhysicalPages.attach(pages.handle);
  const dead = PhysicalPages.attach(pages.handle);
  const address = closing.allocate(4096);
  const theirs = dead.allocate(4096);
  closing.close();
  const next = PhysicalPages.attach(pages.handle);
  assert.equal(next.thread, closing.thread);
  closing.close();
  const calls: Readonly<Record<string, () => unknown>> = {
    allocate: () => closing.allocate(4096),
    "allocate of more than there is": () => closing.allocate(2 ** 30),
    free: () => closing.free(address, 4096),
    adopt: () => closing.adopt({ address: theirs, bytes: 4096 }),
    reclaim: () => closing.reclaim(dead.thread, "everything"),
    checkOpen: () => closing.checkOpen(),
  };
  for (const [name, call] of Object.entries(calls)) {
    assert.throws(call, { name: "IovaError", code: "view-closed" }, name);
  }
  assert.equal(pages.takenPages, 2);
  assert.ok(pages.reclaim.length === 2 && next.thread >= 0, "the next thread still has the number");
});

test("a request that is longer than the region says so, and a wrong free is refused", () => {
  const pages = pagesOf(8);
  assert.equal(pages.allocate(9 * 4096), LONGER_THAN_TABLE);
  const address = pages.allocate(2 * 4096);
  assert.throws(() => pages.free(address, 4096), FreeError);
  assert.throws(() => pages.free(address + 4096, 4096), FreeError);
  assert.throws(() => pages.free(0, 4096), FreeError);
  pages.free(address, 2 * 4096);
  assert.throws(() => pages.free(address, 2 * 4096), FreeError);
});

test("another thread's view hands out other pages, and what it held when it died comes back", () => {
  const pages = pagesOf(8);
  const other = PhysicalPages.attach(structuredClone(pages.handle));
  const mine = pages.allocate(4096);
  const theirs = other.allocate(4096);
  assert.notEqual(mine, theirs);
  pages.reclaim(other.thread, "everything");
  assert.equal(pages.takenPages, 1);
});

test("pages that are freed while a dead thread holds the lock come back once it has been reclaimed", () => {
  const pages = pagesOf(16);
  const address = pages.allocate(16 * 4096);
  const dead = PhysicalPages.attach(structuredClone(pages.handle)).thread;
  const { words, layout } = openState(pages.handle.allocator);
  // It had the lock, and a waiter has given up on it before.
  store(words, layout.poolsAt + POOL.lock, tagOf(dead) | (1 << 17));
  pages.free(address, 16 * 4096);
  pages.reclaim(dead, "in-flight");
  assert.equal(pages.allocate(16 * 4096), address);
});

test("what is adopted of a dead thread outlives its reclaim; the rest comes back", () => {
  const pages = pagesOf(8);
  const other = PhysicalPages.attach(pages.handle);
  const kept = { address: other.allocate(8192), bytes: 8192 };
  const lost = { address: other.allocate(4096), bytes: 4096 };
  assert.deepEqual(pages.allocatedBy(other.thread), [kept, lost]);
  assert.equal(pages.adopt({ ...kept, bytes: 4096 }, other.thread), false, "no range of that length");
  assert.equal(pages.adopt(kept, pages.thread), false, "not that thread's");
  assert.equal(pages.adopt(kept, other.thread), true);
  assert.equal(pages.adopt(kept, other.thread), false, "it is ours already");
  pages.reclaim(other.thread, "everything");
  assert.equal(pages.takenPages, 2);
  pages.free(kept.address, kept.bytes);
  assert.equal(pages.takenPages, 0);
});

test("what is no region or handle is refused with the numbers", () => {
  assert.throws(() => PhysicalPages.create({ address: 5, bytes: 4096 }), /address of physical pages is 5/);
  assert.throws(
    () => PhysicalPages.create({ address: 0, bytes: 0 }),
    /bytes is 0; expected a multiple of 4096 from 4096/,
  );
  assert.throws(() => PhysicalPages.attach({} as PhysicalPagesHandle), FormatError);
  const { handle } = pagesOf(8);
  assert.throws(() => PhysicalPages.attach({ ...handle, bytes: 4096 }), /has 4096 bytes; its allocator has 8 pages/);
});
