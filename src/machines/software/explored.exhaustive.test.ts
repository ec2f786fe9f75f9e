/**
 * The software machine's protocol, explored: DMAs, IOTLB fills and invalidations of several threads in all orders, with deaths.
 * What is judged: the bytes that the device sees, and every meeting of a device's copy with a thread's own, which must be ordered.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertSound, reclaimDead } from "../../../explorer/assertions.model.ts";
import { type Exploration, explore, formatReport } from "../../../explorer/explore.ts";
import { exploredCopy, type Plant } from "../../../explorer/load.ts";
import type { EntryFormat } from "../../formats/contract.ts";
import { createSun4uIopte, sun4uIopte } from "../../formats/sun4u-iopte.ts";
import { powernvTce } from "../../formats/tce.ts";
import type { Fault } from "../../machine/contract.ts";
import type { LinearOps } from "../../platforms/linear/ops.ts";
import { CONTROL, ENABLE, ENTRIES, FORMAT_SHIFT, PAGE_SHIFT, WINDOW_BASE } from "../../platforms/linear/registers.ts";
import type { EntryValue } from "../../table/contract.ts";
import type { Translation } from "./iotlb.ts";
import type { SoftwareMachine } from "./machine.ts";
import { WALKED } from "./walk.ts";

type MachineModule = typeof import("./machine.ts");
type LayoutModule = typeof import("./layout.ts");
type ThreadsModule = typeof import("./threads.ts");
type MemoryModule = typeof import("../../shared/memory.ts");
type WalkModule = typeof import("./walk.ts");
type OpsModule = typeof import("../../platforms/linear/ops.ts");

interface Library {
  readonly machine: MachineModule;
  readonly ops: OpsModule;
  readonly format: EntryFormat;
  readonly walk: WalkModule;
  readonly layout: LayoutModule;
  readonly threads: ThreadsModule;
  readonly shared: MemoryModule;
  readonly pageShift: number;
  readonly formatCode: number;
}

async function libraryWith(plants: readonly Plant[], format: "tce" | "sun4u-iopte" = "tce"): Promise<Library> {
  const copy = exploredCopy(plants);
  const modules = {
    machine: await copy.load<MachineModule>("machines/software/machine.js"),
    ops: await copy.load<OpsModule>("platforms/linear/ops.js"),
    walk: await copy.load<WalkModule>("machines/software/walk.js"),
    layout: await copy.load<LayoutModule>("machines/software/layout.js"),
    threads: await copy.load<ThreadsModule>("machines/software/threads.js"),
    shared: await copy.load<MemoryModule>("shared/memory.js"),
  };
  return format === "tce"
    ? { ...modules, format: powernvTce, pageShift: 12, formatCode: 1 }
    : { ...modules, format: sun4uIopte, pageShift: 13, formatCode: 2 };
}

const sound = await libraryWith([]);
const soundIopte = await libraryWith([], "sun4u-iopte");

/** What the mapping's owner put there for the device. */
const PUBLIC = 1;
/** What the page's next owner puts there, after `invalidate` has returned. */
const SECRET = 2;
const BUSY = "busy";

/** One view for each thread. */
interface State {
  readonly pageBytes: number;
  readonly machines: readonly SoftwareMachine[];
  readonly ops: readonly LinearOps[];
}

/** Page 0 holds the table of 4 entries; entry e leads to page e + 1, which holds e + 1 four times. One way for each set. */
function setup(library: Library, threads: number, iotlbEntries: number, warm: boolean): State {
  const { pageShift, format } = library;
  const pageBytes = 1 << pageShift;
  const first = library.machine.SoftwareMachine.create({
    memoryBytes: 5 * pageBytes,
    threads,
    faultRecords: 2,
    busyMilliseconds: 10,
    iotlb: { entries: iotlbEntries, ways: 1 },
  });
  const machines = [first];
  while (machines.length < threads) machines.push(library.machine.SoftwareMachine.attach(first.handle));
  const { registers } = first;
  registers.write64(WINDOW_BASE, 0n);
  registers.write32(ENTRIES, 4);
  registers.write32(PAGE_SHIFT, pageShift);
  registers.write32(CONTROL, ENABLE | (library.formatCode << FORMAT_SHIFT));
  const ops = machines.map(
    ({ memory, registers }) =>
      new library.ops.LinearOps({ memory, registers, format, pageShift, entries: 4, tableAddress: 0 }),
  );
  for (let entry = 0; entry < 4; entry++) {
    first.memory.write((entry + 1) * pageBytes, new Uint8Array(4).fill(entry + 1));
    ops[0]?.set(entry, 1, entry + 1, 3);
  }
  ops[0]?.publish();
  const state = { machines, ops, pageBytes };
  if (warm) read(state, 0, 0);
  return state;
}

