/** Registers whose accesses of 64 bits are made as bigints, whoever asks: machines on which no access of theirs is on a hot path. */
import type { Registers } from "./contract.ts";

/** What is left to write are the accesses themselves. */
export abstract class WideRegisters implements Registers {
  abstract read32(at: number): number;
  abstract write32(at: number, value: number): void;
  abstract read64(at: number): bigint;
  abstract write64(at: number, value: bigint): void;

  writeHalves64(at: number, high: number, low: number): void {
    this.write64(at, joinHalves(high, low));
  }

  readHigh64(at: number): number {
    return Number(this.read64(at) >> 32n);
  }
}

/** The unsigned number of 64 bits whose halves these are, signed or not. */
export function joinHalves(high: number, low: number): bigint {
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}
