import assert from "node:assert/strict";
import { test } from "node:test";
import { createShared, wordsOf } from "../../shared/memory.ts";
import { Iotlb, REPLACEMENTS, type Replacement, type Translation } from "./iotlb.ts";
import { layoutOf, WAY } from "./layout.ts";
import type { SoftwareMachine } from "./machine.ts";
import { invalidate, readByDevice, start, tce, writeEntry } from "./set-up.model.ts";

const WINDOW = 0x80000000n;

function iovaOf(entry: number): bigint {
  return WINDOW + BigInt(entry * 4096);
}

/** A machine whose entries 0 .. 15 lead to pages 32 .. 47, each page beginning with its entry's number + 100. */
function mapped(entries: number, ways: number, replacement: Replacement, seed = 1): SoftwareMachine {
  const machine = start({ iotlb: { entries, ways, replacement, seed } });
  for (let entry = 0; entry < 16; entry++) {
    machine.memory.write((32 + entry) * 4096, Uint8Array.of(100 + entry));
    writeEntry(machine, entry, tce((32 + entry) * 4096, 1));
  }
  return machine;
}

/** The device reads one byte by each entry; which of them had to be walked. */
function walked(machine: SoftwareMachine, entries: readonly number[]): boolean[] {
  return entries.map((entry) => {
    const before = machine.statistics().walks;
    assert.deepEqual(readByDevice(machine, iovaOf(entry), 1), [100 + entry]);
    return machine.statistics().walks > before;
  });
}

function known(machine: SoftwareMachine): number[] {
  return machine.iotlbEntries().sort((a, b) => a - b);
}

test("a translation is walked once, then known", () => {
  const machine = mapped(64, 4, "round-robin");
  assert.deepEqual(walked(machine, [3, 3, 4, 3, 4]), [true, false, true, false, false]);
  assert.deepEqual(known(machine), [3, 4]);
  assert.equal(machine.statistics().hits, 3);
});

test("a known translation is used although its entry has changed, until it is invalidated", () => {
  const machine = mapped(64, 4, "round-robin");
  assert.deepEqual(readByDevice(machine, iovaOf(3), 1), [103]);
  writeEntry(machine, 3, tce(40 * 4096, 1));
  assert.deepEqual(readByDevice(machine, iovaOf(3), 1), [103], "stale");
  writeEntry(machine, 3, [0, 0, 0, 0, 0, 0, 0, 0]);
  assert.deepEqual(readByDevice(machine, iovaOf(3), 1), [103], "stale");
  invalidate(machine, 3, 1);
  assert.equal(readByDevice(machine, iovaOf(3), 1), undefined);
});

test("invalidating a range forgets exactly that range", () => {
  for (const [first, count] of [
    [5, 1],
    [4, 3],
    [0, 16],
    [2, 200],
    [250, 6],
  ] as const) {
    const machine = mapped(64, 4, "round-robin");
    walked(
      machine,
      Array.from({ length: 16 }, (_, i) => i),
    );
    invalidate(machine, first, count);
    const left = Array.from({ length: 16 }, (_, i) => i).filter((entry) => entry < first || entry >= first + count);
    assert.deepEqual(known(machine), left, `[${first}, ${first + count})`);
  }
});

test("an IOTLB of no entries walks each time, and invalidations still answer", () => {
  const machine = mapped(0, 1, "round-robin");
  assert.deepEqual(walked(machine, [3, 3]), [true, true]);
  assert.equal(invalidate(machine, 3, 1), 0);
  assert.deepEqual(known(machine), []);
});

test("direct-mapped: an entry evicts the one of its set, and no other", () => {
  const machine = mapped(4, 1, "least-recently-used");
  assert.deepEqual(walked(machine, [0, 1, 4, 1, 0, 4]), [true, true, true, false, true, true]);
  assert.deepEqual(known(machine), [1, 4]);
});

test("a set holds as many entries as it has ways", () => {
  const machine = mapped(8, 4, "round-robin");
  // Two sets: even entries share one.
  assert.deepEqual(walked(machine, [0, 2, 4, 6, 0, 2, 4, 6]), [true, true, true, true, false, false, false, false]);
});

test("round-robin evicts in the order of ways, used or not", () => {
  const machine = mapped(4, 4, "round-robin");
  walked(machine, [0, 1, 2, 3]);
  walked(machine, [0, 0, 0]);
  assert.deepEqual(walked(machine, [4]), [true]);
  assert.deepEqual(known(machine), [1, 2, 3, 4]);
  walked(machine, [5, 6, 7]);
  assert.deepEqual(known(machine), [4, 5, 6, 7]);
});

test("least-recently-used evicts the entry that was not used for longest", () => {
  const machine = mapped(4, 4, "least-recently-used");
  walked(machine, [0, 1, 2, 3, 0, 2]);
  walked(machine, [4]);
  assert.deepEqual(known(machine), [0, 2, 3, 4]);
  walked(machine, [0, 5]);
  assert.deepEqual(known(machine), [0, 2, 4, 5]);
});

