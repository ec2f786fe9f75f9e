/**
 * TableOps of one flat table of entries in memory, except invalidation, which a platform's subclass adds. Independent of the allocator.
 * entry-memory.ts describes the order in which entries become visible.
 */
import { ENTRY_BYTES, type EntryFormat } from "../formats/contract.ts";
import type { Memory } from "../machine/contract.ts";
import type { EntryValue, TableOps } from "../table/contract.ts";
import { hexadecimal } from "../units/counts.ts";
import { checkInteger, InvalidArgumentError, inWords } from "../units/errors.ts";
import type { Failure } from "../units/failure.ts";
import { type EntryAccess, MAX_ENTRIES } from "../units/numbers.ts";
import { EntryMemory } from "./entry-memory.ts";
import { beyondTable } from "./entry-spans.ts";

/** Tables begin at multiples of this many bytes. */
const TABLE_ALIGNMENT = 4096;

/** Memory, format and place of a flat table: one level of consecutive entries. */
export interface FlatTableOptions {
  /** Memory that holds the table. */
  readonly memory: Memory;
  /** Format of the entries. */
  readonly format: EntryFormat;
  /** log2 of the IO page size in bytes: one that the format has. */
  readonly pageShift: number;
  /** Number of entries: 1 .. 2^31 − 1. */
  readonly entries: number;
  /** Physical address of entry 0: a multiple of 4096. The whole table is inside memory. */
  readonly tableAddress: number;
}

/**
 * TableOps of one flat table in memory, without invalidation: a subclass adds `invalidate` and `invalidateAll` of its IOMMU. One object per
 * thread. Calls with a range throw InvalidArgumentError for entries outside of the table.
 */
export abstract class FlatTableOps implements TableOps {
  /** Memory that holds the table. */
  protected readonly memory: Memory;
  /** Number of entries of the table. */
  protected readonly entries: number = 0;
  /**
   * Writes and reads entries by physical address.
   *
   * @internal
   */
  protected readonly entryMemory: EntryMemory;
  readonly #tableAddress: number = 0;

  /** Throws InvalidArgumentError for a page size that the format lacks, or for a table that memory can't hold. */
  constructor({ memory, format, pageShift, entries, tableAddress }: FlatTableOptions) {
    this.entryMemory = new EntryMemory(memory, format, pageShift);
    checkTablePlace(memory, entries, tableAddress);
    this.memory = memory;
    this.entries = entries;
    this.#tableAddress = tableAddress;
  }

  abstract invalidate(first: number, end: number): Failure | undefined;
  abstract invalidateAll(): Failure | undefined;

  /**
   * Writes the entries at once. "platform-refused": the format can't hold one of the pages; nothing has changed. Inlined with its callees
   * into the loop of mapSg.
   */
  set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    if (!inTable(first, count, this.entries)) throw beyondTable(first, count, this.entries);
    return this.entryMemory.set(this.addressOf(first), count, page, access);
  }

  clear(first: number, count: number): void {
    if (!inTable(first, count, this.entries)) throw beyondTable(first, count, this.entries);
    this.entryMemory.clear(this.addressOf(first), count);
  }

  get(entry: number, into: EntryValue): void {
    this.checkRange(entry, 1);
    this.entryMemory.get(this.addressOf(entry), into);
  }

  /** "platform-refused": the format can't hold the page; nothing has changed. */
  exchange(entry: number, page: number, access: EntryAccess, old: EntryValue): Failure | undefined {
    this.checkRange(entry, 1);
    return this.entryMemory.exchange(this.addressOf(entry), page, access, old);
  }

  /** Orders earlier stores of entries before later ones. Never fails: `set` and `clear` write entries immediately. */
  publish(): Failure | undefined {
    this.memory.fence();
    return undefined;
  }

  /** Physical address of an entry's first word. */
  protected addressOf(entry: number): number {
    return this.#tableAddress + entry * ENTRY_BYTES;
  }

  /** Throws InvalidArgumentError for entries outside of the table. */
  protected checkRange(first: number, count: number): void {
    if (!inTable(first, count, this.entries)) throw beyondTable(first, count, this.entries);
  }
}

/** Short enough to be always inlined. */
function inTable(first: number, count: number, entries: number): boolean {
  return first >= 0 && count >= 1 && first + count <= entries;
}

/** Throws InvalidArgumentError unless a table of `entries` entries fits into memory at this address. */
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
  if (memory.has?.(tableAddress, entries * ENTRY_BYTES) === false) {
    const expected = `an address where memory has ${entries * ENTRY_BYTES} bytes without a hole`;
    throw new InvalidArgumentError("table address", inWords(hexadecimal(tableAddress)), expected);
  }
}
