/** The linear IOMMU's record of which entries devices have written through: a bitmap in memory, one bit an entry. */
import type { Machine } from "../../machine/contract.ts";
import { checkInteger, InvalidArgumentError } from "../../units/errors.ts";
import { DIRTY_BASE, INVALIDATE_RESULT, RESULT_DONE, TABLE_ALIGNMENT } from "./registers.ts";

const WORD_BITS = 32;
const ALL_ONES = 0xffffffff;

/** One thread's view. One thread at a time starts, stops and takes. */
export class LinearDirtyLog {
  readonly #machine: Machine;
  readonly #entries: number;
  readonly #address: number;

  /**
   * `entries`: of the table. `address`: physical address of the bitmap, a multiple of 4096, of entries / 8 bytes, rounded up to whole words; the log
   * alone uses them. Throws InvalidArgumentError.
   */
  constructor(machine: Machine, entries: number, address: number) {
    checkInteger("entries of a dirty log", entries, 1, 2 ** 31 - 1);
    const last = machine.memory.bytes - Math.ceil(entries / WORD_BITS) * 4;
    if (!(Number.isInteger(address) && address > 0 && address % TABLE_ALIGNMENT === 0 && address <= last)) {
      throw new InvalidArgumentError(
        "address of a dirty log",
        address,
        `a multiple of ${TABLE_ALIGNMENT} up to ${last}`,
      );
    }
    this.#machine = machine;
    this.#entries = entries;
    this.#address = address;
  }

  /** Begins to record, with an empty record. True: all DMAs that begin afterwards are recorded. False: a DMA in flight does not end in time. */
  start(): boolean {
    this.take(0, this.#entries, () => undefined);
    return this.#program(this.#address);
  }

  /** Ends the record. False: as `start`. */
  stop(): boolean {
    return this.#program(0);
  }

  /**
   * Reads and clears the marks of `count` entries from `first` on; calls `visit` for each entry that a device has written through, in ascending
   * order. Throws InvalidArgumentError for entries outside of the table.
   */
  take(first: number, count: number, visit: (entry: number) => void): void {
    const end = first + count;
    checkInteger("first entry", first, 0, this.#entries - 1);
    checkInteger("entries", count, 1, this.#entries - first);
    for (let entry = first; entry < end; entry = (entry | (WORD_BITS - 1)) + 1) {
      const wordEnd = Math.min(end, (entry | (WORD_BITS - 1)) + 1);
      const wanted = (ALL_ONES << (entry % WORD_BITS)) & (ALL_ONES >>> (WORD_BITS - 1 - ((wordEnd - 1) % WORD_BITS)));
      let marks = this.#takeWord(entry >>> 5, wanted);
      for (; marks !== 0; marks &= marks - 1) visit((entry & -WORD_BITS) + 31 - Math.clz32(marks & -marks));
    }
  }

  /** Clears the wanted bits of a word; returns those that were set. */
  #takeWord(word: number, wanted: number): number {
    const { memory } = this.#machine;
    const at = this.#address + word * 4;
    for (let found = memory.load32(at); ; ) {
      if ((found & wanted) === 0) return 0;
      const before = memory.compareExchange32(at, found, (found & ~wanted) >>> 0);
      if (before === found) return found & wanted;
      found = before;
    }
  }

  #program(address: number): boolean {
    const { registers } = this.#machine;
    registers.write64(DIRTY_BASE, BigInt(address));
    return registers.read32(INVALIDATE_RESULT) === RESULT_DONE;
  }
}
