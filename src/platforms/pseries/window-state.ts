/**
 * A device's dynamic window in the platform's shared state: how far it is, which thread works on it, and what a recovery needs to know of
 * it when that thread has died.
 *
 * The first word decides. It holds a step, the number of the thread that works on the window, and the window's generation. Every making
 * counts the generation up; a view carries the generation of the window that it knows. A thread begins by a compare-and-swap from a step
 * at rest to one that is held, so at most one thread works on the window, and it works on the window that it knows. It ends with a
 * store of a step at rest, which pairs with the next thread's compare-and-swap: the next one sees what it did. In between it stores a
 * step *before* it calls the firmware, so the step says what may have happened, and the facts that this step's recovery reads are stored
 * before the step.
 *
 * A thread that dies leaves the word with its number. Its recovery (window-recovery.ts) goes on in its name, and ends with a step at
 * rest. A recoverer that dies leaves the word as it found it, or a step later; the next recovery of the same thread goes on from there.
 */
import { compareExchange, load, type SharedWords, store } from "../../shared/memory.ts";
import { IovaError } from "../../units/errors.ts";

/** Steps. 0 is what new shared memory holds. */
export const STEP = {
  /** At rest: there is no window. */
  untried: 0,
  /** At rest. */
  published: 1,
  /** At rest: a making has failed. */
  failed: 2,
  /** At rest: the window is gone; the default one has still to be brought back. */
  halfRemoved: 3,

  /** A making has begun. It may hold entries of the default window. */
  making: 4,
  /** The firmware removes the default window, all of whose entries are held. */
  replacing: 5,
  /** The firmware creates the window. Its answer is in the list page of the thread. */
  creating: 6,
  /** The window is there, as the facts say; no view has it. */
  filling: 7,
  /** A removal or change has begun. It may hold entries of the window's table. */
  begun: 8,
  /** Memory is added: the range of entries in the facts is mapped. */
  adding: 9,
  /** Memory is removed: the range of entries in the facts is emptied. */
  emptying: 10,
  /** The firmware removes the window, all of whose table's entries are held; then the default window comes back. */
  removing: 11,
} as const;
const FIRST_HELD = STEP.making;
const STEP_MASK = 15;
const THREAD_SHIFT = 4;
const THREAD_MASK = 255;
const GENERATION_SHIFT = 12;
/** Generations count from 0 to 2^20 − 1, then from 0 again. */
const GENERATIONS: number = 2 ** 20;

/** Words of the state. All but the first two are facts: stored by the thread that works on the window. */
const WORD = {
  step: 0,
  /** Has a view attached to the window, beside the one that made it? SEEN_…, and the generation above. */
  seen: 1,
  /** The thread that has made the window, + 1; 0: none, or its view is closed. */
  maker: 2,
  /** 1: the default window was removed for it. */
  replacesDefault: 3,
  liobn: 4,
  pageShift: 5,
  windowShift: 6,
  /** Bus address of entry 0 in pages of 4 KiB: bits 0 .. 31, and 32 .. 51. */
  baseLow: 7,
  baseHigh: 8,
  /** The number of the window's table in the crew, + 1; 0: it has none. */
  structure: 9,
  /** The entries that a change of memory is about. */
  first: 10,
  count: 11,
} as const;
/** Words of the state, zeros at first. */
export const WINDOW_WORDS = 12;

const SEEN_BY_NONE = 0;
const SEEN = 1;
/** The window is about to be removed, or has been: no view attaches to it any more. */
const SEEN_TOO_LATE = 2;
const SEEN_UNIT = 4;

/** Another thread makes, changes or removes the window. */
export const HELD_BY_ANOTHER = -1;

/** Where the firmware has put a window. */
export interface PlacedWindow {
  readonly liobn: number;
  readonly base: bigint;
  readonly pageShift: number;
  readonly windowShift: number;
}

/** Work on a window: by which thread, and on which generation. */
export interface Held {
  readonly thread: number;
  readonly generation: number;
}

/** One thread's view of the state that begins at word `at`. */
export class WindowState {
  readonly #words: SharedWords;
  readonly #at: number;

  constructor(words: SharedWords, at: number) {
    this.#words = words;
    this.#at = at;
  }

  /** Begins to make a window. Undefined: another window is there, or is being made, or a try has failed. */
  beginMaking(thread: number): Held | undefined {
    const found = this.#load(WORD.step);
    if ((found & STEP_MASK) !== STEP.untried) return undefined;
    const generation = (generationIn(found) + 1) % GENERATIONS;
    return this.#swap(found, wordOf(generation, STEP.making, thread)) ? { thread, generation } : undefined;
  }

  /**
   * Begins to change or remove the window of this generation, at step `begun`, or `removing` if it is half removed. The step that it was
   * at, `published` or `halfRemoved`; or HELD_BY_ANOTHER. Throws IovaError "window-gone" when it has been removed; then nothing has changed.
   */
  beginChanging({ thread, generation }: Held): number {
    const found = this.#checked(generation);
    const step = found & STEP_MASK;
    if (step >= FIRST_HELD) return HELD_BY_ANOTHER;
    const begun = step === STEP.halfRemoved ? STEP.removing : STEP.begun;
    return this.#swap(found, wordOf(generation, begun, thread)) ? step : HELD_BY_ANOTHER;
  }

  /** Throws IovaError "window-gone" when the window of this generation has been removed. */
  check(generation: number): void {
    this.#checked(generation);
  }

  /** The work is at a further step, one that is held. */
  goOn({ thread, generation }: Held, step: number): void {
    this.#store(WORD.step, wordOf(generation, step, thread));
  }

