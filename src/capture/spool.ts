/**
 * Text of unknown length on its way into an archive, whose format wants the length first. It lies compressed in a file that has no name any more:
 * whatever ends the process, nothing is left of it.
 */
import { closeSync, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { gunzipSync, gzipSync } from "node:zlib";

/** Fast: the archive compresses the text once more. */
const LEVEL = 1;

export class Spool {
  readonly #file: number;
  /** Length of each piece, compressed. */
  readonly #lengths: number[] = [];
  #bytes = 0;

  /** @param path - of a file that is made, and at once unlinked */
  constructor(path: string) {
    this.#file = openSync(path, "wx+", 0o600);
    unlinkSync(path);
  }

  /** Bytes of the text so far. */
  get bytes(): number {
    return this.#bytes;
  }

  append(piece: Uint8Array): void {
    const packed = gzipSync(piece, { level: LEVEL });
    for (let written = 0; written < packed.length; ) written += writeSync(this.#file, packed, written);
    this.#lengths.push(packed.length);
    this.#bytes += piece.length;
  }

  *pieces(): Generator<Uint8Array> {
    let position = 0;
    for (const length of this.#lengths) {
      const packed = new Uint8Array(length);
      readSync(this.#file, packed, 0, length, position);
      position += length;
      yield gunzipSync(packed);
    }
  }

  close(): void {
    closeSync(this.#file);
  }
}
