/** Sizes of a run: full and quick. */

export interface Scale {
  readonly quick: boolean;
  /** Entries of the large table. */
  readonly entries: number;
  /** Entries that one thread works on in the tables of single pages: the size of its pool. */
  readonly arena: number;
  /** Fills of the tables, in percent. */
  readonly fills: readonly number[];
  /** Operations per slice are divided by this. */
  readonly divisor: number;
  /** Timed slices of a cell: many and short, so that other processes disturb few of them. */
  readonly slices: number;
}

/** The scale of the pages in docs/runs. */
export const FULL: Scale = {
  quick: false,
  entries: 2 ** 20,
  arena: 2 ** 16,
  fills: [10, 50, 80, 90, 95, 99],
  divisor: 1,
  slices: 160,
};

/** The scale of `npm test`: it shows that everything works. */
export const QUICK: Scale = {
  quick: true,
  entries: 2 ** 16,
  arena: 2 ** 11,
  fills: [50, 90],
  divisor: 64,
  slices: 4,
};

/** Operations of one slice at this scale. */
export function scaled(operations: number, scale: Scale): number {
  return Math.max(4, Math.round(operations / scale.divisor));
}
