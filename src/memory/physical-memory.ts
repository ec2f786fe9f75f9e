/**
 * Physical memory over shared buffers: the software machine's, or memory that a program brings along, such as the RAM of its guest. It
 * consists of regions, with holes between them.
 *
 *     const memory = PhysicalMemory.of([
 *       { address: 0, buffer: ram, bytes: 2 ** 31 },
 *       { address: 2 ** 32, buffer: ram, offset: 2 ** 31 },      // what does not fit below 4 GiB
 *     ]);
 *     worker.postMessage(memory.handle);                         // there: PhysicalMemory.attach(handle)
 *
 * Table entries are stored by relaxed accesses, two words each, and the machine's walk reads them by atomic accesses. A word is never torn,
 * but a walk may see only one of an entry's two words. That is harmless:
 * - A device that uses an address of its driver: the entry was set, then `fence` was called, then the driver got the address.
 * - A device that still uses an address during its unmap sees the old entry or the empty one, whose valid word is stored first; the walk
 *   reads the valid word again after the other.
 * - A device that uses an address which no driver gave it sees the empty entry or the new one, whose valid word is stored last. (A CPU that
 *   reorders plain stores, unlike x86, may show the valid word with the other word still empty.)
 */
import type { Memory } from "../machine/contract.ts";
import {
  compareExchange,
  copyIn,
  copyOut,
  createShared,
  hintTo,
  load,
  NO_WORDS,
  type SharedBytes,
  type SharedWords,
  store,
  wordsOf,
  zero,
} from "../shared/memory.ts";
import { checkHandle } from "../table/handle.ts";
import { hexadecimal } from "../units/counts.ts";
import { checkInteger, FormatError, InvalidArgumentError, inWords } from "../units/errors.ts";
import { type CheckedRegion, checkedRegions, type MemoryRegion, Regions, type RegionView } from "./regions.ts";

/** Instead of a word index: the range ends in another region than it begins. */
const CROSSES = -1;

/** Data that a thread attaches to, structured-cloneable: post it to another thread and call `PhysicalMemory.attach` there. */
export interface PhysicalMemoryHandle {
  /** Regions in ascending order of their addresses. */
  readonly regions: readonly CheckedRegion[];
}

/**
 * One thread's view of memory: post `handle`, and `attach` in each other thread. An access may cross from a region to an adjacent one. An
 * access of bytes outside of all regions throws InvalidArgumentError with the address, the length and the regions, and changes nothing.
 *
 * @example
 * ```ts
 * import { PhysicalMemory, SoftwareMachine } from "iova/platform";
 *
 * const ram = new SharedArrayBuffer(2 ** 20); // a guest's: half of it at 0, half at 4 GiB
 * const memory = PhysicalMemory.of([
 *   { address: 0, buffer: ram, bytes: 2 ** 19 },
 *   { address: 2 ** 32, buffer: ram, offset: 2 ** 19 },
 * ]);
 * memory.store32(2 ** 32, 0x2a);
 * console.log(new Uint32Array(ram)[2 ** 17], memory.has(2 ** 20, 4));
 * const machine = SoftwareMachine.create({ memory }); // its devices reach this memory
 * machine.close();
 * ```
 * ```text output
 * 42 false
 * ```
 */
export class PhysicalMemory implements Memory {
  /** Data to attach to, structured-cloneable: post it to another thread and call `PhysicalMemory.attach` there. */
  readonly handle: PhysicalMemoryHandle;
  /** One past the last byte of the last region. */
  readonly bytes: number = 0;
  /**
   * For the machine: its walk and its devices access memory by region.
   *
   * @internal
   */
  readonly regions: Regions;
  // The region of the last access: most accesses are in the region of the one before.
  #base = 0;
  #size = 0;
  #words: SharedWords = NO_WORDS;
  #byteView: SharedBytes;
  /** A word of this view alone, so that a fence causes no cache traffic between threads. */
  readonly #fence: SharedWords = wordsOf(createShared(4));

