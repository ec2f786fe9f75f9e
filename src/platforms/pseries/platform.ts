/**
 * The pseries guest: a window of bus addresses whose TCEs only the hypervisor can write. Beside the generic table it has its liobn, a
 * list page for each thread, EEH, and a dynamic window, once one has been made.
 *
 *     const platform = PseriesPlatform.create(machine, { properties, region: { address, bytes } });
 *     worker.postMessage([machine.handle, platform.handle]);  // there: PseriesPlatform.attach(machine, handle)
 *
 * The list pages are one block, a page for each thread number of the table. A thread number belongs to one living thread, and a
 * dead thread's is given out again only after it was reclaimed: so no two threads write one page, and none is lost with its thread.
 * Between two runs of entries the same page is the buffer of this thread's firmware calls.
 */
import type { DirectWindow, TranslatedWindow } from "../../dma/device-window.ts";
import type { Machine } from "../../machine/contract.ts";
import { PhysicalPages, type PhysicalPagesHandle } from "../../memory/physical-pages.ts";
import { createShared, load, type SharedBuffer, store, wordsOf } from "../../shared/memory.ts";
import { checkHandle } from "../../table/handle.ts";
import { IommuTable, inCrew, type TableHandle, type TableOptions } from "../../table/iommu-table.ts";
import { FormatError, IovaError } from "../../units/errors.ts";
import type { Failure } from "../../units/failure.ts";
import { checkKeys } from "../../units/keys.ts";
import type { DmaWindow, EntryRange } from "../../units/numbers.ts";
import type { EehReport } from "../eeh.ts";
import { reserveRest, unreserveAll } from "../whole-table.ts";
import { DEFAULT_PATIENCE_MS, Hypercalls, type Patience } from "./calls.ts";
import { checkWindow, emptyTable, reservedOf, windowOf } from "./default-window.ts";
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
import { EEH_WORDS, PseriesEeh } from "./eeh.ts";
import { FirmwareCalls, type WithBuffer } from "./firmware-calls.ts";
import { PseriesOps } from "./ops.ts";
import type { DmaProperties } from "./papr.ts";
import { STEP, WindowProgress } from "./window-progress.ts";

const PAGE_BYTES = 4096;
const DEFAULT_THREADS = 32;
/** Words of the shared state: its version, how far the dynamic window is, and EEH's. */
const VERSION_AT = 0;
const PROGRESS_AT = 1;
const EEH_AT = 2;
const STATE_BYTES: number = 4 * (EEH_AT + EEH_WORDS);
/** Raised with every change that another version could misread. Version 1 had no word for it. */
const STATE_VERSION = 2;

export interface PseriesPlatformOptions {
  /** What the device tree says. */
  readonly properties: DmaProperties;
  /** Physical memory for list pages and firmware calls, which nobody else uses. Default: none, nor dynamic windows, nor EEH. */
  readonly region?: MemoryRange;
  /** Use the calls for many TCEs? Default: if the properties say so. */
  readonly multiTce?: boolean;
  readonly patience?: Patience;
  /** Of the generic table. */
  readonly table?: TableOptions;
}

/** A table and where its threads' list pages are. */
interface TablePlace {
  readonly liobn: number;
  readonly table: TableHandle;
  /** Physical address of the list page of thread 0; undefined: there are none. */
  readonly listPages: number | undefined;
  readonly options: TableOptions;
}

/** Structured-cloneable. A dynamic window that is made later is not in it: post the handle again. */
export interface PseriesPlatformHandle {
  readonly properties: DmaProperties;
  readonly multiTce: boolean;
  readonly patienceMs: number;
  readonly state: SharedBuffer;
  readonly pages: PhysicalPagesHandle | undefined;
  readonly place: TablePlace;
  readonly dynamic: { readonly made: MadeWindow; readonly place: TablePlace | undefined } | undefined;
}

/** The default window's table, or one of its own beside it. */
export interface TableWindow extends TranslatedWindow {
  readonly window: DmaWindow;
  readonly table: IommuTable;
}
/** All memory is mapped in advance. */
export interface MappedWindow extends DirectWindow {
  readonly window: DmaWindow;
}
/** What `createDevice` takes. */
export type PseriesWindow = TableWindow | MappedWindow;

