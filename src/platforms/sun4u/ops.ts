/**
 * TableOps of a sun4u IOMMU's TSB: a flat table (flat-table.ts), invalidated page by page through the bridge's registers.
 *
 * A flush is waited for by reading CONTROL, and no lock is held meanwhile: every write names its page, so threads need no order.
 * What has been set is flushed too: a stray DMA may have put the dummy page, to which free entries lead, into the IOTLB.
 *
 * With a streaming cache:
 * - All that is set between two flushes has one context, so that a scatterlist is flushed by one write. Without a free context, pages are
 *   flushed. A context is held before its first entry stands in the table, and released after its last: on failure too.
 * - What must be flushed is read from the entries that `clear` empties, whoever had set them. Strict: it is flushed after the
 *   IOTLB has forgotten them, since until then a DMA may make new lines; and before `invalidate` returns, data is in memory. Lazy:
 *   data must be in memory when `unmap` returns, so `flush` does it; lines that a stray DMA makes after that are flushed by
 *   `invalidateAll`, which looks for all that the cache holds.
 * - Only what a device may write is waited for.
 */

import type { EntryFormat } from "../../formats/contract.ts";
import { createSun4uIopte, NOT_STREAMED, type Sun4uDummyPage, streamingContextOf } from "../../formats/sun4u-iopte.ts";
import type { Memory, Registers } from "../../machine/contract.ts";
import type { EntryValue } from "../../table/contract.ts";
import type { Failure } from "../../units/failure.ts";
import { DEVICE_WRITES, type DmaWindow, type EntryAccess } from "../../units/numbers.ts";
import { FlatTableOps } from "../flat-table.ts";
import { CONTEXTS, NO_CONTEXT, type StreamingContexts } from "./contexts.ts";
import { anyWritten, type EmptiedRun, PendingFlushes } from "./pending-flushes.ts";
import * as bridge from "./registers.ts";
import { StreamingFlush } from "./streaming.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { CONTROL, ERROR, ERROR_STATUS, ERROR_TIME_OUT, FLUSH, TAG_COUNT, TAGS } = bridge;

/** More pages than the IOTLB has entries: emptying it is less to write. */
export const FLUSH_ALL_ABOVE: number = TAG_COUNT;

export interface Sun4uOpsOptions {
  readonly memory: Memory;
  readonly registers: Registers;
  readonly window: DmaWindow;
  readonly tableAddress: number;
  readonly dummyPage: Sun4uDummyPage;
  /** Undefined: no streaming cache. */
  readonly contexts: StreamingContexts | undefined;
  /** Does `invalidate` come long after `unmap` has returned? */
  readonly lazy: boolean;
  readonly syncMilliseconds: number;
}

/** One per thread. */
export class Sun4uOps extends FlatTableOps {
  readonly streaming: StreamingFlush;
  readonly #registers: Registers;
  /** Below 2^32, so plain numbers. */
  readonly #base: number;
  readonly #pageBytes: number;
  readonly #dummyPage: Sun4uDummyPage;
  readonly #contexts: StreamingContexts | undefined;
  readonly #lazy: boolean;
  /** By context, made when first used. */
  readonly #formats: EntryFormat[] = [];
  readonly #pending: PendingFlushes = new PendingFlushes();
  readonly #value: EntryValue = { page: 0, access: 0 };
  /** Of what has been set since the last flush. */
  #context = NO_CONTEXT;
  /** All entries set since the last `flush` lie in [setFirst, setEnd); empty: none. */
  #setFirst = 0;
  #setEnd = 0;

  /** Throws InvalidArgumentError for a page size that the format lacks, or a table that memory can't hold. */
  constructor(options: Sun4uOpsOptions) {
    const { memory, registers, window, tableAddress, dummyPage, contexts } = options;
    const { pageShift, entries } = window;
    super({ memory, pageShift, entries, tableAddress, format: createSun4uIopte({ dummyPage }) });
    this.streaming = new StreamingFlush(options);
    this.#registers = registers;
    this.#base = Number(window.base);
    this.#pageBytes = 2 ** pageShift;
    this.#dummyPage = dummyPage;
    this.#contexts = contexts;
    this.#lazy = options.lazy;
  }

