/** TableOps of the linear platform: a flat table, and invalidation through this thread's register frame of the linear IOMMU. */

import type { Registers } from "../../machine/contract.ts";
import type { Failure } from "../../units/failure.ts";
import { checkKeys } from "../../units/keys.ts";
import type { EntryAccess } from "../../units/numbers.ts";
import { FlatTableOps, type FlatTableOptions } from "../flat-table.ts";
import {
  INVALIDATE_ALL,
  INVALIDATE_COUNT,
  INVALIDATE_FIRST,
  INVALIDATE_RESULT,
  RESULT_DONE,
  RESULT_WOULD_BLOCK,
} from "./registers.ts";

/** Longer ranges invalidate the whole IOTLB: a search for each entry would cost more than walking again. */
export const INVALIDATE_ALL_ABOVE = 1024;

/** A flat table, and the registers that invalidate it. */
export interface LinearOpsOptions extends FlatTableOptions {
  /** This thread's view of the IOMMU's registers. */
  readonly registers: Registers;
}

/** TableOps of the linear platform: a flat table, and invalidation by this thread's registers of the linear IOMMU. One object per thread. */
export class LinearOps extends FlatTableOps {
  readonly #registers: Registers;

  /** Throws InvalidArgumentError for a page size that the format lacks, or for a table that memory can't hold. */
  constructor(options: LinearOpsOptions) {
    checkKeys("linear ops", options, {
      memory: "object",
      registers: "object",
      format: "object",
      pageShift: "any",
      entries: "any",
      tableAddress: "any",
    });
    super(options);
    this.#registers = options.registers;
  }

  /** As `TableOps.setPages`. */
  setPages(first: number, pages: Float64Array, count: number, access: EntryAccess): Failure | undefined {
    this.checkRange(first, count);
    return this.entryMemory.setPages(this.addressOf(first), pages, count, access);
  }

  /**
   * Invalidates the entries [first, end); more than 1024 entries invalidate the whole IOTLB. "platform-busy": a DMA that may use the entries
   * did not end within the machine's time limit. "would-block": the calling thread must not wait.
   */
  invalidate(first: number, end: number): Failure | undefined {
    if (end - first > INVALIDATE_ALL_ABOVE) return this.invalidateAll();
    this.checkRange(first, end - first);
    this.#registers.write32(INVALIDATE_FIRST, first);
    this.#registers.write32(INVALIDATE_COUNT, end - first);
    return failureOfResult(this.#registers.read32(INVALIDATE_RESULT));
  }

  invalidateAll(): Failure | undefined {
    this.#registers.write32(INVALIDATE_ALL, 1);
    return failureOfResult(this.#registers.read32(INVALIDATE_RESULT));
  }
}

function failureOfResult(result: number): Failure | undefined {
  if (result === RESULT_DONE) return undefined;
  return result === RESULT_WOULD_BLOCK ? "would-block" : "platform-busy";
}
