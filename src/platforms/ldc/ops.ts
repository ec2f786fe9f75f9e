/**
 * TableOps of an LDC map table: entries of 16 bytes in memory, of which these ops write the first 8. The other 8 are the revoke cookie, and
 * the hypervisor's: not 0 while the other end has the page mapped in.
 *
 * The other end's copies are its DMA. The hypervisor reads the entry anew for each, so there is no IOTLB; what `invalidate` has to do
 * is to end what is under way: it revokes pages that are mapped in, and makes at least one call, after which no copy by the old
 * entries goes on.
 *
 * Against an ldc_mapin at the same time: `clear` stores the empty entry, `flush` orders it before the look at the revoke cookie. The
 * hypervisor stores the revoke cookie first, then looks at the entry once more. So one of the two sees the other.
 */
import * as addresses from "../../formats/address.ts";
import * as formats from "../../formats/ldc-map-entry.ts";
import type { Hypercall, Machine, Memory } from "../../machine/contract.ts";
import type { SharedWords } from "../../shared/memory.ts";
import * as sharedMemory from "../../shared/memory.ts";
import type { EntryValue, TableOps } from "../../table/contract.ts";
import { InvalidArgumentError, IovaError } from "../../units/errors.ts";
import type { Failure } from "../../units/failure.ts";
import type { DmaWindow, EntryAccess } from "../../units/numbers.ts";
import * as sun4v from "../sun4v/services.ts";
import * as services from "./services.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { swapBytes } = addresses;
const { encodeLdcEntries, LDC_ENTRY_BYTES, LDC_MAP, ldcEntryPermissions, ldcMapEntry } = formats;
const { load } = sharedMemory;
const { EBUSY, EOK, EWOULDBLOCK } = sun4v;
const { CHANNEL, LDC_REVOKE } = services;

/** Entries encoded at a time. */
const BATCH_ENTRIES = 256;
/** Of an entry's two words, the one with the permissions. */
const VALID_WORD = 1;
const REVOKE_COOKIE_AT = 8;

export interface LdcOpsOptions {
  /** Of the exporting end: its memory and its hypervisor. */
  readonly machine: Machine;
  /** Of cookies: see cookieWindow. */
  readonly window: DmaWindow;
  /** Physical address of the map table. */
  readonly tableAddress: number;
  /** The platform's shared words, and which of them is not 0 once the table is gone. */
  readonly state: SharedWords;
  readonly goneAt: number;
}

/** One per thread. */
export class LdcOps implements TableOps {
  readonly #memory: Memory;
  readonly #hypercall: Hypercall;
  readonly #window: DmaWindow;
  readonly #tableAddress: number;
  readonly #largestPage: number;
  readonly #state: SharedWords;
  readonly #goneAt: number;
  readonly #words: Uint32Array = new Uint32Array(2 * BATCH_ENTRIES);
  readonly #empty: Uint32Array = new Uint32Array(2);
  readonly #single: Uint32Array = new Uint32Array(2);
  readonly #args: BigUint64Array = new BigUint64Array(8);

  constructor(options: LdcOpsOptions) {
    if (options.machine.hypercall === undefined) {
      throw new InvalidArgumentError("hypervisor of the machine", "none", "one that answers the LDC calls");
    }
    this.#memory = options.machine.memory;
    this.#hypercall = options.machine.hypercall;
    this.#state = options.state;
    this.#goneAt = options.goneAt;
    this.#window = options.window;
    this.#tableAddress = options.tableAddress;
    this.#largestPage = ldcMapEntry.largestPage(options.window.pageShift);
  }

