/**
 * A direct window: bus address = physical address + offset, with no table, so nothing is taken or invalidated, and no record is kept. From
 * above: the device, its route (a mapping's key is its physical address), mapSg, and what of the window the device can use.
 */
import { hexadecimal } from "../units/counts.ts";
import { checkInteger, FreeError, InvalidArgumentError, inWords, SyncError } from "../units/errors.ts";
import { type Failure, failureCode, failureOf, LONGER_THAN_BOUNDARY, MASK_TOO_LOW } from "../units/failure.ts";
import type { EntryAccess } from "../units/numbers.ts";
import { HIGH_WORD, LOW_WORD } from "../units/words64.ts";
import type { Mapping } from "./contract.ts";
import { checkDeviceOptions, type DmaDeviceOptions } from "./device-options.ts";
import { bytesUnder, checkDirectWindow, type DirectWindow } from "./device-window.ts";
import { type CheckedLimits, checkedLimits, type DeviceLimits } from "./limits.ts";
import { checkMappedBy, checkNotMapped, digestOf, tooManySegments } from "./mapped-list.ts";
import { powerOfTwoFor } from "./requests.ts";
import type { BounceRule, ListMapper, Route } from "./route.ts";
import { RoutedDevice } from "./routed-device.ts";
import type { ScatterList } from "./scatter-list.ts";

const PAGE_BYTES = 4096;
const WORD = 2 ** 32;
const NONE = -1;
const PLATFORM_REFUSED = failureCode("platform-refused");

/**
 * A device behind a direct window. What its mask, boundary or alignment does not allow is bounced where bounce buffers are on, else refused:
 * "mask-too-low", "longer-than-boundary" or, where memory is not aligned as the device needs it, "platform-refused".
 *
 * The same memory may be mapped many times at one bus address, and no record is kept of it: a wrong `unmap` of what is not bounced
 * is seen only when it could not have been mapped there at all. (The debug mode sees all.)
 *
 * One DirectDevice per device and thread.
 */
export class DirectDevice extends RoutedDevice {
  /**
   * Of the options, `cpuPageShift` means nothing here.
   * @throws InvalidArgumentError for a window, limit or option outside its range, and for a device that is not trusted: through a
   * direct window it would see all memory
   */
  constructor(window: DirectWindow, limits: DeviceLimits = {}, options: DmaDeviceOptions = {}) {
    const route = new DirectRoute(window, limits, options);
    super(route, route, options);
  }
}

export class DirectRoute implements Route {
  readonly lists: DirectLists;
  readonly pageSize: number = PAGE_BYTES;
  /** There are no entries. */
  readonly isStranded = false;
  readonly bouncing: BounceRule;
  readonly #reach: DirectReach;
  readonly #coherentReach: DirectReach;

