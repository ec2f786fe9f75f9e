/**
 * The states that an exploration has been in, so that none is explored twice. A state is known by a 64-bit hash of all that led to
 * it (execution.ts: two executions that differ only in the order of accesses that do not meet are one), and by the number of
 * preemptions that it took: with more of them left, more can follow.
 *
 * An open-addressing table of plain numbers. Of 10 million states, two have the same hash with a probability of 3 in a million.
 */

/** Most states that are remembered: 2^25 of 9 bytes. Then no new ones are, and what they would save is explored again. */
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

  /** Was the state there before with as few preemptions? If not, it is from now on. `preemptions`: 0 .. 254. */
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
