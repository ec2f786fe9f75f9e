/**
 * TableOps of an LDC map table: entries of 16 bytes in memory, of which these ops write the first 8. The hypervisor writes the other 8, the
 * revoke cookie: it is not 0 while the other end has the page mapped in.
 *
 * The other end's copies take the role of DMA. The hypervisor reads the entry for each copy, so there is no IOTLB. `invalidate` revokes
 * pages that are mapped in and makes at least one call, after which no copy by the old entries is in progress.
 *
 * A concurrent ldc_mapin: `clear` stores the empty entry, and `publish` orders it before the load of the revoke cookie. The hypervisor
 * stores the revoke cookie first, then loads the entry again. So at least one side sees the other's store.
 */
import { pagesFit, swapBytes } from "../../formats/address.ts";
import {
  encodeLdcEntries,
  LDC_ENTRY_BYTES,
  LDC_MAP,
  ldcEntryPermissions,
  ldcMapEntry,
} from "../../formats/ldc-map-entry.ts";
import type { Hypercall, Machine, Memory } from "../../machine/contract.ts";
import type { EntryValue, TableOps } from "../../table/contract.ts";
import { IovaError } from "../../units/errors.ts";
import type { Failure } from "../../units/failure.ts";
import type { DmaWindow, EntryAccess } from "../../units/numbers.ts";
import { CallArguments } from "../call-arguments.ts";
import { beyondTable } from "../entry-spans.ts";
import type { SharedState } from "../shared-state.ts";
import { failureOfStatus } from "../sun4v/calls.ts";
import { EOK } from "../sun4v/services.ts";
import { ldcHypercallOf } from "./link.ts";
import { CHANNEL, LDC_REVOKE } from "./services.ts";

/** Index of the word of an entry with the permissions. */
const VALID_WORD = 1;
const REVOKE_COOKIE_AT = 8;
const TWO_TO_32 = 2 ** 32;

export interface LdcOpsOptions {
  /** The exporting end's machine: memory and hypervisor. */
  readonly machine: Machine;
  /** The window of cookies: see cookieWindow. */
  readonly window: DmaWindow;
  /** Physical address of the map table. */
  readonly tableAddress: number;
  readonly state: SharedState;
}

/** One object per thread. */
export class LdcOps implements TableOps {
  readonly #memory: Memory;
  readonly #hypercall: Hypercall;
  readonly #entries: number;
  readonly #pageShift: number;
  /** High half of entry 0's cookie, with the size code; and the distance of two cookies. */
  readonly #baseHigh: number;
  readonly #pageBytes: number;
  readonly #tableAddress: number;
  readonly #largestPage: number;
  readonly #state: SharedState;
  readonly #words: Uint32Array = new Uint32Array(2);
  readonly #found: Uint32Array = new Uint32Array(2);
  readonly #empty: Uint32Array = new Uint32Array(2);
  readonly #args: CallArguments = new CallArguments();

  /** Throws InvalidArgumentError for a machine without a hypervisor. */
  constructor({ machine, window, tableAddress, state }: LdcOpsOptions) {
    this.#memory = machine.memory;
    this.#hypercall = ldcHypercallOf(machine);
    this.#entries = window.entries;
    this.#pageShift = window.pageShift;
    this.#baseHigh = Number(window.base >> 32n);
    this.#pageBytes = 2 ** window.pageShift;
    this.#tableAddress = tableAddress;
    this.#largestPage = ldcMapEntry.largestPage(window.pageShift);
    this.#state = state;
  }

