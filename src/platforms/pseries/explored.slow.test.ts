/**
 * Threads that make, change and remove a device's dynamic window at once, explored over a model of the firmware with one window: in all
 * orders of their accesses, and with deaths anywhere, of a thread and then of the one that recovers it. What is judged: a window is removed
 * once, only by a thread that knows it, and never while another thread adds memory to it; and after the recovery of a dead thread no
 * step is held, the windows are those that the state says, and what was half mapped is mapped.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertFound, assertSound } from "../../../explorer/assertions.model.ts";
import type { Exploration } from "../../../explorer/explore.ts";
import { exploredCopy, type Plant } from "../../../explorer/load.ts";
import type { SharedWords } from "../../shared/memory.ts";
import type { MadeWindow } from "./dynamic-windows.ts";
import type { FirmwareCalls } from "./firmware-calls.ts";
import type { PseriesOps } from "./ops.ts";
import type { WindowRecoveryParts } from "./window-recovery.ts";

interface Library {
  readonly memory: typeof import("../../shared/memory.ts");
  readonly state: typeof import("./window-state.ts");
  readonly windows: typeof import("./dynamic-windows.ts");
  readonly recovery: typeof import("./window-recovery.ts");
}

async function libraryWith(plants: readonly Plant[]): Promise<Library> {
  const copy = exploredCopy(plants);
  return {
    memory: await copy.load("shared/memory.js"),
    state: await copy.load("platforms/pseries/window-state.js"),
    windows: await copy.load("platforms/pseries/dynamic-windows.js"),
    recovery: await copy.load("platforms/pseries/window-recovery.js"),
  };
}

const sound = await libraryWith([]);

// Words of the explored memory.
/** How many windows have been made; and the number of the one that is there, 0: none. */
const MADE = 0;
const THERE = 1;
/** 1 while a thread adds memory to the window. */
const ADDING = 2;
/** 1: a window went, or was there no more, while memory was added to it. */
const TORN = 3;
/** 1: the firmware has removed a window other than that which the remover knew. */
const WRONG = 4;
/** 1: the default window is gone. */
const DEFAULT_GONE = 5;
/** 1: the buffer of the call that creates a window holds the call. */
const ASKED = 6;
/** 1: the one entry of the window is mapped. */
const MAPPED = 7;
/** The number + 1 of the structure that was removed last. */
const STRUCTURE_GONE = 8;
/** 1: thread 0 has a view of the window's table; 1: thread 1 has one. */
const VIEWS = 9;
const ATTACHED = 10;
const STATE = 16;
/** Threads of the crew, the maker of the first window included. */
const THREADS = 10;
const WORDS = 48;

const LIOBN = 7;
const DEFAULT_LIOBN = 5;
const BASE = 2n ** 59n;
const MASK_64 = 2n ** 64n - 1n;
const TOKENS = { query: 1, create: 2, remove: 3, reset: 4 };
const STRUCTURE = 1024;

interface State {
  readonly library: Library;
  readonly words: SharedWords;
  readonly made: MadeWindow;
}

/**
 * Parts of a thread's view whose window is the `known`-th that was made; the firmware gives every window the same liobn. `slots`: windows at
 * a time, the default one included.
 */
function partsOf(
  library: Library,
  words: SharedWords,
  thread: number,
  known: number,
  slots = 2,
): WindowRecoveryParts & Parts {
  const { load, store } = library.memory;
  return {
    thread,
    firmware: firmwareOf(library, words, known, slots),
    memory: { bytes: 2 ** 16 } as never,
    properties: { tokens: TOKENS, liobn: DEFAULT_LIOBN, base: 0n } as never,
    state: new library.state.WindowState(words, STATE, THREADS),
    holdDefault: () => () => undefined,
    isThere: (liobn) => (liobn === LIOBN ? load(words, THERE) !== 0 : load(words, DEFAULT_GONE) === 0),
    withOps: (_liobn, _window, use) => use(opsOf(library, words)),
    listPageOf: () => 0,
    crew: {
      threads: 2,
      mayHold: (of) => of === 0 && load(words, VIEWS) !== 0,
      isIn: (of) => of === 1 && load(words, ATTACHED) !== 0,
      removeStructure: (structure) => store(words, STRUCTURE_GONE, structure + 1),
    },
  };
}