  /** Shadow mappings: the other end copies. */
  set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    const read = (access & 1) === 0 ? 0 : LDC_MAP.read;
    const write = (access & 2) === 0 ? 0 : LDC_MAP.write;
    return this.setWith(first, count, page, ldcEntryPermissions(LDC_MAP.shadow | read | write));
  }

  /** As `set`, with the permission bits of `ldcEntryPermissions`: other kinds of mappings too. */
  setWith(first: number, count: number, page: number, permissions: number): Failure | undefined {
    this.#check(first, count);
    // The last page is the largest: no batch is refused after another has been written.
    if (!(page + count - 1 <= this.#largestPage)) return "platform-refused";
    for (let done = 0; done < count; done += BATCH_ENTRIES) {
      const part = Math.min(BATCH_ENTRIES, count - done);
      const fits = encodeLdcEntries(page + done, part, permissions, this.#window.pageShift, this.#words);
      if (!fits) return "platform-refused";
      for (let i = 0; i < part; i++) {
        this.#single[0] = this.#words[2 * i] as number;
        this.#single[1] = this.#words[2 * i + 1] as number;
        this.#memory.storeWords(this.#addressOf(first + done + i), this.#single, 2, VALID_WORD);
      }
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
    ldcMapEntry.decode(this.#load(entry), 0, this.#window.pageShift, into);
  }

  /** The entry is empty in between where both its words change: a copy of just then is refused. */
  exchange(entry: number, page: number, access: EntryAccess, old: EntryValue): Failure | undefined {
    this.#check(entry, 1);
    const wanted = this.#words;
    if (!ldcMapEntry.encode(page, 1, access, this.#window.pageShift, wanted)) return "platform-refused";
    ldcMapEntry.decode(this.#load(entry), 0, this.#window.pageShift, old);
    const at = this.#addressOf(entry);
    if (this.#single[0] !== wanted[0]) {
      if (this.#single[1] !== wanted[1]) this.#memory.store32(at + 4, 0);
      this.#memory.store32(at, wanted[0] as number);
    }
    this.#memory.store32(at + 4, wanted[1] as number);
    return undefined;
  }

  flush(): Failure | undefined {
    this.#memory.fence();
    return undefined;
  }

  invalidate(first: number, end: number): Failure | undefined {
    this.#check(first, end - first);
    let failure: Failure | undefined;
    let calls = 0;
    for (let entry = first; entry < end; entry++) {
      if (!this.#isMappedIn(entry)) continue;
      const failed = this.#revoke(entry, this.#revokeCookie(entry));
      failure ??= failed;
      calls++;
    }
    return calls === 0 ? this.#revoke(first, 0n) : failure;
  }

  /** Pages that are mapped in by the other end and have an entry stay so. */
  invalidateAll(): Failure | undefined {
    let failure = this.#revoke(0, 0n);
    for (let entry = 0; entry < this.#window.entries; entry++) {
      if (!this.#isMappedIn(entry) || this.#memory.load32(this.#addressOf(entry) + 4) !== 0) continue;
      const failed = this.#revoke(entry, this.#revokeCookie(entry));
      failure ??= failed;
    }
    return failure;
  }

  /** Has the other end a page mapped in by this entry? */
  #isMappedIn(entry: number): boolean {
    const at = this.#addressOf(entry) + REVOKE_COOKIE_AT;
    return this.#memory.load32(at) !== 0 || this.#memory.load32(at + 4) !== 0;
  }

  #revoke(entry: number, revokeCookie: bigint): Failure | undefined {
    this.#args[0] = BigInt(CHANNEL);
    this.#args[1] = this.#window.base + (BigInt(entry) << BigInt(this.#window.pageShift));
    this.#args[2] = revokeCookie;
    const status = this.#hypercall(LDC_REVOKE, this.#args);
    if (status === EOK) return undefined;
    if (status === EWOULDBLOCK) return "would-block";
    return status === EBUSY ? "platform-busy" : "platform-refused";
  }

  /** By atomic loads, each half whole: the hypervisor may be changing it. */
  #revokeCookie(entry: number): bigint {
    const at = this.#addressOf(entry) + REVOKE_COOKIE_AT;
    const high = swapBytes(this.#memory.load32(at)) >>> 0;
    return (BigInt(high) << 32n) | BigInt(swapBytes(this.#memory.load32(at + 4)) >>> 0);
  }

  #load(entry: number): Uint32Array {
    const at = this.#addressOf(entry);
    this.#single[0] = this.#memory.load32(at);
    this.#single[1] = this.#memory.load32(at + 4);
    return this.#single;
  }

  #addressOf(entry: number): number {
    return this.#tableAddress + entry * LDC_ENTRY_BYTES;
  }

  #check(first: number, count: number): void {
    if (load(this.#state, this.#goneAt) !== 0) throw new IovaError("table-gone", "the map table has been taken away");
    if (first >= 0 && count >= 1 && first + count <= this.#window.entries) return;
    const range = `[${first}, ${first + count})`;
    const expected = `at least one entry in [0, ${this.#window.entries})`;
    throw new InvalidArgumentError("range of entries", range, expected);
  }
}
