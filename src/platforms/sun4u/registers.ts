/**
 * The programming model of the IOMMU in sun4u's PCI host bridges (Psycho, Sabre: UltraSPARC-IIi User's Manual, chapter on the IOM).
 * All registers have 64 bits. One table of IOPTEs in memory, the TSB, translates one window at the top of the 32-bit bus addresses.
 *
 * Set-up: write 0 to CONTROL, then TSB_BASE, then CONTROL with ENABLE, the TSB's size and the page size.
 *
 * Invalidation: write the bus address of each page to FLUSH; or write 0 to each of the TAGS, which empties the whole IOTLB. Then read
 * CONTROL: the writes have taken effect when the read returns. ERROR with ERROR_TIME_OUT means that an earlier DMA did not end; it is
 * reported once, to the thread that waited.
 *
 * Evidence for the numbers (docs/verification.md): "QEMU" means that sun4u@qemu depends on the number, so that a wrong one fails there.
 * "Headers" means that it is confirmed by published headers of these bridges. All others are from memory, and no test checks them: platform
 * and software machine use the same constant.
 */

/** ENABLE, WIDE_PAGES, the size of the TSB (QEMU), and the status of the last failed translation. */
export const CONTROL = 0x200;
/** Physical address of entry 0, a multiple of TSB_ALIGNMENT. QEMU. */
export const TSB_BASE = 0x208;
/** Write: invalidates the page of this bus address in the IOTLB. From memory: QEMU accepts the write, but has no IOTLB. */
export const FLUSH = 0x210;
/**
 * Diagnostic access to the tags of the IOTLB's TAG_COUNT entries, 8 bytes apart. A tag of 0 is invalid. From memory: a write has no visible
 * effect in QEMU. If this is wrong, `invalidateAll` and long ranges are not invalidated.
 */
export const TAGS = 0xa580;
export const TAG_COUNT = 16;

/**
 * Psycho's streaming cache (U2P User's Manual, "streaming buffer"; bus A's; bus B's begins at 0x4800). Sabre and QEMU have none. Headers:
 * the three registers, and bit 0 of control, which enables it. Page flush: the bus address. Flush sync: a physical address, a multiple of
 * 64, where the hardware stores a nonzero 64-bit word once the flushed data is in memory. From memory: syncs complete in order.
 */
export const STREAMING_CONTROL = 0x2800;
export const STREAMING_PAGE_FLUSH = 0x2808;
export const STREAMING_FLUSH_SYNC = 0x2810;
/**
 * One write flushes all lines of a context. Headers: Schizo, a later bridge, has this register, and the three above at the same offsets;
 * Psycho lacks it. A Psycho with this register exists only in the software machine.
 */
export const STREAMING_CONTEXT_FLUSH = 0x2818;
export const STREAMING_ENABLE = 1;
/**
 * Diagnostic access to the tags of its 16 lines: bits 31–13 the page's bus address (headers: offset and mask), STREAMING_TAG_VALID. Count
 * and valid bit are from memory. If they are wrong, flushes of more than STREAMING_LINES pages without a context miss lines.
 */
export const STREAMING_TAGS = 0xb800;
export const STREAMING_LINES = 16;
export const STREAMING_TAG_VALID = 2;
export const STREAMING_TAG_PAGE = 0xffffe000;
/** The sync flag's size and alignment. From memory. */
export const STREAMING_FLAG_BYTES = 64;

/** In CONTROL: translation is on. QEMU. */
export const ENABLE = 1;
/** In CONTROL: the TSB is indexed by pages of 64 KiB (TBW_SIZE); else of 8 KiB. QEMU. */
export const WIDE_PAGES = 4;
/** In CONTROL, bits 18–16: the TSB has SMALLEST_TSB << this many entries. QEMU. */
export const TSB_SIZE_SHIFT = 16;
export const TSB_SIZE_MASK = 7;
/**
 * In CONTROL: a translation error; its status is in bits 26–25 (headers). From memory: the bit of the error, and the meaning of each
 * status.
 */
export const ERROR: number = 1 << 24;
export const ERROR_STATUS: number = 3 << 25;
export const ERROR_TIME_OUT: number = 2 << 25;

/** Entries. */
export const SMALLEST_TSB = 1024;
export const TSB_ALIGNMENT = 8192;
/** End of the bus addresses, and of the window. From the manual alone: QEMU ignores bits above the window. */
export const END_OF_WINDOW: bigint = 1n << 32n;
