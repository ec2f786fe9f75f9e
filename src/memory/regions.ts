/**
 * The regions that physical memory consists of: ranges of addresses, each in a shared buffer, with holes between them. A guest's RAM below
 * and above 4 GiB has two. In this file: the checks of a caller's regions, and the search for the region of an address.
 */
import { bytesOf, isShared, type SharedBuffer, type SharedBytes, type SharedWords, wordsOf } from "../shared/memory.ts";
import { hexadecimal } from "../units/counts.ts";
import { InvalidArgumentError, inWords, shown } from "../units/errors.ts";
import { checkKeys, type OptionTypes } from "../units/keys.ts";

/** Unit of addresses and sizes of regions: 4 KiB, the smallest IO page. */
const UNIT_BYTES = 4096;
/** Longest region with one view of its words: word indexes fit 30 bits. */
const LONGEST_VIEW_BYTES = 2 ** 32;
/** Most regions that an error names. */
const MOST_NAMED = 8;

/** A WebAssembly.Memory made with `shared: true`. */
export interface SharedWebAssemblyMemory {
  /** Its SharedArrayBuffer. */
  readonly buffer: ArrayBufferLike;
}

/** A part of a buffer, at an address. Addresses and sizes are in bytes. */
export interface MemoryRegion {
  /** Physical address of the first byte: a multiple of 4096, from 0 on. The end is at most 2^53 − 1. */
  readonly address: number;
  /** A SharedArrayBuffer, or a WebAssembly.Memory made with `shared: true`. */
  readonly buffer: SharedBuffer | SharedWebAssemblyMemory;
  /** Where the region begins in the buffer: a multiple of 4. Default 0. */
  readonly offset?: number;
  /** A multiple of 4096. Default: up to the end of the buffer as it is now; a buffer that grows later does not lengthen the region. */
  readonly bytes?: number;
}

/** A region with every field, as it is posted to other threads. */
export interface CheckedRegion {
  /** Physical address of the first byte: a multiple of 4096. */
  readonly address: number;
  /** The shared buffer that holds the region. */
  readonly buffer: SharedBuffer;
  /** Byte of the buffer at which the region begins: a multiple of 4. */
  readonly offset: number;
  /** Size in bytes: a multiple of 4096. */
  readonly bytes: number;
}

/** A range of addresses with views of its bytes and words. Word 0 and byte 0 are at `address`. */
export interface RegionView {
  readonly address: number;
  /** One past the last byte. */
  readonly end: number;
  readonly words: SharedWords;
  readonly bytes: SharedBytes;
}

/** All regions of one memory, in ascending order. One thread's object: it remembers the region that was found last. */
export class Regions {
  readonly all: readonly RegionView[];
  /** One past the last byte of the last region. */
  readonly end: number;
  #last: RegionView;

  /** `regions`: as `checkedRegions` returns them. `longestView`: a longer region is divided. */
  constructor(regions: readonly CheckedRegion[], longestView: number = LONGEST_VIEW_BYTES) {
    this.all = regions.flatMap((region) => viewsOf(region, longestView));
    this.#last = this.all[0] as RegionView;
    this.end = (this.all.at(-1) as RegionView).end;
  }

  /** The region with the byte at `address`, or undefined. */
  find(address: number): RegionView | undefined {
    const last = this.#last;
    if (address >= last.address && address < last.end) return last;
    const found = this.#search(address);
    if (found !== undefined) this.#last = found;
    return found;
  }

  /** True if all `bytes` bytes from `address` on are memory: in one region, or in several without a hole between them. */
  hasAll(address: number, bytes: number): boolean {
    const end = address + bytes;
    let at = address;
    do {
      const region = this.find(at);
      if (region === undefined) return false;
      at = region.end;
    } while (at < end);
    return true;
  }

  /** "[0x0, 0xa0000), [0x100000, 0x8000000)", for messages. Adjacent regions are one. */
  toString(): string {
    const ranges: { address: number; end: number }[] = [];
    for (const { address, end } of this.all) {
      const before = ranges.at(-1);
      if (before?.end === address) before.end = end;
      else ranges.push({ address, end });
    }
    const named = ranges.slice(0, MOST_NAMED).map(rangeText).join(", ");
    return ranges.length <= MOST_NAMED ? named : `${named} and ${ranges.length - MOST_NAMED} more`;
  }

