/**
 * A pseries guest: a window of bus addresses whose TCEs only the hypervisor can write. Besides the generic table it has its liobn, a list page
 * for each thread, EEH, and possibly a dynamic window.
 *
 *     const platform = PseriesPlatform.create(machine, { properties, region: { address, bytes } });
 *     worker.postMessage([machine.handle, platform.handle]);  // there: PseriesPlatform.attach(machine, handle)
 *
 * The list pages are one block, indexed by the thread's number in the crew. A number belongs to one living thread, and is given to a new
 * thread only after the old one was recovered. So no two threads write to one page, and no page is lost with its thread. A page is filled
 * directly before the call that reads it. So all tables of a thread use the same page, and it also serves as the buffer of firmware calls.
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
/** Words of the shared state: version, EEH, dynamic window. */
const VERSION_AT = 0;
const EEH_AT = 1;
const WINDOW_AT: number = EEH_AT + EEH_WORDS;
const STATE_BYTES: number = 4 * (WINDOW_AT + WINDOW_WORDS);
/** Raised with every change that another version could misread. Version 1 had no version word. */
const STATE_VERSION = 4;

/** Options of `PseriesPlatform.create`. */
export interface PseriesPlatformOptions {
  /** DMA properties of the devices in the device tree. */
  readonly properties: DmaProperties;
  /**
   * Physical memory for list pages and firmware calls: 4096 bytes for each thread of the crew, at a multiple of 4096. Nothing else may use
   * it. Default: no list pages; every entry takes a hypercall, and there are neither dynamic windows nor EEH.
   */
  readonly region?: MemoryRange;
  /** True if hypercalls for many TCEs are used. Default: that of the properties. */
  readonly multiTce?: boolean;
  /** Time limit for calls that the hypervisor answers with "busy". Default: 1000 ms. */
  readonly patience?: Patience;
  /** Options of the generic table. */
  readonly table?: TableOptions;
}

/**
 * Handle of a pseries platform, structured-cloneable: post it to another thread and call `PseriesPlatform.attach` there. It contains the
 * dynamic window of the moment at which it was read.
 */
