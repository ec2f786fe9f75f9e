/**
 * The files of an input: the input itself, or, when its text is a tar archive (told by its first header), the files in that. The archives of
 * `iova capture` are read so.
 */
import { FormatError } from "../units/errors.ts";

/** The next bytes of a file; a file's pieces follow each other, and an empty file has one, without bytes. */
export interface FilePiece {
  readonly file: string;
  readonly bytes: Uint8Array;
}

const BLOCK_BYTES = 512;
/** "ustar" stands there in every header. */
const MAGIC = { offset: 257, text: "ustar" } as const;

/**
 * @param pieces - each holds until the next one is asked for, as do the bytes that come out
 * @param input - its name; a file of an archive is `INPUT/NAME`, without the archive's folders
 * @throws FormatError when an archive is cut or damaged
 */
export async function* filesOf(
  input: string,
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncGenerator<FilePiece> {
  let head: Uint8Array = new Uint8Array(0);
  let archive: TarReader | undefined;
  let isKnown = false;
  for await (const piece of pieces) {
    const bytes: Uint8Array = isKnown ? piece : joined(head, piece);
    if (!isKnown && bytes.length < BLOCK_BYTES) {
      head = bytes.slice();
      continue;
    }
    if (!isKnown && isArchive(bytes)) archive = new TarReader(input);
    isKnown = true;
    if (archive === undefined) yield { file: input, bytes };
    else yield* archive.read(bytes);
  }
  if (!isKnown) yield { file: input, bytes: head };
  archive?.end();
}

function isArchive(bytes: Uint8Array): boolean {
  return textAt(bytes, MAGIC.offset, MAGIC.text.length) === MAGIC.text;
}

/** The file that is being read. */
interface Current {
  readonly file: string;
  /** Bytes of it, and of the padding behind it, that are still to come. */
  bytes: number;
  padding: number;
  /** A folder, a link, an extension of the format: its content is no file's. */
  readonly isSkipped: boolean;
}

class TarReader {
  readonly #input: string;
  /** Bytes of a header that is not whole yet. */
  #rest: Uint8Array = new Uint8Array(0);
  #current: Current | undefined;
  #offset = 0;
  #hasEnded = false;

  constructor(input: string) {
    this.#input = input;
  }

  *read(piece: Uint8Array): Generator<FilePiece> {
    let bytes = joined(this.#rest, piece);
    this.#rest = new Uint8Array(0);
    while (bytes.length > 0 && !this.#hasEnded) {
      if (this.#current === undefined) {
        if (bytes.length < BLOCK_BYTES) {
          this.#rest = bytes.slice();
          return;
        }
        yield* this.#begin(bytes.subarray(0, BLOCK_BYTES));
        bytes = this.#after(bytes, BLOCK_BYTES);
        continue;
      }
      const current: Current = this.#current;
      const content = Math.min(current.bytes, bytes.length);
      if (content > 0 && !current.isSkipped) yield { file: current.file, bytes: bytes.subarray(0, content) };
      const padding = Math.min(current.padding, bytes.length - content);
      current.bytes -= content;
      current.padding -= padding;
      bytes = this.#after(bytes, content + padding);
      if (current.bytes + current.padding === 0) this.#current = undefined;
    }
  }

  end(): void {
    if (this.#hasEnded || (this.#current === undefined && this.#rest.length === 0)) return;
    throw new FormatError(`${this.#input}: the tar archive ends too early, after byte ${this.#offset} of its text`);
  }

  #after(bytes: Uint8Array, count: number): Uint8Array {
    this.#offset += count;
    return bytes.subarray(count);
  }

  *#begin(header: Uint8Array): Generator<FilePiece> {
    // A block of zeros ends an archive.
    if (header.every((byte) => byte === 0)) {
      this.#hasEnded = true;
      return;
    }
    if (!isArchive(header) || numberAt(header, 148, 8) !== sumOf(header)) {
      throw new FormatError(
        `${this.#input}: the tar archive is damaged: byte ${this.#offset} of its text begins no file`,
      );
    }
    const bytes = numberAt(header, 124, 12);
    const name = textAt(header, 0, 100);
    const isSkipped = !["0", ""].includes(textAt(header, 156, 1));
    const file = `${this.#input}/${name.replace(/^.*\//, "")}`;
    if (bytes > 0)
      this.#current = { file, bytes, padding: (BLOCK_BYTES - (bytes % BLOCK_BYTES)) % BLOCK_BYTES, isSkipped };
    else if (!isSkipped) yield { file, bytes: new Uint8Array(0) };
  }
}

/** The sum of a header's bytes, with blanks in its own place. */
function sumOf(header: Uint8Array): number {
  return header.reduce((sum, byte, at) => sum + (at >= 148 && at < 156 ? 32 : byte), 0);
}

/** Octal digits, or binary with the first bit set (GNU). */
function numberAt(header: Uint8Array, offset: number, length: number): number {
  if (((header[offset] ?? 0) & 0x80) === 0) return Number.parseInt(textAt(header, offset, length).trim() || "0", 8);
  return header.subarray(offset + 1, offset + length).reduce((value, byte) => value * 256 + byte, 0);
}

/** Up to the first zero byte. */
function textAt(bytes: Uint8Array, offset: number, length: number): string {
  const field = bytes.subarray(offset, offset + length);
  const end = field.indexOf(0);
  return new TextDecoder("latin1").decode(end < 0 ? field : field.subarray(0, end));
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  if (a.length === 0) return b;
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
