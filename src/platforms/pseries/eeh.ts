/**
 * EEH of a pseries guest: a fault freezes the PE of its device, the firmware says so, the guest resets it. One PE a platform: that of its
 * device tree's properties. Mappings live through a freeze and its reset, and may be made and ended meanwhile.
 *
 * Who tells of a freeze is agreed by two words that threads share: *resets* is counted before and after each reset, so between two freezes
 * it has changed; *told* is the count at which a freeze was told last. A freeze is told even when a thread dies over the reset before it;
 * twice only if a report and a reset overlap, or its reset fails; and not at all if the thread that was to tell dies: then `isFrozen` shows it.
 */
import type { Machine } from "../../machine/contract.ts";
import type { SharedWords } from "../../shared/memory.ts";
import * as shared from "../../shared/memory.ts";
import type { Failure } from "../../units/failure.ts";
import { type EehReport, type FrozenPartition, takeFreezes } from "../eeh.ts";
import type { FirmwareCalls } from "./firmware-calls.ts";
import { type DmaProperties, RESET_STATE_IN_RESET, RESET_STATE_NORMAL } from "./papr.ts";

const { add, compareExchange, load } = shared;

const RESETS = 0;
/** The count of resets at which a freeze was told last, + 1; 0: none was. */
const TOLD = 1;
/** Words of the shared state, zeros at first. */
export const EEH_WORDS = 2;

export interface EehParts {
  readonly machine: Machine;
  readonly properties: DmaProperties;
  readonly firmware: FirmwareCalls;
  readonly words: SharedWords;
  readonly at: number;
}

/** One thread's view. */
export class PseriesEeh {
  readonly #parts: EehParts;

  constructor(parts: EehParts) {
    this.#parts = parts;
  }

  /** From now on a fault freezes the PE. */
  enable(): Failure | undefined {
    return this.#parts.firmware.enableEeh();
  }

  /** Faults, and the PE if it is frozen and was not told of before. */
  takeReport(): EehReport {
    // The firmware has waited for the DMAs in flight before it called the PE frozen: there is nothing more to do.
    return takeFreezes({ machine: this.#parts.machine, takeFrozen: () => this.#takeFrozen(), settle: () => undefined });
  }

  /** Is the PE cut off? Also while another thread resets it, or has died over that. */
  isFrozen(): boolean | Failure {
    const state = this.#parts.firmware.resetState();
    return typeof state === "string" ? state : state !== RESET_STATE_NORMAL;
  }

  /** Ends a freeze. On failure the PE may stay cut off; the reset can be repeated, by any thread. */
  reset(): Failure | undefined {
    const { words, at, firmware } = this.#parts;
    add(words, at + RESETS, 1);
    const failure = firmware.resetEndpoint();
    // What froze between the first count and the reset's beginning is over: the next one is another.
    add(words, at + RESETS, 1);
    return failure;
  }

  #takeFrozen(): readonly FrozenPartition[] | Failure {
    const { firmware, properties, words, at } = this.#parts;
    // Before the state is read: a freeze that is seen then is of this count, or of an earlier one.
    const resets = load(words, at + RESETS);
    const state = firmware.resetState();
    if (typeof state === "string") return state;
    if (state === RESET_STATE_NORMAL || state === RESET_STATE_IN_RESET) return [];
    const told = load(words, at + TOLD);
    const isMine = told !== resets + 1 && compareExchange(words, at + TOLD, told, resets + 1) === told;
    return isMine ? [{ partition: properties.configAddress, devices: properties.devices }] : [];
  }
}
