/**
 * TableOps of a sun4u IOMMU's TSB: a flat table (flat-table.ts), invalidated page by page through the bridge's registers.
 *
 * A read of CONTROL waits for earlier writes to FLUSH. No lock is held: every write contains its page, so the threads' writes need no
 * order. Entries that were set are invalidated too, because a stray DMA may have put the dummy page into the IOTLB.
 *
 * With a streaming cache:
 * - All entries set between two calls of `publish` have one context, so that a scatterlist is flushed by one write. Without a free context,
 *   pages are flushed. A context is counted before its first entry is written and released after its last is cleared, on failure too.
 * - `clear` reads the context to flush from the entries that it empties, whichever thread set them. Strict mode: the flush follows the
 *   invalidation of the IOTLB, since a DMA may make new lines until then, and the data is in memory when `invalidate` returns. Lazy mode:
 *   the data must be in memory when `unmap` returns, so `publish` flushes. `invalidateAll` flushes all lines of the cache, including those
 *   that a stray DMA makes after that.
 * - The flush waits only for mappings that a device may write.
 */

import { ENTRY_BYTES, type EntryFormat } from "../../formats/contract.ts";
import type * as iopte from "../../formats/sun4u-iopte.ts";
import { createSun4uIopte, NOT_STREAMED, STREAM_CONTEXT, streamingOf } from "../../formats/sun4u-iopte.ts";
import type { Memory, Registers } from "../../machine/contract.ts";
import type { EntryValue } from "../../table/contract.ts";
import type { Failure } from "../../units/failure.ts";
import type { DmaWindow, EntryAccess } from "../../units/numbers.ts";
import { FlatTableOps } from "../flat-table.ts";
import { CONTEXTS, NO_CONTEXT, type StreamingContexts } from "./contexts.ts";
import { OpenContext } from "./open-context.ts";
import { PendingFlushes } from "./pending-flushes.ts";
import { CONTROL, ERROR, ERROR_STATUS, ERROR_TIME_OUT, FLUSH, TAG_COUNT, TAGS } from "./registers.ts";
import { StreamedRuns } from "./streamed-runs.ts";
import type * as cache from "./streaming.ts";
import { NOTHING_FLUSHED, StreamingFlush, WRITTEN_FLUSHED } from "./streaming.ts";

/** For more pages than the IOTLB has entries, emptying the IOTLB takes fewer writes. */
export const FLUSH_ALL_ABOVE: number = TAG_COUNT;

export interface Sun4uOpsOptions {
  readonly memory: Memory;
  readonly registers: Registers;
  readonly window: DmaWindow;
  readonly tableAddress: number;
  readonly dummyPage: iopte.Sun4uDummyPage;
  /** Undefined: no streaming cache. */
  readonly contexts: StreamingContexts | undefined;
  /** True in lazy mode: the IOTLB is invalidated long after `unmap` has returned. */
  readonly lazy: boolean;
  readonly syncMilliseconds: number;
}

