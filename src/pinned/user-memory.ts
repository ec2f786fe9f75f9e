/**
 * The user memory of a process as pinned memory sees it: the physical page behind each user page. Pages have 4 KiB. User page = user address
 * divided by 4096, 0 .. 2^52 − 1; so 64-bit addresses are plain numbers, and bigint is needed only where addresses come in.
 */
import { checkFunctions, InvalidArgumentError } from "../units/errors.ts";

/** log2 of the bytes of a user page: 4 KiB. */
export const USER_PAGE_SHIFT = 12;
const USER_PAGE_BYTES: bigint = 1n << BigInt(USER_PAGE_SHIFT);
/** User pages of a 64-bit address space. */
export const USER_PAGES: number = 2 ** 52;

/** What a process supplies: where its memory lies. Both functions are called with the lock of the pinned memory held. */
export interface UserMemory {
  /** The physical page of 4 KiB that backs the user page; -1: the page is not present. It stays there while the page is pinned. */
  pageOf(userPage: number): number;
  /** log2 of the bytes of the page that backs the user page: 12 (4 KiB), 16, 21, 24, 30 … Only huge pages are above 12. */
  backingShift(userPage: number): number;
  /**
   * Called for each page when its region is unpinned, before the pin goes; also for the pages that a failed registration had pinned. `isDirty`: a device may have written the page. It may be called again for the same page
   * when a thread has died while it unpinned; it is not called when a thread without the UserMemory recovers the region.
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

/** The pages of a range in bytes. "EINVAL": not aligned to pages, empty, or beyond 2^64. Throws InvalidArgumentError unless both are bigints. */
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
