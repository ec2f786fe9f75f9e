/**
 * The windows of the guest's partitions, by liobn: made, looked up, removed. A window is a flat table of TCEs in the hypervisor's
 * part of memory, and a window of the machine's translation unit that walks it.
 *
 * A liobn is 0x80000000 + partition · 2^8 + n, where n is 0 for the default window, and 1 + its slot for a dynamic one.
 */
import type { PhysicalPages } from "../../../memory/physical-pages.ts";
import type { SharedWords } from "../../../shared/memory.ts";
import * as shared from "../../../shared/memory.ts";
import { createShared, wordsOf } from "../../../shared/memory.ts";
import { MAX_ENTRIES } from "../../../units/numbers.ts";
import type { SoftwareMemory } from "../../software/memory.ts";
import { PASSED } from "../../software/threads.ts";
import type { TranslationUnit } from "../../software/translation.ts";
import {
  NOWHERE,
  SLOT,
  SLOT_CLAIMED,
  SLOT_CLOSING,
  SLOT_FREE,
  SLOT_OPEN,
  type StateGeometry,
  slotAt,
  whereaboutsAt,
} from "./state.ts";

const { compareExchange, load, milliseconds, peek, poke, store, waitWhile } = shared;

/** Code of TCEs in DECODERS of the software machine. */
const TCE_DECODER = 1;
const TCE_BYTES = 8;
const PAGE_BYTES = 4096;
const FIRST_LIOBN = 0x80000000;
/** Dynamic windows of one partition begin so far apart: 4 PiB. */
const BASE_STEP = 1n << 52n;
/** How long the removal of a window waits for calls that are in it, in milliseconds. */
const REMOVAL_PATIENCE_MS = 1000;

/** What happened to a window: done, there is none or no room, or somebody still uses it. */
export type WindowAnswer = "done" | "none" | "busy";

/** A window as a guest asks for it. */
export interface WindowGeometry {
  readonly pageShift: number;
  readonly entries: number;
}

/** What a guest knows a new window by. */
export interface CreatedSlot {
  readonly liobn: number;
  readonly base: bigint;
}

export interface WindowParts extends StateGeometry {
  readonly words: SharedWords;
  readonly thread: number;
  readonly memory: SoftwareMemory;
  readonly unit: TranslationUnit;
  /** The hypervisor's memory: a view for the time of a call. */
  readonly attachPages: () => PhysicalPages;
  /** The default windows: the same for all partitions, but for the table. */
  readonly base: bigint;
  readonly geometry: WindowGeometry;
  /** By partition. */
  readonly defaultTables: readonly number[];
  readonly dynamicBase: bigint;
  readonly limitedAddressing: boolean;
}

/** One thread's view. `enter` makes it stand in a window, whose numbers the fields then hold, until `leave`. */
export class Windows {
  partition = 0;
  window = 0;
  pageShift = 0;
  entries = 0;
  tableAddress = 0;
  /** Bus address of entry 0 in pages of 4 KiB. */
  basePage = 0;
  readonly #parts: WindowParts;
  readonly #words: SharedWords;
  readonly #whereabouts: number;
  readonly #never: SharedWords = wordsOf(createShared(4));

  constructor(parts: WindowParts) {
    this.#parts = parts;
    this.#words = parts.words;
    this.#whereabouts = whereaboutsAt(parts, parts.thread);
  }