  /** @throws InvalidArgumentError for a window, limit or option outside its range, and for a device that is not trusted */
  constructor(window: DirectWindow, limits: DeviceLimits, options: DmaDeviceOptions) {
    checkDeviceOptions(options);
    const { merge = true, bounce } = options;
    checkDirectWindow(window);
    if (bounce?.untrusted === true) {
      throw new InvalidArgumentError("window of a device that is not trusted", inWords("direct"), "a translated one");
    }
    const checked = checkedLimits(limits);
    this.#reach = new DirectReach(window, checked.mask, checked);
    this.#coherentReach = new DirectReach(window, checked.coherentMask, checked);
    this.lists = new DirectLists(this.#reach, checked.maxSegmentBytes, merge);
    this.bouncing = reachRule(this.#reach, checked.alignment);
  }

  map(address: bigint, bytes: number, _access: EntryAccess): number {
    // An address that a double can't hold is beyond every window.
    const physical = Number(address);
    const refusal = this.#reach.refusal(physical, bytes);
    return refusal === 0 ? physical : refusal;
  }

  iovaOf(key: number): bigint {
    return this.#reach.busAddress(key);
  }

  keyOf({ iova, bytes }: Mapping): number {
    checkInteger("length in bytes", bytes, 1, Number.MAX_SAFE_INTEGER);
    const address = this.#reach.physicalAddress(iova);
    if (address >= 0 && this.#reach.isInside(address, bytes)) return address;
    throw new FreeError("out-of-range", `${bytes} bytes at ${hexadecimal(iova)}: not inside the direct window`);
  }

  checkMapped(): void {}

  unmap(): undefined {}

  awaitInvalidation(): undefined {}

  synchronize(): void {}

  synchronizeList(): void {}

  coherentRefusal(): undefined {}

  mapCoherent(address: number, bytes: number, alignment: number): bigint | Failure {
    const refusal = this.#coherentReach.refusal(address, bytes);
    if (refusal !== 0) return failureOf(refusal);
    const iova = this.#coherentReach.busAddress(address);
    // The window's base may be less aligned: an address that is aligned in memory need not be aligned on the bus.
    return iova % BigInt(alignment) === 0n ? iova : "platform-refused";
  }

  unmapCoherent(): undefined {}
}

/** A device gets everything as it is that it can use, and a bounce buffer that it can use for the rest. */
function reachRule(reach: DirectReach, alignment: number): BounceRule {
  const least = Math.max(PAGE_BYTES, alignment);
  const isBounced = (address: number, bytes: number) => reach.refusal(address, bytes) !== 0;
  return {
    pageSize: PAGE_BYTES,
    isBounced,
    isOnlyBounced: (key, { bytes }) => isBounced(key, bytes),
    refusal: () => 0,
    // Aligned to the power of two that holds them, the pages lie between two boundaries wherever they are.
    alignment: (_, pagesBytes) => (reach.hasBoundary ? powerOfTwoFor(pagesBytes, least) : least),
  };
}

/**
 * mapSg on a direct window: an element has its bus address already, so what is left is to look whether the device can use it, and
 * to join what is adjacent in memory. Nothing is taken and nothing is written but the list's output: one segment an element, joined
 * where they are adjacent. An element that crosses a segment boundary is refused: "longer-than-boundary".
 */
class DirectLists implements ListMapper {
  /** There are no entries. */
  readonly isStranded = false;
  readonly #reach: DirectReach;
  readonly #maxSegmentBytes: number;
  readonly #merge: boolean;

  constructor(reach: DirectReach, maxSegmentBytes: number, merge: boolean) {
    this.#reach = reach;
    this.#maxSegmentBytes = maxSegmentBytes;
    this.#merge = merge;
  }

  /** None: what the device can't use may have a bounce buffer. */
  refusalFor(list: ScatterList): undefined {
    checkNotMapped(list);
    this.#checkSegments(list);
  }

  map(list: ScatterList): Failure | undefined {
    this.refusalFor(list);
    list.mapping.segments = 0;
    const refusal = this.#fillSegments(list);
    if (refusal !== 0) {
      this.#empty(list);
      return failureOf(refusal);
    }
    list.mapping.digest = digestOf(list);
    list.mapping.device = this;
    return undefined;
  }

  unmap(list: ScatterList): undefined {
    checkMappedBy(list, this, "unmapSg", FreeError);
    list.mapping.segments = 0;
    list.mapping.device = undefined;
  }

  checkSync(list: ScatterList): void {
    checkMappedBy(list, this, "sync", SyncError);
  }

  /** Throws InvalidArgumentError when the segments of longer elements may not fit the list. */
  #checkSegments(list: ScatterList): void {
    const most = this.#maxSegmentBytes;
    let segments = 0;
    for (let i = 0; i < list.length; i++) segments += Math.ceil(list.bytes[i]! / most);
    if (segments > list.iovas.length) throw tooManySegments(list, most, segments);
  }

  /** Fills in the output. A failure code: an element can't be used where it is. */
  #fillSegments(list: ScatterList): number {
    const reach = this.#reach;
    const words = list.mapping.mappedWords;
    // The physical address at which a neighbour would continue the open segment.
    let joint = NONE;
    for (let i = 0; i < list.length; i++) {
      const bytes = list.bytes[i]!;
      if (bytes === 0) continue;
      const address = words[2 * i + HIGH_WORD]! * WORD + words[2 * i + LOW_WORD]!;
      const refusal = reach.refusal(address, bytes);
      if (refusal !== 0) return refusal;
      const continues = this.#merge && address === joint && !reach.isBoundary(address);
      this.#append(list, address, bytes, continues);
      joint = address + bytes;
    }
    return 0;
  }

  /** Adds an element to the open segment, if it continues it and there is room, or in segments of its own. */
  #append(list: ScatterList, address: number, bytes: number, continues: boolean): void {
    const most = this.#maxSegmentBytes;
    const { mapping, segmentBytes } = list;
    const last = mapping.segments - 1;
    if (continues && segmentBytes[last]! + bytes <= most) {
      segmentBytes[last] = segmentBytes[last]! + bytes;
      return;
    }
    for (let done = 0; done < bytes; done += most) {
      const at = mapping.segments;
      this.#reach.storeBusAddress(mapping.iovaWords, at, address + done);
      segmentBytes[at] = Math.min(most, bytes - done);
      mapping.segments = at + 1;
    }
  }

  /** The output as of a list that is not mapped. */
  #empty(list: ScatterList): void {
    list.iovas.fill(0n, 0, list.mapping.segments);
    list.segmentBytes.fill(0, 0, list.mapping.segments);
    list.mapping.segments = 0;
  }
}

/**
 * What a device can use of a direct window, under its limits, as plain numbers: physical addresses, which are below 2^53 where
 * bus addresses need not be.
 */
class DirectReach {
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

  busAddress(address: number): bigint {
    return this.#window.base + BigInt(address - this.#window.address);
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
