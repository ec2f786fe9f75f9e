/**
 * The table group of a PE. It has two windows; each may hold a table, and the second one may hold bypass instead. A legacy group has one
 * fixed table in the first window.
 */

import { compareExchange, load, store } from "../../shared/memory.ts";
import { checkHandle } from "../../table/handle.ts";
import { InvalidArgumentError, IovaError, inWords } from "../../units/errors.ts";
import type { Failure } from "../../units/failure.ts";
import type { EntryRange } from "../../units/numbers.ts";
import { tableBytesOf, tceGeometry, type WindowShape } from "./geometry.ts";
import { BYPASS, BYPASS_WAS_ON, GROUP, groupAt, LEGACY, NO_GROUP, NO_WINDOW, OWNED } from "./layout.ts";
import type { Phb } from "./phb.ts";
import { emptyWindow, fillWindow, freeIfUnused, linksOf, shapeOfTable, windowOf } from "./records.ts";
import { PowernvTable, type PowernvTableHandle, type PowernvTableOptions } from "./table.ts";

/** Result of `TableGroup.takeOwnership`, for `releaseOwnership`. */
export interface GroupOwnership {
  /** Claimed ranges of each table. */
  readonly claimed: readonly (readonly EntryRange[])[];
}

/** Handle of a table group, structured-cloneable: post it to another thread and call `TableGroup.attach` there. */
export interface TableGroupHandle {
  /** @internal */
  readonly partition: number;
  /** Handle of a legacy group's table. */
  readonly fixed?: PowernvTableHandle;
}

/**
 * The table group of a PE: two windows, of which each may hold a table. The second one may hold bypass instead. A legacy group has one fixed
 * table in the first window. One object is one thread's view; another thread attaches to `handle`.
 */
export class TableGroup {
  /** Handle for other threads. */
  readonly handle: TableGroupHandle;
  /** Number of the group's PE. */
  readonly partition: number;
  readonly #phb: Phb;
  /** This thread's view of a legacy group's table, once it exists. */
  #fixed: PowernvTable | undefined;

  private constructor(phb: Phb, handle: TableGroupHandle, fixed?: PowernvTable) {
    this.#phb = phb;
    this.handle = handle;
    this.partition = handle.partition;
    this.#fixed = fixed;
  }

  /** Creates a group with empty windows for a PE. Throws InvalidArgumentError if the PE has a group or can't have one. */
  static create(phb: Phb, partition: number): TableGroup {
    phb.createGroup(partition);
    return new TableGroup(phb, { partition });
  }

