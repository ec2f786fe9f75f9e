/**
 * One thread's control of the streaming cache: it flushes contexts and pages, and waits until flushed data is in memory.
 *
 * The wait is bounded, and no lock is held (defect 15: 100 ms under a lock). Each thread has its own flags in memory.
 *
 * A sync that timed out may complete later and set its flag then. A later sync must not take that for its own completion, because its data
 * may not be in memory. So the syncs of a flag that may be outstanding are counted. With k outstanding syncs, the thread clears the flag,
 * requests a sync and waits, up to k + 1 times: only the (k + 1)st completion is certainly that of a new sync. The bridge completes syncs
 * in order, so no earlier sync is outstanding then. Two flags are used alternately, so that the count returns to zero with the first sync
 * that completes in time.
 *
 * A sync outlives the thread that requested it. So the counts lie in shared memory, and the next thread with the same number continues with
 * them.
 */
import { NOT_STREAMED, STREAM_CONTEXT, STREAM_WRITTEN } from "../../formats/sun4u-iopte.ts";
import type { Memory, Registers } from "../../machine/contract.ts";
import { mayWait, milliseconds, peek, poke, type SharedWords } from "../../shared/memory.ts";
import type { Failure } from "../../units/failure.ts";
import type { DmaWindow } from "../../units/numbers.ts";
import { NO_CONTEXT } from "./contexts.ts";
import {
  STREAMING_CONTEXT_FLUSH,
  STREAMING_FLAG_BYTES,
  STREAMING_FLUSH_SYNC,
  STREAMING_LINES,
  STREAMING_PAGE_FLUSH,
  STREAMING_TAG_PAGE,
  STREAMING_TAG_VALID,
  STREAMING_TAGS,
} from "./registers.ts";
import type { StreamedRuns } from "./streamed-runs.ts";

/** Bytes of one thread's flags. */
export const FLAGS_BYTES: number = 2 * STREAMING_FLAG_BYTES;
/** Words of one thread: for each flag, the number of syncs that may still set it. Initially 0. */
export const SYNC_WORDS = 2;

/** Time limit of a thread that may not sleep. */
const WOULD_BLOCK_AFTER_MS = 1;
const TWO_TO_32 = 2 ** 32;
const CLEAR: Uint32Array = new Uint32Array(2);

/** Results of `flushRuns`, a bit set. */
export const NOTHING_FLUSHED = 0;
const READ_FLUSHED = 1;
/** Devices may have written: `sync` is needed. */
export const WRITTEN_FLUSHED = 2;

export interface StreamingFlushOptions {
  readonly memory: Memory;
  readonly registers: Registers;
  readonly window: DmaWindow;
  /** Time limit of a sync. */
  readonly syncMilliseconds: number;
}

/** One object per thread. */
export class StreamingFlush {
  readonly #memory: Memory;
  readonly #registers: Registers;
  readonly #base: number;
  readonly #pageBytes: number;
  readonly #syncMilliseconds: number;
  /** Physical address of the first flag: a multiple of 64. */
  #flagsAddress = 0;
  /** The shared words with this thread's counts. */
  #outstanding: SharedWords | undefined;
  #outstandingAt = 0;
  /** Time at which the current sync times out; 0: not computed yet. */
  #deadline = 0;

  constructor({ memory, registers, window, syncMilliseconds }: StreamingFlushOptions) {
    this.#memory = memory;
    this.#registers = registers;
    this.#base = Number(window.base);
    this.#pageBytes = 2 ** window.pageShift;
    this.#syncMilliseconds = syncMilliseconds;
  }

  /**
   * Sets the address of this thread's flags, and the position of its counts in `outstanding`. They may hold the counts of an earlier thread
   * with the same number.
   */
  useFlags(address: number, outstanding: SharedWords, at: number): void {
    this.#flagsAddress = address;
    this.#outstanding = outstanding;
    this.#outstandingAt = at;
  }

  /** Flushes each run by its context, or page by page if it has none. */
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

  /** Flushes all lines of the cache, of any window. False: the cache is empty. */
  flushAll(): boolean {
    return this.#flushCached(0, 2 ** 32);
  }

  /** Waits until flushed data is in memory. A failure: the time limit is exceeded, or the bridge reports an error. */
  sync(): Failure | undefined {
    this.#deadline = 0;
    const words = this.#outstanding as SharedWords;
    const at = this.#outstandingAt;
    const flag = peek(words, at) <= peek(words, at + 1) ? 0 : 1;
    const before = peek(words, at + flag);
    for (let seen = 0; seen <= before; seen++) {
      // Counted before the request, so that the next thread with this number knows of the sync, wherever this thread dies.
      poke(words, at + flag, before + 1);
      if (!this.#syncOnce(this.#flagsAddress + flag * STREAMING_FLAG_BYTES)) {
        return mayWait() ? "platform-busy" : "would-block";
      }
      poke(words, at + flag, before);
    }
    poke(words, at + 1 - flag, 0);
    return undefined;
  }

  /** Clears the flag, requests a sync, and waits until the flag is set. False: it was not set before the deadline. */
  #syncOnce(flag: number): boolean {
    this.#memory.storeWords(flag, CLEAR, CLEAR.length, 0);
    this.#memory.fence();
    this.#registers.writeHalves64(STREAMING_FLUSH_SYNC, Math.floor(flag / TWO_TO_32), flag | 0);
    // Reading the clock costs more than a sync that completes at once.
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
   * Flushes those pages of [from, to) that the tags contain; false if there are none. An earlier line that is missing in the tags has been
   * written to memory. A new line was made by a translation that is still valid.
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
