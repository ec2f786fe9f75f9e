/**
 * Dictionaries over bytes: a fixed one of the words a format knows, and a growing one that numbers names as they appear.
 * Both hash while the reader walks over the word, and compare the bytes before they answer.
 */
import { printable } from "./bytes.ts";

/** One step of the hash that both dictionaries use; start from 0. */
export function hashStep(hash: number, byte: number): number {
  return (Math.imul(hash, 31) + byte) | 0;
}

function hashOf(bytes: Uint8Array, first: number, end: number): number {
  let hash = 0;
  for (let at = first; at < end; at++) hash = hashStep(hash, bytes[at] as number);
  return hash;
}

function spread(hash: number): number {
  return hash ^ (hash >>> 7) ^ (hash >>> 16);
}

/** Open addressing over words that are known in advance. */
export class WordTable {
  readonly #mask: number;
  readonly #hashes: Int32Array;
  readonly #values: Int32Array;
  readonly #words: Uint8Array[] = [];

  /** `words`: each word (ASCII) and its value, 1 or more. */
  constructor(words: readonly (readonly [word: string, value: number])[]) {
    let slots = 16;
    while (slots < words.length * 4) slots *= 2;
    this.#mask = slots - 1;
    this.#hashes = new Int32Array(slots);
    this.#values = new Int32Array(slots);
    for (let slot = 0; slot < slots; slot++) this.#words.push(new Uint8Array(0));
    for (const [word, value] of words) this.#put(word, value);
  }

  #put(word: string, value: number): void {
    const bytes = Uint8Array.from(word, (letter) => letter.charCodeAt(0));
    const hash = hashOf(bytes, 0, bytes.length);
    let slot = spread(hash) & this.#mask;
    while (this.#values[slot] !== 0) slot = (slot + 1) & this.#mask;
    this.#hashes[slot] = hash;
    this.#values[slot] = value;
    this.#words[slot] = bytes;
  }

  /** Value of the word [first, end) with this hash; 0: not in the table. */
  find(bytes: Uint8Array, first: number, end: number, hash: number): number {
    let slot = spread(hash) & this.#mask;
    while (this.#values[slot] !== 0) {
      if (this.#hashes[slot] === hash && equal(bytes, first, end, this.#words[slot] as Uint8Array)) {
        return this.#values[slot] as number;
      }
      slot = (slot + 1) & this.#mask;
    }
    return 0;
  }
}

/** Numbers names 0, 1, 2, … in the order in which they first appear. */
export class NameTable {
  readonly names: string[] = [];
  readonly #bytes: Uint8Array[] = [];
  readonly #byHash: Map<number, number[]> = new Map();
  readonly #most: number;
  #last = -1;

  /** @param most - names kept; every further one is -1 */
  constructor(most: number = Number.POSITIVE_INFINITY) {
    this.#most = most;
  }

  /** The number of the name [first, end); -1 when there is no room for it. */
  number(bytes: Uint8Array, first: number, end: number): number {
    // Neighbouring lines mostly name the same device.
    if (this.#last >= 0 && equal(bytes, first, end, this.#bytes[this.#last] as Uint8Array)) return this.#last;
    const hash = hashOf(bytes, first, end);
    const same = this.#byHash.get(hash) ?? [];
    const known = same.find((name) => equal(bytes, first, end, this.#bytes[name] as Uint8Array));
    if (known === undefined && this.names.length >= this.#most) return -1;
    this.#last = known ?? this.#add(bytes.slice(first, end), hash, same);
    return this.#last;
  }

  #add(word: Uint8Array, hash: number, same: number[]): number {
    const number = this.names.length;
    this.names.push(printable(word, 0, word.length, 256));
    this.#bytes.push(word);
    same.push(number);
    this.#byHash.set(hash, same);
    return number;
  }
}

function equal(bytes: Uint8Array, first: number, end: number, word: Uint8Array): boolean {
  const length = end - first;
  if (length !== word.length) return false;
  for (let i = 0; i < length; i++) if (bytes[first + i] !== word[i]) return false;
  return true;
}
