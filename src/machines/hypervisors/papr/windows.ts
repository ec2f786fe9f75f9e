/**
 * Creates, finds and removes the windows of the guest's partitions, by liobn. A window is a flat TCE table in the hypervisor's memory, and
 * a window of the machine's translation unit that walks it.
 *
 * A liobn is 0x80000000 + partition · 2^8 + n. n is 0 for the default window, and 1 + the slot for a dynamic window.
 */

import type { Recovered } from "../../../crew/crew.ts";
import type { PhysicalMemory } from "../../../memory/physical-memory.ts";
import type { PhysicalPages } from "../../../memory/physical-pages.ts";
import {
  compareExchange,
  createShared,
  glance,
  load,
  milliseconds,
  peek,
  poke,
  type SharedWords,
  store,
  waitWhile,
  wordsOf,
} from "../../../shared/memory.ts";
import { IovaError } from "../../../units/errors.ts";
import { MAX_ENTRIES } from "../../../units/numbers.ts";
import { PASSED } from "../../software/threads.ts";
import type { TranslationUnit } from "../../software/translation.ts";
import {
  claimedBy,
  NOWHERE,
  SLOT,
  SLOT_CLOSING,
  SLOT_FREE,
  SLOT_OPEN,
  type StateGeometry,
  slotAt,
  whereaboutsAt,
} from "./state.ts";

/** Format code of TCEs in DECODERS of the software machine. */
const TCE_DECODER = 1;
const TCE_BYTES = 8;
const PAGE_BYTES = 4096;
const FIRST_LIOBN = 0x80000000;
/** Distance of the bases of a partition's dynamic windows: 4 PiB. */
const BASE_STEP = 1n << 52n;
/** Time limit in milliseconds for calls in a window that is being removed. */
const REMOVAL_PATIENCE_MS = 1000;

/** Result of an operation: "done"; "none": no such window, or no room; "busy": a DMA or call still uses the window. */
export type WindowAnswer = "done" | "none" | "busy";

/** The requested size of a window. */
export interface WindowGeometry {
  readonly pageShift: number;
  readonly entries: number;
}

/** The guest's parameters of a new window. */
export interface CreatedSlot {
  readonly liobn: number;
  readonly base: bigint;
}

export interface WindowParts extends StateGeometry {
  readonly words: SharedWords;
  readonly thread: number;
  readonly memory: PhysicalMemory;
  readonly unit: TranslationUnit;
  /** Makes a view of the hypervisor's memory for one call. */
  readonly attachPages: () => PhysicalPages;
  /** Parameters of the default windows, which are equal except for their tables. */
  readonly base: bigint;
  readonly geometry: WindowGeometry;
  /** Addresses of the default tables, by partition. */
  readonly defaultTables: readonly number[];
  readonly dynamicBase: bigint;
  readonly limitedAddressing: boolean;
}

