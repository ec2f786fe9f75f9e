/**
 * Threads that make, change and remove a device's dynamic window at once, explored over a model of the firmware with one window: in all
 * orders of their accesses. What is judged: a window is removed once, only by a thread that knows it, and never while another thread adds
 * memory to it. A thread that dies holds the window for good, but leaves none that another thread takes for its own.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertFound, assertSound } from "../../../explorer/assertions.model.ts";
import type { Exploration } from "../../../explorer/explore.ts";
import { exploredCopy, type Plant } from "../../../explorer/load.ts";
import type { SharedWords } from "../../shared/memory.ts";
import type { DynamicWindowParts, MadeWindow } from "./dynamic-windows.ts";
import type { FirmwareCalls } from "./firmware-calls.ts";

interface Library {
  readonly memory: typeof import("../../shared/memory.ts");
  readonly progress: typeof import("./window-progress.ts");
  readonly windows: typeof import("./dynamic-windows.ts");
}

async function libraryWith(plants: readonly Plant[]): Promise<Library> {
  const copy = exploredCopy(plants);
  return {
    memory: await copy.load("shared/memory.js"),
    progress: await copy.load("platforms/pseries/window-progress.js"),
    windows: await copy.load("platforms/pseries/dynamic-windows.js"),
  };
}

const sound = await libraryWith([]);

// Words of the explored memory.
const PROGRESS = 0;
/** How many windows have been made; and the number of the one that is there, 0: none. */
const MADE = 1;
const THERE = 2;
/** 1 while a thread adds memory to the window. */
const ADDING = 3;
/** 1: a window went, or was there no more, while memory was added to it. */
const TORN = 4;
/** 1: the firmware has removed a window other than that which the remover knew. */
const WRONG = 5;
const WORDS = 8;

const LIOBN = 7;
const MASK_64 = 2n ** 64n - 1n;
const TOKENS = { query: 1, create: 2, remove: 3, reset: 4 };

interface State {
  readonly library: Library;
  readonly words: SharedWords;
  readonly made: MadeWindow;
}

/** Parts of a view whose window is the `known`-th that was made; the firmware gives every window the same liobn. */
function partsOf({ memory, progress }: Library, words: SharedWords, known: number): DynamicWindowParts {
  const { add, load, store } = memory;
  const firmware = {
    query: () => ({ windowsLeft: load(words, THERE) === 0 ? 1 : 0, largestWindow: 16, pageShifts: [12] }),
    create: () => {
      store(words, THERE, add(words, MADE, 1) + 1);
      return { liobn: LIOBN, base: 0n };
    },
    remove: () => {
      if (load(words, ADDING) !== 0) store(words, TORN, 1);
      const there = load(words, THERE);
      if (there === 0) return "platform-refused";
      if (there !== known) store(words, WRONG, 1);
      store(words, THERE, 0);
      return undefined;
    },
    reset: () => undefined,
  } as unknown as FirmwareCalls;
  return {
    firmware,
    memory: { bytes: 2 ** 16 } as never,
    properties: { tokens: TOKENS } as never,
    progress: new progress.WindowProgress(words, PROGRESS),
    holdDefault: () => undefined,
    withOps: (() => undefined) as never,
  };
}

function setup(library: Library): State {
  const words = library.memory.wordsOf(library.memory.createShared(4 * WORDS));
  const made = make(library, words, 1);
  assert.ok(typeof made !== "string");
  return { library, words, made };
}

function make(library: Library, words: SharedWords, known: number): MadeWindow | string {
  return library.windows.makeDynamicWindow(partsOf(library, words, known), { mask: MASK_64, direct: false });
}

/** What a removal of the first window answers; "window-gone" where it throws that. */
function remove({ library, words, made }: State): string {
  return library.windows.unmakeDynamicWindow(partsOf(library, words, 1), made, () => () => undefined) ?? "removed";
}

function removeAndMake(state: State): string {
  const removed = remove(state);
  if (removed !== "removed") return removed;
  const made = make(state.library, state.words, 2);
  return typeof made === "string" ? made : "made anew";
}

/** Adds memory to the first window: it has to be there from the beginning to the end. */
function addMemory({ library, words, made }: State): string {
  const { load, store } = library.memory;
  const { progress } = partsOf(library, words, 1);
  const change = (step: number): { step: number; failure: undefined } => {
    store(words, ADDING, 1);
    if (load(words, THERE) !== 1) store(words, TORN, 1);
    store(words, ADDING, 0);
    return { step, failure: undefined };
  };
  return library.windows.changeDynamicWindow(progress, made, change) ?? "added";
}

const isGone = (error: unknown): boolean => (error as { code?: string }).code === "window-gone";

function assertRight({ library, words }: State): void {
  const { load } = library.memory;
  assert.deepEqual([load(words, TORN), load(words, WRONG)], [0, 0]);
}

type Build = (library: Library) => Exploration<State>;

/** Two views of the first window remove it; one makes another. */
const twoRemovers: Build = (library) => ({
  setup: () => setup(library),
  threads: [remove, removeAndMake],
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
  threads: [addMemory, removeAndMake],
  mayThrow: isGone,
  check: assertRight,
});

/** The remover may die anywhere; then another view tries. */
const dyingRemover: Build = (library) => ({
  setup: () => setup(library),
  threads: [removeAndMake, addMemory],
  kills: 1,
  victims: [0],
  mayThrow: isGone,
  reclaim: remove,
  check: assertRight,
});

test("of two views that remove one window, one does, and the other leaves the window alone that was made in its place", (t) => {
  assertSound(t, "two removers", twoRemovers(sound));
});

test("no window goes while memory is added to it, and none is added to a window made in its place", (t) => {
  assertSound(t, "an adder, a remover", adderAndRemover(sound));
});

test("a thread that dies while it replaces a window leaves none that another view removes as the old one", (t) => {
  assert.ok(assertSound(t, "a remover, dying, an adder", dyingRemover(sound)).kills > 0);
});

const PROGRESS_MODULE = "platforms/pseries/window-progress.js";
const PLANTS: readonly { readonly bug: string; readonly build: Build; readonly plant: Plant }[] = [
  {
    bug: "a removal does not look at the generation",
    build: twoRemovers,
    plant: { module: PROGRESS_MODULE, from: "generationIn(found) !== generation || ", to: "" },
  },
  {
    bug: "generations are not counted up",
    build: twoRemovers,
    plant: { module: PROGRESS_MODULE, from: "(generationIn(found) + 1) % GENERATIONS", to: "generationIn(found)" },
  },
  {
    bug: "a removal begins by a store instead of a compare-and-swap",
    build: twoRemovers,
    plant: {
      module: PROGRESS_MODULE,
      from: "return compareExchange(this.#words, this.#at, from, to) === from;",
      to: "store(this.#words, this.#at, to); return true;",
    },
  },
  {
    bug: "memory is added without holding the window",
    build: adderAndRemover,
    plant: {
      module: PROGRESS_MODULE,
      from: "return this.#swap(found, wordOf(generation, STEP.changing)) ? step : STEP.changing;",
      to: "return step;",
    },
  },
];

for (const { bug, build, plant } of PLANTS) {
  test(`planted bug found: ${bug}`, async (t) => {
    assertFound(t, bug, build(await libraryWith([plant])), ["check", "thrown"]);
  });
}
