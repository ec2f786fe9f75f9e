/**
 * The streaming cache as one thread drives it: flushes of contexts and pages, and the wait until what was flushed is in memory.
 *
 * The wait is bounded, and no lock is held meanwhile (defect 15: 100 ms under a lock). Each thread has flags of its own in memory.
 *
 * A sync that was given up may still be done later, and sets its flag then. Who takes that for the answer to a later sync believes that
 * data is in memory which is not. So it is counted how many syncs of a flag may be outstanding: with k of them, only the
 * (k + 1)st time that the flag is seen set, each time after it was cleared and a sync was asked for, is certain to come from one
 * of these. The bridge works syncs off in order; so once one is certain, none that was asked for earlier is outstanding. With two
 * flags in turn, doubts end with the first sync that is done in time.
 *
 * A sync outlives the thread that asked for it. So the counts stand in shared memory, and go to whoever has the thread's number next.
 */
import { NOT_STREAMED, STREAM_CONTEXT, STREAM_WRITTEN } from "../../formats/sun4u-iopte.ts";
import type { Memory, Registers } from "../../machine/contract.ts";
import type { SharedWords } from "../../shared/memory.ts";
import * as shared from "../../shared/memory.ts";
import type { Failure } from "../../units/failure.ts";
import type { DmaWindow } from "../../units/numbers.ts";
import { NO_CONTEXT } from "./contexts.ts";
import * as bridge from "./registers.ts";
import type { StreamedRuns } from "./streamed-runs.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { STREAMING_CONTEXT_FLUSH, STREAMING_FLAG_BYTES, STREAMING_FLUSH_SYNC, STREAMING_LINES } = bridge;
const { STREAMING_PAGE_FLUSH, STREAMING_TAG_PAGE, STREAMING_TAG_VALID, STREAMING_TAGS } = bridge;
const { mayWait, milliseconds, peek, poke } = shared;

/** Of one thread. */
export const FLAGS_BYTES: number = 2 * STREAMING_FLAG_BYTES;
/** Of one thread: of each flag, how many syncs may still set it. Zeros at first. */
export const SYNC_WORDS = 2;

/** A thread that may not sleep looks at the flag for this long. */
const WOULD_BLOCK_AFTER_MS = 1;
const TWO_TO_32 = 2 ** 32;
const CLEAR: Uint32Array = new Uint32Array(2);

/** What `flushRuns` says. */
export const NOTHING_FLUSHED = 0;
const READ_FLUSHED = 1;
/** Devices may have written: to be waited for. */
export const WRITTEN_FLUSHED = 2;

export interface StreamingFlushOptions {
  readonly memory: Memory;
  readonly registers: Registers;
  readonly window: DmaWindow;
  /** How long a sync is waited for. */
  readonly syncMilliseconds: number;
}

/** One per thread. */
export class StreamingFlush {
  readonly #memory: Memory;
  readonly #registers: Registers;
  readonly #base: number;
  readonly #pageBytes: number;
  readonly #syncMilliseconds: number;
  /** Physical address of the first flag: a multiple of 64. */
  #flagsAddress = 0;
  /** Where this thread's SYNC_WORDS are. */
  #outstanding: SharedWords | undefined;
  #outstandingAt = 0;
  /** When the sync that is waited for is given up; 0: nobody has looked at the clock yet. */
  #deadline = 0;

  constructor({ memory, registers, window, syncMilliseconds }: StreamingFlushOptions) {
    this.#memory = memory;
    this.#registers = registers;
    this.#base = Number(window.base);
    this.#pageBytes = 2 ** window.pageShift;
    this.#syncMilliseconds = syncMilliseconds;
  }

  /** Where this thread's flags lie, and its words of `outstanding`: those of whoever had its number before. */
  useFlags(address: number, outstanding: SharedWords, at: number): void {
    this.#flagsAddress = address;
    this.#outstanding = outstanding;
    this.#outstandingAt = at;
  }

