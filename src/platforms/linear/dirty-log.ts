/** The linear IOMMU's record of which entries devices have written through: a bitmap in memory, one bit an entry. */
import type { Machine } from "../../machine/contract.ts";
import { checkInteger, InvalidArgumentError } from "../../units/errors.ts";
import { DIRTY_BASE, INVALIDATE_RESULT, RESULT_DONE, TABLE_ALIGNMENT } from "./registers.ts";

const WORD_BITS = 32;
const ALL_ONES = 0xffffffff;

/**
 * Dirty log of the linear IOMMU: a bitmap in memory with the entries through which devices have written. One object is one thread's view.
 * One thread at a time starts, stops and takes.
 *
 * @example
 * ```ts
 * import { DEVICE_WRITES, DmaDevice, orThrow } from "iova";
 * import { LinearDirtyLog, LinearPlatform, SoftwareMachine } from "iova/platform";
 *
 * const machine = SoftwareMachine.create({ memoryBytes: 2 ** 20 });
 * const window = { base: 0n, pageShift: 12, entries: 64 };
 * const { generic } = LinearPlatform.create(machine, { format: "powernv-tce", window });
 * const { iova } = orThrow(new DmaDevice(generic).map(0x4000n, 4 * 4096, DEVICE_WRITES));
 *
 * const log = new LinearDirtyLog(machine, 64, 0x8_0000);
 * log.start();
 * machine.device(0).dmaWrite(iova + 2n * 4096n, Uint8Array.of(1));
 * log.take(0, 64, (entry) => console.log("page", entry - Number(iova >> 12n), "of the buffer is dirty"));
 * log.stop();
 * machine.close();
 * ```
 * ```text output
 * page 2 of the buffer is dirty
 * ```
 */
export class LinearDirtyLog {
  readonly #machine: Machine;
  readonly #entries: number;
  readonly #address: number;

  /**
   * `entries`: number of entries of the table. `address`: physical address of the bitmap, a multiple of 4096 above 0. The bitmap has
   * `entries` / 8 bytes, rounded up to whole words of 4 bytes, which nothing else may use. Throws InvalidArgumentError for other values.
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

  /**
   * Empties the log and begins to record. Returns true if all DMAs that begin afterwards are recorded, false if a DMA in flight did not end
   * within the machine's time limit.
   */
  start(): boolean {
    this.take(0, this.#entries, () => undefined);
    return this.#program(this.#address);
  }

  /** Ends the recording. Returns false as `start`. */
  stop(): boolean {
    return this.#program(0);
  }

  /**
   * Reads and clears the marks of `count` entries from `first` on. Calls `visit` for each entry through which a device has written since the
   * last call, in ascending order. Throws InvalidArgumentError for entries outside of the table.
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
