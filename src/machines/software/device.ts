/**
 * A device that does DMA on request, through the machine's IOMMU. Each page is translated by the IOTLB or a walk, checked for access, and
 * copied. A refused page ends the DMA and is recorded as a fault.
 *
 * Code between `begin` and `end` may use translations. It must not throw, or invalidations would wait for a DMA that never ends; so
 * arguments are checked before.
 *
 * A refused DMA freezes its partition, then records the fault, then ends. A thread that reads a fault record always sees the partition
 * already frozen. A thread that sees a frozen partition, and then waits for the DMAs in flight, finds the fault recorded. After a reset has
 * waited for them, no earlier fault can be recorded and be mistaken for that of a later freeze.
 */
import type { DmaMaster } from "../../machine/contract.ts";
import type { Regions, RegionView } from "../../memory/regions.ts";
import { count } from "../../shared/counters.ts";
import { compareExchange, copyIn, copyOut, load, peek, type SharedWords, store } from "../../shared/memory.ts";
import { InvalidArgumentError } from "../../units/errors.ts";
import { type Access, DEVICE_READS, DEVICE_READS_AND_WRITES, DEVICE_WRITES } from "../../units/numbers.ts";
import type { FaultReason, FaultRecord } from "./faults.ts";
import { type Iotlb, STREAMED, type Translation } from "./iotlb.ts";
import {
  DEVICE,
  DEVICE_REGISTERS,
  deviceAt,
  type Layout,
  PARTITION,
  partitionAt,
  THREAD,
  WINDOW,
  WINDOW_DIRECT,
  WINDOW_FORMAT_MASK,
  WINDOW_FORMAT_SHIFT,
} from "./layout.ts";
import type { StreamingCache } from "./streaming-cache.ts";
import { closed, type DmaInFlight, slotAt } from "./threads.ts";
import { BAD_LEVEL, decoderOf, locate, NOT_MAPPED, WALKED, walkAt } from "./walk.ts";

/** Value of register reads of a frozen device. */
const ALL_ONES = 0xffffffff;
/** No window of the partition has the address. */
const NO_WINDOW = -1;

/** Parts that the devices of one thread's machine share. */
export interface DevicePaths {
  readonly state: SharedWords;
  readonly layout: Layout;
  readonly thread: number;
  readonly memory: Regions;
  readonly iotlb: Iotlb;
  readonly inFlight: DmaInFlight;
  readonly faults: FaultRecord;
  readonly streaming: StreamingCache | undefined;
  /** False once the thread's machine is closed. */
  open: boolean;
}

/** One device, driven by one thread. */
export class SoftwareDevice implements DmaMaster {
  readonly name: string;
  readonly #index: number;
  readonly #paths: DevicePaths;
  readonly #slotAt: number;
  readonly #deviceAt: number;
  /** The current window and the next entry in it: set by `#enter`, used by `#translate`. */
  #windowAt = 0;
  #windowNumber = 0;
  #control = 0;
  #entry = 0;
  /** Scratch of one page's translation. */
  readonly #translation: Translation = { page: 0, access: 0 };

  constructor(name: string, index: number, paths: DevicePaths) {
    this.name = name;
    this.#index = index;
    this.#paths = paths;
    this.#slotAt = slotAt(paths.layout, paths.thread);
    this.#deviceAt = deviceAt(paths.layout, index);
  }

  /** Throws InvalidArgumentError for an address beyond 64 bits, and if `into` is not a Uint8Array. */
  dmaRead(iova: bigint, into: Uint8Array): boolean {
    return this.#dma(iova, into, DEVICE_READS);
  }

  /** Throws InvalidArgumentError for an address beyond 64 bits, and if `from` is not a Uint8Array. */
  dmaWrite(iova: bigint, from: Uint8Array): boolean {
    return this.#dma(iova, from, DEVICE_WRITES);
  }

  /**
   * The device's register at byte offset `at` (a multiple of 4): a plain word that all threads share, initially 0. All ones while the
   * device's partition is frozen.
   */
  readRegister32(at: number): number {
    const word = this.#registerAt(at);
    return this.#isFrozen() ? ALL_ONES : load(this.#paths.state, word) >>> 0;
  }

