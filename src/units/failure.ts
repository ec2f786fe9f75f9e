/**
 * Failures of a running system, which callers handle. They are values, not exceptions. On the hot path they are small negative numbers, so
 * that a result is one plain number: an entry (>= 0) or a failure code (< 0). The public API converts codes to names.
 */
import { type Errno, isErrno } from "./errno.ts";
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

/** Why a request failed. All are expected in a running system. */
export type Failure =
  /** No free range of this length is left in the part of the table that the request allows. */
  | "table-full"
  /** The device's mask lies below the window, or leaves fewer entries than asked for. */
  | "mask-too-low"
  /** The request can't lie between two segment boundaries. */
  | "longer-than-boundary"
  /** The table has fewer entries than asked for. */
  | "longer-than-table"
  /** The platform can't take the request now; the same call may succeed later. */
  | "platform-busy"
  /** The platform refuses the request. */
  | "platform-refused"
  /** This thread may not wait (a browser's main thread), and the lock was held for longer than 1 ms. */
  | "would-block"
  /** The thread that holds the lock did not release it within the time limit, and was not declared dead. */
  | "owner-unresponsive"
  /** Some of the entries are allocated. */
  | "in-use"
  /** Not enough free pages of physical memory, for coherent memory or bounce buffers. */
  | "out-of-memory";

/** In the order of the codes: NAMES[-1 - code]. */
const NAMES: readonly Failure[] = [
  "table-full",
  "mask-too-low",
  "longer-than-boundary",
  "longer-than-table",
  "platform-busy",
  "platform-refused",
  "would-block",
  "owner-unresponsive",
  "in-use",
  "out-of-memory",
];

/** A failure as the hot path returns it: -1 .. -10. */
export type FailureCode = -1 | -2 | -3 | -4 | -5 | -6 | -7 | -8 | -9 | -10;

/** True if a result is a failure: a name, as calls of devices and tables return it, or a code below 0, as allocations do. */
export function isFailure(result: unknown): result is Failure | FailureCode {
  if (typeof result === "number") return NAMES[-1 - result] !== undefined;
  return typeof result === "string" && NAMES.includes(result as Failure);
}

/**
 * Returns the result of a call, or throws if it is a failure: `const first = orThrow(allocator.allocate(4))`. The name of an error number, as
 * containers answer, is a failure too; its negative number is not. The IovaError has the failure's name as its code. `what`: the purpose of the
 * call, which begins the message.
 */
export function orThrow<Result>(result: Result, what = "the call"): Exclude<Result, Failure | Errno> {
  if (!isFailure(result) && !isErrno(result)) return result as Exclude<Result, Failure | Errno>;
  const failure = typeof result === "number" ? failureOf(result) : (result as Failure | Errno);
  throw new IovaError(failure, `${what} failed: ${failure}`);
}

/** The name of a failure code. Throws InvalidArgumentError for another number. */
export function failureOf(code: number): Failure {
  const name = NAMES[-1 - code];
  if (name === undefined)
    throw new InvalidArgumentError("failure code", code, `an integer from -${NAMES.length} to -1`);
  return name;
}

/** The code of a failure: a negative number. Throws InvalidArgumentError for another value. */
export function failureCode(failure: Failure): FailureCode {
  const index = NAMES.indexOf(failure);
  if (index < 0) throw new InvalidArgumentError("failure", failure, `one of ${NAMES.join(", ")}`);
  return (-1 - index) as FailureCode;
}
