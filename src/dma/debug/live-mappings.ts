/**
 * The state of the debug mode for one device: a record for each live mapping, the cache lines that the device may write, and the places of
 * the calls. checks.ts compares calls with this state.
 */
import { type Access, DEVICE_READS } from "../../units/numbers.ts";
import type { ScatterList } from "../scatter-list.ts";
import type { KnownMapping, MappingDescription } from "./misuse.ts";
import type { CheckedOptions } from "./options.ts";
import { LineRanges, NO_RANGE } from "./overlaps.ts";
import { Places, type PlaceText } from "./places.ts";
import { NONE, Records } from "./records.ts";

/** End of any machine's memory (machine/contract.ts). Overlaps above it are not detected. */
const END_OF_MEMORY = 2 ** 53;

/** Cache lines that a new mapping shares with live ones. */
export interface SharedLines {
  /** Number of the first shared line, and another mapping that has it. */
  readonly line: number;
  readonly other: number;
  /** The line with the most live mappings, and their number. */
  readonly deepestLine: number;
  readonly deepestOther: number;
  readonly overlaps: number;
}

export class LiveMappings {
  readonly records: Records;
  readonly places: Places;
  readonly cacheLineBytes: number;
  readonly #ranges: LineRanges;
  /** For each record, its first range of lines. Each range has a link to the next. */
  readonly #firstRange: Int32Array;

  constructor({ capacity, owner, stackFrames, cacheLineBytes }: CheckedOptions) {
    this.records = new Records(capacity);
    this.places = new Places(owner, stackFrames);
    this.cacheLineBytes = cacheLineBytes;
    this.#ranges = new LineRanges(capacity);
    this.#firstRange = new Int32Array(capacity);
  }

  /** Memory of the columns in bytes, without places and reports. */
  get memoryBytes(): number {
    return this.records.memoryBytes + this.#ranges.memoryBytes + this.#firstRange.byteLength;
  }

  /** Records a mapping. Returns its record, or NONE if all records are in use. */
  add(made: MappingDescription, place: PlaceText): number {
    const record = this.records.insert(made, this.places.idOf(place));
    if (record !== NONE) this.#firstRange[record] = NO_RANGE;
    return record;
  }

  remove(record: number, place: PlaceText): void {
    this.#ranges.removeAll(this.#firstRange[record]!);
    this.records.remove(record, this.places.idOf(place));
  }

  known(record: number): KnownMapping {
    return { mapping: this.records.describe(record), mapped: this.places.at(this.records.mappedAt(record)) };
  }

  /**
   * The lines of this memory that live mappings have; undefined if there are none. Called before `addMemory`, so that elements of one list
   * may share lines.
   */
  shared(memory: MappedMemory): SharedLines | undefined {
    let shared: SharedLines | undefined;
    memory.forEachPiece((address, bytes) => {
      const first = this.#lineOf(address);
      const end = this.#lineOf(address + bytes - 1) + 1;
      const range = this.#ranges.overlapping(first, end);
      if (range === NO_RANGE) return;
      const { line, ranges } = this.#ranges.deepest(first, end);
      const found = { line: Math.max(first, this.#ranges.firstOf(range)), other: this.#ranges.ownerOf(range) };
      if (shared !== undefined && ranges <= shared.overlaps) return;
      const deepestOther = this.#ranges.ownerOf(this.#ranges.overlapping(line, line + 1));
      shared = { ...found, ...shared, deepestLine: line, deepestOther, overlaps: ranges };
    });
    return shared;
  }

  /** Records the lines of a mapping's memory. False: there is no room. */
  addMemory(record: number, memory: MappedMemory): boolean {
    let fits = true;
    memory.forEachPiece((address, bytes) => {
      const next = this.#firstRange[record]!;
      const end = this.#lineOf(address + bytes - 1) + 1;
      const range = fits ? this.#ranges.insert(this.#lineOf(address), end, record, next) : NO_RANGE;
      if (range === NO_RANGE) fits = false;
      else this.#firstRange[record] = range;
    });
    return fits;
  }

  #lineOf(address: number): number {
    return Math.floor(address / this.cacheLineBytes);
  }
}

/** The memory of a mapping that the device may write, in pieces. */
export interface MappedMemory {
  forEachPiece(visit: (address: number, bytes: number) => void): void;
}

/** One piece of memory; undefined where overlaps do not matter. */
export function writtenPiece(address: bigint, bytes: number, access: Access): MappedMemory | undefined {
  if (access === DEVICE_READS || address + BigInt(bytes) > BigInt(END_OF_MEMORY)) return undefined;
  return { forEachPiece: (visit) => visit(Number(address), bytes) };
}

/** The elements of a list; undefined where overlaps do not matter. */
export function writtenElements(list: ScatterList, access: Access): MappedMemory | undefined {
  if (access === DEVICE_READS) return undefined;
  return {
    forEachPiece(visit) {
      for (let i = 0; i < list.length; i++) {
        const bytes = list.bytes[i]!;
        const address = Number(list.addresses[i]!);
        if (bytes !== 0 && address + bytes <= END_OF_MEMORY) visit(address, bytes);
      }
    },
  };
}
