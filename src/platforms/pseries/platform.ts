/**
 * The pseries guest: a window of bus addresses whose TCEs only the hypervisor can write. Beside the generic table it has its liobn, a
 * list page for each thread, EEH, and a dynamic window, once one has been made.
 *
 *     const platform = PseriesPlatform.create(machine, { properties, region: { address, bytes } });
 *     worker.postMessage([machine.handle, platform.handle]);  // there: PseriesPlatform.attach(machine, handle)
 *
 * The list pages are one block, a page for each thread number of the crew. A thread number belongs to one living thread, and a
 * dead thread's is given out again only after it was reclaimed: so no two threads write one page, and none is lost with its thread.
 * A page is filled right before the call that reads it. So all tables of a thread use the same one, and between two calls about entries
 * it is the buffer of this thread's firmware calls.
 */
import type { Machine } from "../../machine/contract.ts";
import { createShared, load, type SharedBuffer, store, wordsOf } from "../../shared/memory.ts";
import { checkHandle } from "../../table/handle.ts";
import { IommuTable, inCrew, type RecoverAround, type TableOptions } from "../../table/iommu-table.ts";
import { FormatError, InvalidArgumentError, IovaError, inWords } from "../../units/errors.ts";
import type { Failure } from "../../units/failure.ts";
import { checkKeys } from "../../units/keys.ts";
import type { EehReport } from "../eeh.ts";
import { TablePlatform } from "../platform.ts";
import { DEFAULT_PATIENCE_MS, Hypercalls, type Patience } from "./calls.ts";
import { checkWindow, emptyTable, reservedOf, windowOf } from "./default-window.ts";
import type { MemoryRange } from "./direct-memory.ts";
import type { DynamicWindowRequest, NoDynamicWindow } from "./dynamic-windows.ts";
import { EEH_WORDS, PseriesEeh } from "./eeh.ts";
import { GuestThread, LIST_PAGE_BYTES } from "./guest-thread.ts";
import type { PseriesOps } from "./ops.ts";
import type { DmaProperties } from "./papr.ts";
import { WINDOW_WORDS, WindowState } from "./window-state.ts";
import {
  type DynamicHandle,
  type PseriesWindow,
  type TablePlace,
  type TableWindow,
  WindowView,
} from "./window-view.ts";

const DEFAULT_THREADS = 32;
/** Words of the shared state: its version, EEH's, and the dynamic window's. */
const VERSION_AT = 0;
const EEH_AT = 1;
const WINDOW_AT: number = EEH_AT + EEH_WORDS;
const STATE_BYTES: number = 4 * (WINDOW_AT + WINDOW_WORDS);
/** Raised with every change that another version could misread. Version 1 had no word for it. */
const STATE_VERSION = 3;

export interface PseriesPlatformOptions {
  /** What the device tree says. */
  readonly properties: DmaProperties;
  /**
   * Physical memory for list pages and firmware calls, which is the platform's alone: a page of 4096 bytes for each thread of the crew, at a
   * multiple of 4096. Default: none; then every entry takes a call, and there are no dynamic windows and no EEH.
   */
  readonly region?: MemoryRange;
  /** Use the calls for many TCEs? Default: if the properties say so. */
  readonly multiTce?: boolean;
  readonly patience?: Patience;
  /** Of the generic table. */
  readonly table?: TableOptions;
}

/** Structured-cloneable. A dynamic window that is made later is not in it: post the handle again. */
export interface PseriesPlatformHandle {
  readonly properties: DmaProperties;
  readonly multiTce: boolean;
  readonly patienceMs: number;
  readonly state: SharedBuffer;
  /** Physical address of the list page of thread 0; undefined: there are none. */
  readonly listPages: number | undefined;
  readonly place: TablePlace;
  readonly dynamic: DynamicHandle | undefined;
}

const HANDLE = {
  properties: "object",
  multiTce: "boolean",
  patienceMs: "count",
  state: "shared",
  listPages: "count?",
  place: "object",
  dynamic: "object?",
} as const;
const PLACE = { liobn: "count", table: "table", options: "object" } as const;

