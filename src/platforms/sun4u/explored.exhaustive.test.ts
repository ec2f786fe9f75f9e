/**
 * sun4u's contexts and streaming cache, explored: threads that take, hold and release contexts; a device that writes through the cache
 * while its page is taken back; in all orders of their accesses, with a thread that dies at any of them and is recovered.
 * What is judged: no context is ever left taken, or two threads' at once without a death; what a device had written when its page
 * was taken back is in memory then, and nothing lands there afterwards; no thread waits for a dead thread without a time limit.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertFound, assertSound, reclaimDead } from "../../../explorer/assertions.model.ts";
import type { Exploration } from "../../../explorer/explore.ts";
import { exploredCopy, type Plant } from "../../../explorer/load.ts";
import type { SoftwareMachine } from "../../machines/software/machine.ts";
import type { SharedBuffer, SharedWords } from "../../shared/memory.ts";
import type { EntryValue } from "../../table/contract.ts";
import type { Sun4uOps } from "./ops.ts";

type MachineModule = typeof import("../../machines/software/machine.ts");
type ContextsModule = typeof import("./contexts.ts");
type OpsModule = typeof import("./ops.ts");
type SharedModule = typeof import("../../shared/memory.ts");

interface Library {
  readonly machine: MachineModule;
  readonly contexts: ContextsModule;
  readonly ops: OpsModule;
  readonly shared: SharedModule;
}

async function libraryWith(plants: readonly Plant[]): Promise<Library> {
  const copy = exploredCopy(plants);
  return {
    machine: await copy.load<MachineModule>("machines/software/machine.js"),
    contexts: await copy.load<ContextsModule>("platforms/sun4u/contexts.js"),
    ops: await copy.load<OpsModule>("platforms/sun4u/ops.js"),
    shared: await copy.load<SharedModule>("shared/memory.js"),
  };
}

const sound = await libraryWith([]);

// Contexts alone.

interface Contexts {
  readonly buffer: SharedBuffer;
  /** By context: who has it. */
  readonly owners: SharedWords;
  /** The entries of a table: which context each carries; 0: none. Two of each thread. */
  readonly entries: SharedWords;
}

function contextsOf({ contexts, shared }: Library): Contexts {
  return {
    buffer: contexts.StreamingContexts.create().buffer,
    owners: shared.wordsOf(shared.createShared(contexts.CONTEXTS * 4)),
    entries: shared.wordsOf(shared.createShared(2 * 2 * 4)),
  };
}

/** Takes a context for one entry, holds it for another, gives both up; `rounds` times. "shared": another thread had it meanwhile. */
const using =
  ({ contexts, shared }: Library, thread: number, rounds: number) =>
  ({ buffer, owners, entries }: Contexts): string => {
    // A view of its own: the word where it looks first is no shared memory, which the explorer could take back.
    const view = new contexts.StreamingContexts(buffer);
    let answer = "alone";
    for (let round = 0; round < rounds; round++) {
      const context = view.take(1);
      if (shared.compareExchange(owners, context, 0, thread + 1) !== 0) answer = "shared";
      shared.store(entries, 2 * thread, context);
      const held = view.hold(context, 1);
      if (held) shared.store(entries, 2 * thread + 1, context);
      shared.store(owners, context, 0);
      shared.store(entries, 2 * thread, 0);
      view.release(context, 1);
      if (!held) continue;
      shared.store(entries, 2 * thread + 1, 0);
      view.release(context, 1);
    }
    return answer;
  };

/** Empties the dead thread's entries, as a table's recovery does, and counts anew. */
const recovering =
  ({ contexts, shared }: Library) =>
  ({ buffer, entries }: Contexts, dead: readonly number[]): void => {
    const view = new contexts.StreamingContexts(buffer);
    for (const thread of dead.filter((number) => number < 2)) {
      for (const entry of [2 * thread, 2 * thread + 1]) {
        const context = shared.load(entries, entry);
        shared.store(entries, entry, 0);
        if (context !== 0) view.release(context, 1);
      }
    }
    view.recount(() => {
      const carried = new Uint32Array(contexts.CONTEXTS);
      for (let entry = 0; entry < 4; entry++) {
        const context = shared.load(entries, entry);
        carried[context] = (carried[context] as number) + 1;
      }
      return carried;
    });
  };

