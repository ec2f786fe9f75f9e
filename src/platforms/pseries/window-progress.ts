/**
 * How far a device's dynamic window is: one word of the platform's shared state. It decides which thread makes, changes or removes the
 * window, and keeps a view of an earlier window away from the one that was made in its place.
 *
 * The word holds a step in bits 0–2 and the window's generation above them. Every making counts the generation up; a view carries the
 * generation of the window that it knows. A thread begins by a compare-and-swap from the step and generation that it expects to a step
 * that no other thread begins from (`settingUp`, `changing`), so at most one thread works on the window, and it works on the window
 * that it knows. That thread ends with a store, which pairs with the next thread's compare-and-swap: the next one sees what it did.
 *
 * A thread that dies in between leaves `settingUp` or `changing`: no thread can say how far the firmware came, so none goes on.
 */
import { compareExchange, load, type SharedWords, store } from "../../shared/memory.ts";
import { IovaError } from "../../units/errors.ts";

/** Steps. 0 is what new shared memory holds. */
export const STEP = {
  untried: 0,
  settingUp: 1,
  published: 2,
  failed: 3,
  /** A thread adds memory, removes memory, or removes the window. */
  changing: 4,
  /** The dynamic window is gone; the default one has still to be brought back. */
  halfRemoved: 5,
} as const;
const STEP_MASK = 7;
const GENERATION_UNIT = 8;
/** Generations count from 0 to 2^28 − 1, then from 0 again: a signed word holds them. */
const GENERATIONS: number = 2 ** 28;

export class WindowProgress {
  readonly #words: SharedWords;
  readonly #at: number;

  constructor(words: SharedWords, at: number) {
    this.#words = words;
    this.#at = at;
  }

  /** Begins to make a window. Its generation; -1: another window is there, or is being made, or a try has failed. */
  beginMaking(): number {
    const found = load(this.#words, this.#at);
    if ((found & STEP_MASK) !== STEP.untried) return -1;
    const generation = (generationIn(found) + 1) % GENERATIONS;
    return this.#swap(found, wordOf(generation, STEP.settingUp)) ? generation : -1;
  }

  /**
   * Begins to change or remove the window of this generation. The step that it was at, `published` or `halfRemoved`; `changing`: another
   * thread is changing it. Throws IovaError "window-gone" when it has been removed; then nothing has changed.
   */
  beginChanging(generation: number): number {
    const found = load(this.#words, this.#at);
    const step = found & STEP_MASK;
    if (generationIn(found) !== generation || step === STEP.untried) throw windowGone();
    if (step === STEP.changing) return step;
    return this.#swap(found, wordOf(generation, STEP.changing)) ? step : STEP.changing;
  }

  /** Ends what `beginMaking` or `beginChanging` began. */
  end(generation: number, step: number): void {
    store(this.#words, this.#at, wordOf(generation, step));
  }

  #swap(from: number, to: number): boolean {
    return compareExchange(this.#words, this.#at, from, to) === from;
  }
}

function generationIn(word: number): number {
  return Math.floor(word / GENERATION_UNIT);
}

function wordOf(generation: number, step: number): number {
  return generation * GENERATION_UNIT + step;
}

function windowGone(): IovaError {
  return new IovaError(
    "window-gone",
    "the dynamic window that this view knows has been removed by another view; attach anew to that view's handle",
  );
}
