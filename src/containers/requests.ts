/** What callers of containers ask for, in bytes, and its checks: addresses become pages of 4 KiB, which are plain numbers. */
import { USER_PAGE_SHIFT } from "../pinned/user-memory.ts";
import { InvalidArgumentError } from "../units/errors.ts";
import { checkKeys } from "../units/keys.ts";
import type { Access } from "../units/numbers.ts";
import type { UserRequest } from "./address-space.ts";

/** A range of bus addresses, in bytes. */
export interface BusRange {
  readonly iova: bigint;
  readonly bytes: bigint;
}

/** A mapping at a given bus address. */
export interface MapRequest extends BusRange {
  /** Address in the owner's memory, in bytes. */
  readonly userAddress: bigint;
  /** What devices may do. 0 is refused with "EINVAL". */
  readonly access: 0 | Access;
}

const END_OF_ADDRESSES = 2n ** 64n;

/** The range in pages, first and end. undefined: no bytes, not a multiple of `unitBytes`, or an end beyond 2^64. */
export function busRange({ iova, bytes }: BusRange, unitBytes: number): readonly [number, number] | undefined {
  checkAddress("iova", iova);
  checkAddress("bytes", bytes);
  return isAligned(unitBytes, iova, bytes) && bytes > 0n && iova + bytes <= END_OF_ADDRESSES
    ? [pageOf(iova), pageOf(iova + bytes)]
    : undefined;
}

/** The request in pages. undefined: as `busRange`, for both addresses, or no access. Throws InvalidArgumentError for wrong types. */
export function userRequest(request: MapRequest, unitBytes: number): UserRequest | undefined {
  checkKeys("a map", request, { iova: "any", bytes: "any", userAddress: "any", access: "any" });
  const { iova, bytes, userAddress, access } = request;
  const range = busRange(request, unitBytes);
  const memory = userPages(userAddress, bytes, unitBytes);
  checkAccess(access);
  if (range === undefined || memory === undefined || access === 0) return undefined;
  return { busPage: pageOf(iova), pages: range[1] - range[0], userPage: memory, access };
}

/** The first user page of a range. undefined: not a multiple of `unitBytes`, or an end beyond 2^64. */
export function userPages(userAddress: bigint, bytes: bigint, unitBytes: number): number | undefined {
  checkAddress("userAddress", userAddress);
  const isRange = isAligned(unitBytes, userAddress) && userAddress + bytes <= END_OF_ADDRESSES;
  return isRange ? pageOf(userAddress) : undefined;
}

/** Throws InvalidArgumentError unless it is 0 or an access. */
export function checkAccess(access: number): void {
  if (![0, 1, 2, 3].includes(access)) throw new InvalidArgumentError("access of a map", access, "0, 1, 2 or 3");
}

/** The page of 4 KiB with this address. */
export function pageOf(address: bigint): number {
  return Number(address >> BigInt(USER_PAGE_SHIFT));
}

/** Throws InvalidArgumentError unless it is a bigint of 64 bits. */
export function checkAddress(what: string, value: bigint): void {
  if (typeof value !== "bigint" || value < 0n || value >= END_OF_ADDRESSES) {
    throw new InvalidArgumentError(`${what} of a map`, value, "a bigint from 0 to 2^64 - 1");
  }
}

function isAligned(unitBytes: number, ...values: readonly bigint[]): boolean {
  const unit = BigInt(unitBytes);
  return values.every((value) => value % unit === 0n);
}