  private constructor(regions: readonly CheckedRegion[]) {
    this.handle = { regions };
    this.regions = new Regions(regions);
    this.bytes = this.regions.end;
    const first = this.regions.all[0] as RegionView;
    this.#byteView = first.bytes;
    this.#enter(first);
  }

  /**
   * A view of these regions, which may be given in any order. Two regions may show the same bytes of a buffer at two addresses.
   * Throws InvalidArgumentError, with the region's index, for regions that overlap, are empty or not aligned, and for buffers that threads
   * can't share.
   */
  static of(regions: readonly MemoryRegion[]): PhysicalMemory {
    return new PhysicalMemory(checkedRegions(regions));
  }

  /**
   * Returns a view for the calling thread.
   * @throws FormatError for a foreign handle
   */
  static attach(handle: PhysicalMemoryHandle): PhysicalMemory {
    checkMemoryHandle(handle);
    return new PhysicalMemory(handle.regions);
  }

  /** Returns a view of the memory below the address `end`, a multiple of 4096: for a guest, which must not access its hypervisor's memory. */
  below(end: number): PhysicalMemory {
    checkInteger("end of memory", end, 1, Number.MAX_SAFE_INTEGER);
    const regions = this.handle.regions.filter(({ address }) => address < end);
    return PhysicalMemory.of(regions.map((one) => ({ ...one, bytes: Math.min(one.bytes, end - one.address) })));
  }

  /** True if all `bytes` bytes from `address` on are memory. */
  has(address: number, bytes: number): boolean {
    return isAddress(address) && isAddress(bytes) && this.regions.hasAll(address, bytes);
  }

  read(at: number, into: Uint8Array): void {
    checkArray(into);
    const { length } = into;
    if (this.#isInside(at, length)) copyOut(this.#byteView, at - this.#base, into);
    else
      this.#forEachPart(at, length, (from, offset, count) => {
        copyOut(this.#byteView, offset, into.subarray(from, from + count));
      });
  }

  write(at: number, from: Uint8Array): void {
    checkArray(from);
    const { length } = from;
    if (this.#isInside(at, length)) copyIn(this.#byteView, at - this.#base, from);
    else
      this.#forEachPart(at, length, (first, offset, count) => {
        copyIn(this.#byteView, offset, from.subarray(first, first + count));
      });
  }

  /** Sets `length` bytes from `at` on to zero. */
  clear(at: number, length: number): void {
    checkInteger("bytes to clear", length, 0, Number.MAX_SAFE_INTEGER);
    this.#forEachPart(at, length, (_, offset, count) => zero(this.#byteView, offset, count));
  }

