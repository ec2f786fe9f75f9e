/**
 * TableOps of a sun4u IOMMU's TSB: a flat table (flat-table.ts), invalidated page by page through the bridge's registers.
 *
 * What is not mapped leads to a dummy page, and that is a translation too: a stray DMA puts it into the IOTLB. So the IOTLB must forget
 * not only what has been emptied, but also what has been set, or a device of the new mapping would go on using the dummy page: `flush`
 * does it, once for all that this thread has set since. Its notes are the thread's own; a dead thread's are not missed, since whoever
 * sets its entries next flushes them again.
 *
 * A flush is waited for by reading CONTROL, and no lock is held meanwhile: every write names its page, so threads need no order.
 */
import type { Registers } from "../../machine/contract.ts";
import type { Failure } from "../../units/failure.ts";
import type { DmaWindow, EntryAccess } from "../../units/numbers.ts";
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
  /** All entries set since the last `flush` lie in [setFirst, setEnd); empty: none. */
  #setFirst = 0;
  #setEnd = 0;

  /** Throws InvalidArgumentError for a page size that the format lacks, or a table that memory can't hold. */
  constructor(options: Sun4uOpsOptions) {
    super(options);
    this.#registers = options.registers;
    this.#base = Number(options.window.base);
    this.#pageBytes = 2 ** options.window.pageShift;
  }

  /** As FlatTableOps. Devices may reach the dummy page by these entries until `flush`. */
  override set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    const failure = super.set(first, count, page, access);
    if (failure !== undefined) return failure;
    const none = this.#setFirst === this.#setEnd;
    this.#setFirst = none ? first : Math.min(this.#setFirst, first);
    this.#setEnd = none ? first + count : Math.max(this.#setEnd, first + count);
    return undefined;
  }

  /** "platform-busy" when a DMA in flight may still put the dummy page back into the IOTLB. */
  override flush(): Failure | undefined {
    super.flush();
    const [first, end] = [this.#setFirst, this.#setEnd];
    if (first === end) return undefined;
    this.#setFirst = 0;
    this.#setEnd = 0;
    return this.#forget(first, end);
  }

  /** "platform-busy" when a DMA that may use the entries did not end in the machine's time. */
  invalidate(first: number, end: number): Failure | undefined {
    this.checkRange(first, end);
    return this.#forget(first, end);
  }

  invalidateAll(): Failure | undefined {
    return this.#forgetAll();
  }

  #forget(first: number, end: number): Failure | undefined {
    if (end - first > FLUSH_ALL_ABOVE) return this.#forgetAll();
    for (let entry = first; entry < end; entry++) {
      this.#registers.write64(FLUSH, BigInt(this.#base + entry * this.#pageBytes));
    }
    return this.#completed();
  }

  #forgetAll(): Failure | undefined {
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
