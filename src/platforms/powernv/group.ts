/**
 * The table group of a PE: what its devices translate by. Two windows, which hold a table each, or, in the second one, bypass. A legacy
 * group owns one fixed table in the first window for good.
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

/** What `takeOwnership` took. */
export interface GroupOwnership {
  /** For each table: what was claimed. */
  readonly claimed: readonly (readonly EntryRange[])[];
}

/** Structured-cloneable: post it to another thread and `TableGroup.attach` there. */
export interface TableGroupHandle {
  readonly partition: number;
  /** Of a legacy group: its table. */
  readonly fixed?: PowernvTableHandle;
}

/** One thread's view. */
export class TableGroup {
  readonly handle: TableGroupHandle;
  readonly partition: number;
  readonly #phb: Phb;
  /** Of a legacy group: this thread's view of its table, once there is one. */
  #fixed: PowernvTable | undefined;

  private constructor(phb: Phb, handle: TableGroupHandle, fixed?: PowernvTable) {
    this.#phb = phb;
    this.handle = handle;
    this.partition = handle.partition;
    this.#fixed = fixed;
  }

  /** A group with no window set. Throws InvalidArgumentError when the PE has a group. */
  static create(phb: Phb, partition: number): TableGroup {
    phb.createGroup(partition);
    return new TableGroup(phb, { partition });
  }

  /**
   * A group with one table, made and set here, in window 0. Throws as `create` and PowernvTable.create, IovaError "platform-busy" when a
   * DMA through the PE does not end: then there is neither.
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

  /** A view for the calling thread, on this thread's bridge. Throws FormatError for a foreign handle. */
  static attach(phb: Phb, handle: TableGroupHandle): TableGroup {
    checkHandle("a table group", handle, { partition: "count" });
    phb.checkGroup(handle.partition);
    return new TableGroup(phb, handle);
  }

  /**
   * This thread's view of a PE's group, by its number: all but the table of a legacy group, which needs the group's handle. Throws
   * InvalidArgumentError when it has none.
   */
  static of(phb: Phb, partition: number): TableGroup {
    return TableGroup.attach(phb, { partition });
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
   * the second window (the kernel's EPERM), InvalidArgumentError for another shape (EINVAL). Every thread's view answers alike; one
   * without the group's handle has no view of the table to give, and throws "no-handle" instead.
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

  /** The table becomes its window of this group. "in-use": the window is set. Any number of groups may share a table. */
  setWindow(table: PowernvTable): Failure | undefined {
    if (this.isLegacy) throw this.#notPermitted("setting a window");
    const { window, index } = table.handle;
    return this.#phb.locked("setting a window", () => {
      // Under the lock: else it could be freed before it is linked.
      if (table.isGone) throw new IovaError("table-gone", "the TCE table has been freed");
      return this.#fillLocked(window, index + 1);
    });
  }

  /**
   * The group's devices no longer translate by the table. "in-use", and nothing changes, while entries are allocated and no other group
   * has the table: a device of this group may be using them. (A table that was handed over is its owner's to clear.) The table is
   * freed when its creator has released it and no group has it.
   */
  unsetWindow(table: PowernvTable): Failure | undefined {
    if (this.isLegacy) throw this.#notPermitted("removing the window");
    return this.#phb.locked("unsetting a window", () => this.#unsetLocked(table));
  }

  /** Bus addresses from 2^59 on are physical ones from 0 on. "in-use": the second window is set. */
  openBypass(): Failure | undefined {
    if (this.isLegacy) throw this.#notPermitted("bypass");
    return this.#phb.locked("opening bypass", () => this.#fillLocked(1, BYPASS));
  }

  closeBypass(): Failure | undefined {
    return this.#phb.locked("closing bypass", () => (this.hasBypass ? this.#emptyLocked(1) : undefined));
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
    const { words } = this.#phb.state;
    const owned = this.hasBypass ? OWNED | BYPASS_WAS_ON : OWNED;
    // Before bypass ends: who gives the group back knows of it, even when this thread dies.
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
   * They come back, empty; so does bypass. After the owner's death `PowernvTable.reclaim` has taken the tables back from it: then
   * `ownership` is left out.
   */
  releaseOwnership(tables: readonly PowernvTable[], ownership?: GroupOwnership): Failure | undefined {
    for (const [i, taken] of (ownership?.claimed ?? []).entries()) {
      const failure = tables[i]?.isOwned ? tables[i].releaseOwnership(taken) : undefined;
      if (failure !== undefined) return failure;
    }
    const still = tables.find((table) => table.isOwned);
    if (still !== undefined) {
      throw new InvalidArgumentError("ownership of a group", inWords("none"), `what took table ${still.handle.index}`);
    }
    const { words } = this.#phb.state;
    const hadBypass = (load(words, this.#at + GROUP.owned) & BYPASS_WAS_ON) !== 0;
    const failure = hadBypass && !this.hasBypass ? this.openBypass() : undefined;
    if (failure === undefined) store(words, this.#at + GROUP.owned, 0);
    return failure;
  }

  get isOwned(): boolean {
    return load(this.#phb.state.words, this.#at + GROUP.owned) !== 0;
  }

  get #at(): number {
    return groupAt(this.#phb.state, this.partition);
  }

  /** All under one lock: of two groups that give one table up at once, one is the last. */
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

  /** A TVE that can't be synced is taken back: a DMA through what stood there before has not ended. */
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

  /** Kind and window under one lock: a group of the one without the other, which nothing could be done with, never shows. */
  #makeLegacy(content: number): void {
    this.#phb.makeGroup(this.partition, LEGACY);
    const failure = this.#fillLocked(0, content);
    if (failure === undefined) return;
    store(this.#phb.state.words, this.#at + GROUP.kind, NO_GROUP);
    throw new IovaError(failure, `the window of a legacy group: ${failure}`);
  }

  /** On failure the window stands as before: a DMA still uses it, and what it uses must be invalidated through the group. */
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
        const found = given.map(({ handle }) => `table ${handle.index}`).join(", ") || "none";
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

/** Takes one table after the other, up to the first that fails. */
function takeAll(tables: readonly PowernvTable[], claimed: (readonly EntryRange[])[]): Failure | undefined {
  for (const table of tables) {
    const taken = table.takeOwnership();
    if (typeof taken === "string") return taken;
    claimed.push(taken);
  }
  return undefined;
}
