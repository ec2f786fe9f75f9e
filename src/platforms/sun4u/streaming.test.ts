/** The streaming cache from a driver's and a device's side: what a flush that is forgotten does, and contexts, which never leak. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { UNCONSTRAINED } from "../../allocator/constraints.ts";
import { DmaDevice } from "../../dma/device.ts";
import { ScatterList } from "../../dma/scatter-list.ts";
import type { Registers } from "../../machine/contract.ts";
import { WideRegisters } from "../../machine/wide-registers.ts";
import { readLayout } from "../../machines/software/layout.ts";
import { SoftwareMachine } from "../../machines/software/machine.ts";
import { DmaInFlight } from "../../machines/software/threads.ts";
import { lock, tagOf } from "../../shared/lock.ts";
import { wordsOf } from "../../shared/memory.ts";
import type { EntryValue } from "../../table/contract.ts";
import { iovaOf, type TableOptions } from "../../table/iommu-table.ts";
import type { Access } from "../../units/numbers.ts";
import { CONTEXTS, StreamingContexts } from "./contexts.ts";
import { Sun4uPlatform } from "./platform.ts";

const PAGE = 8192;
// By their numbers: these tests share no constant with what they test.
const [PAGE_FLUSH, FLUSH_SYNC, CONTEXT_FLUSH, TAGS] = [0x2808, 0x2810, 0x2818, 0xb800];

/** The registers of a machine, with something in the way of writes of 64 bits. */
class WatchedRegisters extends WideRegisters {
  readonly #registers: Registers;
  readonly write64: (at: number, value: bigint) => void;

  constructor(registers: Registers, write64: (at: number, value: bigint) => void) {
    super();
    this.#registers = registers;
    this.write64 = write64;
  }
  read32(at: number): number {
    return this.#registers.read32(at);
  }
  write32(at: number, value: number): void {
    this.#registers.write32(at, value);
  }
  read64(at: number): bigint {
    return this.#registers.read64(at);
  }
}

interface Scene {
  readonly machine: SoftwareMachine;
  readonly platform: Sun4uPlatform;
  /** Registers that were written, since `written.length = 0`. */
  readonly written: number[];
}

interface SceneOptions {
  readonly pageShift?: number;
  readonly table?: TableOptions;
  /** Writes to these registers get lost. */
  readonly swallows?: number[];
  /** Sees every write before the bridge does. */
  readonly onWrite?: (at: number, value: bigint) => void;
}

function scene(options: SceneOptions = {}): Scene {
  const { pageShift = 13, table, swallows = [], onWrite } = options;
  const machine = SoftwareMachine.create({ memoryBytes: 2 ** 23, iommu: "psycho", busyMilliseconds: 5 });
  const written: number[] = [];
  const { memory, registers } = machine;
  const watched = new WatchedRegisters(registers, (at, value) => {
    written.push(at);
    onWrite?.(at, value);
    if (!swallows.includes(at)) registers.write64(at, value);
  });
  const platform = Sun4uPlatform.create(
    { crew: machine.crew, memory, registers: watched, faults: () => machine.faults() },
    { pageShift, entries: 8192, streaming: true, syncMilliseconds: 20, ...(table === undefined ? {} : { table }) },
  );
  written.length = 0;
  return { machine, platform, written };
}

function map({ platform }: Scene, page: number, count = 1, access: Access = 3): number {
  const { generic } = platform;
  const entry = generic.allocate(count, UNCONSTRAINED, -1);
  assert.ok(entry >= 0);
  assert.equal(generic.set(entry, count, page, access) ?? generic.publish(), undefined);
  generic.commit(entry, count);
  return entry;
}

function iova({ platform }: Scene, entry: number, offset = 0): bigint {
  return iovaOf(platform.generic.window, entry) + BigInt(offset);
}

function byteAt({ machine }: Scene, address: number): number {
  const byte = new Uint8Array(1);
  machine.memory.read(address, byte);
  return byte[0] as number;
}

function deviceReads({ machine }: Scene, at: bigint): number {
  const byte = new Uint8Array(1);
  assert.ok(machine.device(0).dmaRead(at, byte));
  return byte[0] as number;
}

