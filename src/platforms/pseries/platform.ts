/**
 * The pseries guest: a window of bus addresses whose TCEs only the hypervisor can write. Beside the generic table it has its liobn, a
 * list page for each thread, and a dynamic window, once one has been made.
 *
 *     const platform = PseriesPlatform.create(machine, { properties, region: { address, bytes } });
 *     worker.postMessage([machine.handle, platform.handle]);  // there: PseriesPlatform.attach(machine, handle)
 *
 * The list pages are one block, a page for each thread number of the table. A thread number belongs to one living thread, and a
 * dead thread's is given out again only after it was reclaimed: so no two threads write one page, and none is lost with its thread.
 */
import type { DirectWindow, TranslatedWindow } from "../../dma/device-window.ts";
import type { Machine } from "../../machine/contract.ts";
import { PhysicalPages, type PhysicalPagesHandle } from "../../machine/physical-pages.ts";
import { createShared, type SharedBuffer, wordsOf } from "../../shared/memory.ts";
import { IommuTable, type TableHandle, type TableOptions } from "../../table/iommu-table.ts";
import { FormatError, InvalidArgumentError, IovaError } from "../../units/errors.ts";
import type { Failure } from "../../units/failure.ts";
import type { DmaWindow, Entry, EntryCount, EntryRange, Iova } from "../../units/numbers.ts";
import { DEFAULT_PATIENCE_MS, failureOfCode, Hypercalls, type Patience } from "./calls.ts";
import {
  checkMemory,
  type DynamicWindowParts,
  type DynamicWindowRequest,
  type MadeWindow,
  type MemoryRange,
  makeDynamicWindow,
  mapDirectly,
  type NoDynamicWindow,
  unmakeDynamicWindow,
  unmapDirectly,
} from "./dynamic-windows.ts";
import { FirmwareCalls } from "./firmware-calls.ts";
import { PseriesOps } from "./ops.ts";
import { type DmaProperties, H_PARAMETER, H_SUCCESS } from "./papr.ts";

const PAGE_BYTES = 4096;
const DEFAULT_THREADS = 32;
const STATE_BYTES = 128;
const PROGRESS_AT = 0;

export interface PseriesPlatformOptions {
  /** What the device tree says. */
  readonly properties: DmaProperties;
  /** Physical memory for list pages and firmware calls, which nobody else uses. Default: none, and no list pages. */
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

/** What all of one thread's windows share. */
interface Common {
  readonly machine: Machine;
  readonly calls: Hypercalls;
  readonly pages: PhysicalPages | undefined;
  readonly multiTce: boolean;
}

/** One thread's view. */
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
   * Empties the default window, and attaches this thread. Throws InvalidArgumentError for properties that are none, or a liobn or
   * window that the hypervisor doesn't know; IovaError with the failure's code when it can't empty the table now.
   */
  static create(machine: Machine, options: PseriesPlatformOptions): PseriesPlatform {
    const { properties, region, patience, table = {}, multiTce = properties.multiTce } = options;
    const window = windowOf(properties);
    const pages =
      region === undefined ? undefined : PhysicalPages.create({ ...region, threads: table.threads ?? DEFAULT_THREADS });
    const common = { machine, calls: new Hypercalls(machine, patience), pages, multiTce };
    checkWindow(common.calls, properties, window);
    const ops = opsOn(common, properties.liobn, window);
    emptyTable(ops, window);
    const complete = { ...table, reserved: reservedOf(window, table.reserved) };
    const generic = IommuTable.create(window, ops, complete);
    const listPages = takeListPages(common, table);
    useListPage(ops, listPages, generic);
    const handle: PseriesPlatformHandle = {
      properties,
      multiTce,
      patienceMs: patience?.patienceMs ?? DEFAULT_PATIENCE_MS,
      state: createShared(STATE_BYTES),
      pages: pages?.handle,
      place: { liobn: properties.liobn, table: generic.handle, listPages, options: complete },
      dynamic: undefined,
    };
    return new PseriesPlatform(common, handle, generic, ops);
  }

