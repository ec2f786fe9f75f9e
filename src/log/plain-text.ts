/**
 * The bytes of an input as people save it → bytes of UTF-8 text in lines of bounded length: UTF-16, byte order marks, lines that end in carriage
 * returns alone, NUL bytes that a crash left in a log, lines without end. Most inputs need nothing of it and pass as they are.
 */
import { FormatError } from "../units/errors.ts";

/** Parts of every runtime (WHATWG Encoding); the library is compiled without the types of any of them. */
declare class TextDecoder {
  constructor(label?: string);
  decode(bytes?: Uint8Array, options?: { readonly stream: boolean }): string;
}
declare class TextEncoder {
  encode(text: string): Uint8Array;
}

/** Most bytes of a line. A longer line is cut: no message is as long, and the line's end may never come. */
export const MOST_LINE_BYTES: number = 65_536;
/** Bytes that show what kind of text the input is. */
const HEAD_BYTES = 4096;
const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;

export class PlainText {
  readonly #file: string;
  readonly #sink: (bytes: Uint8Array) => void;
  /** Bytes that wait until the head is whole; undefined afterwards. */
  #head: Uint8Array | undefined = new Uint8Array(0);
  #decoder: TextDecoder | undefined;
  #endsInReturns = false;
  /** Bytes since the last line feed, at most the bound and one. */
  #column = 0;
  /** Lines that were cut. */
  cutLines = 0;

  /** @param sink - gets the text in pieces, which it must not keep */
  constructor(file: string, sink: (bytes: Uint8Array) => void) {
    this.#file = file;
    this.#sink = sink;
  }

  /** Takes the next bytes. Throws FormatError when they are of no text. */
  write(bytes: Uint8Array): void {
    if (this.#head === undefined) {
      this.#pass(bytes);
      return;
    }
    const head = new Uint8Array(this.#head.length + bytes.length);
    head.set(this.#head);
    head.set(bytes, this.#head.length);
    this.#head = head;
    if (head.length >= HEAD_BYTES) this.#begin(head);
  }

  finish(): void {
    if (this.#head !== undefined) this.#begin(this.#head);
    if (this.#decoder !== undefined) this.#bound(new TextEncoder().encode(this.#decoder.decode()));
  }

  #begin(bytes: Uint8Array): void {
    this.#head = undefined;
    const head = bytes.subarray(0, HEAD_BYTES);
    const label = encodingOf(head);
    if (label !== undefined) this.#decoder = new TextDecoder(label);
    else refuseBinary(this.#file, head);
    this.#endsInReturns = label === undefined && head.includes(CARRIAGE_RETURN) && !head.includes(LINE_FEED);
    const hasMark = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
    this.#pass(hasMark ? bytes.subarray(3) : bytes);
  }

  #pass(bytes: Uint8Array): void {
    if (this.#decoder !== undefined) {
      this.#bound(new TextEncoder().encode(this.#decoder.decode(bytes, { stream: true })));
      return;
    }
    let text = bytes;
    if (this.#endsInReturns) text = text.map((byte) => (byte === CARRIAGE_RETURN ? LINE_FEED : byte));
    if (text.includes(0)) text = text.map((byte) => (byte === 0 ? 32 : byte));
    this.#bound(text);
  }

  /** Leaves out what stands behind the bound of a line. */
  #bound(bytes: Uint8Array): void {
    let first = 0;
    for (let at = 0; at < bytes.length; ) {
      const feed = bytes.indexOf(LINE_FEED, at);
      const end = feed < 0 ? bytes.length : feed;
      const column = this.#column + end - at;
      if (column > MOST_LINE_BYTES) {
        if (this.#column <= MOST_LINE_BYTES) this.cutLines++;
        this.#give(bytes, first, at + Math.max(0, MOST_LINE_BYTES - this.#column));
        first = end;
      }
      this.#column = feed < 0 ? Math.min(column, MOST_LINE_BYTES + 1) : 0;
      at = end + 1;
    }
    this.#give(bytes, first, bytes.length);
  }

  #give(bytes: Uint8Array, first: number, end: number): void {
    if (end > first) this.#sink(first === 0 && end === bytes.length ? bytes : bytes.subarray(first, end));
  }
}

/** UTF-16 by its mark, or by the zero bytes of ASCII text. */
function encodingOf(head: Uint8Array): "utf-16le" | "utf-16be" | undefined {
  if (head[0] === 0xff && head[1] === 0xfe) return "utf-16le";
  if (head[0] === 0xfe && head[1] === 0xff) return "utf-16be";
  const zeros = [0, 0];
  for (const [at, byte] of head.entries()) if (byte === 0) zeros[at & 1] = (zeros[at & 1] as number) + 1;
  const half = head.length / 2;
  const [even = 0, odd = 0] = zeros;
  if (half < 8) return undefined;
  if (odd > half * 0.8 && even < half * 0.1) return "utf-16le";
  return even > half * 0.8 && odd < half * 0.1 ? "utf-16be" : undefined;
}

/** Zero bytes beside other control characters, or nothing but zero bytes: no text. */
function refuseBinary(file: string, head: Uint8Array): void {
  const at = head.indexOf(0);
  if (at < 0) return;
  const zeros = head.filter((byte) => byte === 0).length;
  const others = head.filter((byte) => (byte > 0 && byte < 9) || (byte > 13 && byte < 27) || byte > 0xf7).length;
  if (others === 0 && zeros < head.length / 2) return;
  throw new FormatError(
    `${file} is a binary file (byte ${at} is zero); expected the text of a kernel log or of a trace. \`strings FILE\` finds text in it`,
  );
}
