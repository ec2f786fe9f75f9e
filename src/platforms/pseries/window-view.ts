/**
 * One thread's view of the device's dynamic window, and of its table unless it is direct. Creates, changes and removes the window
 * (dynamic-windows.ts), and recovers dead threads' changes.
 */

import type { Crew, ReclaimScope, Recover, Recovered } from "../../crew/crew.ts";
import type { DirectWindow, TranslatedWindow } from "../../dma/device-window.ts";
import {
  IommuTable,
  inCrew,
  type RecoverAround,
  type TableHandle,
  type TableOptions,
} from "../../table/iommu-table.ts";
import { IovaError } from "../../units/errors.ts";
import type { Failure } from "../../units/failure.ts";
import type { DmaWindow, EntryRange } from "../../units/numbers.ts";
import { gapsBetween, mergeRanges } from "../../units/ranges.ts";
import { reserveRest, unreserveAll } from "../whole-table.ts";
import { reservedOf } from "./default-window.ts";
import { addDirectly, checkMemory, type MemoryRange, removeDirectly } from "./direct-memory.ts";
import {
  changeDynamicWindow,
  checkRequest,
  type DynamicWindowParts,
  type DynamicWindowRequest,
  type MadeWindow,
  makeDynamicWindow,
  type NoDynamicWindow,
  unmakeDynamicWindow,
} from "./dynamic-windows.ts";
import type { FirmwareCalls } from "./firmware-calls.ts";
import type { GuestThread } from "./guest-thread.ts";
import { recoverWindow } from "./window-recovery.ts";
import { STEP, type WindowState } from "./window-state.ts";

/** A window, and the handle and options of its table. */
export interface TablePlace {
  readonly liobn: number;
  readonly table: TableHandle;
  readonly options: TableOptions;
}

/** A window with a table: the default window, or a dynamic one that is not direct. */
export interface TableWindow extends TranslatedWindow {
  /** Base, page shift and entries of the window. */
  readonly window: DmaWindow;
  /** Generic table of the window, with this thread's ops. */
  readonly table: IommuTable;
}
/** A direct window: all memory is mapped, at bus address base + physical address. */
export interface MappedWindow extends DirectWindow {
  /** Base, page shift and entries of the window. */
  readonly window: DmaWindow;
}
/** A window of a pseries guest, for `createDevice`. */
export type PseriesWindow = TableWindow | MappedWindow;

/** A dynamic window in the platform's handle. `place` is undefined for a direct window. */
export interface DynamicHandle {
  readonly made: MadeWindow;
  readonly place: TablePlace | undefined;
}

export interface WindowViewParts {
  readonly guest: GuestThread;
  readonly state: WindowState;
  /** The default window's table, with its options. */
  readonly generic: IommuTable;
  readonly place: TablePlace;
}

/** One thread's view. */
export class WindowView {
  readonly #parts: WindowViewParts;
  #known: (DynamicHandle & { readonly use: PseriesWindow }) | undefined;

  /** Throws as IommuTable.attach, and IovaError "window-gone" if the window of the handle was removed. */
  constructor(parts: WindowViewParts, handle: DynamicHandle | undefined) {
    this.#parts = parts;
    if (handle === undefined) return;
    const { made, place } = handle;
    parts.state.see(made.generation);
    const use = place === undefined ? this.#viewDirectly(made) : this.#attachToStaying(made, place);
    this.#known = { made, place, use };
  }

  /** The window that this view has; undefined: no window. */
  get handle(): DynamicHandle | undefined {
    return this.#known && { made: this.#known.made, place: this.#known.place };
  }
  get use(): PseriesWindow | undefined {
    return this.#known?.use;
  }
  /** True if this view's window replaces the default window. */
  get replacesDefault(): boolean {
    return this.#known?.made.replacesDefault ?? false;
  }

