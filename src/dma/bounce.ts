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
 * The records of a device's bounce buffers are its object's own: whoever mapped a buffer unmaps it, by the same object.
 */
import type { Memory } from "../machine/contract.ts";
import type { PhysicalPages } from "../machine/physical-pages.ts";
import { InvalidArgumentError } from "../units/errors.ts";
import { type Failure, failureOf } from "../units/failure.ts";
import { type Access, DEVICE_READS, DEVICE_WRITES } from "../units/numbers.ts";
import { copyBytes, zeroBytes } from "./bytes.ts";
import type { MappingAttributes, MappingPart } from "./contract.ts";
import { pagesCovering } from "./pages.ts";
import { hex, memoryFailure } from "./requests.ts";

export interface BounceOptions {
  /**
   * Where bounce buffers come from. Where buffers beyond the mask are bounced: memory below the mask. After the death of a
   * thread the table's `reclaim` comes before that of these pages.
   */
  readonly pages: PhysicalPages;
  /**
   * The device is not trusted: it gets only pages that hold nothing else. Buffers that do not cover whole IO pages are bounced,
   * and no direct window is used. Default false: only buffers out of the device's reach are bounced.
   */
  readonly untrusted?: boolean;
}

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

/** What a device says about its bounce buffers. Addresses and lengths are in bytes. */
export interface BounceRule {
  /** What the device can be given as one: a power of two from 4096 on. */
  readonly pageSize: number;
  /** May the device not have these bytes (at least 1) as they are? */
  isBounced(address: number, bytes: number): boolean;
  /** The alignment of the pages that stand in for memory at `address`: a power of two, at least the page size. */
  bounceAlignment(address: number): number;
  /** Why the device can't use these bytes of a bounce buffer, or undefined. */
  bounceRefusal(address: number, bytes: number): Failure | undefined;
}

/** Takes, fills, empties and gives back the bounce buffers of one device and thread. */
export class BounceBuffers {
  readonly #memory: Memory;
  readonly #pages: PhysicalPages;
  readonly #rule: BounceRule;
  /** Buffers of `map`, by their first entry, or where there are no entries by their physical address. */
  readonly #mapped: Map<number, BounceBuffer> = new Map();

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
      hex(address + bytes),
      `an address of memory, which ends at ${hex(this.#memory.bytes)}`,
    );
  }

  /** A filled buffer for `bytes` bytes at `original`, for which `isBounced` has said yes; or a failure. */
  take(
    original: number,
    bytes: number,
    access: Access,
    attributes: MappingAttributes | undefined,
  ): BounceBuffer | Failure {
    const { pageSize } = this.#rule;
    const offset = original % pageSize;
    const pagesBytes = pagesCovering(offset, bytes, pageSize) * pageSize;
    const pagesAt = this.#pages.allocate(pagesBytes, this.#rule.bounceAlignment(original));
    if (pagesAt < 0) return failureOf(memoryFailure(pagesAt));
    const skipSync = attributes?.skipSync === true;
    const buffer = { original, address: pagesAt + offset, bytes, pagesAt, pagesBytes, access, skipSync };
    const refusal = this.#rule.bounceRefusal(buffer.address, bytes);
    if (refusal === undefined) this.#fill(buffer);
    else this.giveBack(buffer);
    return refusal ?? buffer;
  }

  /** The buffer is in use from now on, under this key. */
  keep(key: number, buffer: BounceBuffer): void {
    this.#mapped.set(key, buffer);
  }

  /** The buffer in use under this key. */
  at(key: number): BounceBuffer | undefined {
    return this.#mapped.get(key);
  }

  forget(key: number): void {
    this.#mapped.delete(key);
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
    if (!buffer.skipSync) this.sync(buffer, { offset: 0, bytes: buffer.bytes }, "cpu");
    if (failure === undefined) this.giveBack(buffer);
  }

  /**
   * Copies a part one way: to the CPU what the device writes, to the device what it reads. Nothing where its access is only of
   * the other kind.
   */
  sync({ original, address, access }: BounceBuffer, { offset, bytes }: MappingPart, toward: "cpu" | "device"): void {
    if (toward === "cpu" && (access & DEVICE_WRITES) !== 0) {
      copyBytes(this.#memory, address + offset, original + offset, bytes);
    }
    if (toward === "device" && (access & DEVICE_READS) !== 0) {
      copyBytes(this.#memory, original + offset, address + offset, bytes);
    }
  }

  /** `sync` of whole buffers. */
  syncAll(buffers: readonly BounceBuffer[], toward: "cpu" | "device"): void {
    for (const buffer of buffers) this.sync(buffer, { offset: 0, bytes: buffer.bytes }, toward);
  }

  /** Zeros where the pages hold more than the buffer: they held someone else's data before. */
  #fill(buffer: BounceBuffer): void {
    const { original, address, bytes, pagesAt, pagesBytes, access, skipSync } = buffer;
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
  throw new InvalidArgumentError("end of the physical pages", hex(end), `at most that of memory, ${hex(memory.bytes)}`);
}
