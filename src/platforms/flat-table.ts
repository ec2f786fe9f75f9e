/**
 * TableOps of one flat table of entries in memory: the format writes the bits, the memory takes them. How the IOTLB forgets is the
 * platform's, which extends this class. Knows nothing of the allocator above it; the rivals use it as it is.
 *
 * In what order things become visible:
 * - `set` stores the valid word of each entry last, `clear` first. Both are plain stores: `flush` (or the invalidation that
 *   follows a `clear`, which orders this thread's stores itself) makes them visible to every DMA that begins afterwards.
 * - `exchange` between two valid entries that differ in one word is one store. Where both words differ the entry is not valid in
 *   between, and a DMA of just then is refused: it is not translated by halves of two entries. Nor may the same entry be
 *   exchanged again, or set again once cleared, before an invalidation: a DMA that walks meanwhile could join their halves.
 * - A format whose empty entry is itself valid (it leads to a dummy page) has no half that is harmless beside every other one. Its
 *   entries break before they make: the valid word becomes one that is not valid, then the other word is the new one's, then the
 *   valid word. A DMA that meets the moment in between is refused: nobody has been told of the entry, or it has been taken back.
 */

import type { EntryFormat } from "../formats/contract.ts";
import * as formats from "../formats/contract.ts";
import type { Memory } from "../machine/contract.ts";
import type { EntryValue, TableOps } from "../table/contract.ts";
import { checkInteger, InvalidArgumentError } from "../units/errors.ts";
import type { Failure } from "../units/failure.ts";
import { type EntryAccess, MAX_ENTRIES } from "../units/numbers.ts";
import { beyondTable } from "./entry-spans.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { checkPageShift, ENTRY_BYTES, ENTRY_WORDS } = formats;

/** Entries encoded at a time: 2 KiB of scratch stay in the nearest cache. */
const BATCH_ENTRIES = 256;
/** Tables begin at multiples of this many bytes. */
const TABLE_ALIGNMENT = 4096;
/** A valid word of an entry that is not valid, in every format here. */
const NOT_VALID = 0;

/** One flat table. */
export interface FlatTableOptions {
  readonly memory: Memory;
  readonly format: EntryFormat;
  /** log2 of the IO page size in bytes: one that the format has. */
  readonly pageShift: number;
  readonly entries: number;
  /** Physical address of entry 0: a multiple of 4096, with the whole table inside memory. */
  readonly tableAddress: number;
}

/** One per thread. */
export abstract class FlatTableOps implements TableOps {
  protected readonly memory: Memory;
  protected readonly format: EntryFormat;
  protected readonly pageShift: number;
  protected readonly entries: number;
  readonly #tableAddress: number;
  readonly #validWord: 0 | 1;
  /** Of each entry, the word that is not the valid one. */
  readonly #otherWord: 0 | 1;
  readonly #breaks: boolean;
  /** Up to so many entries are written at once. None where entries break first. */
  readonly #quickEntries: number;
  readonly #scratch: Uint32Array = new Uint32Array(BATCH_ENTRIES * ENTRY_WORDS);
  readonly #found: Uint32Array = new Uint32Array(ENTRY_WORDS);
  readonly #empty: Uint32Array = new Uint32Array(BATCH_ENTRIES * ENTRY_WORDS);
  /** Empty entries with a valid word that is not valid. */
  readonly #broken: Uint32Array = new Uint32Array(BATCH_ENTRIES * ENTRY_WORDS);

  /** Throws InvalidArgumentError for a page size that the format lacks, or a table that memory can't hold. */
  constructor(options: FlatTableOptions) {
    const { memory, format, pageShift, entries, tableAddress } = options;
    checkPageShift(format, pageShift);
    checkTablePlace(memory, entries, tableAddress);
    this.memory = memory;
    this.format = format;
    this.pageShift = pageShift;
    this.entries = entries;
    this.#tableAddress = tableAddress;
    this.#validWord = format.validWord;
    this.#otherWord = format.validWord === 0 ? 1 : 0;
    this.#breaks = format.emptyIsValid === true;
    this.#quickEntries = this.#breaks ? 0 : BATCH_ENTRIES;
    for (let i = 0; i < this.#empty.length; i++) {
      this.#empty[i] = format.empty[i % ENTRY_WORDS] as number;
      this.#broken[i] = i % ENTRY_WORDS === this.#validWord ? NOT_VALID : (this.#empty[i] as number);
    }
  }

  abstract invalidate(first: number, end: number): Failure | undefined;
  abstract invalidateAll(): Failure | undefined;

