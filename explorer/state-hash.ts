/**
 * A 64-bit hash of an execution so far, independent of the order of accesses that do not meet. It is a sum, over
 * all accesses, of a mixture of: thread, position in that thread, place, and number of earlier writes to the place. Two
 * executions with the same sum have read the same values from the same writes. Memory, every thread's position and the order
 * between them (vector clocks) are therefore the same, and so are all continuations.
 */
export class StateHash {
  low = 0;
  high = 0;

  restart(): void {
    this.low = 0;
    this.high = 0;
  }

  /** Adds an access or another event. All four are integers. */
  add(thread: number, position: number, unit: number, version: number): void {
    const who = Math.imul(position, 32) + thread + 1;
    const where = Math.imul(unit + 0x51ed, 0x9e3779b1) ^ Math.imul(version + 0x2545, 0x85ebca6b);
    this.low = (this.low + mixed(where ^ Math.imul(who, 0xc2b2ae35))) | 0;
    const elsewhere = Math.imul(unit + 0x6c07, 0x27d4eb2f) + Math.imul(version + 0x7f4a, 0x165667b1);
    this.high = (this.high + mixed(elsewhere ^ Math.imul(who, 0x9e3779b1))) | 0;
  }
}

/** Every bit of the result depends on every bit of `word`: the finish of MurmurHash3 (public domain). */
export function mixed(word: number): number {
  let bits = word;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return bits ^ (bits >>> 16);
}