type Parts = import("./dynamic-windows.ts").DynamicWindowParts;

/** Each call changes one word: a hypervisor's call is made or not. */
function firmwareOf({ memory }: Library, words: SharedWords, known: number, slots: number): FirmwareCalls {
  const { add, load, store } = memory;
  const windows = (): number => (load(words, THERE) === 0 ? 0 : 1) + (load(words, DEFAULT_GONE) === 0 ? 1 : 0);
  const place = { liobn: LIOBN, base: BASE, pageShift: 12, windowShift: 12 };
  return {
    query: () => ({ windowsLeft: slots - windows(), largestWindow: 1, pageShifts: [12] }),
    clearBuffer: () => store(words, ASKED, 0),
    create: () => {
      const number = add(words, MADE, 1) + 1;
      store(words, ASKED, 1);
      store(words, THERE, number);
      return place;
    },
    createdBy: () => (load(words, ASKED) === 1 && load(words, THERE) !== 0 ? place : undefined),
    remove: (liobn: number) => {
      if (liobn === DEFAULT_LIOBN) store(words, DEFAULT_GONE, 1);
      if (liobn === DEFAULT_LIOBN) return undefined;
      if (load(words, ADDING) !== 0) store(words, TORN, 1);
      const there = load(words, THERE);
      if (there === 0) return "platform-refused";
      if (known !== 0 && there !== known) store(words, WRONG, 1);
      store(words, THERE, 0);
      return undefined;
    },
    reset: () => {
      // It ends all dynamic windows too: none may be another thread's.
      if (load(words, THERE) !== 0) store(words, WRONG, 1);
      return store(words, DEFAULT_GONE, 0);
    },
  } as Partial<FirmwareCalls> as FirmwareCalls;
}

function opsOf({ memory }: Library, words: SharedWords): PseriesOps {
  const { load, store } = memory;
  return {
    isEmpty: () => load(words, MAPPED) === 0,
    set: () => store(words, MAPPED, 1),
    clear: () => store(words, MAPPED, 0),
    publish: () => undefined,
  } as Partial<PseriesOps> as PseriesOps;
}

/** Explored memory; with the first window in it unless `isEmpty`. It has been attached to, so it outlives its maker. */
function setup(library: Library, isEmpty = false): State {
  const words = library.memory.wordsOf(library.memory.createShared(4 * WORDS));
  if (isEmpty) return { library, words, made: undefined as never };
  const made = make(library, words, MAKER, 1);
  assert.ok(typeof made !== "string");
  new library.state.WindowState(words, STATE, THREADS).see(made.generation);
  return { library, words, made };
}
const MAKER = 9;

function make(
  library: Library,
  words: SharedWords,
  thread: number,
  known: number,
  slots?: number,
): MadeWindow | string {
  const parts = partsOf(library, words, thread, known, slots);
  const request = { mask: MASK_64, direct: false };
  return library.windows.makeDynamicWindow(parts, request, () => parts.state.noteStructure(STRUCTURE + thread));
}

/** What a removal of the first window by this thread answers; "window-gone" where it throws that. */
const removeAs =
  (thread: number) =>
  ({ library, words, made }: State): string => {
    const parts = partsOf(library, words, thread, 1);
    const hold = (): (() => void) => () => undefined;
    return library.windows.unmakeDynamicWindow(parts, made, hold, () => undefined) ?? "removed";
  };

const removeAndMakeAs =
  (thread: number) =>
  (state: State): string => {
    const removed = removeAs(thread)(state);
    if (removed !== "removed") return removed;
    const made = make(state.library, state.words, thread, 2);
    return typeof made === "string" ? made : "made anew";
  };

