/**
 * The programming model of the linear IOMMU: one flat table of 8-byte entries in memory, one window, an IOTLB that software invalidates.
 * The software machine implements it; the linear platform programs it.
 *
 * Registers below FRAME are the IOMMU's own: one thread writes them, while translation is off. The frame from FRAME on is
 * *banked*: each thread sees its own at the same address, so invalidations of several threads never meet in a register.
 *
 * To set up: write TABLE_BASE, ENTRIES, PAGE_SHIFT and WINDOW_BASE, then CONTROL with ENABLE and a format code. A write to CONTROL also
 * empties the IOTLB; when it returns, no DMA uses the earlier state. While translation is enabled, only CONTROL may be written.
 *
 * To invalidate: write INVALIDATE_FIRST, then INVALIDATE_COUNT, which starts it; or write INVALIDATE_ALL. The write returns when the
 * invalidation has ended; INVALIDATE_RESULT has its result. Entries that this thread stored before need no fence.
 */
import { InvalidArgumentError } from "../../units/errors.ts";

/** 32 bits: ENABLE, and the format code in bits 8 .. 15. Writing it empties the IOTLB. */
export const CONTROL = 0x00;
/** 32 bits: number of entries of the table, 1 .. 2^31 − 1. */
export const ENTRIES = 0x04;
/** 32 bits: log2 of the IO page size in bytes, 12 .. 34. */
export const PAGE_SHIFT = 0x08;
/** 32 bits, read-only: number of faults lost because the record was full. */
export const FAULTS_LOST = 0x0c;
/** 64 bits: physical address of entry 0, a multiple of TABLE_ALIGNMENT. */
export const TABLE_BASE = 0x10;
/** 64 bits: bus address of entry 0, a multiple of the page size. */
export const WINDOW_BASE = 0x18;

/**
 * 64 bits: physical address of the dirty bitmap, a multiple of TABLE_ALIGNMENT, or 0: writes are not recorded. Bit e % 32 of the word e >> 5 is set
 * after a device has written through entry e. May be written while translation is on; CONTROL with ENABLE sets it to 0. The write returns when
 * all DMAs use the new setting; INVALIDATE_RESULT has its result.
 */
export const DIRTY_BASE = 0x20;

/** Start of the banked frame of the accessing thread. */
const FRAME = 0x1000;
/** 32 bits: the first entry of the next invalidation. */
export const INVALIDATE_FIRST: number = FRAME + 0x00;
/** 32 bits: number of entries, 1 .. 2^31 − 1. The write starts the invalidation. */
export const INVALIDATE_COUNT: number = FRAME + 0x04;
/** 32 bits, any value: the write invalidates the whole IOTLB. */
export const INVALIDATE_ALL: number = FRAME + 0x08;
/** 32 bits, read-only: result of this thread's last invalidation or write to CONTROL. */
export const INVALIDATE_RESULT: number = FRAME + 0x0c;

/** In CONTROL: translation is on. While it is off, every DMA is refused. */
export const ENABLE = 1;
export const FORMAT_SHIFT = 8;
export const FORMAT_MASK = 0xff;

/** In INVALIDATE_RESULT: no DMA uses the invalidated entries. */
export const RESULT_DONE = 0;
/** A DMA in flight exceeded the machine's time limit: it may still use the invalidated entries. */
export const RESULT_BUSY = 1;
/** The same, on a thread that may not wait longer. */
export const RESULT_WOULD_BLOCK = 2;

/** Table bases are multiples of this many bytes. */
export const TABLE_ALIGNMENT = 4096;

/** Entry formats of a linear IOMMU, and their codes in CONTROL. */
const FORMAT_CODES: Readonly<Record<string, number>> = { "powernv-tce": 1, "sun4u-iopte": 2 };

/** The code of the format with this name. Throws InvalidArgumentError for a format that the linear IOMMU lacks. */
export function formatCodeOf(name: string): number {
  const code = Object.hasOwn(FORMAT_CODES, name) ? FORMAT_CODES[name] : undefined;
  if (code === undefined) {
    throw new InvalidArgumentError("entry format", name, `one of ${Object.keys(FORMAT_CODES).join(", ")}`);
  }
  return code;
}
