/**
 * Failures that a running system meets and its caller handles. They are values, not exceptions. On the hot path they
 * are small negative numbers, so that an answer is one plain number: an entry (>= 0) or a reason (< 0). At the edge the
 * number becomes a name.
 */
import { InvalidArgumentError, IovaError } from "./errors.ts";

export const TABLE_FULL = -1;
export const MASK_TOO_LOW = -2;
export const LONGER_THAN_BOUNDARY = -3;
export const LONGER_THAN_TABLE = -4;
export const PLATFORM_BUSY = -5;
export const WOULD_BLOCK = -7;
export const OWNER_UNRESPONSIVE = -8;
export const IN_USE = -9;
export const OUT_OF_MEMORY = -10;

const NAMES = [
  /** No free range of this length is left where the request may go. */
  "table-full",
  /** The device's mask lies below the window, or leaves fewer entries than asked for. */
  "mask-too-low",
  /** The request can't lie between two segment boundaries. */
  "longer-than-boundary",
  /** The table has fewer entries than asked for. */
  "longer-than-table",
  /** The platform can't take the request now; the same call may succeed later. */
  "platform-busy",
  /** The platform refuses the request. */
  "platform-refused",
  /** This thread may not wait (a browser's main thread), and the lock was taken for longer than 1 ms. */
  "would-block",
  /** The thread that holds the lock did not give it back in the stated time, and nobody has declared it dead. */
  "owner-unresponsive",
  /** Some of the entries are taken. */
  "in-use",
  /** There are not as many free pages of physical memory: for coherent memory, or for bounce buffers. */
  "out-of-memory",
] as const;

/** Why a request failed. Each is expected in a running system. */
export type Failure = (typeof NAMES)[number];
/** A failure as the hot path returns it: -1 .. -10. */
export type FailureCode = -1 | -2 | -3 | -4 | -5 | -6 | -7 | -8 | -9 | -10;

/** Is this result of a call a failure: a name, as calls of devices and tables answer it, or a code below 0, as allocations do? */
export function isFailure(result: unknown): result is Failure | FailureCode {
  if (typeof result === "number") return NAMES[-1 - result] !== undefined;
  return typeof result === "string" && NAMES.includes(result as Failure);
}

/**
 * The result of a call that may fail, for a program that does not go on without it: `const first = orThrow(allocator.allocate(4))`. Throws
 * IovaError with the failure as its code when it is one (`isFailure`). `what`: what the call was for; it begins the message.
 */
export function orThrow<Result>(result: Result, what = "the call"): Exclude<Result, Failure> {
  if (!isFailure(result)) return result as Exclude<Result, Failure>;
  const failure = typeof result === "number" ? failureOf(result) : (result as Failure);
  throw new IovaError(failure, `${what} failed: ${failure}`);
}

/** The name of a negative answer. Throws InvalidArgumentError for a number that is no failure code. */
export function failureOf(code: number): Failure {
  const name = NAMES[-1 - code];
  if (name === undefined)
    throw new InvalidArgumentError("failure code", code, `an integer from -${NAMES.length} to -1`);
  return name;
}

/** The negative number that stands for a failure on the hot path. Throws InvalidArgumentError for what is no failure. */
export function failureCode(failure: Failure): FailureCode {
  const index = NAMES.indexOf(failure);
  if (index < 0) throw new InvalidArgumentError("failure", failure, `one of ${NAMES.join(", ")}`);
  return (-1 - index) as FailureCode;
}
