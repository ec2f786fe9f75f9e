/** The bytes of an input that a verb names: a file, or `-` for standard input. */
import { createReadStream, statSync } from "node:fs";

/** Pieces of a file, in order; `at` is told how far the reading is, 0 … 1. */
export async function* piecesOfInput(file: string, at: (done: number) => void = () => {}): AsyncGenerator<Uint8Array> {
  const total = file === "-" ? 0 : (statSync(file, { throwIfNoEntry: false })?.size ?? 0);
  let bytes = 0;
  for await (const piece of file === "-" ? process.stdin : createReadStream(file, { highWaterMark: 2 ** 20 })) {
    bytes += (piece as Uint8Array).length;
    if (total > 0) at(Math.min(1, bytes / total));
    yield piece as Uint8Array;
  }
}
