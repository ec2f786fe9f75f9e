/**
 * One thread's view of a POWER9 host bridge's DMA registers (platforms/powernv/registers.ts), implemented by partitions (PEs) and their two
 * windows. Config space (0x130, 0x140) and memory windows are not modelled: this machine's devices don't need them.
 *
 * Where the specification leaves behaviour open, the model picks the least forgiving one:
 * - The RTT is read at RTC_INVALIDATE, as if each device did a DMA at that moment. Later stores to the RTT have no effect until the next
 *   RTC_INVALIDATE.
 * - A TVE takes effect at its write. A translation stays in the IOTLB until TCE_KILL, or until its window's TVE is written.
 * - A fault freezes the PE, from the first RTT on. PEST-A and PEST-B show the same flag; PEST-B clears it, as firmware does last.
 *
 * Simplifications: DMA_SYNC returns the result of the thread's own kills since the last DMA_SYNC, each of which has waited for the DMAs in
 * flight; without kills, DMA_SYNC waits itself. A window ends at entry 2^31 − 1. A bypass window must cover all memory.
 */

import { pageAt } from "../../../formats/address.ts";
import type { Registers } from "../../../machine/contract.ts";
import type { PhysicalMemory } from "../../../memory/physical-memory.ts";
import { PAGE_SHIFTS_OF } from "../../../platforms/powernv/geometry.ts";
import * as bridge from "../../../platforms/powernv/registers.ts";
import {
  DMA_SYNC,
  SECOND_WINDOW_BASE_HIGH,
  SYNC_COMPLETE_HIGH,
  TCE_KILL,
  TCE_KILL_ALL_HIGH,
  TCE_KILL_ONE_HIGH,
  TCE_KILL_PE_HIGH,
  TCE_KILL_PE_MASK,
} from "../../../platforms/powernv/registers.ts";
import { load, type SharedWords, store } from "../../../shared/memory.ts";
import { hexadecimal } from "../../../units/counts.ts";
import { InvalidArgumentError, inWords } from "../../../units/errors.ts";
import { MAX_ENTRIES } from "../../../units/numbers.ts";
import { highHalf, joinHalves, lowHalf } from "../../../units/words64.ts";
import { PASSED } from "../threads.ts";
import type { TranslationUnit } from "../translation.ts";
import { type IommuModel, type IommuParts, unknownRegister } from "./model.ts";

const MAX_PARTITIONS = 256;
/** Initial value: this thread has issued no TCE kill yet. */
const NO_KILL = -1;
/** The model's words: 64-bit registers as pairs, low word first; TVEs from `tvt` on. */
const WORD = { ioda: 0, rtt: 2, tvt: 32 } as const;
const WORDS = WORD.tvt + MAX_PARTITIONS * 4;
const NAMED_BY = "platforms/powernv/registers.ts";
/** Format code of a TCE, in walk.ts. */
const TCE = 1;
/** Page sizes of both generations: the model accepts either. */
const PAGE_SHIFTS: readonly number[] = [...PAGE_SHIFTS_OF.power8, ...PAGE_SHIFTS_OF.power9];

/** The requester id (bus, device, function) of a software machine's device: device numbers count up, with function 0. */
export function requesterIdOf(device: number): number {
  return device << 3;
}

class Phb4Registers implements Registers {
  readonly #state: SharedWords;
  readonly #at: number;
  readonly #unit: TranslationUnit;
  readonly #memory: PhysicalMemory;
  /** The result of this thread's kills since its last SYNC_START, and of those before it. */
  #killed = NO_KILL;
  #synced = PASSED;

  constructor({ state, at, unit, memory }: IommuParts) {
    if (unit.windows < 2)
      throw new InvalidArgumentError("windows of a machine with iommu phb4", unit.windows, "at least 2");
    this.#state = state;
    this.#at = at;
    this.#unit = unit;
    this.#memory = memory;
  }

  read32(at: number): number {
    throw unknownRegister("32-bit register to read", at, `${NAMED_BY}, all of 64 bits, and not one`);
  }

  write32(at: number): void {
    throw unknownRegister("32-bit register to write", at, `${NAMED_BY}, all of 64 bits, and not one`);
  }

