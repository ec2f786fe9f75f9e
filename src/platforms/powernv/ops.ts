/**
 * TableOps of a TCE table of 1 .. 4 levels (geometry.ts excludes 5). A level below the first is allocated when the first entry below it is
 * set, and stays allocated as long as the table. Entries of an unallocated level read as empty, and `clear` skips them.
 *
 * How a level is linked, and how threads that need the same level interact:
 * - A thread allocates pages, fills them with zeros, and then stores the level's address in the inner entry by compare-and-swap of the word
 *   with the permission bits. The swap pairs with the `load32` of other threads and of a DMA's walk: a thread that sees the address sees
 *   zeros or entries that were set since, never the old content of the memory.
 * - A thread that loses the swap frees its pages and uses the winner's level. An inner entry is stored once and does not change afterwards.
 * - One word is enough, because levels lie below 4 GiB: the entry's other word is zero before and after. (Phb.create refuses a region that
 *   ends above 4 GiB.)
 *
 * A thread that dies before the swap, or after losing it, leaves pages that no entry leads to. They are in its name in the ledger of
 * PhysicalPages, and the bridge's recovery frees them. A thread that dies after winning the swap leaves a level that belongs to the table.
 * Recovery walks the tables to distinguish the cases, and keeps that level.
 */
import { pagesFit, swapBytes } from "../../formats/address.ts";
import { ENTRY_BYTES } from "../../formats/contract.ts";
import { powernvTce } from "../../formats/tce.ts";
import type { Memory } from "../../machine/contract.ts";
import type { PhysicalPages } from "../../memory/physical-pages.ts";
import { glance, type SharedWords } from "../../shared/memory.ts";
import type { EntryValue, TableOps } from "../../table/contract.ts";
import { setEachPage } from "../../table/set-pages.ts";
import { IovaError } from "../../units/errors.ts";
import { type Failure, failureOf, LONGER_THAN_TABLE, TABLE_FULL } from "../../units/failure.ts";
import type { EntryAccess } from "../../units/numbers.ts";
import { EntryMemory } from "../entry-memory.ts";
import { beyondTable } from "../entry-spans.ts";
import type { TceGeometry } from "./geometry.ts";

/** Permission bits of an inner entry. */
const READ_AND_WRITE = 3;
/** Mask of the level's address in an inner entry. */
const LEVEL_MASK = 0xfffff000;
/** Bytes 4 .. 7 of an entry: the low half of the address, and the permissions. */
const LOW_WORD = 4;
/** Address of an entry whose level is not allocated. */
const HOLE = -1;
const ZEROS: Uint8Array = new Uint8Array(4096);

/** Invalidates translations in all groups of a table. */
export interface TceInvalidator {
  invalidate(first: number, end: number): Failure | undefined;
  invalidateAll(): Failure | undefined;
}

/** Identifies a table that has not been freed: word `at` of `words` holds `generation` until then. */
export interface TableLife {
  readonly words: SharedWords;
  readonly at: number;
  readonly generation: number;
}

export interface TceOpsOptions {
  readonly memory: Memory;
  /** Pages for levels. */
  readonly pages: PhysicalPages;
  readonly geometry: TceGeometry;
  /** Physical address of the first level. */
  readonly rootAddress: number;
  readonly life: TableLife;
  readonly invalidator: TceInvalidator;
}

/** One object per thread. Every call throws IovaError "table-gone" after the table was freed. */
export class TceOps implements TableOps {
  readonly #memory: Memory;
  readonly #pages: PhysicalPages;
  readonly #life: TableLife;
  readonly #invalidator: TceInvalidator;
  readonly #entries: number;
  readonly #levelBits: number;
  readonly #levelMask: number;
  readonly #levelBytes: number;
  readonly #root: number;
  /** log2 of the number of entries below one entry of the first level: less than 31 (geometry.ts). */
  readonly #rootShift: number;
  readonly #largestPage: number;
  /** Writes and reads entries by address. */
  readonly #entryMemory: EntryMemory;
  /** Results of `#find`: one past the last entry to which its result applies, and the address of the empty inner entry of a hole. */
  #runEnd = 0;
  #holeAt = 0;

  constructor({ memory, pages, geometry, rootAddress, life, invalidator }: TceOpsOptions) {
    const { entries, levels, levelBits, levelBytes, pageShift } = geometry;
    this.#memory = memory;
    this.#pages = pages;
    this.#life = life;
    this.#invalidator = invalidator;
    this.#entries = entries;
    this.#levelBits = levelBits;
    this.#levelMask = 2 ** levelBits - 1;
    this.#levelBytes = levelBytes;
    this.#root = rootAddress;
    this.#rootShift = levelBits * (levels - 1);
    this.#largestPage = powernvTce.largestPage(pageShift);
    this.#entryMemory = new EntryMemory(memory, powernvTce, pageShift);
  }

