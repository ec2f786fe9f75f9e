/**
 * A scatterlist: the pieces of memory of one transfer, as reusable columns. The caller fills the input columns and `mapSg` the output
 * columns, without an allocation per transfer. A list belongs to one thread.
 */
import { checkInteger, InvalidArgumentError, inWords } from "../units/errors.ts";
import { HIGH_WORD, LOW_WORD } from "../units/words64.ts";
import type { BounceBuffer } from "./memory/bounce.ts";

const MAX_BYTES = 2 ** 32 - 1;
const MAX_CAPACITY = 2 ** 24;
const NO_BUFFERS: readonly BounceBuffer[] = [];
const LAST_ADDRESS = 2n ** 64n - 1n;

/** An element of a scatterlist: a piece of physical memory. */
export interface ScatterElement {
  /** Physical address of the first byte, in bytes. A plain number up to 2^53 − 1, a bigint up to 2^64 − 1. */
  readonly address: bigint | number;
  /** Length in bytes: 0 .. 2^32 − 1. */
  readonly bytes: number;
}

/**
 * A scatterlist: the pieces of memory (elements) of one transfer, and their bus addresses (segments). `add` appends an element; `mapSg` of a
 * device then writes `iovas`, `segmentBytes` and `segments`. A mapped list must not change before `unmapSg`. Reuse a list for many transfers:
 * nothing is allocated then. It belongs to one thread.
 *
 * @example
 * ```ts
 * import { DEVICE_READS, DmaDevice, orThrow, ScatterList } from "iova";
 * import { LinearPlatform, SoftwareMachine } from "iova/platform";
 *
 * const machine = SoftwareMachine.create({ memoryBytes: 2 ** 20 });
 * const window = { base: 0x8000_0000n, pageShift: 12, entries: 1024 };
 * const { generic: table } = LinearPlatform.create(machine, { format: "powernv-tce", window });
 * const device = new DmaDevice(table);
 *
 * const list = new ScatterList(2);
 * list.add(0x1_0000n, 4096); // two pieces of memory, far apart
 * list.add(0x4_0000n, 512);
 * orThrow(device.mapSg(list, DEVICE_READS));
 * for (let i = 0; i < list.segments; i++) console.log(list.segmentBytes[i], "bytes, adjacent on the bus");
 * device.unmapSg(list);
 * ```
 * ```text output
 * 4608 bytes, adjacent on the bus
 * ```
 */
export class ScatterList {
  /** Elements that the list can hold. */
  readonly capacity: number;
  /** Input: physical address of each element, in bytes. May be written directly, together with `bytes` and `length`. */
  readonly addresses: BigUint64Array;
  /** Input: length of each element in bytes. An element of 0 bytes is skipped. */
  readonly bytes: Uint32Array;
  /** Output: bus address of each segment, `iovas[0 .. segments)`. */
  readonly iovas: BigUint64Array;
  /** Output: length of each segment in bytes. */
  readonly segmentBytes: Uint32Array;
  /**
   * The state of the mapping. Internal: only `mapSg` and `unmapSg` write it.
   *
   * @internal
   */
  readonly mapping: ScatterListMapping;
  #length = 0;

  /**
   * Makes an empty list for up to `capacity` elements, 1 .. 2^24. `segmentCapacity`: segments, `capacity` .. 2^24; default `capacity`. More are
   * needed if elements are longer than the device's maximum segment, because they become several segments.
   * @throws InvalidArgumentError for capacities outside their range
   */
  constructor(capacity: number, segmentCapacity: number = capacity) {
    checkInteger("scatterlist capacity in elements", capacity, 1, MAX_CAPACITY);
    checkInteger("scatterlist capacity in segments", segmentCapacity, capacity, MAX_CAPACITY);
    this.capacity = capacity;
    this.addresses = new BigUint64Array(capacity);
    this.bytes = new Uint32Array(capacity);
    this.iovas = new BigUint64Array(segmentCapacity);
    this.segmentBytes = new Uint32Array(segmentCapacity);
    this.mapping = new ScatterListMapping(this.addresses, this.iovas);
  }

  /**
   * Makes a list of these elements. Its capacity is their number; its segment capacity is that number or `segmentCapacity`, whichever is
   * greater.
   * @throws InvalidArgumentError as `add`, and for an empty iterable
   */
  static from(elements: Iterable<ScatterElement>, segmentCapacity = 0): ScatterList {
    const all = Array.from(elements);
    const list = new ScatterList(all.length, Math.max(all.length, segmentCapacity));
    for (const { address, bytes } of all) {
      if (typeof address === "number") list.addNumber(address, bytes);
      else list.add(address, bytes);
    }
    return list;
  }

