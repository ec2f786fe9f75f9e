/**
 * The states that an exploration has reached, so that each is explored once. A state is identified by a 64-bit hash of the execution up to
 * it (state-hash.ts: executions that differ only in the order of accesses that do not meet are equal). It is kept with its number of
 * preemptions: with more of them left, more schedules can follow.
 *
 * An open-addressing table of plain numbers. Of 10 million states, two have the same hash with a probability of 3 in a million.
 */

/** Slots of the full table, 9 bytes each; half of them are used: 2^25 states. Further states are not recorded, and are explored again. */
const MOST_SLOTS = 2 ** 26;

export class Visited {
  #low: Int32Array = new Int32Array(2 ** 12);
  #high: Int32Array = new Int32Array(2 ** 12);
  /** Preemptions + 1; 0: an empty slot. */
  #preemptions: Uint8Array = new Uint8Array(2 ** 12);
  #count = 0;

  /** States remembered. */
  get count(): number {
    return this.#count;
  }

  /** True if the state was reached before with at most this number of preemptions, 0 .. 254. Otherwise it is recorded. */
  before(low: number, high: number, preemptions: number): boolean {
    const mask = this.#low.length - 1;
    let slot = low & mask;
    for (;;) {
      const known = this.#preemptions[slot] as number;
      if (known === 0) break;
      if (this.#low[slot] === low && this.#high[slot] === high) {
        if (known - 1 <= preemptions) return true;
        this.#preemptions[slot] = preemptions + 1;
        return false;
      }
      slot = (slot + 1) & mask;
    }
    if (this.#count * 2 >= this.#low.length) {
      if (this.#low.length >= MOST_SLOTS) return false;
      this.#grow();
      return this.before(low, high, preemptions);
    }
    this.#low[slot] = low;
    this.#high[slot] = high;
    this.#preemptions[slot] = preemptions + 1;
    this.#count++;
    return false;
  }

  #grow(): void {
    const low = this.#low;
    const high = this.#high;
    const preemptions = this.#preemptions;
    this.#low = new Int32Array(low.length * 2);
    this.#high = new Int32Array(low.length * 2);
    this.#preemptions = new Uint8Array(low.length * 2);
    const mask = this.#low.length - 1;
    for (let old = 0; old < low.length; old++) {
      if (preemptions[old] === 0) continue;
      let slot = (low[old] as number) & mask;
      while (this.#preemptions[slot] !== 0) slot = (slot + 1) & mask;
      this.#low[slot] = low[old] as number;
      this.#high[slot] = high[old] as number;
      this.#preemptions[slot] = preemptions[old] as number;
    }
  }
}
