/**
 * A device that does DMA when told to, through the machine's IOMMU: page by page, each through the IOTLB or else a walk,
 * checked for access, and moved. A refused page ends the DMA and is recorded as a fault.
 *
 * Everything between begin and end may use translations; nothing may throw there, or invalidations would wait for a DMA that
 * never ends. So arguments are checked before.
 */
import type { DmaMaster } from "../../machine/contract.ts";
import { ENABLE, FORMAT_MASK, FORMAT_SHIFT } from "../../platforms/linear/registers.ts";
import { count } from "../../shared/counters.ts";
import { copyIn, copyOut, load, peek, type SharedBytes, type SharedWords } from "../../shared/memory.ts";
import { InvalidArgumentError } from "../../units/errors.ts";
import { type Access, DEVICE_READS, DEVICE_WRITES } from "../../units/numbers.ts";
import type { FaultReason, FaultRecord } from "./faults.ts";
import type { Iotlb, Translation } from "./iotlb.ts";
import { IOMMU, type Layout, THREAD } from "./layout.ts";
import { closed, type DmaInFlight, slotAt } from "./threads.ts";
import { decoderOf, type EntryDecoder, NOT_MAPPED, WALKED, walk } from "./walk.ts";

const ENTRY_WORDS = 2;

/** What the devices of one thread's machine share. */
export interface DevicePaths {
  readonly state: SharedWords;
  readonly layout: Layout;
  readonly thread: number;
  readonly memoryWords: SharedWords;
  readonly memoryBytes: SharedBytes;
  /** Size of memory. */
  readonly size: number;
  readonly iotlb: Iotlb;
  readonly inFlight: DmaInFlight;
  readonly faults: FaultRecord;
  /** False once the thread's machine is closed. */
  open: boolean;
}

/** One device, driven by one thread. */
export class SoftwareDevice implements DmaMaster {
  readonly name: string;
  readonly #index: number;
  readonly #paths: DevicePaths;
  readonly #slotAt: number;
  /** Scratch of one page's translation. */
  readonly #translation: Translation = { page: 0, access: 0 };

  constructor(name: string, index: number, paths: DevicePaths) {
    this.name = name;
    this.#index = index;
    this.#paths = paths;
    this.#slotAt = slotAt(paths.layout, paths.thread);
  }

  /** Throws InvalidArgumentError for an address beyond 64 bits, or when `into` is no Uint8Array. */
  dmaRead(iova: bigint, into: Uint8Array): boolean {
    return this.#dma(iova, into, DEVICE_READS);
  }

  /** Throws InvalidArgumentError for an address beyond 64 bits, or when `from` is no Uint8Array. */
  dmaWrite(iova: bigint, from: Uint8Array): boolean {
    return this.#dma(iova, from, DEVICE_WRITES);
  }

  #dma(iova: bigint, bytes: Uint8Array, access: Access): boolean {
    if (!this.#paths.open) throw closed();
    if (typeof iova !== "bigint" || iova < 0n || iova >= 1n << 64n) {
      throw new InvalidArgumentError(`bus address of a DMA of ${this.name}`, iova, "a bigint from 0 to 2^64 - 1");
    }
    if (!(bytes instanceof Uint8Array)) {
      throw new InvalidArgumentError(`bytes of a DMA of ${this.name}`, typeof bytes, "a Uint8Array");
    }
    const low = Number(BigInt.asUintN(32, iova));
    const high = Number(iova >> 32n);
    this.#paths.inFlight.begin();
    const moved = this.#move(high, low, bytes, access);
    this.#paths.inFlight.end();
    if (moved >= 0) return true;
    const refused = BigInt.asUintN(64, iova + BigInt(-1 - moved));
    this.#paths.faults.record(this.#index, refused, access, this.#reason);
    return false;
  }

  /** Why the last refused page was refused. */
  #reason: FaultReason = "translation-off";

  /** The number of bytes moved when all were; -1 minus the number before the refused page when not. */
  #move(high: number, low: number, bytes: Uint8Array, access: Access): number {
    const { state } = this.#paths;
    const control = load(state, IOMMU.control);
    if ((control & ENABLE) === 0) return this.#refuse(0, "translation-off");
    const decoder = decoderOf((control >>> FORMAT_SHIFT) & FORMAT_MASK);
    const pageShift = peek(state, IOMMU.pageShift);
    const pageBytes = 2 ** pageShift;
    const windowPage = busPage(peek(state, IOMMU.windowHigh), peek(state, IOMMU.windowLow), pageShift);
    let entry = busPage(high, low, pageShift) - windowPage;
    let within = pageShift < 32 ? low % pageBytes : (high % (pageBytes / 2 ** 32)) * 2 ** 32 + low;
    let moved = 0;
    while (moved < bytes.length) {
      const length = Math.min(pageBytes - within, bytes.length - moved);
      if (!this.#translate(entry, access, decoder, pageShift)) return -1 - moved;
      const address = this.#translation.page * pageBytes + within;
      if (address + length > this.#paths.size) return this.#refuse(moved, "outside-memory");
      this.#copy(address, bytes, moved, length, access);
      moved += length;
      within = 0;
      entry++;
    }
    return moved;
  }

  /** Translates one page into the scratch. False, with the reason: refused. */
  #translate(entry: number, access: Access, decoder: EntryDecoder, pageShift: number): boolean {
    const { state, iotlb } = this.#paths;
    if (entry < 0 || entry >= peek(state, IOMMU.entries)) {
      this.#reason = "outside-window";
      return false;
    }
    if (iotlb.lookup(entry, this.#translation)) count(state, this.#slotAt + THREAD.hits, 1);
    else if (!this.#walk(entry, decoder, pageShift)) return false;
    if ((this.#translation.access & access) === access) return true;
    this.#reason = access === DEVICE_READS ? "read-refused" : "write-refused";
    return false;
  }

  #walk(entry: number, decoder: EntryDecoder, pageShift: number): boolean {
    const { state, iotlb, memoryWords } = this.#paths;
    count(state, this.#slotAt + THREAD.walks, 1);
    // The base is a multiple of 4 with all entries inside memory: CONTROL has checked.
    const at = (peek(state, IOMMU.tableLow) >>> 2) + entry * ENTRY_WORDS;
    const walked = walk(memoryWords, at, decoder, pageShift, this.#translation);
    if (walked === WALKED) {
      if (!iotlb.fill(entry, this.#translation)) count(state, this.#slotAt + THREAD.fillsRefused, 1);
      return true;
    }
    this.#reason = walked === NOT_MAPPED ? "not-mapped" : "bad-entry";
    return false;
  }

  #copy(address: number, bytes: Uint8Array, from: number, length: number, access: Access): void {
    const part = length === bytes.length ? bytes : bytes.subarray(from, from + length);
    if (access === DEVICE_READS) copyOut(this.#paths.memoryBytes, address, part);
    else copyIn(this.#paths.memoryBytes, address, part);
  }

  #refuse(moved: number, reason: FaultReason): number {
    this.#reason = reason;
    return -1 - moved;
  }
}

/** The page of the bus address high · 2^32 + low: below 2^52, so a double holds it. */
function busPage(high: number, low: number, pageShift: number): number {
  return Math.floor(((high >>> 0) * 2 ** 20 + ((low >>> 0) >>> 12)) / 2 ** (pageShift - 12));
}
