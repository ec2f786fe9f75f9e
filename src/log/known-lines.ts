/**
 * Lines that were read before: most lines of a log occur many times, with different times before them. What a line says follows from its text, so
 * the fields that the shapes found in it are kept, and a line of a known text is read without any pattern.
 *
 * A line is known by its text, or by the bytes behind its time: then no string is made of it. A line that ends in a word of 16 hexadecimal digits may
 * be known by what stands before the word (`Shape.word`): dumps of registers differ in their words alone.
 */
import { LINE, worthOf } from "./candidates.ts";
import type { Shape, Values } from "./shape.ts";

/** Part of every runtime (WHATWG Encoding); the library is compiled without the types of any of them. */
declare class TextEncoder {
  encode(text: string): Uint8Array;
}

/** Lines remembered; then all are forgotten. */
const MOST_KNOWN = 4096;
/** A power of two; half full at most. */
const SLOTS = 2 * MOST_KNOWN;
const FNV_BASIS = 0x811c9dc5 | 0;
const FNV_PRIME = 0x01000193;
const WORD_DIGITS = 16;
const ZERO = 0x30;
const X = 0x78;
/** The time before a line, and nothing else. */
const TIME_ALONE = /^\[ *\d{1,9}\.\d{3,6}\] *$/;
const ENDS_IN_WORD = /0x[0-9a-f]{16}$/;
const ASCII_WITHOUT_BLANK_ENDS = /^[!-~](?:[\t -~]*[!-~])?$/;

/** A message in a line. */
export interface Reading {
  readonly shape: Shape;
  readonly values: Values;
}

/** The facts of a line, without its time. */
export interface KnownLine {
  readonly text: string;
  /** The messages in it; none when they say nothing more than they said the first time. */
  readonly readings: readonly Reading[];
  /** It looks like a message of an IOMMU that no shape reads. */
  readonly isUnread: boolean;
}

/** The known facts of lines with the same bytes. */
interface Entry {
  readonly hash: number;
  /** Behind the time; of a line that ends in a word, those before its digits. */
  readonly bytes: Uint8Array;
  /** The field of the word at the end, whose digits do not stand in `bytes`; undefined: the whole line stands there. */
  readonly word: string | undefined;
  readonly line: KnownLine;
}

const ENCODER = new TextEncoder();

export class KnownLines {
  readonly #byText = new Map<string, KnownLine>();
  readonly #slots: (Entry | undefined)[] = new Array(SLOTS).fill(undefined);
  #used = 0;
  /** Hashes of lines that came once, each at its own place: a later one takes the place of an earlier one. */
  readonly #seen = new Int32Array(SLOTS);

  /** The facts of the line with this message. */
  ofText(text: string): KnownLine | undefined {
    return this.#byText.get(text);
  }

