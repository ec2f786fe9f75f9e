/**
 * Dynamic DMA windows: a second window for devices that can use addresses beyond 32 bits, asked of the firmware.
 *
 * In this order: query; no slot left, then the default window goes, if it holds nothing but reserved entries and the firmware can
 * bring it back, and query again; create; when one window covers all memory, map all of it in advance (*direct*: no hypercall
 * per mapping from then on); publish. A failure at any step: what was mapped is cleared, the window removed, the default window
 * brought back if it was removed, and the device is not tried again.
 *
 * One thread sets windows up. Others may map in the default window meanwhile: while it is removed all of its entries are taken, so they
 * find no space, and afterwards the hypervisor refuses them. When the thread dies over it, its recovery (window-recovery.ts) finishes or
 * undoes what it had begun: hence a step (window-state.ts) before each call that changes something.
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
  /** Which of the windows it is that the device has had one after the other (window-state.ts). */
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
   * Takes all entries of the default window, until the answered function is called. Undefined: it holds more than reserved entries.
   */
  readonly holdDefault: () => (() => void) | undefined;
  /** Does the hypervisor know a window with this liobn that begins at this bus address? Or why it doesn't say. */
  readonly isThere: (liobn: number, base: bigint) => boolean | Failure;
  /** Calls `use` with ops of this thread on a window. */
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

/**
 * Makes the device's dynamic window, or says why not. `prepare` makes what its views need (a table) before any can attach; what it throws
 * goes on to the caller: then the window is removed again.
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
 * Takes a window away that nothing uses any more. `hold` takes all entries of its table and answers the function that gives them back;
 * undefined: something is mapped, then this answers "in-use". `giveUp` gives up what the window's views need, once the window is gone.
 * "platform-busy": another thread changes the window. On failure it can be repeated. Once the window is gone its table stays taken, since the
 * next window may have the same liobn: views of the old table find no space in it. Throws IovaError "window-gone" for a window that has
 * been removed.
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
 * Changes what a direct window maps of these entries, at step `adding` or `emptying`. "platform-busy": another thread makes, changes or removes
 * the window. Throws IovaError "window-gone" for a window that has been removed.
 */
export function changeDynamicWindow(
  parts: Pick<DynamicWindowParts, "state" | "thread">,
  made: MadeWindow,
  { step, first, count }: { readonly step: number; readonly first: number; readonly count: number },
  change: () => Failure | undefined,
): Failure | undefined {
  const { state } = parts;
  return whileHeld(parts, made, (held) => {
    // Half removed: the window is gone, and nothing in it is reached.
    if (held.atRest !== STEP.published) return undefined;
    state.noteRange(first, count);
    state.goOn(held, step);
    return change();
  });
}

/**
 * The default window is there again, empty if it was gone. A reset of one that is there would empty it, and other threads may have
 * mapped in it by now: the reset is repeated after a failure, and after a thread's death.
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
 * Calls `change` while no other thread makes, changes or removes the window. `atRest`: the step that the window is at afterwards, also when
 * `change` throws; at first that of before.
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

/** One try: knows what it has to undo. */
class Attempt {
  readonly #parts: DynamicWindowParts;
  readonly #request: DynamicWindowRequest;
  readonly #memory: readonly MemoryRange[];
  readonly #held: Held;
  #removedDefault = false;
  /** The window that the firmware has made. */
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

  /** The reason of a failure is what failed first: that the default window can't be brought back shows in its use. */
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

  /** An answer with a slot left, if need be by removing the default window. */
  #queryWithRoom(): WindowQuery | NoDynamicWindow {
    const { firmware, holdDefault, properties, state } = this.#parts;
    const query = firmware.query();
    if (typeof query === "string" || query.windowsLeft > 0) return query;
    if (properties.tokens?.reset === undefined) return "not-offered";
    const release = holdDefault();
    if (release === undefined) return "default-window-in-use";
    state.noteReplacement();
    state.goOn(this.#held, STEP.replacing);
    // Also when it fails: a removal that has begun and not ended leaves a window that no device reaches.
    this.#removedDefault = true;
    const failure = firmware.remove(properties.liobn);
    // Before others can map in it: a reset may empty it.
    if (failure !== undefined) bringDefaultBack(this.#parts);
    release();
    if (failure !== undefined) return failure;
    const again = firmware.query();
    return typeof again === "string" || again.windowsLeft > 0 ? again : "platform-refused";
  }

  /** Fills a direct window. A window that the device can't reach is a failure too. */
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

/** The bus addresses of a window that the firmware has made. */
export function dmaWindowOf({ base, pageShift, windowShift }: PlacedWindow): DmaWindow {
  return { base, pageShift, entries: 2 ** (windowShift - pageShift) };
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
