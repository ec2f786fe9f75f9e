/**
 * A TCE table of a powernv machine: the generic table, with the state that the bridge needs. Its creator and each group with the table in a
 * window hold it. Invalidations go through each group, and the table is freed when the last holder releases it.
 */

import type { ReclaimScope, Recover, Recovered } from "../../crew/crew.ts";
import { tagOf } from "../../shared/lock.ts";
import { compareExchange, load, peek, poke, store } from "../../shared/memory.ts";
import type { TableOps } from "../../table/contract.ts";
import { checkHandle } from "../../table/handle.ts";
import { IommuTable, type TableHandle, type TableOptions } from "../../table/iommu-table.ts";
import { checkInteger, IovaError } from "../../units/errors.ts";
import { type Failure, failureOf } from "../../units/failure.ts";
import { checkKeys } from "../../units/keys.ts";
import type { DmaWindow, EntryRange, EntryRanges } from "../../units/numbers.ts";
import { mergeRanges } from "../../units/ranges.ts";
import { reserveRest, unreserveAll } from "../whole-table.ts";
import { type TceGeometry, tceGeometry, type WindowShape } from "./geometry.ts";
import { LINKS_PER_WORD, linkWords, NEVER_SEEN, RELEASED, SEEN, TABLE, tableAt, WITHDRAWN } from "./layout.ts";
import { type TableLife, type TceInvalidator, TceOps } from "./ops.ts";
import type { Phb } from "./phb.ts";
import { freeIfUnused, freeRecord, linksOf } from "./records.ts";
import { SECOND_WINDOW_BASE } from "./registers.ts";
import {
  type BusRange,
  checkForeignLevels,
  fixedReservations,
  type Leftovers,
  takeLeftovers,
  withoutRanges,
} from "./reservations.ts";

/** Windows of at least this size get 4 pools, smaller ones 1: PowerPC's defaults. */
const FOUR_POOLS_FROM = 2n ** 30n;

/** Options of a TCE table. */
export interface PowernvTableOptions extends WindowShape {
  /** The window of a group that the table is made for: 0 begins at bus address 0, 1 at 2^59. */
  readonly window: 0 | 1;
  /** Bus addresses that are never allocated, because the bridge decodes MMIO there. */
  readonly mmioHole?: BusRange;
  /** Physical address of the first level of a table that a crashed kernel left. Its mapped entries are kept. */
  readonly existing?: number;
  /** Options of the generic table. Default: PowerPC's pools, with the last quarter of the entries for long requests. */
  readonly table?: TableOptions;
}

/** Handle of a TCE table, structured-cloneable: post it to another thread and call `PowernvTable.attach` there. */
export interface PowernvTableHandle {
  /** @internal */
  readonly index: number;
  /** @internal */
  readonly generation: number;
  /** @internal */
  readonly shape: WindowShape;
  /** Window of the group for which the table is made. */
  readonly window: 0 | 1;
  /** Entries that were reserved at creation. */
  readonly reserved: readonly EntryRange[];
  /** @internal */
  readonly table: TableHandle;
}

const HANDLE = {
  index: "count",
  generation: "count",
  shape: "object",
  window: "count",
  reserved: "list",
  table: "table",
} as const;

/**
 * A TCE table of a bridge, in memory, with 1 to 5 levels (LoPAPR, "TCE definition"). Groups have it in a window. One object is one thread's
 * view; another thread attaches to `handle`.
 */
export class PowernvTable {
  /** The generic table, with this thread's ops. A DmaDevice maps in it. */
  readonly generic: IommuTable;
  /** This thread's ops of the table: a `PinnedTable` may enclose them. */
  readonly ops: TableOps;
  /** @internal */
  readonly geometry: TceGeometry;
  /** Handle for other threads. */
  readonly handle: PowernvTableHandle;
  /**
   * The entries found in an existing table; undefined except in the creator's view.
   *
   * @internal
   */
  readonly leftovers: Leftovers | undefined;
  readonly #phb: Phb;

