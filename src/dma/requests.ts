/**
 * Checks the arguments of drivers: the same rules and errors for every window.
 */
import { hexadecimal } from "../units/counts.ts";
import {
  checkInteger,
  FreeError,
  type FreeMisuse,
  InvalidArgumentError,
  IovaError,
  SyncError,
} from "../units/errors.ts";
import { LONGER_THAN_TABLE, OUT_OF_MEMORY, TABLE_FULL } from "../units/failure.ts";
import { checkKeys, type OptionTypes } from "../units/keys.ts";
import { type Access, type EntryAccess, WEAKLY_ORDERED } from "../units/numbers.ts";
import type { Mapping, MappingAttributes, MappingPart } from "./contract.ts";
import type { ScatterList } from "./scatter-list.ts";

const ADDRESSES = 2n ** 64n;

/** Throws InvalidArgumentError for an access other than 1, 2, 3. */
export function checkAccess(access: number): void {
  if (access !== 1 && access !== 2 && access !== 3) {
    throw new InvalidArgumentError("access", access, "1 (device reads), 2 (device writes) or 3 (both)");
  }
}

const ATTRIBUTE_TYPES: OptionTypes<MappingAttributes> = {
  skipSync: "boolean",
  noWarning: "boolean",
  weaklyOrdered: "boolean",
};

/** Throws InvalidArgumentError for unknown attributes of a mapping, and for values that are not boolean. Allocates only for the error. */
export function checkAttributes(attributes: MappingAttributes): void {
  let isRight = typeof attributes === "object" && attributes !== null;
  for (const key in attributes) {
    const value = attributes[key as keyof MappingAttributes];
    isRight &&= (value === true || value === false || value === undefined) && key in ATTRIBUTE_TYPES;
  }
  if (!isRight) checkKeys("a mapping's attributes", attributes, ATTRIBUTE_TYPES);
}

/** Throws InvalidArgumentError for an empty range, or one outside of 64 bits. */
export function checkRange(address: bigint, bytes: number): void {
  checkInteger("length in bytes", bytes, 1, Number.MAX_SAFE_INTEGER);
  if (typeof address !== "bigint" || address < 0n || address + BigInt(bytes) > ADDRESSES) {
    throw new InvalidArgumentError("address", address, `a bigint from 0n to 2n ** 64n - ${bytes}n`);
  }
}

/** Throws InvalidArgumentError for bus addresses outside of 64 bits, or no bytes. */
export function checkBusRange(iova: bigint, bytes: number): void {
  checkInteger("length in bytes", bytes, 1, Number.MAX_SAFE_INTEGER);
  if (typeof iova === "bigint" && iova >= 0n && iova + BigInt(bytes) <= ADDRESSES) return;
  throw new InvalidArgumentError("bus address", iova, `a bigint from 0n to 2n ** 64n - ${bytes}n`);
}

/** Throws InvalidArgumentError for a value that is not a mapping: undefined, a failure, a number. */
export function checkMapping(mapping: Mapping): void {
  if (typeof mapping?.iova === "bigint") return;
  throw new InvalidArgumentError("mapping", mapping, "an object with iova, bytes and access, as `map` returns it");
}

/** Throws InvalidArgumentError unless this is a ScatterList. */
export function checkList(list: ScatterList): void {
  if (list?.mapping === undefined) throw new InvalidArgumentError("scatterlist", list, "a ScatterList");
}

/** The access that is written into the entries of such a mapping. */
export function entryAccess(access: Access, attributes: MappingAttributes | undefined): EntryAccess {
  return attributes?.weaklyOrdered === true ? ((access | WEAKLY_ORDERED) as EntryAccess) : access;
}

/** The part of a mapping that `sync…` copies; by default all of it. Throws SyncError for bytes outside of the mapping. */
export function checkedPart(mapping: Mapping, part: MappingPart | undefined): MappingPart {
  if (part === undefined) return { offset: 0, bytes: mapping.bytes };
  const { offset, bytes } = part;
  if (Number.isInteger(offset) && Number.isInteger(bytes) && offset >= 0 && bytes >= 1) {
    if (offset + bytes <= mapping.bytes) return part;
  }
  throw new SyncError(
    "out-of-range",
    `sync of ${bytes} bytes from byte ${offset} of a mapping of ${mapping.bytes} bytes`,
  );
}

/** Converts a FreeError of a lookup into a SyncError. Other errors are returned unchanged. */
export function syncErrorFor(error: unknown, { iova, bytes }: Mapping): unknown {
  if (!(error instanceof FreeError)) return error;
  return new SyncError(error.code as FreeMisuse, `sync of ${bytes} bytes at ${hexadecimal(iova)}: ${error.message}`);
}

/** Converts a failure code of PhysicalPages: its table-full means out-of-memory here. */
export function memoryFailure(code: number): number {
  return code === TABLE_FULL || code === LONGER_THAN_TABLE ? OUT_OF_MEMORY : code;
}

/** The error for an operation whose options are missing. */
export function notSetUp(what: string, options: string): IovaError {
  return new IovaError("not-set-up", `${what}: the device was made without the options ${options}`);
}

/** The smallest power of two that is at least `bytes` and at least `least` (a power of two). */
export function powerOfTwoFor(bytes: number, least: number): number {
  let power = least;
  while (power < bytes) power *= 2;
  return power;
}
