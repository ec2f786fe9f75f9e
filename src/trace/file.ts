/**
 * Reads a trace file: ftrace text, plain or gz (told by its first bytes, not by its name), in pieces, so that a file may be
 * larger than memory for its text. Whatever is wrong with the file is an error that says what, where, and what was expected.
 */
import { type FileHandle, open } from "node:fs/promises";
import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { FormatError, IovaError } from "../units/errors.ts";
import { printable } from "./bytes.ts";
import type { Trace } from "./events.ts";
import { TraceParser } from "./parser.ts";

const PIECE_BYTES = 2 ** 20;

/** How far the reading is; `bytes` of the file itself (compressed, if it is), `total` 0 when unknown. */
export type TraceProgress = (bytes: number, total: number) => void;

/** First bytes of other files that people may hand over, and what to do about each. */
const FOREIGN_MAGIC: readonly (readonly [magic: readonly number[], what: string, advice: string])[] = [
  [[0x28, 0xb5, 0x2f, 0xfd], "compressed by zstd", "unpack it first: zstd -d"],
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

const EXPECTED =
  "expected ftrace text, plain or gz, with lines like " +
  "`task-1 [000] ..... 7.172004: map: IOMMU: iova=0x… - 0x… paddr=0x… size=4096`";

/** In place of a path: standard input. */
const STANDARD_INPUT = "-";

/**
 * Reads the trace in file `path`, or on standard input for `-`. The answer has at least one event of ours.
 * @throws IovaError (`trace-file`) when the file can't be opened or read, FormatError when it holds no trace
 */
export async function readTraceFile(path: string, progress: TraceProgress = () => {}): Promise<Trace> {
  if (path === STANDARD_INPUT) return await readPieces("standard input", piecesOfInput(), 0, progress);
  const file = await openFile(path);
  try {
    const stats = await file.stat();
    if (stats.isDirectory()) throw new IovaError("trace-file", `${path} is a directory; expected a trace file`);
    return await readPieces(path, piecesOf(path, file), stats.isFile() ? stats.size : 0, progress);
  } finally {
    await file.close();
  }
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, "r");
  } catch (error) {
    const reasons: Record<string, string> = {
      ENOENT: "there is no such file",
      EACCES: "no permission to read it",
      ENOTDIR: "a part of the path is no directory",
      EISDIR: "it is a directory; expected a trace file",
    };
    throw new IovaError("trace-file", `${path}: ${reasons[codeOf(error)] ?? messageOf(error)}`);
  }
}

/** `total`: bytes of all pieces, 0 when unknown. */
async function readPieces(
  path: string,
  pieces: AsyncGenerator<Uint8Array, undefined>,
  total: number,
  progress: TraceProgress,
): Promise<Trace> {
  const first = await pieces.next();
  if (first.done) throw new FormatError(`${path} is empty; ${EXPECTED}`);
  refuseForeign(path, first.value);
  let fileBytes = 0;
  const all = (async function* (): AsyncGenerator<Uint8Array> {
    for (let piece: IteratorResult<Uint8Array> = first; !piece.done; piece = await pieces.next()) {
      fileBytes += piece.value.length;
      progress(fileBytes, total);
      yield piece.value;
    }
  })();
  const packed = first.value[0] === 0x1f && first.value[1] === 0x8b;
  const parser = new TraceParser();
  await parse(path, parser, packed ? unpacked(path, parser, all) : all);
  return checked(path, parser.finish(), packed);
}

async function* piecesOf(path: string, file: FileHandle): AsyncGenerator<Uint8Array, undefined> {
  const buffer = new Uint8Array(PIECE_BYTES);
  for (let offset = 0; ; ) {
    let bytesRead = 0;
    try {
      ({ bytesRead } = await file.read(buffer, 0, buffer.length, null));
    } catch (error) {
      throw new IovaError("trace-file", `${path}: can't be read at byte ${offset}: ${messageOf(error)}`);
    }
    if (bytesRead === 0) return undefined;
    offset += bytesRead;
    // A copy: the decompressor may hold on to a piece.
    yield buffer.slice(0, bytesRead);
  }
}