function sharing(library: Library, kills: 0 | 1 | 2, rounds: number): Exploration<Contexts> {
  return {
    setup: () => contextsOf(library),
    threads: [using(library, 0, rounds), using(library, 1, rounds)],
    reclaim: recovering(library),
    kills,
    check: ({ buffer }, { threads, dead }) => {
      for (const { value } of threads) if (dead.length === 0) assert.equal(value, "alone");
      assert.equal(new library.contexts.StreamingContexts(buffer).taken, 0, "contexts are left taken");
    },
    skipSeen: true,
    preemptions: kills === 0 ? 3 : 2,
  };
}

test("two threads that take, hold and release contexts never have the same one, and leave none taken", (t) => {
  assertSound(t, "2 threads, contexts", sharing(sound, 0, 2));
});

test("a thread that dies anywhere with a context leaves none taken once it is recovered, nor does the recovery when it dies", (t) => {
  for (const kills of [1, 2] as const) {
    const report = assertSound(t, `2 threads, contexts, ${kills} deaths`, sharing(sound, kills, 1));
    assert.ok(report.kills > 0);
  }
});

// The whole way: ops, registers, the cache's lock.

const PAGE = 8192;
/** Of the smallest TSB, of which the first entries are used. */
const BASE = 2n ** 32n - 1024n * 8192n;
const ENTRIES = 4;
const [DUMMY_PAGE, MAPPED_PAGE, OTHER_PAGE, FLAGS_PAGE] = [1, 2, 3, 4];
const THREADS = 3;
// By their numbers.
const [CONTROL, TSB_BASE, STREAMING_CONTROL] = [0x200, 0x208, 0x2800];
const [BEFORE, WRITTEN, NEXT_OWNER] = [1, 2, 3];
const BUSY = "busy";

interface Scene {
  readonly machines: readonly SoftwareMachine[];
  readonly contexts: SharedBuffer;
  /** Outstanding syncs of all threads. */
  readonly syncs: SharedWords;
  /** Words: the device's DMA has moved all; it had when its page began to be taken back. */
  readonly marks: SharedWords;
}

/** A thread's ops, made anew each time: what they remember is no shared memory. */
function opsOf(library: Library, { machines, contexts, syncs }: Scene, thread: number): Sun4uOps {
  const { memory, registers } = machines[thread] as SoftwareMachine;
  const ops = new library.ops.Sun4uOps({
    memory,
    registers,
    window: { base: BASE, pageShift: 13, entries: ENTRIES } as Sun4uOpsWindow,
    tableAddress: 0,
    dummyPage: { page: DUMMY_PAGE, pageShift: 13 },
    contexts: new library.contexts.StreamingContexts(contexts),
    lazy: false,
    syncMilliseconds: 10,
  });
  ops.streaming.useFlags(FLAGS_PAGE * PAGE + thread * 128, syncs, thread * 2);
  // Forgets the time-out of an earlier wait: a thread that is cut off and starts again must not report it.
  registers.read64(CONTROL);
  return ops;
}
type Sun4uOpsWindow = ConstructorParameters<OpsModule["Sun4uOps"]>[0]["window"];

/** Entry 0 leads to the mapped page. Every line of the cache has held something before, and holds nothing. */
function sceneOf(library: Library): Scene {
  const { machine, shared } = library;
  const first = machine.SoftwareMachine.create({
    memoryBytes: 5 * PAGE,
    iommu: "psycho",
    threads: THREADS,
    faultRecords: 1,
    busyMilliseconds: 10,
    iotlb: { entries: 1, ways: 1 },
  });
  const machines = [first];
  while (machines.length < THREADS) machines.push(machine.SoftwareMachine.attach(first.handle));
  const contexts = library.contexts.StreamingContexts.create().buffer;
  const [syncs, marks] = [shared.wordsOf(shared.createShared(THREADS * 8)), shared.wordsOf(shared.createShared(8))];
  const scene = { machines, contexts, syncs, marks };
  const ops = opsOf(library, scene, 0);
  ops.initialize();
  first.registers.write64(TSB_BASE, 0n);
  first.registers.write64(STREAMING_CONTROL, 1n);
  first.registers.write64(CONTROL, 1n);
  ops.set(0, 1, OTHER_PAGE, 3);
  ops.publish();
  for (let line = 0; line < 16; line++) first.device(0).dmaWrite(BASE + BigInt(64 * line), new Uint8Array(64).fill(9));
  ops.clear(0, 1);
  assert.equal(ops.invalidate(0, 1), undefined);
  ops.set(0, 1, MAPPED_PAGE, 3);
  ops.publish();
  first.memory.write(MAPPED_PAGE * PAGE, new Uint8Array(4).fill(BEFORE));
  return scene;
}