  load32(at: number): number {
    const word = this.#wordAt(at, 4);
    return load(this.#words, word) >>> 0;
  }

  store32(at: number, value: number): void {
    const word = this.#wordAt(at, 4);
    if (typeof value !== "number") throw badWord(value);
    store(this.#words, word, value | 0);
  }

  compareExchange32(at: number, expected: number, wanted: number): number {
    const word = this.#wordAt(at, 4);
    if (typeof expected !== "number") throw badWord(expected);
    if (typeof wanted !== "number") throw badWord(wanted);
    return compareExchange(this.#words, word, expected | 0, wanted | 0) >>> 0;
  }

  storeWords(at: number, from: Uint32Array, count: number, last: 0 | 1): void {
    if ((count & 1) !== 0 || !(count >= 0 && count <= from.length)) throw badCount(count, from.length);
    const word = this.#wordAt(at, count * 4);
    if (word === CROSSES) this.#storeAcross(at, from, count, last);
    else this.#storePairs(word, from, 0, count, last);
  }

  /**
   * Fences by an atomic store: all earlier stores of this thread precede any later atomic load of this thread, or of a thread that has
   * synchronised with it since.
   */
  fence(): void {
    store(this.#fence, 0, 0);
  }

  #storePairs(word: number, from: Uint32Array, first: number, count: number, last: 0 | 1): void {
    const words = this.#words;
    const other = 1 - last;
    const at = word - first;
    for (let i = first; i < first + count; i += 2) {
      hintTo(words, at + i + other, from[i + other] as number);
      hintTo(words, at + i + last, from[i + last] as number);
    }
  }

  /** A pair that begins with the last word of a region ends in the next one. */
  #storeAcross(at: number, from: Uint32Array, count: number, last: 0 | 1): void {
    for (let i = 0; i < count; i += 2) {
      for (const one of [1 - last, last]) {
        const word = this.#wordAt(at + (i + one) * 4, 4);
        hintTo(this.#words, word, from[i + one] as number);
      }
    }
  }

  /**
   * The index in `#words` of the word at `at`, in whose region `length` bytes follow; CROSSES if they follow in several regions. Comparing
   * the result of `>>>`, which works modulo 2^32, with the offset refuses what is too large, unaligned, negative or NaN.
   */
  #wordAt(at: number, length: number): number {
    if (typeof at !== "number") throw outside(at, length, "a multiple of 4 with ", this.regions);
    const offset = at - this.#base;
    const word = offset >>> 2;
    return word * 4 === offset && offset + length <= this.#size ? word : this.#wordElsewhere(at, length);
  }

  #wordElsewhere(at: number, length: number): number {
    if (!isAddress(at) || at % 4 !== 0) throw outside(at, length, "a multiple of 4 with ", this.regions);
    if (!this.#isInside(at, length)) return CROSSES;
    return (at - this.#base) / 4;
  }

  /** Makes the region of `at` the current one. True if it has all `length` bytes, false if several adjacent regions have them; else throws. */
  #isInside(at: number, length: number): boolean {
    if (typeof at !== "number") throw outside(at, length, "", this.regions);
    const offset = at - this.#base;
    if (offset >= 0 && offset + length <= this.#size && Number.isInteger(at)) return true;
    // Like an array, a region has 0 bytes at its end.
    const found = isAddress(at) ? (this.regions.find(at) ?? this.regions.find(length === 0 ? at - 1 : at)) : undefined;
    if (found === undefined || (length > 0 && !this.regions.hasAll(at, length))) {
      throw outside(at, length, "", this.regions);
    }
    this.#enter(found);
    return at + length <= found.end;
  }

  /** Calls `act` with the index of each part's first byte, its offset in the current region, and its length. */
  #forEachPart(at: number, length: number, act: (from: number, offset: number, count: number) => void): void {
    this.#isInside(at, length);
    for (let done = 0; done < length; ) {
      this.#isInside(at + done, 1);
      const offset = at + done - this.#base;
      const count = Math.min(length - done, this.#size - offset);
      act(done, offset, count);
      done += count;
    }
  }

  #enter({ address, end, words, bytes }: RegionView): void {
    this.#base = address;
    this.#size = end - address;
    this.#words = words;
    this.#byteView = bytes;
  }
}

/** Throws FormatError for an invalid handle. */
export function checkMemoryHandle(handle: PhysicalMemoryHandle): void {
  checkHandle("physical memory", handle, { regions: "list" });
  try {
    checkedRegions(handle.regions);
  } catch (error) {
    throw new FormatError(`the handle is not that of physical memory: ${(error as Error).message}`);
  }
}

function isAddress(at: number): boolean {
  return Number.isSafeInteger(at) && at >= 0;
}

// Errors are created in separate functions, so that the checks stay small enough to be inlined.

function badCount(count: number, available: number): InvalidArgumentError {
  return new InvalidArgumentError("count of words", count, `an even number from 0 to ${available}`);
}

function badWord(value: unknown): InvalidArgumentError {
  return new InvalidArgumentError("word to store", value, "a number of 32 bits");
}

function checkArray(bytes: Uint8Array): void {
  if (!(bytes instanceof Uint8Array)) throw new InvalidArgumentError("bytes of memory", bytes, "a Uint8Array");
}

function outside(at: number, length: number, multiple: string, regions: Regions): InvalidArgumentError {
  const found = isAddress(at) ? inWords(hexadecimal(at)) : at;
  return new InvalidArgumentError(`physical address of ${length} bytes`, found, `${multiple}all bytes in ${regions}`);
}