  /** A view for the calling thread, on this thread's machine. Throws FormatError for a foreign handle. */
  static attach(machine: Machine, handle: PseriesPlatformHandle, patience: Patience = {}): PseriesPlatform {
    if (typeof handle?.place !== "object" || typeof handle.properties?.liobn !== "number") {
      throw new FormatError("the handle is not that of a pseries platform");
    }
    const { multiTce, patienceMs, place } = handle;
    const calls = new Hypercalls(machine, { patienceMs, ...patience });
    let attached: PhysicalPages | undefined;
    const common = {
      machine,
      calls,
      multiTce,
      // Attached when it is first needed, to set up windows: a driver thread that is killed leaves no slot taken.
      get pages(): PhysicalPages | undefined {
        if (attached === undefined && handle.pages !== undefined) attached = PhysicalPages.attach(handle.pages);
        return attached;
      },
    };
    const ops = opsOn(common, place.liobn, place.table.window);
    const generic = IommuTable.attach(place.table, ops);
    useListPage(ops, place.listPages, generic);
    return new PseriesPlatform(common, handle, generic, ops);
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
    const parts = this.#parts();
    if (parts === undefined) return "not-offered";
    const made = makeDynamicWindow(parts, request);
    if (typeof made === "string") return made;
    const use = made.kind === "direct" ? { place: undefined, use: directOf(made) } : this.#createTable(made);
    this.#dynamic = { made, ...use };
    return use.use;
  }

  /** Removes the dynamic window. "in-use": something is mapped in its table (of a direct window nobody can know). */
  removeDynamicWindow(): Failure | undefined {
    const dynamic = this.#dynamic;
    const parts = this.#parts();
    if (dynamic === undefined || parts === undefined) return undefined;
    if (dynamic.use.kind === "translated" && !holdsNothing(dynamic.use.table, 0)) return "in-use";
    const failure = unmakeDynamicWindow(parts, dynamic.made);
    if (failure !== undefined) return failure;
    if (dynamic.use.kind === "translated") this.#giveUpTable(dynamic.use.table, dynamic.place);
    this.#dynamic = undefined;
    return undefined;
  }

  /** Memory has been added: a direct window gets it mapped, others have nothing to do. On failure none of it is. */
  addMemory(range: MemoryRange): Failure | undefined {
    return this.#changeMemory(range, (ops, window) => mapDirectly(ops, window, [range]));
  }

  /** Memory is about to be taken away. */
  removeMemory(range: MemoryRange): Failure | undefined {
    return this.#changeMemory(range, (ops, window) => unmapDirectly(ops, window.pageShift, [range]));
  }

  /** Gives this thread's views back. */
  close(): void {
    if (this.#dynamic?.use.kind === "translated") this.#dynamic.use.table.close();
    this.generic.close();
    this.#common.pages?.close();
  }

  #changeMemory(
    range: MemoryRange,
    change: (ops: PseriesOps, window: DmaWindow) => Failure | undefined,
  ): Failure | undefined {
    checkMemory([range]);
    const made = this.#dynamic?.made;
    if (made?.kind !== "direct") return undefined;
    const pageBytes = 2 ** made.window.pageShift;
    const fits = range.address + range.bytes <= made.window.entries * pageBytes;
    if (!fits || range.address % pageBytes !== 0 || range.bytes % pageBytes !== 0) return "platform-refused";
    return this.#withListPage(opsOn(this.#common, made.liobn, made.window), (ops) => change(ops, made.window));
  }

  /** Undefined without memory for firmware calls. */
  #parts(): DynamicWindowParts | undefined {
    const { calls, machine, pages } = this.#common;
    if (pages === undefined) return undefined;
    const { properties, state } = this.#handle;
    return {
      memory: machine.memory,
      properties,
      firmware: new FirmwareCalls(machine.memory, pages, calls, properties),
      words: wordsOf(state),
      progressAt: PROGRESS_AT,
      isDefaultEmpty: () => holdsNothing(this.generic, reservedEntries(this.#handle.place)),
      withOps: (liobn, window, use) => this.#withListPage(opsOn(this.#common, liobn, window), use),
    };
  }

  /** Lends the ops a list page while `use` runs, if there is one. */
  #withListPage<Result>(ops: PseriesOps, use: (ops: PseriesOps) => Result): Result {
    const page = this.#common.pages?.allocate(PAGE_BYTES) ?? -1;
    if (page >= 0) ops.useListPage(page);
    const result = use(ops);
    if (page >= 0) this.#common.pages?.free(page, PAGE_BYTES);
    return result;
  }

