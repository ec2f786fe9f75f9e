/**
 * The programming model of the IOMMU in sun4u's PCI host bridges (Psycho, Sabre: UltraSPARC-IIi User's Manual, chapter on the IOM).
 * All registers have 64 bits. One table of IOPTEs in memory, the TSB, translates one window at the top of the 32-bit bus addresses.
 *
 * To set up: write CONTROL with 0, then TSB_BASE, then CONTROL with ENABLE, the TSB's size and the page size.
 *
 * To invalidate: write the bus address to FLUSH, page by page; or 0 to each of the TAGS, which empties the whole IOTLB. Then read
 * CONTROL: the writes have arrived when it answers. ERROR with ERROR_TIME_OUT there means that a DMA of before did not end; it is
 * told once, to the thread that waited.
 *
 * How far these numbers are known (docs/verification.md): "QEMU" beside one means that sun4u@qemu translates by it, so that a wrong
 * number fails there; "headers" that it is confirmed against published headers of these bridges. All others are written from memory,
 * and no test can tell: platform and software machine read the same number.
 */

/** ENABLE, WIDE_PAGES, the size of the TSB (QEMU), and how the last translation failed. */
export const CONTROL = 0x200;
/** Physical address of entry 0, a multiple of TSB_ALIGNMENT. QEMU. */
export const TSB_BASE = 0x208;
/** Write: the IOTLB forgets the page of this bus address. From memory: QEMU takes the write, and has no IOTLB that could show it. */
export const FLUSH = 0x210;
/**
 * Diagnostic access to the tags of the IOTLB's TAG_COUNT entries, 8 bytes apart. A tag of 0 is not valid. From memory: what QEMU does
 * with a write there can't be told from doing nothing. Where this is wrong, `invalidateAll` and long flushes forget nothing.
 */
export const TAGS = 0xa580;
export const TAG_COUNT = 16;

/**
 * Psycho's streaming cache (U2P User's Manual, "streaming buffer"; of bus A; bus B's begins at 0x4800), which Sabre lacks, and so does
 * QEMU. Headers: the three registers, and bit 0 of control, which enables it. Page flush: the bus address. Flush sync: a physical address,
 * a multiple of 64, where the hardware stores a 64-bit word that is not 0 once what was flushed is in memory. From memory: that syncs are
 * worked off in order.
 */
export const STREAMING_CONTROL = 0x2800;
export const STREAMING_PAGE_FLUSH = 0x2808;
export const STREAMING_FLUSH_SYNC = 0x2810;
/**
 * One write flushes all lines of a context. Headers: Schizo, the later bridge, has it there, with the three above at the same places; Psycho
 * has none. A Psycho with this register is the software machine's own invention.
 */
export const STREAMING_CONTEXT_FLUSH = 0x2818;
export const STREAMING_ENABLE = 1;
/**
 * Diagnostic access to the tags of its 16 lines: bits 31–13 the page's bus address (headers: place and mask), STREAMING_TAG_VALID. Count
 * and valid bit are from memory. Where they are wrong, flushes of more than STREAMING_LINES pages without a context miss lines.
 */
export const STREAMING_TAGS = 0xb800;
export const STREAMING_LINES = 16;
export const STREAMING_TAG_VALID = 2;
export const STREAMING_TAG_PAGE = 0xffffe000;
/** The sync flag's size and alignment. From memory. */
export const STREAMING_FLAG_BYTES = 64;

/** In CONTROL: translate. QEMU. */
export const ENABLE = 1;
/** In CONTROL: the TSB is indexed by pages of 64 KiB (TBW_SIZE); else of 8 KiB. QEMU. */
export const WIDE_PAGES = 4;
/** In CONTROL, bits 18–16: the TSB has SMALLEST_TSB << this many entries. QEMU. */
export const TSB_SIZE_SHIFT = 16;
export const TSB_SIZE_MASK = 7;
/** In CONTROL: a translation error; its status is in bits 26–25 (headers). From memory: the error's bit, and which status is which. */
export const ERROR: number = 1 << 24;
export const ERROR_STATUS: number = 3 << 25;
export const ERROR_TIME_OUT: number = 2 << 25;

/** Entries. */
export const SMALLEST_TSB = 1024;
export const TSB_ALIGNMENT = 8192;
/** Bus addresses end here: the window's last byte is the one before. From the manual alone: QEMU looks at no bit above the window. */
export const END_OF_WINDOW: bigint = 1n << 32n;
