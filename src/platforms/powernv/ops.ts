/**
 * TableOps of a TCE table of 1 .. 4 levels (5 never come about: geometry.ts). The levels below the first are made on demand, when the
 * first entry below them is set, and stay for as long as the table does; what is not made yet reads as empty, and `clear` passes it by.
 *
 * How a level comes in, and what threads that need the same one do to each other:
 * - Its maker takes pages, fills them with zeros, and only then puts the level's address into the inner entry by compare-and-swap
 *   of the word that holds the permission bits. The swap is atomic and pairs with `load32` of those who go the same way: who
 *   sees the address sees zeros or what has been set since, never what the memory held before. So does the walk of a DMA.
 * - Who loses the swap gives its copy back and uses the winner's. An inner entry is stored once and never changes again.
 * - One word must be enough: levels lie below 4 GiB, so that the entry's other word is zero before and after. (Phb.create
 *   refuses a region that ends beyond.)
 *
 * A thread that dies here leaves: before the swap, a level that no entry leads to: pages that are its own in PhysicalPages' ledger, given
 * back by `Phb.reclaimThread`. After the swap, a level that belongs to the table and its other threads; `reclaimThread`
 * tells the two apart by walking the tables, and keeps it. Having lost the swap, its copy, which is like the first case.
 */
import * as addresses from "../../formats/address.ts";
import * as formats from "../../formats/contract.ts";
import { powernvTce } from "../../formats/tce.ts";
import type { Memory } from "../../machine/contract.ts";
import type { PhysicalPages } from "../../memory/physical-pages.ts";
import type { SharedWords } from "../../shared/memory.ts";
import * as sharedMemory from "../../shared/memory.ts";
import type { EntryValue, TableOps } from "../../table/contract.ts";
import { IovaError } from "../../units/errors.ts";
import { type Failure, failureOf, LONGER_THAN_TABLE, TABLE_FULL } from "../../units/failure.ts";
import type { EntryAccess } from "../../units/numbers.ts";
import { EntryMemory } from "../entry-memory.ts";
import { beyondTable } from "../entry-spans.ts";
import type { TceGeometry } from "./geometry.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { pagesFit, swapBytes } = addresses;
const { ENTRY_BYTES } = formats;
const { glance } = sharedMemory;

/** In an inner entry: the level may be read and written. */
const READ_AND_WRITE = 3;
/** Of an inner entry, what is its level's address. */
const LEVEL_MASK = 0xfffff000;
/** Bytes 4 .. 7 of an entry: the low half of the address, and the permissions. */
const LOW_WORD = 4;
/** No level leads to the entry. */
const HOLE = -1;
const ZEROS: Uint8Array = new Uint8Array(4096);

/** Whom the table's groups ask to forget translations. */
export interface TceInvalidator {
  invalidate(first: number, end: number): Failure | undefined;
  invalidateAll(): Failure | undefined;
}

/** The word that says whether the table is still there: `at` of `words` holds `generation` until it is freed. */
export interface TableLife {
  readonly words: SharedWords;
  readonly at: number;
  readonly generation: number;
}

export interface TceOpsOptions {
  readonly memory: Memory;
  /** Where levels come from. */
  readonly pages: PhysicalPages;
  readonly geometry: TceGeometry;
  /** Physical address of the first level. */
  readonly rootAddress: number;
  readonly life: TableLife;
  readonly invalidator: TceInvalidator;
}

/** One per thread. Every call throws IovaError "table-gone" once the table has been freed. */
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
  /** log2 of the table's entries below one entry of the first level: below 31, as entries are (geometry.ts). */
  readonly #rootShift: number;
  readonly #largestPage: number;
  /** What writes and reads entries, by address. */
  readonly #entryMemory: EntryMemory;
  /** Left by `#find`: one past the last entry that its answer goes for, and the empty inner entry that made it a hole. */
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
   * "platform-refused" when a page is no physical page, or there is no memory for a level: then no entry has changed (levels that
   * could be made stay, empty). Throws InvalidArgumentError beyond the table.
   */
  set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    this.#check(first, count);
    const end = first + count;
    const address = this.#find(first);
    // Most often the entries lie in one level, and it is made.
    if (address !== HOLE && end <= this.#runEnd) return this.#entryMemory.set(address, count, page, access);
    // All that can be refused before the first entry: nothing is left to fail in the middle.
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

  /** As `set` refuses: then nothing has changed, and `old` says nothing. */
  exchange(entry: number, page: number, access: EntryAccess, old: EntryValue): Failure | undefined {
    this.#check(entry, 1);
    if (!pagesFit(page, 1, this.#largestPage)) return "platform-refused";
    const failure = this.#makeLevels(entry, entry + 1);
    return failure ?? this.#entryMemory.exchange(this.#find(entry), page, access, old);
  }

  /** Never fails: nothing is gathered. */
  publish(): undefined {
    this.#memory.fence();
  }

  /** Through every group that has the table as a window. "platform-busy" when a DMA that may use the entries does not end. */
  invalidate(first: number, end: number): Failure | undefined {
    this.#check(first, end - first);
    return this.#invalidator.invalidate(first, end);
  }

  invalidateAll(): Failure | undefined {
    this.#check(0, 1);
    return this.#invalidator.invalidateAll();
  }

  /** One past the last entry of the hole that `entry` lies in, or `entry` when its level is made: for who reads whole tables. */
  endOfHole(entry: number): number {
    this.#check(entry, 1);
    return this.#find(entry) === HOLE ? Math.min(this.#runEnd, this.#entries) : entry;
  }

  /** Physical address of an entry, or HOLE. A load for each level above the last. */
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

  /** A level for the empty inner entry at this address: this thread's, or that of another one that was faster. */
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
    // Relaxed: who uses a table while another thread frees it breaks its ownership; this is for those who come later.
    if (glance(words, at) !== generation) throw gone();
    if (!(first >= 0 && count >= 1 && first + count <= this.#entries)) throw beyondTable(first, count, this.#entries);
  }
}

// Errors are made out of line, so that the checks stay small enough to be inlined.

function gone(): IovaError {
  return new IovaError("table-gone", "the TCE table has been freed, with the last group that had it");
}
