/**
 * Error numbers as calls of containers, pinned memory and guest tables answer them: by name, as values, never thrown. Hot paths return the
 * negative number instead (-22 for EINVAL), so that a result is one plain number: an answer (>= 0) or an errno (< 0).
 *
 * Source of the numbers: the kernel's published interface headers, asm-generic/errno-base.h and asm-generic/errno.h.
 */
import { InvalidArgumentError } from "./errors.ts";

/** The name of an error number. Each call says which it answers, and when. */
export type Errno =
  /** The caller may not do this: wrong process, or wrong order of calls. */
  | "EPERM"
  /** No such table, region or group. */
  | "ENOENT"
  /** There is no such process. */
  | "ESRCH"
  /** No window or region there, or it is being released. */
  | "ENXIO"
  /** The request is longer than the interface allows. */
  | "E2BIG"
  /** Another thread holds the lock and does not release it: repeat the call later. */
  | "EAGAIN"
  /** The limit of locked memory is reached, or there is no room. */
  | "ENOMEM"
  /** No memory at that user address. */
  | "EFAULT"
  /** In use, or the IOMMU does not answer. */
  | "EBUSY"
  /** A part of the range is mapped or registered. */
  | "EEXIST"
  /** No such device or domain. */
  | "ENODEV"
  /** An argument is not aligned, empty, out of range, or an unknown flag. */
  | "EINVAL"
  /** The container has no such call. */
  | "ENOTTY"
  /** No free range, entry or slot. */
  | "ENOSPC"
  /** Outside of the range that the container allows. */
  | "ERANGE"
  /** The end lies beyond 2^64. */
  | "EOVERFLOW"
  /** The IOMMU does not support it. */
  | "EOPNOTSUPP"
  /** An address is not allowed, or is reserved. */
  | "EADDRINUSE";

const NUMBERS: Readonly<Record<Errno, number>> = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  ENXIO: 6,
  E2BIG: 7,
  EAGAIN: 11,
  ENOMEM: 12,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  ENOTTY: 25,
  ENOSPC: 28,
  ERANGE: 34,
  EOVERFLOW: 75,
  EOPNOTSUPP: 95,
  EADDRINUSE: 98,
};

const NAMES: ReadonlyMap<number, Errno> = new Map(
  Object.entries(NUMBERS).map(([name, number]) => [number, name as Errno]),
);

/** True if a result is the name of an error number. */
export function isErrno(result: unknown): result is Errno {
  return typeof result === "string" && Object.hasOwn(NUMBERS, result);
}

/** "EINVAL" → -22. */
export function errnoCode(errno: Errno): number {
  return -NUMBERS[errno];
}

/** -22 → "EINVAL". Throws InvalidArgumentError for another number. */
export function errnoOf(code: number): Errno {
  const name = NAMES.get(-code);
  if (name === undefined) throw new InvalidArgumentError("errno code", code, "the negative number of a known errno");
  return name;
}
