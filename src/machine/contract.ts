/**
 * What a platform's code is written against: physical memory, registers, and the faults a machine reports. A machine is
 * software (machines/software), a QEMU, or Linux VFIO; the platform can't tell. All calls are synchronous.
 *
 * Addresses here are plain numbers, below 2^53: physical memory and register files of real machines lie far below, and a
 * table writes an entry without making a bigint.
 */
import type { Crew } from "../shared/crew.ts";
import type { Access } from "../units/numbers.ts";

/**
 * Physical memory. Every thread has a view of its own; the bytes are shared.
 * An access outside of memory throws InvalidArgumentError with the address and the size.
 */
export interface Memory {
  /** Size in bytes; addresses are 0 .. bytes − 1. */
  readonly bytes: number;
  /** Copies `into.length` bytes from physical address `at` on. */
  read(at: number, into: Uint8Array): void;
  /** Copies `from` to physical address `at` on. */
  write(at: number, from: Uint8Array): void;
  /** The 32-bit little-endian word at `at` (a multiple of 4), unsigned; never torn; ordered before later accesses. */
  load32(at: number): number;
  /** Stores a 32-bit little-endian word at `at` (a multiple of 4); never torn; ordered after earlier stores. */
  store32(at: number, value: number): void;
  /**
   * Stores `count` (even) 32-bit little-endian words `from[0 .. count)` from `at` on (a multiple of 4), each whole, in pairs:
   * of each pair the word `last` (0 or 1) is stored after the other, so that an entry becomes valid last, or invalid first.
   * Does not order other threads: `fence` does. The way table entries are written, many at a time.
   */
  storeWords(at: number, from: Uint32Array, count: number, last: 0 | 1): void;
  /**
   * Stores the 32-bit little-endian word `wanted` at `at` (a multiple of 4) if it holds `expected`; returns what it held, all
   * unsigned. One atomic step among all threads of the machine. For what happens once: a new level of a table finds its place.
   */
  compareExchange32(at: number, expected: number, wanted: number): number;
  /** Orders: what this thread stored before is visible to other threads and to devices that look later. */
  fence(): void;
}

/** Memory-mapped registers. A platform object is the only writer of its registers from this thread. */
export interface Registers {
  read32(at: number): number;
  write32(at: number, value: number): void;
  read64(at: number): bigint;
  write64(at: number, value: bigint): void;
  /**
   * `write64` for hot paths, which make no bigint: bits 32 .. 63 and bits 0 .. 31 as 32-bit integers of either sign. One access of 64
   * bits, whatever comes after it sees both halves.
   */
  writeHalves64(at: number, high: number, low: number): void;
  /** Bits 32 .. 63 of what `read64` reads, unsigned. One access of 64 bits, and no bigint: for status registers. */
  readHigh64(at: number): number;
  /** The same of bits 0 .. 31. */
  readLow64(at: number): number;
}

/** A DMA that the IOMMU refused. */
export interface Fault {
  /** The device's name on its machine. */
  readonly device: string;
  /** Bus address at which the refused access began, in bytes. */
  readonly iova: bigint;
  readonly access: Access;
  /** Why: "not-mapped", "read-refused", "write-refused", "outside-window", … as the machine says it. */
  readonly reason: string;
}

/** A call to the hypervisor, made by this thread. Its code is a small signed number. */
export type Hypercall = (number: number, args: BigUint64Array) => number;

/** A machine: physical memory, the IOMMU's registers, and what went wrong. */
export interface Machine {
  /** The threads of the machine, whose numbers its tables use too. Left out: each table numbers its threads for itself. */
  readonly crew?: Crew;
  readonly memory: Memory;
  readonly registers: Registers;
  /**
   * Calls to the hypervisor, where there is one: number and arguments in, return code out. Results beyond the code are written
   * over the arguments from `args[0]` on.
   */
  readonly hypercall?: Hypercall;
  /** Takes the recorded faults, oldest first; they are gone afterwards. */
  faults(): readonly Fault[];
}

/** A device that can be told to do DMA: what tests and the replay use to check translations by what really moves. */
export interface DmaMaster {
  readonly name: string;
  /** The device reads memory at `iova`. False when the IOMMU refused any part; then `into` is unspecified. */
  dmaRead(iova: bigint, into: Uint8Array): boolean;
  /** The device writes memory at `iova`. False when the IOMMU refused any part; parts before it have landed. */
  dmaWrite(iova: bigint, from: Uint8Array): boolean;
}

/** A machine with devices that can be told to do DMA. One thread's view; other threads attach to its handle. */
export interface DmaMachine extends Machine {
  /** Structured-cloneable. */
  readonly handle: object;
  /** The device with this name or number. Throws InvalidArgumentError when there is none. */
  device(which: string | number): DmaMaster;
  /** Gives this thread's view back. The view refuses all use from then on. */
  close(): void;
}
