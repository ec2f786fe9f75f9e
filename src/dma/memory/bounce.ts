/**
 * Bounce buffers: memory that stands in for a driver's buffer which its device must not see, or can't reach. A device
 * that is not trusted gets pages that hold nothing but the buffer's bytes and zeros; a device whose mask is too low gets memory
 * below it.
 *
 * - The whole buffer is bounced, not only the pages that it shares with others: it stays in one piece, one mapping has one
 *   state, and the lists of a driver that minds the cost are of whole pages anyway.
 * - A bounce buffer begins at the same offset in its page as what it stands for. So a device sees the low bits that its driver
 *   chose, and the arithmetic of pages, boundaries and segments is the same for both.
 * - What the device writes is copied in as well when it is mapped: bytes that the device leaves alone come back as they were.
 *   What it only reads is never copied back: the device has no say over it.
 * - Copied back is after the invalidation, when nothing can change any more; and only then do the pages go to someone else.
 *   Pages of a mapping whose invalidation failed are never given back.
 *
 * Here is the memory: taken, filled, copied, given back. bounced-transfers.ts maps it.
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
import { copyBytes, zeroBytes } from "./bytes.ts";

/** One buffer of a driver and what stands in for it. */
export interface BounceBuffer {
  /** Physical address of the driver's first byte. */
  readonly original: number;
  /** Physical address of the same byte in the bounce buffer. */
  readonly address: number;
  readonly bytes: number;
  /** The pages that were taken: address and length. */
  readonly pagesAt: number;
  readonly pagesBytes: number;
  readonly access: Access;
  readonly skipSync: boolean;
}

/** Where a copy goes. */
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

  /** May the device not have these bytes as they are? Throws InvalidArgumentError when it may not and they are no memory. */
  isBounced(address: number, bytes: number): boolean {
    // An address that a double can't hold is no memory, and which page it lies in can't be told.
    if (Number.isSafeInteger(address) && !this.#rule.isBounced(address, bytes)) return false;
    if (address + bytes <= this.#memory.bytes) return true;
    throw new InvalidArgumentError(
      "end of a buffer to bounce",
      inWords(hexadecimal(address + bytes)),
      `an address of memory, which ends at ${hexadecimal(this.#memory.bytes)}`,
    );
  }

  /** A filled buffer for `bytes` bytes at `original`, for which `isBounced` has said yes; or a failure code. */
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

  /** Gives a buffer back that no device can use any more, or has never been told of. */
  giveBack(buffer: BounceBuffer): void {
    this.#pages.free(buffer.pagesAt, buffer.pagesBytes);
  }

  /**
   * The mapping is gone: what the device wrote goes to the driver's buffer, and the pages go back; unless a failure says that the
   * device may still use them.
   */
  finish(buffer: BounceBuffer, failure: Failure | undefined): void {
    if (!buffer.skipSync) this.copy(buffer, "cpu");
    if (failure === undefined) this.giveBack(buffer);
  }

  /**
   * Copies a part one way: to the CPU what the device writes, to the device what it reads. Nothing where its access is only of
   * the other kind.
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

  /** Zeros where the pages hold more than the buffer: they held someone else's data before. */
  #fill({ original, address, bytes, pagesAt, pagesBytes, access, skipSync }: BounceBuffer): void {
    const end = address + bytes;
    zeroBytes(this.#memory, pagesAt, address - pagesAt);
    zeroBytes(this.#memory, end, pagesAt + pagesBytes - end);
    // With `skipSync` the driver copies what the device reads. What it writes must come in all the same: nothing else would
    // bring back the bytes that it leaves alone.
    if (skipSync && access === DEVICE_READS) zeroBytes(this.#memory, address, bytes);
    else copyBytes(this.#memory, original, address, bytes);
  }
}

/** Throws InvalidArgumentError for pages that are not in this memory: they are to be read and written. */
export function checkPages(memory: Memory, pages: PhysicalPages): void {
  const end = pages.handle.address + pages.handle.bytes;
  if (end <= memory.bytes) return;
  throw new InvalidArgumentError(
    "end of the physical pages",
    inWords(hexadecimal(end)),
    `at most that of memory, ${hexadecimal(memory.bytes)}`,
  );
}
