/** How conformance suites object: with an InvariantError that says what was found. They need no test runner's assertions. */
import { InvariantError } from "../units/errors.ts";

/** Throws InvariantError with `message()` unless `holds`. */
export function expect(holds: boolean, message: () => string): asserts holds {
  if (!holds) throw new InvariantError(message());
}
