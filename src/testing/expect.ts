/** Assertions of the conformance suites. They throw InvariantError, so that the suites need no test runner. */
import { InvariantError } from "../units/errors.ts";

/** Throws InvariantError with `message()` unless `holds`. */
export function expect(holds: boolean, message: () => string): asserts holds {
  if (!holds) throw new InvariantError(message());
}
