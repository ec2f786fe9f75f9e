/**
 * Dynamic DMA windows: a second window, created by the firmware, for devices that can use addresses above 32 bits.
 *
 * The order of a creation: query; if no slot is left, remove the default window (if it holds only reserved entries, and the firmware can
 * restore it) and query again; create; if one window covers all memory, map all of it in advance (*direct*: mappings take no hypercall
 * from then on); publish. After a failure at any step, the window is removed, the default window is restored, and no other creation is
 * tried for the device.
 *
 * One thread at a time creates, changes or removes the window. Other threads may map in the default window meanwhile: while it is being
 * removed all of its entries are reserved, so they find no space, and afterwards the hypervisor refuses them. If the thread dies, its
 * recovery (window-recovery.ts) completes or undoes the change. Therefore a step (window-state.ts) is stored before each call that changes
 * something.
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
import { HELD_BY_ANOTHER, type Held, type PlacedWindow, STEP, type WindowState } from "./window-state.ts";

/** Requirements of a device for its dynamic window. */
export interface DynamicWindowRequest {
  /** Last byte address that the device can put on the bus. */
  readonly mask: bigint;
  /** All memory that the device may use. Default: the memory of the machine. */
  readonly memory?: readonly MemoryRange[];
  /** True if all memory may be mapped in advance, in a direct window. Default true. */
  readonly direct?: boolean;
  /**
   * Largest page size of a window that is not direct, as log2 of bytes; a mapping exposes whole pages to the device. Default 16. Direct
   * windows have the largest page size that divides memory.
   */
  readonly largestPageShift?: number;
  /** Largest number of entries of a window that is not direct. Default 2^20. */
  readonly largestWindow?: number;
}

/**
 * Reason why no dynamic window was created; the default window is unchanged. "mask-needs-none": the device can't address a dynamic window.
 * "not-offered": the device tree or the hypervisor offers none, or there is no memory for firmware calls. "default-window-in-use": the
 * default window must be replaced, and has live mappings. "tried-before": an earlier attempt has failed. A Failure comes from the firmware
 * or the hypervisor.
 */
export type NoDynamicWindow = "mask-needs-none" | "not-offered" | "default-window-in-use" | "tried-before" | Failure;

/** A created window. In a direct window, bus address − base is the physical address. */
export interface MadeWindow {
  readonly kind: "direct" | "table";
  readonly liobn: number;
  readonly window: DmaWindow;
  /** True if the default window was removed for it. */
  readonly replacesDefault: boolean;
  /** Counts the windows that the device has had (window-state.ts). */
  readonly generation: number;
}

export interface DynamicWindowParts {
  readonly memory: Memory;
  readonly properties: DmaProperties;
  readonly firmware: FirmwareCalls;
  readonly state: WindowState;
  /** The calling thread's number. */
  readonly thread: number;
  /**
   * Reserves all entries of the default window. Returns the function that releases them; undefined if entries are in use.
   */
  readonly holdDefault: () => (() => void) | undefined;
  /** True if the hypervisor has a window with this liobn at this bus address. */
  readonly isThere: (liobn: number, base: bigint) => boolean | Failure;
  /** Calls `use` with this thread's ops for a window. */
  readonly withOps: <Result>(liobn: number, window: DmaWindow, use: (ops: PseriesOps) => Result) => Result;
}

interface Size {
  readonly kind: "direct" | "table";
  readonly pageShift: number;
  readonly windowShift: number;
}

/** Throws InvalidArgumentError for unknown keys and values of another type. */
export function checkRequest(request: DynamicWindowRequest): void {
  checkKeys("a dynamic window", request, {
    mask: "any",
    memory: "object",
    direct: "boolean",
    largestPageShift: "any",
    largestWindow: "any",
  });
}

/**
 * Creates the device's dynamic window, or returns why there is none. `prepare` creates the window's table before any view can attach. If it
 * throws, the window is removed, and the error goes to the caller.
 */
