/**
 * The entry of a sun4v machine's IOMMU, as a hypervisor keeps it and as its guest asks for it.
 *
 * The guest never sees a table: it hands the hypervisor a real address and attributes, and gets the same two back (UltraSPARC
 * Virtual Machine Specification, "PCI I/O services": io_attributes). How an entry stands in memory is the hypervisor's own
 * affair. Ours keeps just those two, in 8 bytes, big-endian:
 *
 *     bits 55–13  real address of the page of 8 KiB
 *     bit 2       RELAXED: writes may pass each other
 *     bit 1       WRITE: the device may write
 *     bit 0       READ: the device may read
 *
 * A mapping always has READ, since devices read what they write in part; WRITE unless the device only reads.
 */
import type { EntryValue } from "../table/contract.ts";
import { type Access, DEVICE_WRITES, type EntryAccess, WEAKLY_ORDERED } from "../units/numbers.ts";
import { addressHigh, addressLow, pageAt, pagesFit, swapBytes } from "./address.ts";
import type { EntryFormat } from "./contract.ts";

const READ = 1;
const WRITE = 2;
const RELAXED = 4;
/** All that a guest may ask for. */
export const SUN4V_ATTRIBUTES: number = READ | WRITE | RELAXED;

/** Addresses end at bit 55. */
const ADDRESS_HIGH = 0x00ffffff;
const SHIFT_8K = 13;
const LARGEST_PAGE = 2 ** (56 - SHIFT_8K) - 1;

/** The attributes that a mapping with this access asks for. */
export function sun4vAttributesOf(access: EntryAccess): number {
  const write = (access & DEVICE_WRITES) === 0 ? 0 : WRITE;
  return READ | write | ((access & WEAKLY_ORDERED) === 0 ? 0 : RELAXED);
}

/** Access that a mapping of these attributes gives a device; 0 if it has neither READ nor WRITE. */
export function sun4vAccessOf(attributes: number): 0 | Access {
  return (attributes & (READ | WRITE)) as 0 | Access;
}

/**
 * Entries of sun4v's PCI windows: pages of 8 KiB, real addresses below 2^56 (UltraSPARC Virtual Machine Specification, "PCI I/O services":
 * io_attributes). Write access includes read access. WEAKLY_ORDERED sets the attribute RELAXED.
 */
export const sun4vTte: EntryFormat = {
  name: "sun4v-tte",
  pageShifts: [SHIFT_8K],
  grants: { 1: 1, 2: 3, 3: 3 },
  // The attributes are in byte 7.
  validWord: 1,
  empty: [0, 0],
  largestPage: () => LARGEST_PAGE,
  encode(page: number, count: number, access: EntryAccess, pageShift: number, into: Uint32Array): boolean {
    if (!pagesFit(page, count, LARGEST_PAGE)) return false;
    const attributes = sun4vAttributesOf(access);
    for (let i = 0; i < count; i++) {
      into[2 * i] = swapBytes(addressHigh(page + i, pageShift));
      into[2 * i + 1] = swapBytes(addressLow(page + i, pageShift) | attributes);
    }
    return true;
  },
  decode(from: Uint32Array, at: number, pageShift: number, into: EntryValue): void {
    const low = swapBytes(from[at + 1] as number);
    into.access = sun4vAccessOf(low);
    into.page = into.access === 0 ? 0 : pageAt(swapBytes(from[at] as number) & ADDRESS_HIGH, low, pageShift);
  },
};