/** The byte that a thread's device reads by an entry, 0 when it is refused, -1 when the bytes are not of one owner. */
function read({ machines, pageBytes }: State, thread: number, entry: number): number {
  const bytes = new Uint8Array(4);
  if (!machines[thread]?.device(0).dmaRead(BigInt(entry * pageBytes), bytes)) return 0;
  return bytes.every((byte) => byte === bytes[0]) ? (bytes[0] as number) : -1;
}

const reading =
  (thread: number, ...entries: number[]) =>
  (state: State): number[] =>
    entries.map((entry) => read(state, thread, entry));

/** Takes entry 0 from the device, and gives its page to the next owner. */
const unmapping =
  (thread: number) =>
  ({ machines, ops, pageBytes }: State): string => {
    ops[thread]?.clear(0, 1);
    if (ops[thread]?.invalidate(0, 1) !== undefined) return BUSY;
    machines[thread]?.memory.write(pageBytes, new Uint8Array(4).fill(SECRET));
    return "unmapped";
  };

/** The same, and then entry 0 leads to page 2, which the device may see. */
const remapping = (thread: number) => (state: State) => {
  const answer = unmapping(thread)(state);
  state.ops[thread]?.set(0, 1, 3, 3);
  state.ops[thread]?.publish();
  return answer;
};
const REMAPPED = 3;

/** The same, but swapped in one step. */
const exchanging =
  (thread: number) =>
  ({ machines, ops, pageBytes }: State): string => {
    const old: EntryValue = { page: 0, access: 0 };
    ops[thread]?.exchange(0, 3, 3, old);
    if (old.page !== 1 || ops[thread]?.invalidate(0, 1) !== undefined) return BUSY;
    machines[thread]?.memory.write(pageBytes, new Uint8Array(4).fill(SECRET));
    return "exchanged";
  };

function check(state: State, ends: readonly { readonly value?: unknown }[]): void {
  for (const { value } of ends) {
    if (!Array.isArray(value)) continue;
    for (const byte of value) assert.ok(byte === PUBLIC || byte === 0, `the device read ${byte}`);
  }
  if (ends[0]?.value !== "unmapped") return;
  assert.ok(!state.machines[0]?.iotlbEntries().includes(0), "the IOTLB knows an entry that was invalidated");
  assert.equal(read(state, 0, 0), 0, "the device reads freed memory afterwards");
  assert.equal(state.ops[0]?.invalidate(0, 4), undefined, "something is left in flight");
}

function exploration(library: Library, devices: number, reads: readonly number[], warm: boolean): Exploration<State> {
  return {
    setup: () => setup(library, devices + 2, 1, warm),
    threads: [unmapping(0), ...Array.from({ length: devices }, (_, i) => reading(i + 1, ...reads))],
    check: (state, { threads }) => check(state, threads),
    skipSeen: true,
  };
}

test("one device, one invalidation: no schedule lets the device see freed memory", (t) => {
  for (const warm of [false, true]) {
    assertSound(t, `1 DMA, IOTLB ${warm ? "warm" : "cold"}`, exploration(sound, 1, [0], warm));
    assertSound(t, `2 DMAs, IOTLB ${warm ? "warm" : "cold"}`, exploration(sound, 1, [0, 0], warm));
  }
});

test("two devices and an invalidation: no schedule with 3 preemptions lets one see freed memory", (t) => {
  for (const warm of [false, true]) {
    const what = { ...exploration(sound, 2, [0], warm), preemptions: 3 };
    assertSound(t, `2 devices, IOTLB ${warm ? "warm" : "cold"}`, what);
  }
});

test("an entry that is given another page, or swapped for it, leads to the one or the other, in both formats", (t) => {
  for (const library of [sound, soundIopte]) {
    for (const [name, giving] of [
      ["remapped", remapping],
      ["exchanged", exchanging],
    ] as const) {
      const what: Exploration<State> = {
        ...exploration(library, 1, [0, 0], true),
        threads: [giving(0), reading(1, 0, 0)],
        check: (state, { threads }) => {
          // Swapped, the entry is never empty: a device that may use it is never refused.
          const allowed = name === "remapped" ? [PUBLIC, REMAPPED, 0] : [PUBLIC, REMAPPED];
          const bytes = threads[1]?.value as number[];
          for (const byte of bytes) assert.ok(allowed.includes(byte), `the device read ${byte}`);
          assert.equal(read(state, 0, 0), REMAPPED);
        },
        preemptions: 4,
      };
      assertSound(t, `${name}, ${library.format.name}`, what);
    }
  }
});

