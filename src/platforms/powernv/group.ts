/**
 * The table group of a PE: what its devices translate by. Two windows, which hold a table each, or, in the second one, bypass. A legacy
 * group owns one fixed table in the first window for good.
 */
import { load, store } from "../../shared/memory.ts";
import { InvalidArgumentError, IovaError } from "../../units/errors.ts";
import type { Failure } from "../../units/failure.ts";
import type { EntryRange } from "../../units/numbers.ts";
import { tableBytesOf, tceGeometry, type WindowShape } from "./geometry.ts";
import { BYPASS, GROUP, groupAt, LEGACY, NO_WINDOW } from "./layout.ts";
import type { Phb } from "./phb.ts";
import { emptyWindow, fillWindow, freeIfUnused, linksOf, windowOf } from "./records.ts";
import { PowernvTable, type PowernvTableOptions } from "./table.ts";

/** What `takeOwnership` took. */
export interface GroupOwnership {
  /** For each table: what was claimed. */
  readonly claimed: readonly (readonly EntryRange[])[];
  /** Bypass was on, and comes back. */
  readonly bypass: boolean;
}

/** One thread's view. */
export class TableGroup {
  readonly partition: number;
  readonly #phb: Phb;
  /** Of a legacy group, in its creator's view. */
  readonly #fixed: PowernvTable | undefined;

  private constructor(phb: Phb, partition: number, fixed?: PowernvTable) {
    this.#phb = phb;
    this.partition = partition;
    this.#fixed = fixed;
  }

  /** A group with no window set. Throws InvalidArgumentError when the PE has a group. */
  static create(phb: Phb, partition: number): TableGroup {
    phb.createGroup(partition);
    return new TableGroup(phb, partition);
  }

  /** A group with one table, made and set here, in window 0. */
  static createLegacy(phb: Phb, partition: number, options: Omit<PowernvTableOptions, "window">): TableGroup {
    const table = PowernvTable.create(phb, { ...options, window: 0 });
    let isMade = false;
    try {
      phb.createLegacyGroup(partition);
      isMade = true;
    } finally {
      if (!isMade) table.release();
    }
    const group = new TableGroup(phb, partition, table);
    const failure = group.#fill(0, table.handle.index + 1);
    if (failure !== undefined) throw new IovaError(failure, `the window of a legacy group: ${failure}`);
    return group;
  }

  /** This thread's view of a PE's group. Throws InvalidArgumentError when it has none. */
  static of(phb: Phb, partition: number): TableGroup {
    phb.checkGroup(partition);
    return new TableGroup(phb, partition);
  }