  override set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    if (this.#contexts === undefined) return this.setCoherent(first, count, page, access);
    this.checkRange(first, count);
    const context = this.#hold(this.#contexts, count);
    const failure = this.setAs(this.#formatOf(context), first, count, page, access);
    if (failure === undefined) this.#noteSet(first, first + count);
    else if (context !== NO_CONTEXT) this.#contexts.release(context, count);
    return failure;
  }

  /** Past the streaming cache: CPU and device see each other's writes at once. */
  setCoherent(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    const failure = super.set(first, count, page, access);
    if (failure === undefined) this.#noteSet(first, first + count);
    return failure;
  }

  /** Empties the whole table, whatever memory held there: before the bridge is told of it. */
  initialize(): void {
    super.clear(0, this.entries);
    super.flush();
  }

  override clear(first: number, count: number): void {
    if (this.#contexts === undefined) {
      super.clear(first, count);
      return;
    }
    this.checkRange(first, count);
    const runs = this.#runsOf(first, count);
    for (const { first, end, context, written } of runs) {
      for (let entry = first; entry < end; entry++) this.#pending.add(entry, context, written);
    }
    super.clear(first, count);
    for (const { first, end, context } of runs) {
      if (context > NO_CONTEXT) this.#contexts.release(context, end - first);
    }
    this.#context = NO_CONTEXT;
  }

  override exchange(entry: number, page: number, access: EntryAccess, old: EntryValue): Failure | undefined {
    if (this.#contexts === undefined) return super.exchange(entry, page, access, old);
    const [run] = this.#runsOf(entry, 1) as [EmptiedRun];
    // The new entry passes the cache by.
    const failure = super.exchange(entry, page, access, old);
    if (failure !== undefined) return failure;
    this.#pending.add(entry, run.context, run.written);
    if (run.context > NO_CONTEXT) this.#contexts.release(run.context, 1);
    return undefined;
  }

  /**
   * "platform-busy" when a DMA in flight may still put the dummy page back into the IOTLB. Lazy: also that, or "would-block", when what
   * devices have written has not reached memory in time.
   */
  override flush(): Failure | undefined {
    this.#context = NO_CONTEXT;
    super.flush();
    const [first, end] = [this.#setFirst, this.#setEnd];
    this.#setFirst = this.#setEnd = 0;
    const failure = first === end ? undefined : this.#forget(first, end);
    if (failure !== undefined) return failure;
    if (!this.#lazy || this.#contexts === undefined) return undefined;
    const runs = this.#pending.takeAll();
    return runs === undefined ? this.#flushPages(0, this.entries) : this.#flushRuns(runs);
  }

  /** "platform-busy" when a DMA that may use the entries did not end in the machine's time; and as `flush`. */
  invalidate(first: number, end: number): Failure | undefined {
    this.checkRange(first, end - first);
    const failure = this.#forget(first, end);
    if (failure !== undefined || this.#contexts === undefined) return failure;
    const runs = this.#pending.take(first, end);
    return runs === undefined ? this.#flushPages(first, end) : this.#flushRuns(runs);
  }

  invalidateAll(): Failure | undefined {
    this.#emptyTags();
    const failure = this.#completed();
    if (failure !== undefined || this.#contexts === undefined) return failure;
    // Among all pages are those of what is pending.
    this.#pending.takeAll();
    return this.#flushPages(0, this.entries);
  }

  /** What devices have written through these entries, which stay as they are, is in memory; what they have fetched is forgotten. */
  synchronize(first: number, count: number): Failure | undefined {
    if (this.#contexts === undefined) return undefined;
    this.checkRange(first, count);
    return this.#flushRuns(this.#runsOf(first, count));
  }

  /** Of each context, how many entries of the table carry it. */
  countContexts(): Uint32Array {
    const carried = new Uint32Array(CONTEXTS);
    for (let entry = 0; entry < this.entries; entry++) {
      const context = streamingContextOf(this.load(entry));
      if (context > NO_CONTEXT) carried[context] = (carried[context] as number) + 1;
    }
    return carried;
  }

  #noteSet(first: number, end: number): void {
    const none = this.#setFirst === this.#setEnd;
    this.#setFirst = none ? first : Math.min(this.#setFirst, first);
    this.#setEnd = none ? end : Math.max(this.#setEnd, end);
  }

  /** The IOTLB forgets these entries. */
  #forget(first: number, end: number): Failure | undefined {
    if (end - first > FLUSH_ALL_ABOVE) this.#emptyTags();
    else {
      for (let entry = first; entry < end; entry++) {
        this.#registers.write64(FLUSH, BigInt(this.#base + entry * this.#pageBytes));
      }
    }
    return this.#completed();
  }

  #hold(contexts: StreamingContexts, count: number): number {
    const context = this.#context;
    if (context === NO_CONTEXT || !contexts.hold(context, count)) this.#context = contexts.take(count);
    return this.#context;
  }

  #formatOf(context: number): EntryFormat {
    this.#formats[context] ??= createSun4uIopte({ context, streaming: true, dummyPage: this.#dummyPage });
    return this.#formats[context];
  }

  /** The entries as they stand in the table. */
  #runsOf(first: number, count: number): EmptiedRun[] {
    const runs: EmptiedRun[] = [];
    for (let entry = first; entry < first + count; entry++) {
      const words = this.load(entry);
      const context = streamingContextOf(words);
      this.format.decode(words, 0, this.pageShift, this.#value);
      const written = context !== NOT_STREAMED && (this.#value.access & DEVICE_WRITES) !== 0;
      const last = runs.at(-1);
      if (last !== undefined && last.context === context && last.written === written) last.end++;
      else runs.push({ first: entry, end: entry + 1, context, written });
    }
    return runs;
  }

  #flushRuns(runs: readonly EmptiedRun[]): Failure | undefined {
    for (const run of runs) this.streaming.flushRun(run);
    if (!runs.some(({ context }) => context !== NOT_STREAMED)) return undefined;
    return this.#completed() ?? (anyWritten(runs) ? this.streaming.sync() : undefined);
  }

  #flushPages(first: number, end: number): Failure | undefined {
    this.streaming.flushPages(first, end);
    return this.#completed() ?? this.streaming.sync();
  }

  #emptyTags(): void {
    for (let tag = 0; tag < TAG_COUNT; tag++) this.#registers.write64(TAGS + 8 * tag, 0n);
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
