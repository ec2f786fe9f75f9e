/** One thread of a cell: what it is told, and how it meets the others. */
import { add, load, notify, type SharedBuffer, waitWhile, wordsOf } from "../src/shared/memory.ts";

/** The cell's own words: where its players meet, and where a case may put what they share. */
const MEETING_AT = 0;
export const CASE_WORDS_AT = 32;
export const CELL_WORDS = 8192;

/** How the players of a cell pass something on: the first one sends, the others receive. */
export interface Mail {
  send(value: unknown): void;
  receive(): Promise<unknown>;
}

export class Player {
  /** 0 .. players − 1. */
  readonly number: number;
  readonly players: number;
  /** What the case has made on the main thread. */
  readonly input: unknown;
  /** `CELL_WORDS` zeroed words that all players of the cell share, for the case from CASE_WORDS_AT on. */
  readonly words: SharedBuffer;
  readonly #mail: Mail;
  #meetings = 0;

  constructor(number: number, players: number, input: unknown, words: SharedBuffer, mail: Mail) {
    this.number = number;
    this.players = players;
    this.input = input;
    this.words = words;
    this.#mail = mail;
  }

  /** Player 0 makes something structured-cloneable; all players have it. */
  async share<T>(make: () => T): Promise<T> {
    if (this.number > 0) return (await this.#mail.receive()) as T;
    const made = make();
    if (this.players > 1) this.#mail.send(made);
    return made;
  }

  /** Waits until all players have come here. */
  meet(): void {
    const words = wordsOf(this.words);
    this.#meetings++;
    const wanted = this.#meetings * this.players;
    add(words, MEETING_AT, 1);
    notify(words, MEETING_AT, this.players);
    for (let here = load(words, MEETING_AT); here < wanted; here = load(words, MEETING_AT)) {
      waitWhile(words, MEETING_AT, here, 100);
    }
  }
}

/** Does some work on one thread after the other: all together fill the table to the last page. */
export function inTurn<T>(player: Player, work: () => T): T {
  for (let turn = 0; turn < player.number; turn++) player.meet();
  const done = work();
  for (let turn = player.number; turn < player.players; turn++) player.meet();
  return done;
}