  /**
   * Creates a legacy group, and its table in window 0. Throws as `create` and PowernvTable.create, and IovaError "platform-busy" if a DMA
   * through the PE does not end; then neither exists.
   */
  static createLegacy(phb: Phb, partition: number, options: Omit<PowernvTableOptions, "window">): TableGroup {
    phb.checkPartition(partition);
    const table = PowernvTable.create(phb, { ...options, window: 0 });
    const group = new TableGroup(phb, { partition, fixed: table.handle }, table);
    let isMade = false;
    try {
      phb.locked("creating a group", () => group.#makeLegacy(table.handle.index + 1));
      isMade = true;
    } finally {
      if (!isMade) table.release();
    }
    return group;
  }

  /**
   * Attaches the calling thread, with this thread's view of the bridge. Throws FormatError for a foreign handle, and InvalidArgumentError if
   * the PE has no group.
   */
  static attach(phb: Phb, handle: TableGroupHandle): TableGroup {
    checkHandle("a table group", handle, { partition: "count" });
    phb.checkGroup(handle.partition);
    return new TableGroup(phb, handle);
  }

  /**
   * A view of the group of a PE, without a handle. It has no view of a legacy group's table, which needs the group's handle. Throws
   * InvalidArgumentError if the PE has no group.
   */
  static of(phb: Phb, partition: number): TableGroup {
    return TableGroup.attach(phb, { partition });
  }

  /** True for a group with a fixed table, made by `createLegacy`. Its windows can't be set. */
  get isLegacy(): boolean {
    return load(this.#phb.state.words, this.#at + GROUP.kind) === LEGACY;
  }

  /** Upper bound of the memory of a table of this shape, in bytes. Throws InvalidArgumentError as `createTable` does. */
  getTableBytes(shape: WindowShape): number {
    return tableBytesOf(tceGeometry(shape, this.#phb.handle.generation));
  }

  /**
   * Creates a table for a window of this group. A legacy group returns its fixed table if the shape is the same; else it throws IovaError
   * "not-permitted" for the second window (the kernel's EPERM) or InvalidArgumentError for another shape (EINVAL). A view without the
   * group's handle throws "no-handle", because it has no view of the fixed table.
   */
  createTable(options: PowernvTableOptions): PowernvTable {
    if (!this.isLegacy) return PowernvTable.create(this.#phb, options);
    if (options.window !== 0) throw this.#notPermitted("a second window");
    const { pageShift, windowBytes, levels } = shapeOfTable(this.#phb.state, this.#content(0) - 1);
    if (options.pageShift !== pageShift || options.windowBytes !== windowBytes || options.levels !== levels) {
      const found = `${options.windowBytes} bytes, page shift ${options.pageShift}, ${options.levels} levels`;
      const expected = `${windowBytes} bytes, page shift ${pageShift}, ${levels} levels: those of the fixed table`;
      throw new InvalidArgumentError("window of a legacy group", inWords(found), expected);
    }
    return this.#viewOfFixed();
  }

  /**
   * Sets the table in its window of this group. "in-use": the window is set already. Several groups may share a table. Throws IovaError
   * "not-permitted" for a legacy group, "table-gone" if the table was freed.
   */
  setWindow(table: PowernvTable): Failure | undefined {
    if (this.isLegacy) throw this.#notPermitted("setting a window");
    const { window, index } = table.handle;
    return this.#phb.locked("setting a window", () => {
      // Under the lock: else the table could be freed before it is linked.
      if (table.isGone) throw new IovaError("table-gone", "the TCE table has been freed");
      return this.#fillLocked(window, index + 1);
    });
  }

  /**
   * Removes the table from its window of this group. "in-use", and nothing changes, while entries are allocated and no other group has the
   * table: a device of this group may use them. (The owner of a table that was handed over clears it.) The table is freed when its creator
   * has released it and no group has it.
   */
  unsetWindow(table: PowernvTable): Failure | undefined {
    if (this.isLegacy) throw this.#notPermitted("removing the window");
    return this.#phb.locked("unsetting a window", () => this.#unsetLocked(table));
  }

  /**
   * Sets the second window to bypass: bus address = physical address + 2^59. "in-use": the second window is set already. Throws IovaError
   * "not-permitted" for a legacy group.
   */
  openBypass(): Failure | undefined {
    if (this.isLegacy) throw this.#notPermitted("bypass");
    return this.#phb.locked("opening bypass", () => this.#fillLocked(1, BYPASS));
  }

  /** Closes the bypass; does nothing without a bypass. "platform-busy": a DMA through the window did not end in time. */
  closeBypass(): Failure | undefined {
    return this.#phb.locked("closing bypass", () => (this.hasBypass ? this.#emptyLocked(1) : undefined));
  }

  /** True if the second window bypasses translation. */
  get hasBypass(): boolean {
    return windowOf(this.#phb.state, this.partition, 1) === BYPASS;
  }

  /**
   * Hands the group's tables over to user space and ends bypass. `tables`: views of all tables that are set. All or nothing; "in-use" as
   * `PowernvTable.takeOwnership`.
   */
  takeOwnership(tables: readonly PowernvTable[]): GroupOwnership | Failure {
    this.#checkAll(tables);
    const { words } = this.#phb.state;
    const owned = this.hasBypass ? OWNED | BYPASS_WAS_ON : OWNED;
    // Stored before bypass ends, so that `releaseOwnership` restores bypass even if this thread dies.
    if (compareExchange(words, this.#at + GROUP.owned, 0, owned) !== 0) return "in-use";
    const claimed: (readonly EntryRange[])[] = [];
    let isTaken = false;
    try {
      const failure = takeAll(tables, claimed) ?? this.closeBypass();
      isTaken = failure === undefined;
      return failure ?? { claimed };
    } finally {
      if (!isTaken) {
        claimed.forEach((taken, i) => {
          tables[i]?.cancelOwnership(taken);
        });
        store(words, this.#at + GROUP.owned, 0);
      }
    }
  }

  /**
   * Takes the tables back, empty, and restores bypass. Leave `ownership` out after the owner's death: `PowernvTable.reclaim` has taken the
   * tables back then.
   */
  releaseOwnership(tables: readonly PowernvTable[], ownership?: GroupOwnership): Failure | undefined {
    for (const [i, taken] of (ownership?.claimed ?? []).entries()) {
      const failure = tables[i]?.isOwned ? tables[i].releaseOwnership(taken) : undefined;
      if (failure !== undefined) return failure;
    }
    const still = tables.find((table) => table.isOwned);
    if (still !== undefined) {
      throw new InvalidArgumentError(
        "ownership of a group",
        inWords("missing"),
        `the result of takeOwnership of table ${still.handle.index}`,
      );
    }
    const { words } = this.#phb.state;
    const hadBypass = (load(words, this.#at + GROUP.owned) & BYPASS_WAS_ON) !== 0;
    const failure = hadBypass && !this.hasBypass ? this.openBypass() : undefined;
    if (failure === undefined) store(words, this.#at + GROUP.owned, 0);
    return failure;
  }

  /** True from `takeOwnership` until the release. */
  get isOwned(): boolean {
    return load(this.#phb.state.words, this.#at + GROUP.owned) !== 0;
  }

  get #at(): number {
    return groupAt(this.#phb.state, this.partition);
  }

  /** All under one lock: if two groups unset a table concurrently, exactly one of them is the last. */
  #unsetLocked(table: PowernvTable): Failure | undefined {
    const { window, index } = table.handle;
    if (this.#content(window) !== index + 1 || table.isGone) {
      const what = `window ${window} of PE ${this.partition}`;
      throw new InvalidArgumentError(what, inWords("not this table"), "the one that was set");
    }
    const isLast = linksOf(this.#phb.state, index) === 1;
    const claimed = isLast && !table.isOwned ? table.claim() : undefined;
    if (typeof claimed === "string") return claimed;
    const failure = this.#emptyLocked(window);
    const isFreed = failure === undefined && freeIfUnused(this.#phb, index);
    if (!isFreed && claimed !== undefined) table.giveBack(claimed);
    return failure;
  }

  #content(window: number): number {
    return windowOf(this.#phb.state, this.partition, window);
  }

  #viewOfFixed(): PowernvTable {
    const { fixed } = this.handle;
    if (fixed === undefined) {
      const why = "a view of the fixed table is had through the group's handle (TableGroup.attach)";
      throw new IovaError("no-handle", `the group of PE ${this.partition}: ${why}`);
    }
    this.#fixed ??= PowernvTable.attach(this.#phb, fixed);
    return this.#fixed;
  }

  /** If the sync fails (a DMA through the old TVE has not ended), the new TVE is removed. */
  #fillLocked(window: number, content: number): Failure | undefined {
    if (this.#content(window) !== NO_WINDOW) return "in-use";
    fillWindow(this.#phb, this.partition, window, content);
    this.#phb.registers.killPartition(this.partition);
    const failure = this.#phb.registers.sync();
    if (failure !== undefined) {
      this.#phb.registers.writeTve(this.partition, window, 0n);
      emptyWindow(this.#phb, this.partition, window);
    }
    return failure;
  }

  /** Sets kind and window under one lock, so that no thread sees a legacy group without its window. */
  #makeLegacy(content: number): void {
    this.#phb.makeGroup(this.partition, LEGACY);
    const failure = this.#fillLocked(0, content);
    if (failure === undefined) return;
    store(this.#phb.state.words, this.#at + GROUP.kind, NO_GROUP);
    throw new IovaError(failure, `the window of a legacy group: ${failure}`);
  }

  /** On failure the window is restored: a DMA still uses it, and must be invalidated through the group. */
  #emptyLocked(window: number): Failure | undefined {
    const { registers } = this.#phb;
    registers.writeTve(this.partition, window, 0n);
    registers.killPartition(this.partition);
    const failure = registers.sync();
    if (failure === undefined) emptyWindow(this.#phb, this.partition, window);
    else fillWindow(this.#phb, this.partition, window, this.#content(window));
    return failure;
  }

  #checkAll(tables: readonly PowernvTable[]): void {
    for (const window of [0, 1]) {
      const content = windowOf(this.#phb.state, this.partition, window);
      const given = tables.filter((table) => table.handle.window === window);
      const isRight = content > 0 ? given.length === 1 && given[0]?.handle.index === content - 1 : given.length === 0;
      if (!isRight) {
        const found = given.map(({ handle }) => `table ${handle.index}`).join(", ") || "missing";
        throw new InvalidArgumentError(
          `tables of window ${window} of PE ${this.partition}`,
          inWords(found),
          "the one that is set",
        );
      }
    }
  }

  #notPermitted(what: string): IovaError {
    return new IovaError("not-permitted", `${what}: the group of PE ${this.partition} owns one fixed table`);
  }
}

/** Takes the tables in order, up to the first that fails. */
function takeAll(tables: readonly PowernvTable[], claimed: (readonly EntryRange[])[]): Failure | undefined {
  for (const table of tables) {
    const taken = table.takeOwnership();
    if (typeof taken === "string") return taken;
    claimed.push(taken);
  }
  return undefined;
}
