/** A 64-bit value as two 32-bit words: their positions in memory, and conversions from and to a bigint. */

/** Index of the low 32 bits in a 64-bit array element seen as two 32-bit words: 0 on little-endian processors. */
export const LOW_WORD: 0 | 1 = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1 ? 0 : 1;
/** Index of the high 32 bits. */
export const HIGH_WORD: 0 | 1 = LOW_WORD === 0 ? 1 : 0;

/** The unsigned 64-bit number with these halves. Each half may be signed or unsigned. */
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
