/** A Registers base class whose 64-bit accesses all use bigints. */
import { highHalf, joinHalves, lowHalf } from "../units/words64.ts";
import type { Registers } from "./contract.ts";

/**
 * For registers outside of hot paths. Subclasses implement the 32-bit and the bigint accesses; the accesses by halves use the bigint ones.
 */
export abstract class WideRegisters implements Registers {
  /** As `Registers.read32`. */
  abstract read32(at: number): number;
  /** As `Registers.write32`. */
  abstract write32(at: number, value: number): void;
  /** As `Registers.read64`. */
  abstract read64(at: number): bigint;
  /** As `Registers.write64`. */
  abstract write64(at: number, value: bigint): void;

  writeHalves64(at: number, high: number, low: number): void {
    this.write64(at, joinHalves(high, low));
  }

  readHigh64(at: number): number {
    return highHalf(this.read64(at)) >>> 0;
  }

  readLow64(at: number): number {
    return lowHalf(this.read64(at)) >>> 0;
  }
}