/** The device writes into the page, and says when it has. */
const writing =
  ({ shared }: Library, thread: number) =>
  ({ machines, marks }: Scene): boolean => {
    const moved = machines[thread]?.device(0).dmaWrite(BASE, new Uint8Array(4).fill(WRITTEN)) === true;
    if (moved) shared.store(marks, 0, 1);
    return moved;
  };

/** A device writes into a page of this thread, and finds it there; then the thread takes it back, and finds it in memory. */
const writingBeside =
  (library: Library, thread: number, entry: number, page: number) =>
  (scene: Scene): string => {
    const { memory } = scene.machines[thread] as SoftwareMachine;
    const device = (scene.machines[thread] as SoftwareMachine).device(0);
    const ops = opsOf(library, scene, thread);
    const iova = BASE + BigInt(entry * PAGE);
    const bytes = new Uint8Array(4);
    if (!device.dmaWrite(iova, new Uint8Array(4).fill(WRITTEN)) || !device.dmaRead(iova, bytes)) return "refused";
    if (bytes.some((byte) => byte !== WRITTEN)) return `the device reads ${bytes}`;
    ops.clear(entry, 1);
    if (ops.invalidate(entry, entry + 1) !== undefined) return BUSY;
    memory.read(page * PAGE, bytes);
    return bytes.every((byte) => byte === WRITTEN) ? "unmapped" : `memory holds ${bytes}`;
  };

/** Two threads, whose entries lead to a page each, and whose devices share the cache. */
function sideBySide(library: Library): Exploration<Scene> {
  return {
    setup: () => {
      const scene = sceneOf(library);
      const ops = opsOf(library, scene, 1);
      ops.set(1, 1, OTHER_PAGE, 3);
      ops.publish();
      return scene;
    },
    threads: [writingBeside(library, 0, 0, MAPPED_PAGE), writingBeside(library, 1, 1, OTHER_PAGE)],
    check: (scene, { threads }) => {
      assert.deepEqual(
        threads.map(({ value }) => value),
        ["unmapped", "unmapped"],
      );
      assert.equal(new library.contexts.StreamingContexts(scene.contexts).taken, 0, "contexts are left taken");
    },
    skipSeen: true,
    preemptions: 2,
  };
}

/** What the page's owner finds in it when it has been taken from the device; then it is the next owner's. */
function takeOver({ machines }: Scene, thread: number, wasWritten: boolean): string {
  const bytes = new Uint8Array(4);
  machines[thread]?.memory.read(MAPPED_PAGE * PAGE, bytes);
  const whole = bytes.every((byte) => byte === bytes[0]) && (bytes[0] === BEFORE || bytes[0] === WRITTEN);
  machines[thread]?.memory.write(MAPPED_PAGE * PAGE, new Uint8Array(4).fill(NEXT_OWNER));
  if (!whole) return `torn: ${bytes}`;
  return wasWritten && bytes[0] !== WRITTEN ? "what the device had written is missing" : "unmapped";
}

const unmapping =
  (library: Library, thread: number) =>
  (scene: Scene): string => {
    const ops = opsOf(library, scene, thread);
    const wasWritten = library.shared.load(scene.marks, 0) === 1;
    if (wasWritten) library.shared.store(scene.marks, 1, 1);
    ops.clear(0, 1);
    return ops.invalidate(0, 1) === undefined ? takeOver(scene, thread, wasWritten) : BUSY;
  };

/** As a board and its table recover a dead thread. */
const reclaiming =
  (library: Library, thread: number) =>
  (scene: Scene, dead: readonly number[]): string => {
    reclaimDead(scene.machines[thread]?.crew, dead);
    const ops = opsOf(library, scene, thread);
    const contexts = new library.contexts.StreamingContexts(scene.contexts);
    contexts.recount(() => ops.countContexts());
    if (!dead.includes(0)) return "forgotten";
    // Where the dead one had emptied the entry already, a later write has gone to the dummy page.
    const value: EntryValue = { page: 0, access: 0 };
    ops.get(0, value);
    const wasWritten = library.shared.load(scene.marks, value.page === MAPPED_PAGE ? 0 : 1) === 1;
    ops.clear(0, 1);
    ops.publish();
    if (ops.invalidateAll() !== undefined) return BUSY;
    // The dead one may have gone as far as to give the page to its next owner.
    const byte = new Uint8Array(1);
    scene.machines[thread]?.memory.read(MAPPED_PAGE * PAGE, byte);
    return byte[0] === NEXT_OWNER ? "unmapped" : takeOver(scene, thread, wasWritten);
  };