  private constructor(phb: Phb, handle: PowernvTableHandle, generic: IommuTable, ops: TceOps, leftovers?: Leftovers) {
    this.#phb = phb;
    this.handle = handle;
    this.generic = generic;
    this.ops = ops;
    this.geometry = tceGeometry(handle.shape, phb.handle.generation);
    this.leftovers = leftovers;
  }

  /**
   * Creates an empty table, or takes over an existing one. It is in no window yet. Throws InvalidArgumentError for an invalid shape,
   * IovaError "no-memory" if the bridge's region has no room for its first level, "no-table" if all tables are in use.
   */
  static create(phb: Phb, options: PowernvTableOptions): PowernvTable {
    checkKeys("a TCE table", options, {
      window: "any",
      pageShift: "any",
      windowBytes: "any",
      levels: "any",
      mmioHole: "object",
      existing: "any",
      table: "object",
    });
    checkInteger("window of a TCE table", options.window, 0, 1);
    const { pageShift, windowBytes, levels } = options;
    const geometry = tceGeometry({ pageShift, windowBytes, levels }, phb.handle.generation);
    if (options.existing !== undefined) {
      checkForeignLevels(phb.machine.memory, options.existing, geometry, phb.region);
    }
    return phb.locked("creating a TCE table", () => PowernvTable.#make(phb, options, geometry));
  }

  /**
   * Attaches the calling thread, with this thread's view of the bridge. Throws FormatError for a foreign handle, and IovaError "table-gone"
   * if the table was freed.
   */
  static attach(phb: Phb, handle: PowernvTableHandle): PowernvTable {
    checkHandle("a TCE table", handle, HANDLE);
    const geometry = tceGeometry(handle.shape, phb.handle.generation);
    const { words } = phb.state;
    const at = tableAt(phb.state, handle.index);
    if (!(handle.index < phb.state.tables) || load(words, at + TABLE.generation) !== handle.generation) throw gone();
    if (compareExchange(words, at + TABLE.seen, NEVER_SEEN, SEEN) === WITHDRAWN) throw gone();
    const rootAddress = (peek(words, at + TABLE.rootPage) >>> 0) * 4096;
    const life = { words, at: at + TABLE.generation, generation: handle.generation };
    const ops = opsOf(phb, handle.index, geometry, rootAddress, life, handle.table.window);
    const made: Made = {};
    const generic = IommuTable.attach(handle.table, ops, phb.crew, recoveringWith(made));
    made.table = new PowernvTable(phb, handle, generic, ops);
    return made.table;
  }

  /** True after the table was freed. Its ops then throw IovaError "table-gone". */
  get isGone(): boolean {
    return load(this.#phb.state.words, this.#at + TABLE.generation) !== this.handle.generation;
  }

  /** Number of groups that have the table in a window. */
  get groups(): number {
    return this.isGone ? 0 : linksOf(this.#phb.state, this.handle.index);
  }

  /**
   * Releases the creator's hold: the table is freed now, or when the last group unsets it. "in-use": no group has it, and entries are
   * allocated. Throws IovaError "table-gone" if it was freed.
   */
  release(): Failure | undefined {
    // All under the lock: the check of the entries depends on whether a group has the table.
    return this.#phb.locked("releasing a TCE table", () => {
      const claimed = this.groups === 0 ? this.claim() : undefined;
      if (typeof claimed === "string") return claimed;
      if (this.isGone) throw gone();
      store(this.#phb.state.words, this.#at + TABLE.held, RELEASED);
      const isFreed = freeIfUnused(this.#phb, this.handle.index);
      if (!isFreed && claimed !== undefined) this.giveBack(claimed);
      return undefined;
    });
  }

  /**
   * Takes every entry that is not reserved, so that no thread can allocate. Returns the ranges for `giveBack`. "in-use", and nothing is
   * taken, if an entry is allocated or in the cache of a thread that does not drain it, or the table is claimed or handed over.
   *
   * @internal
   */
  claim(): readonly EntryRange[] | Failure {
    if (this.isGone) throw gone();
    const { words } = this.#phb.state;
    // One claim at a time: ranges of another claim, which may be given back, must not count as reserved.
    if (compareExchange(words, this.#at + TABLE.owned, 0, -tagOf(this.generic.thread)) !== 0) return "in-use";
    const claimed = this.#reserveAll();
    if (typeof claimed === "string") store(words, this.#at + TABLE.owned, 0);
    return claimed;
  }

  /**
   * Gives the ranges of `claim` back.
   *
   * @internal
   */
  giveBack(claimed: readonly EntryRange[]): void {
    unreserveAll(this.generic.allocator, claimed);
    store(this.#phb.state.words, this.#at + TABLE.owned, 0);
  }

  #reserveAll(): readonly EntryRange[] | Failure {
    const { allocator } = this.generic;
    const failure = allocator.lazy ? allocator.flushIotlb() : undefined;
    if (failure !== undefined) return failure;
    return reserveRest(allocator, [...this.handle.reserved, ...[...allocator.reservations().values()].flat()]);
  }

  /** True while the table is handed over to user space. */
  get isOwned(): boolean {
    return load(this.#phb.state.words, this.#at + TABLE.owned) > 0;
  }

  /**
   * Hands the whole table over to user space, including reserved entries: the owner sets and clears entries through `ops`. Returns ranges
   * for `releaseOwnership`. "in-use": an entry is allocated or still mapped (by a crashed kernel), or the table is handed over already.
   */
  takeOwnership(): readonly EntryRange[] | Failure {
    if (this.#isMappedWhereReserved()) return "in-use";
    const claimed = this.claim();
    if (typeof claimed !== "string") {
      store(this.#phb.state.words, this.#at + TABLE.owned, tagOf(this.generic.thread));
    }
    return claimed;
  }

  /**
   * Takes the table back. Entries that are still mapped are cleared and invalidated first. After a failure nothing has been given back; the
   * call can be repeated. Throws IovaError "not-owned" if the table is not handed over.
   */
  releaseOwnership(claimed: readonly EntryRange[]): Failure | undefined {
    const { words } = this.#phb.state;
    const owned = load(words, this.#at + TABLE.owned);
    if (owned === 0) throw new IovaError("not-owned", "the TCE table is not handed over");
    if (owned > 0) {
      this.ops.clear(0, this.geometry.entries);
      this.ops.publish();
      const failure = this.ops.invalidateAll();
      if (failure !== undefined) return failure;
      // From here on other threads may allocate the entries: they must not be cleared again.
      store(words, this.#at + TABLE.owned, -owned);
    }
    this.giveBack(owned > 0 ? claimed : this.#stillReserved(claimed));
    return undefined;
  }

  /**
   * Undoes a `takeOwnership` of this view whose ranges were not used. Never fails: no entry has been set since, so nothing has to be
   * cleared or invalidated.
   */
  cancelOwnership(claimed: readonly EntryRange[]): void {
    // First, because other threads may allocate the entries at once, even if this thread dies.
    store(this.#phb.state.words, this.#at + TABLE.owned, -tagOf(this.generic.thread));
    this.giveBack(claimed);
  }

  /**
   * As `IommuTable.reclaim`, for a thread that is certainly dead. It also ends the thread's claims: a table that was handed over to it is
   * emptied and taken back, and one that it was releasing or unsetting stays usable. Ranges that it had reserved are returned too.
   */
  reclaim(thread: number, scope: ReclaimScope): EntryRanges {
    return this.generic.reclaim(thread, scope);
  }

  /**
   * Recovers this table, as a part of the crew's reclaim. `own`: the recovery of the generic table.
   *
   * @internal
   */
  recover(own: Recover, thread: number, scope: ReclaimScope): Recovered | undefined {
    // A freed table has no entries, and its pages are recovered with the bridge.
    if (this.isGone) return undefined;
    const { allocator } = this.generic;
    const before = withoutRanges(allocator.reservations().get(thread) ?? [], this.handle.reserved);
    // First the generic table's recovery: it releases the pools that the dead thread locked, and a half-made claim.
    const recovered = own(thread, scope);
    const claimed = this.#stillReserved(before);
    if (Math.abs(load(this.#phb.state.words, this.#at + TABLE.owned)) !== tagOf(thread)) {
      unreserveAll(this.generic.allocator, claimed);
      return recovered;
    }
    const failure = this.releaseOwnership(claimed);
    if (failure === undefined || recovered === undefined) return recovered;
    return { ...recovered, failure: new IovaError(failure, `taking a TCE table back from thread ${thread}`) };
  }

  /** Detaches this thread. The table stays. A second call does nothing. */
  close(): void {
    this.generic.close();
  }

  /** Calls `close`, at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }

  get #at(): number {
    return tableAt(this.#phb.state, this.handle.index);
  }

  #stillReserved(ranges: readonly EntryRange[]): EntryRange[] {
    const now = [...this.generic.allocator.reservations().values()].flat();
    return ranges.filter(({ first, end }) => now.some((range) => range.first === first && range.end === end));
  }

  #isMappedWhereReserved(): boolean {
    const value = { page: 0, access: 0 as const };
    for (const { first, end } of this.handle.reserved) {
      for (let entry = first as number; entry < end; entry++) {
        this.ops.get(entry, value);
        if (value.access !== 0) return true;
      }
    }
    return false;
  }

  /** Bridge's lock held. */
  static #make(phb: Phb, options: PowernvTableOptions, geometry: TceGeometry): PowernvTable {
    const index = freeRecord(phb.state);
    if (index < 0) throw new IovaError("no-table", `all ${phb.state.tables} TCE tables of the bridge are in use`);
    const rootAddress = options.existing ?? makeRoot(phb, geometry);
    let isMade = false;
    try {
      const table = PowernvTable.#enter(phb, options, geometry, index, rootAddress);
      isMade = true;
      return table;
    } finally {
      if (!isMade) {
        for (const word of [TABLE.rootPage, TABLE.structure])
          poke(phb.state.words, tableAt(phb.state, index) + word, 0);
        if (options.existing === undefined) phb.pages.free(rootAddress, geometry.levelBytes);
      }
    }
  }

  static #enter(
    phb: Phb,
    options: PowernvTableOptions,
    geometry: TceGeometry,
    index: number,
    rootAddress: number,
  ): PowernvTable {
    const { words } = phb.state;
    const at = tableAt(phb.state, index);
    const { pageShift, windowBytes, levels, window } = options;
    const base = window === 0 ? 0n : SECOND_WINDOW_BASE;
    const dmaWindow: DmaWindow = { base, pageShift, entries: geometry.entries };
    const generation = peek(words, at + TABLE.generation) + 1;
    const life = { words, at: at + TABLE.generation, generation };
    const ops = opsOf(phb, index, geometry, rootAddress, life, dmaWindow);
    const fixed = fixedReservations(dmaWindow, options.mmioHole);
    // The generation is still even, so the table's own ops would refuse: other ops read the leftovers.
    const before = { ...life, generation: generation - 1 };
    const existing = options.existing !== undefined;
    const leftovers = existing
      ? takeLeftovers(opsOf(phb, index, geometry, rootAddress, before, dmaWindow), geometry.entries, fixed)
      : undefined;
    const reserved = mergeRanges([...fixed, ...(leftovers?.kept ?? []), ...(options.table?.reserved ?? [])]);
    const pools = windowBytes >= FOUR_POOLS_FROM ? 4 : 1;
    const made: Made = {};
    const tableOptions = { pools, largePool: true, ...options.table, reserved, crew: phb.crew };
    const generic = IommuTable.create(dmaWindow, ops, tableOptions, (own, structure) => {
      // Before this thread enters the structure: if it dies here, its recovery removes the structure.
      poke(words, at + TABLE.structure, structure + 1);
      return recoveringWith(made)(own);
    });
    poke(words, at + TABLE.window, window);
    poke(words, at + TABLE.pageShift, pageShift);
    poke(words, at + TABLE.entries, geometry.entries);
    poke(words, at + TABLE.levels, levels);
    poke(words, at + TABLE.levelBits, geometry.levelBits);
    store(words, at + TABLE.held, tagOf(phb.pages.thread));
    store(words, at + TABLE.owned, 0);
    store(words, at + TABLE.seen, NEVER_SEEN);
    poke(words, at + TABLE.rootPage, rootAddress / 4096);
    store(words, at + TABLE.generation, generation);
    const shape = { pageShift, windowBytes, levels };
    const handle = { index, generation, shape, window, reserved, table: generic.handle };
    made.table = new PowernvTable(phb, handle, generic, ops, leftovers);
    return made.table;
  }
}

/** Holds the table once it exists: the generic table is created before it. */
interface Made {
  table?: PowernvTable;
}

function recoveringWith(made: Made): (own: Recover) => Recover {
  return (own) => (thread, scope) => made.table?.recover(own, thread, scope);
}

function makeRoot(phb: Phb, { levelBytes }: TceGeometry): number {
  const root = phb.pages.allocate(levelBytes, levelBytes);
  if (root < 0) {
    const why = `a first level of ${levelBytes} bytes in the bridge's region: ${failureOf(root)}`;
    throw new IovaError("no-memory", why);
  }
  phb.machine.memory.write(root, new Uint8Array(levelBytes));
  phb.machine.memory.fence();
  return root;
}

function opsOf(
  phb: Phb,
  index: number,
  geometry: TceGeometry,
  rootAddress: number,
  life: TableLife,
  window: DmaWindow,
): TceOps {
  const { memory } = phb.machine;
  const invalidator = new GroupInvalidator(phb, index, window);
  return new TceOps({ memory, pages: phb.pages, geometry, rootAddress, life, invalidator });
}

/**
 * Invalidates in every group that has the table. Links are read without the lock, atomically, after the caller has emptied its entries and
 * fenced. A group whose link this read misses is linked, and gets its TVE, after the read, so its devices walk the emptied entries. A group
 * being unlinked may receive one redundant kill; the unlinking thread issues the required one.
 */
class GroupInvalidator implements TceInvalidator {
  readonly #phb: Phb;
  readonly #linksAt: number;
  readonly #linkWords: number;
  readonly #window: DmaWindow;

  constructor(phb: Phb, index: number, window: DmaWindow) {
    this.#phb = phb;
    this.#linksAt = tableAt(phb.state, index) + TABLE.links;
    this.#linkWords = linkWords(phb.state);
    this.#window = window;
  }

  invalidate(first: number, end: number): Failure | undefined {
    const { registers, state } = this.#phb;
    for (let word = 0; word < this.#linkWords; word++) {
      for (let left = load(state.words, this.#linksAt + word); left !== 0; left &= left - 1) {
        registers.killEntries(partitionOf(word, left), this.#window, first, end);
      }
    }
    return registers.sync();
  }

  invalidateAll(): Failure | undefined {
    const { registers, state } = this.#phb;
    for (let word = 0; word < this.#linkWords; word++) {
      for (let left = load(state.words, this.#linksAt + word); left !== 0; left &= left - 1) {
        registers.killPartition(partitionOf(word, left));
      }
    }
    return registers.sync();
  }
}

/** The group of the lowest set bit in a word of links. */
function partitionOf(word: number, bits: number): number {
  return word * LINKS_PER_WORD + 31 - Math.clz32(bits & -bits);
}

function gone(): IovaError {
  return new IovaError("table-gone", "the TCE table has been freed, with the last group that had it");
}
