/** How conformance suites object: with an InvariantError that says what was found. They need no test runner's assertions. */
import { InvariantError } from "../units/errors.ts";

/** Throws InvariantError with `message()` unless `holds`. */
export function expect(holds: boolean, message: () => string): asserts holds {
  if (!holds) throw new InvariantError(message());
}

/** `0x` and the number in base 16. */
export function hex(value: bigint | number): string {
  return `0x${value.toString(16)}`;
}
