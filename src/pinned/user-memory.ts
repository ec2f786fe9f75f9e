/**
 * The user memory of a process as pinned memory sees it: the physical page behind each user page. A page is 4 KiB. User page = user address
 * divided by 4096, 0 .. 2^52 − 1: a plain number, so that bigint is needed only at the interface.
 */
import { checkFunctions, InvalidArgumentError } from "../units/errors.ts";

/** log2 of the bytes of a user page: 4 KiB. */
export const USER_PAGE_SHIFT = 12;
const USER_PAGE_BYTES: bigint = 1n << BigInt(USER_PAGE_SHIFT);
/** User pages of a 64-bit address space. */
export const USER_PAGES: number = 2 ** 52;

/** Page table of a process: physical pages behind its user pages. All functions are called with the lock of the pinned memory held. */
export interface UserMemory {
  /** The physical page of 4 KiB that backs the user page; -1: the page is not present. It must not change while the page is pinned. */
  pageOf(userPage: number): number;
  /** log2 of the bytes of the page that backs the user page: 12 for 4 KiB; 16, 21, 24 or 30 for huge pages, for example. */
  backingShift(userPage: number): number;
  /**
   * Called for each page before its pin count is lowered: when its region is unregistered, and for the pages that a failed registration had
   * pinned. `isDirty`: a device may have written the page. A page may be missing if a thread dies while it unpins: a recovery does not call the
   * function.
   */
  onUnpin?(userPage: number, physicalPage: number, isDirty: boolean): void;
}

/** A range of user pages. */
export interface UserRange {
  /** The first user page of 4 KiB. */
  readonly userPage: number;
  /** Number of user pages. */
  readonly pages: number;
}

/** Throws InvalidArgumentError unless this is the memory of a process. */
export function checkUserMemory(memory: UserMemory): void {
  checkFunctions("memory of an owner", memory, ["pageOf", "backingShift"], "a UserMemory");
  const { onUnpin } = memory;
  if (onUnpin !== undefined && typeof onUnpin !== "function") {
    throw new InvalidArgumentError("onUnpin of an owner's memory", onUnpin, "a function");
  }
}

/**
 * Converts a range in bytes to user pages. "EINVAL": an address or size that is not a multiple of 4096, an empty range, or an end beyond 2^64.
 * Throws InvalidArgumentError unless both are bigints.
 */
export function userRange(address: bigint, bytes: bigint): UserRange | "EINVAL" {
  for (const [what, value] of [
    ["user address in bytes", address],
    ["size of a user range in bytes", bytes],
  ] as const) {
    if (typeof value !== "bigint") throw new InvalidArgumentError(what, value, "a bigint");
  }
  const isRange = address >= 0n && bytes > 0n && address + bytes <= 1n << 64n;
  if (!isRange || address % USER_PAGE_BYTES !== 0n || bytes % USER_PAGE_BYTES !== 0n) return "EINVAL";
  return { userPage: Number(address / USER_PAGE_BYTES), pages: Number(bytes / USER_PAGE_BYTES) };
}
