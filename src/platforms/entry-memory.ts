/**
 * Entries of one format in memory: the format encodes them, this class stores and loads them. An entry is identified by the physical
 * address of its first word; `count` entries are consecutive. The caller (a platform's ops) checks ranges.
 *
 * Order of the stores:
 * - `set` stores the valid word of each entry last, `clear` first. Both are plain stores: a fence (or the invalidation that
 *   follows a `clear`, which orders this thread's stores itself) makes them visible to every DMA that begins afterwards.
 * - `exchange` between two valid entries that differ in one word is one store. If both words differ, the entry is invalid in between, and a
 *   concurrent DMA is refused rather than translated by halves of two entries. The same entry must not be exchanged again, or set after a
 *   clear, before an invalidation: a concurrent walk could combine their halves.
 * - A format whose empty entry is valid (it leads to a dummy page) has no word that is harmless beside every other one. Its entries use
 *   break-before-make: store an invalid valid word, then the new other word, then the new valid word. A DMA in between is refused. That is
 *   no loss: the entry's address is not yet, or no longer, a driver's.
 */
import { checkPageShift, ENTRY_BYTES, ENTRY_WORDS, type EntryFormat } from "../formats/contract.ts";
import type { Memory } from "../machine/contract.ts";
import type { EntryValue } from "../table/contract.ts";
import type { Failure } from "../units/failure.ts";
import type { EntryAccess } from "../units/numbers.ts";

/** Entries encoded at a time: 2 KiB of scratch stay in the first-level cache. */
const BATCH_ENTRIES = 256;
/** Value of the valid word that makes an entry invalid in every format. */
const NOT_VALID = 0;

/** One object per thread: it has scratch space. */
export class EntryMemory {
  readonly #memory: Memory;
  readonly #format: EntryFormat;
  readonly #pageShift: number = 0;
  readonly #validWord: 0 | 1 = 0;
  /** Index of the word of an entry that is not the valid word. */
  readonly #otherWord: 0 | 1 = 0;
  readonly #breaks: boolean = false;
  /** Batch size of the fast path of `set`; 0 for formats that need break-before-make. */
  readonly #quickEntries: number = 0;
  readonly #scratch: Uint32Array = new Uint32Array(BATCH_ENTRIES * ENTRY_WORDS);
  readonly #found: Uint32Array = new Uint32Array(ENTRY_WORDS);
  readonly #empty: Uint32Array = new Uint32Array(BATCH_ENTRIES * ENTRY_WORDS);
  /** Empty entries with an invalid valid word. */
  readonly #broken: Uint32Array = new Uint32Array(BATCH_ENTRIES * ENTRY_WORDS);

  /** Throws InvalidArgumentError for a page size (`pageShift`: its log2 in bytes) that the format lacks. */
  constructor(memory: Memory, format: EntryFormat, pageShift: number) {
    checkPageShift(format, pageShift);
    this.#memory = memory;
    this.#format = format;
    this.#pageShift = pageShift;
    this.#validWord = format.validWord;
    this.#otherWord = format.validWord === 0 ? 1 : 0;
    this.#breaks = format.emptyIsValid === true;
    this.#quickEntries = this.#breaks ? 0 : BATCH_ENTRIES;
    for (let i = 0; i < this.#empty.length; i++) {
      this.#empty[i] = format.empty[i % ENTRY_WORDS] as number;
      this.#broken[i] = i % ENTRY_WORDS === this.#validWord ? NOT_VALID : (this.#empty[i] as number);
    }
  }

