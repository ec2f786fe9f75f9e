/**
 * The heart of the software IOMMU, as its registers and hypervisors drive it: partitions of devices, windows of bus addresses,
 * the IOTLB. Platforms never see it; what they program (iommus/) comes down to these calls.
 *
 * An invalidation is three steps. The caller has emptied the entries, or stored others in their place:
 * (a) Wait for the DMAs in flight to pass. One of them may have read an entry before that, and be about to put it into the
 *     IOTLB. One that begins from now on reads the entries as they are.
 * (b) Take the translations away from the IOTLB.
 * (c) Wait for the DMAs in flight once more. One of them may have found its translation in the IOTLB before (b).
 * Without (a) a stale translation would stay in the IOTLB for ever; without (c) a DMA could still be moving bytes when the
 * page goes to its next owner. In the common case nothing is in flight: an atomic store and two atomic loads.
 *
 * Calls that wait answer PASSED, or why they could not wait for longer: then a DMA may still use what was there before. Windows and
 * partitions are set up by one thread at a time; invalidations come from all.
 */

import { count } from "../../shared/counters.ts";
import type { SharedWords } from "../../shared/memory.ts";
import * as memory from "../../shared/memory.ts";
import { checkInteger, InvalidArgumentError } from "../../units/errors.ts";
import { MAX_ENTRIES } from "../../units/numbers.ts";
import { highHalf, lowHalf } from "../../units/words64.ts";
import type { Iotlb } from "./iotlb.ts";
import type { Layout } from "./layout.ts";
import * as layouts from "./layout.ts";
import type { DmaInFlight } from "./threads.ts";
import * as threads from "./threads.ts";
import { DECODERS } from "./walk.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { load, poke, store } = memory;
const { DEVICE, deviceAt, PARTITION, partitionAt, THREAD, WINDOW, windowAt, windowNumber } = layouts;
const { WINDOW_DIRECT, WINDOW_FORMAT_SHIFT, WINDOW_OPEN } = layouts;
const { PASSED, slotAt } = threads;

const ENTRY_BYTES = 8;
/** Tables, and each of their levels, begin at multiples of this. */
const TABLE_ALIGNMENT = 4096;
const MAX_LEVELS = 5;

/** A window whose addresses a table in memory translates. */
export interface TranslatedWindow {
  /** Bus address of entry 0: a multiple of the page size. */
  readonly base: bigint;
  /** log2 of the IO page size: one that the format's decoder has. */
  readonly pageShift: number;
  readonly entries: number;
  /** Code of the entries' format: an index of DECODERS in walk.ts. */
  readonly format: number;
  /** Physical address of the table, or of its first level: a multiple of 4096. */
  readonly tableAddress: number;
  /** 1 (a flat table; default) .. 5, where each inner level and the last hold 2^levelBits entries. */
  readonly levels?: number;
  readonly levelBits?: number;
}

export interface TranslationParts {
  readonly state: SharedWords;
  readonly layout: Layout;
  readonly thread: number;
  readonly memoryBytes: number;
  readonly iotlb: Iotlb;
  readonly inFlight: DmaInFlight;
}

/** One thread's view. Holds no state of its own. */
export class TranslationUnit {
  readonly partitions: number;
  /** Windows of each partition. */
  readonly windows: number;
  readonly devices: number;
  readonly memoryBytes: number;
  readonly #state: SharedWords;
  readonly #layout: Layout;
  readonly #iotlb: Iotlb;
  readonly #inFlight: DmaInFlight;
  readonly #slotAt: number;

  constructor(parts: TranslationParts) {
    this.partitions = parts.layout.partitions;
    this.windows = parts.layout.windows;
    this.devices = parts.layout.devices;
    this.memoryBytes = parts.memoryBytes;
    this.#state = parts.state;
    this.#layout = parts.layout;
    this.#iotlb = parts.iotlb;
    this.#inFlight = parts.inFlight;
    this.#slotAt = slotAt(parts.layout, parts.thread);
  }

