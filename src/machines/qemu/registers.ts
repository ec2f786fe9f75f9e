/**
 * A block of a board's registers, over qtest. Values are as the CPU would load and store them: qtest converts the byte order.
 */
import { WideRegisters } from "../../machine/wide-registers.ts";
import { InvalidArgumentError } from "../../units/errors.ts";
import type { Qtest } from "./qtest.ts";

/** The location of a block of registers. */
export interface RegisterBlock {
  /** Physical address of its first byte. */
  readonly base: number;
  readonly bytes: number;
  /** Whether its registers may be accessed by halves. Else only read64 and write64 work. */
  readonly halves: boolean;
}

/** One thread's view. Accesses throw InvalidArgumentError outside of the block, and if they are not aligned. */
export class QemuRegisters extends WideRegisters {
  readonly #qtest: Qtest;
  readonly #block: RegisterBlock;

  constructor(qtest: Qtest, block: RegisterBlock) {
    super();
    this.#qtest = qtest;
    this.#block = block;
  }

  read32(at: number): number {
    return this.#qtest.read32(this.#address(at, 4));
  }
  write32(at: number, value: number): void {
    this.#qtest.write32(this.#address(at, 4), value);
  }
  read64(at: number): bigint {
    return this.#qtest.read64(this.#address(at, 8));
  }
  write64(at: number, value: bigint): void {
    this.#qtest.write64(this.#address(at, 8), value);
  }

  #address(at: number, width: 4 | 8): number {
    const { base, bytes, halves } = this.#block;
    if (width === 4 && !halves) {
      throw new InvalidArgumentError("width of a register access in bits", 32, "64: this board has no other registers");
    }
    if (Number.isInteger(at) && at >= 0 && at % width === 0 && at + width <= bytes) return base + at;
    throw new InvalidArgumentError(
      `offset of a ${width * 8}-bit register`,
      at,
      `a multiple of ${width} below ${bytes}`,
    );
  }
}
