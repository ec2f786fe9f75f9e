/**
 * Reads what people hand over: a file or standard input, plain or packed by gz or zstd (told by its first bytes, not by its name), in pieces,
 * so that an input may be larger than memory. Whatever is wrong with it is an error that says what, where, and what to do.
 */
import { type FileHandle, open } from "node:fs/promises";
import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { FormatError, IovaError } from "../units/errors.ts";
import { ZstdDecompress } from "./vendor.ts";

const PIECE_BYTES = 2 ** 20;

/** How far the reading is; `bytes` of the input itself (packed, if it is), `total` 0 when unknown. */
export type InputProgress = (bytes: number, total: number) => void;

export interface InputOptions {
  /** The expected kind of file, for errors: `a trace file`. */
  readonly what: string;
  /** The code of errors about opening and reading. */
  readonly code: string;
  readonly progress?: InputProgress;
  /** The amount of text read so far, for errors in packed data; empty, or beginning with a blank. */
  readonly sofar?: () => string;
  /** Called before the first piece of a file that is not packed, with its length in bytes. */
  readonly onLength?: (bytes: number) => void;
  /** Called when the input turns out to be packed. */
  readonly onPacked?: () => void;
}

/** In place of a path: standard input. */
export const STANDARD_INPUT = "-";

/** First bytes of other files that people may hand over, and what to do about each. */
const FOREIGN_MAGIC: readonly (readonly [magic: readonly number[], what: string, advice: string])[] = [
  [[0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], "compressed by xz", "unpack it first: xz -d"],
  [[0x42, 0x5a, 0x68], "compressed by bzip2", "unpack it first: bzip2 -d"],
  [[0x50, 0x4b, 0x03, 0x04], "a zip archive", "unpack it first: unzip"],
  [
    [0x17, 0x08, 0x44, 0x74, 0x72, 0x61, 0x63, 0x69, 0x6e, 0x67],
    "trace-cmd's own recording",
    "make text of it: trace-cmd report -i FILE",
  ],
  [[0x50, 0x45, 0x52, 0x46, 0x49, 0x4c, 0x45, 0x32], "perf's own recording", "make text of it: perf script -i FILE"],
];
const GZ_MAGIC = [0x1f, 0x8b];
const ZSTD_MAGIC = [0x28, 0xb5, 0x2f, 0xfd];

/**
 * The text of file `path`, or of standard input for `-`, unpacked. Nothing comes from an empty input. A piece holds until the next one is asked for.
 * @throws IovaError (of the code given) when it can't be opened or read, FormatError when it is a file of another kind or damaged
 */
export async function* readPieces(path: string, options: InputOptions): AsyncGenerator<Uint8Array, undefined> {
  if (path === STANDARD_INPUT) {
    yield* unpackedPieces("standard input", standardInput(options), 0, options);
    return undefined;
  }
  const file = await openFile(path, options);
  try {
    const stats = await file.stat();
    if (stats.isDirectory()) throw new IovaError(options.code, `${path} is a directory; expected ${options.what}`);
    yield* unpackedPieces(path, filePieces(path, file, options), stats.isFile() ? stats.size : 0, options);
  } finally {
    await file.close();
  }
  return undefined;
}

async function openFile(path: string, { code, what }: InputOptions): Promise<FileHandle> {
  try {
    return await open(path, "r");
  } catch (error) {
    const reasons: Record<string, string> = {
      ENOENT: "there is no such file",
      EACCES: "no permission to read it",
      ENOTDIR: "a part of the path is no directory",
      EISDIR: `it is a directory; expected ${what}`,
    };
    throw new IovaError(code, `${path}: ${reasons[codeOf(error)] ?? messageOf(error)}`);
  }
}

