/**
 * EEH of a pseries guest: a fault freezes the device's PE, the firmware reports it, the guest resets the PE. A platform has one PE, that of
 * its device tree's properties. Mappings survive a freeze and a reset, and can be created and ended meanwhile.
 *
 * Two shared words decide which thread reports a freeze. *resets* is incremented before and after each reset, so it changes between two
 * freezes. *told* is the value of *resets* at the last reported freeze. A freeze is reported even if a thread dies in the reset before it. It
 * is reported twice only if a report and a reset overlap, or if its reset fails. It is not reported if the reporting thread dies; `isFrozen`
 * shows it then.
 */
import type { Machine } from "../../machine/contract.ts";
import { add, compareExchange, load, type SharedWords } from "../../shared/memory.ts";
import type { Failure } from "../../units/failure.ts";
import { type EehReport, type FrozenPartition, takeFreezes } from "../eeh.ts";
import type { FirmwareCalls } from "./firmware-calls.ts";
import { type DmaProperties, RESET_STATE_IN_RESET, RESET_STATE_NORMAL } from "./papr.ts";

const RESETS = 0;
/** The value of RESETS at the last reported freeze, + 1; 0: no freeze was reported yet. */
const TOLD = 1;
/** Number of words of the shared state. They are zero at first. */
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

  /** Enables EEH: from now on a fault freezes the PE. */
  enable(): Failure | undefined {
    return this.#parts.firmware.enableEeh();
  }

  /** Takes the faults, and the PE if it is frozen and was not reported before. */
  takeReport(): EehReport {
    // The firmware reports a freeze only after the DMAs in flight have ended, so there is nothing to wait for.
    return takeFreezes({ machine: this.#parts.machine, takeFrozen: () => this.#takeFrozen(), settle: () => undefined });
  }

  /** True while the PE is frozen or in reset, also if the thread that reset it has died. */
  isFrozen(): boolean | Failure {
    const state = this.#parts.firmware.resetState();
    return typeof state === "string" ? state : state !== RESET_STATE_NORMAL;
  }

  /** Ends a freeze. After a failure the PE may stay frozen; any thread can repeat the reset. */
  reset(): Failure | undefined {
    const { words, at, firmware } = this.#parts;
    add(words, at + RESETS, 1);
    const failure = firmware.resetEndpoint();
    // The reset has also ended a freeze that came after the first increment; the next freeze is a new one.
    add(words, at + RESETS, 1);
    return failure;
  }

  #takeFrozen(): readonly FrozenPartition[] | Failure {
    const { firmware, properties, words, at } = this.#parts;
    // Read before the state, so that a freeze seen below belongs to this count or an earlier one.
    const resets = load(words, at + RESETS);
    const state = firmware.resetState();
    if (typeof state === "string") return state;
    if (state === RESET_STATE_NORMAL || state === RESET_STATE_IN_RESET) return [];
    const told = load(words, at + TOLD);
    const isMine = told !== resets + 1 && compareExchange(words, at + TOLD, told, resets + 1) === told;
    return isMine ? [{ partition: properties.configAddress, devices: properties.devices }] : [];
  }
}