/** All that the cache holds, brought to memory, changes nothing in what is the next owner's. */
function expectNothingLands(library: Library, scene: Scene): void {
  const ops = opsOf(library, scene, 2);
  assert.equal(ops.invalidateAll(), undefined, "the bridge is still busy");
  const bytes = new Uint8Array(4);
  scene.machines[2]?.memory.read(MAPPED_PAGE * PAGE, bytes);
  assert.deepEqual([...bytes], new Array(4).fill(NEXT_OWNER), "it lands over the page's next owner");
  assert.equal(new library.contexts.StreamingContexts(scene.contexts).taken, 0, "contexts are left taken");
  // Everything serves again.
  assert.equal(ops.set(1, 1, OTHER_PAGE, 3) ?? ops.publish(), undefined);
  assert.ok(scene.machines[2]?.device(0).dmaWrite(BASE + BigInt(PAGE), Uint8Array.of(7)));
  ops.clear(1, 1);
  assert.equal(ops.invalidate(1, 2), undefined);
}

function takingBack(library: Library, victims: readonly number[]): Exploration<Scene> {
  return {
    setup: () => sceneOf(library),
    threads: [unmapping(library, 0), writing(library, 1)],
    reclaim: reclaiming(library, 2),
    kills: victims.length === 0 ? 0 : 1,
    victims,
    check: (scene, { threads, dead }) => {
      const outcome = dead.includes(0) ? threads[2]?.value : threads[0]?.value;
      assert.equal(outcome, "unmapped");
      expectNothingLands(library, scene);
    },
    skipSeen: true,
    preemptions: 2,
  };
}

test("what a device has written when its page is taken back is in memory then, and nothing lands there afterwards", (t) => {
  assertSound(t, "a write, an unmap", { ...takingBack(sound, []), preemptions: 3 });
});

test("two threads whose devices share the cache find what theirs have written, and nothing else", (t) => {
  assertSound(t, "two pages, two writes, two unmaps", sideBySide(sound));
});

test("nothing lands afterwards when the device's thread dies at any access, with the cache's lock or without, once it is forgotten", (t) => {
  const report = assertSound(t, "a write, an unmap, the device dies", takingBack(sound, [1]));
  assert.ok(report.kills > 0);
});

test("nor when the thread that unmaps dies at any access, once its entries are reclaimed: what was written before is in memory", (t) => {
  const report = assertSound(t, "a write, an unmap, its thread dies", takingBack(sound, [0]));
  assert.ok(report.kills > 0);
});

test("until a thread is declared dead, an unmap that meets its lock or DMA fails as busy, in bounded time", (t) => {
  let busy = 0;
  const what: Exploration<Scene> = {
    ...takingBack(sound, [1]),
    reclaim: () => undefined,
    expectsTimeOut: () => true,
    check: (scene, { threads, dead }) => {
      scene.machines[2]?.crew.reclaim(1, "in-flight");
      if (threads[0]?.value !== BUSY) return expectNothingLands(sound, scene);
      assert.deepEqual(dead, [1]);
      busy++;
      // After `forget` it delays no other thread.
      assert.equal(opsOf(sound, scene, 2).invalidateAll(), undefined);
    },
    preemptions: 1,
  };
  assertSound(t, "a write, an unmap, the device dies and is not declared dead", what);
  assert.ok(busy > 0);
});

const CONTEXTS_MODULE = "platforms/sun4u/contexts.js";
const OPS_MODULE = "platforms/sun4u/ops.js";
const CACHE_MODULE = "machines/software/streaming-cache.js";

/** What a bug is looked for with. */
const SCENARIOS = {
  contexts: (library) => sharing(library, 0, 2),
  recovery: (library) => sharing(library, 1, 1),
  "dead recovery": (library) => sharing(library, 2, 1),
  "side by side": sideBySide,
  unmap: (library) => takingBack(library, []),
  "dead device": (library) => takingBack(library, [1]),
  "dead owner": (library) => takingBack(library, [0]),
} satisfies Record<string, (library: Library) => Exploration<Contexts> | Exploration<Scene>>;

