/**
 * TableOps whose entries a hypervisor makes. A call costs far more than an entry, so `set` only gathers: one run of consecutive entries,
 * which goes to the hypervisor by as few calls as it takes when a set does not continue it, when it is as long as a call takes, and at
 * `publish`. The calls themselves are the platform's (`EntryCalls`).
 *
 * What a failed call does, on every platform:
 * - A run whose call fails is emptied again, also where the hypervisor had made a part of it. Its entries are *lost*: `publish` fails until
 *   their owner has cleared them. `set` does not answer that failure: the run may be of other sets than the one that has it sent.
 * - Entries that could not be emptied are *uncleared*. The next `publish` answers why, once; `invalidate` of them and `invalidateAll` try
 *   again and fail until they are empty, so the allocator keeps their range out of use. Other mappings do not meet that failure.
 *   (After the death of this thread, its recovery clears the range anew.)
 *
 * Entries are visible to devices, and forgotten by the IOTLB, when the hypervisor's call returns: there is nothing more to invalidate.
 * One object per thread, with a list page of its own; ranges are owned, so no two calls are about the same entry.
 */
import * as addresses from "../formats/address.ts";
import { ENTRY_WORDS } from "../formats/contract.ts";
import type { EntryValue, TableOps } from "../table/contract.ts";
import type { Failure } from "../units/failure.ts";
import type { EntryAccess } from "../units/numbers.ts";
import { beyondTable, EntrySpans } from "./entry-spans.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { pagesFit } = addresses;

/** One thread's calls about one table. They throw IovaError "table-gone" where the platform's tables can be given back. */
export interface EntryCalls {
  readonly largestPage: number;
  /** Elements of the longest list: what is gathered at most. */
  readonly listEntries: number;
  /** Most entries that one `unmap` takes. */
  readonly mostUnmapped: number;
  /** Entries that the last `unmap`, when it failed, has emptied all the same. */
  readonly unmapped: number;
  /** Of entries that one call makes, all have the same kind. */
  kindOf(access: EntryAccess): number;
  /** Writes what a list says of `count` pages, two words each, from element `at` of the list on. */
  encode(page: number, count: number, access: EntryAccess, list: Uint32Array, at: number): void;
  /** Makes `count` entries of the list's first elements. A failure: some may have been made. */
  map(first: number, count: number, kind: number, list: Uint32Array): Failure | undefined;
  /** Empties entries, and the IOTLB forgets them. */
  unmap(first: number, count: number): Failure | undefined;
  /** Throws IovaError when the hypervisor doesn't say. */
  get(entry: number, into: EntryValue): void;
  /** Makes an entry anew that was `old`. A failure: it is as it was. Throws IovaError when that could not be brought about. */
  replace(entry: number, page: number, access: EntryAccess, old: EntryValue): Failure | undefined;
}

/** One per thread. */
export class GatheringOps implements TableOps {
  protected readonly entries: number;
  readonly #calls: EntryCalls;
  readonly #listEntries: number;
  readonly #largestPage: number;
  // The gathered run: entries [#first, #first + #count), of one kind, as the list that is handed over.
  readonly #gathered: Uint32Array;
  #first = 0;
  #count = 0;
  #kind = 0;
  readonly #lost: EntrySpans = new EntrySpans();
  #lossReason: Failure = "platform-busy";
  readonly #uncleared: EntrySpans = new EntrySpans();
  /** Why something could not be emptied since the last `publish`. */
  #clearFailure: Failure | undefined;

  constructor(calls: EntryCalls, entries: number) {
    this.#calls = calls;
    this.entries = entries;
    this.#listEntries = calls.listEntries;
    this.#largestPage = calls.largestPage;
    this.#gathered = new Uint32Array(calls.listEntries * ENTRY_WORDS);
  }

  /** "platform-refused" when an entry can't hold one of the pages. Throws InvalidArgumentError beyond the table. */
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
    // Settled by clearing them now; kept, it would later be about entries of another owner.
    this.#lost.remove(first, first + count);
    this.#uncleared.remove(first, first + count);
    this.#empty(first, count);
  }

  /** Throws IovaError when the hypervisor doesn't say. What is gathered is handed over first, so that the table is as it was set. */
  get(entry: number, into: EntryValue): void {
    this.checkRange(entry, 1);
    this.#handOver();
    this.#calls.get(entry, into);
  }

  /** On failure the entry is as it was. Throws IovaError when the hypervisor doesn't say what it was, or doesn't take it back. */
  exchange(entry: number, page: number, access: EntryAccess, old: EntryValue): Failure | undefined {
    this.checkRange(entry, 1);
    if (!pagesFit(page, 1, this.#largestPage)) return "platform-refused";
    this.get(entry, old);
    return this.#calls.replace(entry, page, access, old);
  }

  /** Hands over what is gathered. A failure: entries were lost, or something that was cleared since the last `publish` is still there. */
  publish(): Failure | undefined {
    this.#handOver();
    const failure = this.#clearFailure;
    this.#clearFailure = undefined;
    return this.#lost.isEmpty ? failure : this.#lossReason;
  }

  /** The hypervisor has invalidated what it was told to empty: only what it could not be told is still to be done. */
  invalidate(first: number, end: number): Failure | undefined {
    return this.#uncleared.isEmpty ? undefined : this.#clearAgain(first, end);
  }

  invalidateAll(): Failure | undefined {
    return this.#uncleared.isEmpty ? undefined : this.#clearAgain(0, this.entries);
  }

  /** Throws InvalidArgumentError unless these are entries of the table. */
  protected checkRange(first: number, count: number): void {
    if (!inTable(first, count, this.entries)) throw beyondTable(first, count, this.entries);
  }

  /** Forgets what is gathered for [first, end). */
  #dropGathered(first: number, end: number): void {
    const from = Math.max(first, this.#first);
    const to = Math.min(end, this.#first + this.#count);
    if (from >= to) return;
    if (to === this.#first + this.#count) this.#count = from - this.#first;
    else if (from > this.#first) {
      // From the middle: what lies on both sides is one run no longer.
      this.#handOver();
    } else {
      this.#gathered.copyWithin(0, (to - from) * ENTRY_WORDS, this.#count * ENTRY_WORDS);
      this.#first = to;
      this.#count -= to - from;
    }
  }

  /** Hands the gathered run over: after it, nothing is gathered, and the run is in the table, or none of it and it is lost. */
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

  /** Empties a range of any length; what could not be emptied is remembered. */
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

  /** Tries again to empty what is left of these entries. Why not all of it could be, or undefined. */
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

/** So short that it is always inlined. */
function inTable(first: number, count: number, entries: number): boolean {
  return first >= 0 && count >= 1 && first + count <= entries;
}