  /**
   * "platform-refused" if an entry can't hold a page, or there is no memory for a level. No entry has changed then; levels that were
   * allocated stay, empty. Throws InvalidArgumentError for entries outside of the table.
   */
  set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    this.#check(first, count);
    const end = first + count;
    const address = this.#find(first);
    // The usual case: all entries lie in one allocated level.
    if (address !== HOLE && end <= this.#runEnd) return this.#entryMemory.set(address, count, page, access);
    // Everything that may fail is done before the first entry is written.
    if (!pagesFit(page, count, this.#largestPage)) return "platform-refused";
    const failure = this.#makeLevels(first, end);
    if (failure !== undefined) return failure;
    for (let entry = first; entry < end; ) {
      const at = this.#find(entry);
      const run = Math.min(end, this.#runEnd) - entry;
      this.#entryMemory.set(at, run, page + entry - first, access);
      entry += run;
    }
    return undefined;
  }

  setPages(first: number, pages: Float64Array, count: number, access: EntryAccess): Failure | undefined {
    this.#check(first, count);
    const address = this.#find(first);
    return address !== HOLE && first + count <= this.#runEnd
      ? this.#entryMemory.setPages(address, pages, count, access)
      : setEachPage(this, first, pages, count, access);
  }

  clear(first: number, count: number): void {
    this.#check(first, count);
    const end = first + count;
    for (let entry = first; entry < end; entry = this.#runEnd) {
      const at = this.#find(entry);
      if (at !== HOLE) this.#entryMemory.clear(at, Math.min(end, this.#runEnd) - entry);
    }
  }

  get(entry: number, into: EntryValue): void {
    this.#check(entry, 1);
    const at = this.#find(entry);
    if (at !== HOLE) {
      this.#entryMemory.get(at, into);
      return;
    }
    into.page = 0;
    into.access = 0;
  }

  /** Fails as `set` does. Nothing has changed then, and `old` is undefined. */
  exchange(entry: number, page: number, access: EntryAccess, old: EntryValue): Failure | undefined {
    this.#check(entry, 1);
    if (!pagesFit(page, 1, this.#largestPage)) return "platform-refused";
    const failure = this.#makeLevels(entry, entry + 1);
    return failure ?? this.#entryMemory.exchange(this.#find(entry), page, access, old);
  }

  /** Never fails: `set` and `clear` write entries immediately. */
  publish(): undefined {
    this.#memory.fence();
  }

  /** Invalidates in every group that has the table in a window. "platform-busy" if a DMA that may use the entries does not end. */
  invalidate(first: number, end: number): Failure | undefined {
    this.#check(first, end - first);
    return this.#invalidator.invalidate(first, end);
  }

  invalidateAll(): Failure | undefined {
    this.#check(0, 1);
    return this.#invalidator.invalidateAll();
  }

  /** One past the last entry of the hole that contains `entry`, or `entry` if its level is allocated. For scans of whole tables. */
  endOfHole(entry: number): number {
    this.#check(entry, 1);
    return this.#find(entry) === HOLE ? Math.min(this.#runEnd, this.#entries) : entry;
  }

  /** Physical address of an entry, or HOLE. Takes one load for each level above the last. */
  #find(entry: number): number {
    const bits = this.#levelBits;
    const mask = this.#levelMask;
    let at = this.#root;
    for (let shift = this.#rootShift; shift > 0; shift -= bits) {
      const index = entry >>> shift;
      const inner = at + (index & mask) * ENTRY_BYTES;
      const low = this.#memory.load32(inner + LOW_WORD);
      if (low === 0) {
        this.#runEnd = (index + 1) << shift;
        this.#holeAt = inner;
        return HOLE;
      }
      at = (swapBytes(low) & LEVEL_MASK) >>> 0;
    }
    this.#runEnd = (entry | mask) + 1;
    return at + (entry & mask) * ENTRY_BYTES;
  }

  #makeLevels(first: number, end: number): Failure | undefined {
    for (let entry = first; entry < end; ) {
      if (this.#find(entry) !== HOLE) entry = this.#runEnd;
      else {
        const failure = this.#makeLevel(this.#holeAt);
        if (failure !== undefined) return failure;
      }
    }
    return undefined;
  }

  /** Allocates and links a level for the empty inner entry at this address, unless another thread has linked one first. */
  #makeLevel(inner: number): Failure | undefined {
    const level = this.#pages.allocate(this.#levelBytes, this.#levelBytes);
    if (level < 0) {
      const isFull = level === TABLE_FULL || level === LONGER_THAN_TABLE;
      return isFull ? "platform-refused" : failureOf(level);
    }
    for (let done = 0; done < this.#levelBytes; done += ZEROS.length) this.#memory.write(level + done, ZEROS);
    this.#memory.fence();
    const low = swapBytes(level | READ_AND_WRITE) >>> 0;
    if (this.#memory.compareExchange32(inner + LOW_WORD, 0, low) !== 0) this.#pages.free(level, this.#levelBytes);
    return undefined;
  }

  #check(first: number, count: number): void {
    const { words, at, generation } = this.#life;
    // Relaxed: using a table while another thread frees it is a misuse that this need not detect. It detects later uses.
    if (glance(words, at) !== generation) throw gone();
    if (!(first >= 0 && count >= 1 && first + count <= this.#entries)) throw beyondTable(first, count, this.#entries);
  }
}

// Errors are created in separate functions, so that the checks stay small enough to be inlined.

function gone(): IovaError {
  return new IovaError("table-gone", "the TCE table has been freed, with the last group that had it");
}
