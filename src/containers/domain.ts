/**
 * Domains and groups of containers. A domain is one IO page table with the devices behind it, and belongs to the container alone: no DmaDevice maps
 * in the same table. Groups of devices are the unit in which a process gets devices; groups may share a domain.
 */
import type { TableOps } from "../table/contract.ts";
import { checkOps } from "../table/iommu-table.ts";
import { checkFunctions, checkInteger, InvalidArgumentError, inWords, shown } from "../units/errors.ts";
import { checkKeys } from "../units/keys.ts";
import type { DmaWindow } from "../units/numbers.ts";
import { checkWindow } from "../units/window.ts";

/** A range of bus addresses in bytes; `last` is inclusive. */
export interface AddressRange {
  /** The first bus address, in bytes. */
  readonly first: bigint;
  /** The last bus address, in bytes: inclusive, because 2^64 − 1 is an address. */
  readonly last: bigint;
}

/** An IOMMU's record of the entries through which devices have written. One thread at a time uses it. */
export interface DirtyLog {
  /** Starts to record. True: all DMAs that begin afterwards are recorded. False: a DMA in flight did not end in time; repeat the call. */
  start(): boolean;
  /** Stops to record. False: as `start`. */
  stop(): boolean;
  /**
   * Reads and clears the marks of `count` entries from `first` on, and calls `visit` for each written entry. The mark of a write is set at the latest
   * when its DMA ends.
   */
  take(first: number, count: number, visit: (entry: number) => void): void;
}

/** One IO page table as a container uses it. One thread's view. */
export interface Domain {
  /** The aperture: bus addresses that the table translates. */
  readonly window: DmaWindow;
  /** The calling thread's operations on the entries, which are empty at first. */
  readonly ops: TableOps;
  /** Bus addresses that may not be mapped: those of message interrupts, or of bridges. Default: none. */
  readonly reserved?: readonly AddressRange[];
  /** The IOMMU's record of writes. Default: it keeps none, and every page that devices may write counts as written. */
  readonly dirtyLog?: DirtyLog;
}

/** Devices that a process gets together, and their domain. */
export interface IommuGroup {
  /** Number of the group, unique in the system: 0 .. 2^32 − 1. */
  readonly number: number;
  /** The translations of the group's devices. */
  readonly domain: Domain;
}

const LAST_ADDRESS = 2n ** 64n - 1n;
const LOG = ["start", "stop", "take"];

/** Throws InvalidArgumentError for a group whose fields have wrong types or ranges. */
export function checkGroup(group: IommuGroup): void {
  checkKeys("a group", group, { number: "any", domain: "object" });
  checkInteger("number of a group", group.number, 0, 2 ** 32 - 1);
  if (group.domain === undefined) throw new InvalidArgumentError("domain of a group", group.domain, "a domain");
  checkDomain(group.domain);
}

/** Throws InvalidArgumentError for a domain whose fields have wrong types or ranges. */
export function checkDomain(domain: Domain): void {
  checkKeys("a domain", domain, { window: "object", ops: "object", reserved: "object", dirtyLog: "object" });
  const { window, ops, reserved = [], dirtyLog } = domain;
  checkWindow(window);
  checkOps(ops);
  if (dirtyLog !== undefined) checkFunctions("dirtyLog of a domain", dirtyLog, LOG, "the record of an IOMMU");
  checkAddressRanges("reserved ranges of a domain", reserved);
}

/** Throws InvalidArgumentError unless this is an array of ranges. */
export function checkAddressRanges(what: string, ranges: readonly AddressRange[]): void {
  if (!Array.isArray(ranges)) throw new InvalidArgumentError(what, ranges, "an array");
  for (const [i, range] of ranges.entries()) checkAddressRange(`${what}: element ${i}`, range);
}

/** Throws InvalidArgumentError unless both addresses are bigints, in order, and of 64 bits. */
function checkAddressRange(what: string, range: AddressRange): void {
  checkKeys(what, range, { first: "any", last: "any" });
  const { first, last } = range;
  const isRange =
    typeof first === "bigint" && typeof last === "bigint" && first >= 0n && first <= last && last <= LAST_ADDRESS;
  if (!isRange) {
    throw new InvalidArgumentError(
      what,
      inWords(`${shown(first)} .. ${shown(last)}`),
      "two bigints in order, from 0 to 2^64 - 1",
    );
  }
}

/** The bus addresses that a mapping may use in all of these domains: apertures without reserved ranges, in ascending order. */
export function allowedRanges(domains: readonly Domain[]): readonly AddressRange[] {
  let allowed: readonly AddressRange[] = [{ first: 0n, last: LAST_ADDRESS }];
  for (const { window, reserved = [] } of domains) {
    const bytes = BigInt(window.entries) << BigInt(window.pageShift);
    const aperture = { first: window.base, last: window.base + bytes - 1n };
    allowed = allowed.flatMap((range) => intersection(range, aperture));
    for (const hole of reserved) allowed = allowed.flatMap((range) => without(range, hole));
  }
  return allowed;
}

/** True if one of the ranges has all of [first, last]. */
export function contains(ranges: readonly AddressRange[], { first, last }: AddressRange): boolean {
  return ranges.some((range) => range.first <= first && last <= range.last);
}

function intersection(a: AddressRange, b: AddressRange): readonly AddressRange[] {
  const first = a.first > b.first ? a.first : b.first;
  const last = a.last < b.last ? a.last : b.last;
  return first <= last ? [{ first, last }] : [];
}

function without(range: AddressRange, hole: AddressRange): readonly AddressRange[] {
  const below = { first: range.first, last: hole.first - 1n < range.last ? hole.first - 1n : range.last };
  const above = { first: hole.last + 1n > range.first ? hole.last + 1n : range.first, last: range.last };
  return [below, above].filter(({ first, last }) => first <= last);
}
