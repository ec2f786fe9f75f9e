/** One thread of a cell: its assignment, and its barrier with the other players. */
import { add, load, notify, type SharedBuffer, waitWhile, wordsOf } from "../src/shared/memory.ts";

/** Shared words of a cell: the players' barrier, then words for the case. */
const MEETING_AT = 0;
export const CASE_WORDS_AT = 32;
export const CELL_WORDS = 8192;

/** Messages among the players of a cell: the first one sends, the others receive. */
export interface Mail {
  send(value: unknown): void;
  receive(): Promise<unknown>;
}

export class Player {
  /** 0 .. players − 1. */
  readonly number: number;
  readonly players: number;
  /** Input that the case made on the main thread. */
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

  /** Player 0 makes a structured-cloneable value; all players get it. */
  async share<T>(make: () => T): Promise<T> {
    if (this.number > 0) return (await this.#mail.receive()) as T;
    const made = make();
    if (this.players > 1) this.#mail.send(made);
    return made;
  }

  /** Barrier: waits until all players have called it. */
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

/** Runs `work` on one player after the other, so that together they can fill the table to the last page. */
export function inTurn<T>(player: Player, work: () => T): T {
  for (let turn = 0; turn < player.number; turn++) player.meet();
  const done = work();
  for (let turn = player.number; turn < player.players; turn++) player.meet();
  return done;
}
