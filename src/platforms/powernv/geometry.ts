/**
 * The size of the levels of a TCE table, for a window of a given size, by IODA2's rules (as Linux's `pnv_pci_ioda2` interface for table
 * groups states them). A *level* is an array of 8-byte entries; all levels of a table have the same size. The TVE holds the address of the
 * first level, an entry of an inner level that of the next one, and the entries of the last level are TCEs.
 */
import { checkInteger, InvalidArgumentError, inWords } from "../../units/errors.ts";
import { MAX_ENTRIES } from "../../units/numbers.ts";

const ENTRY_SHIFT = 3;
/** log2 of the least size of a level in bytes. */
const LEAST_LEVEL_SHIFT = 12;
const MAX_LEVELS = 5;
/** Bus addresses of a window are below 2^55: higher bits choose the window or belong to the root complex. */
const ADDRESS_BITS = 55;

/** IO page sizes of a machine's bridges as log2 of bytes, the usual one first. */
export const PAGE_SHIFTS_OF = {
  power8: [12, 16, 24, 28],
  power9: [12, 16, 21, 30],
} as const;
/** Processor generation of a powernv machine: "power8" (page shifts 12, 16, 24, 28) or "power9" (12, 16, 21, 30). */
export type PowerGeneration = keyof typeof PAGE_SHIFTS_OF;

/** Shape of a window: page size, size and levels of its table. */
export interface WindowShape {
  /** IO page size as log2 of bytes: one of the generation's. */
  readonly pageShift: number;
  /** Size of the window in bytes: a power of two, at least a page, at most 2^30 pages. */
  readonly windowBytes: bigint;
  /** Number of levels, 1 .. 5. The limit of 55 address bits allows 4 with pages of up to 64 KiB, 3 up to 16 MiB, and 2 above. */
  readonly levels: number;
}

/** A shape, with the sizes that follow from it. */
export interface TceGeometry extends WindowShape {
  /** Entries of the window. The table may hold more, because a level is at least 4 KiB. */
  readonly entries: number;
  /** log2 of the entries of one level, and its size in bytes. */
  readonly levelBits: number;
  readonly levelBytes: number;
}

/** Throws InvalidArgumentError (the kernel's EINVAL), with the numbers, for a shape that the machine does not support. */
export function tceGeometry(shape: WindowShape, generation: PowerGeneration): TceGeometry {
  const { pageShift, windowBytes, levels } = shape;
  const pageShifts: readonly number[] = PAGE_SHIFTS_OF[generation];
  if (!pageShifts.includes(pageShift)) {
    throw new InvalidArgumentError(
      `page shift of a window of ${generation}`,
      pageShift,
      `one of ${pageShifts.join(", ")}`,
    );
  }
  checkInteger("levels of a TCE table", levels, 1, MAX_LEVELS);
  const entriesLog2 = log2OfWindow(windowBytes) - pageShift;
  if (entriesLog2 < 0 || 2 ** entriesLog2 > MAX_ENTRIES) {
    const expected = `from one page of ${2 ** pageShift} bytes to 2^30 pages`;
    throw new InvalidArgumentError("size of a window in bytes", windowBytes, expected);
  }
  const levelShift = Math.max(Math.ceil(entriesLog2 / levels) + ENTRY_SHIFT, LEAST_LEVEL_SHIFT);
  const levelBits = levelShift - ENTRY_SHIFT;
  const addressBits = levelBits * levels + pageShift;
  if (addressBits >= ADDRESS_BITS) {
    const found = `${levels} of 2^${levelBits} entries and pages of 2^${pageShift} bytes: ${addressBits} bits`;
    throw new InvalidArgumentError(
      "levels of a TCE table",
      inWords(found),
      `fewer than ${ADDRESS_BITS} bits of address`,
    );
  }
  return { ...shape, entries: 2 ** entriesLog2, levelBits, levelBytes: 2 ** levelShift };
}

/** Size in bytes of a table with all its levels: the most memory that a window can take (Linux: `get_table_size`). */
export function tableBytesOf({ entries, levels, levelBits, levelBytes }: TceGeometry): number {
  let bytes = 0;
  for (let level = 1; level <= levels; level++) bytes += Math.ceil(entries / 2 ** (level * levelBits)) * levelBytes;
  return bytes;
}

function log2OfWindow(windowBytes: bigint): number {
  const log2 = typeof windowBytes === "bigint" && windowBytes > 0n ? windowBytes.toString(2).length - 1 : -1;
  if (log2 >= 0 && windowBytes === 1n << BigInt(log2)) return log2;
  throw new InvalidArgumentError("size of a window in bytes", windowBytes, "a power of two, as a bigint");
}
