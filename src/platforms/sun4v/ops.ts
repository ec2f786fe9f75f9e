/**
 * TableOps of a window whose entries a hypervisor makes. A call costs far more than an entry, so `set` only gathers: consecutive
 * entries of the same attributes stand as a list of pages in real memory, and go to the hypervisor by one call when the list is full
 * (1024), when something else is set, or at `flush`. Taking entries away needs no list: one call for a range, which also makes the IOTLB forget it.
 *
 * The hypervisor may take fewer than asked: the rest is asked for again. It may also refuse. Then what it has taken of the gathered
 * entries is taken away again, and the call that sent them says so: a failed `set` or `flush` leaves none of what was gathered. Until
 * the owner of lost entries has cleared them, `flush` says it again.
 *
 * `clear` must not fail, and here it is a call that can. What it could not clear is remembered. The next `flush` tries again, and
 * says why if that fails too; those after it are about other entries. `invalidate` and `invalidateAll` try and say why until it is cleared:
 * so the range is quarantined, not handed out again. (After the death of this thread, its recovery clears the quarantined range anew.)
 *
 * Threads: one object each, with a list page of its own; ranges are owned, so no two calls are about the same entry.
 */
import * as addresses from "../../formats/address.ts";
import * as formats from "../../formats/sun4v-tte.ts";
import type { Memory } from "../../machine/contract.ts";
import type { EntryValue, TableOps } from "../../table/contract.ts";
import { IovaError } from "../../units/errors.ts";
import type { Failure } from "../../units/failure.ts";
import type { EntryAccess } from "../../units/numbers.ts";
import { beyondTable, EntrySpans } from "../entry-spans.ts";
import type { FoundEntry, Sun4vCalls } from "./calls.ts";
import * as services from "./services.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { sun4vAccessOf, sun4vAttributesOf, sun4vTte } = formats;
const { addressHigh, addressLow, swapBytes } = addresses;
const { IO_PAGE_SHIFT, LIST_ENTRIES } = services;

/** A clearing is tried so often before it counts as refused for now. */
const ATTEMPTS = 3;
const LARGEST_PAGE = sun4vTte.largestPage(IO_PAGE_SHIFT);

export interface Sun4vOpsOptions {
  readonly memory: Memory;
  readonly calls: Sun4vCalls;
  readonly entries: number;
}

/** One per thread. */
export class Sun4vOps implements TableOps {
  readonly #memory: Memory;
  readonly #calls: Sun4vCalls;
  readonly #entries: number;
  /** Real address of this thread's list page. */
  #list = 0;
  // What is gathered: entries [#first, #first + #count), their pages in the list from #listFirst on.
  #first = 0;
  #count = 0;
  #listFirst = 0;
  #attributes = 0;
  /** Entries that were gathered and could not be made: `flush` fails until their owner has cleared them. */
  readonly #lost: EntrySpans = new EntrySpans();
  #lostBy: Failure = "platform-refused";
  /** Entries that `clear` could not clear. */
  readonly #uncleared: EntrySpans = new EntrySpans();
  /** Has `clear` failed since the last flush? */
  #untold = false;
  readonly #words: Uint32Array = new Uint32Array(2 * LIST_ENTRIES);
  readonly #found: FoundEntry = { attributes: 0, page: 0 };

  constructor(options: Sun4vOpsOptions) {
    this.#memory = options.memory;
    this.#calls = options.calls;
    this.#entries = options.entries;
  }

  /** Before the first use: 8 KiB of real memory at a multiple of 8 KiB, for this thread's lists alone. */
  useList(address: number): void {
    this.#list = address;
  }

