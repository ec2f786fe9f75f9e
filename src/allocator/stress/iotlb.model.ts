/**
 * The least that an IOTLB does, for tests of lazy flush: an entry that has been cleared may be used by a device until a flush
 * that began after the clearing has completed.
 *
 * A clock that every event advances: clearing stamps the entry; a flush notes the time of its beginning, and only at its end
 * raises `flushed` to that. An entry may be handed out again when its stamp is below `flushed`.
 */
import {
  add,
  compareExchange,
  createShared,
  load,
  type SharedBuffer,
  type SharedWords,
  store,
  wordsOf,
} from "../../shared/memory.ts";
import type { Failure } from "../../units/failure.ts";
import type { Invalidator } from "../flush.ts";
import type { Random } from "./seed.model.ts";

const CLOCK = 0;
const FLUSHED = 1;
const STAMPS = 2;

/** One thread's view. */
export class IotlbModel implements Invalidator {
  readonly #words: SharedWords;
  readonly #random: Random;
  readonly #failOnceIn: number;
  flushes = 0;

  /** A flush fails once in `failOnceIn` times; 0: never. */
  constructor(buffer: SharedBuffer, random: Random, failOnceIn: number) {
    this.#words = wordsOf(buffer);
    this.#random = random;
    this.#failOnceIn = failOnceIn;
  }

  static create(entries: number): SharedBuffer {
    return createShared((STAMPS + entries) * 4);
  }

  /** The owner has cleared these entries; a device may still use what they held. */
  cleared(first: number, count: number): void {
    const now = this.#tick();
    for (let entry = first; entry < first + count; entry++) store(this.#words, STAMPS + entry, now);
  }

  /** Throws if a device may still use an entry of this range, which has just been handed out. */
  assertForgotten(first: number, count: number): void {
    for (let entry = first; entry < first + count; entry++) {
      const stamp = load(this.#words, STAMPS + entry);
      if (stamp < load(this.#words, FLUSHED) || stamp === 0) continue;
      throw new Error(
        `[${first}, ${first + count}) was handed out while a device may use entry ${entry}: it was cleared at ${stamp}, ` +
          `and the latest flush that has completed began at ${load(this.#words, FLUSHED)}`,
      );
    }
  }

  invalidateAll(): Failure | undefined {
    const began = this.#tick();
    this.flushes++;
    // Some flushes take their time, so that others begin and end meanwhile.
    for (let spins = this.#random(64) ** 2; spins > 0; spins--) load(this.#words, CLOCK);
    if (this.#failOnceIn !== 0 && this.#random(this.#failOnceIn) === 0) return "platform-busy";
    for (;;) {
      const flushed = load(this.#words, FLUSHED);
      if (flushed >= began || compareExchange(this.#words, FLUSHED, flushed, began) === flushed) return undefined;
    }
  }

  #tick(): number {
    return add(this.#words, CLOCK, 1) + 1;
  }
}