/** One thread's view. `enter` selects a window, whose parameters are in the fields until `leave`. */
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

  /** Enters the window with this liobn. False: there is no such window. */
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

  /**
   * Recovers a thread that is certainly dead. Windows that it was creating or removing are gone, and the memory of their tables is free. Can be
   * repeated. A failure: a DMA still uses such a window.
   */
  recover(thread: number): Recovered | undefined {
    store(this.#words, whereaboutsAt(this.#parts, thread), NOWHERE);
    return this.#withPages((pages) => {
      pages.recover(thread, "in-flight");
      for (let slot = 0; slot < this.#parts.partitions * this.#parts.windows; slot++) {
        if (load(this.#words, slotAt(slot) + SLOT.state) !== claimedBy(thread)) continue;
        if (!this.#close(slot)) return stillInUse(thread);
        this.#freeSlot(slot, pages);
      }
      this.#freeTablesOf(thread, pages);
      return undefined;
    });
  }

  /**
   * Frees tables of a dead thread that no slot has. The slots are read first: a table that has none by then is not given to one, since its
   * owner is dead, and not being freed, since the thread that frees a table makes it its own before it takes it from the slot.
   */
  #freeTablesOf(thread: number, pages: PhysicalPages): void {
    const used = new Set<number>();
    for (let slot = 0; slot < this.#parts.partitions * this.#parts.windows; slot++)
      used.add(this.#tableOf(slotAt(slot)));
    for (const { address, bytes } of pages.allocatedBy(thread)) if (!used.has(address)) pages.free(address, bytes);
  }

  /** Number of free slots of the partition. */
  left(partition: number): number {
    let left = 0;
    for (let window = 0; window < this.#parts.windows; window++) {
      if (this.#stateOf(partition, window) === SLOT_FREE) left++;
    }
    return left;
  }

  /** Opens the partition's default window with an empty table. Its first slot must be free. */
  openDefault(partition: number): WindowAnswer {
    const slot = this.#claim(partition);
    const table = this.#parts.defaultTables[partition] as number;
    if (slot < 0) return "none";
    return this.#open(slot, true, this.#parts.base, this.#parts.geometry, table);
  }

  /**
   * Creates a window with an empty table. "none": no slot, or no memory for the table. `tell` informs the guest. A thread that dies before
   * that leaves no window: the slot is claimed until then.
   */
  create(
    partition: number,
    geometry: WindowGeometry,
    tell: (created: CreatedSlot) => void = () => undefined,
  ): CreatedSlot | Exclude<WindowAnswer, "done"> {
    if (geometry.entries > MAX_ENTRIES) return "none";
    const slot = this.#claim(partition);
    if (slot < 0) return "none";
    const table = this.#withPages((pages) => pages.allocate(tableBytes(geometry)));
    if (table < 0) {
      store(this.#words, slotAt(slot) + SLOT.state, SLOT_FREE);
      return "none";
    }
    const base = this.#placeFor(partition, geometry);
    const created = { liobn: FIRST_LIOBN + partition * 256 + 1 + (slot % this.#parts.windows), base };
    if (this.#open(slot, false, base, geometry, table, () => tell(created)) === "done") return created;
    this.#withPages((pages) => pages.free(table, tableBytes(geometry)));
    return "busy";
  }

  /** Removes a window and its mappings. "busy": a DMA or call still uses it; repeat the call. */
  remove(liobn: number): WindowAnswer {
    const slot = this.#slotOf(liobn);
    if (slot < 0 || this.#isDefault(slot) !== ((liobn & 0xff) === 0)) return "none";
    return this.#removeSlot(slot);
  }

  /** Removes all dynamic windows of the partition, and restores its default window, empty if it was removed. */
  reset(partition: number): WindowAnswer {
    let hasDefault = false;
    for (let window = 0; window < this.#parts.windows; window++) {
      const slot = partition * this.#parts.windows + window;
      const state = load(this.#words, slotAt(slot) + SLOT.state);
      if (state === SLOT_OPEN && this.#isDefault(slot)) hasDefault = true;
      // Also of a slot that another thread has claimed.
      else if (state !== SLOT_FREE && this.#removeSlot(slot) !== "done") return "busy";
    }
    return hasDefault ? "done" : this.openDefault(partition);
  }

  #removeSlot(slot: number): WindowAnswer {
    const words = this.#words;
    const at = slotAt(slot);
    const before = compareExchange(words, at + SLOT.state, SLOT_OPEN, SLOT_CLOSING);
    if (before !== SLOT_OPEN && before !== SLOT_CLOSING) return "none";
    // First closed for devices, so that no DMA walks entries that a call still writes.
    if (!this.#close(slot) || !this.#awaitCallsIn(slot)) return "busy";
    // Of several threads that remove the window, exactly one frees the table.
    if (compareExchange(words, at + SLOT.state, SLOT_CLOSING, claimedBy(this.#parts.thread)) !== SLOT_CLOSING)
      return "none";
    this.#withPages((pages) => this.#freeSlot(slot, pages));
    return "done";
  }

  /** Closes a window for devices. False: a DMA still uses it. */
  #close(slot: number): boolean {
    const { unit, windows } = this.#parts;
    return unit.closeWindow(Math.floor(slot / windows), slot % windows) === PASSED;
  }

  /**
   * Frees a claimed slot, and its table. The table is this thread's before it is taken from the slot: a thread that dies in between leaves
   * memory that its recovery finds as its own.
   */
  #freeSlot(slot: number, pages: PhysicalPages): void {
    const words = this.#words;
    const at = slotAt(slot);
    const address = this.#tableOf(at);
    if (address !== 0 && !this.#isDefault(slot)) {
      const range = { address, bytes: tableBytes({ entries: peek(words, at + SLOT.entries) }) };
      // Again if the recovery of the table's dead owner has just made it its own.
      if (!pages.adopt(range)) pages.adopt(range);
      poke(words, at + SLOT.tablePage, 0);
      pages.free(range.address, range.bytes);
    }
    poke(words, at + SLOT.tablePage, 0);
    store(words, at + SLOT.state, SLOT_FREE);
  }

  /** Physical address of a slot's table; 0: it has none. */
  #tableOf(at: number): number {
    return (glance(this.#words, at + SLOT.tablePage) >>> 0) * PAGE_BYTES;
  }

  #withPages<Result>(use: (pages: PhysicalPages) => Result): Result {
    const pages = this.#parts.attachPages();
    const result = use(pages);
    pages.close();
    return result;
  }

  /** Waits until no other thread's call is in the slot's window. */
  #awaitCallsIn(slot: number): boolean {
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

  /** Opens a slot that this thread has claimed. On failure the slot is free again; "busy": a DMA still uses the slot's previous window. */
  #open(
    slot: number,
    isDefault: boolean,
    base: bigint,
    geometry: WindowGeometry,
    table: number,
    tell: () => void = () => undefined,
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
    tell();
    store(words, at + SLOT.state, SLOT_OPEN);
    return "done";
  }

  /** The lowest base for a dynamic window that overlaps no open window of the partition. */
  #placeFor(partition: number, { pageShift, entries }: WindowGeometry): bigint {
    const bytes = BigInt(entries) << BigInt(pageShift);
    const { dynamicBase, limitedAddressing } = this.#parts;
    const step = limitedAddressing || bytes > BASE_STEP ? bytes : BASE_STEP;
    // With limited addressing, the lowest multiple of its size from 4 GiB on.
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

  /** Claims a free slot of the partition. Returns it, or -1. */
  #claim(partition: number): number {
    for (let window = 0; window < this.#parts.windows; window++) {
      const slot = partition * this.#parts.windows + window;
      if (
        compareExchange(this.#words, slotAt(slot) + SLOT.state, SLOT_FREE, claimedBy(this.#parts.thread)) === SLOT_FREE
      )
        return slot;
    }
    return -1;
  }

  /** The slot of a liobn (of the default window only while it is open or closing), or -1. */
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
    return glance(this.#words, slotAt(slot) + SLOT.isDefault) === 1;
  }

  #stateOf(partition: number, window: number): number {
    return load(this.#words, slotAt(partition * this.#parts.windows + window) + SLOT.state);
  }
}

function stillInUse(thread: number): Recovered {
  const message = `reclaim of thread ${thread}: a DMA still uses a window that it was creating or removing`;
  return { ranges: [], isLeft: true, failure: new IovaError("platform-busy", message) };
}

/** Bytes of a table, in whole pages. */
export function tableBytes({ entries }: { readonly entries: number }): number {
  return Math.ceil((entries * TCE_BYTES) / PAGE_BYTES) * PAGE_BYTES;
}

export function defaultLiobn(partition: number): number {
  return FIRST_LIOBN + partition * 256;
}
