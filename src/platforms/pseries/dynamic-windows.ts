/**
 * Dynamic DMA windows: a second window for devices that can use addresses beyond 32 bits, asked of the firmware.
 *
 * In this order: query; no slot left, then the default window goes, if it holds nothing but reserved entries and the firmware can
 * bring it back, and query again; create; when one window covers all memory, map all of it in advance (*direct*: no hypercall
 * per mapping from then on); publish. A failure at any step: what was mapped is cleared, the window removed, the default window
 * brought back if it was removed, and the device is not tried again.
 *
 * One thread sets windows up. Others may map in the default window meanwhile: while it is removed all of its entries are taken, so they
 * find no space, and afterwards the hypervisor refuses them. A thread that dies over it leaves the device as tried, or its window as one
 * that can't be changed ("platform-busy"), and may leave the default window's entries taken.
 */

import { pseriesTce } from "../../formats/pseries-tce.ts";
import type { Memory } from "../../machine/contract.ts";
import type { Failure } from "../../units/failure.ts";
import { checkKeys } from "../../units/keys.ts";
import { largest } from "../../units/lists.ts";
import type { DmaWindow } from "../../units/numbers.ts";
import { checkMemory, type MemoryRange, mapDirectly } from "./direct-memory.ts";
import type { FirmwareCalls, WindowQuery } from "./firmware-calls.ts";
import type { PseriesOps } from "./ops.ts";
import type { DmaProperties } from "./papr.ts";
import { STEP, type WindowProgress } from "./window-progress.ts";

/** What a device needs. */
export interface DynamicWindowRequest {
  /** The last byte that the device can address. */
  readonly mask: bigint;
  /** All memory that there is. Default: the machine's. */
  readonly memory?: readonly MemoryRange[];
  /** May all memory be mapped in advance? Default true. */
  readonly direct?: boolean;
  /**
   * log2 of the largest page of a window that is not direct: a mapping shows the device whole pages. Default 16. Direct windows take
   * the largest page that divides memory.
   */
  readonly largestPageShift?: number;
  /** The most entries of a window that is not direct. Default 2^20. */
  readonly largestWindow?: number;
}

/** Why there is no dynamic window; the default window is as it was. A Failure: the firmware or the hypervisor said so. */
export type NoDynamicWindow = "mask-needs-none" | "not-offered" | "default-window-in-use" | "tried-before" | Failure;

/** A window that has been made: bus address − base is, in a direct one, the physical address. */
export interface MadeWindow {
  readonly kind: "direct" | "table";
  readonly liobn: number;
  readonly window: DmaWindow;
  /** Is the default window gone? */
  readonly replacesDefault: boolean;
  /** Which of the windows it is that the device has had one after the other (window-progress.ts). */
  readonly generation: number;
}

export interface DynamicWindowParts {
  readonly memory: Memory;
  readonly properties: DmaProperties;
  readonly firmware: FirmwareCalls;
  readonly progress: WindowProgress;
  /**
   * Takes all entries of the default window, until the answered function is called. Undefined: it holds more than reserved entries.
   */
  readonly holdDefault: () => (() => void) | undefined;
  /** Calls `use` with ops of this thread on a window, which have a list page meanwhile. */
  readonly withOps: <Result>(liobn: number, window: DmaWindow, use: (ops: PseriesOps) => Result) => Result;
}

interface Size {
  readonly kind: "direct" | "table";
  readonly pageShift: number;
  readonly windowShift: number;
}

/** Throws InvalidArgumentError for a request with keys that there are none of, or with values of another type. */
export function checkRequest(request: DynamicWindowRequest): void {
  checkKeys("a dynamic window", request, {
    mask: "any",
    memory: "object",
    direct: "boolean",
    largestPageShift: "any",
    largestWindow: "any",
  });
}

/** Makes the device's dynamic window, or says why not. */
export function makeDynamicWindow(
  parts: DynamicWindowParts,
  request: DynamicWindowRequest,
): MadeWindow | NoDynamicWindow {
  const { progress, properties } = parts;
  if (request.mask <= 0xffff_ffffn) return "mask-needs-none";
  if (request.mask < 2n ** 64n - 1n && !properties.limitedAddressing) return "mask-needs-none";
  if (properties.tokens === undefined) return "not-offered";
  const memory = checkMemory(request.memory ?? [{ address: 0, bytes: parts.memory.bytes }]);
  const generation = progress.beginMaking();
  if (generation < 0) return "tried-before";
  const made = new Attempt(parts, request, memory, generation).run();
  progress.end(generation, typeof made === "string" ? STEP.failed : STEP.published);
  return made;
}

/**
 * Takes a window away that nothing uses any more. `hold` takes all entries of its table and answers the function that gives them back;
 * undefined: something is mapped, then this answers "in-use". "platform-busy": another thread changes the window. On failure it can be
 * repeated. Once the window is gone its table stays taken, since the next window may have the same liobn: views of the old table
 * find no space in it. Throws IovaError "window-gone" for a window that has been removed.
 */
