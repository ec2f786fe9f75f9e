/**
 * What a device can use of a direct window, under its limits, as plain numbers: physical addresses, which are below 2^53 where
 * bus addresses need not be.
 */
import { failureCode, LONGER_THAN_BOUNDARY, MASK_TOO_LOW } from "../../units/failure.ts";
import type { Iova } from "../../units/numbers.ts";
import { HIGH_WORD, LOW_WORD } from "../../units/words64.ts";
import { bytesUnder, type DirectWindow } from "../device-window.ts";
import type { CheckedLimits } from "../limits.ts";

const PAGE_BYTES = 4096;
const WORD = 2 ** 32;
const PLATFORM_REFUSED = failureCode("platform-refused");

export class DirectReach {
  readonly #window: DirectWindow;
  /** Physical: the first byte and one past the last that the device can use. */
  readonly #first: number;
  readonly #end: number;
  /** The physical address of one bus address at which a segment boundary lies; Infinity: there is none in the window. */
  readonly #boundaryAt: number;
  readonly #boundary: number;
  /** Of the page where a mapping begins, on the bus. Up to a page it is had anyway. */
  readonly #alignment: bigint;
  /** Bus address less physical address, modulo 2^64. */
  readonly #offsetHigh: number;
  readonly #offsetLow: number;

  constructor(window: DirectWindow, mask: bigint, { alignment, boundaryMask }: CheckedLimits) {
    const { address, base, bytes } = window;
    this.#window = window;
    this.#first = address;
    this.#end = address + Number(bytesUnder(window, mask));
    const boundary = boundaryMask + 1n;
    const toBoundary = (boundary - (base % boundary)) % boundary;
    this.#boundary = Number(boundary);
    this.#boundaryAt = toBoundary < BigInt(bytes) ? address + Number(toBoundary) : Number.POSITIVE_INFINITY;
    this.#alignment = BigInt(alignment);
    const offset = BigInt.asUintN(64, base - BigInt(address));
    this.#offsetHigh = Number(offset >> 32n);
    this.#offsetLow = Number(offset & 0xffffffffn);
  }

  /** Why the device can't use these bytes where they are: a failure code; 0 when it can. */
  refusal(address: number, bytes: number): number {
    if (!this.isInside(address, bytes)) return MASK_TOO_LOW;
    if (address + bytes > this.#boundaryAfter(address)) return LONGER_THAN_BOUNDARY;
    if (this.#alignment <= PAGE_BYTES) return 0;
    return this.busAddress(address - (address % PAGE_BYTES)) % this.#alignment === 0n ? 0 : PLATFORM_REFUSED;
  }

  /** Are these bytes memory that the window shows, under this mask? */
  isInside(address: number, bytes: number): boolean {
    return address >= this.#first && address + bytes <= this.#end;
  }

  /** Does a segment boundary lie in the window? */
  get hasBoundary(): boolean {
    return this.#boundaryAt !== Number.POSITIVE_INFINITY;
  }

  /** Does a segment boundary lie before this byte? */
  isBoundary(address: number): boolean {
    return (address - this.#boundaryAt) % this.#boundary === 0;
  }

  busAddress(address: number): Iova {
    return (this.#window.base + BigInt(address - this.#window.address)) as Iova;
  }

  /** The physical address of a bus address, or -1 where the window has none. */
  physicalAddress(iova: bigint): number {
    const distance = iova - this.#window.base;
    return distance < 0n || distance >= BigInt(this.#window.bytes) ? -1 : this.#window.address + Number(distance);
  }

  /** Stores the bus address of a physical one as element `at` of a 64-bit column. */
  storeBusAddress(words: Uint32Array, at: number, address: number): void {
    const low = (address % WORD) + this.#offsetLow;
    words[2 * at + LOW_WORD] = low;
    words[2 * at + HIGH_WORD] = Math.floor(address / WORD) + this.#offsetHigh + (low >= WORD ? 1 : 0);
  }

  /** The physical address of the next boundary after a byte. */
  #boundaryAfter(address: number): number {
    const at = this.#boundaryAt;
    if (at === Number.POSITIVE_INFINITY) return at;
    return at + (Math.floor((address - at) / this.#boundary) + 1) * this.#boundary;
  }
}
