/**
 * The shared state of a device's dynamic window: its step, the thread that works on it, and the facts that a recovery needs if that thread has
 * died.
 *
 * The first word holds a step, a thread's number, and the window's generation. Every creation increments the generation; a view has the
 * generation of its window. Steps are either *at rest*, or *held* by the thread in the word. A thread begins by a compareExchange from a
 * step at rest to a held one. So at most one thread works on the window, and only on the window that it knows. It ends with a store of a
 * step at rest, which pairs with the compareExchange of the next thread: that thread sees its writes. In between it stores a held step
 * *before* each firmware call that changes something, and the facts before the step that uses them. So the step tells a recovery which
 * call may have been made.
 *
 * A thread that dies leaves its number in the word. Its recovery (window-recovery.ts) continues in its name, and ends with a step at rest. If
 * the recovering thread dies too, the next recovery continues from the stored step.
 */
import { compareExchange, load, type SharedWords, store } from "../../shared/memory.ts";
import { IovaError } from "../../units/errors.ts";

/** Steps. New shared memory holds 0. */
export const STEP = {
  /** At rest: there is no window. */
  untried: 0,
  /** At rest. */
  published: 1,
  /** At rest: a creation has failed. */
  failed: 2,
  /** At rest: the window is removed, the default window is not restored yet. */
  halfRemoved: 3,

  /** A creation has begun. Entries of the default window may be reserved for it. */
  making: 4,
  /** The firmware removes the default window, whose entries are all reserved. */
  replacing: 5,
  /** The firmware creates the window. Its answer is in the thread's list page. */
  creating: 6,
  /** The firmware has created the window in the facts. No view has it yet. */
  filling: 7,
  /** A removal or change has begun. Entries of the window's table may be reserved for it. */
  begun: 8,
  /** Memory is added: the range of entries in the facts is being mapped. */
  adding: 9,
  /** Memory is removed: the range of entries in the facts is being emptied. */
  emptying: 10,
  /** The firmware removes the window, whose table's entries are all reserved; then the default window is restored. */
  removing: 11,
  /** A recovery has found no living thread with a view of the window, and looks again. */
  abandoned: 12,
} as const;
const FIRST_HELD = STEP.making;
const STEP_MASK = 15;
const THREAD_SHIFT = 4;
const THREAD_MASK = 255;
const GENERATION_SHIFT = 12;
/** Generations wrap to 0 after 2^20 − 1. */
const GENERATIONS: number = 2 ** 20;

/** Words of the state. All but the first two are facts, which the thread that works on the window stores. */
const WORD = {
  step: 0,
  /** SEEN_…: whether a view has attached to the window, besides that of its creator; above it the generation. */
  seen: 1,
  /** The number of the thread that has created the window, + 1; 0 if its view is closed. */
  maker: 2,
  /** 1: the default window was removed for it. */
  replacesDefault: 3,
  liobn: 4,
  pageShift: 5,
  windowShift: 6,
  /** Bus address of entry 0 in pages of 4 KiB: bits 0 .. 31, and 32 .. 51. */
  baseLow: 7,
  baseHigh: 8,
  /** The structure number of the window's table in the crew, + 1; 0: no table. */
  structure: 9,
  /** The entries of a change of memory. */
  first: 10,
  count: 11,
  /** A bit for each thread that has a view of a direct window. For a window with a table, the crew has that of its structure. */
  viewers: 12,
} as const;
/** Number of words of the state, for a crew of up to 256 threads. They are zero at first. */
export const WINDOW_WORDS: number = WORD.viewers + 256 / 32;

const SEEN_BY_NONE = 0;
const SEEN = 1;
/** The window is being removed or was removed: no view can attach to it. */
const SEEN_TOO_LATE = 2;
const SEEN_UNIT = 4;

/** Another thread creates, changes or removes the window. */
export const HELD_BY_ANOTHER = -1;

/** A window as the firmware has created it. */
export interface PlacedWindow {
  readonly liobn: number;
  readonly base: bigint;
  readonly pageShift: number;
  readonly windowShift: number;
}