  make(request: DynamicWindowRequest): PseriesWindow | NoDynamicWindow {
    this.#checkOpen();
    checkRequest(request);
    const { firmware } = this.#parts.guest;
    if (firmware === undefined) return "not-offered";
    let prepared: { readonly place: TablePlace | undefined; readonly use: PseriesWindow } | undefined;
    const made = makeDynamicWindow(this.#windowParts(firmware), request, (window) => {
      if (window.kind === "table") prepared = this.#createTable(window);
      else {
        this.#parts.state.noteViewer(this.#parts.generic.thread);
        prepared = { place: undefined, use: directOf(window) };
      }
    });
    if (typeof made === "string" || prepared === undefined) return made as NoDynamicWindow;
    // The view may have the table of a window that another view has removed.
    this.#closeTable();
    this.#known = { made, ...prepared };
    return prepared.use;
  }

  remove(): Failure | undefined {
    this.#checkOpen();
    const known = this.#known;
    const { firmware } = this.#parts.guest;
    if (known === undefined || firmware === undefined) return undefined;
    const { made, place, use } = known;
    const table = use.kind === "translated" ? use.table : undefined;
    const hold = (): (() => void) | undefined =>
      table === undefined ? () => undefined : holdWhole(table, place?.options.reserved ?? []);
    const giveUp = (): void => {
      table?.close();
      if (table !== undefined) this.#crew.removeStructure(table.handle.structure);
    };
    const failure = unmakeDynamicWindow(this.#windowParts(firmware), made, hold, giveUp);
    if (failure === undefined) this.#known = undefined;
    return failure;
  }

  addMemory(range: MemoryRange): Failure | undefined {
    return this.#changeMemory(range, STEP.adding, addDirectly);
  }

  removeMemory(range: MemoryRange): Failure | undefined {
    return this.#changeMemory(range, STEP.emptying, removeDirectly);
  }

  close(): void {
    const { generic, state } = this.#parts;
    state.leave(generic.thread);
    state.removeViewer(generic.thread);
    this.#closeTable();
  }

  /**
   * Recovers the dynamic window, then the default window's table (`own`). In this order, because the thread may have removed the default
   * window. Finally releases entries that the thread had reserved for a change.
   */
  recoverDefault(own: Recover, thread: number, scope: ReclaimScope): Recovered | undefined {
    const { generic, guest, place, state } = this.#parts;
    const { firmware } = guest;
    const failure =
      firmware === undefined
        ? undefined
        : recoverWindow(
            { ...this.#windowParts(firmware), crew: this.#crew, listPageOf: (of) => guest.listPageOf(of) },
            thread,
          );
    const recovered = own(thread, scope);
    if (failure !== undefined) return withFailure(recovered, thread, failure);
    giveBackHeld(generic, thread, place.options.reserved ?? []);
    // The default window is removed: the hypervisor refuses to empty its entries, and no device reaches them. They stay quarantined.
    return state.replacesDefault ? withoutFailure(recovered) : recovered;
  }

  #changeMemory(range: MemoryRange, step: number, change: typeof addDirectly): Failure | undefined {
    this.#checkOpen();
    checkMemory([range]);
    const made = this.#known?.made;
    if (made?.kind !== "direct") return undefined;
    this.#parts.state.check(made.generation);
    const { liobn, window } = made;
    const pageBytes = 2 ** window.pageShift;
    if (range.address % pageBytes !== 0 || range.bytes % pageBytes !== 0) return "platform-refused";
    const bytes = Math.min(range.bytes, window.entries * pageBytes - range.address);
    if (step === STEP.adding && bytes < range.bytes) return "platform-refused";
    if (bytes <= 0) return undefined;
    const inWindow = { address: range.address, bytes };
    return changeDynamicWindow(
      { state: this.#parts.state, thread: this.#parts.generic.thread },
      made,
      { step, first: range.address / pageBytes, count: bytes / pageBytes },
      () => change(this.#parts.guest.opsOn(liobn, window), window, inWindow),
    );
  }

  get #crew(): Crew {
    return this.#parts.generic.allocator.crew;
  }

  #checkOpen(): void {
    this.#parts.generic.allocator.checkOpen();
  }

  #windowParts(firmware: FirmwareCalls): DynamicWindowParts {
    const { generic, guest, place, state } = this.#parts;
    return {
      memory: guest.machine.memory,
      properties: guest.properties,
      firmware,
      state,
      thread: generic.thread,
      holdDefault: () => holdWhole(generic, place.options.reserved ?? []),
      isThere: (liobn, base) => guest.isThere(liobn, base),
      withOps: (liobn, window, use) => use(guest.opsOn(liobn, window)),
    };
  }

  #createTable(made: MadeWindow): { readonly place: TablePlace; readonly use: TableWindow } {
    const { guest, place, state } = this.#parts;
    const ops = guest.opsOn(made.liobn, made.window);
    const { invalidate = "strict" } = place.options;
    const options = { invalidate, reserved: reservedOf(made.window) };
    const recovering = this.#recovering(made.generation, options.reserved);
    const around: RecoverAround = (own, structure) => {
      // Before this thread enters the structure: if it dies afterwards, its recovery removes the structure.
      state.noteStructure(structure);
      return recovering.around(own);
    };
    const table = IommuTable.create(made.window, ops, inCrew(options, this.#crew), around);
    recovering.table = table;
    const own = { liobn: made.liobn, table: table.handle, options };
    return { place: own, use: { kind: "translated", window: made.window, table } };
  }

  #attachTable(made: MadeWindow, { options, table: handle }: TablePlace): TableWindow {
    const ops = this.#parts.guest.opsOn(made.liobn, made.window);
    const recovering = this.#recovering(made.generation, options.reserved ?? []);
    const table = IommuTable.attach(handle, ops, this.#crew, recovering.around);
    recovering.table = table;
    return { kind: "translated", window: made.window, table };
  }

  /** A view of a direct window that is not being removed. */
  #viewDirectly(made: MadeWindow): MappedWindow {
    const { generic, state } = this.#parts;
    state.noteViewer(generic.thread);
    let stays = false;
    try {
      state.checkStays(made.generation);
      stays = true;
      return directOf(made);
    } finally {
      if (!stays) state.removeViewer(generic.thread);
    }
  }

  /** Attaches to the table of a window that is not being removed. */
  #attachToStaying(made: MadeWindow, place: TablePlace): TableWindow {
    const use = this.#attachTable(made, place);
    let stays = false;
    try {
      this.#parts.state.checkStays(made.generation);
      stays = true;
      return use;
    } finally {
      if (!stays) use.table.close();
    }
  }

  /** The recovery of the window's table. There is nothing to recover after the window was removed. */
  #recovering(generation: number, reserved: readonly EntryRange[]): Recovering {
    const { state } = this.#parts;
    const recovering: Recovering = {
      table: undefined,
      around: (own) => (thread, scope) => {
        if (state.isGone(generation)) return undefined;
        const recovered = own(thread, scope);
        if (recovering.table !== undefined) giveBackHeld(recovering.table, thread, reserved);
        return recovered;
      },
    };
    return recovering;
  }

  #closeTable(): void {
    if (this.#known?.use.kind === "translated") this.#known.use.table.close();
  }
}