const HANDLE = {
  properties: "object",
  multiTce: "boolean",
  patienceMs: "count",
  state: "shared",
  pages: "object?",
  place: "object",
  dynamic: "object?",
} as const;
const PLACE = { liobn: "count", table: "table", listPages: "count?", options: "object" } as const;

/** What all of one thread's windows share. */
interface Common {
  readonly machine: Machine;
  readonly calls: Hypercalls;
  readonly memory: SpareMemory;
  readonly multiTce: boolean;
}

/**
 * The platform's region, as one thread uses it. Attached when it is first needed, to set up windows: a driver thread that is killed
 * leaves no slot taken.
 */
class SpareMemory {
  readonly #handle: PhysicalPagesHandle | undefined;
  #pages: PhysicalPages | undefined;
  #isClosed = false;

  constructor(handle: PhysicalPagesHandle | undefined, pages?: PhysicalPages) {
    this.#handle = handle;
    this.#pages = pages;
  }

  /** Throws IovaError "view-closed" once `close` has been called. */
  checkOpen(): void {
    if (!this.#isClosed) return;
    throw new IovaError("view-closed", "this view of the platform is closed; attach a new one to its handle");
  }

  /** Undefined: there is no region. */
  get pages(): PhysicalPages | undefined {
    if (this.#isClosed)
      throw new IovaError("view-closed", "this view of the platform is closed; attach a new one to its handle");
    if (this.#pages === undefined && this.#handle !== undefined) this.#pages = PhysicalPages.attach(this.#handle);
    return this.#pages;
  }

  /** Calls `use` with a page that is lent to it; with -1 when there is none. */
  withPage<Result>(use: (page: number) => Result): Result {
    const page = this.pages?.allocate(PAGE_BYTES) ?? -1;
    const result = use(page);
    if (page >= 0) this.pages?.free(page, PAGE_BYTES);
    return result;
  }

  close(): void {
    this.#isClosed = true;
    this.#pages?.close();
  }
}

/**
 * A guest of a PAPR hypervisor: entries by hypercalls from a list page of each thread; `generic` is the table to map in, a dynamic window
 * another. One thread's view: post the machine's handle and this one's, and `attach` in each other thread. What the hypervisor refuses is
 * a `Failure` of the mapping; wrong options throw InvalidArgumentError.
 */
export class PseriesPlatform {
  /** The generic table of the default window, with ops of this thread. */
  readonly generic: IommuTable;
  readonly ops: PseriesOps;
  readonly liobn: number;
  readonly #handle: PseriesPlatformHandle;
  readonly #common: Common;
  #dynamic:
    | { readonly made: MadeWindow; readonly place: TablePlace | undefined; readonly use: PseriesWindow }
    | undefined;

  private constructor(common: Common, handle: PseriesPlatformHandle, generic: IommuTable, ops: PseriesOps) {
    this.generic = generic;
    this.ops = ops;
    this.liobn = handle.place.liobn;
    this.#handle = handle;
    this.#common = common;
    if (handle.dynamic !== undefined) {
      const { made, place } = handle.dynamic;
      this.#dynamic = { made, place, use: place === undefined ? directOf(made) : this.#attachTable(made, place) };
    }
  }

  /**
   * Empties the default window, switches EEH on if there is any, and attaches this thread. Throws InvalidArgumentError for properties
   * that are none, or a liobn or window that the hypervisor doesn't know; IovaError with the failure's code when it refuses the rest.
   */
  static create(machine: Machine, options: PseriesPlatformOptions): PseriesPlatform {
    checkKeys("a pseries platform", options, {
      properties: "object",
      region: "object",
      multiTce: "boolean",
      patience: "object",
      table: "object",
    });
    const { properties, region, patience, table = {}, multiTce = properties.multiTce } = options;
    const window = windowOf(properties);
    const threads = machine.crew?.threads ?? table.threads ?? DEFAULT_THREADS;
    const pages = region === undefined ? undefined : PhysicalPages.create({ ...region, threads });
    const memory = new SpareMemory(pages?.handle, pages);
    const common = { machine, calls: new Hypercalls(machine, patience), memory, multiTce };
    checkWindow(common.calls, properties, window);
    const ops = opsOn(common, properties.liobn, window);
    emptyTable(ops, window);
    const complete = { ...table, threads, reserved: reservedOf(window, table.reserved) };
    const generic = IommuTable.create(window, ops, inCrew(complete, machine.crew));
    const listPages = takeListPages(common, threads);
    useListPage(ops, listPages, generic);
    const handle: PseriesPlatformHandle = {
      properties,
      multiTce,
      patienceMs: patience?.patienceMs ?? DEFAULT_PATIENCE_MS,
      state: createState(),
      pages: pages?.handle,
      place: { liobn: properties.liobn, table: generic.handle, listPages, options: complete },
      dynamic: undefined,
    };
    const platform = new PseriesPlatform(common, handle, generic, ops);
    const failure = platform.#eeh?.enable();
    if (failure !== undefined) throw new IovaError(failure, `EEH can't be switched on: ${failure}`);
    return platform;
  }

  /** A view for the calling thread, on this thread's machine. Throws FormatError for a foreign handle. */
  static attach(machine: Machine, handle: PseriesPlatformHandle, patience: Patience = {}): PseriesPlatform {
    checkPseriesHandle(handle);
    const { multiTce, patienceMs, place } = handle;
    const calls = new Hypercalls(machine, { patienceMs, ...patience });
    const common = { machine, calls, memory: new SpareMemory(handle.pages), multiTce };
    const ops = opsOn(common, place.liobn, place.table.window);
    const generic = IommuTable.attach(place.table, ops, machine.crew);
    useListPage(ops, place.listPages, generic);
    let isAttached = false;
    try {
      const platform = new PseriesPlatform(common, handle, generic, ops);
      isAttached = true;
      return platform;
    } finally {
      // The dynamic window's table may have no slot left.
      if (!isAttached) generic.close();
    }
  }

  get handle(): PseriesPlatformHandle {
    const dynamic = this.#dynamic;
    return { ...this.#handle, dynamic: dynamic && { made: dynamic.made, place: dynamic.place } };
  }

  /** The device's windows: the default one, unless it has made room, then the dynamic one. */
  get windows(): readonly PseriesWindow[] {
    const normal: TableWindow = { kind: "translated", window: this.generic.window, table: this.generic };
    const dynamic = this.#dynamic;
    if (dynamic === undefined) return [normal];
    return dynamic.made.replacesDefault ? [dynamic.use] : [normal, dynamic.use];
  }

  /** Makes a dynamic window for a device, or says why there is none; then nothing has changed. */
  makeDynamicWindow(request: DynamicWindowRequest): PseriesWindow | NoDynamicWindow {
    this.#common.memory.checkOpen();
    checkRequest(request);
    const parts = this.#parts();
    if (parts === undefined) return "not-offered";
    const made = makeDynamicWindow(parts, request);
    if (typeof made === "string") return made;
    const use = made.kind === "direct" ? { place: undefined, use: directOf(made) } : this.#createTable(made);
    this.#dynamic = { made, ...use };
    return use.use;
  }

  /**
   * Removes the dynamic window. "in-use": something is mapped in its table (of a direct window nobody can know). "platform-busy": another
   * thread changes the window, or has died over that. On failure it can be repeated. Afterwards other threads' views of its table find no
   * space; they attach anew. Throws IovaError "window-gone" when another view has removed the window that this one knows: nothing
   * has changed, also when a new window has been made since.
   */
  removeDynamicWindow(): Failure | undefined {
    this.#common.memory.checkOpen();
    const dynamic = this.#dynamic;
    const parts = this.#parts();
    if (dynamic === undefined || parts === undefined) return undefined;
    const { made, place, use } = dynamic;
    const hold = (): (() => void) | undefined =>
      use.kind === "translated" ? holdWhole(use.table, place?.options.reserved ?? []) : () => undefined;
    const failure = unmakeDynamicWindow(parts, made, hold);
    if (failure !== undefined) return failure;
    if (use.kind === "translated") this.#giveUpTable(use.table, place);
    this.#dynamic = undefined;
    return undefined;
  }

  /**
   * Memory has been added: a direct window gets it mapped, others have nothing to do. What is mapped already stays as it is, so it can be
   * called twice for one range. On failure nothing more is mapped than before. Throws IovaError "still-reachable" when the hypervisor
   * refuses to undo a failure: devices may reach a part of the range until `removeMemory` of it succeeds; "window-gone" as
   * `removeDynamicWindow`.
   */
  addMemory(range: MemoryRange): Failure | undefined {
    this.#common.memory.checkOpen();
    const fits = (window: DmaWindow): boolean => range.address + range.bytes <= bytesOfWindow(window);
    return this.#changeMemory(range, (ops, window) =>
      fits(window) ? addDirectly(ops, window, range) : "platform-refused",
    );
  }

  /**
   * Memory is about to be taken away: a direct window maps it no more. Memory that was not mapped, or lies beyond the window, needs nothing.
   * On failure devices may still reach it; repeat the call. Throws IovaError "window-gone" as `removeDynamicWindow`.
   */
  removeMemory(range: MemoryRange): Failure | undefined {
    this.#common.memory.checkOpen();
    return this.#changeMemory(range, (ops, window) => {
      const bytes = Math.min(range.bytes, bytesOfWindow(window) - range.address);
      return bytes > 0 ? removeDirectly(ops, window, { address: range.address, bytes }) : undefined;
    });
  }

  /** Takes the machine's faults; and tells of the device's PE when a fault has frozen it, once (eeh.ts). */
  takeEehReport(): EehReport {
    const faultsAlone = (): EehReport => ({ faults: this.#common.machine.faults(), events: [] });
    return this.#eeh?.takeReport() ?? faultsAlone();
  }

  /** Is the PE cut off: frozen, or in a reset that has not ended? Or why the firmware doesn't say. */
  isFrozen(): boolean | Failure {
    return this.#eeh?.isFrozen() ?? false;
  }

  /** Resets the PE: its devices work again, by the entries that are in the tables. On failure it can be repeated, by any thread. */
  reset(): Failure | undefined {
    return this.#eeh?.reset();
  }

  /** Gives this thread's views back, each also when the one before throws. A second call does nothing. */
  close(): void {
    try {
      if (this.#dynamic?.use.kind === "translated") this.#dynamic.use.table.close();
    } finally {
      try {
        this.generic.close();
      } finally {
        this.#common.memory.close();
      }
    }
  }

  /** `using` ends it as `close` does. */
  [Symbol.dispose](): void {
    this.close();
  }

  #changeMemory(
    range: MemoryRange,
    change: (ops: PseriesOps, window: DmaWindow) => Failure | undefined,
  ): Failure | undefined {
    checkMemory([range]);
    const made = this.#dynamic?.made;
    if (made?.kind !== "direct") return undefined;
    const { liobn, window } = made;
    const pageBytes = 2 ** window.pageShift;
    if (range.address % pageBytes !== 0 || range.bytes % pageBytes !== 0) return "platform-refused";
    return changeDynamicWindow(this.#progress, made, (step) => ({
      step,
      // Half removed: the window is gone, and nothing in it is reached.
      failure: step === STEP.published ? this.#withOps(liobn, window, (ops) => change(ops, window)) : undefined,
    }));
  }

  get #progress(): WindowProgress {
    return new WindowProgress(wordsOf(this.#handle.state), PROGRESS_AT);
  }

  /** Undefined: the device tree has none, or there is no memory for firmware calls. */
  get #eeh(): PseriesEeh | undefined {
    const { pages, properties, state } = this.#handle;
    if (properties.eeh === undefined || pages === undefined) return undefined;
    const { machine } = this.#common;
    return new PseriesEeh({ machine, properties, firmware: this.#firmware(), words: wordsOf(state), at: EEH_AT });
  }

  /** Undefined without memory for firmware calls. */
  #parts(): DynamicWindowParts | undefined {
    const { pages, place, properties } = this.#handle;
    if (pages === undefined) return undefined;
    return {
      memory: this.#common.machine.memory,
      properties,
      firmware: this.#firmware(),
      progress: this.#progress,
      holdDefault: () => holdWhole(this.generic, place.options.reserved ?? []),
      withOps: (liobn, window, use) => this.#withOps(liobn, window, use),
    };
  }

  #firmware(): FirmwareCalls {
    const { calls, machine, memory } = this.#common;
    const { listPages } = this.#handle.place;
    const listPage = listPages === undefined ? undefined : listPageOf(listPages, this.generic);
    const withBuffer: WithBuffer = (use) =>
      listPage === undefined ? memory.withPage((page) => (page < 0 ? "platform-busy" : use(page))) : use(listPage);
    return new FirmwareCalls(machine.memory, withBuffer, calls, this.#handle.properties);
  }

  /** Ops of this thread on a window, with a list page, if there is one, while `use` runs. */
  #withOps<Result>(liobn: number, window: DmaWindow, use: (ops: PseriesOps) => Result): Result {
    return this.#common.memory.withPage((page) => {
      const ops = opsOn(this.#common, liobn, window);
      if (page >= 0) ops.useListPage(page);
      return use(ops);
    });
  }

