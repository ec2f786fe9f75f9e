/**
 * The translation unit of the software IOMMU: partitions of devices, windows of bus addresses, the IOTLB. Register models (iommus/) and
 * hypervisors call it; platforms don't.
 *
 * An invalidation has three steps, after the caller has emptied or replaced the entries:
 * (a) Wait for the DMAs in flight. One of them may have read an entry earlier and be about to put it into the IOTLB. A DMA that begins
 * later reads the current entries. (b) Remove the translations from the IOTLB. (c) Wait for the DMAs in flight again. One of them may have
 * found its translation in the IOTLB before (b). Without (a) a stale translation could stay in the IOTLB for ever; without (c) a DMA could
 * still be moving bytes when the page gets its next owner. In the common case nothing is in flight, and the cost is an atomic store and two
 * atomic loads.
 *
 * Calls that wait return PASSED, or another code if a DMA may still use the previous state. Windows and partitions are set up by one thread
 * at a time; all threads may invalidate.
 */

import type { Regions } from "../../memory/regions.ts";
import { count } from "../../shared/counters.ts";
import { load, peek, poke, type SharedWords, store } from "../../shared/memory.ts";
import { checkInteger, InvalidArgumentError } from "../../units/errors.ts";
import { MAX_ENTRIES } from "../../units/numbers.ts";
import { highHalf, lowHalf } from "../../units/words64.ts";
import type { Iotlb } from "./iotlb.ts";
import {
  DEVICE,
  deviceAt,
  type Layout,
  PARTITION,
  partitionAt,
  THREAD,
  WINDOW,
  WINDOW_DIRECT,
  WINDOW_FORMAT_SHIFT,
  WINDOW_OPEN,
  windowAt,
  windowNumber,
} from "./layout.ts";
import { type DmaInFlight, PASSED, slotAt } from "./threads.ts";
import { DECODERS } from "./walk.ts";

const ENTRY_BYTES = 8;
/** Alignment of tables and of each of their levels. */
const TABLE_ALIGNMENT = 4096;
const MAX_LEVELS = 5;

/** A window whose addresses a table in memory translates. */
export interface TranslatedWindow {
  /** Bus address of entry 0: a multiple of the page size. */
  readonly base: bigint;
  /** log2 of the IO page size in bytes: one of the format's decoder. */
  readonly pageShift: number;
  readonly entries: number;
  /** Format code: an index of DECODERS in walk.ts. */
  readonly format: number;
  /** Physical address of the table, or of its first level: a multiple of 4096. */
  readonly tableAddress: number;
  /** Levels: 1 (a flat table; default) .. 5. With more than one, each level has 2^levelBits entries. */
  readonly levels?: number;
  readonly levelBits?: number;
}

export interface TranslationParts {
  readonly state: SharedWords;
  readonly layout: Layout;
  readonly thread: number;
  readonly memory: Regions;
  readonly iotlb: Iotlb;
  readonly inFlight: DmaInFlight;
}

/** One thread's view. Stateless. */
export class TranslationUnit {
  readonly partitions: number;
  /** Windows of each partition. */
  readonly windows: number;
  readonly devices: number;
  readonly #memory: Regions;
  readonly #state: SharedWords;
  readonly #layout: Layout;
  readonly #iotlb: Iotlb;
  readonly #inFlight: DmaInFlight;
  readonly #slotAt: number;

  constructor(parts: TranslationParts) {
    this.partitions = parts.layout.partitions;
    this.windows = parts.layout.windows;
    this.devices = parts.layout.devices;
    this.#memory = parts.memory;
    this.#state = parts.state;
    this.#layout = parts.layout;
    this.#iotlb = parts.iotlb;
    this.#inFlight = parts.inFlight;
    this.#slotAt = slotAt(parts.layout, parts.thread);
  }

