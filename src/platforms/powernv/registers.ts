/**
 * The registers of a PHB4 (the PCI host bridge of POWER9) that direct its devices' DMA, at their offsets in the bridge's register
 * block. The software machine implements them (machines/software/iommus/phb4.ts), QEMU's powernv9 has them, and this platform
 * writes nothing else: what only one of the two knows is not used.
 *
 * All are 64 bits wide, with IBM's bit 0 as the highest. Tables inside of the bridge are reached through IODA_ADDRESS and IODA_DATA:
 *
 *     RTT     in memory: 2 bytes, big-endian, for each requester id: its partitionable endpoint (PE). Cached until RTC_INVALIDATE.
 *     TVT     two entries (TVEs) for each PE; bit 59 of the bus address chooses. A TVE names a table of TCEs, or bypass, or nothing.
 *     PEST-A, PEST-B   of each PE: bit 63 says that its registers, its DMA, are cut off after an error.
 *
 * Sources: the sequences in which QEMU 7.2's powernv9 was seen to translate, and for the rest of a register's
 * bits IBM's "POWER9 PHB4" register names as firmware gives them. Bits that were not seen to work somewhere are not written.
 */

import { highHalf } from "../../units/words64.ts";

/** Base of the RTT, a multiple of 128 KiB, with ENABLE_BIT. */
export const RTT_BAR = 0x168;
/** Starts (SYNC_START), and tells the end of (SYNC_COMPLETE), a wait for the DMAs that were in flight. */
export const DMA_SYNC = 0x200;
/** RTC_INVALIDATE_ALL, or one requester id in bits 32 .. 47. */
export const RTC_INVALIDATE = 0x208;
/** TCE_KILL_ALL, TCE_KILL_PE with a PE, or TCE_KILL_ONE with a bus address and a PE: the IOTLB forgets. */
export const TCE_KILL = 0x210;
/** Which table's entry IODA_DATA is: IODA_AUTO_INCREMENT, table number in bits 48 .. 52, index in bits 0 .. 15. */
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
/** Of commands and states on the way of every mapping: bits 32 .. 63, as `writeHalves64` takes and `readHigh64` gives them. */
export const SYNC_START_HIGH: number = highHalf(SYNC_START);
export const SYNC_COMPLETE_HIGH: number = highHalf(SYNC_COMPLETE);
export const TCE_KILL_ALL_HIGH: number = highHalf(TCE_KILL_ALL);
export const TCE_KILL_PE_HIGH: number = highHalf(TCE_KILL_PE);
export const TCE_KILL_ONE_HIGH: number = highHalf(TCE_KILL_ONE);
/** In TCE_KILL: the PE. The bus address keeps its place above, since it is page-aligned and below 2^60. */
export const TCE_KILL_PE_MASK = 0x1ff;

export const IODA_AUTO_INCREMENT: bigint = 1n << 63n;
export const IODA_TABLE_SHIFT = 48n;
/** Table numbers of IODA_ADDRESS. */
export const TABLE_PEST_A = 7;
export const TABLE_PEST_B = 8;
export const TABLE_TVT = 9;

/** In PEST-A and PEST-B: cut off. */
export const FROZEN_BIT: bigint = 1n << 63n;

/** The RTT has 2 bytes for each of 65,536 requester ids, and begins at a multiple of its size. */
export const RTT_BYTES: number = 2 ** 17;

/** The bit of a bus address that chooses between a PE's two windows: the second one begins here. */
export const SECOND_WINDOW_BASE: bigint = 1n << 59n;
export const SECOND_WINDOW_BASE_HIGH: number = highHalf(SECOND_WINDOW_BASE);

/** What a TVE says of a table in memory. */
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
 * The TVE that translates nothing: the bus address without bit 59 is the physical address. Page size 0 says so, a table size other than 0
 * that the TVE is valid (16: the highest of its bits). The range is given in units of 16 MiB: the first in bits 40 .. 63, the
 * last, which still belongs to it, in bits 16 .. 39. (As IBM's firmware sets a bypass window up; QEMU looks at page size and
 * validity only.)
 */
export function tveOfBypass(memoryBytes: number): bigint {
  const last = BigInt(Math.ceil(memoryBytes / 2 ** 24) - 1);
  return (last << 16n) | (1n << 12n);
}
