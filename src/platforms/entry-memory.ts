/**
 * Entries of one format in memory: the format writes the bits, the memory takes them. Entries are named by the physical address of their
 * first word; several are consecutive. Which entries there are, and who may write them, is known to the ops that have such an object.
 *
 * In what order things become visible:
 * - `set` stores the valid word of each entry last, `clear` first. Both are plain stores: a fence (or the invalidation that
 *   follows a `clear`, which orders this thread's stores itself) makes them visible to every DMA that begins afterwards.
 * - `exchange` between two valid entries that differ in one word is one store. Where both words differ the entry is not valid in
 *   between, and a DMA of just then is refused: it is not translated by halves of two entries. Nor may the same entry be
 *   exchanged again, or set again once cleared, before an invalidation: a DMA that walks meanwhile could join their halves.
 * - A format whose empty entry is itself valid (it leads to a dummy page) has no half that is harmless beside every other one. Its
 *   entries break before they make: the valid word becomes one that is not valid, then the other word is the new one's, then the
 *   valid word. A DMA that meets the moment in between is refused: the entry's address has not been given to a driver yet, or has been
 *   taken back.
 */
import type { EntryFormat } from "../formats/contract.ts";
import * as formats from "../formats/contract.ts";
import type { Memory } from "../machine/contract.ts";
import type { EntryValue } from "../table/contract.ts";
import type { Failure } from "../units/failure.ts";
import type { EntryAccess } from "../units/numbers.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { checkPageShift, ENTRY_BYTES, ENTRY_WORDS } = formats;

/** Entries encoded at a time: 2 KiB of scratch stay in the nearest cache. */
const BATCH_ENTRIES = 256;
/** Value of the valid word that makes an entry invalid in every format. */
const NOT_VALID = 0;

/** One per thread: it has scratch space of its own. */
export class EntryMemory {
  readonly #memory: Memory;
  readonly #format: EntryFormat;
  readonly #pageShift: number;
  readonly #validWord: 0 | 1;
  /** Of each entry, the word that is not the valid one. */
  readonly #otherWord: 0 | 1;
  readonly #breaks: boolean;
  /** Batch size of the fast path of `set`; 0 for formats whose entries break before they make. */
  readonly #quickEntries: number;
  readonly #scratch: Uint32Array = new Uint32Array(BATCH_ENTRIES * ENTRY_WORDS);
  readonly #found: Uint32Array = new Uint32Array(ENTRY_WORDS);
  readonly #empty: Uint32Array = new Uint32Array(BATCH_ENTRIES * ENTRY_WORDS);
  /** Empty entries with a valid word that is not valid. */
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
   * "platform-refused" when the format can't hold one of the pages: then nothing has changed.
   *
   * Called for each element of a scatterlist, so it is kept short: with all that it calls it fits into what the engine inlines into
   * the loop of mapSg. That saved 3 of 24 ns an element (`npm run bench -- --case map-sg`).
   */
  set(address: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    if (count > this.#quickEntries) return this.setAs(this.#format, address, count, page, access);
    if (!this.#format.encode(page, count, access, this.#pageShift, this.#scratch)) return "platform-refused";
    this.#memory.storeWords(address, this.#scratch, count * ENTRY_WORDS, this.#validWord);
    return undefined;
  }

  /** As `set`, in a format that differs from this one by attributes only. */
  setAs(format: EntryFormat, address: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    for (let done = 0; done < count; done += BATCH_ENTRIES) {
      const entries = Math.min(BATCH_ENTRIES, count - done);
      if (!format.encode(page + done, entries, access, this.#pageShift, this.#scratch)) {
        // All or nothing. No device has been told of the entries.
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

  /** "platform-refused" when the format can't hold the page: then nothing has changed. */
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

  /** The entry's words, until the next call. */
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

  /** An empty entry that is not valid is stored valid word first; one that is, valid word last: it has been broken before. */
  #storeEmpty(address: number, count: number): void {
    if (this.#breaks) this.#break(address, count);
    const last = this.#breaks ? this.#validWord : this.#otherWord;
    this.#memory.storeWords(address, this.#empty, count * ENTRY_WORDS, last);
  }

  /**
   * Makes entries not valid, before all that this thread stores there next. Of many, the other word is then that of an empty entry, which
   * it was in an entry that is set, and is to be in one that is emptied: see walk.ts. Plain pairs cost less than ordered stores.
   */
  #break(address: number, count: number): void {
    if (count === 1) this.#memory.store32(address + this.#validWord * 4, NOT_VALID);
    else this.#memory.storeWords(address, this.#broken, count * ENTRY_WORDS, this.#otherWord);
  }
}