  set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    if (!inTable(first, count, this.#entries)) throw beyondTable(first, count, this.#entries);
    this.#calls.checkThere();
    if (!(page >= 0 && Math.floor(page) === page && page + count - 1 <= LARGEST_PAGE)) return "platform-refused";
    const attributes = sun4vAttributesOf(access);
    for (let done = 0; done < count; ) {
      const room = this.#roomFor(first + done, attributes);
      const part = Math.min(room, count - done);
      const failure = part === 0 ? this.#send() : this.#gather(first + done, part, page + done, attributes);
      if (failure !== undefined) return this.#undoSet(first, first + count, first + done, failure);
      done += part;
    }
    return undefined;
  }

  clear(first: number, count: number): void {
    if (!inTable(first, count, this.#entries)) throw beyondTable(first, count, this.#entries);
    this.#forgetGathered(first, first + count);
    // What is remembered of these entries is settled by clearing them now, and would later be about somebody else's.
    this.#lost.remove(first, first + count);
    this.#uncleared.remove(first, first + count);
    if (this.#unmap(first, first + count) !== undefined) this.#untold = true;
  }

  /** Sends what is gathered. A failure: none of it is left, or something that was cleared since the last flush is still there. */
  flush(): Failure | undefined {
    const untold = this.#untold;
    this.#untold = false;
    const sent = this.#send();
    if (sent !== undefined) return sent;
    if (!this.#lost.isEmpty) return this.#lostBy;
    return untold ? this.#clearAgain(0, this.#entries) : undefined;
  }

  /** What `clear` has cleared the IOTLB has forgotten already. */
  invalidate(first: number, end: number): Failure | undefined {
    return this.#clearAgain(first, end);
  }

  invalidateAll(): Failure | undefined {
    return this.#clearAgain(0, this.#entries);
  }

  /** Throws IovaError when the hypervisor doesn't say. What is gathered is sent first, so that the table is as it was set. */
  get(entry: number, into: EntryValue): void {
    if (!inTable(entry, 1, this.#entries)) throw beyondTable(entry, 1, this.#entries);
    this.#send();
    const failure = this.#calls.get(entry, this.#found);
    if (failure !== undefined) throw new IovaError(failure, `the hypervisor does not tell entry ${entry}: ${failure}`);
    this.#valueOf(into);
  }

  exchange(entry: number, page: number, access: EntryAccess, old: EntryValue): Failure | undefined {
    if (!inTable(entry, 1, this.#entries)) throw beyondTable(entry, 1, this.#entries);
    if (!(page >= 0 && Math.floor(page) === page && page <= LARGEST_PAGE)) return "platform-refused";
    const failure = this.#send() ?? this.#calls.get(entry, this.#found);
    if (failure !== undefined) return failure;
    this.#valueOf(old);
    this.#write(0, 1, page);
    return this.#calls.map(entry, 1, sun4vAttributesOf(access), this.#list);
  }

  /** How many entries from `first` on can be gathered beside those that are. */
  #roomFor(first: number, attributes: number): number {
    if (this.#count === 0) return LIST_ENTRIES;
    if (first !== this.#first + this.#count || attributes !== this.#attributes) return 0;
    return LIST_ENTRIES - this.#listFirst - this.#count;
  }

  /** Into the list; sends it when it is full. */
  #gather(first: number, count: number, page: number, attributes: number): Failure | undefined {
    if (this.#count === 0) {
      this.#first = first;
      this.#listFirst = 0;
      this.#attributes = attributes;
    }
    this.#write(this.#listFirst + this.#count, count, page);
    this.#count += count;
    return this.#listFirst + this.#count === LIST_ENTRIES ? this.#send() : undefined;
  }

  /** Addresses of `count` pages to the list, from its element `at` on. */
  #write(at: number, count: number, page: number): void {
    for (let i = 0; i < count; i++) {
      this.#words[2 * i] = swapBytes(addressHigh(page + i, IO_PAGE_SHIFT));
      this.#words[2 * i + 1] = swapBytes(addressLow(page + i, IO_PAGE_SHIFT));
    }
    this.#memory.storeWords(this.#list + at * 8, this.#words, 2 * count, 1);
  }

  /** Sends what is gathered. On failure none of it is left, and it counts as lost. */
  #send(): Failure | undefined {
    if (this.#count === 0) return undefined;
    const first = this.#first;
    const end = first + this.#count;
    const failure = this.#calls.map(first, this.#count, this.#attributes, this.#list + this.#listFirst * 8);
    this.#count = 0;
    if (failure === undefined) return undefined;
    if (this.#calls.taken > 0) this.#unmap(first, first + this.#calls.taken);
    this.#lost.add(first, end);
    this.#lostBy = failure;
    return failure;
  }

  /** Nothing of a `set` of [first, end) that failed is left: full lists before `sentEnd` have been sent. */
  #undoSet(first: number, end: number, sentEnd: number, failure: Failure): Failure {
    this.#lost.remove(first, end);
    if (sentEnd > first) this.#unmap(first, sentEnd);
    return failure;
  }

  /** Gathered entries in [first, end) are not to be made. */
  #forgetGathered(first: number, end: number): void {
    const from = Math.max(first, this.#first);
    const to = Math.min(end, this.#first + this.#count);
    if (from >= to) return;
    const atStart = from === this.#first;
    if (!atStart && to < this.#first + this.#count) {
      // From the middle: what lies on both sides is one list no longer.
      this.#send();
      return;
    }
    this.#count -= to - from;
    if (!atStart) return;
    this.#first = to;
    this.#listFirst += to - from;
  }

  /** Empties [first, end); a failure: some could not be emptied, and is remembered. */
  #unmap(first: number, end: number): Failure | undefined {
    let from = first;
    let failure: Failure | undefined;
    for (let attempt = 0; attempt < ATTEMPTS && from < end; attempt++) {
      failure = this.#calls.unmap(from, end - from);
      from += this.#calls.taken;
    }
    if (from < end) this.#uncleared.add(from, end);
    return failure;
  }

  /** Tries once more what could not be cleared of [first, end). Undefined, or why some is still there. */
  #clearAgain(first: number, end: number): Failure | undefined {
    if (this.#uncleared.isEmpty) return undefined;
    let failure: Failure | undefined;
    for (const span of this.#uncleared.take(first, end)) {
      const failed = this.#unmap(span.first, span.end);
      failure ??= failed;
    }
    return failure;
  }

  #valueOf(into: EntryValue): void {
    into.access = sun4vAccessOf(this.#found.attributes);
    into.page = into.access === 0 ? 0 : this.#found.page;
  }
}

/** So short that it is always inlined. */
function inTable(first: number, count: number, entries: number): boolean {
  return first >= 0 && count >= 1 && first + count <= entries;
}