  /** Throws InvalidArgumentError for an unknown register, and if IODA_ADDRESS selects an unknown table or index. */
  read64(at: number): bigint {
    switch (at) {
      case bridge.RTT_BAR:
        return this.#load(WORD.rtt);
      case bridge.IODA_ADDRESS:
        return this.#load(WORD.ioda);
      case bridge.IODA_DATA:
        return this.#readTable();
      case DMA_SYNC:
        return this.#synced === PASSED ? bridge.SYNC_COMPLETE : 0n;
      case TCE_KILL:
      case bridge.RTC_INVALIDATE:
        return 0n;
      default:
        throw unknownRegister("64-bit register to read", at, NAMED_BY);
    }
  }

  /** As `read64`, without a bigint for the register that every invalidation reads. */
  readHigh64(at: number): number {
    if (at === DMA_SYNC) return this.#synced === PASSED ? SYNC_COMPLETE_HIGH : 0;
    return highHalf(this.read64(at)) >>> 0;
  }

  readLow64(at: number): number {
    return lowHalf(this.read64(at)) >>> 0;
  }

  /** Throws as `read64`, and for an invalid TVE or RTT entry. */
  write64(at: number, value: bigint): void {
    switch (at) {
      case bridge.RTT_BAR:
        this.#placeRtt(value);
        return;
      case bridge.IODA_ADDRESS:
        this.#store(WORD.ioda, value);
        return;
      case bridge.IODA_DATA:
        this.#writeTable(value);
        return;
      case bridge.RTC_INVALIDATE:
        this.#lookUpDevices(value);
        return;
      case TCE_KILL:
      case DMA_SYNC:
        this.writeHalves64(at, highHalf(value), lowHalf(value));
        return;
      default:
        throw unknownRegister("64-bit register to write", at, NAMED_BY);
    }
  }

  /** As `write64`, without a bigint for the registers that every invalidation writes. */
  writeHalves64(at: number, high: number, low: number): void {
    if (at === TCE_KILL) this.#kill(high, low);
    else if (at === DMA_SYNC) {
      this.#synced = this.#killed === NO_KILL ? this.#unit.awaitDma() : this.#killed;
      this.#killed = NO_KILL;
    } else this.write64(at, joinHalves(high, low));
  }

  #placeRtt(value: bigint): void {
    const address = Number(value & ~bridge.ENABLE_BIT);
    if (address % bridge.RTT_BYTES !== 0 || address + bridge.RTT_BYTES > this.#memory.bytes) {
      const expected = `a multiple of ${bridge.RTT_BYTES} with as many bytes below ${this.#memory.bytes}`;
      throw new InvalidArgumentError("address in RTT_BAR", address, expected);
    }
    this.#store(WORD.rtt, value);
    for (let partition = 0; partition < this.#unit.partitions; partition++) this.#unit.freezeOnFault(partition, true);
  }