/** Pages of which both words of an entry differ. */
const PAGES = [0x1_2345_6000_1, 0x7_89ab_c000_2] as const;

function pagesFor({ format, pageShift }: Library): readonly number[] {
  return PAGES.map((page) => page % (format.largestPage(pageShift) + 1));
}

/** Entry 0 changes from one page to the other and back, while another thread walks it in a DMA. The answer: the page, or 0. */
function walking(library: Library, changing: (ops: LinearOps) => void): Exploration<State> {
  const { walk, shared, threads, layout, pageShift } = library;
  const pages = pagesFor(library);
  return {
    setup: () => {
      const state = setup(library, 2, 1, false);
      state.ops[0]?.set(0, 1, pages[0] as number, 3);
      return state;
    },
    threads: [
      ({ ops }) => changing(ops[0] as LinearOps),
      ({ machines }) => {
        const { handle, memory, thread } = machines[1] as SoftwareMachine;
        const words = shared.wordsOf(handle.state);
        const inFlight = new threads.DmaInFlight(words, layout.readLayout(words, handle.state.byteLength / 4), thread);
        const found: Translation = { page: 0, access: 0 };
        inFlight.begin();
        const answer = walk.walkAt(memory.regions, 0, walk.decoderOf(library.formatCode), pageShift, found);
        inFlight.end();
        return answer === WALKED ? found.page : 0;
      },
    ],
    check: (_, { threads }) => {
      const page = threads[1]?.value as number;
      assert.ok(page === 0 || pages.includes(page), `walked to page ${page}`);
    },
    skipSeen: true,
  };
}

/** By the law: nothing is set or exchanged again before it was invalidated. */
function changes(library: Library): readonly ((ops: LinearOps) => void)[] {
  const pages = pagesFor(library);
  const cleared = (ops: LinearOps): void => {
    for (const page of [pages[1], pages[0]]) {
      ops.clear(0, 1);
      ops.invalidate(0, 1);
      ops.set(0, 1, page as number, 3);
    }
  };
  const exchanged = (ops: LinearOps): void => {
    const old: EntryValue = { page: 0, access: 0 };
    for (const page of [pages[1], pages[0]]) {
      ops.exchange(0, page as number, 3, old);
      ops.invalidate(0, 1);
    }
  };
  return [cleared, exchanged];
}

test("a walk of an entry that is changed meanwhile never joins the words of two pages, in both formats", (t) => {
  for (const library of [sound, soundIopte]) {
    for (const changing of changes(library)) assertSound(t, `walk, ${library.format.name}`, walking(library, changing));
  }
});

/** The dummy page's first word is that of the first of PAGES, or of none of them. */
const DUMMY_PAGES = [pagesFor(soundIopte)[0] as number, 0x3_2100_0000].map((page) => page + 1);

/** Entry 0 begins empty, and leads to the dummy page; all else as `walking`. */
function walkingDummies(library: Library, dummyPage: number, changing: (ops: LinearOps) => void): Exploration<State> {
  const format = createSun4uIopte({ dummyPage: { page: dummyPage, pageShift: 13 } });
  const what = walking({ ...library, format }, changing);
  return {
    ...what,
    setup: () => {
      const state = what.setup();
      state.ops[0]?.clear(0, 1);
      return state;
    },
    check: (_, { threads }) => {
      const page = threads[1]?.value as number;
      assert.ok([0, dummyPage, ...pagesFor(library)].includes(page), `walked to page ${page}`);
    },
  };
}

/** As `mappedInVain`, with two entries at a time: they are made not valid another way than one. */
const twoMappedInVain =
  (library: Library) =>
  (ops: LinearOps): void => {
    const pages = pagesFor(library);
    ops.set(0, 2, pages[0] as number, 3);
    ops.clear(0, 2);
    ops.invalidate(0, 2);
    ops.set(0, 2, pages[1] as number, 3);
  };

