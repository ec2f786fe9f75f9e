/**
 * The memory layout of a replay's row: an arena for each worker's buffers, and above them the platform's tables. Every row has its own
 * board with the same layout.
 */
import type { BoardKind } from "../machines/board.ts";
import { InvalidArgumentError, inWords } from "../units/errors.ts";

/** End of a machine's memory. */
const MOST_MEMORY_BYTES = 2 ** 32;

/**
 * Most memory of the tables of all rows. A table is written completely before a replay begins, which takes up to several seconds per GiB,
 * and the memory is then in use.
 */
const MOST_TABLE_BYTES = 2 ** 30;

/** The layout of a row's memory; the same for all rows. */
export interface MemoryLayout {
  readonly memoryBytes: number;
  /** Start address of each worker's arena. */
  readonly arenaAddresses: readonly number[];
}

/** The requested table. */
export interface TableSize {
  readonly kind: BoardKind;
  readonly entries: number;
  readonly pageShift: number;
}

/** Most bytes of each of `workers` arenas, besides the table. */
export function arenaLimit({ kind, entries, pageShift }: TableSize, workers: number, wanted: number): number {
  const pageBytes = arenaUnit(pageShift);
  const left = MOST_MEMORY_BYTES - kind.platformBytes(entries, pageShift) - pageBytes;
  const room = Math.floor(left / workers / pageBytes) * pageBytes;
  if (room > 0) return Math.min(wanted, room);
  throw new InvalidArgumentError(
    "memory of the replay",
    inWords(`a table of ${entries} entries and ${workers} arenas of at least one page of ${pageBytes} bytes`),
    `at most a machine's ${MOST_MEMORY_BYTES} bytes: fewer entries, fewer workers or smaller pages`,
  );
}

/** Throws for tables so large that emptying them would take most of the replay. */
export function checkTables({ kind, entries, pageShift }: TableSize, rows: number): void {
  const bytesOf = (count: number): number => rows * kind.platformBytes(count, pageShift);
  if (bytesOf(entries) <= MOST_TABLE_BYTES) return;
  let most = 2 ** Math.floor(Math.log2(entries));
  while (most > 1 && bytesOf(most) > MOST_TABLE_BYTES) most /= 2;
  const together = rows === 1 ? "its table may" : `the tables of ${rows} rows may together`;
  throw new InvalidArgumentError(
    "entries",
    entries,
    `at most ${most} or so: ${together} take ${MOST_TABLE_BYTES} bytes`,
  );
}

/** Places arenas of these sizes, from address 0 on. */
export function layoutMemory({ kind, entries, pageShift }: TableSize, arenas: readonly number[]): MemoryLayout {
  let end = 0;
  const arenaAddresses = arenas.map((bytes) => {
    end += bytes;
    return end - bytes;
  });
  const unit = arenaUnit(pageShift);
  const usable = Math.ceil(end / unit) * unit;
  return { memoryBytes: usable + Math.ceil(kind.platformBytes(entries, pageShift) / 4096) * 4096, arenaAddresses };
}

/** Arenas are multiples of an IO page, and of a page of memory. */
function arenaUnit(pageShift: number): number {
  return Math.max(4096, 2 ** pageShift);
}
