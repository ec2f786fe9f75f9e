/**
 * Physical memory of the software machine: words and bytes of one shared buffer.
 *
 * Table entries are stored by relaxed accesses, two words each, and the walk reads them by atomic accesses. A word is never torn, but a
 * walk may see only one of an entry's two words. That is harmless:
 * - A device that uses an address of its driver: the entry was set, then `fence` was called, then the driver got the address.
 * - A device that still uses an address during its unmap sees the old entry or the empty one, whose valid word is stored first; walk.ts
 *   reads the valid word again after the other.
 * - A device that uses an address which no driver gave it sees the empty entry or the new one, whose valid word is stored last. (A CPU that
 *   reorders plain stores, unlike x86, may show the valid word with the other word still empty.)
 */
import type { Memory } from "../../machine/contract.ts";
import type { SharedBuffer, SharedBytes, SharedWords } from "../../shared/memory.ts";
import * as memory from "../../shared/memory.ts";
import { checkInteger, InvalidArgumentError } from "../../units/errors.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { bytesOf, compareExchange, copyIn, copyOut, createShared, hintTo, load, NO_WORDS, store, wordsOf, zero } =
  memory;

/** Largest memory: word indexes fit 30 bits. */
const MAX_MEMORY_BYTES = 2 ** 32;

/** Zeroed memory of `bytes` bytes: a multiple of 4096 up to 4 GiB. Throws RangeError if the engine can't allocate it. */
export function createMemory(bytes: number): SharedBuffer {
  checkInteger("memory size in bytes", bytes, 4096, MAX_MEMORY_BYTES);
  if (bytes % 4096 !== 0) throw new InvalidArgumentError("memory size in bytes", bytes, "a multiple of 4096");
  return createShared(bytes);
}

/** One thread's view of the memory. */
export class SoftwareMemory implements Memory {
  readonly bytes: number = 0;
  readonly #words: SharedWords = NO_WORDS;
  readonly #bytes: SharedBytes;
  /** A word of this view alone, so that a fence causes no cache traffic between threads. */
  readonly #fence: SharedWords = wordsOf(createShared(4));

  /** A view of the first `bytes` bytes: fewer than all for a guest, which must not access its hypervisor's memory. */
  constructor(buffer: SharedBuffer, bytes: number = buffer.byteLength) {
    this.bytes = bytes;
    this.#words = wordsOf(buffer, 0, bytes / 4);
    this.#bytes = bytesOf(buffer, 0, bytes);
  }

  /** The words, for the machine's walk. */
  get words(): SharedWords {
    return this.#words;
  }

  read(at: number, into: Uint8Array): void {
    checkArray(into);
    this.#checkBytes(at, into.length);
    copyOut(this.#bytes, at, into);
  }

  write(at: number, from: Uint8Array): void {
    checkArray(from);
    this.#checkBytes(at, from.length);
    copyIn(this.#bytes, at, from);
  }

  /** Sets `length` bytes from `at` on to zero. */
  clear(at: number, length: number): void {
    this.#checkBytes(at, length);
    zero(this.#bytes, at, length);
  }

  load32(at: number): number {
    return load(this.#words, this.#wordAt(at, 4)) >>> 0;
  }

  store32(at: number, value: number): void {
    store(this.#words, this.#wordAt(at, 4), value | 0);
  }

  compareExchange32(at: number, expected: number, wanted: number): number {
    return compareExchange(this.#words, this.#wordAt(at, 4), expected | 0, wanted | 0) >>> 0;
  }

  storeWords(at: number, from: Uint32Array, count: number, last: 0 | 1): void {
    if ((count & 1) !== 0 || !(count >= 0 && count <= from.length)) throw badCount(count, from.length);
    const words = this.#words;
    const word = this.#wordAt(at, count * 4);
    const other = 1 - last;
    for (let i = 0; i < count; i += 2) {
      hintTo(words, word + i + other, from[i + other] as number);
      hintTo(words, word + i + last, from[i + last] as number);
    }
  }

  /**
   * Fences by an atomic store: all earlier stores of this thread precede any later atomic load of this thread, or of a thread that has
   * synchronised with it since.
   */
  fence(): void {
    store(this.#fence, 0, 0);
  }

  /**
   * The index of the word at `at`. Comparing the result of `>>>`, which works modulo 2^32, with `at` refuses addresses that are too large,
   * unaligned, negative or NaN.
   */
  #wordAt(at: number, length: number): number {
    const word = at >>> 2;
    if (word * 4 !== at || at + length > this.bytes) throw badWord(at, length, this.bytes);
    return word;
  }

  #checkBytes(at: number, length: number): void {
    if (!(Number.isInteger(at) && at >= 0 && at + length <= this.bytes)) {
      throw new InvalidArgumentError(`physical address of ${length} bytes`, at, `all bytes in [0, ${this.bytes})`);
    }
  }
}

// Errors are created in separate functions, so that the checks stay small enough to be inlined.

function badCount(count: number, available: number): InvalidArgumentError {
  return new InvalidArgumentError("count of words", count, `an even number from 0 to ${available}`);
}

function checkArray(bytes: Uint8Array): void {
  if (!(bytes instanceof Uint8Array)) throw new InvalidArgumentError("bytes of memory", bytes, "a Uint8Array");
}

function badWord(at: number, length: number, bytes: number): InvalidArgumentError {
  const expected = `a multiple of 4 with all bytes below ${bytes}`;
  return new InvalidArgumentError(`physical address of ${length} bytes`, at, expected);
}