  /**
   * "platform-refused" if the format can't hold one of the pages; then nothing has changed.
   *
   * Called for each element of a scatterlist. It is short enough for the engine to inline it, with its callees, into the loop of mapSg,
   * which saved 3 of 24 ns an element (`npm run bench -- --case map-sg`).
   */
  set(address: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    if (count > this.#quickEntries) return this.setAs(this.#format, address, count, page, access);
    if (!this.#format.encode(page, count, access, this.#pageShift, this.#scratch)) return "platform-refused";
    this.#memory.storeWords(address, this.#scratch, count * ENTRY_WORDS, this.#validWord);
    return undefined;
  }

  /** As `set`, for `count` pages in any order. */
  setPages(address: number, pages: Float64Array, count: number, access: EntryAccess): Failure | undefined {
    for (let i = 0; i < count; i++) {
      const failure = this.set(address + i * ENTRY_BYTES, 1, pages[i] as number, access);
      if (failure !== undefined) {
        // All or nothing. No device knows these entries yet.
        if (i > 0) this.clear(address, i);
        return failure;
      }
    }
    return undefined;
  }

  /** As `set`, in a format that differs from this one by attributes only. */
  setAs(format: EntryFormat, address: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    for (let done = 0; done < count; done += BATCH_ENTRIES) {
      const entries = Math.min(BATCH_ENTRIES, count - done);
      if (!format.encode(page + done, entries, access, this.#pageShift, this.#scratch)) {
        // All or nothing. No device knows these entries yet.
        if (done > 0) this.#clearBatches(address, done);
        return "platform-refused";
      }
      const at = address + done * ENTRY_BYTES;
      if (this.#breaks) this.#break(at, entries);
      this.#memory.storeWords(at, this.#scratch, entries * ENTRY_WORDS, this.#validWord);
    }
    return undefined;
  }

  clear(address: number, count: number): void {
    if (count <= BATCH_ENTRIES) this.#storeEmpty(address, count);
    else this.#clearBatches(address, count);
  }

  get(address: number, into: EntryValue): void {
    this.#format.decode(this.#load(address), 0, this.#pageShift, into);
  }

  /** "platform-refused" if the format can't hold the page; then nothing has changed. */
  exchange(address: number, page: number, access: EntryAccess, old: EntryValue): Failure | undefined {
    const wanted = this.#scratch;
    if (!this.#format.encode(page, 1, access, this.#pageShift, wanted)) return "platform-refused";
    const found = this.#load(address);
    this.#format.decode(found, 0, this.#pageShift, old);
    const valid = this.#validWord;
    const other = this.#otherWord;
    if (found[other] !== wanted[other]) {
      if (found[valid] !== wanted[valid]) this.#memory.store32(address + valid * 4, NOT_VALID);
      this.#memory.store32(address + other * 4, wanted[other] as number);
    }
    this.#memory.store32(address + valid * 4, wanted[valid] as number);
    return undefined;
  }

  /** Loads the entry's words. The array is reused by the next call. */
  #load(address: number): Uint32Array {
    this.#found[0] = this.#memory.load32(address);
    this.#found[1] = this.#memory.load32(address + 4);
    return this.#found;
  }

  #clearBatches(address: number, count: number): void {
    for (let done = 0; done < count; done += BATCH_ENTRIES) {
      this.#storeEmpty(address + done * ENTRY_BYTES, Math.min(BATCH_ENTRIES, count - done));
    }
  }

  /** An invalid empty entry is stored valid word first. A valid one is stored valid word last, after `#break`. */
  #storeEmpty(address: number, count: number): void {
    if (this.#breaks) this.#break(address, count);
    const last = this.#breaks ? this.#validWord : this.#otherWord;
    this.#memory.storeWords(address, this.#empty, count * ENTRY_WORDS, last);
  }

  /**
   * Invalidates entries, ordered before this thread's next stores to them. For many entries it stores pairs of words, since plain pairs
   * cost less than ordered stores. The other word of each pair is then that of an empty entry, which an entry to set has already and an
   * entry to empty gets anyway: see walk.ts.
   */
  #break(address: number, count: number): void {
    if (count === 1) this.#memory.store32(address + this.#validWord * 4, NOT_VALID);
    else this.#memory.storeWords(address, this.#broken, count * ENTRY_WORDS, this.#otherWord);
  }
}