export interface PseriesPlatformHandle {
  /** @internal */
  readonly properties: DmaProperties;
  /** @internal */
  readonly multiTce: boolean;
  /** @internal */
  readonly patienceMs: number;
  /** @internal */
  readonly state: SharedBuffer;
  /** Physical address of thread 0's list page; undefined: no list pages. */
  readonly listPages: number | undefined;
  /** @internal */
  readonly place: TablePlace;
  /** @internal */
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
 * Platform of a pseries guest (LoPAPR): the hypervisor writes TCEs, up to 512 in one call. `generic` is the table of the default window;
 * `windows` has the dynamic window too. If the hypervisor refuses an entry, the mapping returns a failure.
 *
 * One object is one thread's view: post the machine's handle and this one's, and `attach` in each other thread.
 *
 * @example
 * ```ts
 * import { DEVICE_WRITES, DmaDevice, orThrow } from "iova";
 * import { PaprHypervisor, PseriesPlatform } from "iova/platform";
 *
 * const machine = PaprHypervisor.create({ memoryBytes: 2 ** 24, threads: 4, dynamicWindows: {}, devices: ["nic0"] });
 * const region = { address: 2 ** 24 - 4 * 4096, bytes: 4 * 4096 };
 * const platform = PseriesPlatform.create(machine, { properties: machine.properties(0), region });
 * const driver = new DmaDevice(platform.generic);
 * const before = machine.statistics().hypercalls;
 * const { iova } = orThrow(driver.map(0x20_0000n, 100 * 4096, DEVICE_WRITES));
 * console.log("hypercalls for 100 pages:", machine.statistics().hypercalls - before);
 * console.log(machine.device("nic0").dmaWrite(iova, Uint8Array.of(1)));
 *
 * const window = platform.makeDynamicWindow({ mask: 2n ** 64n - 1n });
 * console.log(typeof window === "string" ? window : `${window.kind} window at 0x${window.window.base.toString(16)}`);
 * machine.close();
 * ```
 * ```text output
 * hypercalls for 100 pages: 1
 * true
 * direct window at 0x800000000000000
 * ```
 */
export class PseriesPlatform extends TablePlatform {
  /** @internal */
  readonly ops: PseriesOps;
  /** Logical IO bus number of the default window. */
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
      { guest, state: new WindowState(wordsOf(state), WINDOW_AT, generic.allocator.crew.threads), generic, place },
      dynamic,
    );
  }

  /**
   * Empties the default window, enables EEH, and attaches this thread.
   *
   * Throws InvalidArgumentError for invalid properties, a liobn or window that the hypervisor lacks, or a region without a page for each
   * thread; IovaError with the failure's code if the hypervisor refuses another call.
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
   * Attaches the calling thread, with this thread's view of the machine. Throws FormatError for a foreign handle, and IovaError
   * "window-gone" if the handle's dynamic window was removed. `patience`: time limit of this thread; default: the creator's.
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

  /**
   * The default window and, if there is one, the dynamic window of this view. A dynamic window that has replaced the default one stands
   * alone.
   */
  override get windows(): readonly PseriesWindow[] {
    const normal: TableWindow = { kind: "translated", window: this.generic.window, table: this.generic };
    const { replacesDefault, use } = this.#dynamic;
    if (use === undefined) return [normal];
    return replacesDefault ? [use] : [normal, use];
  }

  /**
   * Creates a dynamic window for a device. Returns the window, or a reason; after a reason nothing has changed. Throws InvalidArgumentError
   * for an invalid request.
   *
   * If the thread dies before another thread has attached to a handle with the window, its recovery removes the window. If all threads with
   * a view of a window's table die, the recovery of the last one removes the window.
   */
  makeDynamicWindow(request: DynamicWindowRequest): PseriesWindow | NoDynamicWindow {
    return this.#dynamic.make(request);
  }

  /**
   * Removes the dynamic window. "in-use": entries of its table are mapped (use of a direct window can't be detected). "platform-busy":
   * another thread changes the window, or has died in a change and was not reclaimed yet. The call can be repeated after a failure.
   *
   * Views of the table in other threads find no space afterwards; these threads must attach again. If the thread dies, its recovery
   * completes the removal. Throws IovaError "window-gone", and changes nothing, if the window of this view was removed before, even if there
   * is a new window.
   */
  removeDynamicWindow(): Failure | undefined {
    return this.#dynamic.remove();
  }

  /**
   * Maps memory that was added to the guest in a direct window. Does nothing for other windows. Memory that is mapped already does not
   * change, so the call can be repeated for a range. On failure nothing more is mapped than before. If the thread dies, its recovery maps
   * the rest.
   *
   * Throws IovaError "still-reachable" if the hypervisor refuses to undo a failed call: devices may reach a part of the range until
   * `removeMemory` of it succeeds. Throws "window-gone" as `removeDynamicWindow`.
   */
  addMemory(range: MemoryRange): Failure | undefined {
    return this.#dynamic.addMemory(range);
  }

  /**
   * Unmaps memory that will be removed from the guest in a direct window. Ignores memory that is not mapped or lies beyond the window. After a
   * failure devices may still reach it; repeat the call. If the thread dies, its recovery unmaps the rest. Throws IovaError "window-gone"
   * as `removeDynamicWindow`.
   */
  removeMemory(range: MemoryRange): Failure | undefined {
    return this.#dynamic.removeMemory(range);
  }

  /** Takes the recorded faults, and reports the PE if they have frozen it. Each freeze is reported once, to one thread. */
  takeEehReport(): EehReport {
    const faultsAlone = (): EehReport => ({ faults: this.#guest.machine.faults(), events: [] });
    return this.#eeh?.takeReport() ?? faultsAlone();
  }

  /** True if the PE is frozen, or in a reset that has not ended. Returns the failure if its state can't be read. */
  isFrozen(): boolean | Failure {
    return this.#eeh?.isFrozen() ?? false;
  }

  /**
   * Resets the PE, if the device tree has EEH, and invalidates all translations. Returns a failure if one of the two fails; the call can be
   * repeated.
   */
  override reset(): Failure | undefined {
    return this.#eeh?.reset() ?? super.reset();
  }

  /** Closes this thread's views of the platform. If one throws, the others are closed nevertheless. A second call does nothing. */
  override close(): void {
    try {
      this.#dynamic.close();
    } finally {
      this.generic.close();
    }
  }

  /** Undefined: the device tree has no EEH, or there is no memory for firmware calls. */
  get #eeh(): PseriesEeh | undefined {
    const { properties, state } = this.#handle;
    const { firmware, machine } = this.#guest;
    if (properties.eeh === undefined || firmware === undefined) return undefined;
    return new PseriesEeh({ machine, properties, firmware, words: wordsOf(state), at: EEH_AT });
  }
}

/** The view that recovers the dynamic window. It is created after the default window's table. */
interface Made {
  dynamic?: WindowView;
}

function recoveringWith(made: Made): RecoverAround {
  return (own) => (thread, scope) =>
    made.dynamic === undefined ? own(thread, scope) : made.dynamic.recoverDefault(own, thread, scope);
}

/** Returns the address of the list pages. Throws InvalidArgumentError for a region without a page for each thread. */
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