export function unmakeDynamicWindow(
  parts: DynamicWindowParts,
  made: MadeWindow,
  hold: () => (() => void) | undefined,
): Failure | undefined {
  const { firmware, progress } = parts;
  return changeDynamicWindow(progress, made, (step) => {
    if (step === STEP.published) {
      const release = hold();
      if (release === undefined) return { step, failure: "in-use" };
      const failure = firmware.remove(made.liobn);
      if (failure !== undefined) {
        release();
        return { step, failure };
      }
    }
    const failure = made.replacesDefault ? firmware.reset() : undefined;
    return { step: failure === undefined ? STEP.untried : STEP.halfRemoved, failure };
  });
}

/** What a change of a window has come to: the step that the window is at now, and why the change has failed. */
interface Changed {
  readonly step: number;
  readonly failure: Failure | undefined;
}

/**
 * Calls `change` while no other thread makes, changes or removes the window. "platform-busy": another thread does. Throws IovaError
 * "window-gone" for a window that has been removed.
 */
export function changeDynamicWindow(
  progress: WindowProgress,
  { generation }: MadeWindow,
  change: (step: number) => Changed,
): Failure | undefined {
  const before = progress.beginChanging(generation);
  if (before === STEP.changing) return "platform-busy";
  let after = before;
  try {
    const { step, failure } = change(before);
    after = step;
    return failure;
  } finally {
    progress.end(generation, after);
  }
}

/** One try: knows what it has to undo. */
class Attempt {
  readonly #parts: DynamicWindowParts;
  readonly #request: DynamicWindowRequest;
  readonly #memory: readonly MemoryRange[];
  readonly #generation: number;
  #removedDefault = false;

  constructor(
    parts: DynamicWindowParts,
    request: DynamicWindowRequest,
    memory: readonly MemoryRange[],
    generation: number,
  ) {
    this.#parts = parts;
    this.#request = request;
    this.#memory = memory;
    this.#generation = generation;
  }

  run(): MadeWindow | NoDynamicWindow {
    const query = this.#queryWithRoom();
    const made = typeof query === "string" ? query : this.#make(query);
    // The reason is the first failure; that the default window can't be brought back shows in its use.
    if (typeof made === "string" && this.#removedDefault) this.#parts.firmware.reset();
    return made;
  }

  /** An answer with a slot left, if need be by removing the default window. */
  #queryWithRoom(): WindowQuery | NoDynamicWindow {
    const { firmware, holdDefault, properties } = this.#parts;
    const query = firmware.query();
    if (typeof query === "string" || query.windowsLeft > 0) return query;
    if (properties.tokens?.reset === undefined) return "not-offered";
    const release = holdDefault();
    if (release === undefined) return "default-window-in-use";
    // Also when it fails: a removal that has begun and not ended leaves a window that no device reaches.
    this.#removedDefault = true;
    const failure = firmware.remove(properties.liobn);
    release();
    if (failure !== undefined) return failure;
    const again = firmware.query();
    return typeof again === "string" || again.windowsLeft > 0 ? again : "platform-refused";
  }

  #make(query: WindowQuery): MadeWindow | NoDynamicWindow {
    const size = sizeOf(query, this.#request, this.#memory);
    if (size === undefined) return "not-offered";
    const created = this.#parts.firmware.create(size.pageShift, size.windowShift);
    if (typeof created === "string") return created;
    const failure = this.#take(size, created.liobn, created.base);
    if (failure === undefined) return this.#madeWindow(size, created.liobn, created.base);
    this.#parts.firmware.remove(created.liobn);
    return failure;
  }

  /** Fills a direct window. A window that the device can't reach is a failure too. */
  #take(size: Size, liobn: number, base: bigint): Failure | undefined {
    if (base + (1n << BigInt(size.windowShift)) - 1n > this.#request.mask) return "mask-too-low";
    if (size.kind === "table") return undefined;
    const { window } = this.#madeWindow(size, liobn, base);
    return this.#parts.withOps(liobn, window, (ops) => mapDirectly(ops, window, this.#memory));
  }

  #madeWindow({ kind, pageShift, windowShift }: Size, liobn: number, base: bigint): MadeWindow {
    const entries = 2 ** (windowShift - pageShift);
    const window = { base, pageShift, entries };
    return { kind, liobn, window, replacesDefault: this.#removedDefault, generation: this.#generation };
  }
}

/** Direct with the largest page that divides memory, if one window can hold it all; else as large a table as may be. */
function sizeOf(query: WindowQuery, request: DynamicWindowRequest, memory: readonly MemoryRange[]): Size | undefined {
  const { largestWindow = 2 ** 20, largestPageShift = 16, direct = true } = request;
  const pageShifts = query.pageShifts
    .filter((shift) => pseriesTce.pageShifts.includes(shift))
    .toSorted((a, b) => b - a);
  const end = largest(memory.map(({ address, bytes }) => address + bytes));
  const windowShift = Math.ceil(Math.log2(end));
  const whole = pageShifts.find(
    (shift) =>
      shift <= windowShift &&
      2 ** (windowShift - shift) <= query.largestWindow &&
      memory.every(({ address, bytes }) => address % 2 ** shift === 0 && bytes % 2 ** shift === 0),
  );
  if (direct && whole !== undefined) return { kind: "direct", pageShift: whole, windowShift };
  const pageShift = pageShifts.find((shift) => shift <= largestPageShift);
  const entries = Math.min(largestWindow, query.largestWindow);
  if (pageShift === undefined || entries < 1) return undefined;
  return { kind: "table", pageShift, windowShift: pageShift + Math.floor(Math.log2(entries)) };
}
