/**
 * Requests to containers, with the members of the kernel's calls: size and flags, then addresses in bytes. Checks of requests, and the conversion of
 * their addresses to pages of 4 KiB, which are plain numbers.
 */
import { USER_PAGE_SHIFT } from "../pinned/user-memory.ts";
import { checkInteger, InvalidArgumentError } from "../units/errors.ts";
import { checkKeys } from "../units/keys.ts";
import type { Access } from "../units/numbers.ts";
import type { UserRequest } from "./address-space.ts";

/** Size and flags of a request to a VFIO container. */
export interface Header {
  /** Size of the request in bytes, 0 .. 2^32 − 1. Less than the call needs is "EINVAL". Default: enough. */
  readonly argsz?: number;
  /** Flags of the call, 0 .. 2^32 − 1; unknown ones are "EINVAL". Default 0. */
  readonly flags?: number;
}

/** A range of bus addresses, in bytes. */
export interface BusRange {
  /** Bus address of the first byte. */
  readonly iova: bigint;
  /** Length in bytes. */
  readonly bytes: bigint;
}

/** A range to unmap. */
export interface UnmapRequest extends Header, BusRange {}

/** A mapping at a given bus address. */
export interface MapRequest extends Header, BusRange {
  /** Address in the owner's memory, in bytes. */
  readonly userAddress: bigint;
  /** 1: the device reads; 2: it writes; 3: both. */
  readonly flags: number;
}

/** Sizes in bytes of the requests that all VFIO containers have, in the kernel's interface (linux/vfio.h). */
export const MAP_ARGSZ = 32;
export const UNMAP_ARGSZ = 24;
/** The flags of a map. */
export const READ_OR_WRITE = 3;

const END_OF_ADDRESSES = 2n ** 64n;

/** False: the request is short, or has flags outside of `known`. Throws InvalidArgumentError for values of other types. */
export function hasHeader({ argsz = 2 ** 16, flags = 0 }: Header, least: number, known = 0): boolean {
  for (const [what, value] of [
    ["argsz", argsz],
    ["flags", flags],
  ] as const) {
    checkInteger(`${what} of a request`, value, 0, 2 ** 32 - 1);
  }
  return argsz >= least && (flags & ~known) === 0 && flags < 2 ** 31;
}

/** Throws InvalidArgumentError unless these members are bigints of 64 bits. */
export function checkAddresses(request: Readonly<Record<string, unknown>>, ...names: readonly string[]): void {
  for (const name of names) checkAddress(name, request[name]);
}

/** Throws InvalidArgumentError unless the request is an object without unknown members. */
export function checkRequest(request: object, names: readonly string[]): void {
  checkKeys("a request", request, Object.fromEntries(names.map((name) => [name, "any"])) as never);
}

/** The range in pages, first and end. undefined: no bytes, not a multiple of `unitBytes`, or an end beyond 2^64. */
export function busRange({ iova, bytes }: BusRange, unitBytes: number): readonly [number, number] | undefined {
  checkAddress("iova", iova);
  checkAddress("bytes", bytes);
  return isAligned(unitBytes, iova, bytes) && bytes > 0n && iova + bytes <= END_OF_ADDRESSES
    ? [pageOf(iova), pageOf(iova + bytes)]
    : undefined;
}

/** The request in pages. undefined: as `busRange`, for both addresses, or neither read nor write. */
export function userRequest(
  { iova, bytes, userAddress, flags }: MapRequest,
  unitBytes: number,
): UserRequest | undefined {
  const range = busRange({ iova, bytes }, unitBytes);
  const userPage = userPages(userAddress, bytes, unitBytes);
  const access = flags & READ_OR_WRITE;
  if (range === undefined || userPage === undefined || access === 0) return undefined;
  return { busPage: range[0], pages: range[1] - range[0], userPage, access: access as Access };
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
export function checkAddress(what: string, value: unknown): void {
  if (typeof value === "bigint" && value >= 0n && value < END_OF_ADDRESSES) return;
  throw new InvalidArgumentError(`${what} of a request`, value, "a bigint from 0 to 2^64 - 1");
}

function isAligned(unitBytes: number, ...values: readonly bigint[]): boolean {
  const unit = BigInt(unitBytes);
  return values.every((value) => value % unit === 0n);
}