interface Recovering {
  table: IommuTable | undefined;
  readonly around: (own: Recover) => Recover;
}

/**
 * Reserves all entries of a table, so that no thread can map in it. Returns the function that releases them; undefined if entries are in
 * use. `reserved` ranges stay reserved. Gives back this thread's cached ranges first.
 */
function holdWhole({ allocator }: IommuTable, reserved: readonly EntryRange[]): (() => void) | undefined {
  allocator.drain();
  const held = reserveRest(allocator, reserved);
  return typeof held === "string" ? undefined : () => unreserveAll(allocator, held);
}

/** Releases what a dead thread has reserved by `holdWhole`: whole ranges between the `reserved` ones. */
function giveBackHeld({ allocator }: IommuTable, thread: number, reserved: readonly EntryRange[]): void {
  const gaps = gapsBetween(mergeRanges(reserved), allocator.entries);
  const held = allocator.reservations().get(thread) ?? [];
  unreserveAll(
    allocator,
    held.filter(({ first, end }) => gaps.some((gap) => gap.first === first && gap.end === end)),
  );
}

function withFailure(recovered: Recovered | undefined, thread: number, failure: Failure): Recovered {
  const error = new IovaError(failure, `reclaim of thread ${thread}: its change of the dynamic window: ${failure}`);
  return { ranges: recovered?.ranges ?? [], isLeft: recovered?.isLeft ?? false, failure: error };
}

function withoutFailure(recovered: Recovered | undefined): Recovered | undefined {
  return recovered && { ranges: recovered.ranges, isLeft: recovered.isLeft };
}

function directOf({ window }: MadeWindow): MappedWindow {
  return { kind: "direct", window, base: window.base, address: 0, bytes: window.entries * 2 ** window.pageShift };
}
