/**
 * The streaming cache as one thread drives it: flushes of contexts and pages, and the wait until what was flushed is in memory.
 *
 * The wait is bounded, and no lock is held meanwhile (defect 15: 100 ms under a lock). Each thread has a flag of its own in memory.
 */
import type { Memory, Registers } from "../../machine/contract.ts";
import { mayWait, milliseconds } from "../../shared/memory.ts";
import type { Failure } from "../../units/failure.ts";
import type { DmaWindow } from "../../units/numbers.ts";
import { NO_CONTEXT } from "./contexts.ts";
import type { EmptiedRun } from "./pending-flushes.ts";
import * as bridge from "./registers.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { STREAMING_CONTEXT_FLUSH, STREAMING_FLUSH_SYNC, STREAMING_LINES, STREAMING_PAGE_FLUSH } = bridge;
const { STREAMING_TAG_PAGE, STREAMING_TAG_VALID, STREAMING_TAGS } = bridge;

/** A thread that may not sleep looks at the flag for this long. */
const WOULD_BLOCK_AFTER_MS = 1;

export interface StreamingFlushOptions {
  readonly memory: Memory;
  readonly registers: Registers;
  readonly window: DmaWindow;
  /** How long a sync is waited for. */
  readonly syncMilliseconds: number;
}

/** One per thread. */
export class StreamingFlush {
  /** Physical address of this thread's flag: a multiple of 64. */
  flagAddress = 0;
  readonly #memory: Memory;
  readonly #registers: Registers;
  readonly #base: number;
  readonly #pageBytes: number;
  readonly #syncMilliseconds: number;

  constructor({ memory, registers, window, syncMilliseconds }: StreamingFlushOptions) {
    this.#memory = memory;
    this.#registers = registers;
    this.#base = Number(window.base);
    this.#pageBytes = 2 ** window.pageShift;
    this.#syncMilliseconds = syncMilliseconds;
  }

  /** Flushes a run by its context, or page by page when it has none. */
  flushRun({ first, end, context }: EmptiedRun): void {
    if (context > NO_CONTEXT) this.#registers.write64(STREAMING_CONTEXT_FLUSH, BigInt(context));
    else if (context === NO_CONTEXT) this.flushPages(first, end);
  }

  /** Flushes the pages [first, end), whatever their contexts. */
  flushPages(first: number, end: number): void {
    if (end - first > STREAMING_LINES) this.#flushCached(first, end);
    else for (let entry = first; entry < end; entry++) this.#flushPage(this.#base + entry * this.#pageBytes);
  }

  /** What was flushed is in memory. A failure: not in this time, or the bridge says that it could not flush. */
  sync(): Failure | undefined {
    const at = this.flagAddress;
    this.#memory.store32(at, 0);
    this.#memory.store32(at + 4, 0);
    this.#memory.fence();
    this.#registers.write64(STREAMING_FLUSH_SYNC, BigInt(at));
    const patience = mayWait() ? this.#syncMilliseconds : Math.min(WOULD_BLOCK_AFTER_MS, this.#syncMilliseconds);
    const deadline = milliseconds() + patience;
    while (this.#memory.load32(at) === 0 && this.#memory.load32(at + 4) === 0) {
      if (milliseconds() >= deadline) return mayWait() ? "platform-busy" : "would-block";
    }
    return undefined;
  }

  /**
   * More pages than there are lines: only those that stand in the tags. A line of before that is not seen there has gone to memory; one
   * that is new was made by a translation that is not to be flushed.
   */
  #flushCached(first: number, end: number): void {
    const [from, to] = [this.#base + first * this.#pageBytes, this.#base + end * this.#pageBytes];
    for (let line = 0; line < STREAMING_LINES; line++) {
      const tag = Number(BigInt.asUintN(32, this.#registers.read64(STREAMING_TAGS + 8 * line)));
      const page = (tag & STREAMING_TAG_PAGE) >>> 0;
      if ((tag & STREAMING_TAG_VALID) !== 0 && page >= from && page < to) this.#flushPage(page);
    }
  }

  #flushPage(iova: number): void {
    this.#registers.write64(STREAMING_PAGE_FLUSH, BigInt(iova));
  }
}