  /** Sets shadow mappings, which the other end uses by copies. */
  set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    const read = (access & 1) === 0 ? 0 : LDC_MAP.read;
    const write = (access & 2) === 0 ? 0 : LDC_MAP.write;
    return this.setWith(first, count, page, ldcEntryPermissions(LDC_MAP.shadow | read | write));
  }

  /** As `set`, with the permission bits of `ldcEntryPermissions`, for all kinds of mappings. */
  setWith(first: number, count: number, page: number, permissions: number): Failure | undefined {
    this.#check(first, count);
    // Checks all pages before the first entry is written: the entries can't be refused in the middle.
    if (!pagesFit(page, count, this.#largestPage)) return "platform-refused";
    for (let i = 0; i < count; i++) {
      encodeLdcEntries(page + i, 1, permissions, this.#pageShift, this.#words);
      this.#memory.storeWords(this.#addressOf(first + i), this.#words, 2, VALID_WORD);
    }
    return undefined;
  }

  clear(first: number, count: number): void {
    this.#check(first, count);
    for (let entry = first; entry < first + count; entry++) {
      this.#memory.storeWords(this.#addressOf(entry), this.#empty, 2, 0);
    }
  }

  get(entry: number, into: EntryValue): void {
    this.#check(entry, 1);
    ldcMapEntry.decode(this.#load(entry), 0, this.#pageShift, into);
  }

  /** If both words change, the entry is empty in between, and a concurrent copy is refused. */
  exchange(entry: number, page: number, access: EntryAccess, old: EntryValue): Failure | undefined {
    this.#check(entry, 1);
    const wanted = this.#words;
    if (!ldcMapEntry.encode(page, 1, access, this.#pageShift, wanted)) return "platform-refused";
    ldcMapEntry.decode(this.#load(entry), 0, this.#pageShift, old);
    const at = this.#addressOf(entry);
    if (this.#found[0] !== wanted[0]) {
      if (this.#found[1] !== wanted[1]) this.#memory.store32(at + 4, 0);
      this.#memory.store32(at, wanted[0] as number);
    }
    this.#memory.store32(at + 4, wanted[1] as number);
    return undefined;
  }

  publish(): Failure | undefined {
    this.#memory.fence();
    return undefined;
  }

  invalidate(first: number, end: number): Failure | undefined {
    this.#check(first, end - first);
    let failure: Failure | undefined;
    let calls = 0;
    for (let entry = first; entry < end; entry++) {
      if (!this.#isMappedIn(entry)) continue;
      const failed = this.#revokeMappedIn(entry);
      failure ??= failed;
      calls++;
    }
    return calls === 0 ? this.#revoke(first, 0, 0) : failure;
  }

  /** Pages that the other end has mapped in stay mapped in if their entry is set. */
  invalidateAll(): Failure | undefined {
    let failure = this.#revoke(0, 0, 0);
    for (let entry = 0; entry < this.#entries; entry++) {
      if (!this.#isMappedIn(entry) || this.#memory.load32(this.#addressOf(entry) + 4) !== 0) continue;
      const failed = this.#revokeMappedIn(entry);
      failure ??= failed;
    }
    return failure;
  }

  /** True if the other end has mapped a page in by this entry. */
  #isMappedIn(entry: number): boolean {
    const at = this.#addressOf(entry) + REVOKE_COOKIE_AT;
    return this.#memory.load32(at) !== 0 || this.#memory.load32(at + 4) !== 0;
  }

  /** Revokes the page that is mapped in by this entry. Loads each half of the revoke cookie atomically: the hypervisor may change it. */
  #revokeMappedIn(entry: number): Failure | undefined {
    const at = this.#addressOf(entry) + REVOKE_COOKIE_AT;
    const high = swapBytes(this.#memory.load32(at));
    return this.#revoke(entry, high, swapBytes(this.#memory.load32(at + 4)));
  }

  #revoke(entry: number, revokeHigh: number, revokeLow: number): Failure | undefined {
    const offset = entry * this.#pageBytes;
    this.#args.set(0, CHANNEL);
    this.#args.setHalves(1, this.#baseHigh + offset / TWO_TO_32, offset);
    this.#args.setHalves(2, revokeHigh, revokeLow);
    const status = this.#hypercall(LDC_REVOKE, this.#args.block);
    return status === EOK ? undefined : failureOfStatus(status);
  }

  #load(entry: number): Uint32Array {
    const at = this.#addressOf(entry);
    this.#found[0] = this.#memory.load32(at);
    this.#found[1] = this.#memory.load32(at + 4);
    return this.#found;
  }

  #addressOf(entry: number): number {
    return this.#tableAddress + entry * LDC_ENTRY_BYTES;
  }

  #check(first: number, count: number): void {
    if (this.#state.isGone) throw new IovaError("table-gone", "the map table has been taken away");
    if (first >= 0 && count >= 1 && first + count <= this.#entries) return;
    throw beyondTable(first, count, this.#entries);
  }
}
