/**
 * TableOps of one flat table of entries in memory, but for the invalidation, which each IOMMU has its own registers for: the format
 * writes the bits, the memory takes them. Knows nothing of the allocator above it.
 *
 * In what order things become visible:
 * - `set` stores the valid word of each entry last, `clear` first. Both are plain stores: `flush` (or the invalidation that
 *   follows a `clear`, which orders this thread's stores itself) makes them visible to every DMA that begins afterwards.
 * - `exchange` between two valid entries that differ in one word is one store. Where both words differ, the valid word is that of
 *   the empty entry in between, and a DMA of just then is refused: it is not translated by halves of two entries. Nor may the same
 *   entry be exchanged again, or set again once cleared, before an invalidation: a DMA that walks meanwhile could join their halves.
 * - Where the empty entry is itself valid (sun4u's dummy page), nothing is refused in between. There the format keeps the whole address
 *   in the other word, which is one store: no DMA is translated by halves of two addresses either.
 */

import type { EntryFormat } from "../formats/contract.ts";
import * as formats from "../formats/contract.ts";
import type { Memory } from "../machine/contract.ts";
import type { EntryValue, TableOps } from "../table/contract.ts";
import { checkInteger, InvalidArgumentError } from "../units/errors.ts";
import type { Failure } from "../units/failure.ts";
import { type EntryAccess, MAX_ENTRIES } from "../units/numbers.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { checkPageShift, ENTRY_BYTES, ENTRY_WORDS } = formats;

