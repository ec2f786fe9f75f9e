/**
 * The live mappings of one device: one record each, in columns of a fixed size. An open hash table with linear probing finds records by bus
 * address. Several mappings may have the same address, as in a direct window.
 *
 * Freed records are reused in the order of their frees, so that the last mapping at an address, and where it was freed, stay known as long
 * as possible.
 */
import type { Access } from "../../units/numbers.ts";
import type { MappingDescription, MappingKind } from "./misuse.ts";

/** No record. */
export const NONE = -1;

const KINDS: readonly MappingKind[] = ["single", "scatterlist", "resource", "coherent"];
/** States; 0: never used. */
const LIVE = 1;
const FREED = 2;
/** Factor of the hash. It is odd, so that every bit of the address counts; low bits of addresses are often equal. */
const HASH_LOW = 0x9e3779b1;
const HASH_HIGH = 0x85ebca6b;
/** Number of properties that two equal descriptions share. */
const PROPERTIES = 5;

export class Records {
  readonly capacity: number;
  readonly #states: Uint8Array;
  readonly #kinds: Uint8Array;
  readonly #accesses: Uint8Array;
  /** 1: `failureOf` has seen the result. */
  readonly #checked: Uint8Array;
  readonly #elements: Uint32Array;
  readonly #bytes: Float64Array;
  readonly #iovas: BigUint64Array;
  readonly #addresses: BigUint64Array;
  /** 0: the physical address is unknown. */
  readonly #addressKnown: Uint8Array;
  readonly #mappedAt: Uint16Array;
  readonly #freedAt: Uint16Array;
  /** Times at which the record was made and freed, from a counter. */
  readonly #times: Float64Array;
  /** Hash table: record + 1, or 0. Never more than half full. */
  readonly #slots: Int32Array;
  readonly #iovaWords: Uint32Array;
  /** Ring of unused records, oldest free first. */
  readonly #unused: Int32Array;
  #nextUnused = 0;
  #live = 0;
  #time = 0;
  readonly #wanted = new BigUint64Array(1);
  readonly #wantedWords = new Uint32Array(this.#wanted.buffer);

  constructor(capacity: number) {
    this.capacity = capacity;
    this.#states = new Uint8Array(capacity);
    this.#kinds = new Uint8Array(capacity);
    this.#accesses = new Uint8Array(capacity);
    this.#checked = new Uint8Array(capacity);
    this.#elements = new Uint32Array(capacity);
    this.#bytes = new Float64Array(capacity);
    this.#iovas = new BigUint64Array(capacity);
    this.#addresses = new BigUint64Array(capacity);
    this.#addressKnown = new Uint8Array(capacity);
    this.#mappedAt = new Uint16Array(capacity);
    this.#freedAt = new Uint16Array(capacity);
    this.#times = new Float64Array(capacity);
    this.#slots = new Int32Array(2 ** Math.ceil(Math.log2(2 * capacity)));
    this.#iovaWords = new Uint32Array(this.#iovas.buffer);
    this.#unused = Int32Array.from({ length: capacity }, (_, record) => record);
  }

  /** Live records. */
  get live(): number {
    return this.#live;
  }