for (const pageShift of [13, 16]) {
  for (const invalidate of ["strict", "lazy"] as const) {
    test(`page shift ${pageShift}, ${invalidate}: what a device wrote is in memory when unmap returns, and not before; bytes beside it stay`, () => {
      const it = scene({ pageShift, table: { invalidate } });
      const address = 3 * 2 ** pageShift;
      const entry = map(it, 3);
      assert.ok(it.machine.device(0).dmaWrite(iova(it, entry, 70), Uint8Array.of(7, 8)));
      it.machine.memory.write(address + 69, Uint8Array.of(1));
      it.machine.memory.write(address + 72, Uint8Array.of(2));
      assert.equal(byteAt(it, address + 70), 0);
      assert.equal(it.platform.generic.unmap(entry, 1), undefined);
      assert.deepEqual(
        [69, 70, 71, 72].map((offset) => byteAt(it, address + offset)),
        [1, 7, 8, 2],
      );
    });
  }
}

test("without the flush, what the device wrote is missing in memory; it lands there later, over the page's next owner", () => {
  const it = scene({ swallows: [CONTEXT_FLUSH, PAGE_FLUSH] });
  const entry = map(it, 3);
  it.machine.device(0).dmaWrite(iova(it, entry), Uint8Array.of(7));
  it.platform.generic.unmap(entry, 1);
  assert.equal(byteAt(it, 3 * PAGE), 0);
  const other = map(it, 5, 4);
  for (let line = 0; line < 16; line++) it.machine.device(0).dmaWrite(iova(it, other, 64 * line), Uint8Array.of(1));
  assert.equal(byteAt(it, 3 * PAGE), 7);
});

test("without the flush, a device reads what memory held before the page was mapped again; with it, what it holds", () => {
  for (const [swallows, seen] of [
    [[CONTEXT_FLUSH, PAGE_FLUSH], 1],
    [[], 2],
  ] as const) {
    const it = scene({ swallows: [...swallows] });
    it.machine.memory.write(3 * PAGE, Uint8Array.of(1));
    const entry = map(it, 3, 1, 1);
    assert.equal(deviceReads(it, iova(it, entry)), 1);
    it.platform.generic.unmap(entry, 1);
    it.machine.memory.write(3 * PAGE, Uint8Array.of(2));
    assert.equal(it.platform.ops.set(entry, 1, 3, 1), undefined);
    assert.equal(deviceReads(it, iova(it, entry)), seen);
  }
});

test("a sync brings what the device wrote to memory and lets it see what the CPU writes, and the mapping stays", () => {
  const it = scene();
  const entry = map(it, 3, 2);
  it.machine.device(0).dmaWrite(iova(it, entry, PAGE), Uint8Array.of(9));
  assert.equal(it.platform.generic.synchronize(entry, 2), undefined);
  assert.equal(byteAt(it, 4 * PAGE), 9);
  assert.equal(deviceReads(it, iova(it, entry, PAGE)), 9);
  it.machine.memory.write(4 * PAGE, Uint8Array.of(10));
  assert.equal(deviceReads(it, iova(it, entry, PAGE)), 9);
  it.platform.generic.synchronize(entry, 2);
  assert.equal(deviceReads(it, iova(it, entry, PAGE)), 10);
});

test("a mapping of many sets is flushed by one write of its context; only what devices may write is waited for", () => {
  const it = scene();
  const { generic } = it.platform;
  for (const access of [1, 2, 3] as const) {
    const entry = generic.allocate(40);
    for (let i = 0; i < 40; i++) assert.equal(generic.set(entry + i, 1, 100 + 2 * i, access), undefined);
    generic.publish();
    generic.commit(entry, 40);
    assert.equal(it.platform.resources.streamingContexts, 1);
    it.written.length = 0;
    assert.equal(generic.unmap(entry, 40), undefined);
    assert.equal(it.written.filter((at) => at === CONTEXT_FLUSH).length, 1);
    assert.equal(it.written.filter((at) => at === PAGE_FLUSH).length, 0);
    assert.equal(it.written.filter((at) => at === FLUSH_SYNC).length, access === 1 ? 0 : 1);
    assert.equal(it.platform.resources.streamingContexts, 0);
  }
});