  /** Ends the work, with a step at rest. */
  end({ generation }: Held, step: number): void {
    if (isWithout(step)) {
      this.#store(WORD.seen, generation * SEEN_UNIT + SEEN_TOO_LATE);
      this.#store(WORD.replacesDefault, 0);
      this.#store(WORD.structure, 0);
    }
    this.#store(WORD.step, wordOf(generation, step, 0));
  }

  /** Ends a making: the window can be used, and attached to. */
  publish(held: Held): void {
    this.#store(WORD.maker, held.thread + 1);
    this.#store(WORD.seen, held.generation * SEEN_UNIT + SEEN_BY_NONE);
    this.end(held, STEP.published);
  }

  /** A view attaches to the window. Throws IovaError "window-gone" when it has been removed. */
  see(generation: number): void {
    const unseen = generation * SEEN_UNIT + SEEN_BY_NONE;
    const found = compareExchange(this.#words, this.#at + WORD.seen, unseen, unseen + SEEN);
    if (found !== unseen && found !== unseen + SEEN) throw windowGone();
  }

  /** The thread closes its view: from now on its number says nothing about the window. */
  leave(thread: number): void {
    compareExchange(this.#words, this.#at + WORD.maker, thread + 1, 0);
  }

  /** Has the window of this generation been removed, or is it half removed? */
  isGone(generation: number): boolean {
    const found = this.#load(WORD.step);
    const step = found & STEP_MASK;
    return generationIn(found) !== generation || isWithout(step) || step === STEP.halfRemoved;
  }

  /** What a dead thread was working on, and at which step. Undefined: on nothing. */
  leftBy(thread: number): (Held & { readonly step: number }) | undefined {
    const found = this.#load(WORD.step);
    const step = found & STEP_MASK;
    const isIts = step >= FIRST_HELD && threadIn(found) === thread;
    return isIts ? { thread, generation: generationIn(found), step } : undefined;
  }

  /**
   * A window that a dead thread has made, and no other view has attached to, is to be removed: no thread can. From then on none attaches.
   * Undefined: there is no such window.
   */
  takeUnseen(thread: number): (Held & { readonly step: number }) | undefined {
    const found = this.#load(WORD.step);
    const step = found & STEP_MASK;
    const generation = generationIn(found);
    if (step !== STEP.published && step !== STEP.halfRemoved) return undefined;
    if (this.#load(WORD.maker) !== thread + 1) return undefined;
    const unseen = generation * SEEN_UNIT + SEEN_BY_NONE;
    const seen = compareExchange(this.#words, this.#at + WORD.seen, unseen, unseen + SEEN_TOO_LATE);
    // Too late already: by a recoverer that died here. No other thread has a view by which it could work on the window.
    if (seen !== unseen && seen !== unseen + SEEN_TOO_LATE) return undefined;
    this.goOn({ thread, generation }, STEP.removing);
    return { thread, generation, step: STEP.removing };
  }

  /** Has the default window been removed for a dynamic one, or is it just about to be? */
  get replacesDefault(): boolean {
    return this.#load(WORD.replacesDefault) === 1;
  }
  noteReplacement(): void {
    this.#store(WORD.replacesDefault, 1);
  }

  get place(): PlacedWindow {
    const basePage = (BigInt(this.#load(WORD.baseHigh)) << 32n) | BigInt(this.#load(WORD.baseLow) >>> 0);
    return {
      liobn: this.#load(WORD.liobn) >>> 0,
      base: basePage << 12n,
      pageShift: this.#load(WORD.pageShift),
      windowShift: this.#load(WORD.windowShift),
    };
  }
  notePlace({ liobn, base, pageShift, windowShift }: PlacedWindow): void {
    this.#store(WORD.liobn, liobn | 0);
    this.#store(WORD.pageShift, pageShift);
    this.#store(WORD.windowShift, windowShift);
    this.#store(WORD.baseLow, Number(BigInt.asIntN(32, base >> 12n)));
    this.#store(WORD.baseHigh, Number(base >> 44n));
  }

  /** The number of the window's table in the crew; undefined: it has none. */
  get structure(): number | undefined {
    const noted = this.#load(WORD.structure) >>> 0;
    return noted === 0 ? undefined : noted - 1;
  }
  noteStructure(structure: number): void {
    this.#store(WORD.structure, (structure + 1) | 0);
  }

  /** The entries that a change of memory is about. */
  get range(): { readonly first: number; readonly count: number } {
    return { first: this.#load(WORD.first), count: this.#load(WORD.count) };
  }
  noteRange(first: number, count: number): void {
    this.#store(WORD.first, first);
    this.#store(WORD.count, count);
  }

  #checked(generation: number): number {
    const found = this.#load(WORD.step);
    if (generationIn(found) !== generation || isWithout(found & STEP_MASK)) throw windowGone();
    return found;
  }

  #load(word: number): number {
    return load(this.#words, this.#at + word);
  }

  #store(word: number, value: number): void {
    store(this.#words, this.#at + word, value);
  }

  #swap(from: number, to: number): boolean {
    return compareExchange(this.#words, this.#at + WORD.step, from, to) === from;
  }
}

/** Is it a step at rest at which there is no window? */
function isWithout(step: number): boolean {
  return step === STEP.untried || step === STEP.failed;
}

function generationIn(word: number): number {
  return word >>> GENERATION_SHIFT;
}

function threadIn(word: number): number {
  return (word >>> THREAD_SHIFT) & THREAD_MASK;
}

function wordOf(generation: number, step: number, thread: number): number {
  return (generation << GENERATION_SHIFT) | (thread << THREAD_SHIFT) | step;
}

function windowGone(): IovaError {
  return new IovaError(
    "window-gone",
    "the dynamic window that this view knows has been removed by another view; attach anew to that view's handle",
  );
}
