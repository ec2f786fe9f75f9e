/**
 * The registers of a PHB4 (the PCI host bridge of POWER9) that control its devices' DMA, at their offsets in the bridge's register block.
 * Both the software machine (machines/software/iommus/phb4.ts) and QEMU's powernv9 implement them; the platform uses no registers that only
 * one of the two has.
 *
 * All are 64 bits wide; IBM's bit 0 is the highest. Tables in the bridge are accessed through IODA_ADDRESS and IODA_DATA:
 *
 *     RTT     in memory: for each requester id, its partitionable endpoint (PE) in 2 big-endian bytes. Cached until RTC_INVALIDATE.
 *     TVT     two entries (TVEs) for each PE; bit 59 of the bus address chooses. A TVE selects a TCE table, bypass, or nothing.
 *     PEST-A, PEST-B   for each PE, bit 63: its registers (A) or its DMA (B) are frozen after an error.
 *
 * Sources: the register sequences with which QEMU 7.2's powernv9 translates, and for other bits IBM's "POWER9 PHB4" register names as
 * firmware has them. Bits whose effect was not observed are not written.
 */

import { highHalf } from "../../units/words64.ts";

/** Base of the RTT, a multiple of 128 KiB, with ENABLE_BIT. */
export const RTT_BAR = 0x168;
/** SYNC_START starts a wait for the DMAs in flight; SYNC_COMPLETE says that it has ended. */
export const DMA_SYNC = 0x200;
/** RTC_INVALIDATE_ALL, or one requester id in bits 32 .. 47. */
export const RTC_INVALIDATE = 0x208;
/** Invalidates translations: TCE_KILL_ALL, TCE_KILL_PE with a PE, or TCE_KILL_ONE with a bus address and a PE. */
export const TCE_KILL = 0x210;
/** Selects the table entry that IODA_DATA accesses: IODA_AUTO_INCREMENT, table number in bits 48 .. 52, index in bits 0 .. 15. */
export const IODA_ADDRESS = 0x220;
export const IODA_DATA = 0x228;

export const ENABLE_BIT: bigint = 1n << 63n;
const SYNC_START: bigint = 1n << 63n;
export const SYNC_COMPLETE: bigint = 1n << 62n;
export const RTC_INVALIDATE_ALL: bigint = 1n << 63n;
export const REQUESTER_ID_SHIFT = 32n;
const TCE_KILL_ALL: bigint = 1n << 63n;
const TCE_KILL_PE: bigint = 1n << 62n;
const TCE_KILL_ONE: bigint = 1n << 61n;
/** High halves (bits 32 .. 63) of values that every invalidation uses, for `writeHalves64` and `readHigh64`. */
export const SYNC_START_HIGH: number = highHalf(SYNC_START);
export const SYNC_COMPLETE_HIGH: number = highHalf(SYNC_COMPLETE);
export const TCE_KILL_ALL_HIGH: number = highHalf(TCE_KILL_ALL);
export const TCE_KILL_PE_HIGH: number = highHalf(TCE_KILL_PE);
export const TCE_KILL_ONE_HIGH: number = highHalf(TCE_KILL_ONE);
/** In TCE_KILL: the PE, in the low bits of the page-aligned bus address. */
export const TCE_KILL_PE_MASK = 0x1ff;

export const IODA_AUTO_INCREMENT: bigint = 1n << 63n;
export const IODA_TABLE_SHIFT = 48n;
/** Table numbers of IODA_ADDRESS. */
export const TABLE_PEST_A = 7;
export const TABLE_PEST_B = 8;
export const TABLE_TVT = 9;

/** In PEST-A and PEST-B: the PE's registers or DMA are frozen. */
export const FROZEN_BIT: bigint = 1n << 63n;

/** The RTT has 2 bytes for each of 65,536 requester ids, and begins at a multiple of its size. */
export const RTT_BYTES: number = 2 ** 17;

/** Bus address of a PE's second window: bit 59 chooses between the two windows. */
export const SECOND_WINDOW_BASE: bigint = 1n << 59n;
export const SECOND_WINDOW_BASE_HIGH: number = highHalf(SECOND_WINDOW_BASE);

/** The fields of a TVE for a table in memory. */
export interface TveOfTable {
  /** Physical address of the table's first level: a multiple of 4096. */
  readonly tableAddress: number;
  /** 1 .. 5. */
  readonly levels: number;
  /** log2 of the entries of one level: 9 .. 39. */
  readonly levelBits: number;
  /** log2 of the IO page in bytes: 12 .. 42. */
  readonly pageShift: number;
}

/**
 * The TVE of a table: its address without the low 12 bits in bits 16 .. 63, levels − 1 in bits 13 .. 15, log2(entries of a level) − 8
 * in bits 8 .. 12, page shift − 11 in bits 0 .. 4.
 */
export function tveOfTable({ tableAddress, levels, levelBits, pageShift }: TveOfTable): bigint {
  const low = ((levels - 1) << 13) | ((levelBits - 8) << 8) | (pageShift - 11);
  return (BigInt(tableAddress / 4096) << 16n) | BigInt(low);
}

/**
 * The TVE of bypass: bus address = physical address | 1 << 59. Page size 0 means bypass, and a table size other than 0 (here 16, its
 * highest bit) means that the TVE is valid. The range is in units of 16 MiB: first unit in bits 40 .. 63, last unit (inclusive) in bits 16
 * .. 39. (IBM's firmware sets a bypass window up like this; QEMU only checks page size and validity.)
 */
export function tveOfBypass(memoryBytes: number): bigint {
  const last = BigInt(Math.ceil(memoryBytes / 2 ** 24) - 1);
  return (last << 16n) | (1n << 12n);
}