  #createTable(made: MadeWindow): { readonly place: TablePlace; readonly use: TableWindow } {
    const ops = opsOn(this.#common, made.liobn, made.window);
    const { threads = DEFAULT_THREADS, invalidate = "strict" } = this.#handle.place.options;
    const generic = IommuTable.create(made.window, ops, { threads, invalidate });
    const listPages = takeListPages(this.#common, { threads });
    useListPage(ops, listPages, generic);
    const place = { liobn: made.liobn, table: generic.handle, listPages, options: { threads, invalidate } };
    return { place, use: { kind: "translated", window: made.window, table: generic } };
  }

  #attachTable(made: MadeWindow, place: TablePlace): TableWindow {
    const ops = opsOn(this.#common, made.liobn, made.window);
    const generic = IommuTable.attach(place.table, ops);
    useListPage(ops, place.listPages, generic);
    return { kind: "translated", window: made.window, table: generic };
  }

  #giveUpTable(generic: IommuTable, place: TablePlace | undefined): void {
    generic.close();
    if (place?.listPages === undefined) return;
    this.#common.pages?.free(place.listPages, listPageBytes(place.options));
  }
}

function windowOf({ base, bytes, pageShift }: DmaProperties): DmaWindow {
  const entries = Number(bytes >> BigInt(pageShift));
  if (bytes !== BigInt(entries) << BigInt(pageShift) || !Number.isInteger(Math.log2(entries))) {
    throw new InvalidArgumentError("bytes of the default window", bytes, "a power of two, at least one page");
  }
  return { base: base as Iova, pageShift, entries: entries as EntryCount };
}

/** Throws InvalidArgumentError unless the hypervisor knows the window's first and last entry. */
function checkWindow(calls: Hypercalls, { liobn }: DmaProperties, window: DmaWindow): void {
  const first = Number(window.base >> 12n);
  const last = first + (window.entries - 1) * 2 ** (window.pageShift - 12);
  for (const [what, page] of [
    ["first", first],
    ["last", last],
  ] as const) {
    const code = calls.getTce(liobn, page);
    if (code === H_SUCCESS) continue;
    if (code !== H_PARAMETER)
      throw new IovaError(failureOfCode(code), `H_GET_TCE of liobn 0x${liobn.toString(16)} answers ${code}`);
    const expected = `one whose ${what} entry the hypervisor knows: H_GET_TCE answers H_PARAMETER`;
    throw new InvalidArgumentError("liobn", `0x${liobn.toString(16)} with ${window.entries} entries`, expected);
  }
}

/** An address of 0 means "none" to many drivers. */
function reservedOf(window: DmaWindow, reserved: readonly EntryRange[] = []): readonly EntryRange[] {
  const hasZero = window.base === 0n && !reserved.some(({ first }) => first === 0);
  return hasZero ? [{ first: 0 as Entry, end: 1 as Entry }, ...reserved] : reserved;
}

function reservedEntries({ options }: TablePlace): number {
  return (options.reserved ?? []).reduce((sum, { first, end }) => sum + end - first, 0);
}

function opsOn({ calls, machine, multiTce }: Common, liobn: number, window: DmaWindow): PseriesOps {
  return new PseriesOps({ memory: machine.memory, calls, liobn, window, multiTce });
}

function emptyTable(ops: PseriesOps, { entries }: DmaWindow): void {
  ops.clear(0, entries);
  const failure = ops.flush();
  if (failure !== undefined) throw new IovaError(failure, `the default window can't be emptied: ${failure}`);
}

function listPageBytes({ threads = DEFAULT_THREADS }: TableOptions): number {
  return threads * PAGE_BYTES;
}

/** Undefined when there is no memory for them: then every entry takes a call. */
function takeListPages({ pages }: Common, options: TableOptions): number | undefined {
  const address = pages?.allocate(listPageBytes(options)) ?? -1;
  return address < 0 ? undefined : address;
}

function useListPage(ops: PseriesOps, listPages: number | undefined, generic: IommuTable): void {
  if (listPages !== undefined) ops.useListPage(listPages + generic.thread * PAGE_BYTES);
}

/** Is nothing taken but so many reserved entries? What rests in this thread's cache and queue is given back first. */
function holdsNothing(generic: IommuTable, reserved: number): boolean {
  generic.allocator.drain();
  return generic.statistics().taken === reserved;
}

function directOf({ window }: MadeWindow): MappedWindow {
  return { kind: "direct", window, base: window.base, address: 0, bytes: window.entries * 2 ** window.pageShift };
}
