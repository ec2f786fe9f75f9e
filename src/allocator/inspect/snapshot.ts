/**
 * Snapshots: a table's options and ranges as bytes, to look at elsewhere or to restore.
 *
 *   mark "IOVASNAP" | version | bytes in all | options (8 words) | number of ranges | ranges: first, count, state and owner | check
 *
 * All words are 32-bit little-endian; the check is FNV-1a over all bytes before it. A snapshot that is wrong, cut or of another
 * version is refused whole.
 */
import { MAX_THREADS } from "../../crew/crew.ts";
import { FormatError, shown } from "../../units/errors.ts";
import { MAX_ENTRIES } from "../../units/numbers.ts";
import type { Layout } from "../layout.ts";
import { LIVE, lengthOf, ownerIn, RESERVED, stateIn } from "../ledger.ts";
import { type CheckedOptions, checkOptions } from "../options.ts";
import type { View } from "../view.ts";
import { forEachRange } from "./ranges.ts";

const MARK = "IOVASNAP";
/** Version of the snapshot's format. */
const SNAPSHOT_VERSION = 2;
const HEADER_WORDS = 13;
const RANGE_WORDS = 3;

export interface SnapshotRange {
  readonly first: number;
  readonly end: number;
  readonly state: number;
  readonly owner: number;
}

export function takeSnapshot(view: View, layout: Layout, options: CheckedOptions): Uint8Array {
  const ranges = ledgerRanges(view, layout);
  const words = new Uint32Array(HEADER_WORDS + RANGE_WORDS * ranges.length + 1);
  const bytes = new Uint8Array(words.buffer);
  const out = new DataView(words.buffer);
  for (let i = 0; i < MARK.length; i++) bytes[i] = MARK.charCodeAt(i);
  const header = [SNAPSHOT_VERSION, bytes.length, ...optionWords(options), ranges.length];
  for (const [i, word] of header.entries()) out.setUint32(8 + 4 * i, word, true);
  for (const [i, { first, end, state, owner }] of ranges.entries()) {
    const at = 4 * (HEADER_WORDS + RANGE_WORDS * i);
    out.setUint32(at, first, true);
    out.setUint32(at + 4, end - first, true);
    out.setUint32(at + 8, (state << 8) | owner, true);
  }
  out.setUint32(bytes.length - 4, checkOf(bytes), true);
  return bytes;
}

/** Throws FormatError, which says what was found and what is expected. */
export function readSnapshot(bytes: Uint8Array): { options: CheckedOptions; ranges: SnapshotRange[] } {
  if (!(bytes instanceof Uint8Array)) throw new FormatError(`the snapshot is ${shown(bytes)}; expected a Uint8Array`);
  const found = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const word = (index: number): number => found.getUint32(4 * index, true);
  const mark = String.fromCharCode(...bytes.subarray(0, MARK.length));
  if (mark !== MARK) throw new FormatError(`the bytes are no snapshot: they do not begin with ${MARK}`);
  if (bytes.length < 4 * (HEADER_WORDS + 1)) throw new FormatError(`the snapshot is cut: ${bytes.length} bytes`);
  if (word(2) !== SNAPSHOT_VERSION) {
    throw new FormatError(`the snapshot has version ${word(2)}; this library reads version ${SNAPSHOT_VERSION}`);
  }
  if (word(3) !== bytes.length)
    throw new FormatError(`the snapshot has ${bytes.length} bytes; its header says ${word(3)}`);
  const count = word(HEADER_WORDS - 1);
  if (bytes.length !== 4 * (HEADER_WORDS + RANGE_WORDS * count + 1)) {
    throw new FormatError(`the snapshot has ${bytes.length} bytes; ${count} ranges do not take that`);
  }
  const check = found.getUint32(bytes.length - 4, true);
  if (check !== checkOf(bytes)) throw new FormatError("the snapshot has been changed: its check does not agree");
  const options = readOptions(word);
  const ranges = Array.from({ length: count }, (_, i) => readRange(word, HEADER_WORDS + RANGE_WORDS * i, options));
  return { options, ranges };
}

function optionWords(options: CheckedOptions): number[] {
  const { entries, pools, largePool, threads, cache, lazy, ownerOnly, cacheLimit } = options;
  return [entries, pools, Number(largePool), threads, Number(cache), Number(lazy), Number(ownerOnly), cacheLimit];
}

function readOptions(word: (index: number) => number): CheckedOptions {
  const [entries, pools, largePool, threads, cache, lazy, ownerOnly] = Array.from({ length: 7 }, (_, i) =>
    word(4 + i),
  ) as [number, number, number, number, number, number, number];
  return checkOptions({
    entries,
    pools,
    largePool: largePool === 1,
    threads,
    cache: cache === 1 ? "fifo" : "none",
    invalidate: lazy === 1 ? "lazy" : "strict",
    frees: ownerOnly === 1 ? "owner-only" : "any-thread",
  });
}

function readRange(word: (index: number) => number, at: number, options: CheckedOptions): SnapshotRange {
  const first = word(at);
  const end = first + word(at + 1);
  const state = word(at + 2) >>> 8;
  const owner = word(at + 2) & 0xff;
  const known = (state === LIVE || state === RESERVED) && owner < Math.min(options.threads, MAX_THREADS);
  if (first < end && end <= Math.min(options.entries, MAX_ENTRIES) && known) return { first, end, state, owner };
  throw new FormatError(
    `the snapshot's range [${first}, ${end}), state ${state}, owner ${owner}, can't be one of this table`,
  );
}

function ledgerRanges(view: View, layout: Layout): SnapshotRange[] {
  const ranges: SnapshotRange[] = [];
  const { ledger } = view;
  forEachRange(ledger, view.words, layout, (first, slot) => {
    const state = stateIn(slot);
    if (state !== LIVE && state !== RESERVED) return;
    ranges.push({ first, end: first + lengthOf(ledger, first, slot), state, owner: ownerIn(slot) });
  });
  return ranges;
}

/** FNV-1a, 32 bits, of all but the last four bytes. */
function checkOf(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < bytes.length - 4; i++) hash = Math.imul(hash ^ (bytes[i] as number), 0x01000193);
  return hash >>> 0;
}
