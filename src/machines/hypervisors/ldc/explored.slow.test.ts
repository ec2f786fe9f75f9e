/**
 * Pages mapped in, explored: an ldc_mapin and accesses through it, against the end of the export, in all orders, with deaths. Judged are
 * the bytes that the other end sees, every meeting of its accesses with the exporter's own, and what is left in the entry.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertSound, reclaimDead } from "../../../../explorer/assertions.model.ts";
import { type Exploration, explore } from "../../../../explorer/explore.ts";
import { exploredCopy, type Plant } from "../../../../explorer/load.ts";
import type { LdcOps } from "../../../platforms/ldc/ops.ts";
import { LDC_MAPIN, LDC_RX_QCONF, LDC_SET_MAP_TABLE, LDC_UNMAP } from "../../../platforms/ldc/services.ts";
import type { DmaWindow } from "../../../units/numbers.ts";
import type { LdcHypervisor } from "./hypervisor.ts";
import { SLOTS_PER_THREAD } from "./layout.ts";

interface Library {
  readonly hypervisor: typeof import("./hypervisor.ts");
  readonly ops: typeof import("../../../platforms/ldc/ops.ts");
  readonly state: typeof import("../../../platforms/shared-state.ts");
}

async function libraryWith(plants: readonly Plant[]): Promise<Library> {
  const copy = exploredCopy(plants);
  return {
    hypervisor: await copy.load<Library["hypervisor"]>("machines/hypervisors/ldc/hypervisor.js"),
    ops: await copy.load<Library["ops"]>("platforms/ldc/ops.js"),
    state: await copy.load<Library["state"]>("platforms/shared-state.js"),
  };
}

const sound = await libraryWith([]);
const PAGE = 8192;
const ENTRIES = 512;
/** Entry 0 leads to page 1; the map table is page 0. */
const PUBLIC = 1;
const SECRET = 2;
/** READ and WRITE, for CPUs. */
const PERMISSIONS = 0x30;
const WINDOW: DmaWindow = { base: 0n, pageShift: 13, entries: ENTRIES };

interface State {
  readonly channels: readonly LdcHypervisor[];
  readonly ops: readonly LdcOps[];
  /** Where the page is mapped in from the start, by thread 0 for all threads of its end. Else 0. */
  readonly address: bigint;
}

function setup(library: Library, threads: number, mapsIn = false): State {
  const { LdcHypervisor } = library.hypervisor;
  const options = { memoryBytes: 2 * PAGE, otherMemoryBytes: PAGE, threads, busyMilliseconds: 10, faultRecords: 1 };
  const first = LdcHypervisor.create(options);
  const channels = [first];
  while (channels.length < threads) channels.push(LdcHypervisor.attach(first.handle));
  for (const { hypercall } of first.ends) assert.equal(hypercall(LDC_RX_QCONF, BigUint64Array.of(1n, 0n, 1n)), 0);
  assert.equal(first.hypercall(LDC_SET_MAP_TABLE, BigUint64Array.of(1n, 0n, BigInt(ENTRIES))), 0);
  const state = library.state.SharedState.create();
  const ops = channels.map((machine) => new library.ops.LdcOps({ machine, window: WINDOW, tableAddress: 0, state }));
  first.memory.write(PAGE, new Uint8Array(4).fill(PUBLIC));
  ops[0]?.setWith(0, 1, 1, PERMISSIONS);
  ops[0]?.publish();
  const args = BigUint64Array.of(1n, 0n);
  if (mapsIn) assert.equal(first.ends[1].hypercall(LDC_MAPIN, args), 0);
  return { channels, ops, address: mapsIn ? (args[0] as bigint) : 0n };
}

/** Ends the export, and gives the page to its next owner. */
const ending =
  (thread: number) =>
  ({ channels, ops }: State): string => {
    ops[thread]?.clear(0, 1);
    ops[thread]?.publish();
    if (ops[thread]?.invalidate(0, 1) !== undefined) return "busy";
    channels[thread]?.memory.write(PAGE, new Uint8Array(4).fill(SECRET));
    return "ended";
  };

/** Maps the page in, reads it, gives it back. The answer: its byte, 0 when it may not. */
const importing =
  (thread: number) =>
  (state: State): number => {
    const end = (state.channels[thread] as LdcHypervisor).ends[1];
    const args = BigUint64Array.of(1n, 0n);
    if (end.hypercall(LDC_MAPIN, args) !== 0) return 0;
    const address = args[0] as bigint;
    const read = reading(thread)({ ...state, address });
    end.hypercall(LDC_UNMAP, BigUint64Array.of(address));
    return read;
  };

/** Reads the page where it is mapped in. The answer: its byte, 0 when it may not. */
const reading =
  (thread: number) =>
  ({ channels, address }: State): number => {
    const bytes = new Uint8Array(4);
    if (channels[thread]?.ends[1].readMappedIn(Number(address), bytes) !== true) return 0;
    return bytes.every((byte) => byte === bytes[0]) ? (bytes[0] as number) : -1;
  };

/** Unmaps the mapped-in page, which other threads of its end may use. */
const givingBack =
  (thread: number) =>
  ({ channels, address }: State): string =>
    `status ${channels[thread]?.ends[1].hypercall(LDC_UNMAP, BigUint64Array.of(address))}`;

function entryOf({ channels }: State): number[] {
  const bytes = new Uint8Array(16);
  channels[0]?.memory.read(0, bytes);
  return [...bytes];
}

