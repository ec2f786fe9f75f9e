/**
 * Checks translations by a device's DMA: the CPU writes a pattern and the device reads it through the IOMMU; the device writes another
 * pattern and the CPU reads memory. A page is right if every direction that its mapping permits is right.
 *
 * The two end pages of a mapping are checked when it is made, and two pages in between later, with different patterns for each check.
 */

import type { DmaOperations } from "../dma/contract.ts";
import type { ScatterList } from "../dma/scatter-list.ts";
import type { DmaMaster, Memory } from "../machine/contract.ts";
import { hexadecimal } from "../units/counts.ts";
import { DEVICE_READS, DEVICE_WRITES } from "../units/numbers.ts";

const PATTERN_BYTES = 16;
/** Most pages of a mapping that are checked: two by each of the checks. */
export const PAGES_CHECKED = 4;

/** The sync operations of the driver. */
export type ListSync = Pick<DmaOperations, "syncSgForCpu" | "syncSgForDevice">;

export class TranslationChecker {
  /** Number of checked pages, and of wrong ones. */
  checked = 0;
  wrong = 0;
  /** Description of the first wrong page, or "". */
  firstWrong = "";
  readonly #device: DmaMaster;
  readonly #memory: Memory;
  readonly #pageBytes: number;
  /** One pattern buffer for each length: a page may end sooner than the pattern. */
  readonly #written: readonly Uint8Array[] = lengths();
  readonly #read: readonly Uint8Array[] = lengths();
  readonly #driver: ListSync | undefined;
  #pattern = 1;
  /** Picks the pages in between. */
  #turn = 0;

  /** `driver`: syncs the lists, which stay mapped, between CPU and device. Absent if there is no streaming cache or bounce buffer. */
  constructor(device: DmaMaster, memory: Memory, pageShift: number, driver?: ListSync) {
    this.#driver = driver;
    this.#device = device;
    this.#memory = memory;
    this.#pageBytes = 2 ** pageShift;
  }

  /** Checks a mapped list at its first and its last byte. `access`: what its mapping permits. */
  checkEnds(list: ScatterList, access: number): void {
    const last = this.#bytesOf(list) - 1;
    this.#checkAt(list, 0, access);
    if (list.length > 1 || last >= this.#pageBytes) this.#checkAt(list, last, access);
  }

  /** Checks a mapped list at two pages in between, other ones each time; a short one at its first byte. */
  checkBetween(list: ScatterList, access: number): void {
    const pages = Math.ceil(this.#bytesOf(list) / this.#pageBytes);
    if (pages < 3) {
      this.#checkAt(list, 0, access);
      return;
    }
    const between = pages - 2;
    const first = this.#turn++ % between;
    const second = (first + 1 + (this.#turn % Math.max(1, between - 1))) % between;
    this.#checkAt(list, (1 + first) * this.#pageBytes, access);
    if (second !== first) this.#checkAt(list, (1 + second) * this.#pageBytes, access);
  }

  #bytesOf(list: ScatterList): number {
    let total = 0;
    for (let i = 0; i < list.length; i++) total += list.bytes[i] as number;
    return total;
  }

  /** Checks the translation of the list's byte `offset` and a few after it. */
  #checkAt(list: ScatterList, offset: number, access: number): void {
    const [element, inElement] = locate(list.bytes, offset);
    const [segment, inSegment] = locate(list.segmentBytes, offset);
    const address = Number(list.addresses[element] as bigint) + inElement;
    const iova = (list.iovas[segment] as bigint) + BigInt(inSegment);
    const left = Math.min(
      (list.bytes[element] as number) - inElement,
      (list.segmentBytes[segment] as number) - inSegment,
    );
    const length = Math.min(PATTERN_BYTES, left, this.#pageBytes - (address % this.#pageBytes));
    this.checked++;
    const reads = (access & DEVICE_READS) === 0 || this.#deviceReads(list, iova, address, length);
    const writes = (access & DEVICE_WRITES) === 0 || this.#deviceWrites(list, iova, address, length);
    if (reads && writes) return;
    this.wrong++;
    if (this.firstWrong !== "") return;
    const what = reads ? "write to" : "read of";
    this.firstWrong = `a ${what} bus address ${hexadecimal(iova)} did not reach memory at ${hexadecimal(address)}`;
  }

  #deviceReads(list: ScatterList, iova: bigint, address: number, length: number): boolean {
    const written = this.#nextPattern(length);
    const read = this.#read[length] as Uint8Array;
    this.#memory.write(address, written);
    this.#driver?.syncSgForDevice(list);
    read.fill(0);
    return this.#device.dmaRead(iova, read) && same(read, written);
  }

  #deviceWrites(list: ScatterList, iova: bigint, address: number, length: number): boolean {
    const written = this.#nextPattern(length);
    const read = this.#read[length] as Uint8Array;
    if (!this.#device.dmaWrite(iova, written)) return false;
    this.#driver?.syncSgForCpu(list);
    this.#memory.read(address, read);
    return same(read, written);
  }

  #nextPattern(length: number): Uint8Array {
    const pattern = this.#written[length] as Uint8Array;
    this.#pattern = (Math.imul(this.#pattern, 1664525) + 1013904223) | 0;
    let value = this.#pattern;
    for (let i = 0; i < length; i++) {
      pattern[i] = value >>> 24;
      value = Math.imul(value, 69069) + 12345;
    }
    return pattern;
  }
}

/** The piece that contains byte `offset` of all pieces, and the offset in it. */
function locate(bytes: Uint32Array, offset: number): readonly [index: number, within: number] {
  let index = 0;
  let within = offset;
  while (within >= (bytes[index] as number)) within -= bytes[index++] as number;
  return [index, within];
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function lengths(): Uint8Array[] {
  return Array.from({ length: PATTERN_BYTES + 1 }, (_, length) => new Uint8Array(length));
}
