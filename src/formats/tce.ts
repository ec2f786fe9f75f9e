/**
 * TCE: PowerPC's translation control entry, as the PHB of a powernv machine reads it.
 *
 * 8 bytes, big-endian: the physical address of the page, with bit 0 = the device may read, bit 1 = it may write. There is no
 * other valid bit: an entry without permissions is empty. On powernv an entry that lets the device write also lets it read.
 * (LoPAPR, "TCE definition"; the virtual bus of pseries has more bits and its own format.)
 *
 *     byte 0        1        …        6        7
 *          address bits 63..56        15..8    7..2 = 0, WRITE, READ
 */
import type { EntryValue } from "../table/contract.ts";
import type { Access, EntryAccess } from "../units/numbers.ts";
import { addressHigh, addressLow, pageAt, pagesFit, swapBytes } from "./address.ts";
import type { EntryFormat } from "./contract.ts";

const READ = 1;
const WRITE = 2;

const FIRST_SHIFT = 12;
const LAST_SHIFT = 34;
const PAGE_SHIFTS: readonly number[] = Array.from({ length: LAST_SHIFT - FIRST_SHIFT + 1 }, (_, i) => FIRST_SHIFT + i);
/** By page shift. A lookup, since encode checks every page and a power costs more than the rest of it. */
const LARGEST_PAGES: Float64Array = Float64Array.from({ length: LAST_SHIFT + 1 }, (_, shift) => 2 ** (64 - shift) - 1);

/**
 * TCEs as the PHB of a powernv machine reads them (LoPAPR, "TCE definition"). Page shifts are 12 .. 34; a machine has a few of them (POWER9:
 * 12, 16, 21, 30; POWER8: 12, 16, 24, 28). Write access includes read access.
 */
export const powernvTce: EntryFormat = {
  name: "powernv-tce",
  pageShifts: PAGE_SHIFTS,
  grants: { 1: 1, 2: 3, 3: 3 },
  // The permissions are in byte 7.
  validWord: 1,
  empty: [0, 0],
  largestPage(pageShift: number): number {
    return LARGEST_PAGES[pageShift] as number;
  },
  encode(page: number, count: number, access: EntryAccess, pageShift: number, into: Uint32Array): boolean {
    if (!pagesFit(page, count, LARGEST_PAGES[pageShift] as number)) return false;
    const permissions = (access & WRITE) === 0 ? READ : READ | WRITE;
    for (let i = 0; i < count; i++) {
      into[2 * i] = swapBytes(addressHigh(page + i, pageShift));
      into[2 * i + 1] = swapBytes(addressLow(page + i, pageShift) | permissions);
    }
    return true;
  },
  decode(from: Uint32Array, at: number, pageShift: number, into: EntryValue): void {
    const low = swapBytes(from[at + 1] as number);
    into.access = (low & (READ | WRITE)) as 0 | Access;
    into.page = into.access === 0 ? 0 : pageAt(swapBytes(from[at] as number), low, pageShift);
  },
};