/** Set and emptied again without an invalidation, as when a map fails; then, after one, set to another page. */
const mappedInVain =
  (library: Library) =>
  (ops: LinearOps): void => {
    const pages = pagesFor(library);
    ops.set(0, 1, pages[0] as number, 3);
    ops.clear(0, 1);
    ops.invalidate(0, 1);
    ops.set(0, 1, pages[1] as number, 3);
  };

test("where empty entries lead to a dummy page, a walk never joins words of it with those of a page", (t) => {
  for (const dummyPage of DUMMY_PAGES) {
    for (const changing of [mappedInVain(soundIopte), ...changes(soundIopte)]) {
      assertSound(t, `walk, dummy page ${dummyPage}`, walkingDummies(soundIopte, dummyPage, changing));
    }
    const two = walkingDummies(soundIopte, dummyPage, twoMappedInVain(soundIopte));
    assertSound(t, `walk, dummy page ${dummyPage}, two entries at a time`, { ...two, preemptions: 2 });
  }
});

test("each fault is taken once, by any thread, and faults that find no room are counted", (t) => {
  for (const kills of [0, 1] as const) {
    const what: Exploration<State> = {
      setup: () => setup(sound, 3, 1, false),
      threads: [
        // Three faults into a record of two: entries 4, 5 and 6 lie outside of the window.
        reading(0, 4, 5, 6),
        ({ machines }) => machines[1]?.faults(),
        ({ machines }) => machines[2]?.faults(),
      ],
      kills,
      check: ({ machines }, { threads, dead }) => {
        const taken = [threads[1]?.value, threads[2]?.value, machines[1]?.faults()].flatMap(
          (faults) => (faults as Fault[] | undefined) ?? [],
        );
        const entries = taken.map(({ iova }) => Number(iova >> 12n)).sort();
        assert.equal(new Set(entries).size, entries.length, `taken: ${entries}`);
        for (const { iova, device, access, reason } of taken) {
          assert.ok([4n, 5n, 6n].includes(iova >> 12n));
          assert.deepEqual([device, access, reason], ["device0", 1, "outside-window"]);
        }
        const lost = machines[1]?.statistics().faultsLost as number;
        if (dead.length === 0) assert.equal(entries.length + lost, 3);
        else assert.ok(entries.length + lost <= 3);
      },
      preemptions: 2,
      skipSeen: true,
    };
    assertSound(t, `faults, ${kills} deaths`, what);
  }
});

test("stale looks at the tags, as far as the memory model allows them, do no harm", (t) => {
  const what = { ...exploration(sound, 1, [0, 0], true), preemptions: 3, staleGlances: true };
  assertSound(t, "2 DMAs, stale glances", what);
});

/** Two devices whose entries share the IOTLB's only way. */
function evicting(library: Library): Exploration<State> {
  return {
    setup: () => setup(library, 2, 1, true),
    threads: [reading(0, 0, 0), reading(1, 3, 3)],
    check: (_, { threads }) => {
      assert.deepEqual(threads[0]?.value, [1, 1]);
      assert.deepEqual(threads[1]?.value, [4, 4]);
    },
    skipSeen: true,
  };
}

test("two devices that evict each other from one way never get a translation of two halves", (t) => {
  assertSound(t, "2 devices, 2 entries, 1 way", { ...evicting(sound), preemptions: 3 });
});

/** The device's thread may die; then a third one says so. */
function forgotten(library: Library, warm: boolean): Exploration<State> {
  return {
    ...exploration(library, 1, [0], warm),
    reclaim: ({ machines }, dead) => reclaimDead(machines[2]?.crew, dead),
    kills: 1,
    victims: [1],
    check: (state, { threads }) => {
      assert.equal(threads[0]?.value, "unmapped");
      check(state, threads);
      // Its way serves again.
      assert.equal(read(state, 2, 3), 4);
      assert.deepEqual(state.machines[2]?.iotlbEntries(), [3]);
    },
  };
}

test("a device's thread that dies at any access, once forgotten, holds nothing up and leaves nothing", (t) => {
  for (const warm of [false, true]) {
    const report = assertSound(t, `1 DMA, dies, forgotten, IOTLB ${warm ? "warm" : "cold"}`, {
      ...forgotten(sound, warm),
      preemptions: 2,
    });
    assert.ok(report.kills > 0);
  }
});

