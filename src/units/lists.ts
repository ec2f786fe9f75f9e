/**
 * Loops over lists of any length. A list of more than about 125,000 elements that is spread into a call (`push(...list)`,
 * `Math.max(...list)`) throws RangeError.
 */

/** Adds the elements of `from` at the end of `into`. */
export function append<Element>(into: Element[], from: Iterable<Element>): void {
  for (const element of from) into.push(element);
}

/** The largest of the values and `least`; so `least` for an empty list. */
export function largest(values: Iterable<number>, least: number = Number.NEGATIVE_INFINITY): number {
  let found = least;
  for (const value of values) if (value > found) found = value;
  return found;
}

/** The smallest of the values; Infinity for an empty list. */
export function smallest(values: Iterable<number>): number {
  let found = Number.POSITIVE_INFINITY;
  for (const value of values) if (value < found) found = value;
  return found;
}