  /** Memory of the columns in bytes. */
  get memoryBytes(): number {
    const columns = [
      ...[this.#states, this.#kinds, this.#accesses, this.#checked, this.#elements, this.#bytes, this.#iovas],
      ...[this.#addresses, this.#addressKnown, this.#mappedAt, this.#freedAt, this.#times, this.#slots, this.#unused],
    ];
    return columns.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  /** Records a mapping that was made at place number `place`. Returns its record, or NONE if all records are in use. */
  insert(made: MappingDescription, place: number): number {
    if (this.#live === this.capacity) return NONE;
    const record = this.#unused[this.#nextUnused]!;
    this.#nextUnused = (this.#nextUnused + 1) % this.capacity;
    this.#live++;
    this.#states[record] = LIVE;
    this.#kinds[record] = KINDS.indexOf(made.kind);
    this.#accesses[record] = made.access ?? 0;
    this.#checked[record] = 0;
    this.#elements[record] = made.elements;
    this.#bytes[record] = made.bytes;
    this.#iovas[record] = made.iova;
    this.#addresses[record] = made.address ?? 0n;
    this.#addressKnown[record] = made.address === undefined ? 0 : 1;
    this.#mappedAt[record] = place;
    this.#times[record] = this.#time++;
    let slot = this.#homeOf(record);
    while (this.#slots[slot] !== 0) slot = this.#after(slot);
    this.#slots[slot] = record + 1;
    return record;
  }

  /** Frees a live record; `lastFreed` can still find it. `place`: number of the place of the free. */
  remove(record: number, place: number): void {
    let slot = this.#homeOf(record);
    while (this.#slots[slot] !== record + 1) slot = this.#after(slot);
    this.#closeGap(slot);
    this.#states[record] = FREED;
    this.#freedAt[record] = place;
    this.#times[record] = this.#time++;
    this.#unused[(this.#nextUnused + this.capacity - this.#live) % this.capacity] = record;
    this.#live--;
  }

  /**
   * The live record with this address that shares the most properties with `described`. Among equals, one that is checked, or with
   * `unchecked` one that is not. NONE if nothing is mapped at the address.
   */
  find(described: MappingDescription, unchecked = false): number {
    this.#wanted[0] = described.iova;
    const low = this.#wantedWords[0]!;
    const high = this.#wantedWords[1]!;
    let best = NONE;
    let bestScore = 0;
    for (let slot = this.#slotOf(low, high); this.#slots[slot] !== 0; slot = this.#after(slot)) {
      const record = this.#slots[slot]! - 1;
      if (this.#iovaWords[2 * record] !== low || this.#iovaWords[2 * record + 1] !== high) continue;
      const asWished = (this.#checked[record] === 0) === unchecked ? 1 : 0;
      const score = 2 * this.#agreement(record, described) + asWished + 1;
      if (score > bestScore) [best, bestScore] = [record, score];
      if (score === 2 * PROPERTIES + 2) break;
    }
    return best;
  }

  describe(record: number): MappingDescription {
    const access = this.#accesses[record]!;
    return {
      kind: KINDS[this.#kinds[record]!]!,
      iova: this.#iovas[record]!,
      bytes: this.#bytes[record]!,
      access: access === 0 ? undefined : (access as Access),
      elements: this.#elements[record]!,
      address: this.#addressKnown[record] === 0 ? undefined : this.#addresses[record]!,
    };
  }

  mappedAt(record: number): number {
    return this.#mappedAt[record]!;
  }

  freedAt(record: number): number {
    return this.#freedAt[record]!;
  }

  isChecked(record: number): boolean {
    return this.#checked[record] === 1;
  }

  setChecked(record: number): void {
    this.#checked[record] = 1;
  }

  /** The live record that contains this address, or NONE. Scans all records: for reports only. Ignores lists. */
  containing(iova: bigint): number {
    const scatterlist = KINDS.indexOf("scatterlist");
    for (let record = 0; record < this.capacity; record++) {
      if (this.#states[record] !== LIVE || this.#kinds[record] === scatterlist) continue;
      const first = this.#iovas[record]!;
      if (iova >= first && Number(iova - first) < this.#bytes[record]!) return record;
    }
    return NONE;
  }

  /**
   * The record of the last mapping that was freed at this bus address. An unmapped list has no bus address: for it, the record that began
   * at the same memory. NONE if there is no such record. Scans all records: for reports only.
   */
  lastFreed({ kind, iova, address, elements }: MappingDescription): number {
    const isList = kind === "scatterlist";
    let last = NONE;
    for (let record = 0; record < this.capacity; record++) {
      if (this.#states[record] !== FREED) continue;
      const same = isList
        ? this.#elements[record] === elements && this.#addresses[record] === address
        : this.#iovas[record] === iova;
      if (!same) continue;
      if (last === NONE || this.#times[record]! > this.#times[last]!) last = record;
    }
    return last;
  }

  /** The oldest live record, or NONE. Scans all records: for reports only. */
  oldest(): number {
    let oldest = NONE;
    for (let record = 0; record < this.capacity; record++) {
      if (this.#states[record] !== LIVE) continue;
      if (oldest === NONE || this.#times[record]! < this.#times[oldest]!) oldest = record;
    }
    return oldest;
  }

  /** Number of properties that a record shares with a description. Properties that the description lacks count as equal. */
  #agreement(record: number, described: MappingDescription): number {
    const { kind, bytes, access, elements, address } = described;
    return (
      (KINDS[this.#kinds[record]!] === kind ? 1 : 0) +
      (this.#bytes[record] === bytes ? 1 : 0) +
      (access === undefined || this.#accesses[record] === access ? 1 : 0) +
      (this.#elements[record] === elements ? 1 : 0) +
      (address === undefined || this.#addresses[record] === address ? 1 : 0)
    );
  }

  /** Empties a slot, and moves later records that would no longer be found. */
  #closeGap(emptied: number): void {
    let gap = emptied;
    for (let slot = this.#after(gap); this.#slots[slot] !== 0; slot = this.#after(slot)) {
      const home = this.#homeOf(this.#slots[slot]! - 1);
      // Distances round the table: a record may move back to the gap, but not before its home.
      const mask = this.#slots.length - 1;
      if (((slot - home) & mask) < ((slot - gap) & mask)) continue;
      this.#slots[gap] = this.#slots[slot]!;
      gap = slot;
    }
    this.#slots[gap] = 0;
  }

  #homeOf(record: number): number {
    return this.#slotOf(this.#iovaWords[2 * record]!, this.#iovaWords[2 * record + 1]!);
  }

  #slotOf(low: number, high: number): number {
    const hash = Math.imul(low, HASH_LOW) + Math.imul(high, HASH_HIGH);
    // The high bits are the mixed ones.
    return (Math.imul(hash ^ (hash >>> 15), HASH_LOW) >>> 7) & (this.#slots.length - 1);
  }

  #after(slot: number): number {
    return (slot + 1) & (this.#slots.length - 1);
  }
}