test("until the device's thread is declared dead, an invalidation fails as busy, in bounded time", (t) => {
  let busy = 0;
  const what: Exploration<State> = {
    ...exploration(sound, 1, [0], false),
    kills: 1,
    victims: [1],
    expectsTimeOut: () => true,
    check: (state, { threads, dead }) => {
      if (threads[0]?.value === BUSY) {
        busy++;
        assert.deepEqual(dead, [1]);
        state.machines[2]?.crew.reclaim(1, "in-flight");
        assert.equal(state.ops[2]?.invalidate(0, 1), undefined, "forgotten, it does not hold up any longer");
      } else {
        state.machines[2]?.crew.reclaim(1, "in-flight");
        check(state, threads);
      }
    },
    preemptions: 2,
  };
  assertSound(t, "1 DMA, dies, is not declared dead", what);
  assert.ok(busy > 0);
});

/** A device's DMA is refused, and freezes its partition; another thread looks for the freeze, and for its fault. */
function freezing(library: Library): Exploration<State> {
  return {
    setup: () => {
      const state = setup(library, 3, 1, false);
      state.machines[0]?.translation.freezeOnFault(0, true);
      return state;
    },
    threads: [
      reading(0, 4),
      ({ machines, ops }) => {
        const taken = machines[1]?.faults().length;
        const frozen = machines[1]?.translation.isFrozen(0);
        if (taken !== 0) return frozen ? "both" : "a fault that has frozen nothing";
        if (!frozen) return "none";
        assert.equal(ops[1]?.invalidate(0, 1), undefined);
        return machines[1]?.faults().length === 1 ? "both" : "a freeze without its fault";
      },
    ],
    check: (_, { threads }) =>
      assert.ok(["both", "none"].includes(threads[1]?.value as string), `${threads[1]?.value}`),
    skipSeen: true,
  };
}

test("a fault that is taken has frozen the partition, and a freeze's fault is there once DMAs in flight have passed", (t) => {
  assertSound(t, "a freeze and its fault", freezing(sound));
});

const DEVICE = "machines/software/device.js";
const TRANSLATION = "machines/software/translation.js";
const IOTLB = "machines/software/iotlb.js";
const THREADS = "machines/software/threads.js";

/** What a bug is looked for with. */
const SCENARIOS: Readonly<
  Record<
    "unmap" | "evict" | "death" | "walk" | "dummy" | "dummies" | "freeze",
    (library: Library, warm: boolean) => Exploration<State>
  >
> = {
  unmap: (library, warm) => exploration(library, 1, [0, 0], warm),
  evict: (library) => evicting(library),
  walk: (library, warm) => walking(library, changes(library)[warm ? 1 : 0] as (ops: LinearOps) => void),
  dummy: (library, warm) => walkingDummies(library, DUMMY_PAGES[warm ? 1 : 0] as number, mappedInVain(library)),
  dummies: (library, warm) => walkingDummies(library, DUMMY_PAGES[warm ? 1 : 0] as number, twoMappedInVain(library)),
  death: (library, warm) => forgotten(library, warm),
  freeze: (library) => freezing(library),
};

