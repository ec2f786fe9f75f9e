/**
 * The firmware's services for EEH: on and off, the state of a PE, its reset. (LoPAPR, "Enhanced I/O Error Handling"; papr.ts says what of
 * it is from memory.)
 *
 * A reset keeps the PE's windows with all that is mapped in them: TCEs are the guest's, who has its drivers unmap what their devices were
 * using. The IOTLB forgets the PE, since nobody invalidates for a device that may be gone. Registers of devices keep
 * their values: the model of a device has no reset.
 *
 * Each step may be made again, by the same thread or another: what a dead thread has begun, the next reset ends. That two threads
 * reset one PE at once does no harm either, but the PE may work again before the second has seen its reset end.
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

/** One thread's. Answers are what stands in a call's results: the status first. */
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
    // A DMA that began before the freeze may still move bytes: it is not called frozen before that has ended.
    return this.#unit.awaitDma() === PASSED ? [RTAS_SUCCESS, RESET_STATE_FROZEN, 1, 0] : [RTAS_BUSY];
  }

  setReset(partition: number, step: number): readonly number[] {
    if (step === RESET_DEACTIVATE) return this.#deactivate(partition);
    if (step === RESET_ACTIVATE || step === RESET_ACTIVATE_FUNDAMENTAL) return this.#activate(partition);
    return [RTAS_PARAMETER];
  }

  #activate(partition: number): readonly number[] {
    // First, and before it is marked: another thread's deactivation takes the mark, then thaws, so none is left frozen unmarked
    // by a thread that goes on. With PASSED, no fault of before can freeze the partition again once it is thawed.
    if (this.#unit.freeze(partition) !== PASSED) return [RTAS_BUSY];
    for (let window = 0; window < this.#unit.windows; window++) {
      if (this.#unit.invalidateWindow(partition, window) !== PASSED) return [RTAS_BUSY];
    }
    store(this.#parts.words, this.#inResetAt(partition), 1);
    return [RTAS_SUCCESS];
  }

  /** Of a partition that is not in reset it is nothing: a freeze does not end by it. */
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
