/**
 * The argument block of one thread's hypercalls. Results replace the arguments. Values are written and read as 32-bit halves, because a
 * bigint for each would cost more than the rest of the guest's part of a call.
 */

import type { Hypercall, Machine } from "../machine/contract.ts";
import { InvalidArgumentError, inWords } from "../units/errors.ts";
import { HIGH_WORD, LOW_WORD } from "../units/words64.ts";

/** The most arguments of any call. */
const MOST_ARGUMENTS = 8;
const TWO_TO_32 = 2 ** 32;

export class CallArguments {
  /** The block that is passed to the hypercall. */
  readonly block: BigUint64Array = new BigUint64Array(MOST_ARGUMENTS);
  readonly #halves: Uint32Array = new Uint32Array(this.block.buffer);

  /** Sets an argument to an integer below 2^53. */
  set(argument: number, value: number): void {
    this.setHalves(argument, value < TWO_TO_32 ? 0 : value / TWO_TO_32, value);
  }

  /** Sets an argument by halves. Each is truncated to an integer modulo 2^32. */
  setHalves(argument: number, high: number, low: number): void {
    this.#halves[2 * argument + HIGH_WORD] = high;
    this.#halves[2 * argument + LOW_WORD] = low;
  }

  high(argument: number): number {
    return this.#halves[2 * argument + HIGH_WORD] as number;
  }

  low(argument: number): number {
    return this.#halves[2 * argument + LOW_WORD] as number;
  }
}

/** The machine's hypercall. Throws InvalidArgumentError if the machine has no hypervisor; `answers` names the expected one. */
export function hypercallOf({ hypercall }: Pick<Machine, "hypercall">, answers: string): Hypercall {
  if (hypercall !== undefined) return hypercall;
  throw new InvalidArgumentError("hypervisor of the machine", inWords("missing"), `one that answers ${answers}`);
}
