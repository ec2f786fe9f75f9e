/**
 * TableOps whose entries a hypervisor writes. A call costs far more than an entry, so `set` only gathers one run of consecutive entries.
 * The run is handed over, by as few calls as possible, when a `set` does not continue it, when it has the length of a call's list, and at
 * `publish`. The platform supplies the calls (`EntryCalls`).
 *
 * Effects of a failed call, on every platform:
 * - A run whose call fails is emptied again, including the part that the hypervisor has written. Its entries are *lost*: `publish` fails
 *   until their owner has cleared them. `set` does not return that failure, because the run may belong to earlier calls of `set`.
 * - Entries that could not be emptied are *uncleared*. The next `publish` reports it once. `invalidate` of their range and `invalidateAll`
 *   retry, and fail until the entries are empty, so the allocator quarantines the range. Other mappings are not affected. (If this thread
 *   dies, recovery clears the range again.)
 *
 * The hypervisor's call also makes entries visible to devices and invalidates the IOTLB, so `invalidate` has nothing else to do. There is
 * one object per thread, with its own list page. A range has one owner, so two threads never call for the same entry.
 */
import { pagesFit } from "../formats/address.ts";
import { ENTRY_WORDS } from "../formats/contract.ts";
import type { EntryValue, TableOps } from "../table/contract.ts";
import type { Failure } from "../units/failure.ts";
import type { EntryAccess } from "../units/numbers.ts";
import { beyondTable, EntrySpans } from "./entry-spans.ts";

/** One thread's calls for one table. On platforms whose tables can be returned to the hypervisor they throw IovaError "table-gone". */
export interface EntryCalls {
  readonly largestPage: number;
  /** Elements of the longest list, which limits the gathered run. */
  readonly listEntries: number;
  /** Most entries that one `unmap` takes. */
  readonly mostUnmapped: number;
  /** Number of entries that the last `unmap` emptied before it failed. */
  readonly unmapped: number;
  /** The kind of an entry with this access. All entries of one call have the same kind. */
  kindOf(access: EntryAccess): number;
  /** Encodes `count` pages as list elements of two words, from element `at` of the list on. */
  encode(page: number, count: number, access: EntryAccess, list: Uint32Array, at: number): void;
  /** Writes `count` entries from the list's first elements. After a failure some may have been written. */
  map(first: number, count: number, kind: number, list: Uint32Array): Failure | undefined;
  /** Empties entries and invalidates them in the IOTLB. */
  unmap(first: number, count: number): Failure | undefined;
  /** Throws IovaError if the hypervisor can't read the entry. */
  get(entry: number, into: EntryValue): void;
  /** Replaces an entry whose value is `old`. On failure the entry is unchanged. Throws IovaError if it could not be restored. */
  replace(entry: number, page: number, access: EntryAccess, old: EntryValue): Failure | undefined;
}

/** One object per thread. */
export class GatheringOps implements TableOps {
  protected readonly entries: number;
  readonly #calls: EntryCalls;
  readonly #listEntries: number;
  readonly #largestPage: number;
  // The gathered run: entries [#first, #first + #count) of one kind, already encoded as a list.
  readonly #gathered: Uint32Array;
  #first = 0;
  #count = 0;
  #kind = 0;
  readonly #lost: EntrySpans = new EntrySpans();
  #lossReason: Failure = "platform-busy";
  readonly #uncleared: EntrySpans = new EntrySpans();
  /** The last failure to empty entries since the last `publish`. */
  #clearFailure: Failure | undefined;

  constructor(calls: EntryCalls, entries: number) {
    this.#calls = calls;
    this.entries = entries;
    this.#listEntries = calls.listEntries;
    this.#largestPage = calls.largestPage;
    this.#gathered = new Uint32Array(calls.listEntries * ENTRY_WORDS);
  }