  /**
   * "platform-refused" when the format can't hold one of the pages. Throws InvalidArgumentError beyond the table.
   *
   * Called for each element of a scatterlist, so it is kept short: with all that it calls it fits into what the engine inlines into
   * the loop of mapSg. That saved 3 of 24 ns an element (`npm run bench -- --case map-sg`).
   */
  set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    if (!inTable(first, count, this.entries)) throw beyondTable(first, count, this.entries);
    if (count > this.#quickEntries) return this.#setBatches(this.format, first, count, page, access);
    if (!this.format.encode(page, count, access, this.pageShift, this.#scratch)) return "platform-refused";
    const address = this.addressOf(first);
    this.memory.storeWords(address, this.#scratch, count * ENTRY_WORDS, this.#validWord);
    return undefined;
  }

  clear(first: number, count: number): void {
    if (!inTable(first, count, this.entries)) throw beyondTable(first, count, this.entries);
    const address = this.addressOf(first);
    if (count <= BATCH_ENTRIES) this.#storeEmpty(address, count);
    else this.#clearBatches(address, count);
  }

  get(entry: number, into: EntryValue): void {
    this.format.decode(this.load(entry), 0, this.pageShift, into);
  }

  /** "platform-refused" when the format can't hold the page: then nothing has changed. */
  exchange(entry: number, page: number, access: EntryAccess, old: EntryValue): Failure | undefined {
    this.checkRange(entry, 1);
    const wanted = this.#scratch;
    if (!this.format.encode(page, 1, access, this.pageShift, wanted)) return "platform-refused";
    const found = this.load(entry);
    this.format.decode(found, 0, this.pageShift, old);
    const address = this.addressOf(entry);
    const valid = this.#validWord;
    const other = this.#otherWord;
    if (found[other] !== wanted[other]) {
      if (found[valid] !== wanted[valid]) this.memory.store32(address + valid * 4, NOT_VALID);
      this.memory.store32(address + other * 4, wanted[other] as number);
    }
    this.memory.store32(address + valid * 4, wanted[valid] as number);
    return undefined;
  }

  /** Never fails: nothing is gathered. */
  flush(): Failure | undefined {
    this.memory.fence();
    return undefined;
  }

  /** As `set`, in a format that differs from the table's own by attributes only. */
  protected setAs(
    format: EntryFormat,
    first: number,
    count: number,
    page: number,
    access: EntryAccess,
  ): Failure | undefined {
    this.checkRange(first, count);
    return this.#setBatches(format, first, count, page, access);
  }

  /** Physical address of an entry's first word. */
  protected addressOf(entry: number): number {
    return this.#tableAddress + entry * ENTRY_BYTES;
  }

  /** The entry's words as they stand in memory, until the next call. Throws InvalidArgumentError beyond the table. */
  protected load(entry: number): Uint32Array {
    this.checkRange(entry, 1);
    const address = this.addressOf(entry);
    this.#found[0] = this.memory.load32(address);
    this.#found[1] = this.memory.load32(address + 4);
    return this.#found;
  }

  /** Throws InvalidArgumentError unless these are entries of the table. */
  protected checkRange(first: number, count: number): void {
    if (!inTable(first, count, this.entries)) throw beyondTable(first, count, this.entries);
  }

  #setBatches(
    format: EntryFormat,
    first: number,
    count: number,
    page: number,
    access: EntryAccess,
  ): Failure | undefined {
    const address = this.addressOf(first);
    for (let done = 0; done < count; done += BATCH_ENTRIES) {
      const entries = Math.min(BATCH_ENTRIES, count - done);
      const fits = format.encode(page + done, entries, access, this.pageShift, this.#scratch);
      if (!fits) {
        // All or nothing. No device has been told of the entries.
        if (done > 0) this.#clearBatches(address, done);
        return "platform-refused";
      }
      const at = address + done * ENTRY_BYTES;
      if (this.#breaks) this.#break(at, entries);
      this.memory.storeWords(at, this.#scratch, entries * ENTRY_WORDS, this.#validWord);
    }
    return undefined;
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
    this.memory.storeWords(address, this.#empty, count * ENTRY_WORDS, last);
  }

  /**
   * Makes entries not valid, before all that this thread stores there next. Of many, the other word is then that of an empty entry, which
   * it was in an entry that is set, and is to be in one that is emptied: see walk.ts. Plain pairs cost less than ordered stores.
   */
  #break(address: number, count: number): void {
    if (count === 1) this.memory.store32(address + this.#validWord * 4, NOT_VALID);
    else this.memory.storeWords(address, this.#broken, count * ENTRY_WORDS, this.#otherWord);
  }
}

/** So short that it is always inlined. */
function inTable(first: number, count: number, entries: number): boolean {
  return first >= 0 && count >= 1 && first + count <= entries;
}

/** Throws InvalidArgumentError unless a table of so many entries may lie at this address of the memory. */
function checkTablePlace(memory: Memory, entries: number, tableAddress: number): void {
  checkInteger("entries of the table", entries, 1, MAX_ENTRIES);
  const last = memory.bytes - entries * ENTRY_BYTES;
  if (last < 0) {
    const bytes = entries * ENTRY_BYTES;
    throw new InvalidArgumentError(
      "entries of the table",
      entries,
      `a table of ${bytes} bytes in ${memory.bytes} of memory`,
    );
  }
  if (
    !Number.isInteger(tableAddress) ||
    tableAddress % TABLE_ALIGNMENT !== 0 ||
    tableAddress < 0 ||
    tableAddress > last
  ) {
    throw new InvalidArgumentError("table address", tableAddress, `a multiple of ${TABLE_ALIGNMENT} from 0 to ${last}`);
  }
}
