/**
 * TableOps by hypercalls: `set` gathers consecutive entries, and one call hands up to 512 of them over, from a list page in memory that
 * is this thread's. Single entries, and all where there is no list page or no multi-TCE feature, go by a call each.
 *
 * What is gathered is one run of entries. It is handed over when a set does not continue it, when the page is full, and at `flush`.
 * When a call fails, all of its run is emptied again, also where the hypervisor had written a part of it before it failed.
 *
 * Two things are remembered, both only after failures:
 * - *lost*: entries that were set and are in no table, since their call failed. `flush` fails until their owner has cleared them.
 * - *owed*: entries that could not be emptied. `flush` tells it once; `invalidate` of them and `invalidateAll` try again and fail until
 *   they are, so the allocator keeps their range out of use. Other mappings have nothing to do with it. A dead thread's are emptied by
 *   whoever reclaims its ranges.
 *
 * Entries are visible to devices, and forgotten by the IOTLB, when the hypervisor's call returns: there is nothing to invalidate.
 * One object per thread; only its own fields and its own list page are written, so threads meet in the hypervisor alone.
 */
import * as addresses from "../../formats/address.ts";
import { ENTRY_WORDS } from "../../formats/contract.ts";
import { pseriesTce } from "../../formats/pseries-tce.ts";
import type { Memory } from "../../machine/contract.ts";
import type { EntryValue, TableOps } from "../../table/contract.ts";
import { IovaError } from "../../units/errors.ts";
import type { Failure } from "../../units/failure.ts";
import type { DmaWindow, EntryAccess } from "../../units/numbers.ts";
import { beyondTable, EntrySpans } from "../entry-spans.ts";
import { failureOfCode, type Hypercalls } from "./calls.ts";
import * as papr from "./papr.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
/** READ and WRITE in the low word of a TCE. */
const TCE_PERMISSIONS = 3;
const { swapBytes } = addresses;
const { H_SUCCESS, TCES_PER_CALL } = papr;

const NO_LIST_PAGE = -1;

export interface PseriesOpsOptions {
  readonly memory: Memory;
  readonly calls: Hypercalls;
  readonly liobn: number;
  readonly window: DmaWindow;
  readonly multiTce: boolean;
}

export class PseriesOps implements TableOps {
  readonly #memory: Memory;
  readonly #calls: Hypercalls;
  readonly #liobn: number;
  readonly #entries: number;
  readonly #pageShift: number;
  /** Bus address of entry 0, and of an IO page, in pages of 4 KiB. */
  readonly #basePage: number;
  readonly #pagesPerEntry: number;
  readonly #largestPage: number;
  readonly #multiTce: boolean;
  #listPage: number = NO_LIST_PAGE;
  /** The gathered run, as its TCEs stand in memory. */
  readonly #gathered: Uint32Array = new Uint32Array(TCES_PER_CALL * ENTRY_WORDS);
  #first = 0;
  #count = 0;
  readonly #scratch: Uint32Array = new Uint32Array(TCES_PER_CALL * ENTRY_WORDS);
  readonly #lost: EntrySpans = new EntrySpans();
  #lossReason: Failure = "platform-busy";
  readonly #owed: EntrySpans = new EntrySpans();
  /** Why something could not be emptied since the last flush. */
  #clearFailure: Failure | undefined;

  constructor(options: PseriesOpsOptions) {
    const { window } = options;
    this.#memory = options.memory;
    this.#calls = options.calls;
    this.#liobn = options.liobn;
    this.#entries = window.entries;
    this.#pageShift = window.pageShift;
    this.#basePage = Number(window.base >> 12n);
    this.#pagesPerEntry = 2 ** (window.pageShift - 12);
    this.#largestPage = pseriesTce.largestPage(window.pageShift);
    this.#multiTce = options.multiTce;
  }

  /** From now on, runs go through the page of 4096 bytes at this physical address. It has to be this thread's alone. */
  useListPage(address: number): void {
    this.#listPage = address;
  }