  /** Stands in the window that the guest calls `liobn`. False: it has none. */
  enter(liobn: number): boolean {
    const slot = this.#slotOf(liobn);
    if (slot < 0) return false;
    const words = this.#words;
    const at = slotAt(slot);
    store(words, this.#whereabouts, slot + 1);
    if (load(words, at + SLOT.state) !== SLOT_OPEN || this.#isDefault(slot) !== ((liobn & 0xff) === 0)) {
      this.leave();
      return false;
    }
    this.partition = Math.floor(slot / this.#parts.windows);
    this.window = slot % this.#parts.windows;
    this.pageShift = peek(words, at + SLOT.pageShift);
    this.entries = peek(words, at + SLOT.entries);
    this.tableAddress = (peek(words, at + SLOT.tablePage) >>> 0) * PAGE_BYTES;
    this.basePage = peek(words, at + SLOT.baseHigh) * 2 ** 32 + (peek(words, at + SLOT.baseLow) >>> 0);
    return true;
  }

  leave(): void {
    store(this.#words, this.#whereabouts, NOWHERE);
  }

  /** Of a thread that is dead for certain. */
  forget(thread: number): undefined {
    store(this.#words, whereaboutsAt(this.#parts, thread), NOWHERE);
  }

  /** Slots of the partition that are free. */
  left(partition: number): number {
    let left = 0;
    for (let window = 0; window < this.#parts.windows; window++) {
      if (this.#stateOf(partition, window) === SLOT_FREE) left++;
    }
    return left;
  }

  /** Opens the partition's default window, empty. Its first slot has to be free. */
  openDefault(partition: number): WindowAnswer {
    const slot = this.#claim(partition);
    const table = this.#parts.defaultTables[partition] as number;
    if (slot < 0) return "none";
    return this.#open(slot, true, this.#parts.base, this.#parts.geometry, table);
  }

  /** Makes a window with an empty table. "none": there is no slot, or no memory for its table. */
  create(partition: number, geometry: WindowGeometry): CreatedSlot | Exclude<WindowAnswer, "done"> {
    if (geometry.entries > MAX_ENTRIES) return "none";
    const slot = this.#claim(partition);
    if (slot < 0) return "none";
    const table = this.#withPages((pages) => pages.allocate(tableBytes(geometry)));
    if (table < 0) {
      store(this.#words, slotAt(slot) + SLOT.state, SLOT_FREE);
      return "none";
    }
    const base = this.#placeFor(partition, geometry);
    if (this.#open(slot, false, base, geometry, table) === "done") {
      return { liobn: FIRST_LIOBN + partition * 256 + 1 + (slot % this.#parts.windows), base };
    }
    this.#withPages((pages) => pages.free(table, tableBytes(geometry)));
    return "busy";
  }

  /** Ends a window, with all that is mapped in it. "busy": some DMA or call still uses it; ask again. */
  remove(liobn: number): WindowAnswer {
    const slot = this.#slotOf(liobn);
    if (slot < 0 || this.#isDefault(slot) !== ((liobn & 0xff) === 0)) return "none";
    return this.#removeSlot(slot);
  }

  /** The partition has its default window again, empty if it was gone, and no other. */
  reset(partition: number): WindowAnswer {
    let hasDefault = false;
    for (let window = 0; window < this.#parts.windows; window++) {
      const slot = partition * this.#parts.windows + window;
      const state = load(this.#words, slotAt(slot) + SLOT.state);
      if (state === SLOT_OPEN && this.#isDefault(slot)) hasDefault = true;
      // Claimed by a thread that has died over it: partitions are reset by one thread, while nobody else sets them up.
      else if (state === SLOT_CLAIMED) store(this.#words, slotAt(slot) + SLOT.state, SLOT_FREE);
      else if (state !== SLOT_FREE && this.#removeSlot(slot) === "busy") return "busy";
    }
    return hasDefault ? "done" : this.openDefault(partition);
  }

  #removeSlot(slot: number): WindowAnswer {
    const words = this.#words;
    const at = slotAt(slot);
    const before = compareExchange(words, at + SLOT.state, SLOT_OPEN, SLOT_CLOSING);
    if (before !== SLOT_OPEN && before !== SLOT_CLOSING) return "none";
    const { unit, windows } = this.#parts;
    // Closed for devices first: whatever a call still writes, no DMA walks it.
    const closed = unit.closeWindow(Math.floor(slot / windows), slot % windows) === PASSED;
    if (!closed || !this.#untilNobodyIn(slot)) return "busy";
    // One frees the table, of several that remove the window, and once, though it die right after.
    if (compareExchange(words, at + SLOT.state, SLOT_CLOSING, SLOT_CLAIMED) !== SLOT_CLOSING) return "none";
    if (!this.#isDefault(slot)) this.#freeTable(at);
    store(words, at + SLOT.state, SLOT_FREE);
    return "done";
  }

  #freeTable(at: number): void {
    const words = this.#words;
    const geometry = { pageShift: peek(words, at + SLOT.pageShift), entries: peek(words, at + SLOT.entries) };
    this.#withPages((pages) => pages.free((peek(words, at + SLOT.tablePage) >>> 0) * PAGE_BYTES, tableBytes(geometry)));
  }

  #withPages<Result>(use: (pages: PhysicalPages) => Result): Result {
    const pages = this.#parts.attachPages();
    const result = use(pages);
    pages.close();
    return result;
  }

  /** Waits for other threads' calls that are in the slot's window. */
  #untilNobodyIn(slot: number): boolean {
    const deadline = milliseconds() + REMOVAL_PATIENCE_MS;
    for (let thread = 0; thread < this.#parts.threads; thread++) {
      const at = whereaboutsAt(this.#parts, thread);
      while (load(this.#words, at) === slot + 1) {
        if (milliseconds() > deadline) return false;
        waitWhile(this.#never, 0, 0, 1);
      }
    }
    return true;
  }

  /** Opens a slot that is this thread's; it is free again when that fails: "busy", some DMA still uses what was open there before. */
  #open(
    slot: number,
    isDefault: boolean,
    base: bigint,
    geometry: WindowGeometry,
    table: number,
  ): Exclude<WindowAnswer, "none"> {
    const { memory, unit, windows } = this.#parts;
    const { pageShift, entries } = geometry;
    memory.clear(table, tableBytes(geometry));
    const setup = { base, pageShift, entries, format: TCE_DECODER, tableAddress: table };
    const words = this.#words;
    const at = slotAt(slot);
    if (unit.openWindow(Math.floor(slot / windows), slot % windows, setup) !== PASSED) {
      store(words, at + SLOT.state, SLOT_FREE);
      return "busy";
    }
    poke(words, at + SLOT.isDefault, isDefault ? 1 : 0);
    poke(words, at + SLOT.pageShift, pageShift);
    poke(words, at + SLOT.entries, entries);
    poke(words, at + SLOT.tablePage, table / PAGE_BYTES);
    poke(words, at + SLOT.baseLow, Number(BigInt.asIntN(32, base >> 12n)));
    poke(words, at + SLOT.baseHigh, Number(base >> 44n));
    store(words, at + SLOT.state, SLOT_OPEN);
    return "done";
  }

  /** The first place, from where dynamic windows begin, that no open window of the partition overlaps. */
  #placeFor(partition: number, { pageShift, entries }: WindowGeometry): bigint {
    const bytes = BigInt(entries) << BigInt(pageShift);
    const { dynamicBase, limitedAddressing } = this.#parts;
    const step = limitedAddressing || bytes > BASE_STEP ? bytes : BASE_STEP;
    // With limited addressing as low as it can lie above 4 GiB, at a multiple of its size.
    let base = limitedAddressing ? (bytes > 1n << 32n ? bytes : 1n << 32n) : dynamicBase;
    while (this.#overlaps(partition, base, base + bytes)) base += step;
    return base;
  }

  #overlaps(partition: number, first: bigint, end: bigint): boolean {
    const words = this.#words;
    for (let window = 0; window < this.#parts.windows; window++) {
      if (this.#stateOf(partition, window) !== SLOT_OPEN) continue;
      const at = slotAt(partition * this.#parts.windows + window);
      const page = peek(words, at + SLOT.baseHigh) * 2 ** 32 + (peek(words, at + SLOT.baseLow) >>> 0);
      const base = BigInt(page) << 12n;
      const length = BigInt(peek(words, at + SLOT.entries)) << BigInt(peek(words, at + SLOT.pageShift));
      if (first < base + length && base < end) return true;
    }
    return false;
  }

  /** A slot of the partition that is now this thread's, or -1. */
  #claim(partition: number): number {
    for (let window = 0; window < this.#parts.windows; window++) {
      const slot = partition * this.#parts.windows + window;
      if (compareExchange(this.#words, slotAt(slot) + SLOT.state, SLOT_FREE, SLOT_CLAIMED) === SLOT_FREE) return slot;
    }
    return -1;
  }

  /** The slot that a liobn means, of the default window while it is open or closing; -1 when it can be none. */
  #slotOf(liobn: number): number {
    const { partitions, windows } = this.#parts;
    const partition = Math.floor((liobn - FIRST_LIOBN) / 256);
    const index = (liobn - FIRST_LIOBN) % 256;
    if (!(partition >= 0 && partition < partitions && Number.isInteger(index))) return -1;
    if (index > 0) return index <= windows ? partition * windows + index - 1 : -1;
    for (let slot = partition * windows; slot < (partition + 1) * windows; slot++) {
      const state = load(this.#words, slotAt(slot) + SLOT.state);
      if ((state === SLOT_OPEN || state === SLOT_CLOSING) && this.#isDefault(slot)) return slot;
    }
    return -1;
  }

  #isDefault(slot: number): boolean {
    return shared.glance(this.#words, slotAt(slot) + SLOT.isDefault) === 1;
  }

  #stateOf(partition: number, window: number): number {
    return load(this.#words, slotAt(partition * this.#parts.windows + window) + SLOT.state);
  }
}

/** Whole pages. */
export function tableBytes({ entries }: { readonly entries: number }): number {
  return Math.ceil((entries * TCE_BYTES) / PAGE_BYTES) * PAGE_BYTES;
}

export function defaultLiobn(partition: number): number {
  return FIRST_LIOBN + partition * 256;
}