  /** Number of elements: 0 .. capacity. Setting it throws InvalidArgumentError for more than `capacity`, and while the list is mapped. */
  get length(): number {
    return this.#length;
  }
  /** Throws InvalidArgumentError for more than `capacity`, and while the list is mapped. */
  set length(elements: number) {
    checkInteger("scatterlist length in elements", elements, 0, this.capacity);
    this.#checkUnmapped();
    this.#length = elements;
  }

  /** Number of output segments; 0 if the list is not mapped. At most `length` unless elements were split. */
  get segments(): number {
    return this.mapping.segments;
  }

  /**
   * Appends an element of `bytes` (0 .. 2^32 − 1) bytes at physical address `address`.
   * @throws InvalidArgumentError when the list is full or mapped, or the element ends beyond 2^64
   */
  add(address: bigint, bytes: number): void {
    if (typeof address !== "bigint" || address < 0n || address > LAST_ADDRESS) {
      throw new InvalidArgumentError("element address", address, "a bigint from 0n to 2n ** 64n - 1n");
    }
    const at = this.#checkRoom(bytes);
    if (address + BigInt(bytes) > LAST_ADDRESS + 1n) {
      throw new InvalidArgumentError("element end", address + BigInt(bytes), "at most 2^64");
    }
    this.addresses[at] = address;
    this.bytes[at] = bytes;
    this.#length = at + 1;
  }

  /** As `add`, with a plain number: `address` is 0 .. 2^53 − 1. */
  addNumber(address: number, bytes: number): void {
    if (!Number.isSafeInteger(address) || address < 0) {
      throw new InvalidArgumentError("element address", address, "an integer from 0 to 2^53 - 1");
    }
    const at = this.#checkRoom(bytes);
    const words = this.mapping.addressWords;
    words[2 * at + LOW_WORD] = address;
    words[2 * at + HIGH_WORD] = address / 2 ** 32;
    this.bytes[at] = bytes;
    this.#length = at + 1;
  }

  /** Empties the list for the next transfer. Same as `length = 0`. */
  clear(): void {
    this.length = 0;
  }

  #checkRoom(bytes: number): number {
    const at = this.#length;
    this.#checkUnmapped();
    if (!(bytes >= 0 && bytes <= MAX_BYTES && Number.isInteger(bytes))) {
      throw new InvalidArgumentError("element length in bytes", bytes, `an integer from 0 to ${MAX_BYTES}`);
    }
    if (at === this.capacity) {
      throw new InvalidArgumentError("scatterlist length", at + 1, `at most ${at} elements, its capacity`);
    }
    return at;
  }

  #checkUnmapped(): void {
    if (this.mapping.device === undefined) return;
    throw new InvalidArgumentError(
      "scatterlist",
      inWords("mapped"),
      "one that is not mapped: call unmapSg before changing it",
    );
  }
}

/** The state of a mapping that `mapSg` writes and `unmapSg` reads: the areas of the table, and a digest of the elements. */
export class ScatterListMapping {
  /** The same memory as `addresses` and `iovas`, as 32-bit words: the hot loop makes no bigint. */
  readonly addressWords: Uint32Array;
  readonly iovaWords: Uint32Array;
  /** The areas to unmap: first entry and length of each, `[0 .. areas)`. One per element at most. */
  readonly firsts: Int32Array;
  readonly counts: Int32Array;
  /** The mapped addresses: the array `addressWords`, or a copy in which bounce buffers replace some elements. */
  mappedWords: Uint32Array;
  /** The bounce buffers of this mapping. */
  bounced: readonly BounceBuffer[] = NO_BUFFERS;
  areas = 0;
  segments = 0;
  /** A digest of the input columns at map, which reveals a changed element at unmap. */
  digest = 0;
  /** The object that mapped the list; undefined if it is not mapped. */
  device: object | undefined = undefined;

  constructor(addresses: BigUint64Array, iovas: BigUint64Array) {
    this.addressWords = new Uint32Array(addresses.buffer);
    this.mappedWords = this.addressWords;
    this.iovaWords = new Uint32Array(iovas.buffer);
    this.firsts = new Int32Array(addresses.length);
    this.counts = new Int32Array(addresses.length);
  }
}