  get isLegacy(): boolean {
    return load(this.#phb.state.words, this.#at + GROUP.kind) === LEGACY;
  }

  /** Bytes of memory that a table of this shape can come to. Throws InvalidArgumentError as `createTable` does. */
  getTableBytes(shape: WindowShape): number {
    return tableBytesOf(tceGeometry(shape, this.#phb.handle.generation));
  }

  /**
   * A table for a window of this group. Of a legacy group: its own, for exactly its shape; else IovaError "not-permitted" for
   * the second window (the kernel's EPERM), InvalidArgumentError for another shape (EINVAL).
   */
  createTable(options: PowernvTableOptions): PowernvTable {
    if (!this.isLegacy) return PowernvTable.create(this.#phb, options);
    if (options.window !== 0) throw this.#notPermitted("a second window");
    const fixed = this.#fixed;
    if (fixed === undefined) throw this.#notPermitted("a table of this group in a view that did not make it");
    const { pageShift, windowBytes, levels } = fixed.geometry;
    if (options.pageShift !== pageShift || options.windowBytes !== windowBytes || options.levels !== levels) {
      const found = `${options.windowBytes} bytes, page shift ${options.pageShift}, ${options.levels} levels`;
      const expected = `${windowBytes} bytes, page shift ${pageShift}, ${levels} levels: those of the fixed table`;
      throw new InvalidArgumentError("window of a legacy group", found, expected);
    }
    return fixed;
  }

  /** The table becomes its window of this group. "in-use": the window is set. Any number of groups may share a table. */
  setWindow(table: PowernvTable): Failure | undefined {
    if (this.isLegacy) throw this.#notPermitted("setting a window");
    if (table.isGone) throw new IovaError("table-gone", "the TCE table has been freed");
    return this.#fill(table.handle.window, table.handle.index + 1);
  }

  /**
   * The group's devices no longer translate by the table. "in-use", and nothing changes, while entries are allocated and no other group
   * has the table: a device of this group may be using them. (A table that was handed over is its owner's to clear.) The table is
   * freed when its creator has released it and no group has it.
   */
  unsetWindow(table: PowernvTable): Failure | undefined {
    if (this.isLegacy) throw this.#notPermitted("removing the window");
    const { window, index } = table.handle;
    if (windowOf(this.#phb.state, this.partition, window) !== index + 1) {
      throw new InvalidArgumentError(
        `window ${window} of PE ${this.partition}`,
        "not this table",
        "the one that was set",
      );
    }
    const isLast = linksOf(this.#phb.state, index) === 1;
    const claimed = isLast && !table.isOwned ? table.claim() : [];
    if (typeof claimed === "string") return claimed;
    const failure = this.#empty(window);
    const isFreed =
      failure === undefined && this.#phb.locked("freeing a TCE table", () => freeIfUnused(this.#phb, index));
    if (!isFreed) table.giveBack(claimed);
    return failure;
  }

  /** Bus addresses from 2^59 on are physical ones from 0 on. "in-use": the second window is set. */
  openBypass(): Failure | undefined {
    if (this.isLegacy) throw this.#notPermitted("bypass");
    return this.#fill(1, BYPASS);
  }

  closeBypass(): Failure | undefined {
    return this.hasBypass ? this.#empty(1) : undefined;
  }

  get hasBypass(): boolean {
    return windowOf(this.#phb.state, this.partition, 1) === BYPASS;
  }

  /**
   * The group's tables (`tables`: views of all that are set) are handed to user space, and bypass ends. All or nothing; "in-use" as
   * `PowernvTable.takeOwnership`.
   */
  takeOwnership(tables: readonly PowernvTable[]): GroupOwnership | Failure {
    this.#checkAll(tables);
    const claimed: (readonly EntryRange[])[] = [];
    const bypass = this.hasBypass;
    let failure: Failure | undefined;
    for (const table of tables) {
      const taken = table.takeOwnership();
      if (typeof taken === "string") failure = taken;
      else claimed.push(taken);
      if (failure !== undefined) break;
    }
    failure ??= this.closeBypass();
    if (failure === undefined) {
      store(this.#phb.state.words, this.#at + GROUP.owned, 1);
      return { claimed, bypass };
    }
    claimed.forEach((taken, i) => {
      tables[i]?.releaseOwnership(taken);
    });
    return failure;
  }

  /** They come back, empty; so does bypass. */
  releaseOwnership(tables: readonly PowernvTable[], { claimed, bypass }: GroupOwnership): Failure | undefined {
    for (const [i, taken] of claimed.entries()) {
      const failure = tables[i]?.isOwned ? tables[i].releaseOwnership(taken) : undefined;
      if (failure !== undefined) return failure;
    }
    const failure = bypass && !this.hasBypass ? this.openBypass() : undefined;
    if (failure === undefined) store(this.#phb.state.words, this.#at + GROUP.owned, 0);
    return failure;
  }

  get isOwned(): boolean {
    return load(this.#phb.state.words, this.#at + GROUP.owned) !== 0;
  }

  get #at(): number {
    return groupAt(this.#phb.state, this.partition);
  }

  /** A TVE that can't be synced is taken back: a DMA through what stood there before has not ended. */
  #fill(window: number, content: number): Failure | undefined {
    return this.#phb.locked("setting a window", () => {
      if (windowOf(this.#phb.state, this.partition, window) !== NO_WINDOW) return "in-use";
      fillWindow(this.#phb, this.partition, window, content);
      this.#phb.registers.killPartition(this.partition);
      const failure = this.#phb.registers.sync();
      if (failure !== undefined) {
        this.#phb.registers.writeTve(this.partition, window, 0n);
        emptyWindow(this.#phb, this.partition, window);
      }
      return failure;
    });
  }

  /** Also on failure the window is shut; only when no DMA uses it any more does the group forget what stood there. */
  #empty(window: number): Failure | undefined {
    return this.#phb.locked("unsetting a window", () => {
      const { registers, state } = this.#phb;
      registers.writeTve(this.partition, window, 0n);
      registers.killPartition(this.partition);
      const failure = registers.sync();
      if (failure === undefined) emptyWindow(this.#phb, this.partition, window);
      else fillWindow(this.#phb, this.partition, window, windowOf(state, this.partition, window));
      return failure;
    });
  }

  #checkAll(tables: readonly PowernvTable[]): void {
    for (const window of [0, 1]) {
      const content = windowOf(this.#phb.state, this.partition, window);
      const given = tables.filter((table) => table.handle.window === window);
      const isRight = content > 0 ? given.length === 1 && given[0]?.handle.index === content - 1 : given.length === 0;
      if (!isRight) {
        const found = given.map(({ handle }) => `table ${handle.index}`).join(", ") || "none";
        throw new InvalidArgumentError(
          `tables of window ${window} of PE ${this.partition}`,
          found,
          "the one that is set",
        );
      }
    }
  }

  #notPermitted(what: string): IovaError {
    return new IovaError("not-permitted", `${what}: the group of PE ${this.partition} owns one fixed table`);
  }
}