  /** Flushes each run by its context, or page by page when it has none. */
  flushRuns(runs: StreamedRuns): number {
    let flushed = NOTHING_FLUSHED;
    for (let i = 0; i < runs.length; i++) {
      const streaming = runs.streaming[i] as number;
      if (streaming === NOT_STREAMED) continue;
      const context = streaming & STREAM_CONTEXT;
      if (context === NO_CONTEXT) this.flushPages(runs.first[i] as number, runs.end[i] as number);
      else this.#registers.writeHalves64(STREAMING_CONTEXT_FLUSH, 0, context);
      flushed |= (streaming & STREAM_WRITTEN) === 0 ? READ_FLUSHED : WRITTEN_FLUSHED;
    }
    return flushed;
  }

  /** Flushes the pages [first, end), whatever their contexts. */
  flushPages(first: number, end: number): void {
    const from = this.#base + first * this.#pageBytes;
    const to = this.#base + end * this.#pageBytes;
    if (end - first > STREAMING_LINES) this.#flushCached(from, to);
    else for (let page = from; page < to; page += this.#pageBytes) this.#flushPage(page);
  }

  /** Flushes all that the cache holds, of whatever window. False: it holds nothing. */
  flushAll(): boolean {
    return this.#flushCached(0, 2 ** 32);
  }

  /** What was flushed is in memory. A failure: not in this time, or the bridge says that it could not flush. */
  sync(): Failure | undefined {
    this.#deadline = 0;
    const words = this.#outstanding as SharedWords;
    const at = this.#outstandingAt;
    const flag = peek(words, at) <= peek(words, at + 1) ? 0 : 1;
    const before = peek(words, at + flag);
    for (let seen = 0; seen <= before; seen++) {
      // Before it is asked for: whoever has this number next knows of it, wherever this thread dies.
      poke(words, at + flag, before + 1);
      if (!this.#syncOnce(this.#flagsAddress + flag * STREAMING_FLAG_BYTES)) {
        return mayWait() ? "platform-busy" : "would-block";
      }
      poke(words, at + flag, before);
    }
    poke(words, at + 1 - flag, 0);
    return undefined;
  }

  /** Clears the flag, asks for a sync, and waits until the flag is set. False: not before the deadline. */
  #syncOnce(flag: number): boolean {
    this.#memory.storeWords(flag, CLEAR, CLEAR.length, 0);
    this.#memory.fence();
    this.#registers.writeHalves64(STREAMING_FLUSH_SYNC, Math.floor(flag / TWO_TO_32), flag | 0);
    // The clock costs more than a sync that is done at once.
    while (this.#memory.load32(flag) === 0 && this.#memory.load32(flag + 4) === 0) {
      if (!this.#isPatient()) return false;
    }
    return true;
  }

  #isPatient(): boolean {
    const now = milliseconds();
    const patience = mayWait() ? this.#syncMilliseconds : Math.min(WOULD_BLOCK_AFTER_MS, this.#syncMilliseconds);
    if (this.#deadline === 0) this.#deadline = now + patience;
    return now < this.#deadline;
  }

  /**
   * Only those of the pages from bus address `from` to `to` that stand in the tags; false when none does. A line of before that is not
   * seen there has gone to memory; one that is new was made by a translation that is not to be flushed.
   */
  #flushCached(from: number, to: number): boolean {
    let found = false;
    for (let line = 0; line < STREAMING_LINES; line++) {
      const tag = this.#registers.readLow64(STREAMING_TAGS + 8 * line);
      const page = (tag & STREAMING_TAG_PAGE) >>> 0;
      if ((tag & STREAMING_TAG_VALID) === 0 || page < from || page >= to) continue;
      this.#flushPage(page);
      found = true;
    }
    return found;
  }

  #flushPage(iova: number): void {
    this.#registers.writeHalves64(STREAMING_PAGE_FLUSH, 0, iova | 0);
  }
}