export function makeDynamicWindow(
  parts: DynamicWindowParts,
  request: DynamicWindowRequest,
  prepare: (made: MadeWindow) => void,
): MadeWindow | NoDynamicWindow {
  const { state, properties, thread } = parts;
  if (request.mask <= 0xffff_ffffn) return "mask-needs-none";
  if (request.mask < 2n ** 64n - 1n && !properties.limitedAddressing) return "mask-needs-none";
  if (properties.tokens === undefined) return "not-offered";
  const memory = checkMemory(request.memory ?? [{ address: 0, bytes: parts.memory.bytes }]);
  const held = state.beginMaking(thread);
  if (held === undefined) return "tried-before";
  return new Attempt(parts, request, memory, held).run(prepare);
}

/**
 * Removes an unused window. `hold` reserves all entries of its table and returns the function that releases them; undefined if entries are in
 * use, then the result is "in-use". `giveUp` removes the table after the window. "platform-busy": another thread changes the window. Can be
 * repeated after a failure. The entries of the removed window's table stay reserved, so that views of it find no space: the next window may
 * have the same liobn. Throws IovaError "window-gone" if the window was removed before.
 */
export function unmakeDynamicWindow(
  parts: DynamicWindowParts,
  made: MadeWindow,
  hold: () => (() => void) | undefined,
  giveUp: () => void,
): Failure | undefined {
  const { firmware, state } = parts;
  return whileHeld(parts, made, (held) => {
    if (held.atRest === STEP.published) {
      const release = hold();
      if (release === undefined) return "in-use";
      state.goOn(held, STEP.removing);
      const failure = firmware.remove(made.liobn);
      if (failure !== undefined) {
        state.goOn(held, STEP.begun);
        release();
        return failure;
      }
      held.atRest = STEP.halfRemoved;
    }
    giveUp();
    const failure = made.replacesDefault ? bringDefaultBack(parts) : undefined;
    if (failure === undefined) held.atRest = STEP.untried;
    return failure;
  });
}

/**
 * Changes these entries of a direct window, with the step `adding` or `emptying`. "platform-busy": another thread creates, changes or removes
 * the window. Throws IovaError "window-gone" if the window was removed.
 */
export function changeDynamicWindow(
  parts: Pick<DynamicWindowParts, "state" | "thread">,
  made: MadeWindow,
  { step, first, count }: { readonly step: number; readonly first: number; readonly count: number },
  change: () => Failure | undefined,
): Failure | undefined {
  const { state } = parts;
  return whileHeld(parts, made, (held) => {
    // Half removed: the window is gone, and devices reach nothing in it.
    if (held.atRest !== STEP.published) return undefined;
    state.noteRange(first, count);
    state.goOn(held, step);
    return change();
  });
}

/**
 * Restores the default window, empty, unless it is there. This may be a repetition, after a failure or a thread's death: then other threads
 * may have mapped in the restored window, and another reset would empty it.
 */
export function bringDefaultBack({
  firmware,
  isThere,
  properties,
}: Pick<DynamicWindowParts, "firmware" | "isThere" | "properties">): Failure | undefined {
  const isBack = isThere(properties.liobn, properties.base);
  if (typeof isBack === "string") return isBack;
  return isBack ? undefined : firmware.reset();
}

/**
 * Calls `change` while no other thread creates, changes or removes the window. `atRest` is the step that is stored afterwards, also if
 * `change` throws; at first it is the step of before.
 */
function whileHeld(
  { state, thread }: Pick<DynamicWindowParts, "state" | "thread">,
  { generation }: MadeWindow,
  change: (held: Held & { atRest: number }) => Failure | undefined,
): Failure | undefined {
  const before = state.beginChanging({ thread, generation });
  if (before === HELD_BY_ANOTHER) return "platform-busy";
  const held = { thread, generation, atRest: before };
  try {
    return change(held);
  } finally {
    state.end(held, held.atRest);
  }
}