test("random evicts by its seed: the same seed the same entries, other seeds others", () => {
  const evictions = (seed: number): string => {
    const machine = mapped(4, 4, "random", seed);
    walked(machine, [0, 1, 2, 3]);
    const left: number[][] = [];
    for (let entry = 4; entry < 16; entry++) {
      walked(machine, [entry]);
      const now = known(machine);
      assert.equal(now.length, 4);
      assert.ok(now.includes(entry));
      left.push(now);
    }
    return JSON.stringify(left);
  };
  assert.equal(evictions(7), evictions(7));
  const different = new Set(Array.from({ length: 20 }, (_, seed) => evictions(seed)));
  assert.ok(different.size > 10, `20 seeds gave ${different.size} histories`);
});

test("an empty way is filled before anything is evicted", () => {
  for (const replacement of REPLACEMENTS) {
    const machine = mapped(4, 4, replacement);
    walked(machine, [0, 1, 2, 3]);
    invalidate(machine, 2, 1);
    walked(machine, [9]);
    assert.deepEqual(known(machine), [0, 1, 3, 9], replacement);
  }
});

/** An IOTLB of 4 ways in one set, seen by two threads, over words of its own. */
function bare(): { readonly first: Iotlb; readonly second: Iotlb; readonly wayAt: number; readonly words: Int32Array } {
  const layout = layoutOf({
    threads: 2,
    iotlbSets: 1,
    iotlbWays: 4,
    replacement: 0,
    faultRecords: 1,
    busyMilliseconds: 1,
    devices: 1,
    memoryPages: 1,
    partitions: 1,
    windows: 1,
    model: 0,
    modelWords: 0,
  });
  const buffer = createShared(layout.words * 4);
  const state = wordsOf(buffer);
  const [first, second] = [new Iotlb(state, layout, 0), new Iotlb(state, layout, 1)];
  return { first, second, wayAt: layout.waysAt, words: new Int32Array(buffer) };
}

test("pages of 52 bits come back as they were", () => {
  const { first, second } = bare();
  const found: Translation = { page: -1, access: -1 };
  for (const page of [0, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 51 + 12345, 2 ** 52 - 1]) {
    for (const access of [1, 2, 3]) {
      assert.ok(first.fill(0, 2 ** 31 - 2, { page, access }));
      assert.ok(second.lookup(0, 2 ** 31 - 2, found));
      assert.deepEqual(found, { page, access });
    }
  }
});

test("a way that a killed thread was writing matches nothing, is not filled, and serves again once released", () => {
  const { first, second, wayAt, words } = bare();
  for (let entry = 0; entry < 4; entry++) assert.ok(first.fill(0, entry, { page: entry, access: 1 }));
  // Thread 1 died between taking the way of entry 2 and giving it back: its mark is slot + 1.
  const version = wayAt + 2 * WAY.words + WAY.version;
  words[version] = (words[version] as number) | 2;
  const found: Translation = { page: -1, access: -1 };
  assert.equal(second.lookup(0, 2, found), false);
  for (let entry = 10; entry < 20; entry++) assert.ok(first.fill(0, entry, { page: entry, access: 1 }));
  assert.equal(first.knownEntries()[2], 2, "still there, invisible");
  first.releaseWaysOf(0);
  assert.equal(first.knownEntries()[2], 2, "it is not thread 0's");
  first.releaseWaysOf(1);
  assert.equal(first.knownEntries().length, 3);
  assert.ok(first.fill(0, 30, { page: 30, access: 3 }));
  assert.ok(second.lookup(0, 30, found));
  assert.equal(first.knownEntries()[2], 30);
});

test("when others write all ways of a set, a translation is not kept", () => {
  const { first, wayAt, words } = bare();
  for (let way = 0; way < 4; way++) words[wayAt + way * WAY.words + WAY.version] = 2;
  assert.equal(first.fill(0, 1, { page: 1, access: 1 }), false);
  assert.equal(first.lookup(0, 1, { page: 0, access: 0 }), false);
});

test("the same entry of two windows is two translations, and one window can be forgotten without the other", () => {
  const { first } = bare();
  const found: Translation = { page: -1, access: -1 };
  assert.ok(first.fill(3, 7, { page: 37, access: 1 }));
  assert.ok(first.fill(4, 7, { page: 47, access: 2 }));
  assert.ok(first.lookup(3, 7, found));
  assert.deepEqual(found, { page: 37, access: 1 });
  first.forget(3, 7, 8);
  assert.equal(first.lookup(3, 7, found), false);
  assert.ok(first.lookup(4, 7, found));
  assert.deepEqual(found, { page: 47, access: 2 });
  first.forgetWindow(5);
  assert.ok(first.lookup(4, 7, found));
  first.forgetWindow(4);
  assert.equal(first.lookup(4, 7, found), false);
});