/** /dev/stdin would do for files and pipes, but not for sockets, which is what standard input is when another Node starts us. */
async function* piecesOfInput(): AsyncGenerator<Uint8Array, undefined> {
  let offset = 0;
  try {
    for await (const piece of process.stdin as AsyncIterable<Uint8Array>) {
      offset += piece.length;
      yield piece;
    }
  } catch (error) {
    if (error instanceof IovaError) throw error;
    throw new IovaError("trace-file", `standard input: can't be read at byte ${offset}: ${messageOf(error)}`);
  }
  return undefined;
}

function refuseForeign(path: string, head: Uint8Array): void {
  for (const [magic, what, advice] of FOREIGN_MAGIC) {
    if (magic.every((byte, at) => head[at] === byte)) throw new FormatError(`${path} is ${what}; ${advice}`);
  }
}

/** The text inside a gz file. */
async function* unpacked(
  path: string,
  parser: TraceParser,
  pieces: AsyncGenerator<Uint8Array>,
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
    const where =
      `after byte ${gunzip.bytesWritten} of the file (${parser.lineCount} whole lines, ${parser.eventCount} events ` +
      "of its text were read)";
    const cut = codeOf(error) === "Z_BUF_ERROR";
    throw new FormatError(
      `${path}: the gz data ${cut ? "end too early" : `are damaged (${messageOf(error)})`} ${where}`,
    );
  } finally {
    source.destroy();
  }
}

async function parse(path: string, parser: TraceParser, pieces: AsyncIterable<Uint8Array>): Promise<void> {
  let offset = 0;
  for await (const piece of pieces) {
    const zero = parser.eventCount === 0 ? piece.indexOf(0) : -1;
    let failure: unknown;
    try {
      parser.write(piece);
    } catch (error) {
      failure = error;
    }
    // Text has no zero bytes. Without an event around this is some other file; else it is damage, which the lines show.
    if (zero >= 0 && parser.eventCount === 0) throw binary(path, piece, offset, zero);
    if (failure instanceof FormatError) throw new FormatError(`${path}: ${failure.message}`);
    if (failure !== undefined) throw failure;
    offset += piece.length;
  }
}

function binary(path: string, piece: Uint8Array, offset: number, zero: number): FormatError {
  const head = offset === 0 ? ` (it begins with \`${printable(piece, 0, Math.min(piece.length, 8), 40)}\`)` : "";
  return new FormatError(`${path} is binary: byte ${offset + zero} of its text is 0${head}; ${EXPECTED}`);
}

/** A file without any event of ours is no trace of ours: say what it is instead. */
function checked(path: string, trace: Trace, packed: boolean): Trace {
  const { classes, events, lines } = trace;
  if (events.length > 0) return trace;
  if (trace.bytes === 0) throw new FormatError(`${path} is empty${packed ? " once unpacked" : ""}; ${EXPECTED}`);
  const { malformed, otherEvents, foreign } = classes;
  if (malformed.count > 0) {
    throw new FormatError(
      `${path}, line ${malformed.firstLine}: ${trace.malformedReason}: \`${malformed.firstText}\`; no other of its ` +
        `${lines} lines is an iommu or dma event; ${EXPECTED}`,
    );
  }
  if (otherEvents.count > 0) {
    throw new FormatError(
      `${path} has ${otherEvents.count} events, none of them iommu or dma; the first, in line ${otherEvents.firstLine}, is ` +
        `\`${otherEvents.firstText}\`; record with: trace-cmd record -e iommu -e dma`,
    );
  }
  if (foreign.count > 0) {
    throw new FormatError(
      `${path} holds no trace: none of its ${lines} lines is an event; line ${foreign.firstLine} is \`${foreign.firstText}\`; ${EXPECTED}`,
    );
  }
  throw new FormatError(
    `${path} holds no events, but ${lines} ${lines === 1 ? "line" : "lines"} of a trace's head and comments; was tracing on? ` +
      "Record with: trace-cmd record -e iommu -e dma",
  );
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