  /** "platform-refused" if an entry can't hold one of the pages. Throws InvalidArgumentError for entries outside of the table. */
  set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    if (!inTable(first, count, this.entries)) throw beyondTable(first, count, this.entries);
    if (!pagesFit(page, count, this.#largestPage)) return "platform-refused";
    const kind = this.#calls.kindOf(access);
    if (this.#count > 0 && (first !== this.#first + this.#count || kind !== this.#kind)) this.#handOver();
    for (let done = 0; done < count; ) {
      if (this.#count === this.#listEntries) this.#handOver();
      const part = Math.min(count - done, this.#listEntries - this.#count);
      this.#calls.encode(page + done, part, access, this.#gathered, this.#count);
      if (this.#count === 0) this.#first = first + done;
      this.#kind = kind;
      this.#count += part;
      done += part;
    }
    return undefined;
  }

  clear(first: number, count: number): void {
    if (!inTable(first, count, this.entries)) throw beyondTable(first, count, this.entries);
    this.#dropGathered(first, first + count);
    // The clear settles the loss. If it stayed recorded, it would later apply to another owner's entries.
    this.#lost.remove(first, first + count);
    this.#uncleared.remove(first, first + count);
    this.#empty(first, count);
  }

  /** Hands the gathered run over first. Throws IovaError if the hypervisor can't read the entry. */
  get(entry: number, into: EntryValue): void {
    this.checkRange(entry, 1);
    this.#handOver();
    this.#calls.get(entry, into);
  }

  /** On failure the entry is unchanged. Throws IovaError if the hypervisor can't read the entry, or does not restore it. */
  exchange(entry: number, page: number, access: EntryAccess, old: EntryValue): Failure | undefined {
    this.checkRange(entry, 1);
    if (!pagesFit(page, 1, this.#largestPage)) return "platform-refused";
    this.get(entry, old);
    return this.#calls.replace(entry, page, access, old);
  }

  /** Hands the gathered run over. A failure: entries were lost, or entries cleared since the last `publish` could not be emptied. */
  publish(): Failure | undefined {
    this.#handOver();
    const failure = this.#clearFailure;
    this.#clearFailure = undefined;
    return this.#lost.isEmpty ? failure : this.#lossReason;
  }

  /** Retries entries that could not be emptied. The hypervisor has invalidated all others already. */
  invalidate(first: number, end: number): Failure | undefined {
    return this.#uncleared.isEmpty ? undefined : this.#clearAgain(first, end);
  }

  invalidateAll(): Failure | undefined {
    return this.#uncleared.isEmpty ? undefined : this.#clearAgain(0, this.entries);
  }

  /** Throws InvalidArgumentError for entries outside of the table. */
  protected checkRange(first: number, count: number): void {
    if (!inTable(first, count, this.entries)) throw beyondTable(first, count, this.entries);
  }

  /** Removes [first, end) from the gathered run. */
  #dropGathered(first: number, end: number): void {
    const from = Math.max(first, this.#first);
    const to = Math.min(end, this.#first + this.#count);
    if (from >= to) return;
    if (to === this.#first + this.#count) this.#count = from - this.#first;
    else if (from > this.#first) {
      // The range lies in the middle: the remaining parts are no longer one run.
      this.#handOver();
    } else {
      this.#gathered.copyWithin(0, (to - from) * ENTRY_WORDS, this.#count * ENTRY_WORDS);
      this.#first = to;
      this.#count -= to - from;
    }
  }

  /** Hands the gathered run over. Afterwards it is in the table, or none of it is and it is lost. */
  #handOver(): void {
    if (this.#count === 0) return;
    const [first, count] = [this.#first, this.#count];
    this.#count = 0;
    const failure = this.#calls.map(first, count, this.#kind, this.#gathered);
    if (failure === undefined) return;
    this.#lost.add(first, first + count);
    this.#lossReason = failure;
    this.#empty(first, count);
  }

  /** Empties a range of any length, and records entries that could not be emptied. */
  #empty(first: number, count: number): void {
    const most = this.#calls.mostUnmapped;
    for (let done = 0; done < count; done += most) {
      const part = Math.min(most, count - done);
      const failure = this.#calls.unmap(first + done, part);
      if (failure === undefined) continue;
      this.#clearFailure = failure;
      this.#uncleared.add(first + done + this.#calls.unmapped, first + done + part);
    }
  }

  /** Retries the uncleared entries in this range. Returns a failure if some are still not empty. */
  #clearAgain(first: number, end: number): Failure | undefined {
    const before = this.#clearFailure;
    this.#clearFailure = undefined;
    for (const span of this.#uncleared.take(first, end)) this.#empty(span.first, span.end - span.first);
    const failure = this.#clearFailure;
    // `publish` still owes its caller this failure, even if a retry has emptied the entries since.
    this.#clearFailure = before;
    return failure;
  }
}

/** Short enough to be always inlined. */
function inTable(first: number, count: number, entries: number): boolean {
  return first >= 0 && count >= 1 && first + count <= entries;
}