test("coherent memory passes the cache by: both sides see each other at once, and nothing is flushed", () => {
  const it = scene();
  const { generic } = it.platform;
  const entry = generic.allocate(1);
  assert.equal(generic.setCoherent(entry, 1, 3, 3), undefined);
  generic.publish();
  generic.commit(entry, 1);
  it.machine.device(0).dmaWrite(iova(it, entry), Uint8Array.of(4));
  assert.equal(byteAt(it, 3 * PAGE), 4);
  it.machine.memory.write(3 * PAGE, Uint8Array.of(5));
  assert.equal(deviceReads(it, iova(it, entry)), 5);
  it.written.length = 0;
  generic.unmap(entry, 1);
  assert.ok(!it.written.some((at) => at === CONTEXT_FLUSH || at === PAGE_FLUSH || at === FLUSH_SYNC));
  assert.equal(it.platform.resources.streamingContexts, 0);
});

test("when all contexts are taken, mappings have none, are flushed page by page, and contexts come back", () => {
  const it = scene();
  const entries = Array.from({ length: CONTEXTS - 1 }, () => map(it, 3));
  assert.equal(it.platform.resources.streamingContexts, CONTEXTS - 1);
  for (const count of [2, 40]) {
    const entry = map(it, 5, count);
    it.machine.device(0).dmaWrite(iova(it, entry, PAGE), Uint8Array.of(count));
    it.written.length = 0;
    assert.equal(it.platform.generic.unmap(entry, count), undefined);
    assert.ok(!it.written.includes(CONTEXT_FLUSH));
    // Of many pages, those that stand in the cache's tags.
    assert.equal(it.written.filter((at) => at === PAGE_FLUSH).length, count === 2 ? 2 : 1);
    assert.equal(byteAt(it, 6 * PAGE), count);
  }
  for (const entry of entries) assert.equal(it.platform.generic.unmap(entry, 1), undefined);
  assert.equal(it.platform.resources.streamingContexts, 0);
});

test("defect 13: a set that fails, and a map that is undone after some of its sets, leave no context taken", () => {
  const it = scene();
  const { generic } = it.platform;
  const entry = generic.allocate(600);
  assert.equal(generic.set(entry, 600, it.platform.dummyAddress / PAGE - 300, 3), "platform-refused");
  assert.equal(it.platform.resources.streamingContexts, 0);
  assert.equal(generic.set(entry, 10, 3, 3), undefined);
  assert.equal(generic.set(entry + 10, 1, 2 ** 40, 3), "platform-refused");
  assert.equal(it.platform.resources.streamingContexts, 1);
  generic.abandon(entry, 600);
  assert.equal(it.platform.resources.streamingContexts, 0);
});

test("defect 13: a scatterlist that fails at any element leaves no context taken, nor does one for which there is no space", () => {
  const it = scene();
  const device = new DmaDevice(it.platform.generic);
  for (const bad of [0, 1, 7]) {
    const list = new ScatterList(8);
    for (let i = 0; i < 8; i++) list.addNumber(i === bad ? it.platform.dummyAddress : (3 + 2 * i) * PAGE, PAGE);
    assert.equal(device.mapSg(list, 3), "platform-refused");
    assert.equal(it.platform.resources.streamingContexts, 0, `element ${bad}`);
  }
  const all = it.platform.generic.allocate(8000);
  const list = new ScatterList(500);
  for (let i = 0; i < 500; i++) list.addNumber((3 + 2 * (i % 50)) * PAGE, PAGE);
  assert.equal(device.mapSg(list, 3), "table-full");
  assert.equal(it.platform.resources.streamingContexts, 0);
  assert.equal(it.platform.generic.abandon(all, 8000), undefined);
});

test("defect 13: a map whose flush fails, and an unmap whose flush fails, leave no context taken", () => {
  const it = scene();
  const { generic } = it.platform;
  const entry = map(it, 3);
  const stuck = SoftwareMachine.attach(it.machine.handle);
  const state = wordsOf(it.machine.handle.state);
  new DmaInFlight(state, readLayout(state, it.machine.handle.state.byteLength / 4), stuck.thread).begin();
  const other = generic.allocate(2);
  assert.equal(generic.set(other, 2, 5, 3), undefined);
  assert.equal(generic.publish(), "platform-busy");
  assert.equal(generic.abandon(other, 2), "platform-busy");
  assert.equal(generic.unmap(entry, 1), "platform-busy");
  assert.equal(it.platform.resources.streamingContexts, 0);
  assert.equal(generic.statistics().quarantined, 3);
  it.machine.crew.reclaim(stuck.thread, "in-flight");
  assert.equal(generic.allocator.flushIotlb(), undefined);
  assert.equal(generic.statistics().quarantined, 0);
});

