/** Which memory devices may reach: a function that decides for one piece of memory. */
import { InvalidArgumentError } from "../../units/errors.ts";

/** A range of physical memory: `bytes` (at least 1) bytes from `address` on. */
export interface MemoryRange {
  /** Physical address of the first byte. */
  readonly address: bigint;
  /** Length in bytes. */
  readonly bytes: number;
}

/** Returns true if devices may reach every byte of [address, address + bytes). */
export type DmaAble = (address: bigint, bytes: number) => boolean;

/**
 * Returns a function unchanged. For ranges, returns a function that is true if every byte of the piece lies in a range.
 * @throws InvalidArgumentError for a value that is neither, and for an invalid range
 */
export function dmaAbleFrom(dmaAble: DmaAble | readonly MemoryRange[]): DmaAble {
  if (typeof dmaAble === "function") return dmaAble;
  if (!Array.isArray(dmaAble)) throw new InvalidArgumentError("DMA-able memory", dmaAble, "ranges or a function");
  const ranges = joined(dmaAble);
  return (address, bytes) => {
    const end = address + BigInt(bytes);
    return ranges.some((range) => range.first <= address && end <= range.end);
  };
}

interface Bounds {
  readonly first: bigint;
  readonly end: bigint;
}

/** The ranges sorted, with adjacent and overlapping ones merged. */
function joined(ranges: readonly MemoryRange[]): readonly Bounds[] {
  const sorted = ranges.map(boundsOf).sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
  const all: Bounds[] = [];
  for (const range of sorted) {
    const last = all.at(-1);
    if (last === undefined || range.first > last.end) all.push(range);
    else if (range.end > last.end) all[all.length - 1] = { first: last.first, end: range.end };
  }
  return all;
}

function boundsOf({ address, bytes }: MemoryRange): Bounds {
  if (typeof address !== "bigint" || address < 0n) {
    throw new InvalidArgumentError("address of DMA-able memory", address, "a bigint from 0n on");
  }
  if (!Number.isSafeInteger(bytes) || bytes < 1) {
    throw new InvalidArgumentError("size of DMA-able memory in bytes", bytes, "an integer from 1 to 2^53 - 1");
  }
  return { first: address, end: address + BigInt(bytes) };
}
