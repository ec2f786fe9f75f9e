/**
 * Checks the arguments of a free against the ledger. The four errors are out of range, not allocated, wrong length and wrong owner; each
 * message says what the ledger holds.
 */
import { checkNumbers, FreeError } from "../units/errors.ts";
import { failureOf, isFailure } from "../units/failure.ts";
import {
  beginsRange,
  isLengthIn,
  LIVE,
  lengthOf,
  NONE,
  nameOfState,
  ownerIn,
  PENDING,
  RESERVED,
  slotAt,
  slotOf,
  slotSeen,
  stateIn,
} from "./ledger.ts";
import type { View } from "./view.ts";

export class FreeCheck {
  readonly #view: View;
  readonly #entries: number;
  readonly #ownerOnly: boolean;

  constructor(view: View, entries: number, ownerOnly: boolean) {
    this.#view = view;
    this.#entries = entries;
    this.#ownerOnly = ownerOnly;
  }

  /**
   * The ledger's halfword of the live range [first, first + count). Throws FreeError; InvalidArgumentError for what is no number.
   * Takes no lock, because it changes nothing: the caller checks again, atomically, when it changes the range.
   */
  live(first: number, count: number): number {
    checkNumbers(first, count);
    const { ledger, thread } = this.#view;
    // The common case, in one look: a range of this thread whose slot says its whole length.
    const own = slotOf(LIVE, thread, count);
    if ((count | 0) === count && isLengthIn(own) && slotSeen(ledger, first) === own) return own;
    if (
      !(
        first >= 0 &&
        count >= 1 &&
        first + count <= this.#entries &&
        Number.isInteger(first) &&
        Number.isInteger(count)
      )
    ) {
      throw this.#outOfRange(first, `[${first}, ${first + count})`);
    }
    const slot = slotSeen(ledger, first);
    if (stateIn(slot) !== LIVE) throw this.#notLive(first, count, slot);
    if (lengthOf(ledger, first, slot) !== count) throw this.#wrongLength(first, count, slot);
    if (this.#ownerOnly && ownerIn(slot) !== this.#view.thread) throw this.#wrongOwner(first, count, slot);
    return slot;
  }

  /** The length of the live range that begins at `first`. Throws FreeError when none does. */
  lengthAt(first: number): number {
    checkNumbers(first, 1);
    if (!(Number.isInteger(first) && first >= 0 && first < this.#entries)) throw this.#outOfRange(first, `${first}`);
    const slot = slotSeen(this.#view.ledger, first);
    if (stateIn(slot) !== LIVE) throw this.#notLive(first, 1, slot);
    return lengthOf(this.#view.ledger, first, slot);
  }

  /** The ledger's halfword of the reserved range [first, first + count). Throws FreeError. */
  reserved(first: number, count: number): number {
    const { ledger } = this.#view;
    const slot = slotSeen(ledger, first);
    if (stateIn(slot) !== RESERVED) throw this.unexpected(first, count, slot, RESERVED);
    if (lengthOf(ledger, first, slot) !== count) throw this.#wrongLength(first, count, slot);
    return slot;
  }

  /**
   * The ledger's halfword of the range [first, first + count) of this thread in this state. Throws FreeError, also for another
   * length.
   */
  own(first: number, count: number, state: number): number {
    checkNumbers(first, count);
    const { ledger, thread } = this.#view;
    const slot = slotAt(ledger, first);
    if (slot === slotOf(state, thread, count) && lengthOf(ledger, first, slot) === count) return slot;
    if (stateIn(slot) === state && ownerIn(slot) === thread) throw this.#wrongLength(first, count, slot);
    throw this.unexpected(first, count, slot, state);
  }

  /** The error for a range that is not in the state that the caller expects. */
  unexpected(first: number, count: number, slot: number, state: number): FreeError {
    const found = `${nameOfState(stateIn(slot))}${stateIn(slot) === NONE ? "" : `, of thread ${ownerIn(slot)}`}`;
    const expected = `${nameOfState(state)}, of thread ${this.#view.thread}`;
    return new FreeError("not-allocated", `[${first}, ${first + count}) is ${found}; expected ${expected}`);
  }

  /** The error when another thread has freed the range between the check and the change. */
  lost(first: number, count: number): FreeError {
    return new FreeError(
      "not-allocated",
      `free of [${first}, ${first + count}): another thread freed it at the same time`,
    );
  }

  #outOfRange(first: number, range: string): FreeError {
    const found = isFailure(first) ? `${first}: the failure ${failureOf(first)}, no entry` : undefined;
    return new FreeError("out-of-range", `free of ${found ?? `${range}: the table is [0, ${this.#entries})`}`);
  }

  #notLive(first: number, count: number, slot: number): FreeError {
    const state = stateIn(slot);
    if (state === RESERVED || (state === PENDING && ownerIn(slot) !== this.#view.thread))
      return this.#wrongOwner(first, count, slot);
    const found = state === NONE ? "no range begins there" : `entry ${first} is ${nameOfState(state)}`;
    const again = beginsRange(slot) ? " (freed before?)" : "";
    return new FreeError("not-allocated", `free of [${first}, ${first + count}): ${found}${again}`);
  }

  #wrongLength(first: number, count: number, slot: number): FreeError {
    const length = lengthOf(this.#view.ledger, first, slot);
    return new FreeError("wrong-length", `free of ${count} entries at ${first}: ${length} were allocated there`);
  }

  #wrongOwner(first: number, count: number, slot: number): FreeError {
    const owner = `thread ${ownerIn(slot)}'s, ${nameOfState(stateIn(slot))}`;
    return new FreeError(
      "wrong-owner",
      `thread ${this.#view.thread} frees [${first}, ${first + count}), which is ${owner}`,
    );
  }
}