  /** Has no effect while the device's partition is frozen. */
  writeRegister32(at: number, value: number): void {
    const word = this.#registerAt(at);
    if (!this.#isFrozen()) store(this.#paths.state, word, value | 0);
  }

  #registerAt(at: number): number {
    if (!this.#paths.open) throw closed();
    const register = at / 4;
    if (Number.isInteger(register) && register >= 0 && register < DEVICE_REGISTERS) {
      return this.#deviceAt + DEVICE.registers + register;
    }
    throw new InvalidArgumentError(`register of ${this.name}`, at, `a multiple of 4 below ${DEVICE_REGISTERS * 4}`);
  }

  #isFrozen(): boolean {
    const { layout, state } = this.#paths;
    const partition = partitionAt(layout, load(state, this.#deviceAt + DEVICE.partition));
    return load(state, partition + PARTITION.frozen) !== 0;
  }

  #dma(iova: bigint, bytes: Uint8Array, access: Access): boolean {
    if (!this.#paths.open) throw closed();
    if (typeof iova !== "bigint" || iova < 0n || iova >= 1n << 64n) {
      throw new InvalidArgumentError(`bus address of a DMA of ${this.name}`, iova, "a bigint from 0 to 2^64 - 1");
    }
    if (!(bytes instanceof Uint8Array)) {
      throw new InvalidArgumentError(`bytes of a DMA of ${this.name}`, bytes, "a Uint8Array");
    }
    const low = Number(BigInt.asUintN(32, iova));
    const high = Number(iova >> 32n);
    this.#paths.inFlight.begin();
    const partition = partitionAt(this.#paths.layout, load(this.#paths.state, this.#deviceAt + DEVICE.partition));
    const frozen = load(this.#paths.state, partition + PARTITION.frozen) !== 0;
    const moved = frozen ? -1 : this.#move(partition, high, low, bytes, access);
    if (moved < 0 && !frozen) {
      this.#freezeAfterFault(partition);
      this.#paths.faults.record(this.#index, BigInt.asUintN(64, iova + BigInt(-1 - moved)), access, this.#reason);
    }
    this.#paths.inFlight.end();
    if (frozen) count(this.#paths.state, this.#slotAt + THREAD.dropped, 1);
    return moved >= 0;
  }

  /** The reason of the last refusal. */
  #reason: FaultReason = "translation-off";

  /** Moves the bytes. Returns their number or, after a refusal, -1 minus the number of bytes before the refused page. */
  #move(partition: number, high: number, low: number, bytes: Uint8Array, access: Access): number {
    // The bus address in pages of 4 KiB, below 2^52, which a double holds.
    let page4K = high * 2 ** 20 + (low >>> 12);
    let within4K = low & 0xfff;
    let moved = 0;
    while (moved < bytes.length) {
      if (!this.#enter(partition, page4K)) return -1 - moved;
      const pagesOf4K = 2 ** (peek(this.#paths.state, this.#windowAt + WINDOW.pageShift) - 12);
      const done = this.#moveInWindow(pagesOf4K, (page4K % pagesOf4K) * 4096 + within4K, bytes, moved, access);
      if (done < 0) return done;
      // The window ends here, but another one may begin here.
      page4K += Math.floor((within4K + done - moved) / 4096);
      within4K = 0;
      moved = done;
    }
    return moved;
  }

  /** Moves the part in the current window, from byte `from` of `bytes` on. Returns as `#move`. */
  #moveInWindow(pagesOf4K: number, offset: number, bytes: Uint8Array, from: number, access: Access): number {
    const { memory, state } = this.#paths;
    const pageBytes = pagesOf4K * 4096;
    const entries = peek(state, this.#windowAt + WINDOW.entries);
    let within = offset;
    let moved = from;
    for (; moved < bytes.length && this.#entry < entries; this.#entry++) {
      const length = Math.min(pageBytes - within, bytes.length - moved);
      if (!this.#translate(access)) return -1 - moved;
      const address = this.#translation.page * pageBytes + within;
      if (!memory.hasAll(address, length)) {
        return this.#refuse(moved, address + length > memory.end ? "outside-memory" : "memory-hole");
      }
      if (!this.#moveInPage(address, bytes, moved, length, access)) return this.#refuse(moved, "streaming-cache-busy");
      if (access === DEVICE_WRITES) this.#recordWrite();
      moved += length;
      within = 0;
    }
    return moved;
  }

  /**
   * Sets the entry's bit in the window's dirty bitmap, if there is one. After the bytes: a reader that clears the bit and then copies the page misses
   * no byte, or finds the bit set again later.
   */
  #recordWrite(): void {
    const { memory, state } = this.#paths;
    const low = load(state, this.#windowAt + WINDOW.dirtyLow);
    const bitmap = load(state, this.#windowAt + WINDOW.dirtyHigh) * 2 ** 32 + (low >>> 0);
    if (bitmap === 0) return;
    const address = bitmap + (this.#entry >>> 5) * 4;
    // Checked when the bitmap was set.
    const { words, address: begin } = memory.find(address) as RegionView;
    const at = (address - begin) / 4;
    const bit = 1 << (this.#entry & 31);
    for (let found = load(words, at); (found & bit) === 0; ) {
      const before = compareExchange(words, at, found, found | bit);
      if (before === found) return;
      found = before;
    }
  }

  /** Finds the open window that contains the address. False: refused, with `#reason`. */
  #enter(partition: number, page4K: number): boolean {
    const { layout, state } = this.#paths;
    const firstWindow = ((partition - layout.partitionsAt) / layout.partitionWords) * layout.windows;
    this.#reason = "translation-off";
    for (let window = 0; window < layout.windows; window++) {
      const at = partition + PARTITION.words + window * WINDOW.words;
      const control = load(state, at + WINDOW.control);
      if (control === 0) continue;
      const entry = entryIn(state, at, page4K);
      if (entry === NO_WINDOW) {
        this.#reason = "outside-window";
        continue;
      }
      this.#windowAt = at;
      this.#windowNumber = firstWindow + window;
      this.#control = control;
      this.#entry = entry;
      return true;
    }
    return false;
  }

  /** Translates the next page into `#translation`. False: refused, with `#reason`. */
  #translate(access: Access): boolean {
    if ((this.#control & WINDOW_DIRECT) !== 0) {
      this.#translation.page = this.#entry;
      this.#translation.access = DEVICE_READS_AND_WRITES;
      return true;
    }
    const { state, iotlb } = this.#paths;
    if (iotlb.lookup(this.#windowNumber, this.#entry, this.#translation)) count(state, this.#slotAt + THREAD.hits, 1);
    else if (!this.#walk()) return false;
    if ((this.#translation.access & access) === access) return true;
    this.#reason = access === DEVICE_READS ? "read-refused" : "write-refused";
    return false;
  }

  #walk(): boolean {
    const { state, iotlb, memory } = this.#paths;
    count(state, this.#slotAt + THREAD.walks, 1);
    const window = this.#windowAt;
    const decoder = decoderOf((this.#control >>> WINDOW_FORMAT_SHIFT) & WINDOW_FORMAT_MASK);
    // The table (or its first level) lies inside memory: checked when the window was opened.
    const table =
      (peek(state, window + WINDOW.tableHigh) >>> 0) * 2 ** 32 + (peek(state, window + WINDOW.tableLow) >>> 0);
    const levels = peek(state, window + WINDOW.levels);
    const levelBits = peek(state, window + WINDOW.levelBits);
    const at = locate(memory, table, this.#entry, levels, levelBits, decoder, this.#translation);
    const pageShift = peek(state, window + WINDOW.pageShift);
    const walked = at < 0 ? NOT_MAPPED : walkAt(memory, at, decoder, pageShift, this.#translation);
    if (walked === WALKED) {
      if (!iotlb.fill(this.#windowNumber, this.#entry, this.#translation)) {
        count(state, this.#slotAt + THREAD.fillsRefused, 1);
      }
      return true;
    }
    this.#reason = walked === NOT_MAPPED && at !== BAD_LEVEL ? "not-mapped" : "bad-entry";
    return false;
  }

  /** While the DMA is in flight, so that a later thaw is not undone by this fault. */
  #freezeAfterFault(partition: number): void {
    const { state } = this.#paths;
    if (load(state, partition + PARTITION.freezesOnFault) !== 0) store(state, partition + PARTITION.frozen, 1);
  }

  /**
   * Moves the part of the DMA that lies in one page, all of which is memory: region by region. False: the lock of the streaming cache was not
   * available.
   */
  #moveInPage(address: number, bytes: Uint8Array, from: number, length: number, access: Access): boolean {
    const streams = (this.#translation.access & STREAMED) !== 0;
    for (let done = 0; done < length; ) {
      const region = this.#paths.memory.find(address + done) as RegionView;
      const count = Math.min(length - done, region.end - (address + done));
      const part = count === bytes.length ? bytes : bytes.subarray(from + done, from + done + count);
      if (!streams) copy(region, address + done, part, access);
      else if (!this.#stream(region, address + done, part, access)) return false;
      done += count;
    }
    return true;
  }

  /** As `copy`, through the streaming cache if there is one. False: its lock was not available. */
  #stream(region: RegionView, address: number, part: Uint8Array, access: Access): boolean {
    const { streaming } = this.#paths;
    if (streaming !== undefined) {
      return streaming.transfer(this.#entry, this.#translation.context ?? 0, address, part, access);
    }
    copy(region, address, part, access);
    return true;
  }

  #refuse(moved: number, reason: FaultReason): number {
    this.#reason = reason;
    return -1 - moved;
  }
}

/** Copies between a device's bytes and a region, which has them all. */
function copy(region: RegionView, address: number, part: Uint8Array, access: Access): void {
  if (access === DEVICE_READS) copyOut(region.bytes, address - region.address, part);
  else copyIn(region.bytes, address - region.address, part);
}

/** The entry of an open window that contains a page of 4 KiB, or NO_WINDOW. */
function entryIn(state: SharedWords, window: number, page4K: number): number {
  const basePage4K =
    (peek(state, window + WINDOW.baseHigh) >>> 0) * 2 ** 20 + (peek(state, window + WINDOW.baseLow) >>> 12);
  if (page4K < basePage4K) return NO_WINDOW;
  const entry = Math.floor((page4K - basePage4K) / 2 ** (peek(state, window + WINDOW.pageShift) - 12));
  return entry < peek(state, window + WINDOW.entries) ? entry : NO_WINDOW;
}