/** One object per thread. */
export class Sun4uOps extends FlatTableOps {
  readonly streaming: cache.StreamingFlush;
  readonly #registers: Registers;
  /** Bus addresses are below 2^32, so plain numbers. */
  readonly #base: number;
  readonly #pageBytes: number;
  readonly #dummyPage: iopte.Sun4uDummyPage;
  readonly #contexts: StreamingContexts | undefined;
  readonly #lazy: boolean;
  /** Formats by context, created at first use. */
  readonly #formats: EntryFormat[] = [];
  /** The context of entries set since the last `publish`. */
  readonly #open: OpenContext | undefined;
  readonly #pending: PendingFlushes = new PendingFlushes();
  /** Result of `#scan`. */
  readonly #runs: StreamedRuns = new StreamedRuns();
  /** All entries set since the last `publish` lie in [setFirst, setEnd); empty: none. */
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
    this.#open = contexts === undefined ? undefined : new OpenContext(contexts);
    this.#lazy = options.lazy;
  }

  override set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    const open = this.#open;
    if (open === undefined) return this.setCoherent(first, count, page, access);
    this.checkRange(first, count);
    const address = this.addressOf(first);
    const failure = this.entryMemory.setAs(this.#formatOf(open.hold(count)), address, count, page, access);
    if (failure === undefined) this.#noteSet(first, first + count);
    else open.undo(count);
    return failure;
  }

  /** Bypasses the streaming cache: CPU and device see each other's writes at once. */
  setCoherent(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    const failure = super.set(first, count, page, access);
    if (failure === undefined) this.#noteSet(first, first + count);
    return failure;
  }

  /** Empties the whole table, before the bridge uses it. */
  initialize(): void {
    super.clear(0, this.entries);
    super.publish();
  }

  override clear(first: number, count: number): void {
    if (this.#contexts === undefined) {
      super.clear(first, count);
      return;
    }
    this.checkRange(first, count);
    this.#open?.leave();
    const end = first + count;
    for (let from = first, to = first; from < end; from = to) {
      to = this.#scan(from, end);
      super.clear(from, to - from);
      this.#pending.add(this.#runs);
      this.#release(this.#contexts);
    }
  }

  override exchange(entry: number, page: number, access: EntryAccess, old: EntryValue): Failure | undefined {
    if (this.#contexts === undefined) return super.exchange(entry, page, access, old);
    this.checkRange(entry, 1);
    this.#scan(entry, entry + 1);
    // The new entry bypasses the cache.
    const failure = super.exchange(entry, page, access, old);
    if (failure !== undefined) return failure;
    this.#pending.add(this.#runs);
    this.#release(this.#contexts);
    return undefined;
  }

  /**
   * "platform-busy" if a DMA in flight may still put the dummy page back into the IOTLB. In lazy mode, "platform-busy" or "would-block"
   * also if the devices' writes have not reached memory in time.
   */
  override publish(): Failure | undefined {
    this.#open?.leave();
    super.publish();
    const first = this.#setFirst;
    const end = this.#setEnd;
    this.#setFirst = 0;
    this.#setEnd = 0;
    const failure = first === end ? undefined : this.#forget(first, end);
    if (failure !== undefined) return failure;
    if (!this.#lazy || this.#contexts === undefined) return undefined;
    const runs = this.#pending.takeAll();
    return runs === undefined ? this.#flushPages(0, this.entries) : this.#complete(this.streaming.flushRuns(runs));
  }

  /** "platform-busy" if a DMA that may use the entries does not end within the machine's time limit. Other failures as `publish`. */
  invalidate(first: number, end: number): Failure | undefined {
    this.checkRange(first, end - first);
    const failure = this.#forget(first, end);
    if (failure !== undefined || this.#contexts === undefined) return failure;
    const runs = this.#pending.take(first, end);
    return runs === undefined ? this.#flushPages(first, end) : this.#complete(this.streaming.flushRuns(runs));
  }

  invalidateAll(): Failure | undefined {
    this.#emptyTags();
    const failure = this.#completed();
    if (failure !== undefined || this.#contexts === undefined) return failure;
    // The flush of all pages below includes the pending ones.
    this.#pending.takeAll();
    return this.#flushPages(0, this.entries);
  }

  /** Flushes the cache for these entries, which stay mapped: devices' writes reach memory, and prefetched data is dropped. */
  synchronize(first: number, count: number): Failure | undefined {
    if (this.#contexts === undefined) return undefined;
    this.checkRange(first, count);
    const end = first + count;
    let flushed = NOTHING_FLUSHED;
    for (let at = first; at < end; ) {
      at = this.#scan(at, end);
      flushed |= this.streaming.flushRuns(this.#runs);
    }
    return this.#complete(flushed);
  }

  /** Counts the entries of the table by context; entries without one count for NO_CONTEXT. */
  countContexts(): Uint32Array {
    const carried = new Uint32Array(CONTEXTS);
    for (let at = 0; at < this.entries; ) {
      at = this.#scan(at, this.entries);
      for (let i = 0; i < this.#runs.length; i++) {
        const context = contextOf(this.#runs.streaming[i] as number);
        const entries = (this.#runs.end[i] as number) - (this.#runs.first[i] as number);
        carried[context] = (carried[context] as number) + entries;
      }
    }
    return carried;
  }

  #noteSet(first: number, end: number): void {
    const none = this.#setFirst === this.#setEnd;
    this.#setFirst = none ? first : Math.min(this.#setFirst, first);
    this.#setEnd = none ? end : Math.max(this.#setEnd, end);
  }

  /** Invalidates these entries in the IOTLB. */
  #forget(first: number, end: number): Failure | undefined {
    if (end - first > FLUSH_ALL_ABOVE) this.#emptyTags();
    else {
      for (let entry = first; entry < end; entry++) {
        this.#registers.writeHalves64(FLUSH, 0, (this.#base + entry * this.#pageBytes) | 0);
      }
    }
    return this.#completed();
  }

  #formatOf(context: number): EntryFormat {
    this.#formats[context] ??= createSun4uIopte({ context, streaming: true, dummyPage: this.#dummyPage });
    return this.#formats[context];
  }

  /**
   * Records, in `#runs`, how the entries of [first, end) use the streaming cache. Returns `end`, or the first entry that no longer fits
   * into the list.
   */
  #scan(first: number, end: number): number {
    const { memory } = this;
    const runs = this.#runs;
    runs.length = 0;
    let from = first;
    let streaming = NOT_STREAMED;
    let address = this.addressOf(first);
    for (let entry = first; entry < end; entry++) {
      const found = streamingOf(memory.load32(address), memory.load32(address + 4));
      address += ENTRY_BYTES;
      if (found === streaming) continue;
      if (entry > from && !runs.add(from, entry, streaming)) return from;
      from = entry;
      streaming = found;
    }
    return runs.add(from, end, streaming) ? end : from;
  }

  /** Releases the contexts of the recorded entries. */
  #release(contexts: StreamingContexts): void {
    const runs = this.#runs;
    for (let i = 0; i < runs.length; i++) {
      const context = contextOf(runs.streaming[i] as number);
      if (context !== NO_CONTEXT) contexts.release(context, (runs.end[i] as number) - (runs.first[i] as number));
    }
  }

  /** Waits until flushes have arrived and, if devices may have written, until their data is in memory. */
  #complete(flushed: number): Failure | undefined {
    if (flushed === NOTHING_FLUSHED) return undefined;
    return this.#completed() ?? ((flushed & WRITTEN_FLUSHED) === 0 ? undefined : this.streaming.sync());
  }

  #flushPages(first: number, end: number): Failure | undefined {
    this.streaming.flushPages(first, end);
    return this.#completed() ?? this.streaming.sync();
  }

  #emptyTags(): void {
    for (let tag = 0; tag < TAG_COUNT; tag++) this.#registers.writeHalves64(TAGS + 8 * tag, 0, 0);
  }

  /** Reads CONTROL, which completes the writes before it. */
  #completed(): Failure | undefined {
    return timedOut(this.#registers) ? "platform-busy" : undefined;
  }
}

/** True if a write of this thread to the registers met a DMA that did not end. */
export function timedOut(registers: Registers): boolean {
  const control = registers.readLow64(CONTROL);
  return (control & ERROR) !== 0 && (control & ERROR_STATUS) === ERROR_TIME_OUT;
}

/** The context in a result of `streamingOf`; NO_CONTEXT for an entry that bypasses the cache. */
function contextOf(streaming: number): number {
  return streaming === NOT_STREAMED ? NO_CONTEXT : streaming & STREAM_CONTEXT;
}
