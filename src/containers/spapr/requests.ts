/** Requests of sPAPR containers, as the calls of the kernel's interface have them: sizes and flags in front, addresses in bytes. */
import { InvalidArgumentError } from "../../units/errors.ts";
import { checkKeys } from "../../units/keys.ts";

/** What every request begins with. */
interface Header {
  /** Bytes of the request as the caller knows it. Less than the call needs is "EINVAL". Default: enough. */
  readonly argsz?: number;
  /** Bits that the call knows; others are "EINVAL". Default 0. */
  readonly flags?: number;
}

/** A range of user memory. */
export interface MemoryRequest extends Header {
  readonly userAddress: bigint;
  readonly bytes: bigint;
}

export interface SpaprMapRequest extends MemoryRequest {
  readonly iova: bigint;
  /** 1: the device reads; 2: it writes; 3: both. */
  readonly flags: number;
}

export interface SpaprUnmapRequest extends Header {
  readonly iova: bigint;
  readonly bytes: bigint;
}

export interface CreateWindowRequest extends Header {
  readonly pageShift: number;
  readonly windowBytes: bigint;
  readonly levels: number;
}

export interface RemoveWindowRequest extends Header {
  /** A bus address in the window. */
  readonly iova: bigint;
}

/** Bytes of each request in the kernel's interface (linux/vfio.h). */
export const ARGSZ = { map: 32, unmap: 24, memory: 24, create: 40, remove: 16, info: 16 } as const;

const END_OF_ADDRESSES = 2n ** 64n;

/** False: the request is short, or has flags outside of `known`. Throws InvalidArgumentError for values of other types. */
export function hasHeader({ argsz = 2 ** 16, flags = 0 }: Header, least: number, known = 0): boolean {
  for (const [what, value] of [
    ["argsz", argsz],
    ["flags", flags],
  ] as const) {
    if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError(what, value, "an integer from 0 on");
  }
  return argsz >= least && (flags & ~known) === 0 && flags < 2 ** 31;
}

/** Throws InvalidArgumentError unless these members are bigints of 64 bits. */
export function checkAddresses(request: Readonly<Record<string, unknown>>, ...names: readonly string[]): void {
  for (const name of names) {
    const value = request[name];
    if (typeof value === "bigint" && value >= 0n && value < END_OF_ADDRESSES) continue;
    throw new InvalidArgumentError(`${name} of a request`, value, "a bigint from 0 to 2^64 - 1");
  }
}

/** Throws InvalidArgumentError for unknown members. */
export function checkRequest(request: Header & { readonly [Key in string]?: unknown }, names: readonly string[]): void {
  checkKeys(
    "a request",
    request,
    Object.fromEntries(["argsz", "flags", ...names].map((name) => [name, "any"])) as never,
  );
}