test("defect 15: a thread that waits for the streaming cache holds no lock: another one maps, does DMA and unmaps meanwhile", () => {
  let meanwhile = (): void => undefined;
  const it = scene({ table: { pools: 1 }, onWrite: (at) => (at === FLUSH_SYNC ? meanwhile() : undefined) });
  const otherMachine = SoftwareMachine.attach(it.machine.handle);
  const other = { ...it, machine: otherMachine, platform: Sun4uPlatform.attach(otherMachine, it.platform.handle) };
  const entry = map(it, 3);
  it.machine.device(0).dmaWrite(iova(it, entry), Uint8Array.of(7));
  let done = 0;
  meanwhile = () => {
    const entryThere = map(other, 5);
    assert.notEqual(entryThere, entry);
    assert.ok(otherMachine.device(0).dmaWrite(iova(other, entryThere), Uint8Array.of(8)));
    assert.equal(other.platform.generic.unmap(entryThere, 1), undefined);
    assert.equal(byteAt(it, 5 * PAGE), 8);
    done++;
  };
  assert.equal(it.platform.generic.unmap(entry, 1), undefined);
  assert.equal(done, 1);
});

test("defect 15: a cache that never answers is waited for within bounds, and reported as busy; the range is not allocated until it was flushed", () => {
  const swallows = [FLUSH_SYNC];
  const it = scene({ swallows });
  const { generic } = it.platform;
  const entry = map(it, 3);
  it.machine.device(0).dmaWrite(iova(it, entry), Uint8Array.of(7));
  const began = performance.now();
  assert.equal(generic.unmap(entry, 1), "platform-busy");
  assert.ok(performance.now() - began >= 20, "it was not waited for");
  for (let i = 0; i < 3; i++) assert.equal(generic.allocator.flushIotlb(), "platform-busy");
  assert.equal(generic.statistics().quarantined, 1);
  assert.equal(byteAt(it, 3 * PAGE), 0);
  for (let got = generic.allocate(1); got >= 0; got = generic.allocate(1)) assert.notEqual(got, entry);
  swallows.length = 0;
  assert.equal(generic.allocator.flushIotlb(), undefined);
  assert.equal(byteAt(it, 3 * PAGE), 7);
  assert.equal(generic.statistics().quarantined, 0);
  assert.equal(generic.allocate(1), entry);
});

test("a flag that comes after its sync was given up is not taken for the answer to the next one", () => {
  const swallows = [FLUSH_SYNC];
  const flags: number[] = [];
  let late = false;
  const it = scene({
    swallows,
    onWrite: (at, value) => {
      if (at !== FLUSH_SYNC) return;
      flags.push(Number(value));
      if (late) it.machine.memory.store32((flags[0] as number) + 4, 1);
    },
  });
  const { generic } = it.platform;
  for (const page of [3, 5]) {
    const entry = map(it, page);
    it.machine.device(0).dmaWrite(iova(it, entry), Uint8Array.of(page));
    assert.equal(generic.unmap(entry, 1), "platform-busy");
    assert.equal(byteAt(it, page * PAGE), 0);
    late = true;
  }
  assert.notEqual(flags[0], flags[1]);
  // Both flags are in doubt: one answer is not enough.
  late = false;
  swallows.length = 0;
  flags.length = 0;
  assert.equal(generic.allocator.flushIotlb(), undefined);
  assert.equal(flags.length, 2);
  assert.deepEqual([byteAt(it, 3 * PAGE), byteAt(it, 5 * PAGE)], [3, 5]);
  // From then on one is.
  const entry = map(it, 7);
  assert.equal(generic.unmap(entry, 1), undefined);
  assert.equal(flags.length, 3);
});

