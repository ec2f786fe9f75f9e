/**
 * TableOps by H_PUT_TCE and related calls. Entries are gathered (gathering-ops.ts), and up to 512 TCEs are handed over per call in this
 * thread's list page. Single entries take one call each, and so do all entries without list page or multi-TCE feature.
 */
import { swapBytes } from "../../formats/address.ts";
import { ENTRY_WORDS } from "../../formats/contract.ts";
import { pseriesTce } from "../../formats/pseries-tce.ts";
import type { Memory } from "../../machine/contract.ts";
import type { EntryValue } from "../../table/contract.ts";
import { IovaError } from "../../units/errors.ts";
import type { Failure } from "../../units/failure.ts";
import type { DmaWindow, EntryAccess } from "../../units/numbers.ts";
import { type EntryCalls, GatheringOps } from "../gathering-ops.ts";
import { failureOfCode, type Hypercalls } from "./calls.ts";
import { H_SUCCESS, TCES_PER_CALL } from "./papr.ts";

/** READ and WRITE in the low word of a TCE. */
const TCE_PERMISSIONS = 3;
const NO_LIST_PAGE = -1;

export interface PseriesOpsOptions {
  readonly memory: Memory;
  readonly calls: Hypercalls;
  readonly liobn: number;
  readonly window: DmaWindow;
  readonly multiTce: boolean;
}

/** One per thread. */
export class PseriesOps extends GatheringOps {
  readonly #calls: TceCalls;

  constructor(options: PseriesOpsOptions) {
    const calls = new TceCalls(options);
    super(calls, options.window.entries);
    this.#calls = calls;
  }

  /** Runs are handed over in the page of 4096 bytes at this physical address from now on. No other thread may use the page. */
  useListPage(address: number): void {
    this.#calls.listPage = address;
  }

  /** True if the entry permits no access. Ignores gathered entries. */
  isEmpty(entry: number): boolean | Failure {
    this.checkRange(entry, 1);
    return this.#calls.isEmpty(entry);
  }
}

/** The calls for one LIOBN. A list has the byte order of TCEs in memory. */
class TceCalls implements EntryCalls {
  readonly largestPage: number;
  readonly listEntries = TCES_PER_CALL;
  readonly mostUnmapped: number;
  /** How many entries a failed call has emptied is not known: count none. */
  readonly unmapped = 0;
  listPage: number = NO_LIST_PAGE;
  readonly #memory: Memory;
  readonly #calls: Hypercalls;
  readonly #liobn: number;
  readonly #pageShift: number;
  /** Bus address of entry 0, and of an IO page, in pages of 4 KiB. */
  readonly #basePage: number;
  readonly #pagesPerEntry: number;
  readonly #multiTce: boolean;
  readonly #scratch: Uint32Array = new Uint32Array(TCES_PER_CALL * ENTRY_WORDS);

  constructor({ memory, calls, liobn, window, multiTce }: PseriesOpsOptions) {
    this.#memory = memory;
    this.#calls = calls;
    this.#liobn = liobn;
    this.#pageShift = window.pageShift;
    this.#basePage = Number(window.base >> 12n);
    this.#pagesPerEntry = 2 ** (window.pageShift - 12);
    this.#multiTce = multiTce;
    this.largestPage = pseriesTce.largestPage(window.pageShift);
    this.mostUnmapped = multiTce ? TCES_PER_CALL : 1;
  }

  /** Each TCE has its own permissions, so one call can write entries of all kinds. */
  kindOf(): number {
    return 0;
  }

  encode(page: number, count: number, access: EntryAccess, list: Uint32Array, at: number): void {
    pseriesTce.encode(page, count, access, this.#pageShift, this.#scratch);
    if (count > 1) list.set(this.#scratch.subarray(0, count * ENTRY_WORDS), at * ENTRY_WORDS);
    else {
      list[at * ENTRY_WORDS] = this.#scratch[0] as number;
      list[at * ENTRY_WORDS + 1] = this.#scratch[1] as number;
    }
  }

  map(first: number, count: number, _kind: number, list: Uint32Array): Failure | undefined {
    if (count > 1 && this.#multiTce && this.listPage !== NO_LIST_PAGE) {
      this.#memory.storeWords(this.listPage, list, count * ENTRY_WORDS, 1);
      this.#memory.fence();
      return answerOf(this.#calls.putTces(this.#liobn, this.#busPage(first), this.listPage, count));
    }
    for (let i = 0; i < count; i++) {
      const code = this.#put(first + i, list, i * ENTRY_WORDS);
      if (code !== H_SUCCESS) return failureOfCode(code);
    }
    return undefined;
  }

  unmap(first: number, count: number): Failure | undefined {
    const page = this.#busPage(first);
    const calls = this.#calls;
    return answerOf(count === 1 ? calls.putTce(this.#liobn, page, 0, 0) : calls.clearTces(this.#liobn, page, count));
  }

  get(entry: number, into: EntryValue): void {
    const code = this.#calls.getTce(this.#liobn, this.#busPage(entry));
    if (code !== H_SUCCESS) throw new IovaError(failureOfCode(code), `H_GET_TCE of entry ${entry} answers ${code}`);
    this.#scratch[0] = swapBytes(this.#calls.tceHigh);
    this.#scratch[1] = swapBytes(this.#calls.tceLow);
    pseriesTce.decode(this.#scratch, 0, this.#pageShift, into);
  }

  isEmpty(entry: number): boolean | Failure {
    const code = this.#calls.getTce(this.#liobn, this.#busPage(entry));
    return code === H_SUCCESS ? (this.#calls.tceLow & TCE_PERMISSIONS) === 0 : failureOfCode(code);
  }

  /** If a failed call has changed the entry, it is restored. If that fails too, the page that the device reaches is unknown. */
  replace(entry: number, page: number, access: EntryAccess, old: EntryValue): Failure | undefined {
    pseriesTce.encode(page, 1, access, this.#pageShift, this.#scratch);
    const code = this.#put(entry, this.#scratch, 0);
    if (code === H_SUCCESS) return undefined;
    if (old.access === 0) this.#scratch.fill(0, 0, ENTRY_WORDS);
    else pseriesTce.encode(old.page, 1, old.access, this.#pageShift, this.#scratch);
    const back = this.#put(entry, this.#scratch, 0);
    if (back === H_SUCCESS) return failureOfCode(code);
    throw new IovaError(
      failureOfCode(back),
      `entry ${entry} can't be put back: H_PUT_TCE answers ${code}, then ${back}`,
    );
  }

  #put(entry: number, from: Uint32Array, at: number): number {
    const high = swapBytes(from[at] as number);
    const low = swapBytes(from[at + 1] as number);
    return this.#calls.putTce(this.#liobn, this.#busPage(entry), high, low);
  }

  #busPage(entry: number): number {
    return this.#basePage + entry * this.#pagesPerEntry;
  }
}

function answerOf(code: number): Failure | undefined {
  return code === H_SUCCESS ? undefined : failureOfCode(code);
}
