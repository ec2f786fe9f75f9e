/**
 * TableOps in shared memory, with a worst-case IOTLB: a device uses the oldest value that an entry had since its last invalidation, as well as
 * the current one. For real threads and, with the explorer's memory, for explored ones.
 */
import type { SharedWords } from "../shared/memory.ts";
import type { EntryValue, TableOps } from "../table/contract.ts";
import type { Failure } from "../units/failure.ts";
import type { Access, EntryAccess } from "../units/numbers.ts";

/** The accesses of shared memory: the module src/shared/memory.ts, or the explorer's. */
export interface Accesses {
  load(words: SharedWords, at: number): number;
  store(words: SharedWords, at: number, value: number): void;
  exchange(words: SharedWords, at: number, value: number): number;
}

/** Words that the ops of a table take, by its entries. */
export const opsWords = (entries: number): number => 2 * entries;

/** One thread's ops. A value is the page, and in its low two bits the access. */
export class StaleOps implements TableOps {
  readonly #accesses: Accesses;
  readonly #words: SharedWords;
  readonly #entries: number;
  /** An exchange of this entry is refused. */
  refuses = -1;
  /** Answers true when an invalidation has to fail. */
  isBusy: () => boolean = () => false;

  constructor(accesses: Accesses, words: SharedWords, entries: number) {
    this.#accesses = accesses;
    this.#words = words;
    this.#entries = entries;
  }

  set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    const old: EntryValue = { page: 0, access: 0 };
    for (let i = 0; i < count; i++) this.exchange(first + i, page + i, access, old);
    return undefined;
  }
  clear(first: number, count: number): void {
    for (let entry = first; entry < first + count; entry++) this.#replace(entry, 0);
  }
  get(entry: number, into: EntryValue): void {
    const value = this.#accesses.load(this.#words, entry);
    into.page = value >> 2;
    into.access = (value & 3) as Access;
  }
  exchange(entry: number, page: number, access: EntryAccess, old: EntryValue): Failure | undefined {
    if (entry === this.refuses) return "platform-refused";
    const value = this.#replace(entry, (page << 2) | access);
    old.page = value >> 2;
    old.access = (value & 3) as Access;
    return undefined;
  }
  publish(): undefined {}
  invalidate(first: number, end: number): Failure | undefined {
    if (this.isBusy()) return "platform-busy";
    for (let entry = first; entry < end; entry++) this.#accesses.store(this.#words, this.#entries + entry, 0);
    return undefined;
  }
  invalidateAll(): Failure | undefined {
    return this.invalidate(0, this.#entries);
  }

  /** Pages that a device may reach. */
  reachable(): number[] {
    const values = Array.from({ length: 2 * this.#entries }, (_, at) => this.#accesses.load(this.#words, at));
    return values.filter((value) => value !== 0).map((value) => value >> 2);
  }

  #replace(entry: number, value: number): number {
    const old = this.#accesses.exchange(this.#words, entry, value);
    if (old !== 0 && this.#accesses.load(this.#words, this.#entries + entry) === 0) {
      this.#accesses.store(this.#words, this.#entries + entry, old);
    }
    return old;
  }
}