  /**
   * Opens a window over a table, after closing the previous one. Throws InvalidArgumentError, and changes nothing, for an invalid window: a
   * format without this page size, a table outside of memory, addresses beyond 2^64.
   */
  openWindow(partition: number, window: number, setup: TranslatedWindow): number {
    const { base, pageShift, entries, format, tableAddress, levels = 1, levelBits = 0 } = setup;
    this.#checkWindow(setup);
    const answer = this.closeWindow(partition, window);
    if (answer !== PASSED) return answer;
    const at = windowAt(this.#layout, partition, window);
    poke(this.#state, at + WINDOW.levels, levels);
    poke(this.#state, at + WINDOW.levelBits, levelBits);
    this.#pokeWide(at + WINDOW.dirtyLow, at + WINDOW.dirtyHigh, 0n);
    this.#pokeWide(at + WINDOW.tableLow, at + WINDOW.tableHigh, BigInt(tableAddress));
    this.#open(at, base, pageShift, entries, WINDOW_OPEN | (format << WINDOW_FORMAT_SHIFT));
    return PASSED;
  }

  /** Opens a window without a table over all memory and its holes: bus address − base is the physical address. */
  openDirect(partition: number, window: number, base: bigint): number {
    const answer = this.closeWindow(partition, window);
    if (answer !== PASSED) return answer;
    this.#open(
      windowAt(this.#layout, partition, window),
      base,
      12,
      this.#memory.end / 4096,
      WINDOW_OPEN | WINDOW_DIRECT,
    );
    return PASSED;
  }

  /** Closes a window. PASSED: no DMA uses its translations. After another code the call can be repeated. */
  closeWindow(partition: number, window: number): number {
    this.#checkIndices(partition, window);
    store(this.#state, windowAt(this.#layout, partition, window) + WINDOW.control, 0);
    return this.invalidateWindow(partition, window);
  }

  /**
   * Records from now on which entries of a window devices write through: bit e % 32 of word e >> 5 from `bitmapAddress` on, little-endian.
   * 0: records nothing. PASSED: all DMAs that have not ended use the new setting. Throws InvalidArgumentError for a bitmap that is not in memory.
   */
  recordWrites(partition: number, window: number, bitmapAddress: number): number {
    this.#checkIndices(partition, window);
    const at = windowAt(this.#layout, partition, window);
    if (bitmapAddress !== 0) this.#checkTable(bitmapAddress, Math.ceil(peek(this.#state, at + WINDOW.entries) / 64));
    store(this.#state, at + WINDOW.dirtyHigh, Math.floor(bitmapAddress / 2 ** 32));
    store(this.#state, at + WINDOW.dirtyLow, bitmapAddress | 0);
    return this.#inFlight.awaitPassing();
  }

  isOpen(partition: number, window: number): boolean {
    this.#checkIndices(partition, window);
    return load(this.#state, windowAt(this.#layout, partition, window) + WINDOW.control) !== 0;
  }

  /** Invalidates the entries [first, end) of a window of a partition. */
  invalidate(partition: number, window: number, first: number, end: number): number {
    const before = this.#beginForgetting();
    // Even if a DMA has not ended: removing the translations can only reduce stale ones.
    this.#iotlb.forget(windowNumber(this.#layout, partition, window), first, end);
    return this.#endForgetting(before);
  }

  invalidateWindow(partition: number, window: number): number {
    const before = this.#beginForgetting();
    this.#iotlb.forgetWindow(windowNumber(this.#layout, partition, window));
    return this.#endForgetting(before);
  }

  /** Invalidates all windows of all partitions. */
  invalidateAll(): number {
    const before = this.#beginForgetting();
    this.#iotlb.forgetAll();
    return this.#endForgetting(before);
  }

  /** Moves a device to a partition; at first devices are in partition 0. PASSED: the device no longer uses the windows of the old one. */
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

  /** PASSED: every DMA in flight at the call has ended. */
  awaitDma(): number {
    return this.#inFlight.awaitPassing();
  }

  /** Freezes a partition. PASSED: no DMA of its devices moves bytes until it is thawed. */
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

  /** Sets whether a fault of a device freezes its partition. Initially it does not. */
  freezeOnFault(partition: number, freezes: boolean): void {
    this.#checkIndices(partition, 0);
    store(this.#state, partitionAt(this.#layout, partition) + PARTITION.freezesOnFault, freezes ? 1 : 0);
  }

  /** Counts an invalidation and does step (a). */
  #beginForgetting(): number {
    const state = this.#state;
    count(state, this.#slotAt + THREAD.invalidations, 1);
    // Orders this thread's stores before the loads of the in-flight bits: a DMA that those loads miss sees the stores.
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
    if (fits && this.#memory.hasAll(address, entries * ENTRY_BYTES)) return;
    const expected = `a multiple of ${TABLE_ALIGNMENT} with ${entries} entries in memory, ${this.#memory}`;
    throw new InvalidArgumentError("table address of the window", address, expected);
  }
}