/** Adds memory to the first window: it has to be there from the beginning to the end. */
const addMemoryAs =
  (thread: number) =>
  ({ library, words, made }: State): string => {
    const { load, store } = library.memory;
    const parts = partsOf(library, words, thread, 1);
    const step = { step: library.state.STEP.adding, first: 0, count: 1 };
    const change = (): undefined => {
      store(words, ADDING, 1);
      if (load(words, THERE) !== 1) store(words, TORN, 1);
      store(words, MAPPED, 1);
      store(words, ADDING, 0);
    };
    return library.windows.changeDynamicWindow(parts, made, step, change) ?? "added";
  };

/** Makes a window where there is room for one alone. */
const makeInsteadAs =
  (thread: number) =>
  ({ library, words }: State): string => {
    const made = make(library, words, thread, 0, 1);
    return typeof made === "string" ? made : "made";
  };

function recover({ library, words }: State, dead: readonly number[]): void {
  // What a dead thread was in the middle of ends with it.
  library.memory.store(words, ADDING, 0);
  for (const thread of dead)
    assert.equal(library.recovery.recoverWindow(partsOf(library, words, 8, 0), thread), undefined);
}

const isGone = (error: unknown): boolean => (error as { code?: string }).code === "window-gone";

/** Nothing was torn; no thread works on the window; and the windows that are there are those that the state says. */
function assertRight({ library, words }: State): void {
  const { load } = library.memory;
  const { STEP } = library.state;
  assert.deepEqual([load(words, TORN), load(words, WRONG)], [0, 0]);
  const step = load(words, STATE) & 15;
  assert.ok(step === STEP.untried || step === STEP.published, `step ${step}`);
  assert.equal(load(words, THERE) !== 0, step === STEP.published);
  const { replacesDefault } = new library.state.WindowState(words, STATE, THREADS);
  assert.deepEqual(
    [load(words, DEFAULT_GONE) === 1, step === STEP.published && replacesDefault],
    [replacesDefault, replacesDefault],
  );
}

type Build = (library: Library) => Exploration<State>;

/** Two views of the first window remove it; one makes another. */
const twoRemovers: Build = (library) => ({
  setup: () => setup(library),
  threads: [removeAs(0), removeAndMakeAs(1)],
  mayThrow: isGone,
  check: (state, { threads }) => {
    assertRight(state);
    const answers = threads.map(({ value }) => value);
    assert.equal(answers.filter((answer) => answer === "removed" || answer === "made anew").length, 1, `${answers}`);
    assert.equal(state.library.memory.load(state.words, THERE), answers[1] === "made anew" ? 2 : 0);
  },
});

/** One view adds memory while another replaces the window. */
const adderAndRemover: Build = (library) => ({
  setup: () => setup(library),
  threads: [addMemoryAs(0), removeAndMakeAs(1)],
  mayThrow: isGone,
  check: assertRight,
});

/** The remover may die anywhere, and then the thread that recovers it. */
const dyingRemover: Build = (library) => ({
  setup: () => setup(library),
  threads: [removeAndMakeAs(0), addMemoryAs(1)],
  kills: 2,
  victims: [0],
  mayThrow: isGone,
  reclaim: recover,
  check: assertRight,
});

/** The adder may die anywhere, and then the thread that recovers it: the entry is mapped, unless it had not begun. */
const dyingAdder: Build = (library) => ({
  setup: () => setup(library),
  threads: [addMemoryAs(0), removeAs(1)],
  preemptions: 2,
  kills: 2,
  victims: [0],
  mayThrow: isGone,
  reclaim: recover,
  check: assertRight,
});

