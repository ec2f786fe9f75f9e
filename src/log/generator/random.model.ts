/** Numbers that look random and that a seed gives again. */

/** A whole number from 0 up to, not including, `end`. */
export type Random = (end: number) => number;

/** xorshift32 (Marsaglia, 2003). */
export function generator(seed: number): Random {
  let state = (Math.imul(seed, 2654435761) ^ 0x9e3779b9) | 1;
  return (end) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % end;
  };
}

export function pick<T>(list: readonly T[], random: Random): T {
  return list[random(list.length)] as T;
}
