/**
 * A direct window: bus address = physical address + offset. There is no table, so nothing is allocated or invalidated, and mappings are not
 * recorded. In this file: the device, its route (a mapping's key is its physical address), mapSg, and the part of the window that the
 * device can use.
 */
import { hexadecimal } from "../units/counts.ts";
import { checkInteger, FreeError, InvalidArgumentError, inWords, SyncError } from "../units/errors.ts";
import { type Failure, failureCode, failureOf, LONGER_THAN_BOUNDARY, MASK_TOO_LOW } from "../units/failure.ts";
import { DEVICE_READS_AND_WRITES, type EntryAccess } from "../units/numbers.ts";
import { HIGH_WORD, LOW_WORD } from "../units/words64.ts";
import type { Mapping, Translation } from "./contract.ts";
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
 * A device behind a direct window. Memory that its mask, boundary or alignment excludes is bounced if there are bounce buffers. Else it is
 * refused: as "mask-too-low", "longer-than-boundary", or "platform-refused" for a wrong alignment.
 *
 * The same memory may be mapped many times at one bus address, and mappings are not recorded. So a wrong `unmap` of memory that is not
 * bounced is detected only if the window can't map that range at all. (The debug mode detects all.)
 *
 * Make one DirectDevice per device and thread.
 *
 * @example
 * ```ts
 * import { DEVICE_READS, DirectDevice, orThrow } from "iova";
 *
 * const window = { kind: "direct", base: 0x800_0000_0000n, address: 0, bytes: 2 ** 30 } as const;
 * const device = new DirectDevice(window, { mask: 2n ** 64n - 1n });
 * const { iova } = orThrow(device.map(0x12_3000n, 4096, DEVICE_READS));
 * console.log(`0x${iova.toString(16)}`);
 * ```
 * ```text output
 * 0x80000123000
 * ```
 */
export class DirectDevice extends RoutedDevice {
  /**
   * The option `cpuPageShift` has no effect here.
   * @throws InvalidArgumentError for a window, limit or option outside its range, and for an untrusted device, which would see all memory
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
    // An address that a double can't hold lies beyond every window.
    const physical = Number(address);
    const refusal = this.#reach.refusal(physical, bytes);
    return refusal === 0 ? physical : refusal;
  }

  /** Memory has one bus address here. */
  mapAt(iova: bigint, address: bigint, bytes: number, access: EntryAccess): number {
    const key = this.map(address, bytes, access);
    return key >= 0 && this.iovaOf(key) !== iova ? PLATFORM_REFUSED : key;
  }

  /** Mappings are not recorded. */
  holderOf(): undefined {}

  translate(iova: bigint): Translation | undefined {
    const address = this.#reach.physicalAddress(iova);
    const bytes = address < 0 ? 0 : this.#reach.bytesFrom(address);
    return bytes <= 0 ? undefined : { address: BigInt(address), bytes, access: DEVICE_READS_AND_WRITES };
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

/** The rule of a direct window: memory that the device can't use is bounced. */
function reachRule(reach: DirectReach, alignment: number): BounceRule {
  const least = Math.max(PAGE_BYTES, alignment);
  const isBounced = (address: number, bytes: number) => reach.refusal(address, bytes) !== 0;
  return {
    pageSize: PAGE_BYTES,
    isBounced,
    isOnlyBounced: (key, { bytes }) => isBounced(key, bytes),
    refusal: () => 0,
    // Pages that are aligned to the next power of two of their length cross no boundary.
    alignment: (_, pagesBytes) => (reach.hasBoundary ? powerOfTwoFor(pagesBytes, least) : least),
  };
}

/**
 * mapSg on a direct window. An element's bus address follows from its physical address, so mapSg only checks that the device can use it.
 * Each element becomes one segment; elements that are adjacent in memory merge. An element that crosses a segment boundary is refused:
 * "longer-than-boundary".
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

  /** Never refuses: elements that the device can't use may be bounced. */
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

  /** Throws InvalidArgumentError if the list's segment capacity may be too small for its longer elements. */
  #checkSegments(list: ScatterList): void {
    const most = this.#maxSegmentBytes;
    let segments = 0;
    for (let i = 0; i < list.length; i++) segments += Math.ceil(list.bytes[i]! / most);
    if (segments > list.iovas.length) throw tooManySegments(list, most, segments);
  }

  /** Fills in the output. Returns 0, or a failure code if the device can't use an element. */
  #fillSegments(list: ScatterList): number {
    const reach = this.#reach;
    const words = list.mapping.mappedWords;
    // The physical address at which the next element would continue the open segment.
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

  /** Adds an element to the open segment if it continues it and there is room, else in new segments. */
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

  /** Clears the output. */
  #empty(list: ScatterList): void {
    list.iovas.fill(0n, 0, list.mapping.segments);
    list.segmentBytes.fill(0, 0, list.mapping.segments);
    list.mapping.segments = 0;
  }
}

/**
 * The part of a direct window that a device can use under its limits. In physical addresses, as plain numbers: these are below 2^53, while
 * bus addresses may exceed it.
 */
class DirectReach {
  readonly #window: DirectWindow;
  /** Physical address of the first byte that the device can use, and one past the last. */
  readonly #first: number;
  readonly #end: number;
  /** The physical address of one segment boundary in the window; Infinity if the window has none. */
  readonly #boundaryAt: number;
  readonly #boundary: number;
  /** Alignment on the bus of the page in which a mapping begins. Alignments up to a page hold always. */
  readonly #alignment: bigint;
  /** Bus address minus physical address, modulo 2^64. */
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

  /** A failure code if the device can't use these bytes, else 0. */
  refusal(address: number, bytes: number): number {
    if (!this.isInside(address, bytes)) return MASK_TOO_LOW;
    if (address + bytes > this.#boundaryAfter(address)) return LONGER_THAN_BOUNDARY;
    if (this.#alignment <= PAGE_BYTES) return 0;
    return this.busAddress(address - (address % PAGE_BYTES)) % this.#alignment === 0n ? 0 : PLATFORM_REFUSED;
  }

  /** True if these bytes lie in the window and under the mask. */
  isInside(address: number, bytes: number): boolean {
    return address >= this.#first && address + bytes <= this.#end;
  }

  /** Number of bytes from `address`, in the window, to the last that the device reaches; 0 or less if it does not reach this one. */
  bytesFrom(address: number): number {
    return this.#end - address;
  }

  /** True if a segment boundary lies in the window. */
  get hasBoundary(): boolean {
    return this.#boundaryAt !== Number.POSITIVE_INFINITY;
  }

  /** True if this byte begins at a segment boundary. */
  isBoundary(address: number): boolean {
    return (address - this.#boundaryAt) % this.#boundary === 0;
  }

  busAddress(address: number): bigint {
    return this.#window.base + BigInt(address - this.#window.address);
  }

  /** The physical address of a bus address, or -1 outside of the window. */
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
