/**
 * How the main thread controls its players, through a few shared words: stop, pause, and for each place of the crew the activity and the
 * thread slot of its player. It uses words because messages of a killed player may be lost, and words that it has stored are not.
 *
 * Pairing: a player stores RUNNING, then looks at `pause`; the main thread stores `pause`, then looks for RUNNING. All are
 * sequentially consistent, so one of the two sees the other.
 */
import {
  createShared,
  load,
  notify,
  type SharedBuffer,
  type SharedWords,
  store,
  waitWhile,
  wordsOf,
} from "../../shared/memory.ts";

const STOP = 0;
const PAUSE = 1;
const PLACES = 2;
const ACTIVITY = 0;
const SLOT = 1;
const PLACE_WORDS = 3;

/** No player, or one that has not yet attached. */
export const AWAY = 0;
export const RUNNING = 1;
/** Between two operations, until the pause is over. */
const PAUSED = 2;
/** It has seen `stop`, and is giving back what it has. */
const STOPPED = 3;

/** One thread's view. */
export class Control {
  readonly #words: SharedWords;

  constructor(buffer: SharedBuffer) {
    this.#words = wordsOf(buffer);
  }

  static create(places: number): SharedBuffer {
    return createShared((PLACES + places * PLACE_WORDS) * 4);
  }

  // The player's side.

  /** The player at this place has attached, to the table and (if there is one) to its machine, and begins. */
  begin(place: number, slot: number): void {
    store(this.#words, at(place) + SLOT, slot + 1);
    this.#set(place, RUNNING);
  }

  /** Between two operations: waits while there is a pause. False: stop. */
  goOn(place: number): boolean {
    if (load(this.#words, PAUSE) !== 0) this.#rest(place);
    if (load(this.#words, STOP) === 0) return true;
    this.#set(place, STOPPED);
    return false;
  }

  #rest(place: number): void {
    while (load(this.#words, PAUSE) !== 0) {
      this.#set(place, PAUSED);
      waitWhile(this.#words, PAUSE, 1, 100);
    }
    this.#set(place, RUNNING);
    // A pause may have begun since: then the main thread waits for us, or we see it here.
    if (load(this.#words, PAUSE) !== 0) this.#rest(place);
  }

  // The main thread's side.

  /** For a new player. */
  reset(place: number): void {
    store(this.#words, at(place) + SLOT, 0);
    this.away(place);
  }

  /** The player at this place is gone. The words that it has stored remain. */
  away(place: number): void {
    this.#set(place, AWAY);
  }

  pause(): void {
    store(this.#words, PAUSE, 1);
  }

  resume(): void {
    store(this.#words, PAUSE, 0);
    notify(this.#words, PAUSE, Number.POSITIVE_INFINITY);
  }

  set stop(stop: boolean) {
    store(this.#words, STOP, stop ? 1 : 0);
  }

  activityOf(place: number): number {
    return load(this.#words, at(place) + ACTIVITY);
  }

  /** The thread slot of the player at this place; -1: not yet stored. */
  slotOf(place: number): number {
    return load(this.#words, at(place) + SLOT) - 1;
  }

  /** Its slot on the machine; -1: not yet stored. */

  /** Sleeps while the player does this, for at most so long. */
  awaitChange(place: number, activity: number, milliseconds: number): void {
    waitWhile(this.#words, at(place) + ACTIVITY, activity, milliseconds);
  }

  #set(place: number, activity: number): void {
    store(this.#words, at(place) + ACTIVITY, activity);
    notify(this.#words, at(place) + ACTIVITY, 1);
  }
}

function at(place: number): number {
  return PLACES + place * PLACE_WORDS;
}