/** The thread that works on a window, and the generation of the window. */
export interface Held {
  readonly thread: number;
  readonly generation: number;
}

/** One thread's view of the state that begins at word `at`. */
export class WindowState {
  readonly #words: SharedWords;
  readonly #at: number;
  /** Words in which the crew's threads have bits. */
  readonly #viewerWords: number;

  /** `threads`: the crew's. */
  constructor(words: SharedWords, at: number, threads: number) {
    this.#words = words;
    this.#at = at;
    this.#viewerWords = Math.ceil(threads / 32);
  }

  /** Begins a creation. Undefined: a window exists or is being created, or a creation has failed. */
  beginMaking(thread: number): Held | undefined {
    const found = this.#load(WORD.step);
    if ((found & STEP_MASK) !== STEP.untried) return undefined;
    const generation = (generationIn(found) + 1) % GENERATIONS;
    return this.#swap(found, wordOf(generation, STEP.making, thread)) ? { thread, generation } : undefined;
  }

  /**
   * Begins a change or removal of the window of this generation, with the step `begun`, or `removing` if it is half removed. Returns the
   * step of before, `published` or `halfRemoved`; or HELD_BY_ANOTHER. Throws IovaError "window-gone", and changes nothing, if the window was
   * removed.
   */
  beginChanging({ thread, generation }: Held): number {
    const found = this.#checked(generation);
    const step = found & STEP_MASK;
    if (step >= FIRST_HELD) return HELD_BY_ANOTHER;
    const begun = step === STEP.halfRemoved ? STEP.removing : STEP.begun;
    return this.#swap(found, wordOf(generation, begun, thread)) ? step : HELD_BY_ANOTHER;
  }

  /** Throws IovaError "window-gone" if the window of this generation was removed. */
  check(generation: number): void {
    this.#checked(generation);
  }

  /** Stores a further held step. */
  goOn({ thread, generation }: Held, step: number): void {
    this.#store(WORD.step, wordOf(generation, step, thread));
  }