  #search(address: number): RegionView | undefined {
    const { all } = this;
    let low = 0;
    let high = all.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((all[middle] as RegionView).end <= address) low = middle + 1;
      else high = middle;
    }
    const region = all[low];
    return region !== undefined && address >= region.address ? region : undefined;
  }
}

const REGION_TYPES: OptionTypes<MemoryRegion> = { address: "any", buffer: "object", offset: "any", bytes: "any" };

/** Checks a caller's regions, and returns them complete, in ascending order. Throws InvalidArgumentError that names the region. */
export function checkedRegions(regions: readonly MemoryRegion[]): readonly CheckedRegion[] {
  if (!Array.isArray(regions) || regions.length === 0) {
    const found = Array.isArray(regions) ? inWords("empty") : regions;
    throw new InvalidArgumentError("list of memory regions", found, "an array of at least one region");
  }
  const checked = (regions as readonly MemoryRegion[]).map(checkedRegion).sort((a, b) => a.address - b.address);
  checked.forEach((region, i) => {
    const next = checked[i + 1];
    if (next === undefined || region.address + region.bytes <= next.address) return;
    const found = `${rangeText(viewEnds(region))} and ${rangeText(viewEnds(next))}`;
    throw new InvalidArgumentError("pair of memory regions", inWords(found), "two that do not overlap");
  });
  return checked;
}

function checkedRegion(region: MemoryRegion, index: number): CheckedRegion {
  const name = `memory region ${index}`;
  checkKeys(name, region, REGION_TYPES);
  const { address, offset = 0 } = region;
  const buffer = sharedBufferOf(name, region.buffer);
  if (!isMultiple(address, UNIT_BYTES)) {
    throw new InvalidArgumentError(`address of ${name}`, address, `a multiple of ${UNIT_BYTES} from 0 on`);
  }
  if (!isMultiple(offset, 4) || offset > buffer.byteLength) {
    throw new InvalidArgumentError(`offset of ${name}`, offset, `a multiple of 4 from 0 to ${buffer.byteLength}`);
  }
  const { bytes = buffer.byteLength - offset } = region;
  const most = Math.min(buffer.byteLength - offset, Number.MAX_SAFE_INTEGER - address);
  if (isMultiple(bytes, UNIT_BYTES) && bytes > 0 && bytes <= most) return { address, buffer, offset, bytes };
  const expected = `a multiple of ${UNIT_BYTES} from ${UNIT_BYTES} to ${most}, what its buffer has from byte ${offset} on`;
  throw new InvalidArgumentError(`size of ${name} in bytes`, bytes, expected);
}

function sharedBufferOf(name: string, given: MemoryRegion["buffer"]): SharedBuffer {
  if (isShared(given)) return given;
  const expected = "a SharedArrayBuffer, or a WebAssembly.Memory made with `shared: true`";
  // A view's `buffer` property would hide where the view begins.
  const inner = ArrayBuffer.isView(given) ? undefined : (given as { readonly buffer?: unknown } | undefined)?.buffer;
  if (isShared(inner)) return inner;
  const found = inner === undefined ? given : inWords(`${shown(given)} whose buffer is not shared`);
  throw new InvalidArgumentError(`buffer of ${name}`, found, expected);
}

function isMultiple(value: number, unit: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value % unit === 0;
}

function viewsOf({ address, buffer, offset, bytes }: CheckedRegion, longest: number): RegionView[] {
  const views: RegionView[] = [];
  for (let from = 0; from < bytes; from += longest) {
    const length = Math.min(longest, bytes - from);
    views.push({
      address: address + from,
      end: address + from + length,
      words: wordsOf(buffer, offset + from, length / 4),
      bytes: bytesOf(buffer, offset + from, length),
    });
  }
  return views;
}

function viewEnds({ address, bytes }: CheckedRegion): { address: number; end: number } {
  return { address, end: address + bytes };
}

function rangeText({ address, end }: { readonly address: number; readonly end: number }): string {
  return `[${hexadecimal(address)}, ${hexadecimal(end)})`;
}