  /**
   * Opens a window over a table; what was open there ends first. Throws InvalidArgumentError, and changes nothing, for a window
   * that can't be: a format without this page size, a table outside of memory, addresses beyond 2^64.
   */
  openWindow(partition: number, window: number, setup: TranslatedWindow): number {
    const { base, pageShift, entries, format, tableAddress, levels = 1, levelBits = 0 } = setup;
    this.#checkWindow(setup);
    const answer = this.closeWindow(partition, window);
    if (answer !== PASSED) return answer;
    const at = windowAt(this.#layout, partition, window);
    poke(this.#state, at + WINDOW.levels, levels);
    poke(this.#state, at + WINDOW.levelBits, levelBits);
    this.#pokeWide(at + WINDOW.tableLow, at + WINDOW.tableHigh, BigInt(tableAddress));
    this.#open(at, base, pageShift, entries, WINDOW_OPEN | (format << WINDOW_FORMAT_SHIFT));
    return PASSED;
  }

  /** Opens a window without a table: bus address − base is the physical address, for all memory. */
  openDirect(partition: number, window: number, base: bigint): number {
    const answer = this.closeWindow(partition, window);
    if (answer !== PASSED) return answer;
    this.#open(
      windowAt(this.#layout, partition, window),
      base,
      12,
      this.memoryBytes / 4096,
      WINDOW_OPEN | WINDOW_DIRECT,
    );
    return PASSED;
  }

  /** Closes a window. With PASSED, no DMA uses what it translated; a call that answered otherwise can be repeated. */
  closeWindow(partition: number, window: number): number {
    this.#checkIndices(partition, window);
    store(this.#state, windowAt(this.#layout, partition, window) + WINDOW.control, 0);
    return this.invalidateWindow(partition, window);
  }

  isOpen(partition: number, window: number): boolean {
    this.#checkIndices(partition, window);
    return load(this.#state, windowAt(this.#layout, partition, window) + WINDOW.control) !== 0;
  }

  /** The partition's devices no longer translate entries [first, end) of the window by what was there before. */
  invalidate(partition: number, window: number, first: number, end: number): number {
    const before = this.#beginForgetting();
    // Even when one has not passed: less is stale without these translations than with them.
    this.#iotlb.forget(windowNumber(this.#layout, partition, window), first, end);
    return this.#endForgetting(before);
  }

  invalidateWindow(partition: number, window: number): number {
    const before = this.#beginForgetting();
    this.#iotlb.forgetWindow(windowNumber(this.#layout, partition, window));
    return this.#endForgetting(before);
  }

  /** Of all windows of all partitions. */
  invalidateAll(): number {
    const before = this.#beginForgetting();
    this.#iotlb.forgetAll();
    return this.#endForgetting(before);
  }

  /** Moves a device into a partition; devices begin in partition 0. With PASSED, it no longer uses the windows of the old one. */
  moveDevice(device: number, partition: number): number {
    checkInteger("device", device, 0, this.devices - 1);
    checkInteger("partition", partition, 0, this.partitions - 1);
    store(this.#state, deviceAt(this.#layout, device) + DEVICE.partition, partition);
    return this.#inFlight.awaitPassing();
  }

  partitionOf(device: number): number {
    checkInteger("device", device, 0, this.devices - 1);
    return load(this.#state, deviceAt(this.#layout, device) + DEVICE.partition);
  }

  /** With PASSED, no DMA that was in flight is so still. */
  awaitDma(): number {
    return this.#inFlight.awaitPassing();
  }

  /** Cuts a partition off: with PASSED, no DMA of its devices moves anything until it is thawed. */
  freeze(partition: number): number {
    this.#checkIndices(partition, 0);
    store(this.#state, partitionAt(this.#layout, partition) + PARTITION.frozen, 1);
    return this.#inFlight.awaitPassing();
  }

  thaw(partition: number): void {
    this.#checkIndices(partition, 0);
    store(this.#state, partitionAt(this.#layout, partition) + PARTITION.frozen, 0);
  }

  isFrozen(partition: number): boolean {
    this.#checkIndices(partition, 0);
    return load(this.#state, partitionAt(this.#layout, partition) + PARTITION.frozen) !== 0;
  }

  /** Does a fault of one of the partition's devices freeze it? Not unless this has been called. */
  freezeOnFault(partition: number, freezes: boolean): void {
    this.#checkIndices(partition, 0);
    store(this.#state, partitionAt(this.#layout, partition) + PARTITION.freezesOnFault, freezes ? 1 : 0);
  }

  /** Counts an invalidation, and step (a). */
  #beginForgetting(): number {
    const state = this.#state;
    count(state, this.#slotAt + THREAD.invalidations, 1);
    // Before the look at the DMAs in flight, what this thread stored must be visible: a DMA that is not seen sees it.
    store(state, this.#slotAt + THREAD.doorbell, 0);
    return this.#inFlight.awaitPassing();
  }

  /** Step (c). */
  #endForgetting(before: number): number {
    return before === PASSED ? this.#inFlight.awaitPassing() : before;
  }

  #open(at: number, base: bigint, pageShift: number, entries: number, control: number): void {
    const state = this.#state;
    this.#pokeWide(at + WINDOW.baseLow, at + WINDOW.baseHigh, base);
    poke(state, at + WINDOW.pageShift, pageShift);
    poke(state, at + WINDOW.entries, entries);
    // Pairs with the load of control at the start of each DMA.
    store(state, at + WINDOW.control, control);
  }

  #pokeWide(low: number, high: number, value: bigint): void {
    poke(this.#state, low, lowHalf(value));
    poke(this.#state, high, highHalf(value));
  }

  #checkIndices(partition: number, window: number): void {
    checkInteger("partition", partition, 0, this.partitions - 1);
    checkInteger("window", window, 0, this.windows - 1);
  }

  #checkWindow({ base, pageShift, entries, format, tableAddress, levels = 1, levelBits = 0 }: TranslatedWindow): void {
    const decoder = DECODERS[format];
    if (decoder === undefined) {
      throw new InvalidArgumentError("format code of the window", format, `1 to ${DECODERS.length - 1}`);
    }
    checkInteger("entries of the window", entries, 1, MAX_ENTRIES);
    if (!decoder.pageShifts.includes(pageShift)) {
      const shifts = decoder.pageShifts.join(", ");
      throw new InvalidArgumentError(
        "page shift of the window",
        pageShift,
        `one of ${shifts} with format code ${format}`,
      );
    }
    checkInteger("levels of the window's table", levels, 1, MAX_LEVELS);
    if (levels > 1 && !decoder.hasLevels) {
      throw new InvalidArgumentError("levels of the window's table", levels, `1 with format code ${format}`);
    }
    if (levels > 1) checkInteger("entries of a level, as log2", levelBits, 9, 31);
    this.#checkTable(tableAddress, levels === 1 ? entries * ((decoder.entryWords ?? 2) / 2) : 2 ** levelBits);
    const pageBytes = 1n << BigInt(pageShift);
    if (base < 0n || base % pageBytes !== 0n || base + BigInt(entries) * pageBytes > 1n << 64n) {
      const expected = `a multiple of ${pageBytes} with ${entries} pages below 2^64`;
      throw new InvalidArgumentError("base of the window", base, expected);
    }
  }

  #checkTable(address: number, entries: number): void {
    const fits = Number.isInteger(address) && address >= 0 && address % TABLE_ALIGNMENT === 0;
    if (fits && address + entries * ENTRY_BYTES <= this.memoryBytes) return;
    const expected = `a multiple of ${TABLE_ALIGNMENT} with ${entries} entries below ${this.memoryBytes}`;
    throw new InvalidArgumentError("table address of the window", address, expected);
  }
}
