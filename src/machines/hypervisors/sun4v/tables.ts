/**
 * A translation table of the hypervisor: entries in memory that the guest can't access, and the windows of the translation unit that walk
 * them. An entry is the page's address with attributes (layout: formats/sun4v-tte.ts).
 *
 * Several threads may change different ranges of one table concurrently. An entry's valid word is stored last when it is written, first
 * when it is emptied. A map call returns after a fence, a demap call after the invalidation of its entries.
 */
import { LIST_ENTRIES } from "../../../platforms/sun4v/services.ts";
import type { SoftwareMachine } from "../../software/machine.ts";
import { PASSED } from "../../software/threads.ts";

const ENTRY_BYTES = 8;
const PAGE_MASK = 0x1fff;
const READ_OR_WRITE = 3;
/** Index of the word with READ and WRITE: bytes 4 .. 7. */
const VALID_WORD = 1;
/** Entries emptied at a time. */
const EMPTY = new Uint32Array(2 * LIST_ENTRIES);

/** A window of the translation unit that walks the table: its partition and number. */
export type WalkedBy = readonly [partition: number, window: number];

/** One thread's view of one table. */
export class HypervisorTable {
  readonly address: number;
  readonly entries: number;
  readonly #machine: SoftwareMachine;
  readonly #walkedBy: readonly WalkedBy[];
  readonly #words: Uint32Array = new Uint32Array(2 * LIST_ENTRIES);
  readonly #bytes: Uint8Array = new Uint8Array(LIST_ENTRIES * ENTRY_BYTES);
  readonly #list: DataView = new DataView(this.#bytes.buffer);

  constructor(machine: SoftwareMachine, address: number, entries: number, walkedBy: readonly WalkedBy[]) {
    this.#machine = machine;
    this.address = address;
    this.entries = entries;
    this.#walkedBy = walkedBy;
  }

  /**
   * Writes entries [index, index + count) from a list of at most LIST_ENTRIES addresses, up to the first that `refuses` rejects. Returns
   * the number of entries written or, if the first is rejected, its status as a negative number.
   */
  map(
    index: number,
    count: number,
    attributes: number,
    list: number,
    refuses: (high: number, low: number) => number,
  ): number {
    const { memory } = this.#machine;
    memory.read(list, this.#bytes.subarray(0, count * ENTRY_BYTES));
    let taken = 0;
    for (; taken < count; taken++) {
      const at = taken * ENTRY_BYTES;
      const status = refuses(this.#list.getUint32(at), this.#list.getUint32(at + 4));
      if (status !== 0 && taken === 0) return -status;
      if (status !== 0) break;
      this.#bytes[at + 7] = attributes;
      this.#words[2 * taken] = this.#list.getUint32(at, true);
      this.#words[2 * taken + 1] = this.#list.getUint32(at + 4, true);
    }
    const replaces = this.#hasEntries(index, taken);
    memory.storeWords(this.address + index * ENTRY_BYTES, this.#words, 2 * taken, VALID_WORD);
    memory.fence();
    if (replaces) this.#invalidate(index, taken);
    return taken;
  }

  /**
   * Empties [index, index + count) and invalidates it. Returns PASSED, or another code if a DMA may still use the entries; the call can be
   * repeated then.
   */
  unmap(index: number, count: number): number {
    for (let done = 0; done < count; done += LIST_ENTRIES) {
      const part = Math.min(LIST_ENTRIES, count - done);
      const at = this.address + (index + done) * ENTRY_BYTES;
      this.#machine.memory.storeWords(at, EMPTY, 2 * part, 0);
    }
    return this.#invalidate(index, count);
  }

  /** The entry's halves as 32-bit numbers, high half first; undefined if it is empty. */
  get(index: number): readonly [high: number, low: number] | undefined {
    this.#machine.memory.read(this.address + index * ENTRY_BYTES, this.#bytes.subarray(0, ENTRY_BYTES));
    const low = this.#list.getUint32(4);
    return (low & READ_OR_WRITE) === 0 ? undefined : [this.#list.getUint32(0), low];
  }

  /** Empties the whole table, before it is walked. */
  clear(): void {
    this.#machine.memory.clear(this.address, this.entries * ENTRY_BYTES);
    this.#machine.memory.fence();
  }

  #hasEntries(index: number, count: number): boolean {
    const { memory } = this.#machine;
    for (let entry = index; entry < index + count; entry++) {
      if (memory.load32(this.address + entry * ENTRY_BYTES + 4 * VALID_WORD) !== 0) return true;
    }
    return false;
  }

  #invalidate(index: number, count: number): number {
    let answer = PASSED;
    for (const [partition, window] of this.#walkedBy) {
      const passed = this.#machine.translation.invalidate(partition, window, index, index + count);
      if (passed !== PASSED) answer = passed;
    }
    return answer;
  }
}

/** True if an address is not a multiple of 8 KiB. `low`: its low half. */
export function isMisaligned(low: number): boolean {
  return (low & PAGE_MASK) !== 0;
}
