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

/** Reasons why a request failed. All occur in correct programs. */
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

/** A failure as a number, which calls return that also return entries: -1 .. -10, in the order of Failure. */
export type FailureCode = -1 | -2 | -3 | -4 | -5 | -6 | -7 | -8 | -9 | -10;

/** True if `result` is a failure: a name, as devices and tables return it, or a code below 0, as allocations return it. */
export function isFailure(result: unknown): result is Failure | FailureCode {
  if (typeof result === "number") return NAMES[-1 - result] !== undefined;
  return typeof result === "string" && NAMES.includes(result as Failure);
}

/**
 * Returns the result of a call, or throws if it is a failure: `const first = orThrow(allocator.allocate(4))`. Names of error numbers, which
 * containers return ("EINVAL"), are failures too; negative error numbers are not. `what`: the purpose of the call, which begins the message.
 * @throws IovaError whose code is the failure's name
 *
 * @example
 * ```ts
 * import { failureOf, isFailure, orThrow, PooledAllocator } from "iova";
 *
 * const allocator = PooledAllocator.create({ entries: 4 });
 * const first = orThrow(allocator.allocate(4), "the first request");
 * const second = allocator.allocate(1);
 * console.log(first, isFailure(second) ? failureOf(second) : second);
 * try {
 *   orThrow(second, "the second request");
 * } catch (error) {
 *   console.log((error as Error).message);
 * }
 * ```
 * ```text output
 * 0 table-full
 * the second request failed: table-full
 * ```
 */
export function orThrow<Result>(result: Result, what = "the call"): Exclude<Result, Failure | Errno> {
  if (!isFailure(result) && !isErrno(result)) return result as Exclude<Result, Failure | Errno>;
  const failure = typeof result === "number" ? failureOf(result) : (result as Failure | Errno);
  throw new IovaError(failure, `${what} failed: ${failure}`);
}

/**
 * Returns the name of a failure code.
 * @throws InvalidArgumentError for another number
 */
export function failureOf(code: number): Failure {
  const name = NAMES[-1 - code];
  if (name === undefined)
    throw new InvalidArgumentError("failure code", code, `an integer from -${NAMES.length} to -1`);
  return name;
}

/**
 * Returns the code of a failure: a negative number.
 * @throws InvalidArgumentError for another value
 */
export function failureCode(failure: Failure): FailureCode {
  const index = NAMES.indexOf(failure);
  if (index < 0) throw new InvalidArgumentError("failure", failure, `one of ${NAMES.join(", ")}`);
  return (-1 - index) as FailureCode;
}
