/**
 * The registers of this thread's machine: those of its IOMMU's model, until the view is closed. Then all writes throw, because the thread's
 * number may belong to another thread.
 */
import type { Registers } from "../../machine/contract.ts";
import { InvalidArgumentError } from "../../units/errors.ts";
import { closed } from "./threads.ts";

const END_OF_64_BITS = 1n << 64n;

export class ThreadRegisters implements Registers {
  readonly #model: Registers;
  #open = true;

  constructor(model: Registers) {
    this.#model = model;
  }

  /** All accesses throw InvalidArgumentError for an unknown register or an invalid value. */
  read32(at: number): number {
    return this.#model.read32(at);
  }

  write32(at: number, value: number): void {
    if (!this.#open) throw closed();
    this.#model.write32(at, value);
  }

  read64(at: number): bigint {
    return this.#model.read64(at);
  }

  write64(at: number, value: bigint): void {
    if (!this.#open) throw closed();
    if (value < 0n || value >= END_OF_64_BITS) {
      throw new InvalidArgumentError("register value", value, "64 bits, unsigned");
    }
    this.#model.write64(at, value);
  }

  writeHalves64(at: number, high: number, low: number): void {
    if (!this.#open) throw closed();
    this.#model.writeHalves64(at, high, low);
  }

  readHigh64(at: number): number {
    return this.#model.readHigh64(at);
  }

  readLow64(at: number): number {
    return this.#model.readLow64(at);
  }

  /** Makes all later writes throw. */
  close(): void {
    this.#open = false;
  }
}