/** One creation, with what must be undone if it fails. */
class Attempt {
  readonly #parts: DynamicWindowParts;
  readonly #request: DynamicWindowRequest;
  readonly #memory: readonly MemoryRange[];
  readonly #held: Held;
  #removedDefault = false;
  /** The liobn of the window that the firmware has created. */
  #liobn: number | undefined;

  constructor(parts: DynamicWindowParts, request: DynamicWindowRequest, memory: readonly MemoryRange[], held: Held) {
    this.#parts = parts;
    this.#request = request;
    this.#memory = memory;
    this.#held = held;
  }

  run(prepare: (made: MadeWindow) => void): MadeWindow | NoDynamicWindow {
    const { state } = this.#parts;
    let isMade = false;
    try {
      const made = this.#make();
      if (typeof made === "string") return made;
      prepare(made);
      isMade = true;
      return made;
    } finally {
      if (isMade) state.publish(this.#held);
      else this.#undo();
    }
  }

  /** Ignores failures: the result of the creation is its first failure. */
  #undo(): void {
    const { firmware, state } = this.#parts;
    if (this.#liobn !== undefined) firmware.remove(this.#liobn);
    if (this.#removedDefault) bringDefaultBack(this.#parts);
    state.end(this.#held, STEP.failed);
  }

  #make(): MadeWindow | NoDynamicWindow {
    const query = this.#queryWithRoom();
    if (typeof query === "string") return query;
    const size = sizeOf(query, this.#request, this.#memory);
    if (size === undefined) return "not-offered";
    const { firmware, state } = this.#parts;
    const { pageShift, windowShift } = size;
    firmware.clearBuffer();
    state.goOn(this.#held, STEP.creating);
    const created = firmware.create(pageShift, windowShift);
    if (typeof created === "string") return created;
    const place = { ...created, pageShift, windowShift };
    this.#liobn = place.liobn;
    state.notePlace(place);
    state.goOn(this.#held, STEP.filling);
    return this.#take(size.kind, place);
  }

  /** Queries the firmware. If no slot is left, removes the default window and queries again. */
  #queryWithRoom(): WindowQuery | NoDynamicWindow {
    const { firmware, holdDefault, properties, state } = this.#parts;
    const query = firmware.query();
    if (typeof query === "string" || query.windowsLeft > 0) return query;
    if (properties.tokens?.reset === undefined) return "not-offered";
    const release = holdDefault();
    if (release === undefined) return "default-window-in-use";
    state.noteReplacement();
    state.goOn(this.#held, STEP.replacing);
    // Also if the removal fails: an incomplete removal leaves a window that no device reaches.
    this.#removedDefault = true;
    const failure = firmware.remove(properties.liobn);
    // Before other threads can map in it, since a reset empties it.
    if (failure !== undefined) bringDefaultBack(this.#parts);
    release();
    if (failure !== undefined) return failure;
    const again = firmware.query();
    return typeof again === "string" || again.windowsLeft > 0 ? again : "platform-refused";
  }

  /** Maps the memory of a direct window. A window beyond the device's mask is a failure. */
  #take(kind: MadeWindow["kind"], place: PlacedWindow): MadeWindow | Failure {
    const { liobn, windowShift, base } = place;
    const made = {
      kind,
      liobn,
      window: dmaWindowOf(place),
      replacesDefault: this.#removedDefault,
      generation: this.#held.generation,
    };
    if (base + (1n << BigInt(windowShift)) - 1n > this.#request.mask) return "mask-too-low";
    if (kind === "table") return made;
    const fill = (ops: PseriesOps): Failure | undefined => mapDirectly(ops, made.window, this.#memory);
    return this.#parts.withOps(liobn, made.window, fill) ?? made;
  }
}

/** The window of bus addresses of a created window. */
export function dmaWindowOf({ base, pageShift, windowShift }: PlacedWindow): DmaWindow {
  return { base, pageShift, entries: 2 ** (windowShift - pageShift) };
}

/** Direct, with the largest page size that divides memory, if one window can cover it; else the largest possible table. */
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
