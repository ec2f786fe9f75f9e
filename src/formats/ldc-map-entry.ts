/**
 * The entry of an LDC map table: memory that a domain exports to the other end of a logical domain channel (UltraSPARC Virtual
 * Machine Specification, "LDC shared memory": map table entry).
 *
 * 16 bytes, big-endian, of which the format writes the first 8; the other 8 are the revoke cookie, which the hypervisor writes
 * while the other end has the page mapped in:
 *
 *     bits 59–13  real address of the page: mask 0x0fffffffffffe000
 *     0x400, 0x200        COPY_W, COPY_R: the hypervisor may copy in, out, for the other end ("shadow" mappings)
 *     0x100, 0x080        IOMMU_W, IOMMU_R: the other end's devices may ("IO" mappings)
 *     0x40, 0x20, 0x10    EXEC, WRITE, READ: the other end's CPUs may ("direct" mappings)
 *     bits 3–0    size code: 0–7 for 8K, 64K, 512K, 4M, 32M, 256M, 2G, 16G
 *
 * To the IOMMU table an entry that permits no copy is empty: copies are its DMA.
 */
import type { EntryValue } from "../table/contract.ts";
import { InvalidArgumentError } from "../units/errors.ts";
import type { Access, EntryAccess } from "../units/numbers.ts";
import { addressHigh, addressLow, pageAt, pagesFit, swapBytes } from "./address.ts";
import type { EntryFormat } from "./contract.ts";

/** Bytes of one entry with its revoke cookie. */
export const LDC_ENTRY_BYTES = 16;

/**
 * Bits of the `permissions` of an LDC export: kinds of mapping, and uses that the other end may make of them. Every kind that is set gets
 * every use that is set.
 */
export const LDC_MAP = {
  /** The hypervisor copies for the other end. */
  shadow: 1,
  /** The other end's CPUs use the page. */
  direct: 2,
  /** The other end's devices use the page. */
  io: 4,
  /** The other end may read. */
  read: 8,
  /** The other end may write. */
  write: 0x10,
  /** The other end's CPUs may execute code of the page. */
  execute: 0x20,
  /** The sum of all bits. */
  all: 0x3f,
} as const;

const COPY_W = 0x400;
const COPY_R = 0x200;
const IOMMU_W = 0x100;
const IOMMU_R = 0x80;
const EXEC = 0x40;
const WRITE = 0x20;
const READ = 0x10;

/** Addresses end at bit 59. */
const ADDRESS_HIGH = 0x0fffffff;
const ADDRESS_BITS = 60;
const PAGE_SHIFTS: readonly number[] = [13, 16, 19, 22, 25, 28, 31, 34];
/** By page shift. Lookups, since encode needs both for every page, and a power costs more than the rest of it. */
const LARGEST_PAGES: Float64Array = Float64Array.from({ length: 35 }, (_, shift) => 2 ** (ADDRESS_BITS - shift) - 1);
const SIZE_CODES: Uint8Array = Uint8Array.from({ length: 35 }, (_, shift) => Math.max(0, PAGE_SHIFTS.indexOf(shift)));

/** The entry's permission bits for what a guest asks: every kind asked for, with every use asked for. */
export function ldcEntryPermissions(map: number): number {
  const [read, write] = [(map & LDC_MAP.read) !== 0, (map & LDC_MAP.write) !== 0];
  let bits = 0;
  if ((map & LDC_MAP.shadow) !== 0) bits |= (read ? COPY_R : 0) | (write ? COPY_W : 0);
  if ((map & LDC_MAP.io) !== 0) bits |= (read ? IOMMU_R : 0) | (write ? IOMMU_W : 0);
  if ((map & LDC_MAP.direct) !== 0) {
    bits |= (read ? READ : 0) | (write ? WRITE : 0) | ((map & LDC_MAP.execute) !== 0 ? EXEC : 0);
  }
  return bits;
}

/** The size code of pages of 2^pageShift bytes. Throws InvalidArgumentError for a size that LDC lacks. */
export function ldcSizeCode(pageShift: number): number {
  const code = PAGE_SHIFTS.indexOf(pageShift);
  if (code >= 0) return code;
  throw new InvalidArgumentError("page shift of ldc-map-entry", pageShift, `one of ${PAGE_SHIFTS.join(", ")}`);
}

/**
 * Entries of an LDC map table that export pages for copies: shadow mappings (UltraSPARC Virtual Machine Specification, "LDC shared memory").
 * Page shifts are 13, 16, 19 .. 34; real addresses are below 2^60. Access 1 lets the other end copy out of the page, access 2 into it.
 */
export const ldcMapEntry: EntryFormat = {
  name: "ldc-map-entry",
  pageShifts: PAGE_SHIFTS,
  grants: { 1: 1, 2: 2, 3: 3 },
  // Permissions and size code are in bytes 6 and 7.
  validWord: 1,
  empty: [0, 0],
  largestPage: (pageShift) => LARGEST_PAGES[pageShift] as number,
  encode(page: number, count: number, access: EntryAccess, pageShift: number, into: Uint32Array): boolean {
    const copies = ((access & 1) === 0 ? 0 : COPY_R) | ((access & 2) === 0 ? 0 : COPY_W);
    return encodeLdcEntries(page, count, copies, pageShift, into);
  },
  decode(from: Uint32Array, at: number, pageShift: number, into: EntryValue): void {
    const low = swapBytes(from[at + 1] as number);
    into.access = (((low & COPY_R) === 0 ? 0 : 1) | ((low & COPY_W) === 0 ? 0 : 2)) as 0 | Access;
    into.page = into.access === 0 ? 0 : pageAt(swapBytes(from[at] as number) & ADDRESS_HIGH, low, pageShift);
  },
};

/** As `ldcMapEntry.encode`, with any permission bits of `ldcEntryPermissions`. */
export function encodeLdcEntries(
  page: number,
  count: number,
  permissions: number,
  pageShift: number,
  into: Uint32Array,
): boolean {
  if (!pagesFit(page, count, LARGEST_PAGES[pageShift] as number)) return false;
  const low = permissions | (SIZE_CODES[pageShift] as number);
  for (let i = 0; i < count; i++) {
    into[2 * i] = swapBytes(addressHigh(page + i, pageShift));
    into[2 * i + 1] = swapBytes(addressLow(page + i, pageShift) | low);
  }
  return true;
}