const PLANTS: readonly (Plant & { readonly bug: string; readonly scenario: keyof typeof SCENARIOS })[] = [
  {
    bug: "a context is taken by a store, not a swap",
    scenario: "contexts",
    module: CONTEXTS_MODULE,
    from: "if (compareExchange(this.#words, word, bits, bits | free) !== bits)",
    to: "store(this.#words, word, bits | free);\n                if (false)",
  },
  {
    bug: "a context is given back by a store, over what others have taken",
    scenario: "contexts",
    module: CONTEXTS_MODULE,
    from: "if (compareExchange(this.#words, word, bits, bits & ~bit) === bits)",
    to: "store(this.#words, word, bits & ~bit);\n            if (true)",
  },
  {
    bug: "the last entry does not give its context back",
    scenario: "contexts",
    module: CONTEXTS_MODULE,
    from: "if (held <= entries)",
    to: "if (held < entries)",
  },
  {
    bug: "a context that is held more often is given back by the first entry",
    scenario: "contexts",
    module: CONTEXTS_MODULE,
    from: "compareExchange(this.#words, at, held, held + entries) === held",
    to: "load(this.#words, at) === held",
  },
  {
    bug: "a recount gives back no context that is counted",
    scenario: "recovery",
    module: CONTEXTS_MODULE,
    from: "if (wanted === 0)",
    to: "if (held === 0 && wanted === 0)",
  },
  {
    bug: "a recount leaves a context that was taken and not yet counted",
    scenario: "recovery",
    module: CONTEXTS_MODULE,
    from: "if (wanted === 0)",
    to: "if (held !== 0 && wanted === 0)",
  },
  {
    bug: "who finds no count leaves the context to a recount that may have died",
    scenario: "dead recovery",
    module: CONTEXTS_MODULE,
    from: "if (held > 0 &&",
    to: "if (held === 0)\n                return;\n            if (",
  },
  {
    bug: "the cache is flushed before the IOTLB has forgotten",
    scenario: "unmap",
    module: OPS_MODULE,
    from: "const failure = this.#forget(first, end);\n        if (failure !== undefined || this.#contexts === undefined)\n            return failure;\n        const runs = this.#pending.take(first, end);\n        return runs === undefined ? this.#flushPages(first, end) : this.#complete(this.streaming.flushRuns(runs));",
    to: "const runs = this.#pending.take(first, end);\n        const failure = this.#complete(this.streaming.flushRuns(runs));\n        return failure ?? this.#forget(first, end);",
  },
  {
    bug: "flushed data is not waited for",
    scenario: "unmap",
    module: OPS_MODULE,
    from: "(flushed & WRITTEN_FLUSHED) === 0 ? undefined : this.streaming.sync()",
    to: "undefined",
  },
  {
    bug: "the lines are looked at without their lock",
    scenario: "side by side",
    module: CACHE_MODULE,
    from: "return lock(this.#words, this.#at, this.#tag, this.#patienceMs) === 0;",
    to: "return true;",
  },
  {
    bug: "a flush that began in time is done without waiting for DMAs in flight",
    scenario: "unmap",
    module: OPS_MODULE,
    from: "const failure = this.#forget(first, end);\n        if (failure !== undefined || this.#contexts === undefined)\n            return failure;\n        const runs",
    to: "const failure = undefined;\n        const runs",
  },
  {
    bug: "a forgotten thread keeps the cache's lock",
    scenario: "dead device",
    module: CACHE_MODULE,
    from: "if (inherit(this.#words, this.#at, tagOf(thread), this.#tag))",
    to: "if (false)",
  },
  {
    bug: "a line says that it was written before its mask and bytes are there",
    scenario: "dead device",
    module: CACHE_MODULE,
    from: "line = this.#take(entry, context, address);\n            poke(words, line + LINE.mask, 0);",
    to: "line = this.#take(entry, context, address);\n            store(words, line + LINE.state, WRITTEN);\n            poke(words, line + LINE.mask, 0);",
  },
  {
    bug: "a line is emptied before memory has what it held",
    scenario: "dead owner",
    module: CACHE_MODULE,
    from: "copyOut(this.#stateBytes, (line + LINE.data) * 4, this.#scratch);\n        for",
    to: "this.#discard(line);\n        copyOut(this.#stateBytes, (line + LINE.data) * 4, this.#scratch);\n        for",
  },
  {
    bug: "recovery does not flush what the cache holds",
    scenario: "dead owner",
    module: OPS_MODULE,
    from: "this.#pending.takeAll();\n        return this.#flushPages(0, this.entries);",
    to: "return undefined;",
  },
];

for (const { bug, scenario, ...plant } of PLANTS) {
  test(`planted bug found: ${bug}`, async (t) => {
    const what = SCENARIOS[scenario](await libraryWith([plant])) as Exploration<unknown>;
    assertFound(t, bug, what, ["check", "race"]);
  });
}
