/**
 * Lists of any length, added up and searched by loops: spread into a call (`push(...list)`, `Math.max(...list)`) a list of more than
 * some 125,000 elements throws RangeError.
 */

/** Adds the elements of `from` at the end of `into`. */
export function append<Element>(into: Element[], from: Iterable<Element>): void {
  for (const element of from) into.push(element);
}

/** The largest of the values, and of `least`: what is answered when there is none. */
export function largest(values: Iterable<number>, least: number = Number.NEGATIVE_INFINITY): number {
  let found = least;
  for (const value of values) if (value > found) found = value;
  return found;
}

/** The smallest of the values; Infinity when there is none. */
export function smallest(values: Iterable<number>): number {
  let found = Number.POSITIVE_INFINITY;
  for (const value of values) if (value < found) found = value;
  return found;
}