test("a thread does not take the flag of a sync for its own that a dead one, whose place it has, had asked for", () => {
  const it = scene();
  const { memory, registers } = it.machine;
  const attach = (onSync: (flag: number) => boolean): Scene => {
    const watched = new WatchedRegisters(registers, (at, value) => {
      if (at !== FLUSH_SYNC || onSync(Number(value))) registers.write64(at, value);
    });
    const machine = { memory, registers: watched, faults: () => [] };
    return { ...it, platform: Sun4uPlatform.attach(machine, it.platform.handle) };
  };
  // It asks five times, of which none is answered in time, and dies with the last.
  let asked = 0;
  const dead = attach(() => {
    if (++asked === 5) throw new Error("it dies");
    return false;
  });
  for (let i = 0; i < 4; i++) assert.equal(dead.platform.generic.unmap(map(dead, 3), 1), "platform-busy");
  assert.throws(() => dead.platform.generic.unmap(map(dead, 3), 1), /it dies/);
  it.platform.generic.reclaim(dead.platform.generic.thread, "everything");
  let late = 0;
  const next = attach((flag) => {
    // Those are done just now: the flag is set, and what this thread has flushed is not in memory.
    if (late === 2) return true;
    late++;
    memory.store32(flag + 4, 1);
    return false;
  });
  assert.equal(next.platform.generic.thread, dead.platform.generic.thread);
  const entry = map(next, 3);
  it.machine.device(0).dmaWrite(iova(it, entry), Uint8Array.of(7));
  assert.equal(next.platform.generic.unmap(entry, 1), undefined);
  assert.equal(late, 2);
  assert.equal(byteAt(it, 3 * PAGE), 7);
});

for (const [pageShift, entries] of [
  [13, 8192],
  [13, 1024],
  [16, 1024],
] as const) {
  test(`what an earlier platform left in the cache is in memory when the next is made, of ${entries} entries, page shift ${pageShift}`, () => {
    const it = scene();
    // Beyond the entries of a shorter TSB.
    it.platform.generic.allocate(2000);
    const old = [map(it, 3), map(it, 5)];
    assert.ok(it.machine.device(0).dmaWrite(iova(it, old[0] as number), Uint8Array.of(7)));
    assert.equal(deviceReads(it, iova(it, old[1] as number)), 0);
    const platform = Sun4uPlatform.create(it.machine, { pageShift, entries, streaming: true });
    assert.equal(byteAt(it, 3 * PAGE), 7);
    const next = { ...it, platform };
    const pageBytes = 2 ** pageShift;
    it.machine.memory.write(3 * PAGE, Uint8Array.of(9));
    it.machine.memory.write(6 * pageBytes, Uint8Array.of(1));
    it.machine.memory.write(7 * pageBytes, Uint8Array.of(2));
    const entry = map(next, 6, 2);
    assert.deepEqual([deviceReads(next, iova(next, entry)), deviceReads(next, iova(next, entry, pageBytes))], [1, 2]);
    assert.equal(platform.generic.unmap(entry, 2), undefined);
    assert.equal(byteAt(it, 3 * PAGE), 9);
  });
}

test("a platform is not made while the cache can't bring to memory what it holds", () => {
  const it = scene();
  it.machine.device(0).dmaWrite(iova(it, map(it, 3)), Uint8Array.of(7));
  const { memory, registers } = it.machine;
  const deaf = new WatchedRegisters(registers, (at, value) => {
    if (at !== FLUSH_SYNC) registers.write64(at, value);
  });
  const machine = { memory, registers: deaf, faults: () => [] };
  const options = { entries: 1024, streaming: true, syncMilliseconds: 5 };
  assert.throws(() => Sun4uPlatform.create(machine, options), /platform-busy|the streaming cache has not brought/);
  assert.equal(byteAt(it, 3 * PAGE), 0);
});

test("invalidateAll flushes all lines of the cache, of every thread", () => {
  const it = scene();
  const entry = map(it, 3);
  it.machine.device(0).dmaWrite(iova(it, entry, 100), Uint8Array.of(7));
  const page = Number(iova(it, entry));
  assert.equal(it.machine.registers.read64(TAGS), BigInt(page) + 2n);
  assert.equal(it.platform.ops.invalidateAll(), undefined);
  assert.equal(byteAt(it, 3 * PAGE + 100), 7);
  assert.equal(it.machine.registers.read64(TAGS), 0n);
});

for (const invalidate of ["strict", "lazy"] as const) {
  test(`${invalidate}: more runs than are remembered are flushed all the same, and their contexts come back`, () => {
    const it = scene({ table: { invalidate } });
    const { generic } = it.platform;
    // Each has a context of its own; every other one may only be read.
    const entries = Array.from({ length: 140 }, (_, i) => map(it, 3 + i, 1, i % 2 === 0 ? 3 : 1));
    for (const [i, entry] of entries.entries()) {
      // The sixteen lines hold but the last ones.
      assert.equal(it.machine.device(0).dmaWrite(iova(it, entry), Uint8Array.of(i + 1)), i % 2 === 0);
    }
    assert.equal(generic.unmapAll(Int32Array.from(entries), new Int32Array(140).fill(1), 140), undefined);
    for (const i of entries.keys()) assert.equal(byteAt(it, (3 + i) * PAGE), i % 2 === 0 ? i + 1 : 0);
    assert.equal(it.platform.resources.streamingContexts, 0);
  });
}