/** The only thread with a view of the window dies, and then may the thread that recovers it; another one attaches meanwhile. */
const dyingLastView: Build = (library) => ({
  setup: () => {
    const state = setup(library);
    library.memory.store(state.words, VIEWS, 1);
    return state;
  },
  threads: [
    addMemoryAs(0),
    ({ words, made }) => {
      const state = new library.state.WindowState(words, STATE, THREADS);
      state.see(made.generation);
      library.memory.store(words, ATTACHED, 1);
      state.checkStays(made.generation);
      return "attached";
    },
  ],
  preemptions: 2,
  kills: 2,
  victims: [0],
  mayThrow: isGone,
  reclaim: recover,
  check: (state, { threads, dead }) => {
    assertRight(state);
    const isThere = state.library.memory.load(state.words, THERE) !== 0;
    if (threads[1]?.value === "attached") assert.ok(isThere, "a window with a living view is removed");
    else if (dead.includes(0) && threads[1]?.error === undefined) assert.ok(!isThere);
  },
});

/** As `dyingLastView`, of a direct window. */
const dyingLastDirectView: Build = (library) => ({
  setup: () => {
    const state = setup(library);
    const window = new library.state.WindowState(state.words, STATE, THREADS);
    window.noteStructure(-1);
    window.noteViewer(0);
    return state;
  },
  threads: [
    addMemoryAs(0),
    ({ words, made }) => {
      const state = new library.state.WindowState(words, STATE, THREADS);
      state.see(made.generation);
      state.noteViewer(1);
      state.checkStays(made.generation);
      return "attached";
    },
  ],
  preemptions: 2,
  kills: 2,
  victims: [0],
  mayThrow: isGone,
  reclaim: recover,
  check: (state, { threads, dead }) => {
    assertRight(state);
    const isThere = state.library.memory.load(state.words, THERE) !== 0;
    if (threads[1]?.value === "attached") assert.ok(isThere, "a window with a living view is removed");
    else if (dead.includes(0) && threads[1]?.error === undefined) assert.ok(!isThere);
  },
});

/** The maker may die anywhere, and then the thread that recovers it; another makes a window meanwhile. */
const dyingMaker: Build = (library) => ({
  setup: () => setup(library, true),
  threads: [makeInsteadAs(0), makeInsteadAs(1)],
  kills: 2,
  victims: [0],
  preemptions: 2,
  reclaim: recover,
  check: (state, { threads, dead }) => {
    const { library, words } = state;
    assertRight(state);
    const there = library.memory.load(words, THERE) !== 0;
    const isMade = threads[1]?.value === "made" || (threads[0]?.value === "made" && !dead.includes(0));
    assert.equal(there, isMade, "a window without a view stays, or one with a view is gone");
    if (!there) assert.equal(typeof make(library, words, 3, 0, 1), "object", "a window can be made again");
  },
});

test("of two views that remove one window, one does, and the other leaves the window alone that was made in its place", (t) => {
  assertSound(t, "two removers", twoRemovers(sound));
});

test("no window goes while memory is added to it, and none is added to a window made in its place", (t) => {
  assertSound(t, "an adder, a remover", adderAndRemover(sound));
});

test("a thread that dies while it replaces a window, and one that dies over its recovery, leave no window half removed or half made", (t) => {
  assert.ok(assertSound(t, "a remover, dying, an adder", dyingRemover(sound)).kills > 0);
});

test("a thread that dies while it adds memory leaves the window to others", (t) => {
  assert.ok(assertSound(t, "an adder, dying, a remover", dyingAdder(sound)).kills > 0);
});

test("a window whose last view dies is removed, unless another thread attaches to it in time", (t) => {
  assert.ok(assertSound(t, "a last view, dying, an attaching thread", dyingLastView(sound)).kills > 0);
});

test("a direct window whose last view dies is removed, unless another thread attaches to it in time", (t) => {
  assert.ok(assertSound(t, "a last direct view, dying, an attaching thread", dyingLastDirectView(sound)).kills > 0);
});

test("a thread that dies while it makes a window in place of the default one leaves the default one, and room for a new making", (t) => {
  assert.ok(assertSound(t, "a maker, dying, another maker", dyingMaker(sound)).kills > 0);
});