  /** Reads the RTT entries of all devices, or of the one with this requester id. */
  #lookUpDevices(value: bigint): void {
    const rtt = this.#load(WORD.rtt);
    if ((rtt & bridge.ENABLE_BIT) === 0n) return;
    const one =
      (value & bridge.RTC_INVALIDATE_ALL) === 0n ? Number((value >> bridge.REQUESTER_ID_SHIFT) & 0xffffn) : -1;
    const entry = new Uint8Array(2);
    for (let device = 0; device < this.#unit.devices; device++) {
      const requesterId = requesterIdOf(device);
      if (one >= 0 && one !== requesterId) continue;
      this.#memory.read(Number(rtt & ~bridge.ENABLE_BIT) + 2 * requesterId, entry);
      this.#note(this.#unit.moveDevice(device, new DataView(entry.buffer).getUint16(0)));
    }
  }

  #kill(high: number, low: number): void {
    const partition = low & TCE_KILL_PE_MASK;
    if ((high & TCE_KILL_ALL_HIGH) !== 0) this.#note(this.#unit.invalidateAll());
    else if ((high & TCE_KILL_PE_HIGH) !== 0) {
      this.#note(this.#unit.invalidateWindow(partition, 0));
      this.#note(this.#unit.invalidateWindow(partition, 1));
    } else if ((high & TCE_KILL_ONE_HIGH) !== 0 && partition < this.#unit.partitions) {
      this.#killOne(partition, high, low);
    }
  }

  #killOne(partition: number, high: number, low: number): void {
    const window = (high & SECOND_WINDOW_BASE_HIGH) === 0 ? 0 : 1;
    // The page size of the TVE, in the low bits of its low word.
    const pageShift = (load(this.#state, this.#at + tvtWord(partition, window)) & 0x1f) + 11;
    // The low 12 bits hold the PE. An address beyond the window matches no entry.
    const entry = pageAt(high & (SECOND_WINDOW_BASE_HIGH - 1), low & ~0xfff, pageShift);
    if (entry < MAX_ENTRIES) this.#note(this.#unit.invalidate(partition, window, entry, entry + 1));
  }

  /** The table and index that IODA_ADDRESS selects. With auto-increment, the index is incremented afterwards. */
  #selected(): { table: number; index: number } {
    const address = this.#load(WORD.ioda);
    const index = Number(address & 0xffffn);
    if ((address & bridge.IODA_AUTO_INCREMENT) !== 0n) {
      this.#store(WORD.ioda, (address & ~0xffffn) | BigInt((index + 1) & 0xffff));
    }
    return { table: Number((address >> bridge.IODA_TABLE_SHIFT) & 0x1fn), index };
  }

  #readTable(): bigint {
    const { table, index } = this.#selected();
    switch (table) {
      case bridge.TABLE_TVT:
        return this.#load(tvtWord(this.#checkPartition(index >> 1), index & 1));
      case bridge.TABLE_PEST_A:
      case bridge.TABLE_PEST_B:
        return this.#unit.isFrozen(index) ? bridge.FROZEN_BIT : 0n;
      default:
        throw noTable(table);
    }
  }

  #writeTable(value: bigint): void {
    const { table, index } = this.#selected();
    switch (table) {
      case bridge.TABLE_TVT:
        this.#setTve(this.#checkPartition(index >> 1), index & 1, value);
        return;
      case bridge.TABLE_PEST_A:
      case bridge.TABLE_PEST_B:
        if ((value & bridge.FROZEN_BIT) !== 0n) this.#note(this.#unit.freeze(index));
        else if (table === bridge.TABLE_PEST_B) this.#unit.thaw(index);
        return;
      default:
        throw noTable(table);
    }
  }

  #setTve(partition: number, window: number, tve: bigint): void {
    const tableSize = Number((tve >> 8n) & 0x1fn);
    const pageSize = Number(tve & 0x1fn);
    const base = window === 0 ? 0n : bridge.SECOND_WINDOW_BASE;
    if (tableSize === 0) this.#note(this.#unit.closeWindow(partition, window));
    else if (pageSize === 0) this.#openBypass(partition, window, base, tve);
    else {
      const levels = Number((tve >> 13n) & 7n) + 1;
      const pageShift = pageSize + 11;
      if (!PAGE_SHIFTS.includes(pageShift)) {
        throw new InvalidArgumentError(
          "page size in a TVE",
          pageSize,
          `one of ${PAGE_SHIFTS.map((shift) => shift - 11)}`,
        );
      }
      const levelBits = tableSize + 8;
      const entries = Math.min(2 ** (levels * levelBits), MAX_ENTRIES);
      const tableAddress = Number((tve >> 16n) << 12n);
      const table = { base, pageShift, entries, format: TCE, tableAddress, levels, levelBits };
      this.#note(this.#unit.openWindow(partition, window, table));
    }
    this.#store(tvtWord(partition, window), tve);
  }

  #openBypass(partition: number, window: number, base: bigint, tve: bigint): void {
    const first = tve >> 40n;
    const end = (((tve >> 16n) & 0xffffffn) + 1n) << 24n;
    if (first !== 0n || end < BigInt(this.#memory.bytes)) {
      throw new InvalidArgumentError(
        "range in a bypass TVE",
        inWords(hexadecimal(tve)),
        `all ${this.#memory.bytes} bytes`,
      );
    }
    this.#note(this.#unit.openDirect(partition, window, base));
  }

  #checkPartition(partition: number): number {
    if (partition < this.#unit.partitions) return partition;
    throw new InvalidArgumentError("PE of a TVE", partition, `below ${this.#unit.partitions}`);
  }

  #note(answer: number): void {
    if (answer !== PASSED || this.#killed === NO_KILL) this.#killed = answer;
  }

  #load(word: number): bigint {
    return joinHalves(load(this.#state, this.#at + word + 1), load(this.#state, this.#at + word));
  }

  #store(word: number, value: bigint): void {
    store(this.#state, this.#at + word, lowHalf(value));
    store(this.#state, this.#at + word + 1, highHalf(value));
  }
}

function tvtWord(partition: number, window: number): number {
  return WORD.tvt + (2 * partition + window) * 2;
}

function noTable(table: number): InvalidArgumentError {
  return new InvalidArgumentError("table in IODA_ADDRESS", table, "7 (PEST-A), 8 (PEST-B) or 9 (TVT)");
}

export const phb4Iommu: IommuModel = { name: "phb4", words: WORDS, create: (parts) => new Phb4Registers(parts) };
