/**
 * TableOps of a sun4u IOMMU's TSB: a flat table (flat-table.ts), invalidated page by page through the bridge's registers.
 *
 * A flush is waited for by reading CONTROL, and no lock is held meanwhile: every write names its page, so threads need no order.
 */
import type { Registers } from "../../machine/contract.ts";
import type { Failure } from "../../units/failure.ts";
import type { DmaWindow } from "../../units/numbers.ts";
import { FlatTableOps, type FlatTableOptions } from "../flat-table.ts";
import * as bridge from "./registers.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { CONTROL, ERROR, ERROR_STATUS, ERROR_TIME_OUT, FLUSH, TAG_COUNT, TAGS } = bridge;

/** More pages than the IOTLB has entries: emptying it is less to write. */
export const FLUSH_ALL_ABOVE: number = TAG_COUNT;

export interface Sun4uOpsOptions extends FlatTableOptions {
  readonly registers: Registers;
  readonly window: DmaWindow;
}

/** One per thread. */
export class Sun4uOps extends FlatTableOps {
  readonly #registers: Registers;
  /** Below 2^32, so plain numbers. */
  readonly #base: number;
  readonly #pageBytes: number;

  /** Throws InvalidArgumentError for a page size that the format lacks, or a table that memory can't hold. */
  constructor(options: Sun4uOpsOptions) {
    super(options);
    this.#registers = options.registers;
    this.#base = Number(options.window.base);
    this.#pageBytes = 2 ** options.window.pageShift;
  }

  /** "platform-busy" when a DMA that may use the entries did not end in the machine's time. */
  invalidate(first: number, end: number): Failure | undefined {
    this.checkRange(first, end - first);
    if (end - first > FLUSH_ALL_ABOVE) return this.invalidateAll();
    for (let entry = first; entry < end; entry++) {
      this.#registers.write64(FLUSH, BigInt(this.#base + entry * this.#pageBytes));
    }
    return this.#completed();
  }

  invalidateAll(): Failure | undefined {
    for (let tag = 0; tag < TAG_COUNT; tag++) this.#registers.write64(TAGS + 8 * tag, 0n);
    return this.#completed();
  }

  /** Reads CONTROL: that brings the writes before it home. */
  #completed(): Failure | undefined {
    return timedOut(this.#registers) ? "platform-busy" : undefined;
  }
}

/** Did what this thread has written to the registers meet a DMA that does not end? */
export function timedOut(registers: Registers): boolean {
  const control = Number(BigInt.asUintN(32, registers.read64(CONTROL)));
  return (control & ERROR) !== 0 && (control & ERROR_STATUS) === ERROR_TIME_OUT;
}