test("a sync of more runs than are remembered brings all of them to memory", () => {
  const it = scene();
  const entries = Array.from({ length: 140 }, (_, i) => map(it, 3 + i, 1, i % 2 === 0 ? 3 : 1));
  // The first and the last.
  for (const i of [0, 2, 136, 138]) it.machine.device(0).dmaWrite(iova(it, entries[i] as number), Uint8Array.of(i + 1));
  assert.equal(it.platform.generic.synchronize(entries[0] as number, 140), undefined);
  for (const i of [0, 2, 136, 138]) assert.equal(byteAt(it, (3 + i) * PAGE), i + 1);
});

for (const invalidate of ["strict", "lazy"] as const) {
  test(`${invalidate}: an exchanged entry gives its context back, and what was written through it reaches memory`, () => {
    const it = scene({ table: { invalidate } });
    const { ops } = it.platform;
    const entry = map(it, 3);
    it.machine.device(0).dmaWrite(iova(it, entry), Uint8Array.of(7));
    const old: EntryValue = { page: 0, access: 0 };
    assert.equal(ops.exchange(entry, it.platform.dummyAddress / PAGE, 3, old), "platform-refused");
    assert.equal(it.platform.resources.streamingContexts, 1);
    assert.equal(ops.exchange(entry, 5, 3, old), undefined);
    assert.deepEqual(old, { page: 3, access: 3 });
    assert.equal(it.platform.resources.streamingContexts, 0);
    assert.equal(ops.publish(), undefined);
    assert.equal(byteAt(it, 3 * PAGE), invalidate === "lazy" ? 7 : 0);
    assert.equal(ops.invalidate(entry, entry + 1), undefined);
    assert.equal(byteAt(it, 3 * PAGE), 7);
    // The new one passes the cache by.
    it.machine.device(0).dmaWrite(iova(it, entry), Uint8Array.of(8));
    assert.equal(byteAt(it, 5 * PAGE), 8);
  });
}

test("contexts of a dead thread, held or released half-way, come back by a recount; those in the table stay", () => {
  const contexts = StreamingContexts.create();
  const dead = new StreamingContexts(contexts.buffer);
  const [half, gone, live] = [dead.take(5), dead.take(3), contexts.take(2)];
  assert.deepEqual([half, gone, live], [1, 2, 3]);
  contexts.recount(() => {
    const carried = new Uint32Array(CONTEXTS);
    carried[half] = 2;
    carried[live] = 2;
    return carried;
  });
  assert.equal(contexts.taken, 2);
  assert.equal(contexts.hold(gone, 1), false);
  contexts.release(half, 2);
  contexts.release(live, 2);
  assert.equal(contexts.taken, 0);
});

test("a recount that meets a thread in the middle makes a context shared, never lost: all are free in the end", () => {
  const contexts = StreamingContexts.create();
  const context = contexts.take(5);
  contexts.recount(() => new Uint32Array(CONTEXTS));
  assert.equal(contexts.take(3), context);
  contexts.release(context, 5);
  contexts.release(context, 3);
  assert.equal(contexts.taken, 0);
});

test("what a stray DMA wrote is never what a mapping shows: a device reads its page, and its writes land there", () => {
  const it = scene();
  const { generic } = it.platform;
  for (const coherent of [false, true]) {
    const entry = generic.allocate(2);
    // A wild device, before the entry leads anywhere: the dummy page is in the IOTLB now.
    assert.ok(it.machine.device(0).dmaWrite(iova(it, entry), Uint8Array.of(66, 66)));
    it.machine.memory.write(3 * PAGE, Uint8Array.of(1, 1));
    const set = coherent ? generic.setCoherent(entry, 2, 3, 3) : generic.set(entry, 2, 3, 3);
    assert.equal(set ?? generic.publish(), undefined);
    generic.commit(entry, 2);
    assert.equal(deviceReads(it, iova(it, entry)), 1);
    assert.ok(it.machine.device(0).dmaWrite(iova(it, entry, 1), Uint8Array.of(9)));
    assert.equal(generic.unmap(entry, 2), undefined);
    assert.equal(byteAt(it, 3 * PAGE + 1), 9);
    assert.equal(byteAt(it, it.platform.dummyAddress + 1), 66);
  }
});

