/**
 * The firmware's EEH services: switching EEH on and off, the state of a PE, the reset of a PE. (LoPAPR, "Enhanced I/O Error Handling";
 * papr.ts says which numbers are from memory.)
 *
 * A reset keeps the PE's windows and their TCEs: the guest's drivers unmap the memory of their devices. The reset invalidates the PE's
 * translations. Registers of devices keep their values: the model of a device has no reset.
 *
 * Each step may be repeated by any thread: the next reset completes one that a dead thread has begun. Two threads may reset a PE
 * concurrently; then the PE may work again before the second thread's reset has ended.
 */
import {
  EEH_DISABLE,
  EEH_ENABLE,
  RESET_ACTIVATE,
  RESET_ACTIVATE_FUNDAMENTAL,
  RESET_DEACTIVATE,
  RESET_STATE_FROZEN,
  RESET_STATE_IN_RESET,
  RESET_STATE_NORMAL,
  RTAS_BUSY,
  RTAS_PARAMETER,
  RTAS_SUCCESS,
} from "../../../platforms/pseries/papr.ts";
import { load, type SharedWords, store } from "../../../shared/memory.ts";
import { PASSED } from "../../software/threads.ts";
import type { TranslationUnit } from "../../software/translation.ts";
import { inResetAt, type StateGeometry } from "./state.ts";

export interface EehParts {
  readonly unit: TranslationUnit;
  readonly words: SharedWords;
  readonly geometry: StateGeometry;
}

/** One thread's view. Methods return the results of a call, the status first. */
export class EehServices {
  readonly #unit: TranslationUnit;
  readonly #parts: EehParts;

  constructor(parts: EehParts) {
    this.#unit = parts.unit;
    this.#parts = parts;
  }

  setOption(partition: number, option: number): readonly number[] {
    if (option !== EEH_DISABLE && option !== EEH_ENABLE) return [RTAS_PARAMETER];
    this.#unit.freezeOnFault(partition, option === EEH_ENABLE);
    return [RTAS_SUCCESS];
  }

  readState(partition: number): readonly number[] {
    if (this.#isInReset(partition)) return [RTAS_SUCCESS, RESET_STATE_IN_RESET, 1, 0];
    if (!this.#unit.isFrozen(partition)) return [RTAS_SUCCESS, RESET_STATE_NORMAL, 1, 0];
    // The PE is reported as frozen only after DMAs that began before the freeze have ended.
    return this.#unit.awaitDma() === PASSED ? [RTAS_SUCCESS, RESET_STATE_FROZEN, 1, 0] : [RTAS_BUSY];
  }

  setReset(partition: number, step: number): readonly number[] {
    if (step === RESET_DEACTIVATE) return this.#deactivate(partition);
    if (step === RESET_ACTIVATE || step === RESET_ACTIVATE_FUNDAMENTAL) return this.#activate(partition);
    return [RTAS_PARAMETER];
  }

  #activate(partition: number): readonly number[] {
    // The freeze comes before the mark: a concurrent deactivation clears the mark, then thaws, so a live thread never leaves a PE frozen
    // without the mark. With PASSED, no earlier fault can freeze the PE again after the thaw.
    if (this.#unit.freeze(partition) !== PASSED) return [RTAS_BUSY];
    for (let window = 0; window < this.#unit.windows; window++) {
      if (this.#unit.invalidateWindow(partition, window) !== PASSED) return [RTAS_BUSY];
    }
    store(this.#parts.words, this.#inResetAt(partition), 1);
    return [RTAS_SUCCESS];
  }

  /** Ends a reset. Does nothing for a partition that is not in reset: it does not end a freeze. */
  #deactivate(partition: number): readonly number[] {
    if (!this.#isInReset(partition)) return [RTAS_SUCCESS];
    store(this.#parts.words, this.#inResetAt(partition), 0);
    this.#unit.thaw(partition);
    return [RTAS_SUCCESS];
  }

  #isInReset(partition: number): boolean {
    return load(this.#parts.words, this.#inResetAt(partition)) !== 0;
  }

  #inResetAt(partition: number): number {
    return inResetAt(this.#parts.geometry, partition);
  }
}