/**
 * A guest of a PAPR hypervisor: entries by hypercalls from a list page of each thread; `generic` is the table to map in, a dynamic window
 * another. One thread's view: post the machine's handle and this one's, and `attach` in each other thread. What the hypervisor refuses is
 * a `Failure` of the mapping; wrong options throw InvalidArgumentError.
 */
export class PseriesPlatform extends TablePlatform {
  readonly ops: PseriesOps;
  readonly liobn: number;
  readonly #handle: PseriesPlatformHandle;
  readonly #guest: GuestThread;
  readonly #dynamic: WindowView;

  private constructor(guest: GuestThread, handle: PseriesPlatformHandle, generic: IommuTable, ops: PseriesOps) {
    const { place, state, dynamic } = handle;
    super(guest.machine, generic);
    this.ops = ops;
    this.liobn = place.liobn;
    this.#handle = handle;
    this.#guest = guest;
    this.#dynamic = new WindowView(
      { guest, state: new WindowState(wordsOf(state), WINDOW_AT), generic, place },
      dynamic,
    );
  }

  /**
   * Empties the default window, switches EEH on if there is any, and attaches this thread. Throws InvalidArgumentError for properties
   * that are none, a liobn or window that the hypervisor doesn't know, or a region without a page for each thread; IovaError with the
   * failure's code when it refuses the rest.
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
    const listPages = listPagesIn(region, threads);
    const guest = new GuestThread({
      machine,
      calls: new Hypercalls(machine, patience),
      properties,
      multiTce,
      listPages,
    });
    checkWindow(guest.calls, properties, window);
    const ops = guest.opsOn(properties.liobn, window);
    emptyTable(ops, window);
    const complete = { ...table, threads, reserved: reservedOf(window, table.reserved) };
    const made: Made = {};
    const generic = IommuTable.create(window, ops, inCrew(complete, machine.crew), recoveringWith(made));
    guest.join(generic.thread, ops);
    const platform = new PseriesPlatform(
      guest,
      {
        properties,
        multiTce,
        patienceMs: patience?.patienceMs ?? DEFAULT_PATIENCE_MS,
        state: createState(),
        listPages,
        place: { liobn: properties.liobn, table: generic.handle, options: complete },
        dynamic: undefined,
      },
      generic,
      ops,
    );
    made.dynamic = platform.#dynamic;
    const failure = platform.#eeh?.enable();
    if (failure !== undefined) throw new IovaError(failure, `EEH can't be switched on: ${failure}`);
    return platform;
  }

  /**
   * A view for the calling thread, on this thread's machine. Throws FormatError for a foreign handle, IovaError "window-gone" when the
   * handle's dynamic window has been removed.
   */
  static attach(machine: Machine, handle: PseriesPlatformHandle, patience: Patience = {}): PseriesPlatform {
    checkPseriesHandle(handle);
    const { properties, multiTce, patienceMs, listPages, place } = handle;
    const calls = new Hypercalls(machine, { patienceMs, ...patience });
    const guest = new GuestThread({ machine, calls, properties, multiTce, listPages });
    const ops = guest.opsOn(place.liobn, place.table.window);
    const made: Made = {};
    const generic = IommuTable.attach(place.table, ops, machine.crew, recoveringWith(made));
    guest.join(generic.thread, ops);
    let isAttached = false;
    try {
      const platform = new PseriesPlatform(guest, handle, generic, ops);
      made.dynamic = platform.#dynamic;
      isAttached = true;
      return platform;
    } finally {
      // The dynamic window may be gone, or its table have no slot left.
      if (!isAttached) generic.close();
    }
  }

  get handle(): PseriesPlatformHandle {
    return { ...this.#handle, dynamic: this.#dynamic.handle };
  }

  /** The device's windows: the default one, unless it has made room, then the dynamic one. */
  override get windows(): readonly PseriesWindow[] {
    const normal: TableWindow = { kind: "translated", window: this.generic.window, table: this.generic };
    const { replacesDefault, use } = this.#dynamic;
    if (use === undefined) return [normal];
    return replacesDefault ? [use] : [normal, use];
  }

  /**
   * Makes a dynamic window for a device, or says why there is none; then nothing has changed. When the thread dies over it, or before
   * another thread has attached to a handle with the window, its recovery removes the window again.
   */
  makeDynamicWindow(request: DynamicWindowRequest): PseriesWindow | NoDynamicWindow {
    return this.#dynamic.make(request);
  }

  /**
   * Removes the dynamic window. "in-use": something is mapped in its table (of a direct window nobody can know). "platform-busy": another
   * thread changes the window; when that one has died, until it is reclaimed. On failure it can be repeated. Afterwards other threads' views of
   * its table find no space; they attach anew. When the thread dies over it, its recovery finishes it. Throws IovaError "window-gone" when
   * the window that this view knows has been removed: nothing has changed, also when a new window has been made since.
   */
  removeDynamicWindow(): Failure | undefined {
    return this.#dynamic.remove();
  }

  /**
   * Memory has been added: a direct window gets it mapped, others have nothing to do. What is mapped already stays as it is, so it can be
   * called twice for one range. On failure nothing more is mapped than before. When the thread dies over it, its recovery maps the rest.
   * Throws IovaError "still-reachable" when the hypervisor refuses to undo a failure: devices may reach a part of the range until
   * `removeMemory` of it succeeds; "window-gone" as `removeDynamicWindow`.
   */
  addMemory(range: MemoryRange): Failure | undefined {
    return this.#dynamic.addMemory(range);
  }

  /**
   * Memory is about to be taken away: a direct window maps it no more. Memory that was not mapped, or lies beyond the window, needs nothing.
   * On failure devices may still reach it; repeat the call. When the thread dies over it, its recovery takes the rest away. Throws
   * IovaError "window-gone" as `removeDynamicWindow`.
   */
  removeMemory(range: MemoryRange): Failure | undefined {
    return this.#dynamic.removeMemory(range);
  }

  /** As `takeFaults`, and tells of the device's PE when a fault has frozen it, once (eeh.ts). */
  takeEehReport(): EehReport {
    const faultsAlone = (): EehReport => ({ faults: this.#guest.machine.faults(), events: [] });
    return this.#eeh?.takeReport() ?? faultsAlone();
  }

  /** Is the PE cut off: frozen, or in a reset that has not ended? Or why the firmware doesn't say. */
  isFrozen(): boolean | Failure {
    return this.#eeh?.isFrozen() ?? false;
  }

  /** Resets the PE, if there is EEH: what its devices were doing ends. */
  override reset(): Failure | undefined {
    return this.#eeh?.reset() ?? super.reset();
  }

  /** Gives this thread's views back, each also when the one before throws. A second call does nothing. */
  override close(): void {
    try {
      this.#dynamic.close();
    } finally {
      this.generic.close();
    }
  }

  /** Undefined: the device tree has none, or there is no memory for firmware calls. */
  get #eeh(): PseriesEeh | undefined {
    const { properties, state } = this.#handle;
    const { firmware, machine } = this.#guest;
    if (properties.eeh === undefined || firmware === undefined) return undefined;
    return new PseriesEeh({ machine, properties, firmware, words: wordsOf(state), at: EEH_AT });
  }
}

/** The view that recovers the dynamic window, once there is one: the default window's table is made before it. */
interface Made {
  dynamic?: WindowView;
}

function recoveringWith(made: Made): RecoverAround {
  return (own) => (thread, scope) =>
    made.dynamic === undefined ? own(thread, scope) : made.dynamic.recoverDefault(own, thread, scope);
}

/** The address of the list pages. Throws InvalidArgumentError for a region that has no page for each thread. */
function listPagesIn(region: MemoryRange | undefined, threads: number): number | undefined {
  if (region === undefined) return undefined;
  const { address, bytes } = region;
  const isFit = Number.isSafeInteger(address) && address >= 0 && address % LIST_PAGE_BYTES === 0;
  if (isFit && bytes >= threads * LIST_PAGE_BYTES) return address;
  const found = inWords(`${bytes} bytes at ${address}`);
  const expected = `a page of ${LIST_PAGE_BYTES} bytes for each of ${threads} threads, at a multiple of that`;
  throw new InvalidArgumentError("region of a pseries platform", found, expected);
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