  #createTable(made: MadeWindow): { readonly place: TablePlace; readonly use: TableWindow } {
    const ops = opsOn(this.#common, made.liobn, made.window);
    const { threads = DEFAULT_THREADS, invalidate = "strict" } = this.#handle.place.options;
    const options = { threads, invalidate, reserved: reservedOf(made.window) };
    const generic = IommuTable.create(made.window, ops, inCrew(options, this.#common.machine.crew));
    const listPages = takeListPages(this.#common, threads);
    useListPage(ops, listPages, generic);
    const place = { liobn: made.liobn, table: generic.handle, listPages, options };
    return { place, use: { kind: "translated", window: made.window, table: generic } };
  }

  #attachTable(made: MadeWindow, place: TablePlace): TableWindow {
    const ops = opsOn(this.#common, made.liobn, made.window);
    const generic = IommuTable.attach(place.table, ops, this.#common.machine.crew);
    useListPage(ops, place.listPages, generic);
    return { kind: "translated", window: made.window, table: generic };
  }

  #giveUpTable(generic: IommuTable, place: TablePlace | undefined): void {
    generic.close();
    const { crew, handle } = generic.allocator;
    crew.removeStructure(handle.structure);
    if (place?.listPages === undefined) return;
    this.#common.memory.pages?.free(place.listPages, listPageBytes(place.options.threads ?? DEFAULT_THREADS));
  }
}

function bytesOfWindow({ entries, pageShift }: DmaWindow): number {
  return entries * 2 ** pageShift;
}

function createState(): SharedBuffer {
  const state = createShared(STATE_BYTES);
  store(wordsOf(state), VERSION_AT, STATE_VERSION);
  return state;
}

function checkPseriesHandle(handle: PseriesPlatformHandle): void {
  const whose = "a pseries platform";
  checkHandle(whose, handle, HANDLE);
  checkHandle(`${whose} (properties)`, handle.properties, { liobn: "count", devices: "list" });
  checkHandle(`${whose} (place)`, handle.place, PLACE);
  const version = handle.state.byteLength === STATE_BYTES ? load(wordsOf(handle.state), VERSION_AT) : "unknown";
  if (version !== STATE_VERSION) {
    throw new FormatError(
      `the handle is that of ${whose} of version ${version}; this library has version ${STATE_VERSION}`,
    );
  }
  if (handle.dynamic === undefined) return;
  const { made, place } = handle.dynamic;
  const fields = { kind: "string", liobn: "count", window: "object", generation: "count" } as const;
  checkHandle(`${whose} (dynamic window)`, made, fields);
  if (place !== undefined) checkHandle(`${whose} (dynamic window's place)`, place, PLACE);
}

function opsOn({ calls, machine, multiTce }: Common, liobn: number, window: DmaWindow): PseriesOps {
  return new PseriesOps({ memory: machine.memory, calls, liobn, window, multiTce });
}

function listPageBytes(threads: number): number {
  return threads * PAGE_BYTES;
}

/** Undefined when there is no memory for them: then every entry takes a call. */
function takeListPages({ memory }: Common, threads: number): number | undefined {
  const address = memory.pages?.allocate(listPageBytes(threads)) ?? -1;
  return address < 0 ? undefined : address;
}

function useListPage(ops: PseriesOps, listPages: number | undefined, generic: IommuTable): void {
  if (listPages !== undefined) ops.useListPage(listPageOf(listPages, generic));
}

function listPageOf(listPages: number, { thread }: IommuTable): number {
  return listPages + thread * PAGE_BYTES;
}

/**
 * Takes all of a table but its reserved ranges, so that nobody maps in it until the answered function is called. Undefined: something is
 * mapped. What rests in this thread's cache and queue is given back first.
 */
function holdWhole({ allocator }: IommuTable, reserved: readonly EntryRange[]): (() => void) | undefined {
  allocator.drain();
  const held = reserveRest(allocator, reserved);
  return typeof held === "string" ? undefined : () => unreserveAll(allocator, held);
}

function directOf({ window }: MadeWindow): MappedWindow {
  return { kind: "direct", window, base: window.base, address: 0, bytes: window.entries * 2 ** window.pageShift };
}