  /** "platform-refused" when a TCE can't hold one of the pages. Throws InvalidArgumentError beyond the table. */
  set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    this.#checkRange(first, count);
    if (!(page >= 0 && page + count - 1 <= this.#largestPage && Number.isInteger(page))) return "platform-refused";
    if (this.#count > 0 && first !== this.#first + this.#count) this.#handOver();
    for (let done = 0; done < count; ) {
      if (this.#count === TCES_PER_CALL) this.#handOver();
      const part = Math.min(count - done, TCES_PER_CALL - this.#count);
      this.#gather(first + done, part, page + done, access);
      done += part;
    }
    return undefined;
  }

  clear(first: number, count: number): void {
    this.#checkRange(first, count);
    this.#dropGathered(first, first + count);
    this.#lost.remove(first, first + count);
    this.#owed.remove(first, first + count);
    this.#empty(first, count);
  }

  /** Throws IovaError when the hypervisor doesn't say. What is gathered is handed over first, so that the table is as it was set. */
  get(entry: number, into: EntryValue): void {
    this.#checkRange(entry, 1);
    this.#handOver();
    const code = this.#calls.getTce(this.#liobn, this.#busPage(entry));
    if (code !== H_SUCCESS) throw new IovaError(failureOfCode(code), `H_GET_TCE of entry ${entry} answers ${code}`);
    this.#scratch[0] = swapBytes(this.#calls.tceHigh);
    this.#scratch[1] = swapBytes(this.#calls.tceLow);
    pseriesTce.decode(this.#scratch, 0, this.#pageShift, into);
  }

  /** Has the entry no permissions? Or why the hypervisor doesn't say. What is gathered is not looked at. */
  isEmpty(entry: number): boolean | Failure {
    this.#checkRange(entry, 1);
    const code = this.#calls.getTce(this.#liobn, this.#busPage(entry));
    return code === H_SUCCESS ? (this.#calls.tceLow & TCE_PERMISSIONS) === 0 : failureOfCode(code);
  }

  /**
   * On failure the entry is as it was: one that a call has changed all the same is put back. Throws IovaError when the hypervisor
   * doesn't take it back: then nobody can say which of the two pages the device reaches.
   */
  exchange(entry: number, page: number, access: EntryAccess, old: EntryValue): Failure | undefined {
    this.get(entry, old);
    const [high, low] = [this.#calls.tceHigh, this.#calls.tceLow];
    if (!pseriesTce.encode(page, 1, access, this.#pageShift, this.#scratch)) return "platform-refused";
    const code = this.#putSingle(entry, this.#scratch, 0);
    if (code === H_SUCCESS) return undefined;
    const back = this.#calls.putTce(this.#liobn, this.#busPage(entry), high, low);
    if (back === H_SUCCESS) return failureOfCode(code);
    throw new IovaError(
      failureOfCode(back),
      `entry ${entry} can't be put back: H_PUT_TCE answers ${code}, then ${back}`,
    );
  }

  flush(): Failure | undefined {
    this.#handOver();
    const failure = this.#clearFailure;
    this.#clearFailure = undefined;
    return this.#lost.isEmpty ? failure : this.#lossReason;
  }

  /** The hypervisor has invalidated what it was told to empty: only what it could not be told is still to be done. */
  invalidate(first: number, end: number): Failure | undefined {
    return this.#owed.isEmpty ? undefined : this.#settle(first, end);
  }

  invalidateAll(): Failure | undefined {
    return this.#owed.isEmpty ? undefined : this.#settle(0, this.#entries);
  }

  #gather(first: number, count: number, page: number, access: EntryAccess): void {
    if (this.#count === 0) this.#first = first;
    const at = this.#count * ENTRY_WORDS;
    pseriesTce.encode(page, count, access, this.#pageShift, this.#scratch);
    if (count === 1) {
      this.#gathered[at] = this.#scratch[0] as number;
      this.#gathered[at + 1] = this.#scratch[1] as number;
    } else {
      this.#gathered.set(this.#scratch.subarray(0, count * ENTRY_WORDS), at);
    }
    this.#count += count;
  }

  /** Forgets what is gathered for [first, end). A hole in the middle of the run is handed over as empty TCEs: the same as clearing it. */
  #dropGathered(first: number, end: number): void {
    const from = Math.max(first, this.#first);
    const to = Math.min(end, this.#first + this.#count);
    if (from >= to) return;
    this.#gathered.fill(0, (from - this.#first) * ENTRY_WORDS, (to - this.#first) * ENTRY_WORDS);
    if (to === this.#first + this.#count) this.#count = from - this.#first;
    else if (from === this.#first) this.#dropStart(to - from);
  }

  #dropStart(count: number): void {
    this.#gathered.copyWithin(0, count * ENTRY_WORDS, this.#count * ENTRY_WORDS);
    this.#first += count;
    this.#count -= count;
  }

  /** Hands the gathered run over: after it, nothing is gathered, and the run is in the table, or none of it and it is lost. */
  #handOver(): void {
    if (this.#count === 0) return;
    const [first, count] = [this.#first, this.#count];
    this.#count = 0;
    const code = this.#put(first, count);
    if (code === H_SUCCESS) return;
    this.#lost.add(first, first + count);
    this.#lossReason = failureOfCode(code);
    this.#empty(first, count);
  }

  #put(first: number, count: number): number {
    if (this.#usesCalls(count)) {
      this.#memory.storeWords(this.#listPage, this.#gathered, count * ENTRY_WORDS, 1);
      this.#memory.fence();
      return this.#calls.putTces(this.#liobn, this.#busPage(first), this.#listPage, count);
    }
    for (let i = 0; i < count; i++) {
      const code = this.#putSingle(first + i, this.#gathered, i * ENTRY_WORDS);
      if (code !== H_SUCCESS) return code;
    }
    return H_SUCCESS;
  }

  #putSingle(entry: number, from: Uint32Array, at: number): number {
    const high = swapBytes(from[at] as number);
    const low = swapBytes(from[at + 1] as number);
    return this.#calls.putTce(this.#liobn, this.#busPage(entry), high, low);
  }

  /** Is a run of this length put by one call for many? */
  #usesCalls(count: number): boolean {
    return count > 1 && this.#multiTce && this.#listPage !== NO_LIST_PAGE;
  }

  /** Empties a range of any length; what could not be emptied is owed. */
  #empty(first: number, count: number): void {
    const most = this.#multiTce ? TCES_PER_CALL : 1;
    for (let done = 0; done < count; done += most) {
      const part = Math.min(most, count - done);
      const page = this.#busPage(first + done);
      const code =
        part === 1 ? this.#calls.putTce(this.#liobn, page, 0, 0) : this.#calls.clearTces(this.#liobn, page, part);
      if (code === H_SUCCESS) continue;
      this.#clearFailure = failureOfCode(code);
      this.#owed.add(first + done, first + done + part);
    }
  }

  /** Tries again to empty what is owed of these entries. Why not all of it could be, or undefined. */
  #settle(first: number, end: number): Failure | undefined {
    const before = this.#clearFailure;
    this.#clearFailure = undefined;
    for (const span of this.#owed.take(first, end)) this.#empty(span.first, span.end - span.first);
    const failure = this.#clearFailure;
    // What a flush has still to tell is told, also when it has been put right meanwhile.
    this.#clearFailure = before;
    return failure;
  }

  #busPage(entry: number): number {
    return this.#basePage + entry * this.#pagesPerEntry;
  }

  #checkRange(first: number, count: number): void {
    if (first >= 0 && count >= 1 && first + count <= this.#entries) return;
    throw beyondTable(first, count, this.#entries);
  }
}
