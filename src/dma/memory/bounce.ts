/**
 * Bounce buffers: memory that replaces a driver's buffer which the device must not see, or can't reach. An untrusted device gets pages that
 * hold only the buffer's bytes and zeros. A device with a low mask gets memory below the mask.
 *
 * - The whole buffer is bounced, not only the pages that it shares with other data. So it stays in one piece, and a mapping has one state.
 *   A driver avoids the cost with lists of whole pages.
 * - A bounce buffer has the same offset in its page as the driver's buffer. So the device sees the low address bits that its driver chose,
 *   and the arithmetic of pages, boundaries and segments is the same for both.
 * - Memory that the device may write is copied in at map too, so that bytes which the device does not write come back unchanged. Memory
 *   that the device only reads is never copied back.
 * - The copy back follows the invalidation, when the device can't write any more. Only then are the pages freed. Pages of a mapping whose
 *   invalidation failed are never freed.
 *
 * This file allocates, fills, copies and frees the memory. bounced-transfers.ts maps it.
 */

import type { Memory } from "../../machine/contract.ts";
import type { PhysicalPages } from "../../memory/physical-pages.ts";
import { hexadecimal } from "../../units/counts.ts";
import { InvalidArgumentError, inWords } from "../../units/errors.ts";
import type { Failure } from "../../units/failure.ts";
import { type Access, DEVICE_READS, DEVICE_WRITES } from "../../units/numbers.ts";
import { pagesCovering } from "../../units/pages.ts";
import type { MappingAttributes, MappingPart } from "../contract.ts";
import { memoryFailure } from "../requests.ts";
import type { BounceRule } from "../route.ts";
import { copyBytes, isMemory, zeroBytes } from "./bytes.ts";

/** A driver's buffer and its bounce buffer. */
export interface BounceBuffer {
  /** Physical address of the driver's first byte. */
  readonly original: number;
  /** Physical address of the same byte in the bounce buffer. */
  readonly address: number;
  readonly bytes: number;
  /** The allocated pages: address and length in bytes. */
  readonly pagesAt: number;
  readonly pagesBytes: number;
  readonly access: Access;
  readonly skipSync: boolean;
}

/** Direction of a copy. */
export type Toward = "cpu" | "device";

/** The bounce buffers of one device and thread. */
export class BounceBuffers {
  readonly #memory: Memory;
  readonly #pages: PhysicalPages;
  readonly #rule: BounceRule;

  /** Throws InvalidArgumentError for pages that are not in this memory. */
  constructor(memory: Memory, pages: PhysicalPages, rule: BounceRule) {
    checkPages(memory, pages);
    this.#memory = memory;
    this.#pages = pages;
    this.#rule = rule;
  }

  /** True if these bytes must be bounced. Throws InvalidArgumentError if they must be bounced and are not memory. */
  isBounced(address: number, bytes: number): boolean {
    // An address that a double can't hold is not memory, and its page can't be computed.
    if (Number.isSafeInteger(address) && !this.#rule.isBounced(address, bytes)) return false;
    if (address + bytes <= this.#memory.bytes) {
      if (isMemory(this.#memory, address, bytes)) return true;
      const found = inWords(`${bytes} bytes at ${hexadecimal(address)}`);
      throw new InvalidArgumentError("buffer to bounce", found, "all bytes in memory, and it reaches into a hole");
    }
    throw new InvalidArgumentError(
      "end of a buffer to bounce",
      inWords(hexadecimal(address + bytes)),
      `an address of memory, which ends at ${hexadecimal(this.#memory.bytes)}`,
    );
  }

  /** Allocates and fills a buffer for `bytes` bytes at `original`, for which `isBounced` returned true. Returns it, or a failure code. */
  take(
    original: number,
    bytes: number,
    access: Access,
    attributes: MappingAttributes | undefined,
  ): BounceBuffer | number {
    const { pageSize } = this.#rule;
    const offset = original % pageSize;
    const pagesBytes = pagesCovering(offset, bytes, pageSize) * pageSize;
    const pagesAt = this.#pages.allocate(pagesBytes, this.#rule.alignment(original, pagesBytes));
    if (pagesAt < 0) return memoryFailure(pagesAt);
    const skipSync = attributes?.skipSync === true;
    const buffer = { original, address: pagesAt + offset, bytes, pagesAt, pagesBytes, access, skipSync };
    this.#fill(buffer);
    return buffer;
  }

  /** Frees a buffer that no device can use: its mapping has ended, or was never made. */
  giveBack(buffer: BounceBuffer): void {
    this.#pages.free(buffer.pagesAt, buffer.pagesBytes);
  }

  /**
   * Ends a buffer after its unmap: copies the device's writes to the driver's buffer and frees the pages. With a failure the device may
   * still use the pages, so they stay allocated.
   */
  finish(buffer: BounceBuffer, failure: Failure | undefined): void {
    if (!buffer.skipSync) this.copy(buffer, "cpu");
    if (failure === undefined) this.giveBack(buffer);
  }

  /**
   * Copies a part: to the CPU if the device writes, to the device if it reads. Otherwise copies nothing.
   */
  copy({ original, address, bytes, access }: BounceBuffer, toward: Toward, part?: MappingPart): void {
    const offset = part?.offset ?? 0;
    const length = part?.bytes ?? bytes;
    if (toward === "cpu" && (access & DEVICE_WRITES) !== 0) {
      copyBytes(this.#memory, address + offset, original + offset, length);
    }
    if (toward === "device" && (access & DEVICE_READS) !== 0) {
      copyBytes(this.#memory, original + offset, address + offset, length);
    }
  }

  /** Fills the pages: the buffer's bytes, and zeros around them, since the pages held other data before. */
  #fill({ original, address, bytes, pagesAt, pagesBytes, access, skipSync }: BounceBuffer): void {
    const end = address + bytes;
    zeroBytes(this.#memory, pagesAt, address - pagesAt);
    zeroBytes(this.#memory, end, pagesAt + pagesBytes - end);
    // With `skipSync` the driver copies the data that the device reads. Memory that the device may write is copied in nevertheless, to
    // preserve the bytes that it does not write.
    if (skipSync && access === DEVICE_READS) zeroBytes(this.#memory, address, bytes);
    else copyBytes(this.#memory, original, address, bytes);
  }
}

/** Throws InvalidArgumentError for pages outside of this memory, which could not be read and written. */
export function checkPages(memory: Memory, pages: PhysicalPages): void {
  const { address, bytes } = pages.handle;
  const end = address + bytes;
  if (end <= memory.bytes) {
    if (isMemory(memory, address, bytes)) return;
    const found = inWords(`[${hexadecimal(address)}, ${hexadecimal(end)})`);
    throw new InvalidArgumentError(
      "range of the physical pages",
      found,
      "all bytes in memory, and it has a hole there",
    );
  }
  throw new InvalidArgumentError(
    "end of the physical pages",
    inWords(hexadecimal(end)),
    `at most that of memory, ${hexadecimal(memory.bytes)}`,
  );
}