  /** The facts of the line with the message [first, end), which follows a time since boot. */
  ofBytes(bytes: Uint8Array, first: number, end: number): KnownLine | undefined {
    const digits = endsInWord(bytes, first, end) ? end - WORD_DIGITS : end;
    const hashOfRest = hashOf(bytes, first, digits);
    const hash = hashOf(bytes, digits, end, hashOfRest);
    const line = this.#slots[this.#slotOf(hash, bytes, first, end, false)]?.line;
    if (line !== undefined || digits === end) return line;
    const entry = this.#slots[this.#slotOf(hashOfRest, bytes, first, digits, true)];
    if (entry?.word === undefined) return undefined;
    const another = withWord(entry.line, entry.word, bytes, digits, end);
    if (this.#isSecond(hash)) this.#keep(hash, bytes.slice(first, end), undefined, another);
    return another;
  }

  /** Remembers a line that comes the second time: many come once. @param raw - as it stands in the log */
  learn(raw: string, line: KnownLine): void {
    const { text } = line;
    if (!this.#isSecond(hashOfText(text))) return;
    this.#makeRoom();
    this.#byText.set(text, line);
    if (!isAsPrinted(raw, text)) return;
    const word = wordOf(line);
    const bytes = ENCODER.encode(word === undefined ? text : text.slice(0, -WORD_DIGITS));
    this.#keep(hashOf(bytes, 0, bytes.length), bytes, word, word === undefined ? line : withPlainFields(line, word));
  }

  #keep(hash: number, bytes: Uint8Array, word: string | undefined, line: KnownLine): void {
    this.#makeRoom();
    const slot = this.#slotOf(hash, bytes, 0, bytes.length, word !== undefined);
    if (this.#slots[slot] === undefined) this.#used++;
    this.#slots[slot] = { hash, bytes, word, line };
  }

  #makeRoom(): void {
    if (this.#byText.size < MOST_KNOWN && this.#used < MOST_KNOWN) return;
    this.#byText.clear();
    this.#slots.fill(undefined);
    this.#used = 0;
  }

  /** Notes the hash of a line; true when it was noted before. */
  #isSecond(hash: number): boolean {
    const slot = hash & (SLOTS - 1);
    if (this.#seen[slot] === hash) return true;
    this.#seen[slot] = hash;
    return false;
  }

  /** The slot of the entry with these bytes, or the free one where it belongs. */
  #slotOf(hash: number, bytes: Uint8Array, first: number, end: number, hasWord: boolean): number {
    let slot = hash & (SLOTS - 1);
    for (let entry = this.#slots[slot]; entry !== undefined; entry = this.#slots[slot]) {
      const isSame = entry.hash === hash && (entry.word !== undefined) === hasWord;
      if (isSame && areEqual(entry.bytes, bytes, first, end)) return slot;
      slot = (slot + 1) & (SLOTS - 1);
    }
    return slot;
  }
}

/**
 * True if the line is the kernel's time and the text, without parts to remove, decode or split. Then each line with the same bytes behind
 * another time has the same text.
 */
function isAsPrinted(raw: string, text: string): boolean {
  if (!raw.endsWith(text) || !ASCII_WITHOUT_BLANK_ENDS.test(text) || text.endsWith("=")) return false;
  return TIME_ALONE.test(raw.slice(0, raw.length - text.length)) && worthOf(raw) === LINE.message;
}

/** The field of the word in which the line ends, when the word may be any other. */
function wordOf({ text, readings }: KnownLine): string | undefined {
  const [only] = readings;
  const name = only?.shape.word;
  if (only === undefined || name === undefined || readings.length > 1 || !ENDS_IN_WORD.test(text)) return undefined;
  return only.values.text(name) === text.slice(-WORD_DIGITS) ? name : undefined;
}

/** The groups of a match have no prototype; a plain object is copied many times as fast. */
function withPlainFields(line: KnownLine, word: string): KnownLine {
  const { shape, values } = line.readings[0] as Reading;
  return { ...line, readings: [{ shape, values: values.with(word, values.text(word) ?? "") }] };
}

/** A line that differs from a known one in its last word alone, the digits [first, end), which stand in this field. */
function withWord(line: KnownLine, word: string, bytes: Uint8Array, first: number, end: number): KnownLine {
  const { shape, values } = line.readings[0] as Reading;
  let digits = "";
  for (let at = first; at < end; at++) digits += String.fromCharCode(bytes[at] as number);
  const text = line.text.slice(0, -WORD_DIGITS) + digits;
  return { text, readings: [{ shape, values: values.with(word, digits) }], isUnread: false };
}

/** FNV-1a of the bytes [first, end), behind those that made `hash`. */
function hashOf(bytes: Uint8Array, first: number, end: number, hash = FNV_BASIS): number {
  let all = hash;
  for (let at = first; at < end; at++) all = Math.imul(all ^ (bytes[at] as number), FNV_PRIME);
  return all;
}

/** The same of a text: equal for its bytes when it is ASCII. */
function hashOfText(text: string): number {
  let hash = FNV_BASIS;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), FNV_PRIME);
  return hash;
}

function areEqual(known: Uint8Array, bytes: Uint8Array, first: number, end: number): boolean {
  if (known.length !== end - first) return false;
  for (let at = 0; at < known.length; at++) if (known[at] !== bytes[first + at]) return false;
  return true;
}

/** True if the bytes end in `0x` and 16 digits, the kernel's form of an address. */
function endsInWord(bytes: Uint8Array, first: number, end: number): boolean {
  const digits = end - WORD_DIGITS;
  if (digits - 2 < first || bytes[digits - 1] !== X || bytes[digits - 2] !== ZERO) return false;
  for (let at = digits; at < end; at++) if (!isDigit(bytes[at] as number)) return false;
  return true;
}

/** 0 to 9 and a to f. */
function isDigit(code: number): boolean {
  return (code >= 48 && code <= 57) || (code >= 97 && code <= 102);
}