/** Entries encoded at a time: 2 KiB of scratch stay in the nearest cache. */
const BATCH_ENTRIES = 256;
/** Tables begin at multiples of this many bytes. */
const TABLE_ALIGNMENT = 4096;

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
  readonly #memory: Memory;
  readonly #format: EntryFormat;
  readonly #pageShift: number;
  readonly #entries: number;
  readonly #tableAddress: number;
  readonly #largestPage: number;
  readonly #validWord: 0 | 1;
  /** Of each entry, the word that is not the valid one. */
  readonly #otherWord: 0 | 1;
  readonly #scratch: Uint32Array = new Uint32Array(BATCH_ENTRIES * ENTRY_WORDS);
  readonly #found: Uint32Array = new Uint32Array(ENTRY_WORDS);
  readonly #empty: Uint32Array = new Uint32Array(BATCH_ENTRIES * ENTRY_WORDS);

  /** Throws InvalidArgumentError for a page size that the format lacks, or a table that memory can't hold. */
  constructor(options: FlatTableOptions) {
    const { memory, format, pageShift, entries, tableAddress } = options;
    checkPageShift(format, pageShift);
    checkTablePlace(memory, entries, tableAddress);
    this.#memory = memory;
    this.#format = format;
    this.#pageShift = pageShift;
    this.#entries = entries;
    this.#tableAddress = tableAddress;
    this.#largestPage = format.largestPage(pageShift);
    this.#validWord = format.validWord;
    this.#otherWord = format.validWord === 0 ? 1 : 0;
    for (let i = 0; i < this.#empty.length; i++) this.#empty[i] = format.empty[i % ENTRY_WORDS] as number;
  }

  /** "platform-refused" when the format can't hold one of the pages. Throws InvalidArgumentError beyond the table. */
  set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    if (!inTable(first, count, this.#entries)) throw beyondTable(first, count, this.#entries);
    const address = this.#tableAddress + first * ENTRY_BYTES;
    if (count > BATCH_ENTRIES) return this.#setBatches(address, count, page, access);
    if (!this.#format.encode(page, count, access, this.#pageShift, this.#scratch)) return "platform-refused";
    this.#memory.storeWords(address, this.#scratch, count * ENTRY_WORDS, this.#validWord);
    return undefined;
  }

  clear(first: number, count: number): void {
    if (!inTable(first, count, this.#entries)) throw beyondTable(first, count, this.#entries);
    const address = this.#tableAddress + first * ENTRY_BYTES;
    if (count <= BATCH_ENTRIES) this.#memory.storeWords(address, this.#empty, count * ENTRY_WORDS, this.#otherWord);
    else this.#clearBatches(address, count);
  }

  get(entry: number, into: EntryValue): void {
    if (!inTable(entry, 1, this.#entries)) throw beyondTable(entry, 1, this.#entries);
    this.#format.decode(this.#load(entry), 0, this.#pageShift, into);
  }

  /** "platform-refused" when the format can't hold the page: then nothing has changed. */
  exchange(entry: number, page: number, access: EntryAccess, old: EntryValue): Failure | undefined {
    if (!inTable(entry, 1, this.#entries)) throw beyondTable(entry, 1, this.#entries);
    const wanted = this.#scratch;
    if (!this.#format.encode(page, 1, access, this.#pageShift, wanted)) return "platform-refused";
    const found = this.#load(entry);
    this.#format.decode(found, 0, this.#pageShift, old);
    const address = this.#tableAddress + entry * ENTRY_BYTES;
    const valid = this.#validWord;
    const other = this.#otherWord;
    if (found[other] !== wanted[other]) {
      if (found[valid] !== wanted[valid]) this.#memory.store32(address + valid * 4, this.#format.empty[valid]);
      this.#memory.store32(address + other * 4, wanted[other] as number);
    }
    this.#memory.store32(address + valid * 4, wanted[valid] as number);
    return undefined;
  }

  /** Never fails by itself: nothing is gathered. */
  flush(): Failure | undefined {
    this.#memory.fence();
    return undefined;
  }

  abstract invalidate(first: number, end: number): Failure | undefined;

  abstract invalidateAll(): Failure | undefined;

  /** Throws InvalidArgumentError unless [first, end) is a range of at least one entry of the table. */
  protected checkRange(first: number, end: number): void {
    if (!inTable(first, end - first, this.#entries)) throw beyondTable(first, end - first, this.#entries);
  }

  #setBatches(address: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    // All or nothing: the last page is the largest, so hardly a batch is refused after another has been written.
    if (page + count - 1 > this.#largestPage) return "platform-refused";
    for (let done = 0; done < count; done += BATCH_ENTRIES) {
      const entries = Math.min(BATCH_ENTRIES, count - done);
      const fits = this.#format.encode(page + done, entries, access, this.#pageShift, this.#scratch);
      if (!fits) {
        // A page that the format takes for itself (sun4u's dummy page) lies among them.
        if (done > 0) this.#clearBatches(address, done);
        return "platform-refused";
      }
      this.#memory.storeWords(address + done * ENTRY_BYTES, this.#scratch, entries * ENTRY_WORDS, this.#validWord);
    }
    return undefined;
  }

  #clearBatches(address: number, count: number): void {
    for (let done = 0; done < count; done += BATCH_ENTRIES) {
      const entries = Math.min(BATCH_ENTRIES, count - done);
      this.#memory.storeWords(address + done * ENTRY_BYTES, this.#empty, entries * ENTRY_WORDS, this.#otherWord);
    }
  }

  /** The entry's words as they stand in memory. */
  #load(entry: number): Uint32Array {
    const address = this.#tableAddress + entry * ENTRY_BYTES;
    this.#found[0] = this.#memory.load32(address);
    this.#found[1] = this.#memory.load32(address + 4);
    return this.#found;
  }
}

/** So short that it is always inlined. */
function inTable(first: number, count: number, entries: number): boolean {
  return first >= 0 && count >= 1 && first + count <= entries;
}

/** Made out of line: a check that is to be inlined stays small. */
function beyondTable(first: number, count: number, entries: number): InvalidArgumentError {
  const range = `[${first}, ${first + count})`;
  return new InvalidArgumentError("range of entries", range, `at least one entry in [0, ${entries})`);
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