const PLANTS: readonly (Plant & { readonly bug: string; readonly scenario: keyof typeof SCENARIOS })[] = [
  {
    bug: "a DMA ends before its fault is recorded",
    scenario: "freeze",
    module: DEVICE,
    from: "this.#freezeAfterFault(partition);\n",
    to: "this.#freezeAfterFault(partition); this.#paths.inFlight.end(); this.#paths.inFlight.begin();",
  },
  {
    bug: "a fault is recorded before its partition is frozen",
    scenario: "freeze",
    module: DEVICE,
    from: "this.#freezeAfterFault(partition);\n",
    to: "this.#paths.faults.record(this.#index, iova, access, this.#reason); this.#freezeAfterFault(partition);",
  },
  {
    bug: "the DMAs in flight are not awaited before translations are taken away",
    scenario: "unmap",
    module: TRANSLATION,
    from: "THREAD.doorbell, 0);\n        return this.#inFlight.awaitPassing();",
    to: "THREAD.doorbell, 0);\n        return PASSED;",
  },
  {
    bug: "the DMAs in flight are not awaited afterwards",
    scenario: "unmap",
    module: TRANSLATION,
    from: "before === PASSED ? this.#inFlight.awaitPassing() : before",
    to: "before",
  },
  {
    bug: "the IOTLB is not invalidated",
    scenario: "unmap",
    module: TRANSLATION,
    from: "this.#iotlb.forget(windowNumber(this.#layout, partition, window), first, end);",
    to: ";",
  },
  {
    bug: "a DMA that has ended does not wake the waiter",
    scenario: "unmap",
    module: THREADS,
    from: "notify(this.#state, this.#slotAt + THREAD.sequence, this.#layout.threads);",
    to: ";",
  },
  {
    bug: "a waiter looks at the sequence, then says that it waits",
    scenario: "unmap",
    module: THREADS,
    from: "waitWhile(this.#state, at, sequence,",
    to: "waitWhile(this.#state, at, load(this.#state, at),",
  },
  {
    bug: "a forgotten thread stays in flight",
    scenario: "death",
    module: "machines/software/machine.js",
    from: "this.#inFlight.forget(dead);",
    to: ";",
  },
  {
    bug: "a forgotten thread keeps the way that it was writing",
    scenario: "death",
    module: "machines/software/machine.js",
    from: "this.#iotlb.releaseWaysOf(dead);",
    to: ";",
  },
  {
    bug: "the DMA ends before its bytes have moved",
    scenario: "unmap",
    module: "machines/software/device.js",
    from: "const moved = frozen ? -1 : this.#move(partition, high, low, bytes, access);",
    to: "this.#paths.inFlight.end();\n        const moved = frozen ? -1 : this.#move(partition, high, low, bytes, access);\n        this.#paths.inFlight.begin();",
  },
  {
    bug: "the valid word is not read again after the other",
    scenario: "walk",
    module: "machines/software/walk.js",
    from: "if (load(memory, validAt) !== valid)",
    to: "if (false)",
  },
  {
    bug: "an entry becomes valid before its other word is there",
    scenario: "walk",
    module: "platforms/entry-memory.js",
    from: "this.#memory.storeWords(address, this.#scratch, count * ENTRY_WORDS, this.#validWord);",
    to: "this.#memory.storeWords(address, this.#scratch, count * ENTRY_WORDS, this.#otherWord);",
  },
  {
    bug: "an entry is emptied from the wrong end",
    scenario: "walk",
    module: "platforms/entry-memory.js",
    from: "const last = this.#breaks ? this.#validWord : this.#otherWord;",
    to: "const last = this.#validWord;",
  },
  {
    bug: "an exchange of both words does not empty the entry in between",
    scenario: "walk",
    module: "platforms/entry-memory.js",
    from: "if (found[valid] !== wanted[valid])",
    to: "if (false)",
  },
  {
    bug: "an entry that leads to a dummy page becomes another without a moment in which it is not valid",
    scenario: "dummy",
    module: "platforms/entry-memory.js",
    from: "this.#memory.store32(address + this.#validWord * 4, NOT_VALID);",
    to: ";",
  },
  {
    bug: "several entries that lead to a dummy page become others without a moment in which they are not valid",
    scenario: "dummies",
    module: "platforms/entry-memory.js",
    from: "this.#memory.storeWords(address, this.#broken, count * ENTRY_WORDS, this.#otherWord);",
    to: ";",
  },
  {
    bug: "several entries are made not valid from the wrong end",
    scenario: "dummies",
    module: "platforms/entry-memory.js",
    from: "this.#memory.storeWords(address, this.#broken, count * ENTRY_WORDS, this.#otherWord);",
    to: "this.#memory.storeWords(address, this.#broken, count * ENTRY_WORDS, this.#validWord);",
  },
  {
    bug: "where there are dummy pages the other word is not read again",
    scenario: "dummy",
    module: "machines/software/walk.js",
    from: "decoder.hasDummies && load(memory, otherAt) !== other",
    to: "false",
  },
  {
    bug: "the version is not looked at again after the translation",
    scenario: "evict",
    module: IOTLB,
    from: "if (load(state, way + WAY.version) !== version)",
    to: "if (false)",
  },
  {
    bug: "a way is written without taking it",
    scenario: "evict",
    module: IOTLB,
    from: "if (compareExchange(state, way + WAY.version, version, version | this.#writer) !== version)",
    to: "if (false)",
  },
];

for (const { bug, scenario, ...plant } of PLANTS) {
  test(`planted bug found: ${bug}`, async () => {
    const library = await libraryWith([plant], scenario === "dummy" || scenario === "dummies" ? "sun4u-iopte" : "tce");
    let failed = 0;
    for (const warm of [false, true]) {
      const report = explore({ ...SCENARIOS[scenario](library, warm), preemptions: 3, stopAtFailure: true });
      console.log(formatReport(`${bug}, IOTLB ${warm ? "warm" : "cold"}`, report));
      failed += Object.values(report.failures).reduce((sum, count) => sum + count);
    }
    assert.ok(failed > 0);
  });
}
