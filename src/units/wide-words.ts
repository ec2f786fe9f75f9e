/**
 * Between numbers and the bigints of 64-bit registers. Through memory of their own: in optimised code that is less than half of what
 * BigInt(n) and Number(b) cost, and each costs more than the rest of a register's write.
 */

const wide: BigUint64Array = new BigUint64Array(1);
const halves: Uint32Array = new Uint32Array(wide.buffer);
const TWO_TO_32 = 2 ** 32;

// Which of the halves is the low one: the host's order of bytes.
wide[0] = 1n;
const LOW = halves[0] === 1 ? 0 : 1;
const HIGH = 1 - LOW;

/** A whole number from 0 to 2^53 − 1, as a bigint. */
export function wideOf(value: number): bigint {
  halves[LOW] = value;
  halves[HIGH] = value / TWO_TO_32;
  return wide[0] as bigint;
}

/** Bits 31 .. 0 of a bigint, as an unsigned number. */
export function lowWordOf(value: bigint): number {
  wide[0] = value;
  return halves[LOW] as number;
}

/** A bigint from 0 to 2^53 − 1, as a number. */
export function numberOf(value: bigint): number {
  wide[0] = value;
  return (halves[HIGH] as number) * TWO_TO_32 + (halves[LOW] as number);
}
