/**
 * TableOps by pci_iommu_map and pci_iotsb_map, gathered as gathering-ops.ts describes. A list holds up to 1024 real addresses of pages; all
 * entries of one call have the same attributes. Emptying a range takes one call, without a list. The hypervisor may process fewer entries
 * than asked: calls.ts repeats the call for the rest.
 */
import { addressHigh, addressLow, swapBytes } from "../../formats/address.ts";
import { sun4vAccessOf, sun4vAttributesOf, sun4vTte } from "../../formats/sun4v-tte.ts";
import type { Memory } from "../../machine/contract.ts";
import type { EntryValue } from "../../table/contract.ts";
import { IovaError } from "../../units/errors.ts";
import type { Failure } from "../../units/failure.ts";
import type { EntryAccess } from "../../units/numbers.ts";
import { type EntryCalls, GatheringOps } from "../gathering-ops.ts";
import type { FoundEntry, Sun4vCalls } from "./calls.ts";
import { IO_PAGE_SHIFT, LIST_ENTRIES } from "./services.ts";

/** Attempts to empty entries before that counts as refused. The sun4v API states no time limit, so attempts are counted. */
const ATTEMPTS = 3;

export interface Sun4vOpsOptions {
  readonly memory: Memory;
  readonly calls: Sun4vCalls;
  readonly entries: number;
}

/** One object per thread. */
export class Sun4vOps extends GatheringOps {
  readonly #calls: TteCalls;

  constructor({ memory, calls, entries }: Sun4vOpsOptions) {
    const entryCalls = new TteCalls(memory, calls);
    super(entryCalls, entries);
    this.#calls = entryCalls;
  }

  /** Sets the list page: 8 KiB of real memory at a multiple of 8 KiB, used by this thread only. Called before the first use. */
  useList(address: number): void {
    this.#calls.list = address;
  }
}

/** The calls for one window. A list holds big-endian real addresses; an entry's kind is its attributes. */
class TteCalls implements EntryCalls {
  readonly largestPage: number = sun4vTte.largestPage(IO_PAGE_SHIFT);
  readonly listEntries: number = LIST_ENTRIES;
  readonly mostUnmapped: number = Number.POSITIVE_INFINITY;
  unmapped = 0;
  /** Real address of this thread's list page. */
  list = 0;
  readonly #memory: Memory;
  readonly #calls: Sun4vCalls;
  readonly #single: Uint32Array = new Uint32Array(2);
  readonly #found: FoundEntry = { attributes: 0, page: 0 };

  constructor(memory: Memory, calls: Sun4vCalls) {
    this.#memory = memory;
    this.#calls = calls;
  }

  /** Throws IovaError "table-gone". */
  kindOf(access: EntryAccess): number {
    this.#calls.checkThere();
    return sun4vAttributesOf(access);
  }

  encode(page: number, count: number, _access: EntryAccess, list: Uint32Array, at: number): void {
    for (let i = 0; i < count; i++) {
      list[2 * (at + i)] = swapBytes(addressHigh(page + i, IO_PAGE_SHIFT));
      list[2 * (at + i) + 1] = swapBytes(addressLow(page + i, IO_PAGE_SHIFT));
    }
  }

  map(first: number, count: number, attributes: number, list: Uint32Array): Failure | undefined {
    this.#memory.storeWords(this.list, list, 2 * count, 1);
    return this.#calls.map(first, count, attributes, this.list);
  }

  unmap(first: number, count: number): Failure | undefined {
    let failure: Failure | undefined;
    this.unmapped = 0;
    for (let attempt = 0; attempt < ATTEMPTS && this.unmapped < count; attempt++) {
      failure = this.#calls.unmap(first + this.unmapped, count - this.unmapped);
      this.unmapped += this.#calls.taken;
    }
    return failure;
  }

  get(entry: number, into: EntryValue): void {
    const failure = this.#calls.get(entry, this.#found);
    if (failure !== undefined) throw new IovaError(failure, `the hypervisor does not tell entry ${entry}: ${failure}`);
    into.access = sun4vAccessOf(this.#found.attributes);
    into.page = into.access === 0 ? 0 : this.#found.page;
  }

  /** A refused call of one entry has not written it. */
  replace(entry: number, page: number, access: EntryAccess): Failure | undefined {
    this.encode(page, 1, access, this.#single, 0);
    return this.map(entry, 1, sun4vAttributesOf(access), this.#single);
  }
}