const STATE_MODULE = "platforms/pseries/window-state.js";
const WINDOWS_MODULE = "platforms/pseries/dynamic-windows.js";
const RECOVERY_MODULE = "platforms/pseries/window-recovery.js";
const PLANTS: readonly { readonly bug: string; readonly build: Build; readonly plant: Plant }[] = [
  {
    bug: "a removal does not look at the generation",
    build: twoRemovers,
    plant: {
      module: STATE_MODULE,
      from: "generationIn(found) !== generation || isWithout(found & STEP_MASK))",
      to: "isWithout(found & STEP_MASK))",
    },
  },
  {
    bug: "generations are not counted up",
    build: twoRemovers,
    plant: { module: STATE_MODULE, from: "(generationIn(found) + 1) % GENERATIONS", to: "generationIn(found)" },
  },
  {
    bug: "a removal begins by a store instead of a compare-and-swap",
    build: twoRemovers,
    plant: {
      module: STATE_MODULE,
      from: "return compareExchange(this.#words, this.#at + WORD.step, from, to) === from;",
      to: "store(this.#words, this.#at + WORD.step, to); return true;",
    },
  },
  {
    bug: "memory is added without holding the window",
    build: adderAndRemover,
    plant: {
      module: STATE_MODULE,
      from: "return this.#swap(found, wordOf(generation, begun, thread)) ? step : HELD_BY_ANOTHER;",
      to: "return step;",
    },
  },
  {
    bug: "a removal stores no step before it calls the firmware",
    build: dyingRemover,
    plant: { module: WINDOWS_MODULE, from: "state.goOn(held, STEP.removing);", to: "" },
  },
  {
    bug: "a making stores no step before the firmware removes the default window",
    build: dyingMaker,
    plant: { module: WINDOWS_MODULE, from: "state.goOn(this.#held, STEP.replacing);", to: "" },
  },
  {
    bug: "a making stores no step before the firmware creates the window",
    build: dyingMaker,
    plant: { module: WINDOWS_MODULE, from: "state.goOn(this.#held, STEP.creating);", to: "" },
  },
  {
    bug: "a making does not note where the firmware has put the window",
    build: dyingMaker,
    plant: { module: WINDOWS_MODULE, from: "state.notePlace(place);", to: "" },
  },
  {
    bug: "an answer of the firmware that the dead thread has not read is not looked for",
    build: dyingMaker,
    plant: { module: RECOVERY_MODULE, from: "firmware.createdBy(listPageOf(left.thread))", to: "undefined" },
  },
  {
    bug: "a recovery ends before it has brought the default window back",
    build: dyingMaker,
    plant: {
      module: RECOVERY_MODULE,
      from: "state.replacesDefault ? bringDefaultBack(parts) : undefined",
      to: "undefined",
    },
  },
  {
    bug: "a recovery does not look again for views before it removes an abandoned window",
    build: dyingLastView,
    plant: {
      module: RECOVERY_MODULE,
      from: "if (isViewed(parts, left.thread))",
      to: "if (false)",
    },
  },
  {
    bug: "a recovery does not look for other views of a direct window",
    build: dyingLastDirectView,
    plant: { module: RECOVERY_MODULE, from: "state.hasOtherViewer(dead)", to: "false" },
  },
  {
    bug: "an attaching view does not check that the window stays",
    build: dyingLastView,
    plant: {
      module: STATE_MODULE,
      from: "step === STEP.abandoned || step === STEP.removing || step === STEP.halfRemoved",
      to: "false",
    },
  },
  {
    bug: "a window that a dead thread has made, and of which no other knows, stays",
    build: dyingMaker,
    plant: { module: RECOVERY_MODULE, from: " ?? state.takeUnseen(thread)", to: "" },
  },
];

for (const { bug, build, plant } of PLANTS) {
  test(`planted bug found: ${bug}`, async (t) => {
    assertFound(t, bug, build(await libraryWith([plant])), ["check", "thrown"]);
  });
}