test("the dummy page shows stray writes to stray reads, until it is wiped, which tells whether there was any", () => {
  const it = scene();
  const stray = it.platform.generic.window.base + 5000n * 8192n + 100n;
  assert.equal(it.platform.wipeDummyPage(), false);
  assert.ok(it.machine.device(0).dmaWrite(stray, Uint8Array.of(66)));
  assert.equal(deviceReads(it, stray + 8192n), 66);
  assert.equal(it.platform.wipeDummyPage(), true);
  assert.equal(deviceReads(it, stray + 8192n), 0);
  assert.equal(it.platform.wipeDummyPage(), false);
});

test("a thread that dies with the cache's lock makes flushes fail and DMAs fault, in bounded time, until it is forgotten", () => {
  const it = scene();
  const { machine, platform } = it;
  const entry = map(it, 3);
  const dead = SoftwareMachine.attach(machine.handle);
  const words = wordsOf(machine.handle.state);
  // The lock is the cache's first word, and the cache follows the bridge's 32 words.
  const at = readLayout(words, machine.handle.state.byteLength / 4).modelAt + 32;
  assert.equal(lock(words, at, tagOf(dead.thread)), 0);
  assert.equal(machine.device(0).dmaWrite(iova(it, entry), Uint8Array.of(1)), false);
  assert.deepEqual(
    machine.faults().map(({ reason }) => reason),
    ["streaming-cache-busy"],
  );
  assert.equal(platform.generic.unmap(entry, 1), "platform-busy");
  machine.crew.reclaim(dead.thread, "in-flight");
  assert.equal(platform.generic.allocator.flushIotlb(), undefined);
  const again = map(it, 3);
  assert.ok(machine.device(0).dmaWrite(iova(it, again), Uint8Array.of(6)));
  assert.equal(platform.generic.unmap(again, 1), undefined);
  assert.equal(byteAt(it, 3 * PAGE), 6);
});

test("what a dead thread had mapped is reclaimed with its contexts", () => {
  const it = scene();
  const otherMachine = SoftwareMachine.attach(it.machine.handle);
  const other = Sun4uPlatform.attach(otherMachine, structuredClone(it.platform.handle));
  const there = { ...it, machine: otherMachine, platform: other };
  map(there, 3, 3);
  assert.equal(it.platform.resources.streamingContexts, 1);
  it.platform.generic.reclaim(other.generic.thread, "everything");
  assert.equal(it.platform.resources.streamingContexts, 0);
});

for (const invalidate of ["strict", "lazy"] as const) {
  test(`${invalidate}: no bigint is made for a register on the way of a mapping`, () => {
    const it = scene();
    const { memory, registers } = it.machine;
    const wide: number[] = [];
    const halves: number[] = [];
    const watching: Registers = {
      read32: (at) => registers.read32(at),
      write32: (at, value) => registers.write32(at, value),
      read64: (at) => {
        wide.push(at);
        return registers.read64(at);
      },
      write64: (at, value) => {
        wide.push(at);
        registers.write64(at, value);
      },
      writeHalves64: (at, high, low) => {
        halves.push(at);
        registers.writeHalves64(at, high, low);
      },
      readHigh64: (at) => registers.readHigh64(at),
      readLow64: (at) => registers.readLow64(at),
    };
    const machine = { memory, registers: watching, faults: () => [] };
    const options = { entries: 1024, streaming: true, table: { invalidate } };
    const there = { ...it, platform: Sun4uPlatform.create(machine, options) };
    const { generic } = there.platform;
    wide.length = 0;
    for (const count of [1, 3, 100]) {
      const entry = map(there, 3, count);
      it.machine.device(0).dmaWrite(iova(there, entry), Uint8Array.of(count));
      assert.equal(generic.unmap(entry, count), undefined);
      assert.equal(generic.allocator.flushIotlb(), undefined);
      assert.equal(byteAt(it, 3 * PAGE), count);
    }
    assert.deepEqual(wide, []);
    assert.ok(halves.length > 0);
  });
}
