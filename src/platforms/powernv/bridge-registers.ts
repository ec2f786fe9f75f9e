/**
 * Operations on a bridge's registers (registers.ts). Operations through IODA_ADDRESS and IODA_DATA take two accesses, so the caller must
 * hold the bridge's lock. A TCE kill is one write, which any thread may make.
 */
import { addressHigh, addressLow } from "../../formats/address.ts";
import type { Machine } from "../../machine/contract.ts";
import { IovaError } from "../../units/errors.ts";
import type { Failure } from "../../units/failure.ts";
import type { DmaWindow } from "../../units/numbers.ts";
import {
  DMA_SYNC,
  ENABLE_BIT,
  FROZEN_BIT,
  IODA_ADDRESS,
  IODA_AUTO_INCREMENT,
  IODA_DATA,
  IODA_TABLE_SHIFT,
  REQUESTER_ID_SHIFT,
  RTC_INVALIDATE,
  RTT_BAR,
  SECOND_WINDOW_BASE_HIGH,
  SYNC_COMPLETE_HIGH,
  SYNC_START_HIGH,
  TABLE_PEST_A,
  TABLE_PEST_B,
  TABLE_TVT,
  TCE_KILL,
  TCE_KILL_ONE_HIGH,
  TCE_KILL_PE_HIGH,
} from "./registers.ts";

/** Longer ranges kill the translations of the whole PE: more than 64 register writes cost more than walking again. */
const KILL_PE_ABOVE = 64;

export class BridgeRegisters {
  readonly #machine: Machine;

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  /** Sets the RTT's address. All its devices are in PE 0. The bridge looks devices up again. */
  placeRtt(address: number): void {
    this.#machine.registers.write64(RTT_BAR, ENABLE_BIT | BigInt(address));
  }

  /** The PE of a requester id, from the RTT in memory. */
  partitionOf(rttAddress: number, requesterId: number): number {
    const bytes = new Uint8Array(2);
    this.#machine.memory.read(rttAddress + 2 * requesterId, bytes);
    return (bytes[0] as number) * 256 + (bytes[1] as number);
  }

  /** Moves a device to a PE: stores the RTT entry, orders the store, then invalidates the bridge's cached entry. */
  setPartition(rttAddress: number, requesterId: number, partition: number): void {
    const { memory, registers } = this.#machine;
    memory.write(rttAddress + 2 * requesterId, Uint8Array.of(partition >>> 8, partition & 0xff));
    memory.fence();
    registers.write64(RTC_INVALIDATE, BigInt(requesterId) << REQUESTER_ID_SHIFT);
    this.awaitDma("moving a device to another PE");
  }

  /** Bridge's lock held. */
  writeTve(partition: number, window: number, tve: bigint): void {
    this.#select(TABLE_TVT, 2 * partition + window);
    this.#machine.registers.write64(IODA_DATA, tve);
  }

  /** Bridge's lock held. */
  isFrozen(partition: number): boolean {
    this.#select(TABLE_PEST_B, partition);
    return (this.#machine.registers.read64(IODA_DATA) & FROZEN_BIT) !== 0n;
  }

  /** Bridge's lock held. Enables registers first, then DMA. */
  thaw(partition: number): void {
    for (const table of [TABLE_PEST_A, TABLE_PEST_B]) {
      this.#select(table, partition);
      this.#machine.registers.write64(IODA_DATA, 0n);
    }
  }

  /** Kills the translations of entries [first, end) of a window of a PE. They are done after `sync`. */
  killEntries(partition: number, window: DmaWindow, first: number, end: number): void {
    if (end - first > KILL_PE_ABOVE) {
      this.killPartition(partition);
      return;
    }
    const { registers } = this.#machine;
    const high = window.base === 0n ? TCE_KILL_ONE_HIGH : TCE_KILL_ONE_HIGH | SECOND_WINDOW_BASE_HIGH;
    const { pageShift } = window;
    for (let entry = first; entry < end; entry++) {
      registers.writeHalves64(TCE_KILL, high | addressHigh(entry, pageShift), addressLow(entry, pageShift) | partition);
    }
  }

  /** Kills the translations of both windows of a PE. */
  killPartition(partition: number): void {
    this.#machine.registers.writeHalves64(TCE_KILL, TCE_KILL_PE_HIGH, partition);
  }

  /** Waits until no DMA uses translations that were killed before. */
  sync(): Failure | undefined {
    const { registers } = this.#machine;
    registers.writeHalves64(DMA_SYNC, SYNC_START_HIGH, 0);
    return (registers.readHigh64(DMA_SYNC) & SYNC_COMPLETE_HIGH) !== 0 ? undefined : "platform-busy";
  }

  /** As `sync`, but throws IovaError "platform-busy" on failure. */
  awaitDma(what: string): void {
    if (this.sync() === undefined) return;
    throw new IovaError("platform-busy", `${what}: a DMA has not ended since; forget its thread if it is dead`);
  }

  #select(table: number, index: number): void {
    const { registers } = this.#machine;
    registers.write64(IODA_ADDRESS, IODA_AUTO_INCREMENT | (BigInt(table) << IODA_TABLE_SHIFT) | BigInt(index));
  }
}