function check(state: State, ends: readonly { readonly value?: unknown }[]): void {
  for (const { value } of ends) {
    if (typeof value === "number") assert.ok(value === 0 || value === PUBLIC, `the other end read ${value}`);
  }
  if (ends[0]?.value !== "ended") return;
  assert.deepEqual(entryOf(state), new Array(16).fill(0), "something is left in the entry");
  assert.equal(importing(0)(state), 0, "the page can still be mapped in");
}

function exploration(library: Library, importers: number): Exploration<State> {
  return {
    setup: () => setup(library, importers + 2),
    threads: [ending(0), ...Array.from({ length: importers }, (_, i) => importing(i + 1))],
    check: (state, { threads }) => check(state, threads),
    skipSeen: true,
  };
}

test("one importer: no schedule lets it read a page whose export has ended", (t) => {
  assertSound(t, "1 importer", { ...exploration(sound, 1), preemptions: 6 });
});

test("two importers: neither reads a page whose export has ended, and it is mapped in by one at a time", (t) => {
  assertSound(t, "2 importers", { ...exploration(sound, 2), preemptions: 3 });
});

test("an importer that dies anywhere holds the end of the export up until it is forgotten, and no longer", (t) => {
  const what: Exploration<State> = {
    ...exploration(sound, 1),
    preemptions: 2,
    kills: 1,
    victims: [1],
    reclaim: (state, dead, self) => {
      reclaimDead(
        state.channels[self]?.crew,
        dead.map((thread) => state.channels[thread]?.thread as number),
      );
    },
    // Before the dead is forgotten, its access may be one that goes on for ever.
    expectsTimeOut: () => true,
    check: (state, { threads, dead }) => {
      check(state, threads.slice(0, 2));
      if (dead.length === 0 || threads[0]?.value !== "busy") return;
      assert.equal(ending(0)(state), "ended");
      check(state, [{ value: "ended" }]);
    },
  };
  const report = assertSound(t, "1 importer, 1 death", what);
  assert.ok(report.kills > 0);
});

/** A page that one thread of the importing end reads, another gives back, while its export ends. */
function sharing(library: Library): Exploration<State> {
  return {
    setup: () => setup(library, 4, true),
    threads: [ending(0), reading(1), givingBack(2)],
    check: (state, { threads }) => check(state, threads),
    skipSeen: true,
    preemptions: 3,
  };
}

/** All slots of thread 0's can be had: each for a page of its own. */
function checkSlotsFree({ channels, ops }: State): void {
  for (let entry = 1; entry <= SLOTS_PER_THREAD; entry++) {
    ops[0]?.setWith(entry, 1, 1, PERMISSIONS);
    ops[0]?.publish();
    const args = BigUint64Array.of(1n, BigInt(entry * PAGE));
    assert.equal(channels[0]?.ends[1].hypercall(LDC_MAPIN, args), 0, `a slot is lost: ${entry - 1} can be had`);
  }
}

function sharingWithDeath(library: Library): Exploration<State> {
  return {
    ...sharing(library),
    preemptions: 1,
    kills: 1,
    victims: [0, 2],
    reclaim: ({ channels }, dead, self) => {
      reclaimDead(
        channels[self]?.crew,
        dead.map((thread) => channels[thread]?.thread as number),
      );
    },
    check: (state, { threads, dead }) => {
      check(state, threads.slice(0, 3));
      if (dead.length === 0) return;
      // As recovery does: the thread that takes over the ranges of the dead thread ends the export again.
      assert.equal(ending(3)(state), "ended");
      check(state, [{ value: "ended" }]);
      checkSlotsFree(state);
    },
  };
}

test("a page is given back by one thread while another reads it: no schedule lets it read on when the export has ended", (t) => {
  assertSound(t, "1 reader, 1 giving back", sharing(sound));
});

test("who dies giving a page back, or ending its export, leaves no slot that is lost", (t) => {
  const report = assertSound(t, "1 reader, 1 giving back, 1 death", sharingWithDeath(sound));
  assert.ok(report.kills > 0);
});

for (const [defect, plant, what] of [
  [
    "an ldc_unmap that does not wait for accesses",
    {
      module: "machines/hypervisors/ldc/map-in.js",
      from: "return isThere ? this.#endMapping(slot, generationIn(found)) : ENOMAP;",
      to: `this.#releaseEntry(slot, found);
           compareExchange(this.#state, this.#slotAt(slot) + SLOT.state, found, generationIn(found) + FREE);
           return isThere ? EOK : ENOMAP;`,
    },
    sharing,
  ],
  [
    "a slot is not freed if the thread that ended its mapping dies",
    { module: "machines/hypervisors/ldc/map-in.js", from: "this.#freeReleased(slot);", to: ";" },
    sharingWithDeath,
  ],
] as const) {
  test(`the exploration finds ${defect}`, async () => {
    const report = explore({ ...what(await libraryWith([plant])), stopAtFailure: true });
    assert.ok(report.first !== undefined, "no schedule failed");
  });
}

for (const [defect, plant] of [
  [
    "a revocation that does not wait for accesses",
    { module: "machines/hypervisors/ldc/map-in.js", from: "if (!this.#awaitAccesses(slot))", to: "if (slot < 0)" },
  ],
  [
    "an ldc_mapin that does not look at the entry again",
    {
      module: "machines/hypervisors/ldc/map-in.js",
      from: "highNow === high && lowNow === low",
      to: "highNow >= 0 && lowNow >= 0",
    },
  ],
] as const) {
  test(`the exploration finds ${defect}`, async () => {
    const report = explore({
      ...exploration(await libraryWith([plant]), 1),
      preemptions: 3,
      stopAtFailure: true,
    });
    assert.ok(report.first !== undefined, "no schedule failed");
  });
}
