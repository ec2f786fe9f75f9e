/**
 * The interface between platforms and machines: physical memory, registers, and the faults that a machine reports. A machine may be
 * software (machines/software), a QEMU, or Linux VFIO. All calls are synchronous.
 *
 * Addresses are plain numbers below 2^53: physical memory and registers of real machines lie far below, and writing an entry needs no
 * bigint.
 */
import type { Crew } from "../crew/crew.ts";
import type { Access } from "../units/numbers.ts";

/**
 * Physical memory. Every thread has a view of its own; the bytes are shared.
 * An access outside of memory throws InvalidArgumentError with the address and the size.
 */
export interface Memory {
  /** One past the last address, in bytes: addresses are 0 .. bytes − 1. There may be holes between regions of memory: see `has`. */
  readonly bytes: number;
  /** True if all `bytes` bytes (at least 1) from `address` on are memory. Absent: memory has no holes. */
  has?(address: number, bytes: number): boolean;
  /** Copies `into.length` bytes from physical address `at` on. */
  read(at: number, into: Uint8Array): void;
  /** Copies `from` to physical address `at` on. */
  write(at: number, from: Uint8Array): void;
  /** Reads the 32-bit little-endian word at `at` (a multiple of 4), unsigned; never torn; ordered before later accesses. */
  load32(at: number): number;
  /** Stores a 32-bit little-endian word at `at` (a multiple of 4); never torn; ordered after earlier stores. */
  store32(at: number, value: number): void;
  /**
   * Stores `count` (even) 32-bit little-endian words `from[0 .. count)` from `at` on (a multiple of 4), each whole, in pairs:
   * of each pair the word `last` (0 or 1) is stored after the other, so that an entry becomes valid last, or invalid first.
   * Does not order the stores for other threads: `fence` does. Writes many table entries at a time.
   */
  storeWords(at: number, from: Uint32Array, count: number, last: 0 | 1): void;
  /**
   * Stores the 32-bit little-endian word `wanted` at `at` (a multiple of 4) if it holds `expected`; returns what it held, all
   * unsigned. Atomic among all threads of the machine. Used to link a new level of a table.
   */
  compareExchange32(at: number, expected: number, wanted: number): number;
  /** Makes earlier stores of this thread visible to later loads of other threads and devices. */
  fence(): void;
}

/** Memory-mapped registers. A platform object is the only writer of its registers from this thread. */
export interface Registers {
  /** Reads the 32-bit register at byte offset `at`, unsigned. */
  read32(at: number): number;
  /** Writes the 32-bit register at byte offset `at`. */
  write32(at: number, value: number): void;
  /** Reads the 64-bit register at byte offset `at`, in one access. */
  read64(at: number): bigint;
  /** Writes the 64-bit register at byte offset `at`, in one access. */
  write64(at: number, value: bigint): void;
  /**
   * As `write64`, without a bigint: `high` is bits 32 .. 63 and `low` bits 0 .. 31, as 32-bit integers of either sign. One access of 64 bits:
   * both halves become visible together.
   */
  writeHalves64(at: number, high: number, low: number): void;
  /** Reads bits 32 .. 63 of the register at byte offset `at`, unsigned. One access of 64 bits, without a bigint, for status registers. */
  readHigh64(at: number): number;
  /** Reads bits 0 .. 31 of the register at byte offset `at`, as `readHigh64`. */
  readLow64(at: number): number;
}

/** A DMA that the IOMMU refused. */
export interface Fault {
  /** The device's name on its machine. */
  readonly device: string;
  /** Bus address at which the refused access began, in bytes. */
  readonly iova: bigint;
  /** The refused access. */
  readonly access: Access;
  /** Reason of the machine: "not-mapped", "read-refused", "write-refused", "outside-window", … */
  readonly reason: string;
}

/** A call to the hypervisor, made by this thread. Its code is a small signed number. */
export type Hypercall = (number: number, args: BigUint64Array) => number;

/** A machine: physical memory, the IOMMU's registers, and recorded faults. */
export interface Machine {
  /** The threads of the machine, whose numbers its tables use too. Absent: each table has its own crew. */
  readonly crew?: Crew;
  /** This thread's view of physical memory. */
  readonly memory: Memory;
  /** This thread's view of the IOMMU's registers. */
  readonly registers: Registers;
  /**
   * Calls to the hypervisor, where there is one: number and arguments in, return code out. Results beyond the code are written
   * over the arguments from `args[0]` on.
   */
  readonly hypercall?: Hypercall;
  /** Returns the recorded faults, oldest first, and removes them from the record. */
  faults(): readonly Fault[];
}

/** A device that does DMA on request, for tests and for the replay of traces. */
export interface DmaMaster {
  /** The device's name on its machine. */
  readonly name: string;
  /** Reads memory at `iova` as the device does. False: the IOMMU refused a part, and the content of `into` is unspecified. */
  dmaRead(iova: bigint, into: Uint8Array): boolean;
  /** Writes memory at `iova` as the device does. False: the IOMMU refused a part; earlier parts were written. */
  dmaWrite(iova: bigint, from: Uint8Array): boolean;
}

/** A machine with devices that do DMA on request. An object is the view of one thread; other threads attach to its handle. */
export interface DmaMachine extends Machine {
  /** Data that other threads attach to: structured-cloneable. */
  readonly handle: object;
  /**
   * Returns the device with this name or number.
   * @throws InvalidArgumentError for an unknown device
   */
  device(which: string | number): DmaMaster;
  /** Closes this thread's view, which refuses all use afterwards. */
  close(): void;
}
