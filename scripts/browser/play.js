/**
 * The work of each thread of the browser test: allocates and frees at random, and records the owner of every entry in a shared
 * shadow map, so that a double allocation shows. Loaded without a build step by the page and by its workers.
 */

/** Numbers 0 .. 2^32 − 1, the same for the same seed (xorshift). */
export function randomFrom(seed) {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** One thread's player. `shadow` holds a word for each entry: 0, or the number of the thread that owns it, plus one. */
export class Player {
  allocations = 0;
  refusals = 0;
  overlaps = 0;
  /** Live ranges, as [first, count]. */
  live = [];

  constructor(allocator, shadow, seed) {
    this.allocator = allocator;
    this.shadow = shadow;
    this.random = randomFrom(seed);
  }

  /** `steps` allocations and frees, with at most `most` live ranges. */
  play(steps, most) {
    for (let step = 0; step < steps; step++) {
      const full = this.live.length >= most;
      if (full || (this.live.length > 0 && this.random() % 3 === 0)) this.free();
      else this.allocate(1 + (this.random() % 20));
    }
  }

  allocate(count) {
    const first = this.allocator.allocate(count);
    if (first < 0) {
      this.refusals++;
      return;
    }
    this.allocations++;
    for (let entry = first; entry < first + count; entry++) {
      const before = Atomics.compareExchange(this.shadow, entry, 0, this.allocator.thread + 1);
      if (before !== 0) this.overlaps++;
    }
    this.live.push([first, count]);
  }

  /** Frees a random live range. The shadow map is cleared before: afterwards another thread may own the range. */
  free() {
    const at = this.random() % this.live.length;
    const [first, count] = this.live[at];
    for (let entry = first; entry < first + count; entry++) {
      const before = Atomics.compareExchange(this.shadow, entry, this.allocator.thread + 1, 0);
      if (before !== this.allocator.thread + 1) this.overlaps++;
    }
    if (this.allocator.free(first, count) < 0) {
      // This thread may not wait, and the pool is locked: the range stays ours.
      this.refusals++;
      for (let entry = first; entry < first + count; entry++) this.shadow[entry] = this.allocator.thread + 1;
      return;
    }
    this.live[at] = this.live.at(-1);
    this.live.pop();
  }

  report() {
    const { allocations, refusals, overlaps, live } = this;
    return { thread: this.allocator.thread, allocations, refusals, overlaps, live };
  }
}
