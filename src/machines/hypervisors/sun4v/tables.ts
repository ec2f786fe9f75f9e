/**
 * A translation table that the hypervisor keeps: entries in the machine's memory, which its guest never touches, and the windows of
 * the translation unit that walk them. An entry is the page's address with its attributes (formats/sun4v-tte.ts has the layout).
 *
 * Several threads change one table at a time, each its own range. An entry's valid word is stored last when it is made, first when
 * it is taken away; the answer to a call comes after a fence, the answer to `demap` after the IOTLB has forgotten the entries.
 */
import { LIST_ENTRIES } from "../../../platforms/sun4v/services.ts";
import type { SoftwareMachine } from "../../software/machine.ts";
import { PASSED } from "../../software/threads.ts";

const ENTRY_BYTES = 8;
const PAGE_MASK = 0x1fff;
const READ_OR_WRITE = 3;
/** Of bytes 4 .. 7, in memory's order: where READ and WRITE are. */
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
   * Makes the entries [index, index + count) of the pages in a list of at most LIST_ENTRIES addresses, up to the first that `refuses`
   * objects to. The number made, or when that is the first, its status as a negative number.
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

  /** Empties [index, index + count). PASSED, or why a DMA may still use them: then the call can be repeated. */
  unmap(index: number, count: number): number {
    for (let done = 0; done < count; done += LIST_ENTRIES) {
      const part = Math.min(LIST_ENTRIES, count - done);
      const at = this.address + (index + done) * ENTRY_BYTES;
      this.#machine.memory.storeWords(at, EMPTY, 2 * part, 0);
    }
    return this.#invalidate(index, count);
  }

  /** The entry's halves as numbers of 32 bits, high first; undefined when it is empty. */
  get(index: number): readonly [high: number, low: number] | undefined {
    this.#machine.memory.read(this.address + index * ENTRY_BYTES, this.#bytes.subarray(0, ENTRY_BYTES));
    const low = this.#list.getUint32(4);
    return (low & READ_OR_WRITE) === 0 ? undefined : [this.#list.getUint32(0), low];
  }

  /** Empties all of it, before it is walked. */
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

/** Is this no address of a page of 8 KiB below 2^56? `high` and `low` are its halves. */
export function isMisaligned(low: number): boolean {
  return (low & PAGE_MASK) !== 0;
}