/** `total`: bytes of all pieces, 0 when unknown. */
async function* unpackedPieces(
  path: string,
  pieces: AsyncGenerator<Uint8Array, undefined>,
  total: number,
  options: InputOptions,
): AsyncGenerator<Uint8Array> {
  const first = await pieces.next();
  if (first.done) return;
  refuseForeign(path, first.value);
  let inputBytes = 0;
  const all = (async function* (): AsyncGenerator<Uint8Array> {
    for (let piece: IteratorResult<Uint8Array> = first; !piece.done; piece = await pieces.next()) {
      inputBytes += piece.value.length;
      options.progress?.(inputBytes, total);
      yield piece.value;
    }
  })();
  const packing = beginsWith(first.value, GZ_MAGIC)
    ? unpackGz
    : beginsWith(first.value, ZSTD_MAGIC)
      ? unpackZstd
      : undefined;
  if (packing === undefined) {
    if (total > 0) options.onLength?.(total);
    yield* all;
  } else {
    options.onPacked?.();
    yield* packing(path, copiesOf(all), options);
  }
}

async function* filePieces(
  path: string,
  file: FileHandle,
  { code }: InputOptions,
): AsyncGenerator<Uint8Array, undefined> {
  const buffer = new Uint8Array(PIECE_BYTES);
  for (let offset = 0; ; ) {
    let bytesRead = 0;
    try {
      ({ bytesRead } = await file.read(buffer, 0, buffer.length, null));
    } catch (error) {
      throw new IovaError(code, `${path}: can't be read at byte ${offset}: ${messageOf(error)}`);
    }
    if (bytesRead === 0) return undefined;
    offset += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

/** Decompressors hold on to a piece while the next one is read. */
async function* copiesOf(pieces: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) yield piece.slice();
}

/** /dev/stdin would do for files and pipes, but not for sockets, which is what standard input is when another Node starts us. */
async function* standardInput({ code }: InputOptions): AsyncGenerator<Uint8Array, undefined> {
  let offset = 0;
  try {
    for await (const piece of process.stdin as AsyncIterable<Uint8Array>) {
      offset += piece.length;
      yield piece;
    }
  } catch (error) {
    if (error instanceof IovaError) throw error;
    throw new IovaError(code, `standard input: can't be read at byte ${offset}: ${messageOf(error)}`);
  }
  return undefined;
}

function refuseForeign(path: string, head: Uint8Array): void {
  for (const [magic, what, advice] of FOREIGN_MAGIC) {
    if (beginsWith(head, magic)) throw new FormatError(`${path} is ${what}; ${advice}`);
  }
}

function beginsWith(bytes: Uint8Array, magic: readonly number[]): boolean {
  return magic.every((byte, at) => bytes[at] === byte);
}

async function* unpackGz(
  path: string,
  pieces: AsyncGenerator<Uint8Array>,
  { sofar }: InputOptions,
): AsyncGenerator<Uint8Array> {
  const gunzip = createGunzip({ chunkSize: PIECE_BYTES });
  const source = Readable.from(pieces);
  // Errors of the source must reach the loop below too; pipe alone would leave it waiting.
  source.on("error", (error) => gunzip.destroy(error));
  source.pipe(gunzip);
  try {
    yield* gunzip as AsyncIterable<Uint8Array>;
  } catch (error) {
    if (error instanceof IovaError) throw error;
    const cut = codeOf(error) === "Z_BUF_ERROR";
    throw new FormatError(
      `${path}: the gz data ${cut ? "end too early" : `are damaged (${messageOf(error)})`} after byte ` +
        `${gunzip.bytesWritten} of the file${sofar?.() ?? ""}`,
    );
  } finally {
    source.destroy();
  }
}

async function* unpackZstd(
  path: string,
  pieces: AsyncGenerator<Uint8Array>,
  { sofar }: InputOptions,
): AsyncGenerator<Uint8Array> {
  const texts: Uint8Array[] = [];
  const zstd = new ZstdDecompress((text) => texts.push(text));
  let offset = 0;
  const push = (piece: Uint8Array, isLast: boolean): void => {
    try {
      zstd.push(piece, isLast);
    } catch (error) {
      // fzstd's code 5 is "unexpected EOF".
      const damage = isLast ? "end too early" : `are damaged (${messageOf(error)})`;
      throw new FormatError(`${path}: the zstd data ${damage} after byte ${offset} of the file${sofar?.() ?? ""}`);
    }
    offset += piece.length;
  };
  for await (const piece of pieces) {
    push(piece, false);
    yield* texts.splice(0);
  }
  push(new Uint8Array(0), true);
  yield* texts.splice(0);
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
