/**
 * Seeks many words in a text at once: one table look-up a character, however many words there are. The table is an automaton whose states are made
 * when a text first leads to them (as in Aho and Corasick, "Efficient string matching", 1975; made lazily, since words of character sets would
 * make many states that no log meets).
 */
import type { Word } from "./required-words.ts";

/** An entry of the table that has not been made yet. */
const UNMADE = -1;
/** The entry of a state, given by its offset in the table, where a word ends: negative, so that a search asks one question a character. */
const withEnds = (offset: number): number => -2 - offset;
/** Most states. A table with more starts again, so that memory is bounded. */
const MOST_STATES = 4096;
const BYTES = 256;
/** All characters that no word distinguishes. */
const OTHER = 0;

interface State {
  /** Places inside words that the text read so far may have reached, in order. */
  readonly places: readonly number[];
  /** Numbers of the words that end here. */
  readonly ends: readonly number[];
}

export class WordSearch {
  /** Class of each byte; words have ASCII characters only. */
  readonly #classes = new Uint8Array(BYTES);
  #classCount = 1;
  /** All words behind each other: the classes that may stand at each place, and the number of the word that ends behind it or -1. */
  readonly #sets: ReadonlySet<number>[] = [];
  readonly #endOf: number[] = [];
  readonly #starts: number[] = [];
  #states: State[] = [];
  #byKey = new Map<string, number>();
  #table = new Int32Array(0);

  /** Words of one number are found as one. */
  constructor(words: readonly { readonly word: Word; readonly number: number }[]) {
    this.#classify(words.map(({ word }) => word));
    for (const { word, number } of words) {
      this.#starts.push(this.#sets.length);
      word.forEach((set, at) => {
        this.#sets.push(new Set([...set].map((one) => this.#classes[one.charCodeAt(0)] as number)));
        this.#endOf.push(at === word.length - 1 ? number : -1);
      });
    }
    this.#clear();
  }

  /** Calls `onWord` for each word in [first, end) of the text, where it ends; a word that occurs twice is found twice. */
  search(text: string, first: number, end: number, onWord: (number: number) => void): void {
    const classes = this.#classes;
    let table = this.#table;
    let state = 0;
    for (let at = first; at < end; at++) {
      const code = text.charCodeAt(at);
      const column = code < BYTES ? (classes[code] as number) : OTHER;
      const entry = table[state + column] as number;
      if (entry >= 0) {
        state = entry;
        continue;
      }
      state = this.#enter(state, column, entry, onWord);
      table = this.#table;
    }
  }

  /** The same in bytes of UTF-8 text. */
  searchBytes(bytes: Uint8Array, first: number, end: number, onWord: (number: number) => void): void {
    const classes = this.#classes;
    let table = this.#table;
    let state = 0;
    for (let at = first; at < end; at++) {
      const column = classes[bytes[at] as number] as number;
      const entry = table[state + column] as number;
      if (entry >= 0) {
        state = entry;
        continue;
      }
      state = this.#enter(state, column, entry, onWord);
      table = this.#table;
    }
  }

  /** Follows an entry that is not made yet, or at which words end. Returns the next state's offset. */
  #enter(state: number, column: number, known: number, onWord: (number: number) => void): number {
    const entry = known === UNMADE ? this.#make(state, column) : known;
    if (entry >= 0) return entry;
    const offset = withEnds(entry);
    for (const number of (this.#states[offset / this.#classCount] as State).ends) onWord(number);
    return offset;
  }

  /** Characters that the same sets hold get one class. */
  #classify(words: readonly Word[]): void {
    const sets = [...new Set(words.flat())];
    const byMembership = new Map<string, number>();
    for (let code = 0; code < 128; code++) {
      const membership = sets.map((set) => (set.has(String.fromCharCode(code)) ? "1" : "0")).join("");
      if (!membership.includes("1")) continue;
      let number = byMembership.get(membership);
      if (number === undefined) {
        number = this.#classCount++;
        byMembership.set(membership, number);
      }
      this.#classes[code] = number;
    }
  }

  #clear(): void {
    this.#states = [];
    this.#byKey = new Map();
    this.#table = new Int32Array(64 * this.#classCount).fill(UNMADE);
    this.#stateOf([], []);
  }

  /** Fills the entry of a state (given by its offset in the table) for a class of characters. */
  #make(offset: number, column: number): number {
    const before = this.#states[offset / this.#classCount] as State;
    const places: number[] = [];
    const ends = new Set<number>();
    for (const place of [...before.places, ...this.#starts]) {
      if (this.#sets[place]?.has(column) !== true) continue;
      const number = this.#endOf[place] as number;
      if (number >= 0) ends.add(number);
      else places.push(place + 1);
    }
    const isFull = this.#states.length === MOST_STATES;
    if (isFull) this.#clear();
    const state = this.#stateOf(places, [...ends]) * this.#classCount;
    const entry = ends.size > 0 ? withEnds(state) : state;
    if (!isFull) this.#table[offset + column] = entry;
    return entry;
  }

  #stateOf(places: readonly number[], ends: readonly number[]): number {
    const ordered = [...new Set(places)].sort((a, b) => a - b);
    const key = `${ordered.join(" ")};${ends.join(" ")}`;
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    const number = this.#states.length;
    this.#states.push({ places: ordered, ends });
    this.#byKey.set(key, number);
    const size = (number + 1) * this.#classCount;
    if (size > this.#table.length) {
      const larger = new Int32Array(2 * this.#table.length).fill(UNMADE);
      larger.set(this.#table);
      this.#table = larger;
    }
    return number;
  }
}
