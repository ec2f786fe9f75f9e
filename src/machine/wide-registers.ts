/** Between bigints and halves: accesses of 64 bits as one makes them of the other, and registers that do so for whoever asks. */
import type { Registers } from "./contract.ts";

/** Where no access is on a hot path: all of 64 bits are made as bigints. What is left to write are the accesses themselves. */
export abstract class WideRegisters implements Registers {
  abstract read32(at: number): number;
  abstract write32(at: number, value: number): void;
  abstract read64(at: number): bigint;
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

/** Where there are none: every access is answered by `refuse`, which throws. */
export function noRegisters(refuse: (at: number) => never): Registers {
  return {
    read32: refuse,
    write32: refuse,
    read64: refuse,
    write64: refuse,
    writeHalves64: refuse,
    readHigh64: refuse,
    readLow64: refuse,
  };
}

/** The unsigned number of 64 bits whose halves these are, signed or not. */
export function joinHalves(high: number, low: number): bigint {
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}

/** Bits 32 .. 63, signed: what a word of shared memory holds. */
export function highHalf(value: bigint): number {
  return Number(BigInt.asIntN(32, value >> 32n));
}

/** Bits 0 .. 31, signed. */
export function lowHalf(value: bigint): number {
  return Number(BigInt.asIntN(32, value));
}