  /** Ends the work with a step at rest. */
  end({ generation }: Held, step: number): void {
    if (isWithout(step)) {
      this.#store(WORD.seen, generation * SEEN_UNIT + SEEN_TOO_LATE);
      this.#store(WORD.replacesDefault, 0);
      this.#store(WORD.structure, 0);
      for (let word = 0; word < this.#viewerWords; word++) this.#store(WORD.viewers + word, 0);
    }
    this.#store(WORD.step, wordOf(generation, step, 0));
  }

  /** Ends a creation: views can attach to the window. */
  publish(held: Held): void {
    this.#store(WORD.maker, held.thread + 1);
    this.#store(WORD.seen, held.generation * SEEN_UNIT + SEEN_BY_NONE);
    this.end(held, STEP.published);
  }

  /** Notes that a view attaches to the window. Throws IovaError "window-gone" if it was removed. */
  see(generation: number): void {
    const unseen = generation * SEEN_UNIT + SEEN_BY_NONE;
    const found = compareExchange(this.#words, this.#at + WORD.seen, unseen, unseen + SEEN);
    if (found !== unseen && found !== unseen + SEEN) throw windowGone();
  }

  /** Notes that the thread closes its view: its number may be given to another thread, which is not the creator. */
  leave(thread: number): void {
    compareExchange(this.#words, this.#at + WORD.maker, thread + 1, 0);
  }

  /** True if the window of this generation was removed, also half. */
  isGone(generation: number): boolean {
    const found = this.#load(WORD.step);
    const step = found & STEP_MASK;
    return generationIn(found) !== generation || isWithout(step) || step === STEP.halfRemoved;
  }

  /** The work of a dead thread, and its step. Undefined: it was not working on the window. */
  leftBy(thread: number): (Held & { readonly step: number }) | undefined {
    const found = this.#load(WORD.step);
    const step = found & STEP_MASK;
    const isIts = step >= FIRST_HELD && threadIn(found) === thread;
    return isIts ? { thread, generation: generationIn(found), step } : undefined;
  }

  /**
   * Begins the removal of a window that this dead thread has created, if no other view has attached to it: no living thread could remove it.
   * No view can attach to it from then on. Undefined: there is no such window.
   */
  takeUnseen(thread: number): (Held & { readonly step: number }) | undefined {
    const found = this.#load(WORD.step);
    const step = found & STEP_MASK;
    const generation = generationIn(found);
    if (step !== STEP.published && step !== STEP.halfRemoved) return undefined;
    if (this.#load(WORD.maker) !== thread + 1) return undefined;
    const unseen = generation * SEEN_UNIT + SEEN_BY_NONE;
    const seen = compareExchange(this.#words, this.#at + WORD.seen, unseen, unseen + SEEN_TOO_LATE);
    // It is SEEN_TOO_LATE if an earlier recovery died here. No other thread has a view of the window, so a store is enough below.
    if (seen !== unseen && seen !== unseen + SEEN_TOO_LATE) return undefined;
    this.goOn({ thread, generation }, STEP.removing);
    return { thread, generation, step: STEP.removing };
  }

  /** Notes that the thread has a view of the direct window. Before `checkStays`. */
  noteViewer(thread: number): void {
    this.#changeViewers(thread, (bits, own) => bits | own);
  }

  /** Notes that the thread has no view of the direct window any more: it has closed it, or its recovery is complete. */
  removeViewer(thread: number): void {
    this.#changeViewers(thread, (bits, own) => bits & ~own);
  }

  /** True if the thread, alive or dead, has a view of the direct window. */
  isViewer(thread: number): boolean {
    return (this.#load(WORD.viewers + (thread >>> 5)) & (1 << (thread & 31))) !== 0;
  }

  /** True if another thread, alive or not recovered yet, has a view of the direct window. */
  hasOtherViewer(thread: number): boolean {
    for (let word = 0; word < this.#viewerWords; word++) {
      const own = word === thread >>> 5 ? 1 << (thread & 31) : 0;
      if ((this.#load(WORD.viewers + word) & ~own) !== 0) return true;
    }
    return false;
  }

  /** The generation of the published window; undefined: no window is published. */
  get published(): number | undefined {
    const found = this.#load(WORD.step);
    return (found & STEP_MASK) === STEP.published ? generationIn(found) : undefined;
  }

  /** Stores the step `abandoned` in a dead thread's name. False: the window is not published any more. */
  abandon({ thread, generation }: Held): boolean {
    return this.#swap(wordOf(generation, STEP.published, 0), wordOf(generation, STEP.abandoned, thread));
  }

  /**
   * Checks, after a view has entered the crew's structure of the window's table, or was noted as one of a direct window, that the window stays.
   * Throws IovaError "window-gone" if it is being removed. Pairs with `abandon`: either this sees its step, or the recovery then sees the view.
   */
  checkStays(generation: number): void {
    const step = this.#checked(generation) & STEP_MASK;
    if (step === STEP.abandoned || step === STEP.removing || step === STEP.halfRemoved) throw windowGone();
  }

  /** True if the default window was removed for a dynamic one, or is being removed. */
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

  /** The structure number of the window's table in the crew; undefined: no table. */
  get structure(): number | undefined {
    const noted = this.#load(WORD.structure) >>> 0;
    return noted === 0 ? undefined : noted - 1;
  }
  noteStructure(structure: number): void {
    this.#store(WORD.structure, (structure + 1) | 0);
  }

  /** The entries of a change of memory. */
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

  #changeViewers(thread: number, change: (bits: number, own: number) => number): void {
    const at = this.#at + WORD.viewers + (thread >>> 5);
    for (;;) {
      const bits = load(this.#words, at);
      const wanted = change(bits, 1 << (thread & 31));
      if (wanted === bits || compareExchange(this.#words, at, bits, wanted) === bits) return;
    }
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

/** True for steps at rest without a window. */
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
