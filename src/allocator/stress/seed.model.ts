/** Seeds of runs on real threads: what the players do comes from them, when they do it does not. */

/** A seeded generator: a number below the given one. */
export type Random = (below: number) => number;

/** A new seed, or the one of the environment variable, to play a run again. */
export function seedFrom(name: string): number {
  const given = process.env[name];
  if (given === undefined) return (Date.now() ^ (process.pid << 16)) >>> 0;
  const seed = Number(given);
  if (!Number.isInteger(seed)) throw new Error(`${name} is ${given}; expected an integer`);
  return seed;
}

/** A seed for each part of a run, far from those of its neighbours. */
export function seedOf(seed: number, part: number): number {
  const mixed = Math.imul((seed ^ (seed >>> 16)) + Math.imul(part + 1, 0x9e3779b1), 0x21f0aaad);
  return (mixed ^ (mixed >>> 15)) >>> 0;
}
